"""The operator on an API server that fails in every way it can: nothing is deleted, moved or released because of that.

Each case disturbs a running cluster and changes it at the same time, lets the fault last for some requests, and looks
at every single write of the operator, not only at the end.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from multinic_lab.apiserver import Entry, RequestLog
from multinic_operator.serve import serve_operator

from multinic_core import load_plugins
from multinic_core.kube import connect
from multinic_core.model import (
    ATTACHMENT_DEFINITIONS,
    CIDRS,
    CONFIGS,
    DAEMONSETS,
    HOST_INTERFACES,
    IPPOOLS,
    NETWORKS,
    NODES,
    SYSTEM_NAMESPACE,
)

AGENT = "operator-under-test"
OLD = ("node-1", "node-2", "node-3")
FAULT_SECONDS = 0.5
"""How long a fault without a number of its own goes on."""
WRITES = "POST|PUT|PATCH|DELETE"
LISTS = "^(?!.*watch=1).*(limit=)"
OURS = "multinic.fms.io|network-attachment|nodes|daemonsets|namespaces"
KINDS = (CIDRS, IPPOOLS, HOST_INTERFACES, ATTACHMENT_DEFINITIONS, NODES, CONFIGS, NETWORKS, DAEMONSETS)


async def wait_out(_: Any) -> None:
    await trio.sleep(FAULT_SECONDS)


async def conflicts(lab: Any) -> None:
    lab.server.faults.fail(409, method="PUT|PATCH", count=8)


async def exists_already(lab: Any) -> None:
    lab.server.faults.fail(409, method="POST", reason="AlreadyExists", count=4)


async def throttled(lab: Any) -> None:
    lab.server.faults.fail(429, path=OURS, retry_after=1, count=12)
    lab.server.faults.drop_watches()


async def failing(lab: Any) -> None:
    lab.server.faults.fail(500, path=OURS, count=30)
    lab.server.faults.drop_watches()


async def answers_lost(lab: Any) -> None:
    lab.server.faults.fail(500, method=WRITES, after=True, count=12)


async def timing_out(lab: Any) -> None:
    lab.server.faults.fail(504, method=WRITES, after=True, count=6)


async def unavailable(lab: Any) -> None:
    lab.server.faults.fail(503, path=OURS, count=30)
    lab.server.faults.drop_watches(orderly=True)


async def forbidden(lab: Any) -> None:
    lab.server.faults.fail(403, path=OURS, count=12)
    lab.server.faults.drop_watches()


async def missing(lab: Any) -> None:
    """Not found, of lists and writes; of a single object it is an answer, not an error."""
    lab.server.faults.fail(404, method=WRITES, count=6)
    lab.server.faults.fail(404, path=LISTS, count=6)
    lab.server.faults.drop_watches()


async def expired(lab: Any) -> None:
    lab.server.faults.fail(410, path="watch=1", count=16)
    lab.server.faults.drop_watches()


async def hanging(lab: Any) -> None:
    faults = [lab.server.faults.hang(method=WRITES, count=3), lab.server.faults.hang(path=LISTS, count=3)]
    lab.server.faults.drop_watches()
    await wait_out(lab)
    for fault in faults:
        fault.cancel()


async def watches_cut(lab: Any) -> None:
    for _ in range(10):
        lab.server.faults.drop_watches()
        await trio.sleep(FAULT_SECONDS / 10)


async def garbage(lab: Any) -> None:
    lab.server.faults.answer(b"<html>a proxy</html>", path=OURS, count=10)
    lab.server.faults.drop_watches()


async def stale_lists(lab: Any) -> None:
    """Lists from before there was anything, of every kind, as from a server that lags, and no watch to mend it."""
    empty = {"metadata": {"resourceVersion": "1"}, "items": []}
    lab.server.faults.fail(410, path="watch=1", count=12)
    lab.server.faults.fail(503, path="watch=1", count=40)
    for resource in KINDS:
        body = {"apiVersion": resource.api_version, "kind": f"{resource.kind}List"} | empty
        path = f"/{resource.plural}\\?{LISTS[1:]}"
        lab.server.faults.answer(json.dumps(body).encode(), method="GET", path=path, count=2)
    lab.server.faults.drop_watches()


FAULTS: list[Callable[[Any], Any]] = [
    conflicts,
    exists_already,
    throttled,
    failing,
    answers_lost,
    timing_out,
    unavailable,
    forbidden,
    missing,
    expired,
    hanging,
    watches_cut,
    garbage,
    stale_lists,
]


@asynccontextmanager
async def operator(lab: Any) -> Any:
    kube = connect(str(lab.kubeconfig), agent=AGENT)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve_operator(kube, load_plugins()))
        await lab.until(lab.configured)
        yield
        nursery.cancel_scope.cancel()


async def blocks(lab: Any) -> dict[tuple[str, str], str]:
    """Of the old nodes: node and NIC to pod block."""
    rows = [row for cidr in await lab.kube.list(CIDRS) for entry in cidr.spec.cidr for row in entry.hosts]
    return {(row.host_name, row.interface_name): row.pod_cidr for row in rows if row.host_name in OLD}


async def lasting(lab: Any) -> Any:
    """What must be the very same objects before and after."""
    kube = lab.kube
    kinds = (CIDRS, IPPOOLS, HOST_INTERFACES, CONFIGS, DAEMONSETS)
    return {(k.plural, item.name, item.metadata.uid) for k in kinds for item in await kube.list(k)}


def blocks_in(entry: Entry) -> dict[tuple[str, str], str]:
    spec = json.loads(entry.body).get("spec") or {}
    rows = [row for part in spec.get("cidr") or () for row in part["hosts"]]
    return {(r["hostName"], r["interfaceName"]): r["podCIDR"] for r in rows if r["hostName"] in OLD}


@pytest.mark.embedded_api
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_an_error_deletes_and_moves_nothing(lab: Any, populate: Any, make_host: Any, fault: Any) -> None:
    """A node joins and a definition is gone while the API fails: both are dealt with, everything else stays."""
    await populate(lab.kube)
    async with operator(lab):
        held = {"pod": "web", "namespace": "default", "index": 1, "address": "192.168.0.1"}
        pool = (await lab.kube.list(IPPOOLS))[0]
        await lab.kube.patch(IPPOOLS, pool.name, {"spec": {"allocations": [held]}})
        before, kept = await blocks(lab), await lasting(lab)
        await lab.kube.create(NODES, {"metadata": {"name": "node-4"}})
        await lab.kube.create(HOST_INTERFACES, make_host("node-4", {"eth1": "10.0.1.4/24", "eth2": "10.0.2.4/24"}))
        await lab.kube.delete(ATTACHMENT_DEFINITIONS, "multi-nic-sample", "default")
        lab.server.api.requests = log = RequestLog()
        await fault(lab)
        await wait_out(lab)
        lab.server.faults.clear()

        async def done() -> bool:
            cidr = await lab.kube.get(CIDRS, "multi-nic-sample")
            rows = {row.host_name for entry in cidr.spec.cidr for row in entry.hosts}
            pools = [p for p in await lab.kube.list(IPPOOLS) if p.spec.host_name == "node-4"]
            definitions = await lab.kube.list(ATTACHMENT_DEFINITIONS)
            status = (await lab.kube.get(NETWORKS, "multi-nic-sample")).status
            told = status.discovery.cidr_processed == 4 and "node-4" in status.message
            return rows == {*OLD, "node-4"} and len(pools) == 2 and len(definitions) == 1 and told

        await lab.until(done)
        ours = [entry for entry in log.entries if entry.agent == AGENT]
        assert len({entry.verb for entry in ours}) > 1
        assert [entry for entry in ours if entry.verb.startswith("delete")] == []
        for entry in ours:
            if entry.resource == "cidrs" and entry.writes:
                assert blocks_in(entry) == before
            if entry.resource == "hostinterfaces/status":
                assert entry.name == "node-4"
            if entry.resource == "ippools" and entry.verb in ("patch", "update"):
                assert "allocations" not in entry.body.decode()
        assert await blocks(lab) == before
        assert kept <= await lasting(lab)
        assert (await lab.kube.get(IPPOOLS, pool.name)).spec.allocations[0].address == "192.168.0.1"
        assert (await lab.kube.get(DAEMONSETS, "multi-nicd", SYSTEM_NAMESPACE)).metadata.generation == 1
