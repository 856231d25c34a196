"""What the kubelet gave to pods: devices and processors, asked of its own interface when a network needs to know.

:class:`KubeletDevices` asks the podresources service on the kubelet's unix socket and, where that does not answer,
reads the checkpoint file of its device manager. Both are somebody else's words: nothing is guessed from them, and what
cannot be understood is an error that says so. grpcio costs 14 MiB of memory, so it is imported when the first pod asks.
"""

from multinic_daemon.devices.given import GivenDevice, PodDevices
from multinic_daemon.devices.kubelet import KubeletDevices

__all__ = ["GivenDevice", "KubeletDevices", "PodDevices"]
