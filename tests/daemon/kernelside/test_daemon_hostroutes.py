"""Desired host routes, table ids, and the comparison with what a node has."""

from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multinic_daemon.hostroutes.desired import (
    PROTOCOL,
    RULE_PRIORITY,
    HostRoute,
    NetworkRoutes,
    RoutingState,
    network_routes,
    route_changes,
)
from multinic_daemon.hostroutes.tables import COUNT, FIRST, assign_tables, candidates, named_tables, write_names
from multinic_daemon.netlink import Link, Route, Rule

from multinic_core.model import CIDR


def host(name: str, interface: str, address: str, pods: str) -> dict[str, Any]:
    return {"hostIndex": 0, "hostName": name, "interfaceName": interface, "hostIP": address, "podCIDR": pods}


def cidr(*entries: list[dict[str, Any]], mode: str = "l3", subnet: str = "192.168.0.0/16") -> CIDR:
    config = {
        "name": "net",
        "type": "ipvlan",
        "subnet": subnet,
        "masterNets": [],
        "hostBlock": 6,
        "interfaceBlock": 2,
        "vlanMode": mode,
    }
    rows = [
        {"netAddress": f"10.0.{i}.0/24", "interfaceIndex": i, "vlanCIDR": f"192.168.{64 * i}.0/18", "hosts": hosts}
        for i, hosts in enumerate(entries)
    ]
    return CIDR.model_validate({"metadata": {"name": "net"}, "spec": {"config": config, "cidr": rows}})


FIRST_NIC = [
    host("n1", "eth1", "10.0.0.1", "192.168.0.0/24"),
    host("n2", "ens1", "10.0.0.2", "192.168.1.0/24"),
    host("n3", "eth1", "10.0.0.3", "192.168.2.0/24"),
]
SECOND_NIC = [host("n1", "eth2", "10.0.1.1", "192.168.64.0/24"), host("n2", "ens2", "10.0.1.2", "192.168.65.0/24")]


def shown(wish: NetworkRoutes | None) -> list[str]:
    assert wish is not None
    return [f"{route.dst} via {route.gateway} dev {route.ifname}" for route in wish.routes]


def test_each_node_reaches_every_other_over_every_nic_they_share():
    """For each entry with this node in it: every other host's podCIDR via its hostIP over this node's own NIC."""
    wish = network_routes(cidr(FIRST_NIC, SECOND_NIC), "n1")
    assert shown(wish) == [
        "192.168.1.0/24 via 10.0.0.2 dev eth1",
        "192.168.2.0/24 via 10.0.0.3 dev eth1",
        "192.168.65.0/24 via 10.0.1.2 dev eth2",
    ]
    assert shown(network_routes(cidr(FIRST_NIC, SECOND_NIC), "n3")) == [
        "192.168.0.0/24 via 10.0.0.1 dev eth1",
        "192.168.1.0/24 via 10.0.0.2 dev eth1",
    ]


@pytest.mark.parametrize("mode", ["", "l2", "something"])
def test_only_l3_networks_have_routes(mode: str):
    """Any other vlanMode means that pods reach each other on layer 2."""
    assert network_routes(cidr(FIRST_NIC, mode=mode), "n1") is None
    assert network_routes(cidr(FIRST_NIC, mode="l3s"), "n1") is not None


def test_a_node_outside_the_network_has_no_routes():
    """A node without a block in the CIDR takes no part."""
    assert network_routes(cidr(FIRST_NIC), "n9") is None


def test_ipv6_blocks_are_routed_by_ipv6_hosts_and_one_rule_goes_to_each_subnet():
    """Dual stack gives two rules; a block that its host's address cannot carry is named, not dropped in silence."""
    v6 = [host("n1", "eth1", "fd00::1", "fd01:0:0:0::/64"), host("n2", "eth1", "fd00::2", "fd01:0:0:1::/64")]
    mixed = [host("n1", "eth3", "10.0.3.1", "fd01:0:1::/64"), host("n2", "eth3", "10.0.3.2", "fd01:0:1:1::/64")]
    wish = network_routes(cidr(FIRST_NIC, v6, mixed, subnet="192.168.0.0/16,fd01::/32"), "n1")
    assert wish is not None
    assert wish.sources == (ip_network("192.168.0.0/16"), ip_network("fd01::/32"))
    assert "fd01:0:0:1::/64 via fd00::2 dev eth1" in shown(wish)
    assert wish.problems == ("n2 eth3: fd01:0:1:1::/64 cannot be reached via 10.0.3.2",)


# Comparison

TABLE = 5001
WISH = network_routes(cidr(FIRST_NIC), "n1")
assert WISH is not None
RULE = Rule(2, ip_network("192.168.0.0/16"), TABLE, RULE_PRIORITY, PROTOCOL, plain=True)


def link(ifindex: int, ifname: str, *, up: bool = True) -> Link:
    return Link(ifindex, ifname, 1, int(up), 1500, "", "", b"", 0, None, 0, 0, carrier=up, bus="", bus_device="")


def route(dst: str, gateway: str, ifindex: int = 3, **changes: Any) -> Route:
    return Route(ip_network(dst), ip_address(gateway), (ifindex,), TABLE, PROTOCOL, 0, 1)._replace(**changes)


GOOD = (route("192.168.1.0/24", "10.0.0.2"), route("192.168.2.0/24", "10.0.0.3"))
LINKS = {"eth1": link(3, "eth1")}


def compare(routes: Any = GOOD, rules: Any = (RULE,), links: Any = LINKS, wishes: Any = None, kept: Any = frozenset()):
    return route_changes({TABLE: WISH} if wishes is None else wishes, RoutingState(links, routes, rules), kept)


def empty(changes: Any) -> bool:
    return not (changes.add_routes or changes.delete_routes or changes.add_rules or changes.delete_rules)


def test_a_healthy_table_is_not_touched():
    """What is as wanted causes no change and no problem."""
    assert empty(compare())
    assert compare().problems == {}


def test_missing_routes_and_rules_are_added():
    """An empty node gets everything."""
    changes = compare(routes=(), rules=())
    assert [(a.route.dst, a.ifindex, a.replace) for a in changes.add_routes] == [(r.dst, 3, False) for r in GOOD]
    assert [(r.table, r.source) for r in changes.add_rules] == [(TABLE, RULE.source)]


def test_a_route_that_leads_elsewhere_is_replaced_in_one_step():
    """A host that changed its address is never without a route."""
    changes = compare(routes=(route("192.168.1.0/24", "10.0.0.99"), GOOD[1]))
    (addition,) = changes.add_routes
    assert (addition.route.gateway, addition.replace) == (ip_address("10.0.0.2"), True)
    assert changes.delete_routes == []


def test_stale_routes_and_rules_of_ours_go_and_foreign_ones_stay():
    """What carries our number and nobody wants goes, wherever it is; all else is not ours to judge."""
    stale = (route("192.168.9.0/24", "10.0.0.9"), route("192.168.1.0/24", "10.0.0.2", table=7000))
    foreign = (route("192.168.8.0/24", "10.0.0.8", protocol=4), route("1.0.0.0/8", "10.0.0.8", protocol=3, table=100))
    old = RULE._replace(table=7000)
    others = (RULE._replace(protocol=0, table=100), RULE._replace(plain=False, table=100))
    changes = compare(routes=(*GOOD, *stale, *foreign), rules=(RULE, old, *others))
    assert set(changes.delete_routes) == set(stale)
    assert changes.delete_rules == [old]
    assert not changes.add_routes
    assert not changes.add_rules


def test_a_rule_of_ours_at_another_priority_is_moved():
    """Somebody moved it: the wanted one is added and the other goes."""
    moved = RULE._replace(priority=100)
    changes = compare(rules=(moved,))
    assert changes.delete_rules == [moved]
    assert len(changes.add_rules) == 1


@pytest.mark.parametrize(("links", "word"), [({}, "missing"), ({"eth1": link(3, "eth1", up=False)}, "down")])
def test_a_nic_that_is_away_is_a_problem_and_takes_nothing_with_it(links: Any, word: str):
    """Routes wait for the NIC; those still there, as over a renamed NIC, stay."""
    changes = compare(links=links)
    assert empty(changes)
    assert changes.problems == {"net": [f"NIC 'eth1' is {word}, its routes wait for it"]}
    assert compare(links=links, routes=()).add_routes == []


def test_a_network_that_is_gone_takes_its_table_and_its_rule():
    """Without a wish everything of ours goes, except in tables that are kept."""
    changes = compare(wishes={})
    assert set(changes.delete_routes) == set(GOOD)
    assert changes.delete_rules == [RULE]
    assert empty(compare(wishes={}, kept=frozenset({TABLE})))


@given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_the_comparison_after_the_changes_is_empty(wanted: set[int], there: set[int], elsewhere: set[int]):
    """Doing what the comparison says leaves nothing to do, from any state."""
    via = ip_address("10.0.0.2")
    routes = tuple(HostRoute(ip_network(f"192.168.{i}.0/24"), via, "eth1") for i in sorted(wanted))
    wish = NetworkRoutes("net", (ip_network("192.168.0.0/16"),), routes)
    state = [route(f"192.168.{i}.0/24", "10.0.0.2") for i in there - elsewhere]
    state += [route(f"192.168.{i}.0/24", "10.0.0.3") for i in elsewhere]
    changes = compare(routes=state, wishes={TABLE: wish})
    left = {r.dst: r for r in state if r not in changes.delete_routes}
    for addition in changes.add_routes:
        assert addition.replace == (addition.route.dst in left)
        left[addition.route.dst] = route(str(addition.route.dst), str(addition.route.gateway), addition.ifindex)
    assert empty(compare(routes=list(left.values()), wishes={TABLE: wish}))
    assert {r.dst for r in left.values()} == {r.dst for r in routes}


# Tables


def wish(network: str, subnet: str = "192.168.0.0/16") -> NetworkRoutes:
    return NetworkRoutes(network, (ip_network(subnet),), ())


def test_the_same_name_has_the_same_table_everywhere():
    """The id depends on the name alone and lies in the documented range."""
    (table,) = assign_tables([wish("net")], [], {}, ()).values()
    assert table == 8327
    assert FIRST <= table < FIRST + COUNT


def test_a_table_that_others_use_is_avoided():
    """Ids of foreign rules, routes and rt_tables files are passed over."""
    first, second, third, *_ = candidates("net")
    rule = RULE._replace(table=second, protocol=0)
    assert assign_tables([wish("net")], [rule], {}, {first}) == {"net": third}


def test_a_table_that_had_to_move_is_found_again_by_our_rule():
    """After a restart our own rule says which table the network has, and no other network is given it."""
    first, second, *_ = candidates("net")
    assert assign_tables([wish("net")], [RULE._replace(table=second)], {}, ()) == {"net": second}
    other = wish("other", "172.16.0.0/16")
    assert second not in assign_tables([other], [RULE._replace(table=second)], {}, ()).values()
    assert assign_tables([wish("net")], [], {"net": second}, {first}) == {"net": second}


@given(st.sets(st.text("abcdefghij-", min_size=1, max_size=6), max_size=40), st.sets(st.integers(5000, 5100)))
def test_no_two_networks_share_a_table(names: set[str], foreign: set[int]):
    """Whatever the names, tables are distinct and none is foreign."""
    wishes = [wish(name, f"10.{i}.0.0/16") for i, name in enumerate(sorted(names))]
    assigned = assign_tables(wishes, [], {}, foreign)
    assert len(set(assigned.values())) == len(names)
    assert not set(assigned.values()) & foreign


def test_names_are_read_from_every_file_but_our_own(tmp_path: Path):
    """Comments, nonsense and our own drop-in name nothing."""
    drop_ins = tmp_path / "rt_tables.d"
    drop_ins.mkdir()
    (tmp_path / "rt_tables").write_text("# comment\n255\tlocal\n100 mine # note\nnonsense\n0x65 hex\n")
    (drop_ins / "a.conf").write_text("5740\ttheirs\n")
    (drop_ins / "multinic.conf").write_text("6000\tours\n")
    found = named_tables(tmp_path)
    assert {100: "mine", 101: "hex", 255: "local", 5740: "theirs"}.items() <= found.items()
    assert 6000 not in found


def test_our_names_stand_in_a_drop_in_where_the_folder_exists(tmp_path: Path):
    """The file follows the tables and goes with the last; without the folder nothing is made."""
    write_names(tmp_path, {"net": 5740})
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "rt_tables.d").mkdir()
    write_names(tmp_path, {"net": 5740, "a": 5001})
    path = tmp_path / "rt_tables.d" / "multinic.conf"
    assert path.read_text().splitlines()[1:] == ["5001\ta", "5740\tnet"]
    write_names(tmp_path, {})
    assert list((tmp_path / "rt_tables.d").iterdir()) == []
