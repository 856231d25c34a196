"""What others do during an attachment: CNI executables of the node, and actions that plugins bring.

A plan names them (:mod:`multinic_core.outside`); here they are found, run within bounds, checked and undone. Nothing of
it is trusted to end: an executable is a process that is killed, an action a thread that is left alone.
"""

from multinic_daemon.outside.work import Outside

__all__ = ["Outside"]
