"""For tests of the daemon: a kernel on a folder, and a whole node around the engine."""

from multinic_daemon.testing.kernel import FakeKernel, links, make_link, refuse, run_in_place
from multinic_daemon.testing.objects import network_objects, pool_object
from multinic_daemon.testing.rig import NETWORK, NODE, Rig, Strategy, addresses, nic

__all__ = [
    "NETWORK",
    "NODE",
    "FakeKernel",
    "Rig",
    "Strategy",
    "addresses",
    "links",
    "make_link",
    "network_objects",
    "nic",
    "pool_object",
    "refuse",
    "run_in_place",
]
