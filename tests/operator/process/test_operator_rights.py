"""The operator stays within the rights that deploy/ gives to its service account."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from multinic_lab.apiserver import RequestLog, Rights
from multinic_operator.config.daemonset import SERVICE_ACCOUNT

from multinic_core.model import (
    ATTACHMENT_DEFINITIONS,
    CIDRS,
    CONFIGS,
    DAEMONSETS,
    HOST_INTERFACES,
    NETWORKS,
    NODES,
    SYSTEM_NAMESPACE,
)

DEPLOY = Path(__file__).parents[3] / "deploy"


def deployed() -> list[Any]:
    """Every object that ``kubectl apply -k deploy`` makes."""
    files = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())["resources"]
    return [body for file in files for body in yaml.safe_load_all((DEPLOY / file).read_text())]


@pytest.mark.embedded_api
async def test_all_that_it_does_is_allowed(lab: Any, populate: Any) -> None:
    """From taking over an original's DaemonSet to the deletion of the last Config: no request beyond its roles."""
    lab.server.api.requests = log = RequestLog()
    app = {"app": "multi-nicd"}
    container = {"name": "multi-nicd", "image": "old"}
    template = {"metadata": {"labels": app}, "spec": {"containers": [container]}}
    old = {"metadata": {"name": "multi-nicd", "namespace": SYSTEM_NAMESPACE}}
    await lab.namespace(SYSTEM_NAMESPACE)
    await lab.kube.create(DAEMONSETS, old | {"spec": {"selector": {"matchLabels": app}, "template": template}})
    await populate(lab.kube)
    process = await lab.start("--leader-elect")
    await lab.until(lab.configured)
    await lab.kube.delete(NODES, "node-3")
    await lab.kube.delete(ATTACHMENT_DEFINITIONS, "multi-nic-sample", "default")
    await lab.kube.patch(CONFIGS, "multi-nicd", {"spec": {"cniType": "other", "logLevel": 7}})

    async def followed() -> bool:
        definitions = await lab.kube.list(ATTACHMENT_DEFINITIONS)
        return (
            len(await lab.kube.list(HOST_INTERFACES)) == 2
            and [d for d in definitions if '"type":"other"' in d.spec.config] == definitions != []
            and "node-3" not in (await lab.kube.get(CIDRS, "multi-nic-sample")).model_dump_json()
        )

    await lab.until(followed)
    await lab.kube.delete(CONFIGS, "multi-nicd")

    async def gone() -> bool:
        return not any([await lab.kube.list(resource) for resource in (CONFIGS, CIDRS, DAEMONSETS)])

    await lab.until(gone)
    await lab.kube.delete(NETWORKS, "multi-nic-sample")

    async def removed() -> bool:
        return not await lab.kube.list(NETWORKS)

    await lab.until(removed)
    process.send_signal(signal.SIGTERM)
    await process.wait()
    rights = Rights.of("multinic-operator", deployed())
    entries = [entry for entry in log.entries if entry.agent == "multinic-operator"]
    assert {(e.verb, e.resource) for e in entries if not rights.allow(e)} == set()
    assert {"create", "patch", "delete", "update", "watch"} <= {entry.verb for entry in entries}


def test_accounts_and_names_agree() -> None:
    """The DaemonSet's account and the operator's namespace are those that the manifests make."""
    objects = deployed()
    names = {(o["kind"], o["metadata"]["name"]) for o in objects}
    assert {("ServiceAccount", SERVICE_ACCOUNT), ("Namespace", SYSTEM_NAMESPACE)} <= names
    (deployment,) = [o for o in objects if o["kind"] == "Deployment"]
    assert deployment["spec"]["template"]["spec"]["serviceAccountName"] == "multinic-operator"
    assert deployment["spec"]["replicas"] > 1
    bound = {(b["roleRef"]["kind"], b["roleRef"]["name"]) for o in objects if "roleRef" in (b := o)}
    assert bound <= names
    crds = {path.name for path in (DEPLOY / "crds").glob("*.yaml")}
    listed = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())["resources"]
    assert {f"crds/{name}" for name in crds} <= set(listed)


def test_the_daemon_may_not_touch_what_is_the_operators() -> None:
    """A daemon that was taken over cannot delete anything, nor write blocks, networks, statuses or workloads."""
    rules = [rule for _, rule in Rights.of(SERVICE_ACCOUNT, deployed()).rules]
    verbs = {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}
    assert {resource for resource, verb in verbs if verb in ("delete", "deletecollection")} == set()
    writable = {resource for resource, verb in verbs if verb in ("create", "update", "patch")}
    assert writable == {"hostinterfaces", "ippools", "leases", "events"}
