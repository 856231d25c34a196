"""What pods were given, asked of a kubelet's service and read from its file."""

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
import trio
from multinic_daemon.devices import GivenDevice, KubeletDevices, PodDevices, messages
from multinic_daemon.devices.checkpoint import CheckpointError, read_checkpoint

from multinic_core import PodReference
from multinic_core.errors import DaemonUnavailableError

POD = PodReference("team-a", "train-0", "uid-0")
SRIOV, GPU = "example.com/sriov", "nvidia.com/gpu"
UNBOUNDED = 300.0
"""Seconds: for tests that are not about time."""


def given(resource: str, *ids: str, nodes: tuple[int, ...] = ()) -> dict[str, Any]:
    return {"resource_name": resource, "device_ids": ids, "topology": {"nodes": [{"ID": node} for node in nodes]}}


def pod(name: str, *containers: dict[str, Any], namespace: str = "team-a") -> dict[str, Any]:
    return {"name": name, "namespace": namespace, "containers": containers}


def container(name: str, *devices: dict[str, Any], cpus: tuple[int, ...] = ()) -> dict[str, Any]:
    return {"name": name, "devices": devices, "cpu_ids": cpus}


TRAIN = pod(
    "train-0",
    container("main", given(SRIOV, "0000:8a:10.0", nodes=(1,)), given(GPU, "GPU-1", "GPU-2", nodes=(1,)), cpus=(2, 3)),
    container("side", given(SRIOV, "0000:8a:10.2"), cpus=(9,)),
)


@pytest.fixture
def devices(tmp_path: Path) -> KubeletDevices:
    """Asks the kubelet of this test, and its file."""
    return KubeletDevices(
        socket=tmp_path / "kubelet.sock", checkpoint=tmp_path / "checkpoint", timeout_seconds=UNBOUNDED
    )


def entry(uid: str, container: str, resource: str, ids: object) -> dict[str, Any]:
    return {"PodUID": uid, "ContainerName": container, "ResourceName": resource, "DeviceIDs": ids, "AllocResp": ""}


def write(path: Path, *entries: dict[str, Any]) -> None:
    path.write_text(json.dumps({"Data": {"PodDeviceEntries": entries, "RegisteredDevices": {}}, "Checksum": 1}))


async def test_a_pod_is_given_the_devices_of_all_its_containers(kubelet: Any, devices: KubeletDevices):
    """Resource, id, container and NUMA node of each device, in order, and the processors that are its own."""
    kubelet.pods = [pod("train-0", namespace="team-b"), TRAIN]
    found = await devices.of_pod(POD)
    assert found.devices == (
        GivenDevice(SRIOV, "0000:8a:10.0", "main", (1,)),
        GivenDevice(GPU, "GPU-1", "main", (1,)),
        GivenDevice(GPU, "GPU-2", "main", (1,)),
        GivenDevice(SRIOV, "0000:8a:10.2", "side"),
    )
    assert found.cpus == {2, 3, 9}
    assert (found.ids(SRIOV), found.ids("none")) == (("0000:8a:10.0", "0000:8a:10.2"), ())
    assert kubelet.calls == ["Get"]


async def test_a_device_on_two_numa_nodes_is_one_device(kubelet: Any, devices: KubeletDevices):
    """The kubelet may name a device once for each of its nodes."""
    kubelet.pods = [pod("train-0", container("main", given(GPU, "GPU-1", nodes=(1,)), given(GPU, "GPU-1", nodes=(0,))))]
    assert (await devices.of_pod(POD)).devices == (GivenDevice(GPU, "GPU-1", "main", (0, 1)),)


@pytest.mark.parametrize("code", [grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNKNOWN])
async def test_a_kubelet_without_get_is_asked_for_its_list(kubelet: Any, devices: KubeletDevices, code: Any):
    """Before Kubernetes 1.34 the list of all pods is what there is; a pod of the same name elsewhere is another."""
    kubelet.pods = [pod("train-0", namespace="team-b"), TRAIN]
    kubelet.get = lambda request, context: context.abort(code, "PodResources API Get method disabled")
    assert (await devices.of_pod(POD)).ids(GPU) == ("GPU-1", "GPU-2")
    assert kubelet.calls == ["Get", "List"]


@pytest.mark.parametrize("method", ["Get", "List"])
async def test_a_pod_that_the_kubelet_does_not_know_has_nothing(kubelet: Any, devices: KubeletDevices, method: str):
    """Neither way of asking makes an error of it."""
    if method == "List":
        kubelet.get = lambda request, context: context.abort(grpc.StatusCode.UNIMPLEMENTED, "")
    assert await devices.of_pod(POD) == PodDevices(POD)


@pytest.mark.parametrize("source", ["service", "file"])
async def test_a_pods_devices_of_some_resources_are_told_with_what_others_hold(
    request: pytest.FixtureRequest, tmp_path: Path, devices: KubeletDevices, source: str
):
    """In the order of the resources, as sysfs writes them; the pod's are its own, whoever had them before."""
    if source == "service":
        ended = pod("ended", container("main", given(SRIOV, "0000:8a:10.0", "0000:8A:10.6"), given(GPU, "GPU-9")))
        request.getfixturevalue("kubelet").pods = [ended, TRAIN]
    else:
        write(
            tmp_path / "checkpoint",
            entry("uid-9", "main", SRIOV, ["0000:8a:10.0", "0000:8A:10.6"]),
            entry("uid-9", "main", GPU, ["GPU-9"]),
            entry("uid-0", "main", SRIOV, ["0000:8a:10.0"]),
            entry("uid-0", "main", GPU, ["GPU-1", "GPU-2"]),
            entry("uid-0", "side", SRIOV, ["0000:8a:10.2"]),
        )
    held = {"0000:8a:10.6", "GPU-9"}
    assert await devices.of_resources(POD, [SRIOV]) == (("0000:8a:10.0", "0000:8a:10.2"), held)
    in_order = ("GPU-1", "GPU-2", "0000:8a:10.0", "0000:8a:10.2")
    assert await devices.of_resources(POD, [GPU, SRIOV]) == (in_order, held)
    assert await devices.of_resources(POD, ["example.com/none"]) == ((), held)


async def test_an_answer_larger_than_the_usual_limit_is_taken(kubelet: Any, devices: KubeletDevices):
    """A full node's list may pass the 4 MiB at which gRPC clients stop by default."""
    ids = tuple(f"{number:01000d}" for number in range(5000))
    kubelet.pods = [pod("train-0", container("main", given("example.com/memory", *ids)))]
    assert len((await devices.of_pod(POD)).devices) == 5000


async def test_an_answer_with_fields_of_later_versions_is_read(kubelet: Any, devices: KubeletDevices):
    """What is not known is passed over."""
    answer = messages.GetResponse(pod_resources=TRAIN)
    later = b"\xa2\x06\x03abc"  # field 100, three bytes
    answer.pod_resources.ParseFromString(answer.pod_resources.SerializeToString() + later)
    assert later in answer.SerializeToString()
    kubelet.get = lambda request, context: answer
    assert (await devices.of_pod(POD)).ids(GPU) == ("GPU-1", "GPU-2")


async def test_where_the_service_is_away_the_file_answers_by_uid(tmp_path: Path, devices: KubeletDevices):
    """Two containers with the same resource keep both their devices; init containers count too."""
    write(
        tmp_path / "checkpoint",
        entry("uid-0", "main", SRIOV, {"1": ["0000:8a:10.0"], "-1": ["0000:8a:10.4"]}),
        entry("uid-1", "main", SRIOV, {"0": ["0000:8a:10.6"]}),
        entry("uid-0", "side", SRIOV, {"1": ["0000:8a:10.2"]}),
    )
    found = await devices.of_pod(POD)
    assert found.devices == (
        GivenDevice(SRIOV, "0000:8a:10.0", "main", (1,)),
        GivenDevice(SRIOV, "0000:8a:10.4", "main"),
        GivenDevice(SRIOV, "0000:8a:10.2", "side", (1,)),
    )
    assert (await devices.of_pod(PodReference("team-a", "new", "uid-9"))).devices == ()


async def test_a_service_that_refuses_is_replaced_by_the_file(kubelet: Any, tmp_path: Path, devices: KubeletDevices):
    """A kubelet that limits its callers answers with an error; its file still tells."""
    kubelet.get = lambda request, context: context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "rejected by rate limit")
    write(tmp_path / "checkpoint", entry("uid-0", "main", GPU, ["GPU-7"]))
    assert (await devices.of_pod(POD)).devices == (GivenDevice(GPU, "GPU-7", "main"),)


async def test_a_service_that_never_answers_is_waited_for_only_so_long(kubelet: Any, tmp_path: Path):
    """The wait ends by itself, with the reason in the error when the file is no help either."""
    released = threading.Event()
    kubelet.get = lambda request, context: released.wait(UNBOUNDED) and None
    asked = KubeletDevices(socket=kubelet.socket, checkpoint=tmp_path / "none", timeout_seconds=0.05)
    try:
        with pytest.raises(DaemonUnavailableError, match=r"podresources Get .*DEADLINE_EXCEEDED.*; checkpoint .*none"):
            await asked.of_pod(POD)
    finally:
        released.set()


async def test_a_question_that_nobody_waits_for_any_more_holds_nobody_up(kubelet: Any, devices: KubeletDevices):
    """A call that ran out of its own time is not kept by the kubelet's silence."""
    asked, released = threading.Event(), threading.Event()

    def answer(request: Any, context: Any) -> Any:
        asked.set()
        released.wait(UNBOUNDED)
        return kubelet.get_pod(request, context)

    kubelet.get = answer
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(devices.of_pod, POD)
            await trio.to_thread.run_sync(asked.wait)
            nursery.cancel_scope.cancel()
    finally:
        released.set()


async def test_where_both_fail_the_error_names_both(tmp_path: Path, devices: KubeletDevices):
    """Code 11: the kubelet may be back for the next attempt."""
    (tmp_path / "checkpoint").write_text("{")
    for question in (devices.of_pod(POD), devices.of_resources(POD, [GPU])):
        with pytest.raises(DaemonUnavailableError) as caught:
            await question
        assert str(tmp_path / "kubelet.sock") in str(caught.value)
        assert str(tmp_path / "checkpoint") in str(caught.value)


async def test_without_a_kubelet_nothing_was_given(devices: KubeletDevices, caplog: pytest.LogCaptureFixture):
    """Neither socket nor file is no kubelet, and no device plugin; it is said, as a mount may be missing."""
    assert await devices.of_pod(POD) == PodDevices(POD)
    assert await devices.of_resources(PodReference("team-a", "train-0"), [GPU]) == ((), frozenset())
    assert {record.message for record in caplog.records} == {"no kubelet tells of devices"}


def test_a_daemon_that_asks_no_kubelet_has_no_grpc():
    """Neither the daemon nor a call without one imports it at start; nodes that need no devices never pay for it."""
    program = (
        "import sys, multinic_daemon.service, multinic_daemon.standalone.call;"
        "sys.exit(','.join({'grpc', 'google.protobuf'} & sys.modules.keys()) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


async def test_the_file_cannot_answer_about_a_pod_without_uid(tmp_path: Path, devices: KubeletDevices):
    """A runtime that gives no UID makes the file useless, which is said."""
    write(tmp_path / "checkpoint", entry("", "main", GPU, ["GPU-7"]))
    nameless = PodReference("team-a", "train-0")
    for question in (devices.of_pod(nameless), devices.of_resources(nameless, [GPU])):
        with pytest.raises(DaemonUnavailableError, match="the runtime gave none for team-a/train-0"):
            await question


def test_lists_of_old_files_are_read(tmp_path: Path):
    """Before Kubernetes 1.20 there are no NUMA nodes; an empty list may be null."""
    write(tmp_path / "c", entry("u", "a", GPU, ["GPU-1", "GPU-2"]), entry("u", "b", GPU, None))
    assert read_checkpoint(tmp_path / "c")["u"].ids(GPU) == ("GPU-1", "GPU-2")
    (tmp_path / "c").write_text('{"Data":{"PodDeviceEntries":null,"RegisteredDevices":{}},"Checksum":3}')
    assert read_checkpoint(tmp_path / "c") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ("[]", r"Data: found \[\], expected an object with 'Data'"),
        ('{"v2": {}}', "expected an object with 'Data'"),
        ('{"Data": [], "Checksum": 1}', r"Data: found \[\], expected a value of type dict"),
        ('{"Data": {"Entries": []}}', r"Data\.PodDeviceEntries: found \{'Entries': \[\]\}, expected a list of entries"),
        ('{"Data": {"PodDeviceEntries": {}}}', r"Data\.PodDeviceEntries: .*expected a list of entries"),
        ('{"Data": {"PodDeviceEntries": [3]}}', r"PodDeviceEntries\[0\]\.PodUID: found 3"),
        (
            '{"Data": {"PodDeviceEntries": [{"PodUID": "u", "ContainerName": "c", "ResourceName": "r"}]}}',
            r"PodDeviceEntries\[0\]\.DeviceIDs: found .*expected an object with 'DeviceIDs'",
        ),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str, message: str):
    """Nothing is read from a file that is not understood as a whole."""
    (tmp_path / "c").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path / "c")


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ("GPU-1", r"DeviceIDs: found 'GPU-1', expected a list of device ids"),
        ([1], r"DeviceIDs: found \[1\], expected"),
        ({"x": ["GPU-1"]}, r"DeviceIDs: found key 'x', expected the number of a NUMA node"),
        ({"0": "GPU-1"}, r"DeviceIDs\['0'\]: found 'GPU-1', expected a list"),
    ],
)
def test_device_ids_of_another_shape_are_refused(tmp_path: Path, ids: object, message: str):
    """One entry that is not understood makes the file one that is not."""
    write(tmp_path / "c", entry("u", "a", GPU, []), entry("u", "a", GPU, ids))
    with pytest.raises(CheckpointError, match=r"PodDeviceEntries\[1\]\." + message):
        read_checkpoint(tmp_path / "c")
