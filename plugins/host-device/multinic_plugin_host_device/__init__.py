"""host-device and mellanox: pods get whole NICs and return them as they were.

Both end as ``host-device`` on the nodes; a ``mellanox`` network has its devices named by the NVIDIA network operator
(:mod:`.cluster`).
"""

from __future__ import annotations

from collections.abc import Sequence

from multinic_core import AttachmentRequest, ConfigError, MainPlugin, NetworkConfig, NodeView, Plan, hookimpl
from multinic_core.clusterfacts import NO_FACTS, ClusterFacts, KeptKind
from multinic_core.model import HostInterface, MultiNicNetwork
from multinic_plugin_host_device.args import HostDeviceArgs, MellanoxArgs
from multinic_plugin_host_device.cluster import NIC_CLUSTER_POLICIES, host_device_config, mellanox_config


def plan_devices(request: AttachmentRequest, node: NodeView) -> Plan:
    """One device per chosen NIC.

    Raises:
        ConfigError: the node cannot give devices.
    """
    raise ConfigError(f"host-device: node {node.name!r} gives none yet of {[link.parent for link in request.links]!r}")


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

    def plan(self, request: AttachmentRequest, node: NodeView) -> Plan:
        """One device per chosen NIC.

        Raises:
            ConfigError: the node cannot give devices.
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

    def plan(self, request: AttachmentRequest, node: NodeView) -> Plan:
        """As host-device.

        Raises:
            ConfigError: the node cannot give devices.
        """
        return plan_devices(request, node)


@hookimpl
def multinic_register_main_plugins() -> Sequence[MainPlugin]:
    return [HostDevice(), Mellanox()]
