"""Which devices of which resources belong to a pod, as the kubelet's file tells."""

import json
from pathlib import Path

import pytest
from multinic_daemon.devices import KubeletDevices, ResourceDevices

from multinic_core.errors import DaemonUnavailableError
from multinic_core.plan import PodReference

POD = PodReference("default", "pod-1", "u1")


def kubelet(folder: Path, *entries: tuple[str, str, list[str]]) -> KubeletDevices:
    """One whose file has these: pod UID, resource and ids."""
    parts = [
        {"PodUID": uid, "ContainerName": f"c{number}", "ResourceName": resource, "DeviceIDs": {"0": ids}}
        for number, (uid, resource, ids) in enumerate(entries)
    ]
    file = folder / "checkpoint"
    file.write_text(json.dumps({"Data": {"PodDeviceEntries": parts}}))
    return KubeletDevices(socket=folder / "none.sock", checkpoint=file)


async def test_a_pods_devices_of_several_resources_and_those_of_others(tmp_path: Path):
    """In the order of the resources, of all containers; what others have, of whatever resource, is theirs."""
    source = ResourceDevices(
        kubelet(
            tmp_path,
            ("u1", "x/b", ["0000:03:10.0"]),
            ("u1", "x/a", ["0000:01:10.1", "0000:01:10.0"]),
            ("u1", "x/c", ["0000:09:10.0"]),
            ("u2", "x/a", ["0000:01:10.2"]),
            ("u2", "x/c", ["0000:09:10.1"]),
        )
    )
    assert await source(POD, ("x/a", "x/b")) == (
        ("0000:01:10.1", "0000:01:10.0", "0000:03:10.0"),
        frozenset({"0000:01:10.2", "0000:09:10.1"}),
    )


async def test_a_node_without_a_kubelet_gives_no_devices(tmp_path: Path):
    """Neither service nor file is no device plugin; a file that cannot be read is an error."""
    nothing = KubeletDevices(socket=tmp_path / "none.sock", checkpoint=tmp_path / "none")
    assert await ResourceDevices(nothing)(POD, ("x/a",)) == ((), frozenset())
    (tmp_path / "bad").write_text("{")
    bad = KubeletDevices(socket=tmp_path / "none.sock", checkpoint=tmp_path / "bad")
    with pytest.raises(DaemonUnavailableError, match="the kubelet does not tell"):
        await ResourceDevices(bad)(POD, ("x/a",))
