"""What a main plugin must keep that reads objects of others or has dependents.

As the other conformance functions, this one raises AssertionError with one sentence.
"""

from __future__ import annotations

import json
from typing import Any

from multinic_core.clusterfacts import ClusterFacts, KeptKind, configure, keeps_of, reads_of
from multinic_core.hookspecs import MainPlugin, NetworkConfig
from multinic_core.model import MultiNicNetwork, Resource


def check_cluster_side(plugin: MainPlugin, network: MultiNicNetwork) -> None:
    """Hold a plugin to what it says about the cluster; nothing is asked of one that names no kinds.

    Args:
        network: one that it accepts.
    """
    reads, keeps = reads_of(plugin), keeps_of(plugin)
    if not reads and not keeps:
        return
    for kind in reads:
        assert isinstance(kind, Resource), f"reads: found {kind!r}, expected a Resource"
    for kept in keeps:
        assert isinstance(kept, KeptKind), f"keeps: found {kept!r}, expected a KeptKind"
    names = [kind.crd_name for kind in reads]
    for what, facts in (
        ("without the kinds that it reads", ClusterFacts(absent=frozenset(names))),
        ("without objects of the kinds that it reads", ClusterFacts(dict.fromkeys(names, ()))),
    ):
        config = configure(plugin, network, [], facts)
        assert isinstance(config, NetworkConfig), f"network_config: found {config!r} {what}, expected a NetworkConfig"
        assert configure(plugin, network, [], facts) == config, f"network_config: differs when asked again {what}"
        for wait in config.waits:
            assert isinstance(wait, str), f"network_config: waits for {wait!r} {what}, expected a sentence"
        _check_dependents(config, keeps)


def _check_dependents(config: NetworkConfig, keeps: tuple[KeptKind, ...]) -> None:
    kinds = {(kept.resource.api_version, kept.resource.kind): kept.resource for kept in keeps}
    seen: set[tuple[Any, ...]] = set()
    for manifest in config.dependents:
        shown = f"network_config: dependent {manifest!r}"
        assert json.loads(json.dumps(manifest)) == manifest, f"{shown} is not plain JSON"
        resource = kinds.get((str(manifest.get("apiVersion")), str(manifest.get("kind"))))
        assert resource is not None, f"{shown} is of a kind that keeps does not name"
        metadata = manifest.get("metadata") or {}
        assert metadata.get("name"), f"{shown} has no name"
        assert bool(metadata.get("namespace")) == resource.namespaced, (
            f"{shown} is in namespace {metadata.get('namespace')!r}"
        )
        place = (resource.crd_name, metadata.get("namespace"), metadata["name"])
        assert place not in seen, f"{shown} is wanted twice"
        seen.add(place)
