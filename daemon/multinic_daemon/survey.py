"""What every network namespace of the node holds: the kernel's word on who has which address.

A namespace lives as long as a file is mounted on it, as runtimes do in ``/run/netns``, or a process is in it. Both are
looked through, each namespace once; of processes with more rights than ours the addresses are read as text. Either all
of them were read or nothing is said, because an address that is not seen counts as evidence.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from multinic_core.errors import ContainerGoneError, KernelError
from multinic_daemon.hidden import read_hidden
from multinic_daemon.kernel import Sandbox, SandboxLink
from multinic_daemon.netlink import Address, Conversation, Link, NetnsFile, open_netns
from multinic_daemon.netlink import requests as rq
from multinic_daemon.netlink.observed import read_addresses, read_links, read_netns_id

FOLDERS = ("/run/netns", "/var/run/netns", "/run/docker/netns")
"""Where runtimes mount the namespaces they make."""
PROCESSES = "/proc"
GONE = (errno.ENOENT, errno.ESRCH, errno.ENOTDIR)

Inode = tuple[int, int]


def survey() -> tuple[Sandbox, ...]:
    """Every namespace but the calling thread's own, sorted by path.

    Raises:
        KernelError: one of them cannot be looked into.
    """
    own = _inode("/proc/thread-self/ns/net")
    paths: dict[Inode, list[str]] = {}
    hidden: list[str] = []
    for path in (*_mounted(), *_of_processes()):
        try:
            inode = _inode(path)
        except PermissionError:
            hidden.append(path)
            continue
        if inode is not None and inode != own:
            paths.setdefault(inode, []).append(path)
    with open_netns(None) as node:
        found = [sandbox for inode, each in paths.items() if (sandbox := _read(inode, each, node)) is not None]
    found += [sandbox for path in hidden if (sandbox := read_hidden(Path(path).parts[2])) is not None]
    return tuple(sorted(found, key=lambda sandbox: sandbox.path))


def remove_foreign(netns: str, ifnames: Collection[str]) -> int:
    """Remove links by name; how many there were. A namespace that is gone has none.

    Raises:
        KernelError: the kernel refused; some may still be there.
    """
    try:
        with open_netns(netns) as pod_file, Conversation(pod_file) as pod:
            links = [link for link in read_links(pod) if link.ifname in ifnames and link.link_kind]
            asked = [rq.delete_link(link.ifindex, f"removing link {link.ifname!r}") for link in links]
            for request, refusal in zip(asked, pod.ask(asked), strict=True):
                if refusal is not None and refusal.errno != errno.ENODEV:
                    raise refusal.error(request.subject)
            return len(links)
    except ContainerGoneError:
        return 0


def _mounted() -> Iterator[str]:
    for folder in FOLDERS:
        if Path(folder).is_dir():
            yield from sorted(str(file) for file in Path(folder).iterdir())


def _of_processes() -> Iterator[str]:
    numbers = sorted((file.name for file in Path(PROCESSES).iterdir() if file.name.isdigit()), key=int)
    return (f"{PROCESSES}/{number}/ns/net" for number in numbers)


def _inode(path: str) -> Inode | None:
    """What the path leads to; None when that is gone.

    Raises:
        PermissionError: it may not be looked at.
        KernelError: it cannot be told.
    """
    try:
        found = Path(path).stat()
    except OSError as error:
        if error.errno in GONE:
            return None
        if path.startswith(PROCESSES) and isinstance(error, PermissionError):
            raise
        raise KernelError(f"network namespace {path!r} cannot be looked into", error.errno or 0) from error
    return found.st_dev, found.st_ino


def _read(inode: Inode, paths: list[str], node: NetnsFile) -> Sandbox | None:
    """The namespace by the first path that still leads to it; None when none does."""
    for path in paths:
        try:
            with open_netns(path) as pod_file:
                opened = os.fstat(pod_file)
                if (opened.st_dev, opened.st_ino) != inode:
                    continue
                with Conversation(pod_file) as pod:
                    links = [link for link in read_links(pod) if not link.loopback]
                    addresses = read_addresses(pod) if links else []
                    node_id = read_netns_id(pod, node) if links else -1
        except ContainerGoneError:
            continue  # ended meanwhile, or a plain file that an unmount has left
        return Sandbox(path, inode, tuple(_link(link, addresses, node_id) for link in links))
    return None


def _link(link: Link, addresses: list[Address], node_id: int) -> SandboxLink:
    own = tuple(each.address for each in addresses if each.ifindex == link.ifindex)
    return SandboxLink(
        ifname=link.ifname,
        group=link.group,
        link_kind=link.link_kind,
        mtu=link.mtu,
        mac_address=link.mac_address,
        parent_ifindex=link.parent_ifindex,
        on_node=node_id >= 0 and link.parent_netns_id == node_id,
        attributes=link.attributes if link.group else {},  # nobody asks about links that are not ours
        addresses=tuple(address for address in own if not address.ip.is_link_local),
    )
