"""The plugin interface: four hooks through which distributions offer named objects.

Hooks are synchronous, do no I/O and return data. The daemon breaks off, and names, a strategy, IPAM or plan that works
for a quarter of a second or waits for a whole one. A distribution names its module in the entry-point group
``multinic`` and implements the hooks it has an answer for, marked with :data:`hookimpl`. The objects offered
are described by the protocols below; :mod:`multinic_core.testing` has a conformance function for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pluggy
from pydantic import BaseModel

from multinic_core.model import HostInterface, MultiNicNetwork
from multinic_core.plan import (
    Allocation,
    AllocationRequest,
    AttachmentRequest,
    Nic,
    NodeView,
    Plan,
)
from multinic_core.pools import Pool
from multinic_core.selection import Selection, SelectionRequest

PROJECT = "multinic"
"""Name of the pluggy project and of the entry-point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """What a main plugin makes of a network, for the operator to write."""

    plugin: Mapping[str, Any]
    """The ``plugin`` block of the NetworkAttachmentDefinition's config. ``cniVersion`` and ``type`` are the network's,
    unless they are here: a ``type`` names the main plugin that serves the nodes instead."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    """Annotations of the NetworkAttachmentDefinition."""
    dependents: tuple[Mapping[str, Any], ...] = ()
    """Manifests of all further objects that the network wants in the cluster, of kinds that the plugin ``keeps``
    (:mod:`multinic_core.clusterfacts`). Label and owner are added; what is no longer wanted is deleted."""
    waits: tuple[str, ...] = ()
    """What must come about in the cluster before pods can have the network, one sentence each. Until then no
    NetworkAttachmentDefinition is made or changed, and no dependent deleted."""
    notes: tuple[str, ...] = ()
    """What a person should know and that stops nothing."""
    reserved_indexes: tuple[int, ...] = ()
    """Where NIC networks themselves are cut into blocks, the addresses of each that no pod gets: 0 is the first, -1 the
    last one."""


class MainPlugin(Protocol):
    """Makes the links of one CNI main plugin type.

    One with an attribute ``serves_others`` that is true also serves every type that no other one has for its name.

    One that gives pods whole devices has a method ``unavailable(config, nic, node)``, which says why a NIC has none for
    another link now, or "": such NICs are not chosen. A method ``wanted_vfs(config)`` gives the number of virtual
    functions that the node itself shall make on each NIC of the network, or 0.
    """

    name: str
    """``spec.plugin.type`` of the networks it serves."""
    link_kinds: frozenset[str]
    """Kinds of link that its plans create."""

    @property
    def args_model(self) -> type[BaseModel]:
        """Model of ``spec.plugin.args``, whose values arrive as strings; unknown keys are refused."""
        ...

    def network_config(self, network: MultiNicNetwork, nodes: Sequence[HostInterface]) -> NetworkConfig:
        """Turn a network's arguments into netconf JSON.

        Raises:
            ConfigError: an argument is unknown or has no meaning; each problem with its field path.
        """
        ...

    def plan(self, request: AttachmentRequest, node: NodeView) -> Plan:
        """Plan the links of one attachment: for each of ``request.links`` one CreateLink and its AddAddress.

        Raises:
            ConfigError: the netconf or the parent does not allow it.
        """
        ...


class AttachmentStrategy(Protocol):
    """Chooses which NICs a pod gets."""

    name: str
    """``spec.attachPolicy.strategy`` of the networks it serves.

    An attribute ``needs``, a frozenset, may name what costs a look elsewhere and is filled in for those that ask:
    ``labels`` (with the annotations) of the pod, and the ``devices`` (with the CPUs) that the kubelet gave it.
    """

    def select(self, request: SelectionRequest, candidates: Sequence[Nic]) -> Selection:
        """Choose among the candidates, filtering before cutting to the number asked for.

        Args:
            candidates: NICs of the node that belong to the network, in the network's order.

        Raises:
            SelectionError: the request cannot be satisfied on this node, with the figures.
        """
        ...


class Ipam(Protocol):
    """Gives addresses out of pools that the journal keeps.

    The operator that has it installed makes pools for its networks as for those of multi-nic-ipam, out of the same keys
    of the ipam block; all other keys are its own. With an attribute ``args_model``, a
    :class:`multinic_core.args.PluginArgs`, the operator refuses networks whose further keys do not fit; without, nobody
    looks at them before ``allocate`` does.
    """

    name: str
    """``type`` in the ipam block of the networks it serves."""

    def allocate(self, request: AllocationRequest, pools: Sequence[Pool]) -> tuple[Allocation, ...]:
        """Give each parent of the request one address; all or nothing.

        Args:
            request: for which parents, and the network's ipam block.
            pools: the node's pools of this network, each with the indexes held now.

        Raises:
            PoolExhaustedError, AddressInUseError, ConfigError: naming pool and parent.
        """
        ...


class Action(Protocol):
    """Does, checks and undoes something outside the node's kernel on behalf of plans that name it.

    The daemon calls it in a worker thread, after the journal knows the plan, with a time limit for each call; a call
    may block. The same arguments may be done twice and undone twice, also without having been done: after a crash
    nobody knows how far it came.
    """

    name: str
    """As in :class:`multinic_core.outside.Act`."""

    def do(self, arguments: Mapping[str, Any]) -> None:
        """Bring it about, or change nothing.

        Raises:
            MultinicError: why it cannot be.
        """
        ...

    def undo(self, arguments: Mapping[str, Any]) -> None:
        """Take it back; what is gone already is success.

        Raises:
            MultinicError: it could not be taken back, and is tried again later.
        """
        ...

    def check(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        """How what is there differs from what was done, one sentence each."""
        ...


@hookspec
def multinic_register_main_plugins() -> Sequence[MainPlugin]:  # type: ignore[empty-body]  # a spec has no body
    """Offer the main plugins of this distribution.

    Called: once per process, after all entry points have loaded.
    Combined: all answers are kept, keyed by ``name``; of a repeated name the first distribution by name keeps it,
        and the other is reported with both owners and left out.
    Return: objects that hold no open resources; an empty sequence is a valid answer.
    Raise: nothing; what a node lacks is reported by ``plan``, per node.
    First used by: plugins/ipvlan.
    """


@hookspec
def multinic_register_strategies() -> Sequence[AttachmentStrategy]:  # type: ignore[empty-body]  # the same
    """Offer the attachment strategies of this distribution.

    Called, combined, return, raise: as for ``multinic_register_main_plugins``.
    First used by: plugins/policies.
    """


@hookspec
def multinic_register_ipams() -> Sequence[Ipam]:  # type: ignore[empty-body]  # the same
    """Offer the IPAMs of this distribution.

    Called, combined, return, raise: as for ``multinic_register_main_plugins``.
    First used by: multinic_core.ipam.
    """


@hookspec
def multinic_register_actions() -> Sequence[Action]:  # type: ignore[empty-body]  # the same
    """Offer the actions that plans of this distribution name.

    Called, combined, return, raise: as for ``multinic_register_main_plugins``.
    First used by: plugins/aws-ipvlan.
    """
