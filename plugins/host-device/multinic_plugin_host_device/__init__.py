"""host-device and mellanox: pods get whole NICs and return them as they were.

Both end as ``host-device`` on the nodes; a ``mellanox`` network has its devices named by the NVIDIA network operator
(:mod:`.cluster`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from multinic_core import AttachmentRequest, MainPlugin, NetworkConfig, NodeView, Plan, hookimpl
from multinic_core.clusterfacts import NO_FACTS, ClusterFacts, KeptKind
from multinic_core.model import HostInterface, MultiNicNetwork
from multinic_core.plan import Nic
from multinic_plugin_host_device.args import HostDeviceArgs, MellanoxArgs
from multinic_plugin_host_device.cluster import NIC_CLUSTER_POLICIES, host_device_config, mellanox_config
from multinic_plugin_host_device.plan import plan_devices, unavailable


class HostDevice:
    """The main plugin ``host-device``."""

    name = "host-device"
    link_kinds: frozenset[str] = frozenset()
    args_model = HostDeviceArgs

    def network_config(self, network: MultiNicNetwork, nodes: Sequence[HostInterface]) -> NetworkConfig:
        """The arguments that the user wrote, and the resource that they name.

        Raises:
            ConfigError: an argument is unknown, does not fit, or names a second device.
        """
        return host_device_config(network)

    def unavailable(self, config: Mapping[str, Any], nic: Nic, node: NodeView) -> str:
        """Why a NIC is not meant, or cannot be given to a pod now; "" when it can."""
        return unavailable(config, nic, node)

    def plan(self, request: AttachmentRequest, node: NodeView) -> Plan:
        """One device per link: the one that the kubelet gave the pod, else the chosen NIC itself.

        Raises:
            ConfigError: arguments that do not fit, or a NIC that is not what they name.
            SelectionError: a device is in use.
        """
        return plan_devices(request, node)


class Mellanox:
    """The main plugin ``mellanox``: host-device with the names of the NVIDIA network operator's device plugin."""

    name = "mellanox"
    link_kinds: frozenset[str] = frozenset()
    args_model = MellanoxArgs
    reads = (NIC_CLUSTER_POLICIES,)
    keeps: tuple[KeptKind, ...] = ()

    def network_config(
        self, network: MultiNicNetwork, nodes: Sequence[HostInterface], facts: ClusterFacts = NO_FACTS
    ) -> NetworkConfig:
        """The configuration for host-device, and the pools of the first NicClusterPolicy.

        Raises:
            ConfigError: there are arguments, or the policy cannot be read.
        """
        return mellanox_config(network, facts)

    def unavailable(self, config: Mapping[str, Any], nic: Nic, node: NodeView) -> str:
        """Why a NIC is not meant, or cannot be given to a pod now; "" when it can."""
        return unavailable(config, nic, node)

    def plan(self, request: AttachmentRequest, node: NodeView) -> Plan:
        """As host-device. Raises as it does."""
        return plan_devices(request, node)


@hookimpl
def multinic_register_main_plugins() -> Sequence[MainPlugin]:
    return [HostDevice(), Mellanox()]
