"""What strategies are told: how much NICs are used, which indexes they have, and which pods there are."""

from typing import Any

import pytest
import trio
from multinic_daemon.engine.inputs import class_ids, nic_indexes, nic_uses
from multinic_daemon.journal.uses import Uses
from multinic_daemon.pods import FETCH_SECONDS, NodePods
from multinic_daemon.testing.objects import network_objects

from multinic_core import Nic, PodReference
from multinic_core.errors import DaemonUnavailableError
from multinic_core.model import CIDR, PODS, DeviceClass, Pod
from multinic_core.selection import ClassId, NicUse
from multinic_core.testing import example_nic
from multinic_core.testing.kube import FakeKubernetes

POD = PodReference("default", "pod-1", "uid-1")


def test_nics_that_nobody_uses_are_not_told_of() -> None:
    """Links, promises and rates of each other one."""
    uses = Uses()
    uses.set(1, ["eth1", "eth1"], {"eth1": 5})
    uses.set(2, ["eth2"], {})
    uses.set(3, ["eth3"], {"eth3": 7})
    uses.remove(3)
    nics = [example_nic(number) for number in (1, 2, 3, 4)]
    assert nic_uses(nics, uses, {"eth4": (3.0, 9.0), "eth9": (1.0, 1.0)}) == {
        "eth1": NicUse(2, 5, 0.0, 0.0),
        "eth2": NicUse(1, 0, 0.0, 0.0),
        "eth4": NicUse(0, 0, 3.0, 9.0),
    }


def test_indexes_are_those_of_the_blocks() -> None:
    """By the NIC's network; a NIC without block has none, and the count is the network's whatever the node has."""
    _, body, _ = network_objects("net-a", 4, node="node-1")
    cidr = CIDR.model_validate(body)
    nics: list[Nic] = [example_nic(number) for number in (1, 3, 7)]
    assert nic_indexes(nics, cidr) == ({"eth1": 0, "eth3": 2}, 4)
    assert nic_indexes([], cidr) == ({}, 4)
    assert nic_indexes(nics, None) == ({}, 0)
    body["spec"]["cidr"] = []
    assert nic_indexes(nics, CIDR.model_validate(body)) == ({}, 0)


def test_ids_of_a_class_are_compared_in_lower_case() -> None:
    """As sysfs writes them; no class is not an empty one."""
    found = DeviceClass.model_validate(
        {"metadata": {"name": "fast"}, "spec": {"ids": [{"vendor": "15B3", "products": ["101B"]}, {"vendor": "8086"}]}}
    )
    assert class_ids(found) == (ClassId("15b3", frozenset({"101b"})), ClassId("8086"))
    assert class_ids(None) is None


class SilentApi(FakeKubernetes):
    """Never answers a get."""

    async def get(self, *arguments: Any) -> Any:
        await trio.sleep_forever()


async def test_an_api_that_does_not_answer_is_waited_for_only_so_long(autojump_clock: trio.abc.Clock) -> None:
    """Then the runtime is told to try again, as the labels are not known."""
    started = trio.current_time()
    with pytest.raises(DaemonUnavailableError, match="its labels are not known, and the API did not answer within"):
        await NodePods(SilentApi(), "node-1").find(POD)
    assert trio.current_time() - started == FETCH_SECONDS


async def test_a_pod_of_the_watch_is_asked_of_nobody() -> None:
    """Only pods of this node are watched; one of another node would be fetched."""
    api = SilentApi()
    (here,) = api.seed(PODS, {"metadata": {"name": "pod-1", "namespace": "default"}, "spec": {"nodeName": "node-1"}})
    api.seed(PODS, {"metadata": {"name": "pod-2", "namespace": "default"}, "spec": {"nodeName": "node-2"}})
    pods = NodePods(api, "node-1")
    found: Pod = await pods.find(PodReference("default", "pod-1", here.metadata.uid or ""))
    assert found == here
    assert (await pods.find(PodReference("default", "pod-1"))).metadata.name == "pod-1"
    store = api.store(PODS, field_selector="spec.nodeName=node-1")
    assert [pod.metadata.name for pod in store.list()] == ["pod-1"]
