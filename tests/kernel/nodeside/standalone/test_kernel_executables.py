"""Debian's reference CNI executables, run by ours on real links: single-NIC IPAMs, and main plugins by delegate."""

import json
from pathlib import Path
from typing import Any

import pytest
from multinic_lab.provision import tools

BIN = tools.find("host-local").parent
RANGES = {"eth1": "172.20.1.0/24", "eth2": "172.20.2.0/24"}

pytestmark = [pytest.mark.needs_root, pytest.mark.link_kind("veth", "macvlan", "bridge")]


@pytest.fixture
def host(host: Any) -> Any:
    """The machine, with the reference executables beside ours."""
    for file in BIN.iterdir():
        (host.folder / "bin" / file.name).symlink_to(file)
    return host


def host_local(host: Any, **fields: Any) -> dict[str, Any]:
    """An ipam block with a range for each NIC, kept in the test's folder."""
    folder = str(host.folder / "host-local")
    entries = {nic: {"subnet": subnet, "dataDir": folder} | fields for nic, subnet in RANGES.items()}
    return {"type": "multi-config", "ipam_type": "host-local", "args": entries}


def held(host: Any) -> list[str]:
    """The addresses that host-local has given and not freed."""
    return sorted(file.name for file in (host.folder / "host-local").glob("*/*.*.*.*"))


def make_bridge(host: Any) -> None:
    """The bridge with a MAC address of its own: else its ports' change it, which Debian's CHECK does not expect."""
    host.ground.ip(host.ground.node, "link", "add", "br-fast", "address", "02:00:00:00:0b:0b", "type", "bridge")


def node_links(host: Any) -> set[str]:
    """Names of the node's links, those that differ from call to call left out."""
    return set(host.ground.names(host.ground.node))


@pytest.mark.parametrize("kind", ["macvlan", "delegate"])
def test_host_local_gives_addresses_of_each_nics_range(host: Any, kind: str) -> None:
    """Addresses of Debian's host-local are on the pod's links, natively made or by an executable, until DEL."""
    args = {"mode": "bridge"} | ({"type": "macvlan"} if kind == "delegate" else {})
    fields = {"subnet": None, "plugin": {"type": kind, "args": args, "cniVersion": "1.0.0"}, "ipam": host_local(host)}
    result = host.call("ADD", "c1", **fields)
    assert [ip["address"] for ip in result["ips"]] == ["172.20.1.2/24", "172.20.2.2/24"]
    assert [ip["interface"] for ip in result["ips"]] == [0, 1]
    assert [ip["gateway"] for ip in result["ips"]] == ["172.20.1.1", "172.20.2.1"]
    assert host.addresses("c1") == ["172.20.1.2/24", "172.20.2.2/24"]
    assert held(host) == ["172.20.1.2", "172.20.2.2"]
    host.call("ADD", "c2", **fields)
    assert host.pings("c1", "172.20.1.3")
    assert host.audit() == (0, [])
    host.call("CHECK", "c1", prevResult=result, **fields)
    for container in ("c1", "c2"):
        host.call("DEL", container, **fields)
    assert held(host) == []
    assert host.ground.names(host.netns("c1")) == set()
    assert host.rows() == []


def test_check_finds_what_host_local_does_not_know(host: Any) -> None:
    """CHECK is the executables' too."""
    fields = {"subnet": None, "ipam": host_local(host)}
    result = host.call("ADD", "c1", **fields)
    next((host.folder / "host-local").glob("*/172.20.2.2")).unlink()
    answer = host.call("CHECK", "c1", prevResult=result, **fields)
    assert (answer["code"], "executable" in answer["msg"]) == (101, True)


def test_full_range_of_one_nic_gives_the_other_back(host: Any) -> None:
    """The executable's own words reach the runtime, and what the first NIC got is free again."""
    ipam = host_local(host)
    ipam["args"]["eth2"] |= {"rangeStart": "172.20.2.9", "rangeEnd": "172.20.2.9"}
    fields = {"subnet": None, "ipam": ipam}
    host.call("ADD", "c1", **fields)
    answer = host.call("ADD", "c2", **fields)
    assert "no IP addresses available" in answer["msg"]
    assert "NIC 'eth2', link 'net1-1': ADD of executable" in answer["msg"]
    assert held(host) == ["172.20.1.2", "172.20.2.9"]
    assert host.ground.names(host.netns("c2")) == set()


def test_static_gives_what_the_network_says(host: Any) -> None:
    """Debian's static with an address of each NIC, and routes, which are in the pod and in the answer."""
    entries = {
        "eth1": {
            "addresses": [{"address": "172.21.1.5/24", "gateway": "172.21.1.1"}],
            "routes": [{"dst": "10.9.0.0/16"}],
        },
        "eth2": {"addresses": [{"address": "172.21.2.5/24"}, {"address": "fd00:2::5/64"}]},
    }
    fields = {"subnet": None, "ipam": {"type": "multi-config", "ipam_type": "static", "args": entries}}
    result = host.call("ADD", "c1", **fields)
    assert [(ip["interface"], ip["address"]) for ip in result["ips"]] == [
        (0, "172.21.1.5/24"),
        (1, "172.21.2.5/24"),
        (1, "fd00:2::5/64"),
    ]
    (route,) = [each for each in host.ground.ip(host.netns("c1"), "route") if each["dst"] == "10.9.0.0/16"]
    assert (route["gateway"], route["dev"]) == ("172.21.1.1", "net1-0")
    host.call("CHECK", "c1", prevResult=result, **fields)
    host.call("DEL", "c1", **fields)


def test_bridge_makes_links_with_addresses_of_our_pools(host: Any) -> None:
    """``plugin.type: bridge`` is Debian's bridge: a veth for each NIC, in their order, on a bridge of the node."""
    plugin = {
        "type": "bridge",
        "cniVersion": "1.0.0",
        "args": {"bridge": "br-fast", "mtu": "1400", "hairpinMode": "true"},
    }
    make_bridge(host)
    result = host.call("ADD", "c1", plugin=plugin)
    inside = [each for each in result["interfaces"] if each.get("sandbox")]
    assert [each["name"] for each in inside] == ["net1-0", "net1-1"]
    assert [ip["interface"] for ip in result["ips"]] == [0, 1]
    assert host.addresses("c1") == [ip["address"] for ip in result["ips"]]
    assert host.ground.link(host.netns("c1"), "net1-0")["mtu"] == 1400
    assert len({each["name"] for each in result["interfaces"]}) == len(result["interfaces"]) == 5
    assert host.call("ADD", "c1", plugin=plugin) == result
    host.call("CHECK", "c1", prevResult=result, plugin=plugin)
    host.call("ADD", "c2", plugin=plugin)
    assert host.pings("c1", host.addresses("c2")[0].split("/")[0])
    assert host.audit() == (0, [])
    host.ground.ip(host.netns("c1"), "link", "del", "net1-1")
    answer = host.call("CHECK", "c1", prevResult=result, plugin=plugin)
    assert answer["code"] == 101
    assert "link 'net1-1' is missing" in answer["msg"]
    for container in ("c1", "c2"):
        host.call("DEL", container, plugin=plugin)
    assert host.ground.names(host.netns("c1")) == set()
    assert node_links(host) == {"eth1", "eth2", "br-fast"}
    assert host.rows() == []


def test_ptp_takes_the_gateways_of_host_local(host: Any) -> None:
    """Debian's ptp with Debian's host-local: the second executable gets what the first one gave."""
    fields = {"subnet": None, "plugin": {"type": "ptp", "cniVersion": "1.0.0"}, "ipam": host_local(host)}
    result = host.call("ADD", "c1", **fields)
    assert host.addresses("c1") == ["172.20.1.2/24", "172.20.2.2/24"]
    assert host.pings("c1", "172.20.1.1")
    host.call("CHECK", "c1", prevResult=result, **fields)
    host.call("DEL", "c1", **fields)
    assert node_links(host) == {"eth1", "eth2"}
    assert held(host) == []


def test_refusal_of_the_second_link_removes_the_first(host: Any) -> None:
    """What Debian's bridge says about the second NIC ends the call, and the link on the first is gone."""
    plugin = {"type": "bridge", "cniVersion": "1.0.0", "args": {"bridge": "br-fast"}}
    host.ground.ip(host.netns("c1"), "link", "add", "net1-1", "type", "veth", "peer", "name", "other")
    answer = host.call("ADD", "c1", plugin=plugin)
    assert "NIC 'eth2', link 'net1-1': ADD of executable" in answer["msg"]
    assert "net1-0" not in host.ground.names(host.netns("c1"))
    assert host.rows() == []


def test_several_gateways_are_one_route_in_the_kernel(host: Any) -> None:
    """``ip`` sees one route with both next hops, with source routing one in each link's table; CHECK misses it."""
    routes = [{"dst": "10.9.0.0/16", "gw": "192.168.0.9"}, {"dst": "10.9.0.0/16", "gw": "192.168.64.9"}]
    ipam = {"type": "multi-nic-ipam", "interfaceBlock": 2, "hostBlock": 6, "routes": routes}
    plugin = {"type": "macvlan", "args": {"mode": "bridge", "sourceRouting": "true"}}
    result = host.call("ADD", "c1", ipam=ipam, plugin=plugin)
    pod = host.netns("c1")

    def hops(table: str) -> list[list[tuple[str, str]]]:
        found = [each for each in host.ground.ip(pod, "route", "show", "table", table) if each["dst"] == "10.9.0.0/16"]
        return [[(hop["gateway"], hop["dev"]) for hop in each.get("nexthops", [each])] for each in found]

    assert hops("main") == [[("192.168.0.9", "net1-0"), ("192.168.64.9", "net1-1")]]
    assert hops("1100") == [[("192.168.0.9", "net1-0")]]
    assert hops("1101") == [[("192.168.64.9", "net1-1")]]
    host.call("CHECK", "c1", prevResult=result, ipam=ipam, plugin=plugin)
    host.ground.ip(pod, "route", "replace", "10.9.0.0/16", "via", "192.168.0.9")
    answer = host.call("CHECK", "c1", prevResult=result, ipam=ipam, plugin=plugin)
    assert "route 10.9.0.0/16 via 192.168.0.9 on link 'net1-0' and via 192.168.64.9 on link 'net1-1'" in answer["msg"]
    host.call("DEL", "c1", ipam=ipam, plugin=plugin)
    assert host.ground.ip(pod, "route") == []


def test_several_gateways_of_ipv6_are_one_route(host: Any) -> None:
    """The kernel keeps next hops of IPv6 apart; they are one route to CHECK all the same."""
    routes = [{"dst": "fd99::/64", "gw": "fd00:1::9"}, {"dst": "fd99::/64", "gw": "fd00:2::9"}]
    entries = {f"eth{n}": {"addresses": [{"address": f"fd00:{n}::5/64"}]} for n in (1, 2)}
    ipam = {"type": "multi-config", "ipam_type": "static", "args": entries, "routes": routes}
    fields = {"subnet": None, "ipam": ipam}
    result = host.call("ADD", "c1", **fields)
    found = json.dumps(host.ground.ip(host.netns("c1"), "-6", "route"))
    assert "fd00:1::9" in found
    assert "fd00:2::9" in found
    host.call("CHECK", "c1", prevResult=result, **fields)
    host.call("DEL", "c1", **fields)


def test_executables_have_several_gateways_added_after_them(host: Any) -> None:
    """Over links that an executable made, the route with both next hops comes from us."""
    routes = [{"dst": "10.9.0.0/16", "gw": "192.168.0.9"}, {"dst": "10.9.0.0/16", "gw": "192.168.64.9"}]
    ipam = {"type": "multi-nic-ipam", "interfaceBlock": 2, "hostBlock": 6, "routes": routes}
    plugin = {"type": "delegate", "cniVersion": "1.0.0", "args": {"type": "macvlan", "mode": "bridge"}}
    result = host.call("ADD", "c1", ipam=ipam, plugin=plugin)
    (route,) = [each for each in host.ground.ip(host.netns("c1"), "route") if each["dst"] == "10.9.0.0/16"]
    assert [hop["dev"] for hop in route["nexthops"]] == ["net1-0", "net1-1"]
    host.call("CHECK", "c1", prevResult=result, ipam=ipam, plugin=plugin)
    host.call("DEL", "c1", ipam=ipam, plugin=plugin)
    assert host.ground.names(host.netns("c1")) == set()


@pytest.mark.parametrize(
    ("crash_at", "command"),
    [
        ("outside.addressed", "ADD"),
        ("outside.planned", "ADD"),
        ("add.applied", "ADD"),
        ("outside.freed", "DEL"),
    ],
)
def test_death_at_any_instant_leaks_no_address_of_host_local(host: Any, crash_at: str, command: str) -> None:
    """Killed between two steps, the next call finishes: what host-local gave to the dead one is free again."""
    fields = {"subnet": None, "ipam": host_local(host)}
    if command == "DEL":
        host.call("ADD", "c1", **fields)
    host.end(host.start(command, "c1", crash_at=crash_at, **fields))
    host.call("ADD", "c2", **fields)
    assert len(held(host)) == 2
    assert [row[:2] for row in host.rows()] == [("c2", "ready")]
    assert host.ground.names(host.netns("c1")) == set()


@pytest.mark.parametrize(("crash_at", "command"), [("outside.plugged", "ADD"), ("outside.unplugged", "DEL")])
def test_death_leaves_no_link_of_an_executable(host: Any, crash_at: str, command: str) -> None:
    """Links that Debian's bridge made for the dead one are gone with the next call."""
    plugin = {"type": "bridge", "cniVersion": "1.0.0", "args": {"bridge": "br-fast"}}
    if command == "DEL":
        host.call("ADD", "c1", plugin=plugin)
    host.end(host.start(command, "c1", crash_at=crash_at, plugin=plugin))
    host.call("DEL", "c2", plugin=plugin)
    assert host.rows() == []
    assert host.ground.names(host.netns("c1")) == set()
    assert node_links(host) == {"eth1", "eth2", "br-fast"}


def test_missing_executable_is_named(host: Any, tmp_path: Path) -> None:
    """A typo says where was looked and what would do."""
    answer = host.call("ADD", "c1", plugin={"type": "brigde"})
    assert answer["msg"].startswith(f"plugin.type: no executable 'brigde' in ['{host.folder / 'bin'}'];")
    assert host.rows() == []
