"""What happens to a twin, phase by phase, and what each costs.

A phase lasts from its cause to the moment at which everybody concerned has what follows from it; what is written until
nothing more is, counts too.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

import trio

from multinic_core.model import NETWORKS
from multinic_lab.twin.processes import cpu_seconds, peak_mib
from multinic_lab.twin.size import EXCLUDED, NETWORK, edited_ipam
from multinic_lab.twin.tally import DAEMON, OPERATOR, Counts, scaled
from multinic_lab.twin.twin import STEP_SECONDS, Twin, TwinError


@dataclass(frozen=True, slots=True)
class Phase:
    """The cost of one phase."""

    name: str
    seconds: float
    """Until everybody concerned had it."""
    operator_writes: int
    daemon_writes: int
    renewals: int
    """Writes of Leases that say nothing new; all others are in the two above."""
    reads: int
    sent_bytes: int
    """To all watchers of this twin."""
    sent_to_nodes_bytes: int
    """To daemons, were each a process of its own."""
    largest_bytes: int
    largest: str
    """The largest object that was written."""
    operator_cpu_seconds: float
    operator_peak_mib: float
    """Of the process, since its start."""
    nodes_cpu_seconds: float
    """Of all processes that carry nodes."""
    server_cpu_seconds: float
    """Of the API server, which also measures."""
    parts: Mapping[str, float]
    """Seconds until parts of it were done."""
    writes: Mapping[str, int]
    """``agent resource`` to requests that write."""


Act = Callable[[], Awaitable[Mapping[str, float]]]
"""Does something and waits for what follows; gives the seconds until each part of it, the whole under ``all``."""


async def measured(twin: Twin, name: str, act: Act) -> Phase:
    """Carry out a phase.

    Raises:
        TwinError: it has not come to its end within ``STEP_SECONDS``.
    """
    twin.tally.start()
    sent = twin.sent()
    pid, cpu = twin.operator.pid, _cpu([twin.operator.pid])
    nodes_cpu, server_cpu = _cpu(twin.pids), _cpu([os.getpid()])
    try:
        with trio.fail_after(STEP_SECONDS):
            parts = dict(await act())
            await twin.quiet(lambda: twin.tally.last_write)
    except trio.TooSlowError as error:
        raise TwinError(f"{twin.size.nodes} nodes: {name}: not over after {STEP_SECONDS:g} s") from error
    counts, now = twin.tally.start(), twin.sent()
    now.subtract(sent)
    spent = _cpu([twin.operator.pid]) - (cpu if twin.operator.pid == pid else 0.0)
    used = {"operator": spent, "nodes": _cpu(twin.pids) - nodes_cpu, "server": _cpu([os.getpid()]) - server_cpu}
    return _phase(twin, name, parts, counts, now, used)


def _phase(
    twin: Twin,
    name: str,
    parts: dict[str, float],
    counts: Counts,
    sent: Counter[tuple[str, str]],
    cpu: Mapping[str, float],
) -> Phase:
    return Phase(
        name=name,
        seconds=round(parts.pop("all"), 3),
        operator_writes=counts.writes_by(OPERATOR),
        daemon_writes=counts.writes_by(DAEMON),
        renewals=counts.renewals,
        reads=counts.reads.total(),
        sent_bytes=sent.total(),
        sent_to_nodes_bytes=scaled(sent, len(twin.carriers), twin.size.nodes),
        largest_bytes=counts.largest[0],
        largest=counts.largest[1],
        operator_cpu_seconds=round(cpu["operator"], 2),
        operator_peak_mib=round(peak_mib(twin.operator.pid), 1),
        nodes_cpu_seconds=round(cpu["nodes"], 2),
        server_cpu_seconds=round(cpu["server"], 2),
        parts={part: round(seconds, 3) for part, seconds in parts.items()},
        writes={f"{agent} {what}": count for (agent, what), count in sorted(counts.writes.items())},
    )


def _cpu(pids: list[int]) -> float:
    return sum(cpu_seconds(pid) for pid in pids if pid)


async def boot(twin: Twin) -> Mapping[str, float]:
    """Operator and daemons start, with Nodes and a network there: until it is ready and all know all."""
    size = twin.size
    await twin.add_nodes(range(size.nodes))
    await twin.add_network()
    began = time.monotonic()
    await twin.operator.start()
    for position, carrier in enumerate(twin.carriers):
        numbers = twin.carried(position)
        common = {"kubeconfig": str(twin.kubeconfig), "nics": size.nics, "sample": twin.sample}
        await carrier.call("start", numbers=numbers, **common)
    known = max(await twin.call_all("knows_all", nodes=size.nodes))
    routed = max(await twin.call_all("routed", routes=(size.nodes - 1) * size.nics))
    ready = await twin.ready(size.nodes)
    end = max(known, routed, ready)
    return {"all": end - began, "known": known - began, "routed": routed - began}


async def join(twin: Twin) -> Mapping[str, float]:
    """One node joins: until all know its index, and the routes to it are there."""
    size = twin.size
    number = size.nodes
    await twin.add_nodes([number])
    moments: dict[str, float] = {}
    async with trio.open_nursery() as nursery:

        async def wait(part: str, op: str, **args: int) -> None:
            moments[part] = max(await twin.call_all(op, **args))

        nursery.start_soon(lambda: wait("known", "knows", number=number, nics=size.nics))
        nursery.start_soon(lambda: wait("routed", "routed", routes=size.nodes * size.nics))
        began = await twin.carriers[-1].call("join", number=number)
    ready = await twin.ready(size.nodes + 1)
    return {"all": moments["known"] - began, "routed": moments["routed"] - began, "ready": ready - began}


async def nic_goes(twin: Twin) -> Mapping[str, float]:
    """A NIC of that node goes: until all know, and no route leads to it; a CIDR that lists nodes remembers the NIC."""
    size = twin.size
    began = await twin.carriers[-1].call("take_nic", number=size.nodes)
    known = max(await twin.call_all("knows", number=size.nodes, nics=size.nics - 1))
    if not twin.compact():
        return {"all": known - began}
    routed = max(await twin.call_all("routed", routes=size.nodes * size.nics - 1))
    return {"all": known - began, "routed": routed - began}


async def edit(twin: Twin) -> Mapping[str, float]:
    """The network gets one more exclude: until all know it and the network is ready again."""
    ipam = edited_ipam(twin.network()["spec"]["ipam"])
    began = time.monotonic()
    await twin.kube.patch(NETWORKS, NETWORK, {"spec": {"ipam": ipam}})
    known = max(await twin.call_all("excludes", text=EXCLUDED))
    ready = await twin.ready(twin.size.nodes + 1)
    return {"all": known - began, "ready": ready - began}


async def restart(twin: Twin) -> Mapping[str, float]:
    """The operator ends and another one starts: until it has taken in everything and asks for nothing more."""
    began, starts = time.monotonic(), twin.operator.starts()
    await twin.operator.stop()
    stopped = time.monotonic()
    await twin.operator.start()
    await twin.operator.working(starts + 1)
    working = time.monotonic()
    await twin.quiet(lambda: max(working, twin.tally.last_of_operator))
    done = max(working, twin.tally.last_of_operator)
    return {"all": done - began, "stopped": stopped - began, "working": working - began}


PHASES: Mapping[str, Callable[[Twin], Awaitable[Mapping[str, float]]]] = {
    "boot": boot,
    "one node joins": join,
    "one NIC goes": nic_goes,
    "network edited": edit,
    "operator restarted": restart,
}
"""In the order in which they happen."""


async def all_phases(twin: Twin, progress: Callable[[str], None]) -> list[Phase]:
    """Every phase, one after another; ``progress`` is told when one is over."""
    found = []
    for name, act in PHASES.items():
        found.append(await measured(twin, name, partial(act, twin)))
        progress(f"{twin.size.nodes} nodes: {name}, {found[-1].seconds:.1f} s")
    return found
