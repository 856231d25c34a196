"""Networks whose pods would use the same NICs in ways that do not go together: told, not refused. Pure.

A policy may keep their pods on different NICs or nodes, and a node refuses the pod that comes second by name
(:mod:`multinic_core.parents` has the kernel's rule). In which way a network uses a NIC its main plugin says, by the
plan that it makes for one.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from multinic_core.errors import MultinicError
from multinic_core.hookspecs import MainPlugin
from multinic_core.model import MultiNicNetwork, ObjectMeta
from multinic_core.parents import go_together, use_of_parent
from multinic_core.plan import AttachmentRequest, LinkRequest, Nic, NodeView, PodReference
from multinic_core.registry import Registry

_NODE = NodeView("", {"nic": Nic("nic", 1, mtu=65535)})
_LINKS = (LinkRequest("net1-0", "nic"),)
NAMES_IN_MESSAGE = 3

Use = tuple[str, int]
"""In which way NICs are used, and on which VLAN; "" when it goes together with everything."""


def mixed_uses(network: MultiNicNetwork, networks: Iterable[MultiNicNetwork], registry: Registry) -> list[str]:
    """One sentence when others use the same NICs in ways that do not go together with this network's, else [].

    Args:
        networks: all that there are; this one among them is passed over.
    """
    use, vlan = _use(network, registry)
    if not use:
        return []
    found = [
        f"{other.name!r} ({theirs})"
        for other in networks
        if other.name != network.name and _overlap(network, other)
        for theirs, their_vlan in [_use(other, registry)]
        if their_vlan == vlan and not go_together(use, theirs)
    ]
    if not found:
        return []
    names = ", ".join(sorted(found)[:NAMES_IN_MESSAGE]) + (", …" if len(found) > NAMES_IN_MESSAGE else "")
    return [
        f"spec.plugin: found {use}, which does not go on one NIC with network{'s' if len(found) > 1 else ''} {names}:"
        " a pod of one gets no NIC that a pod of the other has; use the same, other spec.masterNets, or a VLAN of its"
        " own by spec.plugin.args.vlan"
    ]


def _overlap(one: MultiNicNetwork, other: MultiNicNetwork) -> bool:
    """Whether they may use the same NICs: without masterNets a network uses all."""
    mine, theirs = one.spec.master_nets, other.spec.master_nets
    return not mine or not theirs or not set(mine).isdisjoint(theirs)


def _use(network: MultiNicNetwork, registry: Registry) -> Use:
    plugin = registry.main_plugins.objects.get(network.spec.plugin.type)
    if plugin is None or not plugin.link_kinds:
        return "", 0
    args = tuple(sorted((network.spec.plugin.args or {}).items()))
    return _use_of(plugin, network.spec.plugin.type, args)  # type: ignore[arg-type]  # hashed by identity, as objects are


@lru_cache(maxsize=4096)
def _use_of(plugin: MainPlugin, kind: str, args: tuple[tuple[str, str], ...]) -> Use:
    """Kept, as each network is compared with all others, and few differ in their arguments."""
    network = _example(kind, dict(args))
    try:
        block = plugin.network_config(network, ()).plugin
        request = AttachmentRequest("", "net1", "", "", PodReference(), {"type": kind, **block}, _LINKS)
        links = plugin.plan(request, _NODE).links
    except MultinicError:
        return "", 0  # it cannot work as written, which is told with itself
    except Exception:
        return "", 0
    return (use_of_parent(links[0].link_kind, links[0].attributes), links[0].vlan) if links else ("", 0)


def _example(kind: str, args: dict[str, str]) -> MultiNicNetwork:
    spec = {"ipam": "", "multiNICIPAM": False, "plugin": {"cniVersion": "0.3.0", "type": kind, "args": args}}
    return MultiNicNetwork.model_validate({"metadata": ObjectMeta(name="example"), "spec": spec})
