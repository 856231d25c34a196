"""The machine: the part of the lab that runs where the links are, natively as root or inside the lab kernel.

One process, the agent (``python -m multinic_lab.machine``), builds the fabric and the nodes, runs a real daemon per
node and stands in for every node's kubelet. A controller elsewhere drives it with JSON lines
(:mod:`~multinic_lab.machine.protocol`, :class:`~multinic_lab.machine.client.AgentClient`). When the controller
goes, all that the agent made goes too.
"""
