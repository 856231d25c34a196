"""The SR-IOV operator's objects that a network wants, as manifests. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from multinic_plugin_sriov.args import SriovArgs
from multinic_plugin_sriov.kinds import NETWORKS, POLICIES
from multinic_plugin_sriov.layouts import RootDevices
from multinic_plugin_sriov.record import SELECTED_FOR, digest, record

CAPABLE = {"feature.node.kubernetes.io/network-sriov.capable": "true"}
"""Nodes with NICs that can have VFs. Source: label of Node Feature Discovery, which the SR-IOV operator uses too."""
HOSTNAME_LABEL = "kubernetes.io/hostname"


def own_resource_name(network: str) -> str:
    """The name of a network's own VFs, without prefix: the network's without dots and hyphens."""
    return network.replace(".", "").replace("-", "")


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def sriov_network(network: str, namespace: str, resource: str, args: SriovArgs) -> dict[str, Any]:
    """The object by which the SR-IOV operator knows that the resource is used."""
    spec = {
        "resourceName": resource,
        "vlan": args.vlan,
        "vlanQoS": args.vlan_qos,
        "spoofChk": args.spoofchk,
        "trust": args.trust,
        "linkState": args.link_state,
        "minTxRate": args.min_tx_rate,
        "maxTxRate": args.max_tx_rate,
    }
    return {
        "apiVersion": NETWORKS.api_version,
        "kind": NETWORKS.kind,
        "metadata": {"name": f"{network}-net", "namespace": namespace},
        "spec": _without_none(spec),
    }


def policies(
    network: str,
    namespace: str,
    resource: str,
    args: SriovArgs,
    devices: RootDevices,
    hostnames: Mapping[str, str],
    wanted: Mapping[str, Collection[str]],
) -> Iterator[dict[str, Any]]:
    """The policies that have the SR-IOV operator make VFs on these devices.

    Args:
        hostnames: node to the value of its label ``kubernetes.io/hostname``, where that is not its name.
        wanted: node to the PCI addresses of the network's NICs there.
    """

    def policy(name: str, selector: Mapping[str, str], addresses: Sequence[str], *nodes: str) -> dict[str, Any]:
        written_for = record({node: set(wanted[node]) & set(addresses) for node in nodes})
        spec = {
            "resourceName": resource,
            "nodeSelector": dict(selector),
            "priority": args.priority,
            "mtu": args.mtu or None,
            "numVfs": args.num_vfs,
            "nicSelector": {"rootDevices": list(addresses)},
            "isRdma": args.is_rdma,
            "needVhostNet": args.need_vhost_net,
        }
        return {
            "apiVersion": POLICIES.api_version,
            "kind": POLICIES.kind,
            "metadata": {"name": name, "namespace": namespace, "annotations": {SELECTED_FOR: written_for}},
            "spec": _without_none(spec),
        }

    if devices.everywhere:
        yield policy(network, CAPABLE, devices.everywhere, *wanted)
    for node, addresses in devices.on_node.items():
        selector = {HOSTNAME_LABEL: hostnames.get(node, node)}
        yield policy(f"{network}-{digest(node)}", selector, addresses, node)
