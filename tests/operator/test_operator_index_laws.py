"""Laws of indexes and blocks for a whole operator, in any sequence of what nodes, people and crashes do.

What daemons would compute is looked at after every single write, not only when all is quiet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_network
from itertools import pairwise
from typing import Any
from unittest import mock

import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from multinic_operator.numbering import sizes
from multinic_operator.numbering.departed import INDEXES_NAME
from trio.testing import MockClock

from multinic_core.model import CIDR, CIDRS, CONFIG_MAPS, HOST_INTERFACES, NODES, SYSTEM_NAMESPACE, HostInterface
from multinic_core.ports import Key
from multinic_core.rows import Rows

HOSTS = [f"n{i}" for i in range(6)]
NETS = ["10.0.1", "10.0.2", "10.0.3"]
IFNAMES = ["eth1", "eth2", "eth3"]
SMALL_BYTES = 1_500
"""Of a CIDR here: some five rows, so that a few nodes more or less turn it over."""

wirings = st.dictionaries(st.sampled_from(IFNAMES), st.sampled_from(NETS), max_size=3)
hosts = st.sampled_from(HOSTS)
beginnings = st.lists(st.tuples(st.just("join"), hosts, wirings), max_size=5)
steps = st.one_of(
    st.tuples(st.just("join"), hosts, wirings),
    st.tuples(st.just("join"), hosts, wirings),
    st.tuples(st.just("wire"), hosts, wirings),
    st.tuples(st.just("rename"), hosts),
    st.tuples(st.just("leave"), hosts),
    st.tuples(st.just("forget"), hosts),
    st.tuples(st.just("restart")),
    st.tuples(st.just("crash"), st.integers(1, 9)),
    st.tuples(st.just("lose")),
    st.tuples(st.just("exclude"), st.sampled_from([[], ["192.168.0.0/19"], ["192.168.96.0/19", "192.168.8.0/21"]])),
)


def blocks_now(kube: Any) -> dict[tuple[str, str], str]:
    """Node and address of each NIC that has a block, as every daemon would compute it, to the block."""
    found: dict[tuple[str, str], str] = {}
    hosts = [HostInterface.model_validate(raw) for raw in kube._objects.table(HOST_INTERFACES).values()]
    raw = kube._objects.table(CIDRS).get(Key("", "net"))
    if raw is None:
        return found
    cidr = CIDR.model_validate(raw)
    if cidr.spec.compact:
        assert not any(entry.hosts for entry in cidr.spec.cidr)
        rows = Rows("net", cidr.spec)
        return {(host.name, row.host_ip): row.pod_cidr for host in hosts for row in rows.of(host)}
    present = {(host.name, nic.interface_name): nic.host_ip or "" for host in hosts for nic in host.spec.interfaces}
    return {
        (row.host_name, row.host_ip): row.pod_cidr
        for entry in cidr.spec.cidr
        for row in entry.hosts
        if present.get((row.host_name, row.interface_name)) == row.host_ip
    }


class Killed(BaseException):
    """The operator is gone: nothing of it runs any more."""


class Watcher(list[Any]):
    """The log of writes, which judges the world after each of them, and ends the operator after some."""

    def __init__(self, kube: Any) -> None:
        super().__init__(kube.writes)
        self.kube = kube
        self.known: dict[tuple[str, str], str] = {}
        self.wrongs: list[str] = []
        self.left = 0
        """So many writes of the operator until it is killed; 0: it lives."""

    def append(self, item: Any) -> None:
        super().append(item)
        self.judge()
        if self.left:
            self.left -= 1
            if not self.left:
                raise Killed

    def judge(self) -> None:
        now = blocks_now(self.kube)
        taken = sorted((ip_network(block), nic) for nic, block in now.items())
        for (one, nic), (other, next_nic) in pairwise(taken):
            if one.overlaps(other):
                self.wrongs.append(f"{nic} and {next_nic} share {one}")
        for nic, block in now.items():
            before = self.known.setdefault(nic, block)
            if before != block:
                self.wrongs.append(f"{nic} had {before} and has {block}")

    def forget(self, host: str, addresses: set[str] | None = None) -> None:
        """This node, or these NICs of it, may get other blocks from now on."""
        for nic in [nic for nic in self.known if nic[0] == host and (addresses is None or nic[1] in addresses)]:
            del self.known[nic]


class Play:
    """A cluster with one network, and what is done to it."""

    def __init__(self, cluster: Any) -> None:
        self.cluster = cluster
        self.kube = cluster.kube
        self.watcher = self.kube.writes = Watcher(self.kube)
        self.wired: dict[str, dict[str, str]] = {}
        """Node to ifname to address."""
        self.left: dict[str, dict[str, str]] = {}
        """The same of nodes that left, as they were."""

    def addresses(self, host: str, wiring: Mapping[str, str]) -> dict[str, str]:
        """An address per node, ifname and network, so that a NIC is known by it."""
        position = HOSTS.index(host) * 10
        return {name: f"{net}.{1 + position + int(name[3:])}/24" for name, net in wiring.items()}

    async def do(self, step: tuple[Any, ...]) -> bool:
        """Take one step; gives whether the operator is to be started again."""
        kind, rest = step[0], step[1:]
        if kind == "crash":
            self.watcher.left = rest[0]
            return False
        left, self.watcher.left = self.watcher.left, 0  # what follows is not the operator's
        if kind in ("restart", "lose"):
            if kind == "lose":
                await self.kube.delete(CONFIG_MAPS, INDEXES_NAME, SYSTEM_NAMESPACE)
                for host in HOSTS:
                    if host not in self.wired:
                        self.watcher.forget(host)
            return True
        if kind == "exclude":
            ipam = {"type": "multi-nic-ipam", "hostBlock": 3, "interfaceBlock": 2, "vlanMode": "l3"}
            await self.cluster.edit(ipam=ipam | {"excludeCIDRs": rest[0]})
            self.watcher.left = left
            return False
        host = rest[0]
        if kind == "join" and host not in self.wired:
            self.wired[host] = self.addresses(host, rest[1])
            if self.left.get(host) != self.wired[host]:
                self.watcher.forget(host)  # its pods are gone; with other NICs it keeps its index, not every block
            self.cluster.node(host, self.wired[host])
        elif kind == "wire" and host in self.wired:
            # A NIC that moves to another network leaves its block there; others keep theirs.
            before, after = self.wired[host], self.addresses(host, rest[1])
            self.watcher.forget(
                host, {a.split("/")[0] for a in before.values()} - {a.split("/")[0] for a in after.values()}
            )
            self.watcher.forget(
                host, {a.split("/")[0] for a in after.values()} - {a.split("/")[0] for a in before.values()}
            )
            self.wired[host] = after
            await self.cluster.rewire(host, after)
        elif kind == "rename" and host in self.wired:
            self.wired[host] = {f"{name[:4]}{'' if len(name) > 4 else 'x'}": a for name, a in self.wired[host].items()}
            await self.cluster.rewire(host, self.wired[host])
        elif kind == "leave" and host in self.wired:
            self.left[host] = self.wired.pop(host)
            await self.kube.delete(NODES, host)
        elif kind == "forget" and host in self.wired:
            await self.kube.delete(HOST_INTERFACES, host)
            await self.cluster.quiet(1)
            self.cluster.host(host, self.wired[host])
        self.watcher.left = left
        return False


async def until_started_again(show: Play, remaining: list[tuple[Any, ...]]) -> bool:
    """Take steps with one operator until it ends; gives whether all are taken and all is quiet."""
    done = False
    try:
        async with show.cluster.running():
            while remaining:
                again = await show.do(remaining.pop(0))
                show.watcher.judge()
                if again:
                    break
                await show.cluster.quiet()
            else:
                show.watcher.left = 0
                await show.cluster.quiet()
                done = True
    except BaseExceptionGroup as group:
        killed, others = group.split(Killed)
        if others is not None:
            raise others from None
        assert killed is not None
    assert not show.watcher.wrongs, "; ".join(show.watcher.wrongs[:3])
    return done


def play(cluster: Any, history: list[tuple[Any, ...]], end: Callable[[Play], None]) -> None:
    """Run this history, and ``end`` when all is quiet."""

    async def run() -> None:
        cluster.network(ipam={"type": "multi-nic-ipam", "hostBlock": 3, "interfaceBlock": 2, "vlanMode": "l3"})
        show = Play(cluster)
        remaining = list(history)
        while not await until_started_again(show, remaining):
            pass
        end(show)
        writes = len(show.watcher)
        async with cluster.running():
            pass
        assert list(show.watcher)[writes:] == [], str(list(show.watcher)[writes:])

    with mock.patch.object(sizes, "LIMIT_BYTES", SMALL_BYTES):
        trio.run(run, clock=MockClock(autojump_threshold=0))


@given(beginnings, st.lists(steps, min_size=1, max_size=10))
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_block_moves_and_none_is_shared(
    cluster_maker: Any, beginning: list[tuple[Any, ...]], history: list[tuple[Any, ...]]
) -> None:
    """Through joins, leaves, returns, renames, rewiring, excludes, lists that go and come, restarts and lost records:
    blocks stay, indexes are one to a node, and an operator that is started again when all is quiet writes nothing."""

    def end(show: Play) -> None:
        raws = show.kube._objects.table(HOST_INTERFACES).values()
        indexes = [raw.get("status", {}).get("hostIndex") for raw in raws]
        assert None not in indexes
        assert len(set(indexes)) == len(indexes)
        assert {raw["metadata"]["name"] for raw in raws} == set(show.wired)

    play(cluster_maker(), [*beginning, *history], end)
