"""A running operator and networks of whole devices: the NVIDIA operator's policy decides what pods ask for."""

from __future__ import annotations

import json
from typing import Any

from multinic_operator.dependents.kinds import ForeignKinds
from multinic_operator.validation.surroundings import Watch
from multinic_operator.webhook.judging import Judging
from multinic_operator.webhook.review import Question
from multinic_operator.world import World
from multinic_plugin_host_device import Mellanox
from multinic_plugin_host_device.cluster import NIC_CLUSTER_POLICIES

from multinic_core.model import MultiNicNetwork

ANNOTATION = "k8s.v1.cni.cncf.io/resourceName"


def pools(*names: str) -> dict[str, Any]:
    return {"resourceList": [{"resourcePrefix": "nvidia.com", "resourceName": name} for name in names]}


async def rewrite(foreign: Any, config: Any) -> None:
    """The administrator changes the first policy."""
    text = config if isinstance(config, str) else json.dumps(config)
    spec = {"sriovDevicePlugin": {"config": text}}
    await foreign.cluster.kube.patch(NIC_CLUSTER_POLICIES, "policy-0", {"spec": spec})


async def test_pods_ask_for_the_pools_of_the_policy(foreign: Any, autojump_clock: Any) -> None:
    """The definition is for host-device, with name and ipam, and names all pools; edits of the policy reach it."""
    foreign.two_nodes()
    foreign.policies(pools("rail1", "rail2"))
    foreign.network(plugin="mellanox")
    async with foreign.cluster.running():
        definition = foreign.definition()
        assert definition.metadata.annotations == {ANNOTATION: "nvidia.com/rail1,nvidia.com/rail2"}
        plugin = definition.spec["plugin"]
        assert sorted(plugin) == ["cniVersion", "ipam", "name", "type"]
        assert (plugin["type"], plugin["name"], plugin["cniVersion"]) == ("host-device", "net", "0.3.0")
        assert plugin["ipam"] == definition.spec["ipam"]
        await rewrite(foreign, pools("rail3"))
        await foreign.cluster.quiet()
        assert foreign.definition().metadata.annotations == {ANNOTATION: "nvidia.com/rail3"}


async def test_a_policy_that_breaks_changes_no_definition(foreign: Any, autojump_clock: Any) -> None:
    """What cannot be read is told with its place; running pods keep what they have, until it is mended."""
    foreign.two_nodes()
    foreign.policies(pools("rail1"))
    foreign.network(plugin="mellanox")
    async with foreign.cluster.running():
        before = foreign.definition()
        await rewrite(foreign, pools("rail1", ""))
        await foreign.cluster.quiet()
        status, reason, message = await foreign.condition()
        assert (status, reason) == ("False", "InvalidConfiguration")
        assert "NicClusterPolicy 'policy-0' spec.sriovDevicePlugin.config.resourceList[1].resourceName" in message
        await rewrite(foreign, pools())
        await foreign.cluster.quiet()
        status, reason, message = await foreign.condition()
        assert (status, reason) == ("False", "Waiting")
        assert "failed to get resource annotation from sriov plugin config" in message
        assert foreign.definition() == before
        await rewrite(foreign, pools("rail2"))
        await foreign.cluster.quiet()
        assert foreign.definition().metadata.annotations == {ANNOTATION: "nvidia.com/rail2"}
        assert await foreign.condition() == ("True", "Configured", "")


async def test_without_the_nvidia_operator_a_network_waits(foreign: Any, autojump_clock: Any) -> None:
    """First the kind, then an object is missing; each is told, and the definition is made when both are there."""
    foreign.cluster.kube.uninstall(NIC_CLUSTER_POLICIES)
    foreign.cluster.node("node-1", {"eth1": "10.0.1.1/24"})
    foreign.network(plugin="mellanox")
    async with foreign.cluster.running():
        assert "install the NVIDIA network operator" in (await foreign.condition())[2]
        foreign.cluster.kube.install(NIC_CLUSTER_POLICIES)
        await foreign.cluster.quiet()
        assert "there is no NicClusterPolicy; make one" in (await foreign.condition())[2]
        assert foreign.definition() is None
        foreign.policies(pools("rail1"))
        await foreign.cluster.quiet()
        assert foreign.definition().metadata.annotations == {ANNOTATION: "nvidia.com/rail1"}


async def test_the_webhook_warns_of_what_a_network_will_wait_for(
    foreign: Any, make_network: Any, autojump_clock: Any
) -> None:
    """It refuses nothing for a lack of what may come, and looks only at kinds that are followed already."""
    world = World.watch(foreign.cluster.kube, foreign.cluster.registry, now=foreign.cluster.now)
    kinds = ForeignKinds(world, lambda resource: None)
    judging = Judging(world, Watch(world), kinds)
    body = make_network(plugin={"cniVersion": "0.3.0", "type": "mellanox"})
    question = Question(MultiNicNetwork.model_validate(body), None)
    assert judging.judge(question) == []
    await kinds.facts(Mellanox())
    (warning,) = judging.judge(question)
    assert "there is no NicClusterPolicy" in warning
    foreign.policies(pools("rail1"))
    assert judging.judge(question) == []


async def test_host_device_networks_need_no_other_operator(foreign: Any, autojump_clock: Any) -> None:
    """A device plugin of whoever is named by the network itself."""
    foreign.cluster.kube.uninstall(NIC_CLUSTER_POLICIES)
    foreign.two_nodes()
    foreign.network(plugin="host-device", resourceName="example.org/nics", mtu="9000")
    await foreign.cluster.settle()
    assert foreign.definition().metadata.annotations == {ANNOTATION: "example.org/nics"}
    assert foreign.definition().spec["plugin"]["mtu"] == 9000
    assert await foreign.condition() == ("True", "Configured", "")
