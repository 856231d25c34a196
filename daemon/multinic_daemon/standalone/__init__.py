"""One CNI call without Kubernetes and without a daemon, for podman, nerdctl and others that run CNI executables.

A network configuration with ``"standalone": true`` carries what else a MultiNicNetwork and the operator would say.
Each call is a process of its own: it reads that (``config``), works out which addresses each NIC has (``pools``), waits
for its turn at the journal (``turn``), finishes what a killed process left there, and lets the daemon's engine serve
the call over a cluster that consists of this one network (``cluster``).
"""

from multinic_daemon.standalone.call import answer

__all__ = ["answer"]
