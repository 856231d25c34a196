"""What an SR-IOV network wants in the cluster: a name for its VFs, and the SR-IOV operator's objects that make them.

Which PCI addresses a network's NICs have is read from the SR-IOV operator's own view of each node, by the interface
names that the node's HostInterface shows. Pure; the operator of multinic reads and writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from multinic_core import ConfigError, NetworkConfig
from multinic_core.clusterfacts import ClusterFacts, ForeignObject, belongs
from multinic_core.model import RESOURCE_ANNOTATION, HostInterface, HostInterfaceEntry, MultiNicNetwork
from multinic_core.rows import nic_network
from multinic_plugin_sriov.args import SriovArgs, for_the_node, sriov_args
from multinic_plugin_sriov.kinds import KEEPS, NAMESPACE, NODE_STATES, POLICIES, READS, SriovNodeState
from multinic_plugin_sriov.layouts import NodeLayout, root_devices
from multinic_plugin_sriov.objects import HOSTNAME_LABEL, own_resource_name, policies, sriov_network
from multinic_plugin_sriov.record import SELECTED_FOR, digest, recorded

__all__ = ["KEEPS", "READS", "cluster_config"]

PREFIX = "openshift.io"
"""Of all resources that the SR-IOV operator's device plugin offers."""
NODES_IN_MESSAGE = 5


def cluster_config(network: MultiNicNetwork, nodes: Sequence[HostInterface], facts: ClusterFacts) -> NetworkConfig:
    """The configuration of a network.

    Raises:
        ConfigError: arguments that do not fit, or a name for the VFs that is somebody else's.
    """
    args = sriov_args(network.spec.plugin.args or {})
    block = for_the_node(args)
    if args.manage_vfs:
        return NetworkConfig(block)
    resource = args.resource_name or own_resource_name(network.name)
    annotations = {RESOURCE_ANNOTATION: f"{PREFIX}/{resource}"}
    states = facts.of(NODE_STATES)
    if states is None:
        missing = (
            f"the cluster does not serve {NODE_STATES.kind} ({NODE_STATES.group}); install the SR-IOV operator, or set"
            " spec.plugin.args.manageVfs to 'true' to have the nodes make VFs themselves",
        )
        return NetworkConfig(block, annotations, waits=missing if facts.lacks(NODE_STATES) else ())
    namespace = _namespace(states)
    holder = sriov_network(network.name, namespace, resource, args)
    if args.resource_name:
        return NetworkConfig(block, annotations, (holder,))
    existing = facts.of(POLICIES) or ()
    _refuse_taken(network.name, resource, existing)
    return _with_policies(network, nodes, facts, states, existing, NetworkConfig(block, annotations, (holder,)), args)


def _with_policies(
    network: MultiNicNetwork,
    nodes: Sequence[HostInterface],
    facts: ClusterFacts,
    states: Sequence[SriovNodeState],
    existing: Sequence[ForeignObject],
    config: NetworkConfig,
    args: SriovArgs,
) -> NetworkConfig:
    """The configuration with the policies that select the network's NICs on these nodes."""
    own = [policy for policy in existing if belongs(KEEPS[0], policy, network.name)]
    selected = {address for policy in own for address in policy.part("spec", "nicSelector", "rootDevices") or ()}
    before = recorded((policy.metadata.annotations or {}).get(SELECTED_FOR, "{}") for policy in own)
    by_node = {state.name: state for state in states}
    layouts: dict[str, NodeLayout] = {}
    without: dict[str, list[str]] = {}
    for host in nodes:
        nics = _wanted(network, host)
        layout = _layout(host, nics, by_node.get(host.name), selected, before.get(digest(host.name), set()) & selected)
        if layout.wanted or layout.present:
            layouts[host.name] = layout
        if nics and not layout.wanted:
            without[host.name] = [nic.interface_name for nic in nics]
    notes = (f"no NIC that can have VFs on {_some(without)}",) if without else ()
    devices = root_devices(layouts)
    if not devices:
        found = _some(without) if without else "no node that has NICs of this network"
        waits = (f"no NIC of this network can have VFs, as the {NODE_STATES.kind} objects show; found {found}",)
        return NetworkConfig(config.plugin, config.annotations, waits=waits)
    namespace = str(config.dependents[0]["metadata"]["namespace"])
    hostnames = {node: labels[HOSTNAME_LABEL] for node, labels in facts.nodes.items() if HOSTNAME_LABEL in labels}
    resource = own_resource_name(network.name)
    of_nodes = {node: layout.wanted for node, layout in layouts.items()}
    wanted = (*policies(network.name, namespace, resource, args, devices, hostnames, of_nodes), *config.dependents)
    return NetworkConfig(config.plugin, config.annotations, wanted, notes=notes)


def _namespace(states: Sequence[SriovNodeState]) -> str:
    """The SR-IOV operator's own, which its node states are in."""
    found = {state.namespace for state in states}
    return NAMESPACE if NAMESPACE in found or not found else min(found)


def _wanted(network: MultiNicNetwork, host: HostInterface) -> list[HostInterfaceEntry]:
    """The NICs of a node that belong to the network."""
    nets = {nic_network(text) for text in network.spec.master_nets or ()}
    return [nic for nic in host.spec.interfaces if not nets or nic_network(nic.net_address or "") in nets]


def _layout(
    host: HostInterface,
    nics: Sequence[HostInterfaceEntry],
    state: SriovNodeState | None,
    selected: set[str],
    before: set[str],
) -> NodeLayout:
    """The NICs of one node by PCI address.

    What is not known now stays as the network has selected it, or the VFs of running pods would go: everything while
    the state shows no NIC at all, as when the SR-IOV operator starts on the node, and a NIC that the state shows and
    HostInterface does not show in any network, as when it is down or has lost its address.

    Args:
        nics: those of the network.
        selected: what its policies select on any node.
        before: what they were written for on this node.
    """
    found = {nic.name: nic.pci_address for nic in (state.status.interfaces or () if state else ()) if nic.pci_address}
    if not found:
        kept = frozenset(nic.pci_address for nic in nics if nic.pci_address and nic.pci_address in selected) | before
        return NodeLayout(kept, kept)
    placed = {nic.interface_name for nic in host.spec.interfaces if nic.net_address}
    wanted = {found[nic.interface_name] for nic in nics if nic.interface_name in found}
    wanted |= {address for name, address in found.items() if name not in placed and address in before}
    return NodeLayout(frozenset(wanted), frozenset(found.values()))


def _refuse_taken(network: str, resource: str, existing: Sequence[ForeignObject]) -> None:
    """Refuse a resource that other policies make: pods of this network would get VFs of other NICs."""
    for policy in existing:
        if policy.part("spec", "resourceName") == resource and not belongs(KEEPS[0], policy, network):
            raise ConfigError(
                f"spec.plugin.args.resourceName: found '', which stands for {resource!r}, made from the network's name,"
                f" but {POLICIES.kind} {policy.namespace}/{policy.name} gives that name to its VFs; expected"
                f" {resource!r} to have those, or another name of the network"
            )


def _some(nodes: Mapping[str, Sequence[str]]) -> str:
    """The first of these nodes, with their NICs."""
    names = [f"{node} ({', '.join(nics)})" for node, nics in sorted(nodes.items())[:NODES_IN_MESSAGE]]
    more = [f"{len(nodes) - NODES_IN_MESSAGE} more"] if len(nodes) > NODES_IN_MESSAGE else []
    return ", ".join([*names, *more])
