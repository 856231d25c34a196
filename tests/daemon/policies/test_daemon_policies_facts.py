"""What strategies are told of classes, labels and indexes, and where it comes from."""

from typing import Any

import pytest
from multinic_daemon.devices import PodDevices
from multinic_daemon.podfacts import NodeFactSource
from multinic_daemon.pods import NodePods
from multinic_daemon.testing.rig import NODE

from multinic_core.errors import ApiError, DaemonUnavailableError, SelectionError
from multinic_core.model import DEVICE_CLASSES, NETWORKS
from multinic_core.plan import PodReference

JOB = "batch.kubernetes.io/job-name"


class NoDevices:
    """A kubelet that gave nothing to anybody."""

    async def of_pod(self, pod: PodReference) -> PodDevices:
        return PodDevices(pod)


def device_class(*ids: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "fast"}, "spec": {"ids": list(ids)}}


async def test_a_class_is_known_from_the_watch(node: Any) -> None:
    """Nobody is asked on the way of a pod; vendors and products count in either case; edits take effect at once."""
    node.add_network("class", "devClass")
    node.change_nics("eth2", "eth3", vendor="15b3", product="101b")
    node.change_nics("eth1", vendor="8086", product="1592")
    node.rig.kubernetes.seed(DEVICE_CLASSES, device_class({"vendor": "15B3", "products": ["101B"]}))
    node.rig.kubernetes.fail(ApiError("asked", status=500), verb="get", times=100)
    assert await node.add("class", "c1", **{"class": "fast"}) == ["eth2", "eth3"]
    assert await node.add("class", "c2", nics=1, **{"class": "fast"}) == ["eth2"]
    assert "class: found 'slow', expected the name of a DeviceClass" in await node.refused(
        SelectionError, "class", "c3", **{"class": "slow"}
    )


async def test_an_edited_class_counts_for_the_next_pod(node: Any) -> None:
    """A vendor without products means all of them."""
    node.add_network("class", "devClass")
    node.change_nics("eth1", vendor="8086", product="1592")
    node.rig.kubernetes.seed(DEVICE_CLASSES, device_class({"vendor": "15b3"}))
    assert "no NIC can be chosen: eth1: vendor 8086, product 1592: not of 'fast'" in await node.refused(
        SelectionError, "class", "c1", **{"class": "fast"}
    )
    await node.rig.kubernetes.patch(DEVICE_CLASSES, "fast", {"spec": {"ids": [{"vendor": "8086"}]}})
    assert await node.add("class", "c1", **{"class": "fast"}) == ["eth1"]


async def test_pods_of_one_job_get_the_same_rails_on_every_node(node: Any) -> None:
    """By the job's name on the pod, which is fetched when no watch has shown it; other jobs get other rails."""
    node.add_network("rail", "rail")
    facts = NodeFactSource(NodePods(node.rig.kubernetes, NODE), NoDevices())
    node.rig.engine.facts = facts
    node.add_pods({f"c{number}": {JOB: f"job-{number % 5}"} for number in range(20)})
    got = [await node.add("rail", f"c{number}", nics=1) for number in range(20)]
    assert [got[number] for number in range(20)] == [got[number % 5] for number in range(20)]
    assert len({nics[0] for nics in got}) == 3


async def test_a_pod_that_the_watch_has_not_brought_is_fetched(node: Any) -> None:
    """Once, and its absence from the API is an error to try again after, as its job is not known."""
    node.add_network("rail", "rail")
    node.rig.engine.facts = NodeFactSource(NodePods(node.rig.kubernetes, NODE), NoDevices())
    with node.rig.kubernetes.stale():
        node.add_pods({"c1": {JOB: "train"}})
        assert len(await node.add("rail", "c1", nics=1)) == 1
    told = await node.refused(DaemonUnavailableError, "rail", "c2", nics=1)
    assert told.startswith("pod default/pod-c2: its labels are not known, and the API said: ")


async def test_a_pod_of_the_same_name_is_not_the_pod(node: Any) -> None:
    """The one before it may have had another job."""
    node.add_network("rail", "rail")
    node.rig.engine.facts = NodeFactSource(NodePods(node.rig.kubernetes, NODE), NoDevices())
    node.add_pods({"c1": {JOB: "train"}})
    older, node.uids["c1"] = node.uids["c1"], "newer"
    told = await node.refused(DaemonUnavailableError, "rail", "c1", nics=1)
    said = "its labels are not known: the API shows another pod of this name"
    assert told == f"pod default/pod-c1: {said}, UID {older}"


async def test_the_label_can_be_chosen(node: Any) -> None:
    """``attachPolicy.args.label`` names it; a pod without it is refused, with an Event."""
    node.add_network("rail", "rail", args={"label": "team/job"})
    node.rig.engine.facts = NodeFactSource(NodePods(node.rig.kubernetes, NODE), NoDevices())
    node.add_pods({"c1": {"team/job": "train"}, "c2": {JOB: "train"}})
    assert len(await node.add("rail", "c1", nics=1)) == 1
    assert "none of the labels ['team/job']" in await node.refused(SelectionError, "rail", "c2", nics=1)
    assert [event.pod.name for event in node.events] == ["pod-c2"]


@pytest.mark.parametrize("missing", ["eth1", "eth2", "eth3"])
async def test_a_node_that_lacks_a_nic_gives_its_pods_no_other_rails(node: Any, missing: str) -> None:
    """Each job has the rails that it has on nodes with all NICs, or is refused; the last NIC is no exception."""
    node.add_network("rail", "rail")
    node.rig.engine.facts = NodeFactSource(NodePods(node.rig.kubernetes, NODE), NoDevices())
    node.add_pods({f"c{number}": {JOB: f"job-{number % 8}"} for number in range(16)})
    whole = [await node.add("rail", f"c{number}", nics=1) for number in range(8)]
    node.rig.view = node.rig.view.__class__(
        NODE, {ifname: nic for ifname, nic in node.rig.view.nics.items() if ifname != missing}
    )
    for number in range(8):
        if whole[number] == [missing]:
            told = await node.refused(SelectionError, "rail", f"c{number + 8}", nics=1)
            assert "this node has no NIC with index" in told
        else:
            assert await node.add("rail", f"c{number + 8}", nics=1) == whole[number]
    assert [missing] in whole


async def test_an_edited_policy_counts_for_the_next_pod(node: Any) -> None:
    """Pods that run keep what they have."""
    node.add_network("edited", "none")
    assert await node.add("edited", "c1", nics=1) == ["eth1"]
    policy = {"spec": {"attachPolicy": {"strategy": "costOpt", "target": "9Gbps"}}}
    await node.rig.kubernetes.patch(NETWORKS, "edited", policy)
    node.change_nics("eth3", speed=9_000)
    assert await node.add("edited", "c2") == ["eth3"]
    assert await node.add("edited", "c1", nics=1) == ["eth1"]
