"""A cluster with the plugins sriov and mellanox, and with what their operators install unless a test says otherwise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from multinic_plugin_host_device import HostDevice, Mellanox
from multinic_plugin_host_device.cluster import NIC_CLUSTER_POLICIES
from multinic_plugin_sriov import Sriov
from multinic_plugin_sriov.kinds import NAMESPACE, NETWORKS, NODE_STATES, POLICIES

from multinic_core.model import ATTACHMENT_DEFINITIONS

KINDS = (POLICIES, NETWORKS, NODE_STATES, NIC_CLUSTER_POLICIES)


@dataclass
class Foreign:
    """What other operators and people do in a cluster, and what is there of them."""

    cluster: Any

    def state(self, node: str, nics: Mapping[str, str], **status: Any) -> None:
        """The SR-IOV operator has found these NICs, ifname to PCI address."""
        interfaces = [{"name": ifname, "pciAddress": address} for ifname, address in nics.items()]
        metadata = {"name": node, "namespace": NAMESPACE}
        self.cluster.kube.seed(NODE_STATES, {"metadata": metadata, "status": {"interfaces": interfaces, **status}})

    def two_nodes(self) -> None:
        for number in (1, 2):
            self.cluster.node(f"node-{number}", {"eth1": f"10.0.1.{number}/24", "eth2": f"10.0.2.{number}/24"})
            self.state(f"node-{number}", {"eth1": "0000:3b:00.0", "eth2": "0000:5e:00.0"})

    def network(self, name: str = "net", plugin: str = "sriov", **args: str) -> None:
        self.cluster.network(name, plugin={"cniVersion": "0.3.0", "type": plugin, "args": args})

    async def edit(self, name: str = "net", **args: str | None) -> None:
        """Set these arguments; None takes one away."""
        await self.cluster.edit(name, plugin={"args": args})

    def policies(self, *config: Any) -> None:
        """NicClusterPolicies with these device plugin configurations."""
        for number, one in enumerate(config):
            text = one if isinstance(one, str) else json.dumps(one)
            body = {"metadata": {"name": f"policy-{number}"}, "spec": {"sriovDevicePlugin": {"config": text}}}
            self.cluster.kube.seed(NIC_CLUSTER_POLICIES, body)

    def objects(self) -> dict[str, Any]:
        """The SR-IOV operator's objects by kind and name."""
        kube = self.cluster.kube
        return {
            f"{resource.kind} {item.name}": kube.raw(resource, item.name, item.namespace)
            for resource in (POLICIES, NETWORKS)
            for item in kube.store(resource).list()
        }

    def spec(self, name: str) -> Any:
        return self.objects()[name]["spec"]

    def definition(self, name: str = "net") -> Any:
        """The attachment definition, or None; its configuration parsed."""
        found = self.cluster.kube.store(ATTACHMENT_DEFINITIONS).get(name, "default")
        if found is not None:
            found = found.model_copy(update={"spec": json.loads(found.spec.config)})
        return found

    async def condition(self, kind: str = "Configured", name: str = "net") -> tuple[str, str, str]:
        status = await self.cluster.status(name)
        (found,) = [c for c in status.conditions if c.type == kind]
        return found.status, found.reason, found.message


@pytest.fixture
def foreign_maker(cluster_maker: Any) -> Any:
    """Makes clusters like :func:`foreign`."""

    def make() -> Foreign:
        cluster = cluster_maker()
        for plugin in (Sriov(), HostDevice(), Mellanox()):
            cluster.registry.main_plugins.objects[plugin.name] = plugin
        cluster.namespace(NAMESPACE)
        return Foreign(cluster)

    return make


@pytest.fixture
def foreign(foreign_maker: Any) -> Foreign:
    """A cluster with the SR-IOV operator and the NVIDIA network operator; use together with ``autojump_clock``."""
    made: Foreign = foreign_maker()
    return made
