"""The engine against a model: any sequence of calls, faults, losses, deaths and restarts ends as the model says."""

import json
import os
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from multinic_daemon import crashpoints
from multinic_daemon.cluster import Cluster
from multinic_daemon.engine import Engine
from multinic_daemon.engine.lanes import Held
from multinic_daemon.gate import Gate
from multinic_daemon.journal.journal import Record
from multinic_daemon.pools.joined import join_pools
from multinic_daemon.pools.nodepools import NodePools
from multinic_daemon.recovery.adoption import Adoption, closed_reason
from multinic_daemon.recovery.recovery import recover
from multinic_daemon.testing import NODE, Rig, links, pool_object, refuse, run_in_place
from multinic_daemon.testing.reference import Full, PoolModel, Taken, give, take_back
from trio.testing import MockClock

from multinic_core.errors import (
    AddressInUseError,
    ApiError,
    AttachmentExistsError,
    CheckFailedError,
    ConfigError,
    ConnectivityLimitedError,
    ContainerGoneError,
    DaemonUnavailableError,
    KernelError,
    MultinicError,
    NotReadyError,
    PoolExhaustedError,
    SelectionError,
)
from multinic_core.ipam import next_index
from multinic_core.model import IPPOOLS, NETWORKS
from multinic_core.pools import HeldIndexes
from multinic_core.registry import load_plugins
from multinic_core.testing.kube import FakeKubernetes

PROFILES = {
    "short": settings(max_examples=60, stateful_step_count=40),
    "soak": settings(max_examples=10_000, stateful_step_count=40, database=None),
}
PROFILE = settings(
    PROFILES[os.environ.get("MULTINIC_MODEL", "short")],
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

NETWORK_PREFIX = {"net-a": "192.168", "net-b": "172.30"}
SIZES = {"eth1": 8, "eth2": 8, "eth3": 4}
"""NIC to the size of its pools: six, six and two addresses."""
NICS = tuple(SIZES)
CONTAINERS = st.sampled_from(["c1", "c2", "c3"])
IFNAMES = st.sampled_from(["net1", "net2"])
NETWORKS_ASKED = st.sampled_from(["net-a", "net-a", "net-b"])
COUNTS = st.sampled_from([None, None, 1, 2])
INDEXES = st.one_of(st.none(), st.none(), st.none(), st.integers(0, 7))
OPERATIONS = ("add", "apply", "undo", "replace", "del", "gc")
DEATHS = st.one_of(
    st.none(), st.none(), st.sampled_from([n for n in crashpoints.NAMES if n.partition(".")[0] in OPERATIONS])
)
STEPS = st.sampled_from(["", "", "", "link net1-0", "link net1-1", "link net2-0"])
SHM = Path("/dev/shm")

Key = tuple[str, str]


class DiedError(BaseException):
    """Stands for kill -9: nobody handles it, and nothing that follows in that process has an effect."""


@dataclass(frozen=True)
class Attachment:
    """What the model knows of one attachment."""

    config: tuple[Any, ...]
    """Network, number of NICs and index asked for: what decides whether a second ADD is the same."""
    given: dict[str, int]
    answer: Any = None
    intact: bool = True
    """The links are as they were made."""
    leaving: bool = False
    """A DEL has begun that the kernel would not let end."""

    @property
    def network(self) -> str:
        return str(self.config[0])


class ModelRig(Rig):
    """A node whose daemon can die at a named point without taking the test along."""

    plugins = load_plugins()

    def __init__(self, folder: Path) -> None:
        self.dying, self.dead = "", False
        self.unrouted: set[str] = set()
        super().__init__(folder, nics=len(NICS))
        self.kernel.before_step = self.step
        self.refused = ""

    def make_engine(self) -> Engine:
        def route_problem(network: str) -> str:
            return "a route is missing" if network in self.unrouted else ""

        return Engine(
            self.plugins,
            self.journal,
            self.kernel,
            Cluster(self.kubernetes, NODE, self.pools),
            lambda: self.view,
            route_problem,
            Gate(closed_reason(self.journal, self.journal_refused)),
            self.folder / "run" / "tombstones",
        )

    def reached(self, name: str) -> None:
        """Takes the place of ``crashpoints.reached``."""
        if name == self.dying and not self.dead:
            self.dead = True
            self.journal.close()
            raise DiedError(name)

    def step(self, step: str) -> None:
        """Before each step of the kernel."""
        if self.dead:
            raise DiedError("a dead process asks the kernel nothing")
        if self.refused:
            refuse(self.refused)(step)

    def new_daemon(self, dying: str = "") -> bool:
        """Start a daemon on what the last one left; False when it died while recovering."""
        self.adoption.close()
        if not self.dead:
            self.journal.close()
        self.dead, self.dying = False, dying
        self.journal = self.open_journal()
        self.pools = NodePools(self.kubernetes, NODE)
        self.engine = self.make_engine()
        self.adoption = Adoption(self.engine, self.kubernetes, NODE, self.pools)
        try:
            left = run(lambda: recover(self.engine))
        except BaseException:
            if not self.dead:
                raise
            return False
        assert left == 0
        self.adopt()
        self.dying = ""
        return True


def run(call: Any) -> Any:
    """In a trio of its own, whose clock jumps over every wait."""
    return trio.run(call, clock=MockClock(autojump_threshold=0))


class Node(RuleBasedStateMachine):
    """One node with three NICs, two networks on all of them, three containers with two interfaces each."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="multinic-model-", dir=SHM if SHM.is_dir() else None))
        self.rig = ModelRig(self.folder)
        self.rig.add_network("net-b", len(NICS), prefix=NETWORK_PREFIX["net-b"])
        self.patches = pytest.MonkeyPatch()
        self.patches.setattr(crashpoints, "reached", self.rig.reached)
        self.patches.setattr(Held, "run", run_in_place)
        self.all_nics = dict(self.rig.view.nics)
        self.nics = set(NICS)
        self.pools: dict[str, PoolModel] = {}
        self.objects: dict[str, dict[str, Any]] = {}
        self.there: set[str] = set()
        """Pools that the operator has written."""
        self.attached: dict[Key, Attachment] = {}
        self.away = False
        """The API has not been reached since the daemon started."""
        self.stack = ExitStack()
        for pool in list(self.rig.kubernetes.store(IPPOOLS).list()):
            run(lambda name=pool.name: self.rig.kubernetes.delete(IPPOOLS, name))
        for network, prefix in NETWORK_PREFIX.items():
            for number, (ifname, size) in enumerate(SIZES.items()):
                base = f"{prefix}.{64 * number}.0"
                body = pool_object(network, ifname, f"{base}/{32 - size.bit_length() + 1}", f"{base}/18", node=NODE)
                name = body["metadata"]["name"]
                self.objects[name] = body
                self.pools[name] = PoolModel(size)
                self.put_pool(name)

    # What the world does

    def pool_of(self, network: str, ifname: str) -> str:
        return next(
            name
            for name, body in self.objects.items()
            if (body["spec"]["netAttachDef"], body["spec"]["interfaceName"]) == (network, ifname)
        )

    def put_pool(self, name: str) -> None:
        self.rig.kubernetes.seed(IPPOOLS, self.objects[name])
        self.there.add(name)

    @rule(network=st.sampled_from(["net-a", "net-b"]), ifname=st.sampled_from(NICS))
    def operator_removes_or_returns_a_pool(self, network: str, ifname: str) -> None:
        name = self.pool_of(network, ifname)
        if name in self.there:
            run(lambda: self.rig.kubernetes.delete(IPPOOLS, name))
            self.there.remove(name)
        else:
            self.put_pool(name)

    @rule(ifname=st.sampled_from(NICS), low=st.integers(0, 7), length=st.sampled_from([0, 1, 2]))
    def user_changes_excludes(self, ifname: str, low: int, length: int) -> None:
        """Of a pool of net-a; a block of 1 or 2 addresses, or none any more."""
        name = self.pool_of("net-a", ifname)
        size = self.pools[name].size
        low = low % size // max(length, 1) * max(length, 1)
        base = self.objects[name]["spec"]["podCIDR"].partition("/")[0].rpartition(".")[0]
        excludes = [f"{base}.{low}/{33 - length}"] if length else []
        self.objects[name]["spec"]["excludes"] = excludes
        if name in self.there:
            run(lambda: self.rig.kubernetes.patch(IPPOOLS, name, {"spec": {"excludes": excludes}}))
        self.pools[name] = replace(self.pools[name], excluded=frozenset(range(low, low + length)))

    @rule(ifname=st.sampled_from(NICS))
    def nic_goes_or_returns(self, ifname: str) -> None:
        self.nics ^= {ifname}
        self.rig.view = replace(self.rig.view, nics={name: self.all_nics[name] for name in sorted(self.nics)})

    @rule(container=CONTAINERS)
    def namespace_vanishes(self, container: str) -> None:
        shutil.rmtree(self.rig.folder / "netns" / container, ignore_errors=True)
        for key in [key for key in self.attached if key[0] == container]:
            self.attached[key] = replace(self.attached[key], intact=False)

    @rule(data=st.data(), again=st.booleans())
    def somebody_removes_a_link(self, data: st.DataObject, again: bool) -> None:
        whole = sorted(key for key, each in self.attached.items() if each.intact)
        if whole:
            key = data.draw(st.sampled_from(whole))
            Path(self.rig.pod(key[0]), f"{key[1]}-0").unlink()
            self.attached[key] = replace(self.attached[key], intact=False)
            if again:
                self.adding(*key, *self.attached[key].config)

    @rule(network=st.sampled_from(["net-a", "net-b"]))
    def route_is_lost_or_found(self, network: str) -> None:
        self.rig.unrouted ^= {network}

    # What becomes of the daemon

    @rule(deaths=st.lists(st.sampled_from(["recovery.marked", "recovery.removed", "recovery.released"]), max_size=2))
    def restart(self, deaths: list[str]) -> None:
        """By order or by kill -9, and perhaps again while it recovers."""
        for death in deaths:
            self.rig.new_daemon(death)
        self.come_back()

    @rule(death=st.sampled_from(["", "recovery.forgotten"]))
    def reboot(self, death: str) -> None:
        """Links and namespaces are gone, and what the journal says of another boot is dead."""
        shutil.rmtree(self.rig.folder / "netns", ignore_errors=True)
        self.rig.boot += "+"
        self.attached.clear()
        self.pools = {name: replace(pool, held=frozenset()) for name, pool in self.pools.items()}
        if death:
            self.rig.new_daemon(death)
        self.come_back()

    @precondition(lambda self: not self.away)
    @rule()
    def restart_without_api(self) -> None:
        """A daemon that has never reached the API."""
        self.come_back()
        self.rig.engine.cluster = self.unreached()
        self.away = True

    @precondition(lambda self: self.away)
    @rule()
    def api_returns(self) -> None:
        self.rig.engine.cluster = Cluster(self.rig.kubernetes, NODE, self.rig.pools)
        self.away = False

    def unreached(self) -> Cluster:
        kubernetes = FakeKubernetes()
        self.stack.enter_context(kubernetes.stale())
        return Cluster(kubernetes, NODE, NodePools(kubernetes, NODE))

    def come_back(self) -> None:
        assert self.rig.new_daemon()
        self.away = False
        for key in [key for key, each in self.attached.items() if each.leaving]:
            self.release(key)

    # What runtimes ask

    def call(self, command: str, container: str, ifname: str, death: str | None = None, **options: Any) -> Any:
        """The answer, or the error; ``DiedError`` when the daemon died at ``death``."""
        self.rig.dying = death or ""
        netns = str(self.rig.folder / "netns" / container) if container else ""
        try:
            return run(lambda: self.rig.call(command, container, **{"ifname": ifname, "netns": netns} | options))
        except MultinicError as error:
            return error
        except BaseException:
            if not self.rig.dead:
                raise
            return DiedError
        finally:
            self.rig.dying = ""

    def release(self, key: Key) -> None:
        self.pools = take_back(self.pools, self.attached.pop(key).given)

    def choice(self, network: str, count: int | None, index: int | None) -> tuple[type[Exception] | None, Any]:
        """What an ADD is to answer: an error, or what it gives and the pools afterwards."""
        if not any(name in self.there for name in self.objects if name.startswith(network)):
            return DaemonUnavailableError, None
        offered = sorted(self.nics)
        if not offered or (count or 0) > len(offered):
            return SelectionError, None
        chosen = [self.pool_of(network, ifname) for ifname in offered[: count or None]]
        if not set(chosen) <= self.there:
            return DaemonUnavailableError, None
        wanted: dict[str, int] = {}
        if index is not None:
            if self.pool_of(network, "eth1") not in chosen:
                return AddressInUseError, None
            wanted = {self.pool_of(network, "eth1"): index}
        try:
            return None, give(self.pools, chosen, wanted)
        except Full:
            return PoolExhaustedError, None
        except Taken:
            return AddressInUseError, None

    def netconf(self, network: str, count: int | None = None, **fields: Any) -> bytes:
        asked = {"args": {"cni": {"nics": count}}} if count else {}
        return json.dumps(self.rig.netconf(name=network) | asked | fields).encode()

    def adding(
        self,
        container: str,
        ifname: str,
        network: str,
        count: int | None = None,
        index: int | None = None,
        *,
        exists: bool = True,
        refused: str = "",
        undo: bool = True,
        death: str | None = None,
    ) -> None:
        """One ADD, held against the model.

        Args:
            exists: make the pod's namespace when it is not there.
            refused: step that the kernel refuses; without ``undo`` it leaves what it had made.
        """
        if exists:
            self.rig.pod(container)
        exists = (self.rig.folder / "netns" / container).exists()
        asked = f"IP={NETWORK_PREFIX[network]}.0.{index}/18" if index is not None else ""
        self.rig.refused, self.rig.kernel.undo = refused, undo
        args = f"K8S_POD_NAMESPACE=default;K8S_POD_NAME={container};{asked}"
        answer = self.call("ADD", container, ifname, death, stdin=self.netconf(network, count), args=args)
        self.rig.refused = ""

        key, config, old = (container, ifname), (network, count, index), self.attached.get((container, ifname))
        if self.away:
            assert isinstance(answer, DaemonUnavailableError), answer
            return
        if old and not old.leaving and old.config != config:
            assert isinstance(answer, AttachmentExistsError), answer
            return
        if old and not old.leaving and old.intact:
            assert old.answer is None or answer == old.answer, (answer, old)
            self.attached[key] = replace(old, answer=answer)
            return
        if old:
            self.release(key)
        self.add_anew(key, config, answer, death, exists, refused)

    @rule(container=CONTAINERS, ifname=IFNAMES, network=NETWORKS_ASKED, count=COUNTS, index=INDEXES)
    def add(self, container: str, ifname: str, network: str, count: int | None, index: int | None) -> None:
        self.adding(container, ifname, network, count, index)

    @rule(container=CONTAINERS, network=NETWORKS_ASKED)
    def add_both(self, container: str, network: str) -> None:
        """Both interfaces of a container on every NIC, no wishes."""
        for ifname in ("net1", "net2"):
            self.adding(container, ifname, network)

    @rule(data=st.data(), change=st.sampled_from(["", "", "count", "index"]))
    def add_again(self, data: st.DataObject, change: str) -> None:
        """The same, or nearly the same, for what is attached already."""
        if self.attached:
            key = data.draw(st.sampled_from(sorted(self.attached)))
            network, count, index = self.attached[key].config
            count = data.draw(COUNTS) if change == "count" else count
            index = data.draw(INDEXES) if change == "index" else index
            self.adding(*key, network, count, index)

    @rule(
        container=CONTAINERS,
        ifname=IFNAMES,
        network=NETWORKS_ASKED,
        count=COUNTS,
        index=INDEXES,
        exists=st.sampled_from([True, True, True, False]),
        refused=STEPS,
        undo=st.booleans(),
        death=DEATHS,
    )
    def add_in_trouble(
        self, container: str, ifname: str, network: str, count: int | None, index: int | None, **trouble: Any
    ) -> None:
        self.adding(container, ifname, network, count, index, **trouble)

    def add_anew(
        self, key: Key, config: tuple[Any, ...], answer: Any, death: str | None, exists: bool, refused: str
    ) -> None:
        """What follows when nothing is attached under this key any more."""
        if answer is DiedError and str(death).startswith(("replace.", "add.decided")):
            self.come_back()
            return
        error, choice = self.choice(*config)
        if error is not None:
            assert isinstance(answer, error), (answer, error)
            return
        given, after = choice
        steps = {f"link {key[1]}-{number}" for number in range(len(given))}
        if answer is DiedError:
            self.pools = take_back(after, given)
            if death == "add.ready":
                self.pools, self.attached[key] = after, Attachment(config, given)
            self.come_back()
        elif not exists or refused in steps:
            assert isinstance(answer, KernelError if exists else ContainerGoneError), answer
            self.pools = take_back(after, given)
        else:
            assert isinstance(answer, dict), answer
            assert [each["address"] for each in answer["ips"]] == [self.address(*each) for each in given.items()]
            assert [each["name"] for each in answer["interfaces"]] == sorted(step.split()[1] for step in steps)
            self.pools, self.attached[key] = after, Attachment(config, given, answer)

    def address(self, pool: str, index: int) -> str:
        return f"{ip_network(self.objects[pool]['spec']['podCIDR'])[index]}/18"

    @rule(
        container=CONTAINERS,
        ifname=IFNAMES,
        own=st.sampled_from([True, True, True, False]),
        netns=st.sampled_from([None, "", "/nowhere"]),
        refused=st.sampled_from(["", "", "", "remove"]),
        death=DEATHS,
    )
    def delete(
        self, container: str, ifname: str, own: bool, netns: str | None, refused: str, death: str | None
    ) -> None:
        """In every awkward form; of another network it concerns nothing."""
        key, old = (container, ifname), self.attached.get((container, ifname))
        network = old.network if old and own else "net-c"
        where = {} if netns is None else {"netns": netns}
        self.rig.refused = refused
        answer = self.call("DEL", container, ifname, death, stdin=self.netconf(network), **where)
        self.rig.refused = ""
        if answer is DiedError:
            self.release(key)
            self.come_back()
        elif old and own and refused:
            assert isinstance(answer, KernelError), answer
            self.attached[key] = replace(old, leaving=True)
        else:
            assert answer is None
            if old and own:
                self.release(key)

    @rule(
        network=NETWORKS_ASKED,
        dropped=st.sets(st.tuples(CONTAINERS, IFNAMES), max_size=3),
        word=st.sampled_from(["cni.dev/valid-attachments", "cni.dev/attachments"]),
        refused=st.sampled_from(["", "", "remove"]),
        death=DEATHS,
    )
    def collect(self, network: str, dropped: set[Key], word: str, refused: str, death: str | None) -> None:
        """Whatever is attached and not dropped is listed."""
        kept = (set(self.attached) | {("c9", "net1")}) - dropped
        valid = [{"containerID": container, "ifname": ifname} for container, ifname in sorted(kept)]
        going = [key for key, each in self.attached.items() if each.network == network and key not in kept]
        self.rig.refused = refused
        answer = self.call("GC", "", "", death, stdin=self.netconf(network, **{word: valid}))
        self.rig.refused = ""
        if answer is DiedError:
            self.come_back()
            # How far it came is its own affair, but each attachment is there whole or gone.
            there = {(row.key.container_id, row.key.ifname) for row in self.rows()}
            for key in going:
                if key in self.attached and key not in there:
                    self.release(key)
        elif refused and going:
            assert isinstance(answer, KernelError), answer
            for key in going:
                self.attached[key] = replace(self.attached[key], leaving=True)
        else:
            assert answer is None
            for key in going:
                self.release(key)

    @rule(container=CONTAINERS, ifname=IFNAMES)
    def check(self, container: str, ifname: str) -> None:
        old = self.attached.get((container, ifname))
        prev_result = (old and old.answer) or {"cniVersion": "1.1.0"}
        stdin = self.netconf(old.network if old else "net-a", prevResult=prev_result)
        answer = self.call("CHECK", container, ifname, stdin=stdin)
        if old and old.answer and old.intact and not old.leaving:
            assert answer is None, answer
        else:
            assert isinstance(answer, CheckFailedError), answer

    @rule(network=st.sampled_from(["net-a", "net-b"]))
    def status(self, network: str) -> None:
        answer = self.call("STATUS", "", "", stdin=self.netconf(network))
        wanted = {self.pool_of(network, ifname) for ifname in self.nics}
        if self.away or not wanted or not wanted <= self.there:
            assert isinstance(answer, NotReadyError), answer
        elif network in self.rig.unrouted:
            assert isinstance(answer, ConnectivityLimitedError), answer
        else:
            assert answer is None, answer

    @rule(fault=st.booleans())
    def add_to_an_unknown_network(self, fault: bool) -> None:
        """The one call to the API on the way of a pod, and what comes of it when that fails."""
        if fault and not self.away:
            self.rig.kubernetes.fail(ApiError("no", status=503), verb="get", resource=NETWORKS)
        answer = self.call("ADD", "c9", "net1", stdin=self.netconf("net-x"))
        assert isinstance(answer, DaemonUnavailableError if fault or self.away else ConfigError), answer

    # What holds after every step

    def rows(self) -> list[Record]:
        return [row for network in NETWORK_PREFIX for row in self.rig.journal.of_network("multi-nic", network)]

    @invariant()
    def journal_is_the_model(self) -> None:
        """Which attachments there are, in which state, with which addresses."""
        found = {
            (row.key.container_id, row.key.ifname): (
                row.key.network,
                row.state,
                {each.pool: each.index for each in self.rig.journal.allocations(row)},
            )
            for row in self.rows()
        }
        assert found == {
            key: (each.network, "deleting" if each.leaving else "ready", each.given)
            for key, each in self.attached.items()
        }

    @invariant()
    def pools_are_the_models(self) -> None:
        """What is held, and where the search goes on."""
        for name, pool in self.pools.items():
            held = {index for low, high in self.rig.journal.held(name) for index in range(low, high + 1)}
            assert (held, self.rig.journal.cursor(name)) == (pool.held, pool.cursor), name

    @invariant()
    def no_address_is_held_twice(self) -> None:
        given = [each.address for row in self.rows() for each in self.rig.journal.allocations(row)]
        assert len(given) == len(set(given))

    @invariant()
    def kernel_is_the_journal(self) -> None:
        """Every link has its row, and every row that nobody tampered with has its links."""
        rows = {row.group: row for row in self.rows()}
        folder = self.rig.folder / "netns"
        there: dict[int, set[str]] = {}
        for netns in folder.iterdir() if folder.is_dir() else ():
            for ifname, content in links(netns).items():
                there.setdefault(content["group"], set()).add(ifname)
                assert rows[content["group"]].netns == str(netns)
        for group, row in rows.items():
            if self.attached[row.key.container_id, row.key.ifname].intact:
                assert there[group] == {link.ifname for link in row.plan.links}

    @invariant()
    def nothing_is_locked(self) -> None:
        assert len(self.rig.engine.locks) == 0

    def teardown(self) -> None:
        """In the end, giving until nothing is left gives exactly what is free: free + held + reserved = size."""
        try:
            for pool in join_pools(self.rig.kubernetes.store(IPPOOLS).list(), self.rig.journal):
                model, held, free = self.pools[pool.name], HeldIndexes(pool.held), 0
                reserved = len((model.excluded | {0, model.size - 1}) - model.held)
                while (index := next_index(replace(pool, held=held))) is not None:
                    held.add(index)
                    free += 1
                assert free + len(pool.held) + reserved == model.size
        finally:
            self.patches.undo()
            self.rig.adoption.close()
            self.rig.journal.close()
            self.stack.close()
            shutil.rmtree(self.folder)


Node.TestCase.settings = PROFILE
TestNode = Node.TestCase
