"""SR-IOV: pods get virtual functions of a NIC, natively.

In the cluster a network becomes objects of the SR-IOV operator, which makes the VFs and lets pods ask for them
(:mod:`.cluster`); on the node a VF gets the network's settings and goes into the pod.
"""

from __future__ import annotations

from collections.abc import Sequence

from multinic_core import AttachmentRequest, ConfigError, MainPlugin, NetworkConfig, NodeView, Plan, hookimpl
from multinic_core.clusterfacts import NO_FACTS, ClusterFacts
from multinic_core.model import HostInterface, MultiNicNetwork
from multinic_plugin_sriov.args import SriovArgs
from multinic_plugin_sriov.cluster import KEEPS, READS, cluster_config


class Sriov:
    """The main plugin ``sriov``."""

    name = "sriov"
    link_kinds: frozenset[str] = frozenset()
    args_model = SriovArgs
    reads = READS
    keeps = KEEPS

    def network_config(
        self, network: MultiNicNetwork, nodes: Sequence[HostInterface], facts: ClusterFacts = NO_FACTS
    ) -> NetworkConfig:
        """The arguments for the node, the name of the VFs, and the SR-IOV operator's objects.

        Raises:
            ConfigError: an argument is unknown, does not fit, or contradicts another.
        """
        return cluster_config(network, nodes, facts)

    def plan(self, request: AttachmentRequest, node: NodeView) -> Plan:
        """One VF per chosen NIC.

        Raises:
            ConfigError: the node cannot give VFs.
        """
        raise ConfigError(f"sriov: node {node.name!r} gives no VFs yet to {[link.parent for link in request.links]!r}")


@hookimpl
def multinic_register_main_plugins() -> Sequence[MainPlugin]:
    return [Sriov()]
