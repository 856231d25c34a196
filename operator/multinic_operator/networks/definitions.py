"""NetworkAttachmentDefinitions: the same one in every namespace that a network is offered to.

What we made carries the label ``multi-nic-cni-generated: "true"`` and no controller of another kind; anything else of
the same name is someone else's and is never touched.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from multinic_core.errors import ApiError
from multinic_core.model import (
    ATTACHMENT_DEFINITIONS,
    GENERATED_LABEL,
    MultiNicNetwork,
    NetworkAttachmentDefinition,
    NetworkAttachmentDefinitionSpec,
    ObjectMeta,
)
from multinic_operator.ownership import owner_change, owner_reference
from multinic_operator.settings import current_spec
from multinic_operator.together import each
from multinic_operator.validation.validate import Intent
from multinic_operator.world import World

logger = logging.getLogger(__name__)

CNI_VERSION = "0.3.0"
"""``cniVersion`` of every definition; the runtime may ask for a newer one in its own list."""
DAEMON_PORT = 11000
"""Written for CNI executables of the original; ours has no use for it."""
STANDARD_PREFIX = "k8s.v1.cni.cncf.io/"
"""Annotations of this prefix on a definition of ours are ours; others may be anybody's and stay."""


def is_ours(definition: NetworkAttachmentDefinition) -> bool:
    """Whether we or the original made it: it has the label, and nobody but a MultiNicNetwork controls it."""
    owners = [reference for reference in definition.metadata.owner_references or [] if reference.controller]
    foreign = any(owner.kind != "MultiNicNetwork" for owner in owners)
    return (definition.metadata.labels or {}).get(GENERATED_LABEL) == "true" and not foreign


def _sorted(value: Any) -> Any:
    """The same JSON with sorted keys, at every depth."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def netconf(network: MultiNicNetwork, intent: Intent, master_nets: Sequence[str], cni_type: str = "multi-nic") -> str:
    """The CNI network configuration, as JSON text with the keys in the order in which the original writes them.

    Args:
        cni_type: name of the executable that the runtime calls.
        master_nets: networks of the NICs that pods may get, in the order of their interface indexes.
    """
    plugin = network.spec.plugin
    config: dict[str, Any] = {
        "cniVersion": CNI_VERSION,
        "name": network.name,
        "type": cni_type,
        "ipam": _sorted(dict(intent.ipam)),
        "dns": plugin.dns.to_json() if plugin.dns else {},
        "plugin": _sorted({"cniVersion": plugin.cni_version, "type": plugin.type, **intent.config.plugin}),
        "subnet": network.spec.subnet or "",
        "masterNets": list(master_nets),
    }
    if network.spec.multi_nic_ipam:
        config["multiNICIPAM"] = True
    if plugin.capabilities:
        config["capabilities"] = _sorted(plugin.capabilities)
    config |= {"daemonIP": "", "daemonPort": DAEMON_PORT}
    return json.dumps(config, separators=(",", ":"))


def desired_definition(
    network: MultiNicNetwork, intent: Intent, master_nets: Sequence[str], cni_type: str = "multi-nic"
) -> NetworkAttachmentDefinition:
    """The definition, without its namespace."""
    return NetworkAttachmentDefinition(
        metadata=ObjectMeta(
            name=network.name,
            labels={GENERATED_LABEL: "true"},
            annotations=dict(intent.config.annotations) or None,
            owner_references=[owner_reference(network)],
        ),
        spec=NetworkAttachmentDefinitionSpec(config=netconf(network, intent, master_nets, cni_type)),
    )


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None


def difference(found: NetworkAttachmentDefinition, wanted: NetworkAttachmentDefinition) -> dict[str, Any]:
    """The merge patch that makes a definition of ours as wanted; {} when it means the same already."""
    patch: dict[str, Any] = {}
    if _parsed(found.spec.config) != _parsed(wanted.spec.config):
        patch["spec"] = {"config": wanted.spec.config}
    metadata: dict[str, Any] = {}
    have, want = found.metadata.annotations or {}, wanted.metadata.annotations or {}
    annotations: dict[str, str | None] = {name: value for name, value in want.items() if have.get(name) != value}
    annotations |= {name: None for name in have if name.startswith(STANDARD_PREFIX) and name not in want}
    if annotations:
        metadata["annotations"] = annotations
    metadata |= owner_change(found, wanted)
    if metadata:
        patch["metadata"] = metadata
    return patch


def wanted_namespaces(world: World, network: MultiNicNetwork, problems: list[str]) -> list[str]:
    """Namespaces that get the definition: those listed, or all Active ones; sorted."""
    active = {item.name for item in world.namespaces.list() if item.status.phase == "Active"}
    listed = set(network.spec.namespaces or [])
    existing = {item.name for item in world.namespaces.list()}
    for name in sorted(listed - existing):
        position = (network.spec.namespaces or []).index(name)
        problems.append(f"spec.namespaces[{position}]: found {name!r}, which does not exist; create it or leave it out")
    return sorted(active & listed if listed else active)


async def write_definitions(
    world: World, network: MultiNicNetwork, intent: Intent, master_nets: Sequence[str]
) -> list[str]:
    """Have our definition in exactly the wanted namespaces.

    Returns:
        One sentence for each namespace that cannot have it.
    """
    problems: list[str] = []
    namespaces = wanted_namespaces(world, network, problems)
    wanted = desired_definition(network, intent, master_nets, current_spec(world.configs).cni_type)

    async def ensure(namespace: str) -> None:
        found = world.definitions.get(network.name, namespace)
        if found is None:
            body = wanted.model_copy(update={"metadata": wanted.metadata.model_copy(update={"namespace": namespace})})
            try:
                await world.kube.create(ATTACHMENT_DEFINITIONS, body)
            except ApiError as error:
                if error.api_reason != "AlreadyExists":
                    raise
                found = await world.kube.get(ATTACHMENT_DEFINITIONS, network.name, namespace)
            else:
                logger.info("attachment definition made", extra={"network": network.name, "namespace": namespace})
                return
        if not is_ours(found):
            problems.append(
                f"namespace {namespace!r}: a NetworkAttachmentDefinition {network.name!r} without label"
                f" {GENERATED_LABEL}=true, or with another controller, is there; rename or remove it"
            )
        elif patch := difference(found, wanted):
            await world.kube.patch(ATTACHMENT_DEFINITIONS, network.name, patch, namespace=namespace)
            logger.info("attachment definition changed", extra={"network": network.name, "namespace": namespace})

    await each(partial(ensure, namespace) for namespace in namespaces)
    surplus = [d for d in world.definitions.list() if d.name == network.name and d.namespace not in namespaces]
    await delete_definitions(world, surplus)
    return sorted(problems)


async def delete_definitions(world: World, definitions: Sequence[NetworkAttachmentDefinition]) -> None:
    """Delete those of these definitions that are ours."""
    for found in definitions:
        if is_ours(found) and found.metadata.deletion_timestamp is None:
            await world.kube.delete(ATTACHMENT_DEFINITIONS, found.name, found.namespace, uid=found.metadata.uid)
            logger.info("attachment definition deleted", extra={"network": found.name, "namespace": found.namespace})
