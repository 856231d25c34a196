"""The topology file of a virtual machine: read in any nesting, believed before sysfs, and ignored when it is spoilt."""

import logging
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from multinic_daemon.devices import GivenDevice, PodDevices
from multinic_daemon.devices.places import pod_devices
from multinic_daemon.discovery import virtualtopology
from multinic_daemon.discovery.sysfs import device_facts
from multinic_daemon.discovery.virtualtopology import (
    NO_PLACES,
    Places,
    TopologyError,
    VirtualPlace,
    VirtualTopology,
    parse_places,
)
from multinic_daemon.testing.machines import build

CLOUD = b"""
<system version="1">
  <cpu numaid="0" affinity="ff" arch="x86_64">
    <pci busid="FFFF:FF:01.0" class="0x060400" link_speed="16 GT/s" link_width="16">
      <pci busid="00000000:00:0A.0" class="0x030200"><gpu dev="0"/></pci>
      <pci busid="0000:00:05.0" class="0x020000"><nic><net name="mlx5_0"/></nic></pci>
    </pci>
  </cpu>
  <cpu numaid="1">
    <pci busid="ffff:ff:02.0" class="0x060400">
      <pci busid="ffff:ff:03.0"><pci busid="0000:00:0b.0"/></pci>
      <pci busid="00:06.0"/>
    </pci>
  </cpu>
  <pci busid="0000:00:07.0"/>
  <cpu numaid="-1"><nvlink/><pci busid="0000:00:08.0"/></cpu>
</system>
"""


def test_places_are_told_for_every_function():
    """With the bridges above it, whatever the spelling of addresses; without a node where none is known."""
    found = parse_places(CLOUD)
    assert dict(found) == {
        "ffff:ff:01.0": VirtualPlace((), 0),
        "0000:00:0a.0": VirtualPlace(("ffff:ff:01.0",), 0),
        "0000:00:05.0": VirtualPlace(("ffff:ff:01.0",), 0),
        "ffff:ff:02.0": VirtualPlace((), 1),
        "ffff:ff:03.0": VirtualPlace(("ffff:ff:02.0",), 1),
        "0000:00:0b.0": VirtualPlace(("ffff:ff:02.0", "ffff:ff:03.0"), 1),
        "0000:00:06.0": VirtualPlace(("ffff:ff:02.0",), 1),
        "0000:00:07.0": VirtualPlace((), None),
        "0000:00:08.0": VirtualPlace((), None),
    }


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(depths=st.lists(st.integers(1, 6), min_size=1, max_size=8), numa=st.integers(0, 7))
def test_any_nesting_is_read(depths: list[int], numa: int):
    """The place of the innermost function is the way to it."""
    chains = [[f"0000:{chain:02x}:{level:02x}.0" for level in range(depth)] for chain, depth in enumerate(depths)]
    inner = "".join(
        "".join(f'<pci busid="{address}">' for address in chain) + "</pci>" * len(chain) for chain in chains
    )
    found = parse_places(f'<system><cpu numaid="{numa}">{inner}</cpu></system>'.encode())
    assert all(found[chain[-1]] == VirtualPlace(tuple(chain[:-1]), numa) for chain in chains)
    assert len(found) == sum(depths)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is not XML: no element found"),
        (b"<system>", "is not XML"),
        (b"\xff\x00", "is not XML"),
        (b"<system></cpu>", "is not XML: mismatched tag"),
        (b"{}", "is not XML"),
        (b"<topology/>", "line 1: found element 'topology', expected 'system'"),
        (b"<pci busid='0000:00:01.0'/>", "line 1: found element 'pci', expected 'system'"),
        (b"<system>\n<cpu/></system>", "line 2: cpu.numaid: found '', expected a number"),
        (b"<system><cpu numaid='one'/></system>", "cpu.numaid: found 'one'"),
        (b"<system><cpu numaid='0'>\n\n<pci/></cpu></system>", "line 3: pci.busid: found '', expected an address"),
        (b"<system><pci busid='eth0'/></system>", "pci.busid: found 'eth0'"),
        (b"<system><pci busid='0000:00:0g.0'/></system>", "pci.busid: found '0000:00:0g.0'"),
        (b"<!DOCTYPE system [<!ENTITY a 'b'>]><system/>", "found a document type 'system', expected none"),
    ],
)
def test_a_spoilt_file_is_ignored_as_a_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes, told: str
):
    """With one line in the log that says where; asked again it is not read again."""
    with pytest.raises(TopologyError) as refused:
        parse_places(content)
    assert told in str(refused.value)
    file = tmp_path / "topology.xml"
    file.write_bytes(content)
    topology = VirtualTopology(file)
    with caplog.at_level(logging.WARNING):
        assert [topology.places() for _ in range(3)] == [NO_PLACES] * 3
    (record,) = caplog.records
    assert (record.message, record.path) == ("topology of the virtual machine not read", str(file))  # type: ignore[attr-defined]
    assert told in record.cause  # type: ignore[attr-defined]


def test_a_file_that_comes_changes_or_goes_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Without a file nothing is told and nothing is said; a large one or a folder is not read."""
    file = tmp_path / "topology.xml"
    topology = VirtualTopology(file)
    assert topology.places() == NO_PLACES
    assert caplog.records == []
    file.write_bytes(CLOUD)
    assert topology.places() == parse_places(CLOUD)
    other = tmp_path / "other.xml"
    other.write_bytes(b"<system><pci busid='0000:00:01.0'/></system>")
    other.replace(file)
    assert topology.places() == {"0000:00:01.0": VirtualPlace((), None)}
    file.unlink()
    assert topology.places() == NO_PLACES
    file.mkdir()
    assert topology.places() == NO_PLACES
    file.rmdir()
    file.write_bytes(b" " * (5 << 20))
    assert topology.places() == NO_PLACES
    assert "expected at most 4194304" in caplog.records[-1].cause  # type: ignore[attr-defined]


def test_who_asks_while_the_file_is_read_is_told_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The first pods of a job come at the same time, each with a thread of its own that looks here."""
    path, told = tmp_path / "topology.xml", list[Places]()
    path.write_bytes(CLOUD)
    topology = VirtualTopology(path)

    def parse(content: bytes) -> Places:
        monkeypatch.setattr(virtualtopology, "parse_places", parse_places)
        told.append(topology.places())
        return parse_places(content)

    monkeypatch.setattr(virtualtopology, "parse_places", parse)
    assert topology.places() == parse_places(CLOUD)
    assert told == [parse_places(CLOUD)]


def test_the_file_is_believed_before_sysfs(tmp_path: Path):
    """NICs and GPUs sit where it puts them; of what it does not name sysfs tells."""
    machine, places = build("gpucloud", tmp_path), parse_places(CLOUD)
    nics = {link.ifname: device_facts(link, machine.sysfs, places) for link in machine.links}
    assert (nics["rdma0"].function.path, nics["rdma0"].numa_node) == (("ffff:ff:01.0",), 0)
    assert (nics["rdma1"].function.path, nics["rdma1"].numa_node) == (("ffff:ff:02.0",), 1)
    assert (nics["eth0"].function.path, nics["eth0"].numa_node) == ((), None)
    given = PodDevices(devices=tuple(GivenDevice("nvidia.com/gpu", id_) for id_ in machine.gpus))
    gpus = pod_devices(given, sysfs=machine.sysfs, proc=machine.proc, places=places)
    assert [(gpu.pci_path, gpu.numa_node) for gpu in gpus] == [
        (("ffff:ff:01.0",), 0),
        (("ffff:ff:02.0", "ffff:ff:03.0"), 1),
        ((), None),
        ((), None),
    ]
