"""The webhook of operator processes, called by the lab's API server over TLS."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from multinic_lab.apiserver import RequestLog, Rights
from multinic_operator.webhook import CONFIGURATION, SERVICE
from multinic_operator.webhook.server import PATH

from multinic_core.errors import ApiError
from multinic_core.model import NETWORKS, SYSTEM_NAMESPACE, WEBHOOK_CONFIGURATIONS

DEPLOY = Path(__file__).parents[3] / "deploy"


def deployed() -> list[Any]:
    """Every object that ``kubectl apply -k deploy`` makes."""
    files = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())["resources"]
    return [body for file in files for body in yaml.safe_load_all((DEPLOY / file).read_text())]


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


@pytest.mark.embedded_api
async def test_leader_and_standby_answer_with_the_same_certificate(lab: Any, populate: Any) -> None:
    """Both refuse a subnet over the nodes' own network; without any of them the network is stored all the same.

    What that takes is within the rights that are deployed.
    """
    lab.server.api.requests = log = RequestLog()
    await lab.namespace(SYSTEM_NAMESPACE)
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
    rights = Rights.of("multinic-operator", deployed())
    entries = [entry for entry in log.entries if entry.agent == "multinic-operator"]
    assert {(e.verb, e.resource) for e in entries if not rights.allow(e)} == set()
    assert {"secrets", "validatingwebhookconfigurations"} <= {entry.resource for entry in entries}


def test_what_is_deployed_leads_to_the_webhook() -> None:
    """From the configuration over the Service to the port that the operator is told."""
    objects = {(body["kind"], body["metadata"]["name"]): body for body in deployed()}
    (webhook,) = objects["ValidatingWebhookConfiguration", CONFIGURATION]["webhooks"]
    service = objects["Service", SERVICE]
    port = service["spec"]["ports"][0]
    called = {"name": SERVICE, "namespace": SYSTEM_NAMESPACE, "path": PATH, "port": port["port"]}
    assert webhook["clientConfig"]["service"] == called
    assert (webhook["failurePolicy"], webhook["sideEffects"]) == ("Ignore", "None")
    pod = objects["Deployment", "multinic-operator"]["spec"]["template"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    (container,) = pod["spec"]["containers"]
    listening = {found["name"]: found["containerPort"] for found in container["ports"]}
    assert f"--webhook-port={listening[port['targetPort']]}" in container["args"]
