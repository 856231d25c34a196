"""A small cluster in memory with a real operator on it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_interface
from typing import Any

import pytest
import trio
from multinic_operator.config.daemonset import desired_daemonset
from multinic_operator.config.reconcile import FINALIZER
from multinic_operator.config.status import derive_conditions
from multinic_operator.serve import Operator
from multinic_operator.world import DAEMON_IMAGE, World
from pydantic import BaseModel

from multinic_core import NetworkConfig, Registry
from multinic_core.errors import ConfigError
from multinic_core.model import (
    ATTACHMENT_DEFINITIONS,
    CIDRS,
    CONFIGS,
    DAEMONSETS,
    DEFAULT_CONFIG,
    HOST_INTERFACES,
    IPPOOLS,
    LEASE_PREFIX,
    LEASES,
    NAMESPACES,
    NETWORKS,
    NODE_LABEL,
    NODES,
    REPORT_ANNOTATION,
    SYSTEM_NAMESPACE,
    Config,
    ConfigSpec,
    ConfigStatus,
    DaemonReport,
    HostInterface,
    MultiNicNetwork,
    ObjectMeta,
    RouteReport,
)
from multinic_core.testing.kube import FakeKubernetes

START = datetime(2026, 1, 1, tzinfo=UTC)


class Args(BaseModel, extra="forbid"):
    mode: str = "l2"


class StandIn:
    """A main plugin that takes the argument ``mode`` and, with ``resource``, asks for an annotation."""

    name = "ipvlan"
    link_kinds = frozenset({"ipvlan"})
    args_model = Args

    def network_config(self, network: MultiNicNetwork, nodes: Sequence[HostInterface]) -> NetworkConfig:
        args = dict(network.spec.plugin.args or {})
        resource = args.pop("resource", None)
        if args.pop("explode", None):
            raise RuntimeError("boom")
        if unknown := sorted(set(args) - {"mode"}):
            raise ConfigError(f"spec.plugin.args.{unknown[0]}: unknown argument, expected 'mode'")
        return NetworkConfig(args, {"k8s.v1.cni.cncf.io/resourceName": resource} if resource else {})

    def plan(self, request: Any, node: Any) -> Any:
        raise NotImplementedError


class Everything:
    name = "none"

    def select(self, request: Any, candidates: Any) -> Any:
        raise NotImplementedError


@dataclass
class Cluster:
    """The API, and helpers that write to it as people, nodes and daemons do."""

    kube: FakeKubernetes = field(default_factory=FakeKubernetes)
    registry: Registry = field(default_factory=Registry)
    renewals: int = 0
    reports: dict[str, DaemonReport | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.registry.main_plugins.objects["ipvlan"] = StandIn()
        self.registry.strategies.objects["none"] = Everything()

    def now(self) -> datetime:
        """Wall clock that runs with the virtual one."""
        return START + timedelta(seconds=trio.current_time())

    def operator(self) -> Operator:
        return Operator(World.watch(self.kube, self.registry, now=self.now))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Operator]:
        """An operator at work."""
        operator = self.operator()
        async with trio.open_nursery() as nursery:
            await nursery.start(operator.serve)
            await self.quiet()
            yield operator
            nursery.cancel_scope.cancel()

    async def quiet(self, seconds: float = 10.0) -> None:
        """Let so much virtual time pass; all that is due, retries included, happens in it."""
        await trio.sleep(seconds)

    async def settle(self) -> None:
        """Run a new operator until nothing is left to do, and end it."""
        async with self.running():
            pass

    def configured(self) -> None:
        """A Config and a DaemonSet as an operator has left them, so that neither needs a write."""
        config = Config(
            metadata=ObjectMeta(name=DEFAULT_CONFIG, finalizers=[FINALIZER], generation=1), spec=ConfigSpec()
        )
        body = desired_daemonset(config, SYSTEM_NAMESPACE, DAEMON_IMAGE)
        body["metadata"] |= {"name": DEFAULT_CONFIG, "namespace": SYSTEM_NAMESPACE}
        (daemonset,) = self.kube.seed(DAEMONSETS, body)
        conditions = derive_conditions(config, [], config, daemonset, "", {}, "", DAEMON_IMAGE, START)
        self.kube.seed(CONFIGS, config.model_copy(update={"status": ConfigStatus(conditions=conditions)}))

    def namespace(self, *names: str, phase: str = "Active") -> None:
        for name in names:
            self.kube.seed(
                NAMESPACES,
                {
                    "apiVersion": "v1",
                    "kind": "Namespace",
                    "metadata": {"name": name},
                    "spec": {},
                    "status": {"phase": phase},
                },
            )

    def node(
        self, name: str, nics: Mapping[str, str] | None = None, *, labels: Mapping[str, str] | None = None
    ) -> None:
        """A Node and, unless None, its HostInterface; ``nics`` is ifname to address such as ``10.0.1.1/24``."""
        self.kube.seed(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
        if nics is not None:
            self.host(name, nics, labels=labels)

    def host(self, name: str, nics: Mapping[str, str], *, labels: Mapping[str, str] | None = None) -> None:
        self.kube.seed(HOST_INTERFACES, host_interface(name, nics, labels=labels))

    async def rewire(self, name: str, nics: Mapping[str, str]) -> None:
        """The daemon sees other NICs than before."""
        body = host_interface(name, nics).to_json()["spec"]
        await self.kube.patch(HOST_INTERFACES, name, {"spec": body})

    def network(self, name: str = "net", *, ipam: Mapping[str, Any] | str | None = None, **spec: Any) -> None:
        self.kube.seed(NETWORKS, network_body(name, ipam=ipam, **spec))

    async def edit(self, name: str = "net", **spec: Any) -> None:
        if isinstance(spec.get("ipam"), Mapping):
            spec["ipam"] = json.dumps(spec["ipam"])
        await self.kube.patch(NETWORKS, name, {"spec": spec})

    async def report(self, node: str, network: str = "net", status: str = "Success", *, message: str = "") -> None:
        """The daemon of this node renews its Lease, saying where it stands with the CIDR as it is."""
        cidr = await self.kube.get(CIDRS, network)
        route = RouteReport.model_validate(
            {
                "status": status,
                "resource_version": cidr.metadata.resource_version,
                "generation": cidr.metadata.generation,
                "message": message,
            }
        )
        await self.renew(node, DaemonReport(version="1", routes={network: route}))

    async def renew(self, node: str, report: DaemonReport | None = None) -> None:
        """The daemon renews its Lease, with this report or the one it gave last."""
        self.renewals += 1
        report = self.reports[node] = report or self.reports.get(node)
        metadata: dict[str, Any] = {"labels": {NODE_LABEL: node}}
        if report is not None:
            metadata["annotations"] = {REPORT_ANNOTATION: report.model_dump_json(by_alias=True)}
        renew_time = (self.now() + timedelta(microseconds=self.renewals)).isoformat()
        body = {"metadata": metadata, "spec": {"holderIdentity": node, "renewTime": renew_time}}
        name = LEASE_PREFIX + node
        await self.kube.patch(LEASES, name, body, namespace=SYSTEM_NAMESPACE, kind="apply")

    async def status(self, name: str = "net") -> Any:
        return (await self.kube.get(NETWORKS, name)).status

    def pools(self, network: str = "net") -> dict[str, Any]:
        return {p.name: p for p in self.kube.store(IPPOOLS).list() if p.spec.net_attach_def == network}

    def state(self) -> Any:
        """All objects but Events (best effort), without what differs from run to run: uids, versions, times."""
        kinds = (NETWORKS, CIDRS, IPPOOLS, ATTACHMENT_DEFINITIONS, HOST_INTERFACES, NODES, NAMESPACES)
        return scrubbed(
            {
                f"{resource.plural}/{item.namespace}/{item.name}": self.kube.raw(resource, item.name, item.namespace)
                for resource in kinds
                for item in self.kube.store(resource).list()
            }
        )


VOLATILE = {
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "observedGeneration",
    "lastSyncTime",
    "lastTransitionTime",
}


def scrubbed(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: scrubbed(v) for k, v in value.items() if k not in VOLATILE}
    return [scrubbed(item) for item in value] if isinstance(value, list) else value


def host_interface(name: str, nics: Mapping[str, str], *, labels: Mapping[str, str] | None = None) -> HostInterface:
    interfaces = [
        {
            "interfaceName": ifname,
            "netAddress": str(ip_interface(address).network),
            "hostIP": str(ip_interface(address).ip),
        }
        for ifname, address in sorted(nics.items())
    ]
    return HostInterface.model_validate(
        {"metadata": {"name": name, "labels": labels}, "spec": {"hostName": name, "interfaces": interfaces}}
    )


L3_IPAM = {"type": "multi-nic-ipam", "hostBlock": 6, "interfaceBlock": 2, "vlanMode": "l3"}


def network_body(name: str = "net", *, ipam: Mapping[str, Any] | str | None = None, **spec: Any) -> dict[str, Any]:
    block = L3_IPAM if ipam is None else ipam
    fields: dict[str, Any] = {
        "subnet": "192.168.0.0/16",
        "ipam": block if isinstance(block, str) else json.dumps(block),
        "multiNICIPAM": True,
        "plugin": {"cniVersion": "0.3.0", "type": "ipvlan", "args": {"mode": "l3"}},
        "attachPolicy": {"strategy": "none"},
    }
    return {
        "apiVersion": "multinic.fms.io/v1",
        "kind": "MultiNicNetwork",
        "metadata": {"name": name},
        "spec": {k: v for k, v in (fields | spec).items() if v is not None},
    }


@pytest.fixture
def cluster() -> Cluster:
    """A cluster with a namespace and a Config; use together with ``autojump_clock`` to run an operator."""
    cluster = Cluster()
    cluster.namespace("default")
    cluster.configured()
    return cluster


@pytest.fixture
def bare_cluster() -> Cluster:
    """A cluster that no operator has seen yet."""
    cluster = Cluster()
    cluster.namespace("default")
    return cluster


@pytest.fixture
def cluster_maker() -> Any:
    """Makes clusters like :func:`cluster`."""

    def make() -> Cluster:
        made = Cluster()
        made.namespace("default")
        made.configured()
        return made

    return make


@pytest.fixture
def make_network() -> Any:
    """Builds the JSON of a network."""
    return network_body


@pytest.fixture
def make_host() -> Any:
    """Builds a HostInterface."""
    return host_interface
