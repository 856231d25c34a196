"""The digital twin: a cluster of thousands of nodes on one machine, of which everything but kernels and pods is real.

The API server of the lab runs in the process that measures, the operator is the one that ships, with its election, and
the nodes are carried by a few processes (:mod:`multinic_lab.twin.carrier`). Each node runs what its daemon would:
publishing of its NICs, its Lease with its report, its pools; a few of each process, the sample, also compute all their
host routes and keep them in memory. What differs from as many machines:

- the nodes of one process share their connections to the API and what they know of the cluster, so the server sends
  everything once for each process, not once for each node; bytes are shown both ways;
- of a node outside of the sample the routes are not computed: it reports them as made when the objects that they follow
  from have arrived.
"""
