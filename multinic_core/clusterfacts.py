"""What main plugins may know of the rest of the cluster, and the objects they want there.

A network may need objects that others define: an SR-IOV network needs the SR-IOV operator's policies, a host-device
network the names that a device plugin gives. A plugin does no I/O, so it names the kinds it reads and the kinds it
keeps objects of; the operator reads them, watches them, hands them to ``network_config`` and writes what that wants.
Each kind is looked at only while a network of that plugin exists, and may be missing from the cluster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast

from pydantic import ConfigDict

from multinic_core.hookspecs import MainPlugin, NetworkConfig
from multinic_core.model import GENERATED_LABEL, HostInterface, KubeObject, MultiNicNetwork, Resource

M = TypeVar("M", bound=KubeObject)


class ForeignObject(KubeObject):
    """An object of a kind that others define, with all its fields."""

    model_config = ConfigDict(extra="allow")

    def part(self, *path: str) -> Any:
        """What is at this path below the top, such as ``("spec", "resourceName")``; None when there is nothing."""
        found: Any = self.model_extra
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        return found


@dataclass(frozen=True, slots=True)
class KeptKind:
    """A kind that a main plugin has dependents of."""

    resource: Resource[ForeignObject]
    former_names: tuple[str, ...] = ()
    """Names that the original gave its objects, with ``{network}`` for the network's. One of them with our label and
    without an owner belongs to that network."""


def belongs(kept: KeptKind, found: KubeObject, network: str) -> bool:
    """Whether an object of a kept kind was made for this network, by us or by the original."""
    if (found.metadata.labels or {}).get(GENERATED_LABEL) != "true":
        return False
    owners = [(owner.kind, owner.name) for owner in found.metadata.owner_references or [] if owner.controller]
    if not owners:
        return found.name in [name.format(network=network) for name in kept.former_names]
    return owners == [("MultiNicNetwork", network)]


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """One moment of the cluster, as far as one plugin asks for it."""

    objects: Mapping[str, Sequence[KubeObject]] = field(default_factory=dict)
    """CRD name to the objects of that kind, sorted by namespace and name; only kinds that the cluster serves."""
    absent: frozenset[str] = frozenset()
    """CRD names of the kinds that the cluster does not serve."""
    nodes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Name of a Node to its labels."""

    def of(self, resource: Resource[M]) -> Sequence[M] | None:
        """The objects of a kind; None when it is absent, or not known to be there, as outside of a cluster."""
        found = self.objects.get(resource.crd_name)
        return None if found is None else cast("Sequence[M]", found)

    def lacks(self, resource: Resource[Any]) -> bool:
        """Whether the cluster is known not to serve this kind."""
        return resource.crd_name in self.absent


NO_FACTS = ClusterFacts()
"""Nothing is known, as outside of a cluster; a plugin then judges the network by its text alone."""


class ClusterPlugin(MainPlugin, Protocol):
    """A main plugin that reads objects of others or has dependents; others need none of this."""

    reads: tuple[Resource[Any], ...]
    """Kinds that ``network_config`` is given; a model with only the fields needed keeps the operator small."""
    keeps: tuple[KeptKind, ...]
    """Kinds of the dependents that ``network_config`` wants."""

    def network_config(
        self, network: MultiNicNetwork, nodes: Sequence[HostInterface], facts: ClusterFacts = NO_FACTS
    ) -> NetworkConfig:
        """As for any main plugin, knowing the cluster.

        What only waiting or another person can mend belongs into ``waits``, as the network is looked at again when one
        of the kinds read or kept changes.
        """
        ...


def reads_of(plugin: MainPlugin) -> tuple[Resource[Any], ...]:
    """The kinds that a plugin reads."""
    return tuple(getattr(plugin, "reads", ()))


def keeps_of(plugin: MainPlugin) -> tuple[KeptKind, ...]:
    """The kinds that a plugin has dependents of."""
    return tuple(getattr(plugin, "keeps", ()))


def configure(
    plugin: MainPlugin, network: MultiNicNetwork, nodes: Sequence[HostInterface], facts: ClusterFacts
) -> NetworkConfig:
    """What the plugin makes of the network; ``facts`` go to plugins that name kinds, and to no other.

    Raises:
        ConfigError: as ``network_config`` does.
    """
    if reads_of(plugin) or keeps_of(plugin):
        return cast("ClusterPlugin", plugin).network_config(network, nodes, facts)
    return plugin.network_config(network, nodes)
