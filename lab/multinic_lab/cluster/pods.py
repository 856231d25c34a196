"""The scenario's pods: their manifest, and what they got according to the multi-network standard's annotation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import yaml

from multinic_core.model import Pod
from multinic_lab.cluster.scenario import Scenario

NETWORKS_ANNOTATION = "k8s.v1.cni.cncf.io/networks"
"""Source: the multi-network standard, section 4.1."""
STATUS_ANNOTATION = "k8s.v1.cni.cncf.io/network-status"
NAMESPACE = "default"


@dataclass(frozen=True, slots=True)
class LabPod:
    """One pod with its secondary interfaces."""

    name: str
    node: str
    interfaces: tuple[tuple[str, str], ...]
    """(interface, address) per NIC, in the order of the interfaces; addresses without prefix length."""

    @property
    def key(self) -> str:
        return f"{NAMESPACE}/{self.name}"

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(address for _, address in self.interfaces)


def pod_manifest(scenario: Scenario, network: str) -> str:
    """All pods of the scenario as YAML, each asking for the network by its annotation."""
    documents = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"pod-{node}-{letter}",
                "namespace": NAMESPACE,
                "labels": {"app": "multinic-lab"},
                "annotations": {NETWORKS_ANNOTATION: _asking(scenario, network)},
            },
            "spec": {"nodeName": node, "containers": [{"name": "pause", "image": "multinic-lab/pause"}]},
        }
        for node in scenario.node_names
        for letter in "abcdefghijklmnopqrst"[: scenario.pods_per_node]
    ]
    return yaml.safe_dump_all(documents, sort_keys=False)


def _asking(scenario: Scenario, network: str) -> str:
    if scenario.pod_nics is None:
        return network
    return json.dumps([{"name": network, "cni-args": {"nics": scenario.pod_nics}}])


def read_pod(pod: Pod, network: str) -> LabPod:
    """The pod's interfaces on that network; none while it is not attached."""
    text = (pod.metadata.annotations or {}).get(STATUS_ANNOTATION, "[]")
    entries = [e for e in json.loads(text) if e.get("name", "").split("/")[-1] == network]
    pairs: list[tuple[str, str]] = []
    for entry in entries:
        pairs += [(entry.get("interface", ""), address) for address in entry.get("ips", ())]
    return LabPod(pod.name, pod.spec.node_name, tuple(pairs))


def attached(scenario: Scenario, pods: Sequence[Pod]) -> bool:
    """Whether all pods of the scenario run."""
    running = [pod for pod in pods if pod.status.phase == "Running"]
    return len(running) == scenario.nodes * scenario.pods_per_node
