"""Dependents: what a network wants of kinds that others define, kept as wanted and taken away with it.

What is ours carries the label ``multi-nic-cni-generated: "true"`` and the network as its controller, or, made by the
original, no controller and a name that the original gave. Anything else of the same name is never touched.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from multinic_core.clusterfacts import ForeignObject, KeptKind, belongs, keeps_of
from multinic_core.errors import ApiError
from multinic_core.hookspecs import NetworkConfig
from multinic_core.model import GENERATED_LABEL, KubeObject, MultiNicNetwork
from multinic_core.ports import Key
from multinic_operator.dependents.kinds import OURS, ForeignKinds
from multinic_operator.dependents.manifests import change, completed
from multinic_operator.networks.cidrs import NotYetError
from multinic_operator.world import World

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Written:
    """What came of writing."""

    problems: list[str] = field(default_factory=list)
    """What a person must mend."""
    waits: list[str] = field(default_factory=list)
    """What must come about first."""


def _named(kept: KeptKind, key: Key) -> str:
    return f"{kept.resource.kind} {'/'.join(filter(None, key))}"


def _controller(found: KubeObject) -> str:
    owners = [f"{owner.kind} {owner.name!r}" for owner in found.metadata.owner_references or [] if owner.controller]
    return owners[0] if owners else ""


class Dependents:
    """Keeps the dependents of networks."""

    def __init__(self, world: World, kinds: ForeignKinds) -> None:
        self._world = world
        self._kinds = kinds

    async def write(self, network: MultiNicNetwork, config: NetworkConfig) -> Written:
        """Have the dependents as wanted; unless something is waited for, have no others.

        A network whose plugin keeps no kinds is left to ``tidy``, so that it depends on the API of nobody else.

        Raises:
            NotYetError: a kind is still being read, or somebody else was faster.
            ApiError: a write or read failed; what was written stands.
        """
        keeps = self.keeps(network)
        if keeps:
            await self._kinds.find_what_is_ours()
        written = Written(waits=list(config.waits))
        wanted: set[tuple[str, Key]] = set()
        for manifest in config.dependents:
            kept = self._kept_by(network, manifest, written)
            if kept is None:
                continue
            body = completed(manifest, network)
            wanted.add((kept.resource.crd_name, Key(body.namespace, body.name)))
            if not await self._kinds.serves(kept.resource):
                written.waits.append(self._unserved(kept))
            elif kept.resource.namespaced and self._world.namespaces.get(body.namespace) is None:
                where = f"namespace {body.namespace!r} for {_named(kept, Key('', body.name))} does not exist"
                written.waits.append(f"{where}; install what keeps {kept.resource.group}")
            else:
                await self._ensure(network, kept, body, written)
        if keeps and not written.waits and not written.problems:
            await self._prune(network, wanted)
        written.waits = list(dict.fromkeys(written.waits))
        return written

    def keeps(self, network: MultiNicNetwork) -> bool:
        """Whether the network's plugin has dependents of any kind."""
        plugin = self._world.registry.main_plugins.objects.get(network.spec.plugin.type)
        return plugin is not None and bool(keeps_of(plugin))

    async def tidy(self, network: MultiNicNetwork) -> None:
        """Delete what a former plugin of the network has left.

        Raises:
            NotYetError: a kind is still being read.
            ApiError: a kind could not be read, or an object not be deleted.
        """
        await self._kinds.find_what_is_ours()
        await self._prune(network, set())

    async def remove(self, network: MultiNicNetwork) -> list[str]:
        """Delete all dependents of a network; gives those that are still there, as others hold them.

        A kind that the network's plugin does not keep, and of which nothing of the network is known, may fail to be
        read: what a former plugin left there has the network as its owner, and goes with it by garbage collection.

        Raises:
            ApiError: one could not be read or deleted.
        """
        left: list[str] = []
        own = self._world.registry.main_plugins.objects.get(network.spec.plugin.type)
        for kept in self._all_kept():
            foreign = own is None or kept not in keeps_of(own)
            known = not foreign or self._known(kept, network)
            try:
                found = await self._listed(kept, network)
                known = known or bool(found)
                for item in found:
                    if item.metadata.deletion_timestamp is None:
                        await self._delete(network, kept, item)
                remaining = await self._listed(kept, network) if found else []
            except ApiError as error:
                if error.status == 404 or (error.status == 403 and foreign):
                    continue  # no such kind; or no rights to one that this network has no use for
                if known:
                    raise
                what = {"network": network.name, "kind": kept.resource.crd_name, "reason": str(error)}
                logger.warning("kind not read as a network goes", extra=what)
                continue
            for item in remaining:
                held = f", held by {item.metadata.finalizers!r}" if item.metadata.finalizers else ""
                left.append(_named(kept, Key(item.namespace, item.name)) + held)
        return left

    def _known(self, kept: KeptKind, network: MultiNicNetwork) -> bool:
        """Whether a dependent of this kind is known already."""
        store = self._kinds.followed(kept.resource)
        return store is not None and any(belongs(kept, found, network.name) for found in store.list())

    async def _ensure(self, network: MultiNicNetwork, kept: KeptKind, wanted: ForeignObject, written: Written) -> None:
        """Have one dependent as wanted, unless its name is somebody else's."""
        kube, resource = self._world.kube, kept.resource
        key = Key(wanted.namespace, wanted.name)
        store = self._kinds.followed(resource)
        found = store.get(key.name, key.namespace) if store is not None else None
        if found is None:
            try:
                await kube.create(resource, wanted)
            except ApiError as error:
                if error.status == 404:
                    written.waits.append(self._unserved(kept))
                    return
                if error.api_reason != "AlreadyExists":
                    raise
                found = await kube.get(resource, key.name, key.namespace)
            else:
                self._log("dependent made", network, kept, key)
                return
        if found.metadata.deletion_timestamp is not None:
            written.waits.append(f"{_named(kept, key)} is being deleted, and is made anew when it has gone")
        elif refusal := self._refusal(network, found):
            written.problems.append(f"{_named(kept, key)}: {refusal}")
        elif patch := change(found, wanted):
            # Whoever wrote meanwhile may have taken the label away.
            patch.setdefault("metadata", {})["resourceVersion"] = found.metadata.resource_version
            try:
                await kube.patch(resource, key.name, patch, namespace=key.namespace)
            except ApiError as error:
                if error.status not in (404, 409):
                    raise
                raise NotYetError(f"{_named(kept, key)} has changed or gone meanwhile") from error
            self._log("dependent changed", network, kept, key)

    async def _prune(self, network: MultiNicNetwork, wanted: set[tuple[str, Key]]) -> None:
        for kept in self._all_kept():
            store = self._kinds.followed(kept.resource)
            for found in store.list() if store is not None else ():
                key = Key(found.namespace, found.name)
                surplus = (kept.resource.crd_name, key) not in wanted and found.metadata.deletion_timestamp is None
                if surplus and belongs(kept, found, network.name):
                    await self._delete(network, kept, found)

    async def _listed(self, kept: KeptKind, network: MultiNicNetwork) -> list[ForeignObject]:
        """The network's dependents of one kind, asked of the API itself."""
        listed = await self._world.kube.list(kept.resource, label_selector=OURS)
        return [found for found in listed if belongs(kept, found, network.name)]

    async def _delete(self, network: MultiNicNetwork, kept: KeptKind, found: KubeObject) -> None:
        await self._world.kube.delete(kept.resource, found.name, found.namespace, uid=found.metadata.uid)
        self._log("dependent removed", network, kept, Key(found.namespace, found.name))

    def _all_kept(self) -> Iterator[KeptKind]:
        for plugin in self._world.registry.main_plugins.objects.values():
            yield from keeps_of(plugin)

    def _kept_by(self, network: MultiNicNetwork, manifest: Mapping[str, Any], written: Written) -> KeptKind | None:
        """The kind that a manifest is of; None, with a problem, when the plugin does not keep it or forgot its name."""
        name = network.spec.plugin.type
        kinds = keeps_of(self._world.registry.main_plugins[name])
        metadata = manifest.get("metadata") or {}
        asked = (manifest.get("apiVersion"), manifest.get("kind"))
        for kept in kinds:
            resource = kept.resource
            named = metadata.get("name") and bool(metadata.get("namespace")) == resource.namespaced
            if asked == (resource.api_version, resource.kind) and named:
                return kept
        owner = self._world.registry.main_plugins.owners.get(name, "an unknown distribution")
        expected = [kept.resource.kind for kept in kinds]
        written.problems.append(
            f"main plugin {name!r} of {owner}: wants {asked[1]!r} of {asked[0]!r} named {metadata.get('name')!r} in"
            f" namespace {metadata.get('namespace')!r}, expected a named object of one of {expected!r}"
        )
        return None

    @staticmethod
    def _refusal(network: MultiNicNetwork, found: KubeObject) -> str:
        """Why an object is not ours, or ""."""
        if (found.metadata.labels or {}).get(GENERATED_LABEL) != "true":
            return f"is there without label {GENERATED_LABEL}=true, so somebody else's; rename or remove it"
        if (owner := _controller(found)) not in ("", f"MultiNicNetwork {network.name!r}"):
            return f"is there and belongs to {owner}; rename the network or remove that object"
        return ""

    @staticmethod
    def _unserved(kept: KeptKind) -> str:
        return f"the cluster does not serve {kept.resource.kind} ({kept.resource.group}); install what does"

    @staticmethod
    def _log(what: str, network: MultiNicNetwork, kept: KeptKind, key: Key) -> None:
        logger.info(what, extra={"network": network.name, "object": _named(kept, key)})
