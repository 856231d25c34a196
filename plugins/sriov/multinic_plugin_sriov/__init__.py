"""SR-IOV: pods get virtual functions of a NIC, natively.

In the cluster a network becomes objects of the SR-IOV operator, which makes the VFs and lets pods ask for them
(:mod:`.cluster`); on the node a VF gets the network's settings and goes into the pod.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from multinic_core import AttachmentRequest, MainPlugin, NetworkConfig, NodeView, Plan, hookimpl
from multinic_core.clusterfacts import NO_FACTS, ClusterFacts
from multinic_core.model import HostInterface, MultiNicNetwork
from multinic_core.plan import Nic
from multinic_plugin_sriov.args import SriovArgs
from multinic_plugin_sriov.cluster import KEEPS, READS, cluster_config
from multinic_plugin_sriov.plan import plan_vfs, unavailable, wanted_vfs


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

    def wanted_vfs(self, config: Mapping[str, Any]) -> int:
        """How many VFs the node shall make on each NIC of the network; 0: none, others do."""
        return wanted_vfs(config)

    def unavailable(self, config: Mapping[str, Any], nic: Nic, node: NodeView) -> str:
        """Why a NIC has no VF for another link now, or ""."""
        return unavailable(config, nic, node)

    def plan(self, request: AttachmentRequest, node: NodeView) -> Plan:
        """One VF per link.

        Raises:
            ConfigError: arguments that do not fit, or that the NIC cannot honour.
            SelectionError: no VF is free, or the one that is named is in use.
        """
        return plan_vfs(request, node)


@hookimpl
def multinic_register_main_plugins() -> Sequence[MainPlugin]:
    return [Sriov()]
