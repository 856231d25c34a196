"""The file that tells a pod of its device: what is in it, and that it comes and goes with the device."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from multinic_core import ConfigError
from multinic_core.deviceinfo import DeviceInfo, device_info
from multinic_core.devices import TakeDevice
from multinic_core.errors import ActionError
from multinic_core.outside import Act
from multinic_core.testing import check_action, example_node

FILE = "/var/run/k8s.cni.cncf.io/devinfo/cni/net1.json"
VF = TakeDevice("net1-0", "eth1", "eth1v0", "0000:01:10.0", rdma_devices=("mlx5_2", "mlx5_3"))


def test_a_vf_is_told_with_its_physical_function_and_rdma_devices():
    """As the specification spells it; of several devices the first has the file."""
    (step,) = device_info(FILE, (VF, replace(VF, pci_address="0000:02:10.0")), example_node(1))
    pci = {"pci-address": "0000:01:10.0", "pf-pci-address": "0000:01:00.0", "rdma-device": "mlx5_2,mlx5_3"}
    device = {"type": "pci", "version": "1.1.0", "pci": pci}
    assert step == Act("device-info", {"path": FILE, "device": device}, "net1-0")


def test_a_whole_nic_has_no_physical_function_above_it():
    """What does not apply is left out."""
    nic = TakeDevice("net1-0", "eth1", "eth1", "0000:01:00.0")
    (step,) = device_info(FILE, (nic,), example_node(1))
    assert step.arguments["device"]["pci"] == {"pci-address": "0000:01:00.0"}


def test_nothing_is_told_where_nobody_asks_or_nothing_is_on_the_bus():
    """A network without devices, and a device without a PCI address, make no file."""
    node = example_node(1)
    assert device_info(None, (VF,), node) == ()
    assert device_info("", (VF,), node) == ()
    assert device_info(FILE, (), node) == ()
    assert device_info(FILE, (replace(VF, pci_address=""),), node) == ()


@pytest.mark.parametrize(
    "path",
    [
        7,
        "net1.json",
        "/etc/passwd",
        "/var/run/k8s.cni.cncf.io/devinfo/cni/../../../../etc/passwd",
        "/var/run/k8s.cni.cncf.io/devinfo/cni/sub/net1.json",
        "/var/run/k8s.cni.cncf.io/devinfo/cni/.net1.part",
        "/var/run/k8s.cni.cncf.io/devinfo/cni/..",
    ],
)
def test_no_other_file_of_the_node_is_written(path: Any):
    """Only the place that the specification gives is ours to write to."""
    with pytest.raises(
        ConfigError, match=r"runtimeConfig\.CNIDeviceInfoFile: found .*, expected the path of a file in"
    ):
        device_info(path, (VF,), example_node(1))


def test_the_file_keeps_the_contract_of_actions(tmp_path: Path):
    """Done and undone twice each, and checked."""
    file = tmp_path / "cni/net1.json"
    arguments = {"path": str(file), "device": {"type": "pci"}}
    check_action(DeviceInfo(), arguments, told=False)
    DeviceInfo().do(arguments)
    assert json.loads(file.read_text()) == {"type": "pci"}
    assert [each.name for each in file.parent.iterdir()] == ["net1.json"]
    file.write_text("{}")
    assert DeviceInfo().check(arguments) == (f"device information {str(file)!r} tells of something else",)


def test_a_file_that_the_runtime_has_taken_away_is_no_difference(tmp_path: Path):
    """It has moved the content to where the pod reads it; what cannot be read is one."""
    arguments = {"path": str(tmp_path / "net1.json"), "device": {}}
    assert DeviceInfo().check(arguments) == ()
    (tmp_path / "net1.json").mkdir()
    (said,) = DeviceInfo().check(arguments)
    assert "cannot be read: Is a directory" in said


def test_what_stands_in_the_way_is_named(tmp_path: Path):
    """A folder in place of the file, and a file in place of the folder."""
    (tmp_path / "net1.json").mkdir()
    arguments = {"path": str(tmp_path / "net1.json"), "device": {}}
    with pytest.raises(ActionError, match="cannot be written"):
        DeviceInfo().do(arguments)
    with pytest.raises(ActionError, match="cannot be removed"):
        DeviceInfo().undo(arguments)
    (tmp_path / "file").touch()
    DeviceInfo().undo({"path": str(tmp_path / "file/net1.json"), "device": {}})
