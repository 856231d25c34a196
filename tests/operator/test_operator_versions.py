"""Daemons of other versions: what they report is understood as far as it can be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from multinic_core.model import CIDRS, LEASE_PREFIX, LEASES, NODE_LABEL, REPORT_ANNOTATION, SYSTEM_NAMESPACE


async def report(cluster: Any, text: str) -> None:
    metadata = {"labels": {NODE_LABEL: "node-1"}, "annotations": {REPORT_ANNOTATION: text}}
    spec = {"holderIdentity": "node-1", "renewTime": cluster.now().isoformat()}
    body = {"metadata": metadata, "spec": spec}
    await cluster.kube.patch(LEASES, f"{LEASE_PREFIX}node-1", body, namespace=SYSTEM_NAMESPACE, kind="apply")


@pytest.mark.parametrize("version", ["older", "newer"])
async def test_reports_of_other_versions_count(cluster: Any, autojump_clock: Any, version: str) -> None:
    """Fields that are missing count as empty, fields that are unknown are ignored."""
    cluster.node("node-1", {"eth1": "10.0.1.1/24"})
    cluster.network()
    async with cluster.running():
        cidr = await cluster.kube.get(CIDRS, "net")
        route = {"status": "Success", "resourceVersion": cidr.metadata.resource_version}
        said: dict[str, Any] = {"routes": {"net": route}}
        if version == "newer":
            said |= {"version": "99", "weather": {"wind": 3}}
            route |= {"generation": cidr.metadata.generation, "seconds": 0.1}
        await report(cluster, json.dumps(said))
        await cluster.quiet()
        assert (await cluster.status()).route_status == "Success"


async def test_a_report_that_cannot_be_read_is_none(cluster: Any, autojump_clock: Any) -> None:
    """The daemon lives and has reported nothing, so its routes are waited for."""
    cluster.node("node-1", {"eth1": "10.0.1.1/24"})
    cluster.network()
    async with cluster.running():
        await report(cluster, '{"routes": [')
        await cluster.quiet()
        status = await cluster.status()
        assert (status.route_status, status.discovery.exist_daemon) == ("WaitForRoutes", 1)
