"""What strategies need to know of a pod is asked of who knows it, and of nobody else."""

from pathlib import Path

import pytest
from multinic_daemon.devices import GivenDevice, PodDevices
from multinic_daemon.engine.inputs import PodFacts
from multinic_daemon.podfacts import NodeFactSource
from multinic_daemon.testing.machines import build

from multinic_core import PodReference
from multinic_core.errors import DaemonUnavailableError
from multinic_core.model import ObjectMeta, Pod
from multinic_core.selection import DEVICES, LABELS, PodDevice

POD = PodReference("team-a", "train-0", "uid-0")


class FakePods:
    """The API with one pod."""

    asked = 0

    async def find(self, pod: PodReference) -> Pod:
        self.asked += 1
        return Pod(metadata=ObjectMeta(name=pod.name, labels={"rail": "2"}, annotations={"a": "b"}))


class FakeKubelet:
    """Gave the pod one device and two processors, or does not answer."""

    asked = 0
    silent = False

    async def of_pod(self, pod: PodReference) -> PodDevices:
        self.asked += 1
        if self.silent:
            raise DaemonUnavailableError("the kubelet does not tell")
        return PodDevices(pod, (GivenDevice("example.com/gpu", "0000:9c:00.0"),), frozenset({2, 50}))


@pytest.mark.parametrize(
    "needs", [frozenset(), frozenset({LABELS}), frozenset({DEVICES}), frozenset({LABELS, DEVICES})]
)
async def test_only_what_is_needed_is_asked_for(tmp_path: Path, needs: frozenset[str]):
    """Labels and annotations of the API; devices and processors of the kubelet, with their places in the machine."""
    pods, kubelet, machine = FakePods(), FakeKubelet(), build("hgx", tmp_path)
    source = NodeFactSource(pods, kubelet, sysfs=machine.sysfs, proc=machine.proc)
    found = await source.facts(POD, needs)
    expected = PodFacts()
    if LABELS in needs:
        assert (found.labels, found.annotations) == ({"rail": "2"}, {"a": "b"})
    else:
        assert (found.labels, found.annotations) == (expected.labels, expected.annotations)
    if DEVICES in needs:
        path = ("0000:97:01.0", "0000:98:00.0", "0000:99:02.0")
        assert found.devices == (PodDevice("0000:9c:00.0", "gpu", "0000:9c:00.0", path, 1),)
        assert found.cpu_numa_nodes == (0, 1)
    else:
        assert (found.devices, found.cpu_numa_nodes) == ((), ())
    assert (pods.asked, kubelet.asked) == (LABELS in needs, DEVICES in needs)


async def test_a_kubelet_that_does_not_tell_is_an_error_and_no_pod_without_devices(tmp_path: Path):
    """Nearness to unknown GPUs is not decided."""
    kubelet = FakeKubelet()
    kubelet.silent = True
    with pytest.raises(DaemonUnavailableError, match="does not tell"):
        await NodeFactSource(FakePods(), kubelet, sysfs=tmp_path).facts(POD, frozenset({DEVICES}))
