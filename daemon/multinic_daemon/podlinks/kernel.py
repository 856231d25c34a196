"""The kernel as the engine sees it: make the links of a plan, remove those of a group, compare.

:mod:`multinic_daemon.podlinks.apply` is the real one; :class:`multinic_daemon.testing.FakeKernel` is one on a folder.
All calls block, so the engine runs them in worker threads.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from multinic_core.plan import AddRoute, AddRule, CreateLink, IPAddress, IPInterface, Plan


class Parent(NamedTuple):
    """What a pod link lies on."""

    ifindex: int
    """Of the NIC on the node."""
    vlan: int = 0
    """Id of the VLAN link on the NIC; 0: the NIC itself."""


def parent_of(link: CreateLink) -> Parent:
    return Parent(link.parent_ifindex, link.vlan)


class MadeLink(Protocol):
    """One link that was made in a pod."""

    @property
    def ifname(self) -> str: ...

    @property
    def mac_address(self) -> str: ...

    @property
    def mtu(self) -> int:
        """Bytes."""
        ...


@dataclass(frozen=True, slots=True)
class SandboxLink:
    """One link found in a network namespace other than the node's."""

    ifname: str
    group: int
    link_kind: str
    """"" for a physical NIC."""
    mtu: int
    mac_address: str
    parent_ifindex: int
    """0 for none."""
    on_node: bool
    """Its parent is a link of this node's own namespace."""
    attributes: Mapping[str, int]
    addresses: tuple[IPInterface, ...]
    """Without link-local ones."""
    routes: tuple[AddRoute, ...] = ()
    """Those through it that carry our protocol number, of links with a group."""
    rules: tuple[AddRule, ...] = ()
    """Those from its addresses that carry our protocol number, of links with a group."""
    settings: Mapping[str, int] = field(default_factory=dict)
    """By name, of links with a group."""
    vlan: int = 0
    """Of the VLAN link that it is on, where we made that: then ``parent_ifindex`` is the NIC's."""

    @property
    def here(self) -> bool:
        """It may be an attachment of this node: not on a parent of another one, as there are in a lab."""
        return self.on_node or not self.parent_ifindex

    @property
    def proven(self) -> bool:
        """It is one on this node: on a link of it, or a NIC of this machine itself, as software links have a kind.

        Of a namespace that may not be entered nothing more is known than its addresses; they count.
        """
        return self.on_node or not (self.parent_ifindex or self.link_kind)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """One network namespace other than the node's, with all its links but the loopback."""

    path: str
    inode: tuple[int, int]
    """Device and inode number of the namespace, the same by every path."""
    links: tuple[SandboxLink, ...]

    def holding(self, addresses: Collection[IPAddress]) -> Iterator[SandboxLink]:
        """The links of this node with one of these addresses."""
        return (link for link in self.links if link.here and any(each.ip in addresses for each in link.addresses))


class PodKernel(Protocol):
    """Links inside the network namespaces of pods."""

    def apply_plan(self, plan: Plan, netns: str, group: int) -> Sequence[MadeLink]:
        """Make everything in the plan, all or nothing, each link with ``IFLA_GROUP`` set to ``group``.

        Returns:
            One entry per CreateLink, in the plan's order, then one per device that has a netdev.

        Raises:
            ContainerGoneError: there is no such network namespace.
            ConfigError: a link name is taken.
            KernelError: the kernel refused.
        """
        ...

    def complete(self, plan: Plan, netns: str, group: int) -> None:
        """Give links that are in the pod already, whoever made them, the plan's addresses, routes and rules.

        Raises:
            ContainerGoneError: there is no such network namespace.
            ConfigError: a link is not there.
            KernelError: the kernel refused; a part may be done.
        """
        ...

    def make_vfs(self, pci_address: str, count: int) -> None:
        """Give a NIC this many VFs in place of those it has, none of which may be in use.

        Raises:
            KernelError: the kernel refused.
        """
        ...

    def return_devices(self, plan: Plan, netns: str, group: int) -> int:
        """Bring the devices of a plan back to the node as they were; how many were away. Before ``remove_links``.

        Raises:
            KernelError: the kernel refused, or a device that exists has not come back in time.
        """
        ...

    def marked_groups(self) -> Collection[int]:
        """The link groups of attachments that devices on the node are marked with."""
        ...

    def free_devices(self, groups: Collection[int]) -> int:
        """Give devices on the node their names back and take these marks off, with no record of them; how many.

        Raises:
            KernelError: the kernel refused.
        """
        ...

    def remove_links(self, netns: str, group: int, rules: Sequence[AddRule] = ()) -> bool:
        """Remove the links of this group and these rules; whether there were any links. A namespace that is gone, or
        "", has none.

        Raises:
            KernelError: the kernel refused; the links may still be there.
        """
        ...

    def differences(self, plan: Plan, netns: str) -> list[str]:
        """What of the plan is not so in the kernel, one sentence each."""
        ...

    def survey(self) -> Sequence[Sandbox]:
        """Every network namespace that a file or a process of the node keeps alive, without the node's own.

        Raises:
            KernelError: one of them cannot be looked into, so nothing is proven.
        """
        ...

    def read_vlans(self) -> Collection[Parent]:
        """The VLAN links of the node that we made."""
        ...

    def remove_vlan(self, parent: Parent) -> bool:
        """Remove the VLAN link of this id on this NIC if we made it and nothing lies on it; whether it was removed.

        Raises:
            KernelError: the kernel refused.
        """
        ...

    def remove_foreign(self, netns: str, ifnames: Collection[str]) -> int:
        """Remove these links, which another generation of multinic made; how many there were.

        Raises:
            KernelError: the kernel refused; some may still be there.
        """
        ...
