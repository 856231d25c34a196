"""The webhook of operator processes, called by the lab's API server over TLS."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from multinic_core.errors import ApiError
from multinic_core.model import NETWORKS, WEBHOOK_CONFIGURATIONS


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def configuration(*ports: int) -> dict[str, Any]:
    webhooks = [
        {
            "name": f"networks-{port}.multinic.fms.io",
            "clientConfig": {"url": f"https://127.0.0.1:{port}/validate-multinicnetwork"},
            "rules": [
                {
                    "apiGroups": ["multinic.fms.io"],
                    "apiVersions": ["v1"],
                    "resources": ["multinicnetworks"],
                    "operations": ["CREATE", "UPDATE"],
                }
            ],
            "failurePolicy": "Ignore",
            "sideEffects": "None",
            "timeoutSeconds": 3,
            "admissionReviewVersions": ["v1"],
        }
        for port in ports
    ]
    return {"metadata": {"name": "multinic"}, "webhooks": webhooks}


async def test_leader_and_standby_answer_with_the_same_certificate(lab: Any, populate: Any) -> None:
    """Both refuse a subnet over the nodes' own network; without any of them the network is stored all the same."""
    await populate(lab.kube)
    leading, waiting = free_port(), free_port()
    await lab.kube.create(WEBHOOK_CONFIGURATIONS, configuration(leading, waiting))
    leader = await lab.start("--leader-elect", "--webhook-port", str(leading))

    async def served(count: int = 1) -> bool:
        return bool(lab.log.read_text().count("webhook started") == count)

    await lab.until(served)
    standby = await lab.start("--leader-elect", "--webhook-port", str(waiting))
    await lab.until(lambda: served(2))
    network = await lab.kube.get(NETWORKS, "multi-nic-sample")
    bad = {"metadata": {"name": "bad"}, "spec": network.spec.to_json() | {"subnet": "10.0.0.0/16"}}
    for port, process in ((leading, leader), (waiting, standby)):
        with pytest.raises(ApiError, match=r"overlaps the NIC network 10\.0\.1\.0/24") as caught:
            await lab.kube.create(NETWORKS, bad)
        assert (caught.value.status, f"networks-{port}." in str(caught.value)) == (422, True)
        process.kill()
        await process.wait()
    await lab.kube.create(NETWORKS, bad)
