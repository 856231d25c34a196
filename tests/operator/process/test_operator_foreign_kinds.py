"""An operator process among other operators' kinds: real schemas, real watches, and the rights that deploy/ gives."""

from __future__ import annotations

import json
import signal
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import trio
import yaml
from multinic_lab.apiserver import RequestLog, Rights
from multinic_plugin_host_device.cluster import NIC_CLUSTER_POLICIES
from multinic_plugin_sriov.kinds import NAMESPACE, NODE_STATES, POLICIES
from multinic_plugin_sriov.kinds import NETWORKS as SRIOV_NETWORKS

from multinic_core.clusterfacts import ForeignObject
from multinic_core.model import (
    ATTACHMENT_DEFINITIONS,
    HOST_INTERFACES,
    NAMESPACES,
    NETWORKS,
    NODES,
    KubeObject,
    Resource,
)

DEPLOY = Path(__file__).parents[3] / "deploy"
STATES = Resource(ForeignObject, NODE_STATES.group, "v1", NODE_STATES.kind, NODE_STATES.plural, namespaced=True)
CRDS = Resource(
    KubeObject, "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False
)


def installed(name: str) -> list[Any]:
    """What another operator installs."""
    text = files("multinic_lab.cluster").joinpath(f"manifests/{name}.yaml").read_text()
    return list(yaml.safe_load_all(text))


async def install(kube: Any, name: str) -> None:
    for body in installed(name):
        await kube.create(NAMESPACES if body["kind"] == "Namespace" else CRDS, body)


async def state(kube: Any, node: str, nics: dict[str, str]) -> None:
    """The SR-IOV operator has found these NICs, ifname to PCI address."""
    await kube.create(STATES, {"metadata": {"name": node, "namespace": NAMESPACE}})
    interfaces = [{"name": name, "pciAddress": address, "totalvfs": 8} for name, address in nics.items()]
    status = {"status": {"interfaces": interfaces, "syncStatus": "Succeeded"}}
    await kube.patch(STATES, node, status, namespace=NAMESPACE, subresource="status")


async def nodes_and_network(kube: Any, make_host: Any, plugin: str, **args: str) -> None:
    for number in (1, 2):
        await kube.create(NODES, {"metadata": {"name": f"node-{number}"}})
        await kube.create(HOST_INTERFACES, make_host(f"node-{number}", {"eth1": f"10.0.1.{number}/24"}))
    ipam = {"type": "multi-nic-ipam", "hostBlock": 6, "interfaceBlock": 2, "vlanMode": "l2"}
    spec = {
        "subnet": "192.168.0.0/16",
        "ipam": json.dumps(ipam),
        "multiNICIPAM": True,
        "plugin": {"cniVersion": "0.3.0", "type": plugin, "args": args},
        "namespaces": ["default"],
    }
    await kube.create(NETWORKS, {"metadata": {"name": "net"}, "spec": spec})


async def message(kube: Any) -> str:
    status = (await kube.get(NETWORKS, "net")).status
    return str(status.message) if status else ""


async def definition(kube: Any) -> Any:
    found = [d for d in await kube.list(ATTACHMENT_DEFINITIONS) if d.name == "net"]
    return found[0] if found else None


def check_rights(log: RequestLog) -> None:
    """Every request of the operator is within its roles, and none of them went to kinds in vain for long."""
    objects = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())["resources"]
    deployed = [body for file in objects for body in yaml.safe_load_all((DEPLOY / file).read_text())]
    rights = Rights.of("multinic-operator", deployed)
    entries = [entry for entry in log.entries if entry.agent == "multinic-operator"]
    assert {(e.verb, e.group, e.resource) for e in entries if not rights.allow(e)} == set()


async def ended(process: trio.Process) -> None:
    process.send_signal(signal.SIGTERM)
    with trio.fail_after(60):
        assert await process.wait() == 0


@pytest.mark.embedded_api
async def test_an_sriov_network_from_missing_kinds_to_removal(lab: Any, make_host: Any) -> None:
    """It waits, proceeds when the kinds are there, follows unlike nodes, writes no more than it must, and cleans up."""
    kube = lab.kube
    lab.server.api.requests = log = RequestLog()
    await nodes_and_network(kube, make_host, "sriov", vlan="100", trust="on", min_tx_rate="10", numVfs="4")
    process = await lab.start()

    async def waits() -> bool:
        return "install the SR-IOV operator" in await message(kube)

    await lab.until(waits)
    assert await definition(kube) is None
    await install(kube, "sriov-network-operator")
    await state(kube, "node-1", {"eth1": "0000:3b:00.0"})
    await state(kube, "node-2", {"eth1": "0000:af:00.0"})

    async def offered() -> bool:
        policies = await kube.list(POLICIES)
        return await definition(kube) is not None and [p.part("spec", "nicSelector") for p in policies] == [
            {"rootDevices": ["0000:3b:00.0", "0000:af:00.0"]}
        ]

    await lab.until(offered)
    (policy,) = await kube.list(POLICIES)
    assert policy.part("spec", "deviceType") == "netdevice"  # a default of its schema
    holder = await kube.get(SRIOV_NETWORKS, "net-net", NAMESPACE)
    assert holder.part("spec") == {"resourceName": "net", "vlan": 100, "trust": "on", "minTxRate": 10}
    block = json.loads((await definition(kube)).spec.config)["plugin"]
    assert block == {
        "cniVersion": "0.3.0",
        "min_tx_rate": 10,
        "trust": "on",
        "type": "sriov",
        "vlan": 100,
    }
    interfaces = [
        {"name": "eth1", "pciAddress": "0000:af:00.0"},
        {"name": "storage", "pciAddress": "0000:3b:00.0"},
    ]
    await kube.patch(
        STATES, "node-2", {"status": {"interfaces": interfaces}}, namespace=NAMESPACE, subresource="status"
    )

    async def apart() -> bool:
        found = {
            next(iter(p.part("spec", "nodeSelector").values())): p.part("spec", "nicSelector", "rootDevices")
            for p in await kube.list(POLICIES)
        }
        return found == {"true": ["0000:af:00.0"], "node-1": ["0000:3b:00.0"]}

    await lab.until(apart)
    await kube.patch(NETWORKS, "net", {"spec": {"plugin": {"args": {"vlan": None, "resourceName": "theirs"}}}})

    async def theirs() -> bool:
        spec = (await kube.get(SRIOV_NETWORKS, "net-net", NAMESPACE)).part("spec")
        return not await kube.list(POLICIES) and spec == {"resourceName": "theirs", "trust": "on", "minTxRate": 10}

    await lab.until(theirs)
    await kube.delete(NETWORKS, "net")

    async def gone() -> bool:
        return not any([await kube.list(kind) for kind in (NETWORKS, POLICIES, SRIOV_NETWORKS)])

    await lab.until(gone)
    await ended(process)
    check_rights(log)
    writes = [e for e in log.entries if e.resource in ("sriovnetworks", "sriovnetworknodepolicies")]
    ours = [e.verb for e in writes if e.agent == "multinic-operator" and e.verb in ("create", "patch", "delete")]
    assert ours.count("create") <= 4  # two objects, a second policy, and one lost race at most
    assert "update" not in ours


@pytest.mark.embedded_api
async def test_a_mellanox_network_follows_the_policy(lab: Any, make_host: Any) -> None:
    """It waits for the kind and the object, takes the names from it, and takes new ones when it changes."""
    kube = lab.kube
    lab.server.api.requests = log = RequestLog()
    await nodes_and_network(kube, make_host, "mellanox")
    process = await lab.start()

    async def waits() -> bool:
        return "install the NVIDIA network operator" in await message(kube)

    await lab.until(waits)
    await install(kube, "nvidia-network-operator")

    async def asks_for_a_policy() -> bool:
        return "there is no NicClusterPolicy" in await message(kube)

    await lab.until(asks_for_a_policy)

    def config(*names: str) -> dict[str, Any]:
        text = json.dumps({"resourceList": [{"resourceName": name} for name in names]})
        return {"spec": {"ofedDriver": {"image": "x"}, "sriovDevicePlugin": {"image": "y", "config": text}}}

    await kube.create(NIC_CLUSTER_POLICIES, {"metadata": {"name": "nic-cluster-policy"}} | config("rail1", "rail2"))

    def named(text: str) -> Any:
        async def check() -> bool:
            found = await definition(kube)
            return found is not None and found.metadata.annotations == {"k8s.v1.cni.cncf.io/resourceName": text}

        return check

    await lab.until(named("nvidia.com/rail1,nvidia.com/rail2"))
    await kube.patch(NIC_CLUSTER_POLICIES, "nic-cluster-policy", config("rail3"))
    await lab.until(named("nvidia.com/rail3"))
    assert json.loads((await definition(kube)).spec.config)["plugin"]["type"] == "host-device"
    await ended(process)
    check_rights(log)
