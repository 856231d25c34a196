"""multinic-daemon: the node half of multinic, one process per node.

It finds the node's secondary NICs, keeps host routes, and attaches pods in one all-or-nothing step. Orders come from
the API server by watch and from root on this node by a unix socket, from nobody else.
"""
