"""The frozen values that deciding works on: what a node has, what a pod asks for, and the plan that answers it.

Deciding is pure: a strategy chooses among the node's :class:`Nic` values (:mod:`multinic_core.selection`), an IPAM
turns an :class:`AllocationRequest` and :class:`multinic_core.pools.Pool` values into :class:`Allocation` values, and a
main plugin turns an :class:`AttachmentRequest` and a :class:`NodeView` into a :class:`Plan`. Only the daemon's applier
touches the kernel; dry run, CHECK and undo read the same plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

from multinic_core.devices import ConfigureVf, TakeDevice, Vf
from multinic_core.outside import Act, RunIpam, RunPlugin

IPAddress: TypeAlias = IPv4Address | IPv6Address
IPInterface: TypeAlias = IPv4Interface | IPv6Interface
IPNetwork: TypeAlias = IPv4Network | IPv6Network

MAIN_TABLE = 254
"""The routing table that is looked up when no rule says otherwise. Source: linux/rtnetlink.h, RT_TABLE_MAIN."""
NO_ATTRIBUTES: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class PodReference:
    """The pod that an attachment is for, as CNI_ARGS names it; fields are "" where the runtime did not say."""

    namespace: str = ""
    name: str = ""
    uid: str = ""


_text = lru_cache(maxsize=1024)(str)
"""Kept, as each ADD asks for the networks of all NICs."""


@dataclass(frozen=True, slots=True)
class Nic:
    """One secondary NIC of this node: a candidate to become the parent of pod links."""

    ifname: str
    ifindex: int
    mtu: int
    """Bytes."""
    mac_address: str = ""
    link_kind: str = ""
    """``IFLA_INFO_KIND``; "" for a physical NIC."""
    up: bool = True
    """Administratively up and with a carrier."""
    addresses: tuple[IPInterface, ...] = ()
    """Global-scope addresses in the kernel's order, primary first; those written by hand where it has none."""
    vendor: str = ""
    """PCI vendor id, four lower-case hex digits, or ""."""
    product: str = ""
    """PCI device id, four lower-case hex digits, or ""."""
    pci_address: str = ""
    """Such as ``0000:8a:00.0``, or ""."""
    altnames: tuple[str, ...] = ()
    """Alternative names, in the kernel's order."""
    driver: str = ""
    """Such as ``mlx5_core``, or ""."""
    speed: int = 0
    """Mbit/s; 0: unknown."""
    numa_node: int | None = None
    pci_path: tuple[str, ...] = ()
    """PCI addresses from the root port down to, and without, the device itself; () without PCI."""
    rdma_devices: tuple[str, ...] = ()
    """Such as ``mlx5_0``."""
    physical_function: str = ""
    """PCI address of the NIC that this one is a virtual function of, or ""."""
    vfs: tuple[Vf, ...] = ()
    """Its virtual functions, by index."""
    vfs_possible: int = 0
    """How many it can have."""
    own_addresses: tuple[IPInterface, ...] = ()
    """Those of ``addresses`` that are on the link for good: declared by no HostInterface alone, without a lease."""
    switched_on: bool = True
    """Administratively up, with a carrier or without."""
    alias: str = ""
    """What the node's owner wrote down for it, as with ``ip link set eth1 alias``."""
    group: int = 0
    """Its link group."""

    @property
    def network(self) -> IPNetwork | None:
        """The network of the first address (``netAddress`` of HostInterface), or None without an address."""
        return self.addresses[0].network if self.addresses else None

    @property
    def net_address(self) -> str:
        """The same as HostInterface and CIDR write it; "None" without an address."""
        return _text(self.network)


@dataclass(frozen=True, slots=True)
class NodeView:
    """What a plugin may know of the node: its name and its secondary NICs."""

    name: str
    nics: Mapping[str, Nic]
    """ifname to Nic, sorted by ifname."""
    devices_held: frozenset[str] = frozenset()
    """PCI addresses, or ifnames of devices without one, that attachments hold or the kubelet has given to pods."""
    uses: Mapping[tuple[int, int], Mapping[str, str]] = field(default_factory=lambda: MappingProxyType({}))
    """How links of the node itself use NICs, as :mod:`multinic_core.parents` tells uses apart: ifindex of the NIC and
    VLAN id, 0 for none, to the uses, each with the name of such a link."""


@dataclass(frozen=True, slots=True)
class AllocationRequest:
    """What an IPAM is asked: one address in the pool of each chosen NIC."""

    parents: tuple[str, ...]
    """ifnames of the chosen NICs, in the pod's order."""
    static: tuple[IPInterface | IPAddress, ...] = ()
    """Addresses the pod asks for; each belongs to the pool that contains it."""
    ipam: Mapping[str, Any] = field(default_factory=dict)
    """The network's ipam block, whose further keys are the IPAM's own."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """One address given: ``address`` is host ``index`` of ``pool``, for the pod's link on ``parent``."""

    pool: str
    """Name of the IPPool."""
    parent: str
    index: int
    """Distance from the pool's network address."""
    address: IPInterface
    """With the prefix length of the interface block, so that the kernel adds the connected route."""


@dataclass(frozen=True, slots=True)
class LinkRequest:
    """One link that a pod shall get."""

    ifname: str
    """Name inside the pod, such as ``net1-0``."""
    parent: str
    """ifname of the NIC on the node."""
    addresses: tuple[IPInterface, ...] = ()
    device: str = ""
    """PCI address of the device that the kubelet gave the pod for this link, or ""."""
    mac_address: str = ""
    """That the pod asks for, or ""."""
    rate: int = 0
    """bit/s that the attachment policy promised the pod on this NIC; 0: nothing was promised."""
    gateways: tuple[IPAddress, ...] = ()
    """That an IPAM executable names for the addresses."""
    routes: tuple[tuple[IPNetwork, IPAddress | None], ...] = ()
    """(destination, gateway) of what an executable that makes the link shall add; others get theirs from the daemon."""
    ipam: Mapping[str, Any] = field(default_factory=lambda: NO_ATTRIBUTES)
    """The ipam block, where an executable that makes the link runs the IPAM itself; else empty."""


@dataclass(frozen=True, slots=True)
class AttachmentRequest:
    """One attachment, the CNI pair (container id, ifname), with its links chosen and addressed."""

    container_id: str
    ifname: str
    """``CNI_IFNAME``, such as ``net1``."""
    netns: str
    """Path of the pod's network namespace."""
    network: str
    pod: PodReference
    config: Mapping[str, Any]
    """The main plugin's block of the netconf (``plugin``), with JSON types."""
    links: tuple[LinkRequest, ...]


@dataclass(frozen=True, slots=True)
class CreateLink:
    """Make a link of ``link_kind`` on a parent of the node, inside the pod's network namespace, and set it up."""

    ifname: str
    link_kind: str
    parent: str
    """ifname of the parent on the node."""
    parent_ifindex: int
    mtu: int
    """Bytes."""
    attributes: Mapping[str, int] = field(default_factory=lambda: NO_ATTRIBUTES)
    """``IFLA_INFO_DATA`` by the kernel's attribute name, such as ``IFLA_IPVLAN_MODE``."""
    mac_address: str = ""
    """"" lets the kernel choose."""
    vlan: int = 0
    """1 to 4094: on the VLAN link of this id on the parent, which is made when missing; 0: on the parent itself."""


@dataclass(frozen=True, slots=True)
class AddAddress:
    """Give a pod link an address."""

    ifname: str
    address: IPInterface


@dataclass(frozen=True, slots=True)
class NextHop:
    """One more way that a route goes."""

    ifname: str
    gateway: IPAddress | None = None


@dataclass(frozen=True, slots=True)
class AddRoute:
    """Add a route inside the pod through one of its links, or through several at once, which share the traffic."""

    dst: IPNetwork
    ifname: str
    gateway: IPAddress | None = None
    table: int = MAIN_TABLE
    others: tuple[NextHop, ...] = ()
    """``ip route add DST nexthop via GATEWAY dev IFNAME nexthop …``: the next hops after the first."""

    @property
    def ifnames(self) -> frozenset[str]:
        """All links that it goes through."""
        return frozenset((self.ifname, *(hop.ifname for hop in self.others)))


@dataclass(frozen=True, slots=True)
class AddRule:
    """Send what leaves from ``src`` through a routing table of its own: ``ip rule add from SRC lookup TABLE``."""

    src: IPNetwork
    """An address of one of the pod's links, as a network of this one address."""
    table: int
    priority: int
    """Rules are tried in ascending order; that of the main table has 32766."""


@dataclass(frozen=True, slots=True)
class SetSysctl:
    """Give one of the pod's links a kernel setting: ``sysctl -w``."""

    key: str
    """As below ``/proc/sys`` of the pod, such as ``net/ipv4/conf/net1-0/rp_filter``."""
    value: str

    @property
    def ifname(self) -> str:
        """The link it belongs to; "" when the key is not of this form."""
        return self._parts[0]

    @property
    def name(self) -> str:
        """Such as ``rp_filter``; "" when the key is not of this form."""
        return self._parts[1]

    @property
    def _parts(self) -> tuple[str, str]:
        return _setting_parts(self.key)


@lru_cache(maxsize=1024)
def _setting_parts(key: str) -> tuple[str, str]:
    """ifname and name of a key; kept, as pods' links have the same names and settings."""
    match key.split("/"):
        case ["net", "ipv4", "conf", ifname, name]:
            return ifname, name
    return "", ""


@dataclass(frozen=True, slots=True)
class ShapeLink:
    """Hold what the pod sends over one of its links to a rate; goes with the link."""

    ifname: str
    rate: int
    """bit/s, above 0."""


Step: TypeAlias = (
    CreateLink
    | AddAddress
    | AddRoute
    | AddRule
    | SetSysctl
    | ShapeLink
    | TakeDevice
    | ConfigureVf
    | RunIpam
    | RunPlugin
    | Act
)


_S = TypeVar("_S")


OUTSIDE = frozenset((RunIpam, RunPlugin, Act))
"""Steps that the kernel has no part in."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything one ADD does, in order; undone by taking back each step, the last first.

    Whatever the order written, IPAM executables run first, then actions, then the node is made ready (VFs), then links
    are made and devices taken with their addresses, settings, routes and rules, then plugin executables run.
    """

    steps: tuple[Step, ...]
    _by_kind: dict[type, list[Any]] = field(init=False, repr=False, compare=False, default_factory=dict)
    """The steps of each class; sorted once, as every property is asked for at each ADD."""

    def __post_init__(self) -> None:
        for step in self.steps:
            self._by_kind.setdefault(type(step), []).append(step)

    def _of(self, kind: type[_S]) -> tuple[_S, ...]:
        return tuple(self._by_kind.get(kind, ()))

    @property
    def outside(self) -> bool:
        """Whether others do a part of it: executables, or actions of plugins."""
        return not OUTSIDE.isdisjoint(self._by_kind)

    @property
    def links(self) -> tuple[CreateLink, ...]:
        return self._of(CreateLink)

    @property
    def addresses(self) -> tuple[AddAddress, ...]:
        return self._of(AddAddress)

    @property
    def routes(self) -> tuple[AddRoute, ...]:
        return self._of(AddRoute)

    @property
    def rules(self) -> tuple[AddRule, ...]:
        return self._of(AddRule)

    @property
    def sysctls(self) -> tuple[SetSysctl, ...]:
        return self._of(SetSysctl)

    @property
    def shapes(self) -> tuple[ShapeLink, ...]:
        return self._of(ShapeLink)

    @property
    def devices(self) -> tuple[TakeDevice, ...]:
        return self._of(TakeDevice)

    @property
    def vfs(self) -> tuple[ConfigureVf, ...]:
        return self._of(ConfigureVf)

    @property
    def ipams(self) -> tuple[RunIpam, ...]:
        return self._of(RunIpam)

    @property
    def plugins(self) -> tuple[RunPlugin, ...]:
        return self._of(RunPlugin)

    @property
    def actions(self) -> tuple[Act, ...]:
        return self._of(Act)
