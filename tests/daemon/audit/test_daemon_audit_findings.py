"""The comparison: every kind of finding, each from a world that differs in one thing from one where all agree."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from multinic_daemon.audit.attachments import judge_rows
from multinic_daemon.audit.findings import Kind, Verdict
from multinic_daemon.audit.judge import judge
from multinic_daemon.audit.world import (
    KernelSeen,
    NamespaceSeen,
    NotCompared,
    PodsSeen,
    Row,
    Sandbox,
    Tombstone,
    World,
)
from multinic_daemon.hostroutes.desired import PROTOCOL, RULE_PRIORITY, HostRoute, NetworkRoutes, RoutingState
from multinic_daemon.journal.codec import encode_plan
from multinic_daemon.journal.journal import GROUP_BASE
from multinic_daemon.journal.records import AttachmentKey, Record
from multinic_daemon.netlink import Address, Link, Route, Rule
from multinic_daemon.netlink.kinds import encode_attributes
from multinic_daemon.podlinks.compare import Observed
from multinic_daemon.podlinks.vlans import VLAN_GROUP

from multinic_core.model import PoolAllocation
from multinic_core.plan import AddAddress, AddRoute, AddRule, Allocation, CreateLink, Plan, PodReference, SetSysctl

BOOT, NOW, INODE, NODE_ID = "boot-1", 1000.0, 4026532100, 0
PERMANENT = 0x80
PATH = "/run/netns/c1"
KEY = AttachmentKey("multi-nic", "net-a", "c1", "net1")
NAMES = ("net1-0", "net1-1")
ADDRESSES = (ip_interface("192.168.0.1/18"), ip_interface("192.168.64.1/18"))
POOLS = ("net-a-192.168.0.0-24", "net-a-192.168.64.0-24")
TABLE = 5000


def link(ifname: str, ifindex: int, **fields: Any) -> Link:
    made = Link(
        ifindex=ifindex,
        ifname=ifname,
        hardware=1,
        flags=1,
        mtu=1500,
        mac_address="02:00:00:00:00:01",
        link_kind="macvlan",
        info_data=b"",
        parent_ifindex=ifindex + 8,
        parent_netns_id=NODE_ID,
        master_ifindex=0,
        group=GROUP_BASE + 1,
        carrier=True,
        bus="",
        bus_device="",
    )
    return made._replace(**fields)


PLAN = Plan(
    tuple(CreateLink(name, "macvlan", f"eth{n}", n + 10, 1500) for n, name in enumerate(NAMES))
    + tuple(AddAddress(name, address) for name, address in zip(NAMES, ADDRESSES, strict=True))
)
RECORD = Record(
    1, KEY, PATH, PodReference("default", "p1", "u1"), "ready", GROUP_BASE + 1, "", encode_plan(PLAN), "{}", 1, 1, BOOT
)
ROW = Row(RECORD, tuple(Allocation(p, "eth", 1, a) for p, a in zip(POOLS, ADDRESSES, strict=True)))
LINKS = tuple(link(name, n + 2) for n, name in enumerate(NAMES))
HELD = tuple(Address(n + 2, address, 0, PERMANENT) for n, address in enumerate(ADDRESSES))
POD = NamespaceSeen(INODE, PATH, Observed(LINKS, HELD, ()), NODE_ID)
WISH = NetworkRoutes(
    "net-a",
    (ip_network("192.168.0.0/16"),),
    (HostRoute(ip_network("192.168.1.0/24"), ip_address("10.0.1.2"), "eth1"),),
)
NIC = link("eth1", 3, group=0, link_kind="", parent_netns_id=None)
VLAN_LINK = NIC._replace(
    ifname="eth1.7",
    ifindex=9,
    link_kind="vlan",
    parent_ifindex=3,
    group=VLAN_GROUP,
    info_data=encode_attributes("vlan", {"IFLA_VLAN_ID": 7}),
)
ON_VLAN = Plan((replace(PLAN.links[0], parent="eth1", parent_ifindex=3, vlan=7), *PLAN.steps[1:]))
ROUTE = Route(WISH.routes[0].dst, WISH.routes[0].gateway, (3,), TABLE, PROTOCOL, 0, 1)
RULE = Rule(2, WISH.sources[0], TABLE, RULE_PRIORITY, PROTOCOL, True)
ROUTING = RoutingState({"eth1": NIC}, (ROUTE,), (RULE,))
AGREED = World(
    time=NOW,
    boot_id=BOOT,
    daemon=True,
    rows=(ROW,),
    kernel=KernelSeen({INODE: POD}, {PATH: Sandbox(INODE)}, ROUTING),
    pods=PodsSeen({"u1": "default/p1"}, frozenset()),
    mirror={
        pool: (PoolAllocation(pod="p1", namespace="default", index=1, address=str(address.ip)),)
        for pool, address in zip(POOLS, ADDRESSES, strict=True)
    },
    wishes=(WISH,),
)
GONE = PodsSeen({}, frozenset({"u1"}))
SANDBOX_GONE = KernelSeen({}, {PATH: Sandbox(None)}, ROUTING)


def record(**fields: Any) -> tuple[Row, ...]:
    return (replace(ROW, record=replace(RECORD, **fields)),)


def pod(links: tuple[Link, ...] = LINKS, addresses: tuple[Address, ...] = HELD, **fields: Any) -> KernelSeen:
    seen = replace(POD, observed=Observed(links, addresses, ()), **fields)
    return KernelSeen({seen.inode: seen}, {PATH: Sandbox(INODE)}, ROUTING)


def routing(**fields: Any) -> KernelSeen:
    return replace(AGREED.kernel, routing=replace(ROUTING, **fields))


def mirror(**pools: tuple[PoolAllocation, ...]) -> Mapping[str, tuple[PoolAllocation, ...]]:
    assert not isinstance(AGREED.mirror, NotCompared)
    return {**AGREED.mirror, **pools}


def entry(**fields: Any) -> PoolAllocation:
    return PoolAllocation(**{"pod": "p1", "namespace": "default", "index": 1, "address": "192.168.0.1"} | fields)


def found(world: World) -> list[tuple[Kind, Verdict]]:
    return [(finding.kind, finding.verdict) for finding in judge(world) if finding.verdict is not Verdict.FINE]


def test_where_all_agree_each_attachment_is_fine() -> None:
    """One finding, with what each source says."""
    (finding,) = judge(AGREED)
    assert (finding.kind, finding.verdict) == (Kind.AGREED, Verdict.FINE)
    assert finding.subject == "net1 of default/p1 (c1) in net-a"
    assert finding.journal == "ready, 192.168.0.1/18, 192.168.64.1/18"
    assert (finding.kernel, finding.sandbox, finding.pod) == ("net1-0, net1-1", PATH, "here")
    assert finding.mirror == "2 of 2 addresses"


DIFFERENCE, DEAD = Verdict.DIFFERENCE, Verdict.DEAD
TWIN = replace(ROW, record=replace(RECORD, id=2, group=GROUP_BASE + 2, key=replace(KEY, container_id="c2")))

CASES: dict[str, tuple[dict[str, Any], list[tuple[Kind, Verdict]], str]] = {
    "one link missing": ({"kernel": pod(LINKS[:1], HELD[:1])}, [(Kind.LINKS_MISSING, DIFFERENCE)], "net1-1 is missing"),
    "all links missing": ({"kernel": pod((), ())}, [(Kind.LINKS_MISSING, DIFFERENCE)], "net1-0 is missing"),
    "link down": (
        {"kernel": pod((LINKS[0], LINKS[1]._replace(flags=0)))},
        [(Kind.LINK_DIFFERS, DIFFERENCE)],
        "link 'net1-1' is down",
    ),
    "other parent": (
        {"kernel": pod((LINKS[0], LINKS[1]._replace(parent_ifindex=99)))},
        [(Kind.LINK_DIFFERS, DIFFERENCE)],
        "link 'net1-1' has link 99",
    ),
    "address missing": (
        {"kernel": pod(LINKS, HELD[:1])},
        [(Kind.ADDRESS_DIFFERS, DIFFERENCE)],
        "net1-1 lacks 192.168.64.1/18",
    ),
    "address changed": (
        {"kernel": pod(LINKS, (HELD[0], HELD[1]._replace(address=ip_interface("192.168.64.9/18"))))},
        [(Kind.ADDRESS_DIFFERS, DIFFERENCE)],
        "net1-1 lacks 192.168.64.1/18; net1-1 has 192.168.64.9/18 beyond the row",
    ),
    "address too many": (
        {"kernel": pod(LINKS, (*HELD, Address(2, ip_interface("10.9.9.9/32"), 0, PERMANENT)))},
        [(Kind.ADDRESS_DIFFERS, DIFFERENCE)],
        "net1-0 has 10.9.9.9/32 beyond the row",
    ),
    "link of ours, row unknown": (
        {"rows": ()},
        [(Kind.LINK_WITHOUT_ROW, DIFFERENCE), *[(Kind.ONLY_MIRRORED, DIFFERENCE)] * 2],
        "192.168.64.1/18",
    ),
    "links of the row in another sandbox too": (
        {
            "kernel": KernelSeen(
                {INODE: POD, 7: replace(POD, inode=7, where="/run/netns/x")}, {PATH: Sandbox(INODE)}, ROUTING
            )
        },
        [(Kind.LINK_WITHOUT_ROW, DIFFERENCE)],
        "/run/netns/x",
    ),
    "VLAN link of ours that nobody needs": (
        {"kernel": routing(links={"eth1": NIC, "eth1.7": VLAN_LINK})},
        [(Kind.VLAN_WITHOUT_ROW, DIFFERENCE)],
        "VLAN 7 of NIC eth1",
    ),
    "VLAN link that a row needs is missing": (
        {"rows": record(plan_json=encode_plan(ON_VLAN))},
        [(Kind.LINK_DIFFERS, DIFFERENCE)],
        "VLAN link of id 7 on NIC 'eth1' is missing",
    ),
    "sandbox gone, pod here": ({"kernel": SANDBOX_GONE}, [(Kind.SANDBOX_GONE, DIFFERENCE)], f"{PATH}: gone"),
    "sandbox gone, pods not compared": (
        {"kernel": SANDBOX_GONE, "pods": NotCompared("--no-api")},
        [(Kind.SANDBOX_GONE, DIFFERENCE)],
        "not compared",
    ),
    "sandbox gone, pod on no list but not asked for": (
        {"kernel": SANDBOX_GONE, "pods": PodsSeen({}, frozenset())},
        [(Kind.SANDBOX_GONE, DIFFERENCE)],
        "not on this node's list",
    ),
    "sandbox gone, no UID": (
        {"kernel": SANDBOX_GONE, "pods": GONE, "rows": record(pod=PodReference("default", "p1"))},
        [(Kind.SANDBOX_GONE, DIFFERENCE)],
        "no UID recorded",
    ),
    "path gone, but links live in a process": (
        {
            "kernel": KernelSeen({7: replace(POD, inode=7, where="/proc/9/ns/net")}, {PATH: Sandbox(None)}, ROUTING),
            "pods": GONE,
        },
        [(Kind.SANDBOX_GONE, DIFFERENCE)],
        "lives in /proc/9/ns/net",
    ),
    "path gone, but addresses live in a process": (
        {
            "kernel": KernelSeen(
                {7: replace(POD, inode=7, observed=Observed(tuple(x._replace(group=0) for x in LINKS), HELD, ()))},
                {PATH: Sandbox(None)},
                ROUTING,
            ),
            "pods": GONE,
        },
        [(Kind.SANDBOX_GONE, DIFFERENCE)],
        "lives in",
    ),
    "sandbox and pod gone": ({"kernel": SANDBOX_GONE, "pods": GONE}, [(Kind.SANDBOX_GONE, DEAD)], "gone"),
    "sandbox and pod gone, DEL stuck": (
        {"kernel": SANDBOX_GONE, "pods": GONE, "rows": record(state="deleting")},
        [(Kind.SANDBOX_GONE, DEAD)],
        "deleting for 999 s",
    ),
    "pod gone, sandbox lives": ({"pods": GONE}, [(Kind.POD_GONE, DIFFERENCE)], PATH),
    "another boot": ({"rows": record(boot_id="boot-0")}, [(Kind.OTHER_BOOT, DEAD)], ""),
    "another boot, no API": (
        {"rows": record(boot_id="boot-0"), "pods": NotCompared("x"), "mirror": NotCompared("x")},
        [(Kind.OTHER_BOOT, DEAD)],
        "",
    ),
    "pending for long": ({"rows": record(state="pending")}, [(Kind.UNFINISHED, DIFFERENCE)], "pending for 999 s"),
    "pending, no daemon": (
        {"rows": record(state="pending", updated=NOW - 1), "daemon": False},
        [(Kind.UNFINISHED, DIFFERENCE)],
        "pending for 1 s",
    ),
    "two rows, one address": (
        {
            "rows": (ROW, replace(TWIN, allocations=(replace(ROW.allocations[0], pool="net-b-192.168.0.0-24"),))),
            "kernel": replace(AGREED.kernel, sandboxes={PATH: Sandbox(INODE)}),
            "mirror": NotCompared("x"),
        },
        [(Kind.ADDRESS_TWICE, DIFFERENCE)],
        "(c2) in net-a from net-b-192.168.0.0-24",
    ),
    "not mirrored": ({"mirror": mirror(**{POOLS[0]: ()})}, [(Kind.NOT_MIRRORED, DIFFERENCE)], "192.168.0.1 missing in"),
    "no such pool": (
        {"mirror": {POOLS[0]: (entry(),)}},
        [(Kind.NOT_MIRRORED, DIFFERENCE)],
        f"no IPPool {POOLS[1]!r}",
    ),
    "only mirrored": (
        {"mirror": mirror(**{POOLS[0]: (entry(), entry(index=7, address="192.168.0.7", pod="p7"))})},
        [(Kind.ONLY_MIRRORED, DIFFERENCE)],
        "held by default/p7",
    ),
    "mirrored for another pod": (
        {"mirror": mirror(**{POOLS[0]: (entry(pod="p7"),)})},
        [(Kind.MIRROR_DIFFERS, DIFFERENCE)],
        "192.168.0.1 held by default/p7",
    ),
    "mirrored with another address": (
        {"mirror": mirror(**{POOLS[0]: (entry(address="192.168.0.3"),)})},
        [(Kind.NOT_MIRRORED, DIFFERENCE), (Kind.ONLY_MIRRORED, DIFFERENCE)],
        "192.168.0.1 missing in",
    ),
    "mirrored with another index": (
        {"mirror": mirror(**{POOLS[0]: (entry(index=3),)})},
        [(Kind.MIRROR_DIFFERS, DIFFERENCE)],
        "192.168.0.1 with index 3, expected 1",
    ),
    "mirrored address that is none": (
        {"mirror": mirror(**{POOLS[0]: (entry(), entry(address="odd", index=4))})},
        [(Kind.ONLY_MIRRORED, DIFFERENCE)],
        "held by default/p1",
    ),
    "route missing": (
        {"kernel": routing(routes=())},
        [(Kind.ROUTES_DIFFER, DIFFERENCE)],
        "route 192.168.1.0/24 via 10.0.1.2 dev eth1 missing",
    ),
    "rule missing": (
        {"kernel": routing(rules=(), routes=())},
        [(Kind.ROUTES_DIFFER, DIFFERENCE)],
        "rule from 192.168.0.0/16",
    ),
    "route too many": (
        {"kernel": routing(routes=(ROUTE, ROUTE._replace(dst=ip_network("192.168.9.0/24"))))},
        [(Kind.ROUTES_DIFFER, DIFFERENCE)],
        f"1 routes too many in table {TABLE}",
    ),
    "NIC of the routes gone": ({"kernel": routing(links={})}, [(Kind.ROUTES_DIFFER, DIFFERENCE)], "'eth1' is missing"),
    "routes and rule of no network": (
        {"wishes": ()},
        [(Kind.ROUTES_ORPHANED, DIFFERENCE), (Kind.RULE_ORPHANED, DIFFERENCE)],
        "of no network",
    ),
    "tombstone": ({"tombstones": (Tombstone("/t/1", KEY),)}, [(Kind.TOMBSTONE, DIFFERENCE)], "/t/1"),
    "tombstone that names nothing": (
        {"tombstones": (Tombstone("/t/1", None),)},
        [(Kind.TOMBSTONE, DIFFERENCE)],
        "/t/1",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_each_difference_is_named(name: str) -> None:
    """What differs is found, nothing else is, some source says it in words, and there is something to do about it."""
    change, expected, words = CASES[name]
    world = replace(AGREED, **change)
    assert found(world) == expected
    findings = [finding for finding in judge(world) if finding.verdict is not Verdict.FINE]
    said = " | ".join(
        text for each in findings for text in (each.journal, each.kernel, each.sandbox, each.pod, each.mirror)
    )
    assert words in said
    assert all(finding.remedy for finding in findings)


def test_every_kind_has_a_case() -> None:
    """A new kind of finding needs a world that shows it."""
    assert {kind for _, expected, _ in CASES.values() for kind, _ in expected} == set(Kind) - {Kind.AGREED}


FINE: dict[str, Callable[[], World]] = {
    "no API": lambda: replace(
        AGREED, pods=NotCompared("x"), mirror=NotCompared("x"), wishes=NotCompared("x"), rows=(ROW,)
    ),
    "adopted, with links in no group": lambda: replace(
        AGREED, rows=record(state="adopted"), kernel=pod(tuple(each._replace(group=0) for each in LINKS))
    ),
    "held by nobody knows whom": lambda: replace(AGREED, rows=record(state="unknown", pod=PodReference())),
    "call in progress": lambda: replace(
        AGREED, rows=record(state="pending", updated=NOW - 1), kernel=pod((), ()), mirror={}
    ),
    "mirrored by another hand": lambda: replace(
        AGREED, mirror=mirror(**{POOLS[0]: (entry(address="192.168.0.1/24"),)})
    ),
    "just attached, not mirrored yet": lambda: replace(AGREED, rows=record(updated=NOW - 1), mirror={}),
    "path that this process cannot judge": lambda: replace(
        AGREED, kernel=KernelSeen({}, {PATH: Sandbox(None, "this process does not see it")}, ROUTING)
    ),
    "row without a path": lambda: replace(
        AGREED,
        kernel=KernelSeen({}, {"": Sandbox(None, "the row names no path")}, ROUTING),
        rows=record(netns="", plan_json="[]"),
    ),
    "address from a router advertisement": lambda: replace(
        AGREED, kernel=pod(LINKS, (*HELD, Address(2, ip_interface("2001:db8::1/64"), 0, 0)))
    ),
    "link-local address": lambda: replace(
        AGREED, kernel=pod(LINKS, (*HELD, Address(2, ip_interface("fe80::1/64"), 253, PERMANENT)))
    ),
    "links of another node's pods": lambda: replace(
        AGREED,
        kernel=KernelSeen(
            {INODE: POD, 7: replace(POD, inode=7, where="/run/netns/x", node_netns_id=-1)},
            {PATH: Sandbox(INODE)},
            ROUTING,
        ),
    ),
    "foreign route that leads where ours would": lambda: replace(
        AGREED, kernel=routing(routes=(ROUTE._replace(protocol=3),))
    ),
    "foreign rule": lambda: replace(
        AGREED, kernel=routing(rules=(RULE, Rule(2, ip_network("10.0.0.0/8"), 77, 100, 3, True)))
    ),
}


@pytest.mark.parametrize("name", FINE)
def test_what_may_be_so_is_no_difference(name: str) -> None:
    """Sources that are silent, calls in progress and what others do are not told of."""
    assert found(FINE[name]()) == []


def test_silence_of_the_api_proves_nothing_dead() -> None:
    """Whatever the kernel says, without the API only another boot is a proof."""
    for kernel in (SANDBOX_GONE, pod((), ()), AGREED.kernel):
        world = replace(AGREED, kernel=kernel, pods=NotCompared("x"), mirror=NotCompared("x"))
        assert Verdict.DEAD not in {finding.verdict for finding in judge(world)}


def test_settings_tables_and_rules_are_compared() -> None:
    """A row that says how the pod routes is held against the pod; a row that does not, asks for nothing."""
    (name, address), number = (NAMES[0], ADDRESSES[0]), 2
    source = ip_network(address.ip)
    steps = (
        SetSysctl(f"net/ipv4/conf/{name}/rp_filter", "2"),
        AddRoute(address.network, name, table=1100),
        AddRule(source, 1100, 32765),
    )
    rows = record(plan_json=encode_plan(Plan((*PLAN.steps, *steps))))
    route = Route(address.network, None, (number,), 1100, PROTOCOL, 0, 1)
    rule = Rule(2, source, 1100, 32765, PROTOCOL, True)
    whole = Observed(LINKS, HELD, (route,), (rule,), {number: {"rp_filter": 2}})
    for observed, words in (
        (whole, ""),
        (replace(whole, routes=()), "in table 1100 is missing"),
        (replace(whole, rules=()), f"rule from {source} lookup 1100"),
        (replace(whole, settings={}), "has rp_filter None, expected 2"),
    ):
        seen = KernelSeen({INODE: replace(POD, observed=observed)}, {PATH: Sandbox(INODE)}, ROUTING)
        (finding,) = judge_rows(replace(AGREED, rows=rows, kernel=seen))
        assert (finding.kind is Kind.AGREED) == (not words)
        assert words in finding.kernel


def test_dual_stack_differences_are_sorted() -> None:
    """Addresses of both families side by side."""
    extra = [Address(2, ip_interface(text), 0, PERMANENT) for text in ("2001:db8::1/64", "10.0.0.1/8")]
    (finding,) = judge(replace(AGREED, kernel=pod(LINKS, (*HELD, *extra))))
    assert finding.kernel == "net1-0 has 10.0.0.1/8 beyond the row; net1-0 has 2001:db8::1/64 beyond the row"
