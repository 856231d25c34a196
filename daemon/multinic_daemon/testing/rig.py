"""A node in memory for tests of the engine: a Kubernetes, a kernel on a folder, a journal, and CNI calls."""

from __future__ import annotations

import json
from collections.abc import Sequence
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

from multinic_core.model import CIDRS, IPPOOLS, NETWORKS, PODS
from multinic_core.plan import Nic, NodeView
from multinic_core.registry import Registry, load_plugins
from multinic_core.selection import Selection, SelectionRequest
from multinic_core.testing.kube import FakeKubernetes
from multinic_daemon.calls.request import CniRequest
from multinic_daemon.cluster import Cluster
from multinic_daemon.engine import Engine, serve_request
from multinic_daemon.gate import Gate
from multinic_daemon.journal.journal import Journal
from multinic_daemon.pools.nodepools import NodePools
from multinic_daemon.recovery.adoption import Adoption, closed_reason
from multinic_daemon.testing.kernel import FakeKernel, links
from multinic_daemon.testing.objects import network_objects, pool_object

NODE = "node-1"
NETWORK = "net-a"
BOOT = "boot-1"


def nic(number: int) -> Nic:
    """``eth<number>`` on 10.0.<number>.0/24."""
    return Nic(
        f"eth{number}",
        10 + number,
        1500,
        f"02:00:00:00:00:{number:02x}",
        addresses=(ip_interface(f"10.0.{number}.1/24"),),
    )


class Rig:
    """One node with its daemon's engine; ``restart`` is a new daemon on the same node."""

    def __init__(self, folder: Path, nics: int = 3, *, adopting: bool = True) -> None:
        """``adopting``: a journal that knows nothing takes stock at once; False: not before ``adopt``."""
        self.folder = folder
        self.kubernetes = FakeKubernetes()
        self.kernel = FakeKernel(netns_folder=folder / "netns")
        self.registry: Registry = load_plugins()
        self.view = NodeView(NODE, {nic(n).ifname: nic(n) for n in range(1, nics + 1)})
        self.boot = BOOT
        self.now = 1000.0
        self.plugin: dict[str, Any] = {"type": "macvlan", "cniVersion": "0.3.0"}
        """Of the network configuration of calls."""
        self.add_network(NETWORK, nics)
        self.journal = self.open_journal()
        self.pools = NodePools(self.kubernetes, NODE)
        self.engine = self.make_engine()
        self.adoption = Adoption(self.engine, self.kubernetes, NODE, self.pools)
        if adopting:
            self.adopt()

    def open_journal(self) -> Journal:
        run_dir = self.folder / "run"
        journal, self.journal_refused = Journal.open_or_replace(run_dir, clock=lambda: self.now, boot=self.boot)
        return journal

    def make_engine(self) -> Engine:
        return Engine(
            self.registry,
            self.journal,
            self.kernel,
            Cluster(self.kubernetes, NODE, self.pools),
            lambda: self.view,
            gate=Gate(closed_reason(self.journal, self.journal_refused)),
            tombstones=self.folder / "run" / "tombstones",
        )

    def adopt(self) -> None:
        """What a daemon does once the API has answered it."""
        self.adoption.hold(self.kernel.survey())

    def restart(self, boot: str = BOOT, *, adopting: bool = True) -> None:
        self.adoption.close()
        self.journal.close()
        self.boot = boot
        self.journal = self.open_journal()
        self.pools = NodePools(self.kubernetes, NODE)
        self.engine = self.make_engine()
        self.adoption = Adoption(self.engine, self.kubernetes, NODE, self.pools)
        if adopting:
            self.adopt()

    def lose_journal(self, boot: str = BOOT, *, adopting: bool = True) -> None:
        """A new daemon that finds no journal."""
        for file in (self.folder / "run").glob("journal.db*"):
            file.unlink()
        self.restart(boot, adopting=adopting)

    def add_pod(self, name: str, namespace: str = "default") -> str:
        """Put a pod of this node into the API; its UID."""
        metadata = {"name": name, "namespace": namespace}
        (pod,) = self.kubernetes.seed(PODS, {"metadata": metadata, "spec": {"nodeName": NODE}})
        return pod.metadata.uid or ""

    def mirrored(self, network: str = NETWORK) -> dict[str, list[str]]:
        """Pool name to ``namespace/pod address`` of each entry, empty pools left out."""
        pools = [pool for pool in self.kubernetes.store(IPPOOLS).list() if pool.spec.net_attach_def == network]
        entries = {
            pool.name: [f"{each.namespace}/{each.pod} {each.address}" for each in pool.spec.allocations]
            for pool in pools
        }
        return {name: found for name, found in entries.items() if found}

    def add_network(self, name: str, nics: int, *, prefix: str = "192.168", **spec: Any) -> None:
        """A network with its blocks and pools, as ``network_objects`` describes them."""
        network, cidr, pools = network_objects(name, nics, prefix=prefix, node=NODE, **spec)
        self.kubernetes.seed(NETWORKS, network)
        self.kubernetes.seed(IPPOOLS, *pools)
        self.kubernetes.seed(CIDRS, cidr)

    def add_pool(self, network: str, ifname: str, cidr: str, block: str, **spec: Any) -> None:
        self.kubernetes.seed(IPPOOLS, pool_object(network, ifname, cidr, block, node=NODE, **spec))

    def pod(self, name: str = "c1") -> str:
        """A container's network namespace."""
        netns = self.folder / "netns" / name
        netns.mkdir(parents=True, exist_ok=True)
        return str(netns)

    def netconf(self, **fields: Any) -> dict[str, Any]:
        return {
            "cniVersion": "1.1.0",
            "name": NETWORK,
            "type": "multi-nic",
            "plugin": self.plugin,
            "ipam": {"type": "multi-nic-ipam"},
        } | fields

    async def call(
        self,
        command: str,
        container: str = "c1",
        *,
        ifname: str = "net1",
        netns: str | None = None,
        executable: str = "multi-nic",
        args: str = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=pod-1;K8S_POD_UID=u1",
        stdin: bytes | None = None,
        **fields: Any,
    ) -> Any:
        """Make one CNI call; the JSON printed, or None when nothing was.

        Raises:
            MultinicError: as the engine does.
        """
        where = self.pod(container) if netns is None else netns
        body = json.dumps(self.netconf(**fields)).encode() if stdin is None else stdin
        request = CniRequest(executable, command, container, where, ifname, args, "/opt/cni/bin", body)
        reply = await serve_request(self.engine, request)
        assert reply.status == 0
        return json.loads(reply.body) if reply.body else None

    async def refused(self, error: type[Exception], command: str, *arguments: Any, **options: Any) -> str:
        """Make one CNI call that must fail; the message."""
        try:
            answer = await self.call(command, *arguments, **options)
        except error as refusal:
            return str(refusal)
        raise AssertionError(f"{command} answered {answer!r}, expected {error.__name__}")

    def pod_links(self, container: str = "c1") -> list[str]:
        return list(links(self.folder / "netns" / container))

    def held(self) -> dict[str, int]:
        """Pool name to how many addresses are held in it, empty ones left out."""
        names = [pool.name for pool in self.kubernetes.store(IPPOOLS).list()]
        return {name: len(self.journal.held(name)) for name in names if len(self.journal.held(name))}

    def assert_clean(self, container: str = "c1") -> None:
        """Nothing is left of an attachment."""
        assert self.pod_links(container) == []
        assert self.journal.of_interface(container, "net1") == []
        assert self.held() == {}
        assert len(self.engine.locks) == 0


def addresses(result: dict[str, Any]) -> list[str]:
    return [ip["address"] for ip in result.get("ips", ())]


class Strategy:
    """A strategy whose answer a test chooses."""

    name = "none"

    def __init__(self, answer: Sequence[str] | Exception) -> None:
        self.answer = answer

    def select(self, request: SelectionRequest, candidates: Sequence[Nic]) -> Selection:
        if isinstance(self.answer, Exception):
            raise self.answer
        return Selection(tuple(self.answer), {nic.ifname: "as told" for nic in candidates})
