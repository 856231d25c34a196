"""The connection check: real pings and real iperf3 between pods, over every NIC, and the table that shows them.

The table has the layout of the original's ``make concheck``. An address counts as connected only when both a ping and a
TCP transfer went through; what was never measured counts as failed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations

import trio

from multinic_lab.cluster.pods import LabPod
from multinic_lab.machine.client import AgentClient, OperationError

PING_SECONDS = 2
PARALLEL_PINGS = 8
PASSING = ("refused", "busy")
"""In iperf3's words: its server does not listen yet, or is not done with the transfer before."""
RULE = "#" * 43


@dataclass(frozen=True, slots=True)
class Connection:
    """One direction between two nodes."""

    source: str
    target: str
    addresses: tuple[str, ...]
    """Of the target, one per NIC."""
    pings: tuple[bool, ...]
    bandwidths: tuple[float | None, ...]
    """bit/s the receiver got, per NIC; None: no transfer."""

    @property
    def connected(self) -> int:
        return sum(ping and bandwidth is not None for ping, bandwidth in zip(self.pings, self.bandwidths, strict=True))

    @property
    def complete(self) -> bool:
        return self.connected == len(self.addresses) > 0


def rate(bits_per_second: float) -> str:
    """A rate as the original writes it, such as ``1.05Gbits/sec`` or ``934Mbits/sec``; three digits count."""
    for unit, size in (("Gbits", 1e9), ("Mbits", 1e6), ("Kbits", 1e3)):
        if bits_per_second >= size:
            return f"{bits_per_second / size:.3g}{unit}/sec"
    return f"{bits_per_second:.3g}bits/sec"


def connection_table(network: str, connections: Sequence[Connection]) -> str:
    """The check as text: a heading, and one row per direction."""
    rows = [("FROM", "TO", "CONNECTED/TOTAL IPs", "", "BANDWIDTHs")]
    for connection in connections:
        reached = [rate(bandwidth) for bandwidth in connection.bandwidths if bandwidth is not None]
        rows.append(
            (
                connection.source,
                connection.target,
                f"{connection.connected}/{len(connection.addresses)}",
                f"[{' '.join(connection.addresses)}]",
                f"[ {' '.join(reached)}]" if reached else "[]",
            )
        )
    widths = [max(len(row[column]) for row in rows[1:] or rows) for column in range(5)]
    widths[0], widths[1] = (max(widths[column], len(rows[0][column])) for column in (0, 1))
    head = (
        f"{'FROM':<{widths[0]}}  {'TO':<{widths[1]}}  {'CONNECTED/TOTAL IPs':<{widths[2] + 1 + widths[3]}}  BANDWIDTHs"
    )
    body = [
        f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:<{widths[2]}} {d:<{max(widths[3], 18 - widths[2])}}  {e}"
        for a, b, c, d, e in rows[1:]
    ]
    return "\n".join([RULE, f"## Connection Check: {network}", RULE, head, *body, RULE])


async def ping_all(agent: AgentClient, pods: Sequence[LabPod]) -> dict[tuple[str, str, str], bool]:
    """Ping every address of every pod from every other pod: (source pod, target pod, address) to success."""
    answers: dict[tuple[str, str, str], bool] = {}
    limit = trio.CapacityLimiter(PARALLEL_PINGS)

    async def ping(source: LabPod, target: LabPod, address: str) -> None:
        async with limit:
            answers[source.name, target.name, address] = await _succeeds(
                agent, source, ["ping", "-n", "-q", "-c", "1", "-W", str(PING_SECONDS), address]
            )

    async with trio.open_nursery() as nursery:
        for source, target in permutations(pods, 2):
            for address in target.addresses:
                nursery.start_soon(ping, source, target, address)
    return answers


async def _succeeds(agent: AgentClient, pod: LabPod, argv: list[str]) -> bool:
    try:
        done = await agent.call("exec", pod=pod.key, argv=argv, timeout_seconds=PING_SECONDS + 20)
    except OperationError:
        return False
    return bool(done["status"] == 0)


async def check_connections(
    agent: AgentClient,
    pods: Sequence[LabPod],
    pings: dict[tuple[str, str, str], bool],
    *,
    seconds: int,
    amount: int | None = None,
    measured: Callable[[Connection], None] = lambda connection: None,
) -> list[Connection]:
    """Measure every direction between the first pods of each two nodes, one transfer at a time.

    Args:
        seconds: length of each transfer.
        amount: bytes of each transfer, instead.
    """
    length = ["--time", str(seconds)] if amount is None else ["--bytes", str(amount)]
    ends = _first_of_each_node(pods)
    connections: list[Connection] = []
    async with trio.open_nursery() as nursery:
        for pod in ends:
            nursery.start_soon(_serve, agent, pod)
        for source, target in permutations(ends, 2):
            bandwidths = [await _bandwidth(agent, source, address, length, seconds) for address in target.addresses]
            connection = Connection(
                source.node,
                target.node,
                target.addresses,
                tuple(pings[source.name, target.name, address] for address in target.addresses),
                tuple(bandwidths),
            )
            connections.append(connection)
            measured(connection)
        nursery.cancel_scope.cancel()
    return connections


def _first_of_each_node(pods: Iterable[LabPod]) -> list[LabPod]:
    first: dict[str, LabPod] = {}
    for pod in pods:
        first.setdefault(pod.node, pod)
    return list(first.values())


async def _serve(agent: AgentClient, pod: LabPod) -> None:
    """An iperf3 server in the pod until cancelled."""
    await agent.call("exec", pod=pod.key, argv=["iperf3", "--server"], timeout_seconds=3600)


async def _bandwidth(
    agent: AgentClient, source: LabPod, address: str, length: Sequence[str], seconds: int
) -> float | None:
    """bit/s received over TCP, or None; a server that is not ready yet is tried again for some seconds."""
    argv = ["iperf3", "--client", address, *length, "--json", "--connect-timeout", "3000"]
    for _attempt in range(10):
        done = await agent.call("exec", pod=source.key, argv=argv, timeout_seconds=seconds + 30)
        report = json.loads(done["stdout"] or "{}")
        if done["status"] == 0 and "error" not in report:
            return float(report["end"]["sum_received"]["bits_per_second"])
        if not any(passing in report.get("error", "") for passing in PASSING):
            return None
        await trio.sleep(0.3)
    return None
