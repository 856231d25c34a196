"""A node whose networks have attachment policies."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import pytest
from multinic_daemon.report.podevents import PodEvent
from multinic_daemon.testing import Rig
from multinic_daemon.testing.rig import NODE

from multinic_core.model import PODS

GIGABIT = 1_000_000_000


@dataclass
class PolicyNode:
    """A rig whose daemon writes down which Events it would have told; NICs have 10 Gbit/s each."""

    rig: Rig
    events: list[PodEvent] = field(default_factory=list)
    uids: dict[str, str] = field(default_factory=dict)
    """Container to the UID of its pod, where it is not ``u-<container>``."""

    def __post_init__(self) -> None:
        self.change_nics(speed=10_000)
        self.rig.engine.tell = self.events.append

    def change_nics(self, *ifnames: str, **fields: Any) -> None:
        """NICs as discovery sees them now; of none named all."""
        nics = {
            ifname: replace(nic, **fields) if ifname in (ifnames or self.rig.view.nics) else nic
            for ifname, nic in self.rig.view.nics.items()
        }
        self.rig.view = replace(self.rig.view, nics=MappingProxyType(nics))

    def add_network(self, name: str, strategy: str, nics: int = 3, prefix: str = "172.20", **policy: Any) -> None:
        self.rig.add_network(name, nics, prefix=prefix, attachPolicy={"strategy": strategy, **policy})

    def restart(self) -> None:
        self.rig.restart()
        self.rig.engine.tell = self.events.append

    async def add(self, network: str, container: str, **asked: Any) -> list[str]:
        """ADD for a pod that asks for this in its annotation; the NICs that it got, in order."""
        await self.rig.call("ADD", container, **self.call_fields(network, container, asked))
        (record,) = self.rig.journal.of_interface(container, "net1")
        return [link.parent for link in record.plan.links]

    async def refused(self, error: type[Exception], network: str, container: str, **asked: Any) -> str:
        return await self.rig.refused(error, "ADD", container, **self.call_fields(network, container, asked))

    async def remove(self, network: str, container: str) -> None:
        await self.rig.call("DEL", container, **self.call_fields(network, container, {}))

    def call_fields(self, network: str, container: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Of a call for a container that is of a pod of its own, ``pod-<container>``."""
        uid = self.uids.get(container, f"u-{container}")
        netconf = self.rig.netconf(name=network) | {"args": {"cni": asked}}
        args = f"K8S_POD_NAMESPACE=default;K8S_POD_NAME=pod-{container};K8S_POD_UID={uid}"
        return {"args": args, "stdin": json.dumps(netconf).encode()}

    def add_pods(self, pods: dict[str, dict[str, str]]) -> None:
        """Put the pods of containers into the API, with these labels."""
        for container, labels in pods.items():
            metadata = {"name": f"pod-{container}", "namespace": "default", "labels": labels}
            (pod,) = self.rig.kubernetes.seed(PODS, {"metadata": metadata, "spec": {"nodeName": NODE}})
            self.uids[container] = pod.metadata.uid or ""

    @property
    def promised(self) -> dict[str, int]:
        """ifname to Gbit/s that pods were promised, where any."""
        promised = self.rig.journal.uses.promised
        return {ifname: rate // GIGABIT for ifname, rate in sorted(promised.items()) if rate}


@pytest.fixture
def node(rig: Rig) -> PolicyNode:
    """Three NICs of 10 Gbit/s."""
    return PolicyNode(rig)
