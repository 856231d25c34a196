"""The kernel's announcements about devices: that one came or went, or has another driver, also one without a link.

The kernel sends them to every network namespace whose owner is the machine's own; in a container with users of its own
there are none, and what has a link is announced by rtnetlink all the same. Source: Linux, lib/kobject_uevent.c.
"""

from __future__ import annotations

import errno
from types import TracebackType

import trio

from multinic_core.errors import KernelError
from multinic_daemon.netlink.netns import NETLINK_KOBJECT_UEVENT, NetnsFile, open_socket

_FROM_KERNEL = 1
"""The group in which the kernel speaks; udev repeats everything in group 2."""
_DEVICES = (b"\0SUBSYSTEM=pci\0", b"\0SUBSYSTEM=infiniband\0")
_AT_ONCE = 512


class DeviceEvents:
    """Announcements about PCI functions and RDMA devices; a context manager, and joined from its making on.

    Args:
        netns: namespace to listen in; None: that of the calling thread.
    """

    def __init__(self, netns: NetnsFile | None = None) -> None:
        self._socket = open_socket(netns, NETLINK_KOBJECT_UEVENT)
        self._socket.setblocking(False)
        self._socket.bind((0, _FROM_KERNEL))

    def __enter__(self) -> DeviceEvents:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    async def wait(self) -> None:
        """Return when something was announced, or an announcement was lost, since the last call.

        Raises:
            KernelError: the socket broke.
        """
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            if self._take():
                return

    def _take(self) -> bool:
        """Whether what can be read now is about devices."""
        found = False
        for _ in range(_AT_ONCE):
            try:
                data = self._socket.recv(1 << 13)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    return True
                raise KernelError("device events", error.errno or 0) from error
            # the first line repeats action and path; the rest are KEY=value, each with a zero byte at its end
            found = found or any(subject in data for subject in _DEVICES)
        return found
