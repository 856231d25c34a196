"""Several operators as processes: one works, and another takes over when it is killed, stopped or ended."""

from __future__ import annotations

import signal
from typing import Any

import pytest
import trio
from multinic_lab.apiserver import RequestLog
from multinic_operator.leading.leader import LEASE_NAME

from multinic_core.model import CIDRS, HOST_INTERFACES, IPPOOLS, LEASES, NETWORKS, NODES, SYSTEM_NAMESPACE

FAILOVER_SECONDS = 60
"""From the end of a leader until another one has done something: the promise is 20 s, on a machine that can keep up."""


async def leader(lab: Any) -> str | None:
    found: str | None = (await lab.kube.get(LEASES, LEASE_NAME, SYSTEM_NAMESPACE)).spec.holder_identity
    return found


async def add_node(lab: Any, make_host: Any, number: int) -> None:
    name = f"node-{number}"
    await lab.kube.create(NODES, {"metadata": {"name": name}})
    nics = {f"eth{nic}": f"10.0.{nic}.{number}/24" for nic in range(1, 4)}
    await lab.kube.create(HOST_INTERFACES, make_host(name, nics))


async def nodes_served(lab: Any) -> set[str]:
    return {row.host_name for cidr in await lab.kube.list(CIDRS) for entry in cidr.spec.cidr for row in entry.hosts}


async def blocks(lab: Any) -> dict[tuple[str, str], str]:
    """Node and NIC to pod block, of the first three nodes."""
    rows = [row for cidr in await lab.kube.list(CIDRS) for entry in cidr.spec.cidr for row in entry.hosts]
    return {(r.host_name, r.interface_name): r.pod_cidr for r in rows if r.host_name <= "node-3"}


@pytest.mark.embedded_api
async def test_another_takes_over_from_one_that_was_killed(lab: Any, populate: Any, make_host: Any) -> None:
    """Killed without a word, the leader is replaced within 20 seconds; no block moves and nothing is deleted."""
    await populate(lab.kube)
    first = await lab.start("--leader-elect")
    await lab.until(lab.configured)
    await lab.start_another()
    before = await blocks(lab)
    lab.server.api.requests = log = RequestLog()
    first.kill()
    await first.wait()
    await add_node(lab, make_host, 4)

    async def served() -> bool:
        return "node-4" in await nodes_served(lab)

    await lab.until(served, FAILOVER_SECONDS)
    assert await blocks(lab) == before
    assert [entry for entry in log.entries if entry.verb.startswith("delete")] == []


@pytest.mark.embedded_api
async def test_one_that_was_stopped_and_goes_on_writes_nothing(lab: Any, populate: Any, make_host: Any) -> None:
    """A leader that slept through its time finds out before its next write, and ends with status 1."""
    await populate(lab.kube)
    first = await lab.start("--leader-elect")
    await lab.until(lab.configured)
    old = await leader(lab)
    await lab.start_another()
    first.send_signal(signal.SIGSTOP)

    async def taken() -> bool:
        return await leader(lab) != old

    await lab.until(taken, FAILOVER_SECONDS)
    for process in lab.processes[1:]:
        process.kill()
        await process.wait()
    await add_node(lab, make_host, 4)  # something to do, which only the sleeper could do now
    lab.server.api.requests = log = RequestLog()
    first.send_signal(signal.SIGCONT)
    with trio.fail_after(FAILOVER_SECONDS):
        assert await first.wait() == 1
    assert [entry for entry in log.entries if entry.writes] == []


async def test_one_that_is_ended_hands_over_at_once(lab: Any, populate: Any) -> None:
    """After SIGTERM the Lease is free, so the next one needs not wait for it to run out."""
    await populate(lab.kube)
    first = await lab.start("--leader-elect")
    await lab.until(lab.configured)
    await lab.start_another()
    first.send_signal(signal.SIGTERM)
    with trio.fail_after(FAILOVER_SECONDS):
        assert await first.wait() == 0
    await lab.kube.delete(NETWORKS, "multi-nic-sample")

    async def gone() -> bool:
        return not any([await lab.kube.list(resource) for resource in (NETWORKS, CIDRS, IPPOOLS)])

    await lab.until(gone, 12)  # less than a Lease lasts
