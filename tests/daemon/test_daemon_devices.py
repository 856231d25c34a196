"""Pods that get whole devices: which ones, that nobody gets the same, and that all come back."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from multinic_daemon.recovery.recovery import recover
from multinic_daemon.testing import NODE, FakeKernel, Rig, Strategy, addresses, nic, refuse
from multinic_daemon.testing.executables import Executables

from multinic_core import deviceinfo
from multinic_core.devices import Vf, VfSettings
from multinic_core.errors import ConfigError, KernelError, SelectionError
from multinic_core.model import ATTACHMENT_DEFINITIONS, GENERATED_LABEL
from multinic_core.plan import Nic, NodeView, PodReference

SRIOV: dict[str, Any] = {"type": "sriov", "vlan": 7}
HOST_DEVICE: dict[str, Any] = {"type": "host-device"}
KNOWN = VfSettings("00:00:00:00:00:00", 0, 0, True, False, "auto", 0, 0)


def pf(number: int, vfs: int) -> Nic:
    """``eth<number>`` with so many VFs."""
    return replace(
        nic(number),
        pci_address=f"0000:0{number}:00.0",
        driver="igb",
        vfs_possible=7,
        vfs=tuple(
            Vf(
                index,
                f"0000:0{number}:10.{index}",
                "igbvf",
                f"eth{number}v{index}",
                100 * number + index,
                f"02:00:00:01:0{number}:{index:02x}",
                1500,
                settings=KNOWN,
            )
            for index in range(vfs)
        ),
    )


@pytest.fixture
def devices(rig: Rig) -> Rig:
    """Three NICs with two VFs each."""
    rig.view = NodeView(NODE, {each.ifname: each for each in (pf(1, 2), pf(2, 2), pf(3, 2))})
    return rig


def asking(rig: Rig, plugin: dict[str, Any], **cni: Any) -> bytes:
    """A netconf in which the pod's annotation asks for this."""
    return json.dumps(rig.netconf(plugin=plugin, args={"cni": cni})).encode()


def pci_ids(result: dict[str, Any]) -> list[str]:
    return [each.get("pciID", "") for each in result["interfaces"]]


async def test_each_pod_gets_the_lowest_free_vf_of_each_nic(devices: Rig):
    """The answer names link, MAC address and PCI address; what one pod holds the next does not get."""
    first = await devices.call("ADD", plugin=SRIOV)
    assert pci_ids(first) == ["0000:01:10.0", "0000:02:10.0", "0000:03:10.0"]
    assert [each["mac"] for each in first["interfaces"]] == [f"02:00:00:01:0{n}:00" for n in (1, 2, 3)]
    assert addresses(first) == ["192.168.0.1/18", "192.168.64.1/18", "192.168.128.1/18"]
    second = await devices.call("ADD", "c2", plugin=SRIOV)
    assert pci_ids(second) == ["0000:01:10.1", "0000:02:10.1", "0000:03:10.1"]
    message = await devices.refused(SelectionError, "ADD", "c3", plugin=SRIOV)
    assert "eth1: no free VF on 'eth1': 2 of 2 in use" in message
    await devices.call("DEL", plugin=SRIOV)
    assert pci_ids(await devices.call("ADD", "c3", plugin=SRIOV)) == pci_ids(first)
    assert devices.kernel.devices().keys() == devices.journal.held_devices.keys


async def test_devices_that_came_home_after_the_journal_was_lost_are_free_again(devices: Rig):
    """No row tells of their marks, so taking stock takes those off, and leaves alone what pods have."""
    first = await devices.call("ADD", plugin=SRIOV)
    await devices.call("ADD", "c2", plugin=SRIOV)
    (lost,) = {group for key, group in devices.kernel.devices().items() if key.endswith("10.0")}
    for file in Path(devices.pod()).iterdir():
        file.unlink()  # its namespace ended
    devices.lose_journal(adopting=False)
    assert lost in devices.kernel.marked_groups()
    await devices.adoption.take_stock()
    assert sorted(devices.kernel.devices()) == ["0000:01:10.1", "0000:02:10.1", "0000:03:10.1"]
    assert pci_ids(await devices.call("ADD", "c3", plugin=SRIOV)) == pci_ids(first)


async def test_del_brings_all_back(devices: Rig):
    """Nothing is held any more, in kernel, journal and memory, and DEL again is fine."""
    await devices.call("ADD", plugin=SRIOV)
    await devices.call("DEL", plugin=SRIOV)
    await devices.call("DEL", plugin=SRIOV)
    assert devices.kernel.devices() == {}
    assert devices.journal.held_devices.keys == frozenset()
    devices.assert_clean()


async def test_nics_without_a_free_vf_are_not_chosen(devices: Rig):
    """Filtering comes before cutting to the number asked for."""
    one = asking(devices, SRIOV, nics=1)
    given = [(await devices.call("ADD", f"c{n}", stdin=one))["interfaces"][0] for n in range(3)]
    assert [each["pciID"] for each in given] == ["0000:01:10.0", "0000:01:10.1", "0000:02:10.0"]
    masters = asking(devices, SRIOV, masters=["eth1"])
    message = await devices.refused(SelectionError, "ADD", "c9", stdin=masters)
    assert "no free VF on 'eth1': 2 of 2 in use" in message


async def test_no_two_pods_get_the_same_vf(devices: Rig):
    """Of eight pods at once six get a VF each and two are refused."""
    found: list[str] = []
    refused: list[str] = []

    async def add(name: str) -> None:
        try:
            result = await devices.call("ADD", name, stdin=asking(devices, SRIOV, nics=1))
        except SelectionError as error:
            refused.append(str(error))
        else:
            found.extend(pci_ids(result))

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(add, f"c{number}")
    assert sorted(found) == sorted(vf.pci_address for nic in devices.view.nics.values() for vf in nic.vfs)
    assert len(refused) == 2


async def test_a_restarted_daemon_knows_what_is_held(devices: Rig):
    """The journal is what says so."""
    await devices.call("ADD", plugin=SRIOV)
    devices.restart()
    second = await devices.call("ADD", "c2", plugin=SRIOV)
    assert pci_ids(second) == ["0000:01:10.1", "0000:02:10.1", "0000:03:10.1"]


@pytest.mark.parametrize("step", ["vf 0", "device net1-1"])
async def test_a_failed_add_gives_all_back(devices: Rig, step: str):
    """A refusal in the middle leaves no device away and nothing held."""
    devices.kernel.before_step = refuse(step)
    await devices.refused(KernelError, "ADD", plugin=SRIOV)
    devices.kernel.before_step = lambda step: None
    assert devices.kernel.devices() == {}
    devices.assert_clean()


async def test_a_crash_in_the_middle_gives_all_back(devices: Rig):
    """A pending row is undone by the next daemon, from the row alone."""
    devices.kernel.undo = False
    devices.kernel.before_step = refuse("device net1-2")

    def refuse_both(step: str) -> None:
        refuse("device net1-2")(step)
        refuse("return")(step)

    devices.kernel.before_step = refuse_both
    await devices.refused(KernelError, "ADD", plugin=SRIOV)
    assert len(devices.kernel.devices()) == 2
    devices.kernel.before_step, devices.kernel.undo = lambda step: None, True
    devices.restart()
    assert devices.journal.held_devices.keys == {"0000:01:10.0", "0000:02:10.0", "0000:03:10.0"}
    assert await recover(devices.engine) == 0
    assert devices.kernel.devices() == {}
    devices.assert_clean()


@pytest.mark.parametrize(
    "fields",
    [
        {"deviceIDs": ["0000:02:10.1", "0000:01:10.1"]},
        {"runtimeConfig": {"deviceID": ["0000:02:10.1", "0000:01:10.1"]}},
    ],
)
async def test_named_devices_come_before_any_policy(devices: Rig, fields: dict[str, Any]):
    """Their NICs are the pod's, in their order; the strategy is not even asked."""
    devices.registry.strategies.objects["none"] = Strategy(AssertionError("asked"))
    result = await devices.call("ADD", plugin=SRIOV, **fields)
    assert pci_ids(result) == ["0000:02:10.1", "0000:01:10.1"]
    assert addresses(result) == ["192.168.64.1/18", "192.168.0.1/18"]


async def test_several_devices_of_one_nic_have_an_address_each(devices: Rig):
    """Two VFs of one NIC are two links with two addresses of its pool."""
    result = await devices.call("ADD", plugin=SRIOV, deviceIDs=["0000:01:10.1", "0000:01:10.0"])
    assert pci_ids(result) == ["0000:01:10.1", "0000:01:10.0"]
    assert addresses(result) == ["192.168.0.1/18", "192.168.0.2/18"]
    assert devices.held() == {"net-a-192.168.0.0-24": 2}
    await devices.call("DEL")
    devices.assert_clean()


async def test_a_single_device_as_multus_names_it(devices: Rig):
    """``deviceID`` beside the configuration's own keys, in any case."""
    result = await devices.call("ADD", plugin=SRIOV, deviceID="0000:02:10.1")
    assert pci_ids(result) == ["0000:02:10.1"]


async def test_other_plugins_take_the_nics_of_named_devices(devices: Rig):
    """macvlan links on the NICs that the devices belong to, one for each NIC."""
    result = await devices.call("ADD", deviceIDs=["0000:02:10.1", "0000:02:10.0", "0000:01:00.0"])
    assert [each["name"] for each in result["interfaces"]] == ["net1-0", "net1-1"]
    assert addresses(result) == ["192.168.64.1/18", "192.168.0.1/18"]


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"deviceIDs": ["0000:09:10.0"]}, ConfigError, "deviceIDs: found '0000:09:10.0', expected a NIC of this node"),
        (
            {"deviceIDs": ["0000:01:10.0", "0000:09:10.0", "x"]},
            ConfigError,
            "deviceIDs[1]: found '0000:09:10.0', expected a NIC of this node or a VF of one: ['0000:01:00.0', '0000:0",
        ),
        ({"deviceIDs": ["0000:01:10.0"] * 2}, ConfigError, "deviceIDs: found '0000:01:10.0' twice"),
        ({"runtimeConfig": {"deviceID": 7}}, ConfigError, "runtimeConfig.deviceID: found 7, expected a PCI address"),
        ({"runtimeConfig": {"deviceID": [""]}}, ConfigError, "runtimeConfig.deviceID: found ['']"),
        ({"deviceID": "eth1"}, ConfigError, "deviceID: found 'eth1', expected a NIC of this node"),
        (
            {"deviceIDs": ["0000:03:10.0"], "masterNets": ["10.0.1.0/24"]},
            ConfigError,
            "deviceIDs: found '0000:03:10.0' of NIC 'eth3', which this network cannot use: its network 10.0.3.0/24 is",
        ),
        ({"deviceIDs": ["0000:02:10.0"]}, SelectionError, "device '0000:02:10.0' is in use by another attachment"),
    ],
)
async def test_devices_that_cannot_be_are_refused(devices: Rig, fields: Any, error: type[Exception], words: str):
    """Each refusal names field, device and what would do; nothing is touched."""
    await devices.call("ADD", "c2", plugin=SRIOV, deviceIDs=["0000:02:10.0"])
    devices.kernel.calls.clear()
    assert words in await devices.refused(error, "ADD", plugin=SRIOV, **fields)
    assert "apply" not in devices.kernel.calls
    assert devices.journal.of_interface("c1", "net1") == []


async def test_the_kubelets_choice_by_the_networks_resource(devices: Rig):
    """The attachment definition in the pod's namespace names resources; what the kubelet gave of them is taken."""
    asked: list[tuple[PodReference, Sequence[str]]] = []

    async def source(pod: PodReference, resources: Sequence[str]) -> tuple[tuple[str, ...], frozenset[str]]:
        asked.append((pod, resources))
        return ("0000:03:10.1",) if pod.name == "pod-1" else (), frozenset({"0000:01:10.0"})

    devices.engine.device_source = source
    assert pci_ids(await devices.call("ADD", plugin=SRIOV, deviceIDs=["0000:01:10.1"])) == ["0000:01:10.1"]
    assert asked == []
    await devices.call("DEL")
    await devices.call("ADD", plugin=SRIOV)  # no definition, no resource
    assert asked == []
    await devices.call("DEL")
    annotations = {"k8s.v1.cni.cncf.io/resourceName": "openshift.io/a, openshift.io/b"}
    labels = {GENERATED_LABEL: "true"}
    metadata = {"name": "net-a", "namespace": "default", "annotations": annotations, "labels": labels}
    devices.kubernetes.seed(ATTACHMENT_DEFINITIONS, {"metadata": metadata})
    assert pci_ids(await devices.call("ADD", plugin=SRIOV)) == ["0000:03:10.1"]
    assert asked == [(PodReference("default", "pod-1", "u1"), ("openshift.io/a", "openshift.io/b"))]
    other = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=pod-2;K8S_POD_UID=u2"
    # a pod that was given none gets a free one, and none that the kubelet gave to others
    result = await devices.call("ADD", "c2", plugin=SRIOV, args=other)
    assert pci_ids(result) == ["0000:01:10.1", "0000:02:10.0", "0000:03:10.0"]


async def test_a_definition_that_the_watch_has_not_brought_is_asked_for(devices: Rig):
    """Else the pod would get another device than the kubelet gave it, perhaps one that is another pod's."""

    async def source(pod: PodReference, resources: Sequence[str]) -> tuple[tuple[str, ...], frozenset[str]]:
        return ("0000:03:10.1",), frozenset()

    await devices.call("ADD", plugin=SRIOV)
    await devices.call("DEL")
    devices.engine.device_source = source
    annotations, labels = {"k8s.v1.cni.cncf.io/resourceName": "openshift.io/a"}, {GENERATED_LABEL: "true"}
    metadata = {"name": "net-a", "namespace": "default", "annotations": annotations, "labels": labels}
    await devices.engine.cluster.resources("net-a", "default")
    with devices.kubernetes.stale():
        devices.kubernetes.seed(ATTACHMENT_DEFINITIONS, {"metadata": metadata})
        assert pci_ids(await devices.call("ADD", plugin=SRIOV)) == ["0000:03:10.1"]


async def test_host_device_gives_the_nic_itself_once(devices: Rig):
    """A NIC that sits in a pod is no candidate for the next; its VFs are not given either."""
    one = asking(devices, HOST_DEVICE, nics=1)
    assert pci_ids(await devices.call("ADD", stdin=one)) == ["0000:01:00.0"]
    assert pci_ids(await devices.call("ADD", "c2", stdin=one)) == ["0000:02:00.0"]
    assert pci_ids(await devices.call("ADD", "c3", plugin=SRIOV)) == ["0000:03:10.0"]
    message = await devices.refused(SelectionError, "ADD", "c4", plugin=HOST_DEVICE)
    assert "eth1: NIC 'eth1' is in use: it sits in another pod" in message
    assert "eth3: NIC 'eth3' is in use: 1 of its 2 VFs are in use by pods" in message


async def test_the_device_that_the_arguments_name(devices: Rig):
    """The other NICs are left with the reason."""
    block = {**HOST_DEVICE, "device": "eth2"}
    assert pci_ids(await devices.call("ADD", plugin=block)) == ["0000:02:00.0"]
    message = await devices.refused(SelectionError, "ADD", "c2", plugin={**HOST_DEVICE, "device": "eth9"})
    assert "eth1: plugin.device: found 'eth9', NIC 'eth1' is not the one that is named" in message


async def test_host_device_ipam_keeps_the_address_of_the_device(devices: Rig):
    """The pod's link has the NIC's own first IPv4 address; it needs no pool, and holds none."""
    result = await devices.call("ADD", plugin=HOST_DEVICE, ipam={"type": "host-device-ipam"})
    assert addresses(result) == ["10.0.1.1/24", "10.0.2.1/24", "10.0.3.1/24"]
    assert devices.held() == {}


async def test_no_pod_gets_the_address_of_a_nic_that_stays(devices: Rig):
    """Node and pods would all have it."""
    ipam = {"type": "host-device-ipam"}
    message = await devices.refused(ConfigError, "ADD", plugin={"type": "macvlan"}, ipam=ipam)
    assert message.startswith("ipam.type: found 'host-device-ipam' with main plugin 'macvlan', which leaves the NIC")
    devices.assert_clean()


async def test_a_vf_for_user_space_has_no_mac_address(devices: Rig):
    """It is passed by its PCI address alone, with its settings laid down, and held like any other."""
    one = devices.view.nics["eth1"]
    bound = replace(one, vfs=tuple(replace(vf, ifname="", ifindex=0, driver="vfio-pci") for vf in one.vfs))
    devices.view = replace(devices.view, nics={**devices.view.nics, "eth1": bound})
    result = await devices.call("ADD", plugin=SRIOV, deviceIDs=["0000:01:10.0"])
    (interface,) = result["interfaces"]
    assert interface == {"name": "net1-0", "sandbox": devices.pod(), "pciID": "0000:01:10.0"}
    assert devices.kernel.devices().keys() == {"0000:01:10.0"}
    await devices.call("DEL")
    assert devices.kernel.devices() == {}


async def test_check_compares_devices(devices: Rig):
    """What was made is compared, as of any link."""
    result = await devices.call("ADD", plugin=SRIOV)
    await devices.call("CHECK", plugin=SRIOV, prevResult=result)


async def test_a_nic_that_carries_links_goes_into_no_pod(devices: Rig):
    """Its links would be gone; and a NIC that sits in a pod carries none."""
    await devices.call("ADD", stdin=asking(devices, {"type": "macvlan"}, masters=["eth1"]))
    message = await devices.refused(SelectionError, "ADD", "c2", plugin=HOST_DEVICE, deviceID="0000:01:00.0")
    assert "NIC 'eth1' is in use: links of pods are on it" in message
    assert pci_ids(await devices.call("ADD", "c2", plugin=HOST_DEVICE, deviceID="0000:02:00.0")) == ["0000:02:00.0"]
    result = await devices.call("ADD", "c3", plugin={"type": "macvlan"})
    assert addresses(result) == ["192.168.0.2/18", "192.168.128.1/18"]


async def test_a_nic_under_links_of_an_executable_goes_into_no_pod(devices: Rig):
    """What others made on it counts like what the daemon made."""
    executables = Executables(devices.folder / "bin")
    devices.engine.outside.cni_bin = str(executables.folder)
    await devices.call("ADD", stdin=asking(devices, {"type": executables.PLUGIN}, masters=["eth1"]))
    message = await devices.refused(SelectionError, "ADD", "c2", plugin=HOST_DEVICE, deviceID="0000:01:00.0")
    assert "NIC 'eth1' is in use: links of pods are on it" in message
    await devices.call("DEL", plugin={"type": executables.PLUGIN})
    assert pci_ids(await devices.call("ADD", "c2", plugin=HOST_DEVICE, deviceID="0000:01:00.0")) == ["0000:01:00.0"]


async def test_the_pod_is_told_of_its_device(devices: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The file that the runtime names is there from ADD to DEL, also when another daemon serves the DEL."""
    monkeypatch.setattr(deviceinfo, "FOLDERS", (str(tmp_path / "cni"),))
    file = tmp_path / "cni" / "net1.json"
    asked = {"plugin": SRIOV, "deviceID": "0000:01:10.1", "runtimeConfig": {"CNIDeviceInfoFile": str(file)}}
    result = await devices.call("ADD", **asked)
    assert pci_ids(result) == ["0000:01:10.1"]
    pci = {"pci-address": "0000:01:10.1", "pf-pci-address": "0000:01:00.0"}
    assert json.loads(file.read_text()) == {"type": "pci", "version": "1.1.0", "pci": pci}
    await devices.call("CHECK", **asked, prevResult=result)
    devices.restart()
    await devices.call("DEL", **asked)
    assert not file.exists()
    devices.assert_clean()
    refused = {**asked, "runtimeConfig": {"CNIDeviceInfoFile": "/etc/x"}}
    assert "CNIDeviceInfoFile: found '/etc/x'" in await devices.refused(ConfigError, "ADD", **refused)
    devices.assert_clean()


MANAGED: dict[str, Any] = {"type": "sriov", "manageVfs": True, "numVfs": 2}


def making(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """NICs have as many VFs as the kernel was told to make; what it was told."""
    made: list[tuple[str, int]] = []

    def make_vfs(kernel: object, pci_address: str, count: int) -> None:
        made.append((pci_address, count))
        number = int(pci_address[6])
        rig.view = replace(rig.view, nics={**rig.view.nics, f"eth{number}": pf(number, count)})

    monkeypatch.setattr(FakeKernel, "make_vfs", make_vfs)
    return made


async def test_a_node_makes_vfs_itself_at_the_first_need(rig: Rig, monkeypatch: pytest.MonkeyPatch):
    """On each NIC of the network once, and not again; networks that do not say so make none."""
    rig.view = NodeView(NODE, {f"eth{n}": pf(n, 0) for n in (1, 2, 3)})
    made = making(rig, monkeypatch)
    message = await rig.refused(SelectionError, "ADD", plugin=SRIOV)
    assert "no VF on 'eth1': it can have 7, and has none" in message
    assert made == []
    result = await rig.call("ADD", plugin=MANAGED)
    assert made == [("0000:01:00.0", 2), ("0000:02:00.0", 2), ("0000:03:00.0", 2)]
    assert pci_ids(result) == ["0000:01:10.0", "0000:02:10.0", "0000:03:10.0"]
    await rig.call("ADD", "c2", plugin=MANAGED)
    assert len(made) == 3


async def test_more_vfs_are_made_only_while_none_is_in_use(devices: Rig, monkeypatch: pytest.MonkeyPatch):
    """A NIC keeps those that pods have, and says how many more there could be; the others get more."""
    made = making(devices, monkeypatch)
    await devices.call("ADD", "c2", plugin=SRIOV, deviceID="0000:01:10.0")
    await devices.call("ADD", "c3", plugin=SRIOV, deviceID="0000:01:10.1")
    message = await devices.refused(
        SelectionError, "ADD", stdin=asking(devices, {**MANAGED, "numVfs": 4}, masters=["eth1"])
    )
    assert "no free VF on 'eth1': 2 of 2 in use; the other 2 of numVfs can be made when none is in use" in message
    assert made == [("0000:02:00.0", 4), ("0000:03:00.0", 4)]
    await devices.call("DEL", "c2")
    await devices.call("DEL", "c3")
    await devices.call("ADD", plugin={**MANAGED, "numVfs": 4}, deviceID="0000:01:10.3")
    assert made[2:] == [("0000:01:00.0", 4)]
    await devices.call("ADD", "c2", plugin={**MANAGED, "numVfs": 1}, deviceID="0000:01:10.2")
    assert len(made) == 3


async def test_vfs_that_others_use_are_not_taken_away(devices: Rig, monkeypatch: pytest.MonkeyPatch):
    """One that is up on the node, and one that is not there, are in use by somebody."""
    one, two = devices.view.nics["eth1"], devices.view.nics["eth2"]
    up = replace(one, vfs=(replace(one.vfs[0], up=True), one.vfs[1]))
    away = replace(two, vfs=(two.vfs[0], replace(two.vfs[1], ifname="")))
    devices.view = replace(devices.view, nics={**devices.view.nics, "eth1": up, "eth2": away})
    made = making(devices, monkeypatch)
    await devices.call("ADD", plugin={**MANAGED, "numVfs": 4})
    assert made == [("0000:03:00.0", 4)]


async def test_more_vfs_than_a_nic_can_have_are_refused(devices: Rig, monkeypatch: pytest.MonkeyPatch):
    """The most that it can have is named, and none is made."""
    made = making(devices, monkeypatch)
    message = await devices.refused(SelectionError, "ADD", plugin={**MANAGED, "numVfs": 64})
    assert "eth1: plugin.numVfs: found 64, expected at most 7, which NIC 'eth1' can have" in message
    assert made == []


async def test_many_pods_at_once_make_vfs_once(rig: Rig, monkeypatch: pytest.MonkeyPatch):
    """Each gets one of its own."""
    rig.view = NodeView(NODE, {"eth1": pf(1, 0)})
    made = making(rig, monkeypatch)
    found: list[str] = []

    async def add(name: str) -> None:
        found.extend(pci_ids(await rig.call("ADD", name, plugin={**MANAGED, "numVfs": 7})))

    async with trio.open_nursery() as nursery:
        for number in range(7):
            nursery.start_soon(add, f"c{number}")
    assert made == [("0000:01:00.0", 7)]
    assert sorted(found) == [f"0000:01:10.{index}" for index in range(7)]
