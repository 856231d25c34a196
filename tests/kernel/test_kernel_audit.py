"""``multinic audit`` on a node of real links, beside the real daemon process and with the real API server."""

import json
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from multinic_daemon.audit.findings import Kind, Verdict
from multinic_daemon.journal.journal import GROUP_BASE
from multinic_daemon.testing import network_objects
from multinic_lab.apiserver.server import ApiServer, serve_api, write_kubeconfig
from multinic_lab.machine.api import LOOPBACK, listen_in
from multinic_lab.provision import tools

from multinic_core.kube import connect
from multinic_core.model import (
    CIDRS,
    IPPOOLS,
    NAMESPACES,
    NETWORKS,
    NODES,
    OUR_RESOURCES,
    PODS,
    SYSTEM_NAMESPACE,
    KubeObject,
    Resource,
)
from multinic_core.model.crd import crd
from multinic_core.ports import Kubernetes

NODE = "node-1"
NICS = ("eth1", "eth2")
CRDS = Resource(
    KubeObject, "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", False
)
PREFIX = "172.29"
"""A daemon takes over whatever holds its addresses on this machine, so they are nobody else's."""
LIMIT_SECONDS = 60
MULTINIC = "from multinic_core.cli import main; main()"
NETCONF = {
    "cniVersion": "1.1.0",
    "name": "net-a",
    "type": "multi-nic",
    "plugin": {"type": "macvlan", "mode": "bridge"},
    "ipam": {"type": "multi-nic-ipam"},
}

pytestmark = [pytest.mark.needs_root, pytest.mark.link_kind("veth", "macvlan")]


def ip(*arguments: str) -> str:
    done = subprocess.run(
        ["ip", *arguments], env=tools.environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def spawn(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(command, env=tools.environment(), stderr=output, stdout=output)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


class Ground:
    """A node with its daemon and pods, all as network namespaces, and the API that knows the pods."""

    def __init__(self, folder: Path, tag: str, kubernetes: Kubernetes, kubeconfig: Path) -> None:
        self.folder, self.kubernetes, self.kubeconfig = folder, kubernetes, kubeconfig
        self.tag, self.node = tag, f"mna-{tag}-node"
        self.run_dir = folder / "run"
        self.daemon: subprocess.Popen[bytes] | None = None
        self.pods: dict[str, str] = {}
        """Name to UID."""

    def netns(self, name: str) -> str:
        return f"mna-{self.tag}-{name}"

    def inside(self, *command: str) -> list[str]:
        return ["ip", "netns", "exec", self.node, *command]

    async def start_daemon(self) -> None:
        command = self.inside(sys.executable, "-m", "multinic_daemon", "--node", NODE, "--iproute2-dir", "")
        command += ["--run-dir", str(self.run_dir), "--kubeconfig", str(self.kubeconfig)]
        self.daemon = spawn(command, self.folder / "daemon.log")
        with trio.fail_after(LIMIT_SECONDS):
            while not (self.run_dir / "cni.sock").exists():
                assert self.daemon.poll() is None, (self.folder / "daemon.log").read_text()
                await trio.sleep(0.02)

    async def stop_daemon(self) -> None:
        if self.daemon is not None and self.daemon.poll() is None:
            self.daemon.terminate()
            await trio.to_thread.run_sync(partial(self.daemon.wait, timeout=60))

    async def add(self, name: str) -> Any:
        """A pod object, its sandbox, and the ADD of a runtime."""
        await self.kubernetes.create(
            PODS,
            {
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"nodeName": NODE, "containers": [{"name": "c", "image": "x"}]},
            },
        )
        self.pods[name] = (await self.kubernetes.get(PODS, name, "default")).metadata.uid or ""
        ip("netns", "add", self.netns(name))
        return await self.call("ADD", name)

    async def end_pod(self, name: str) -> None:
        """The pod object goes, as when a kubelet has said that its containers have ended."""
        status = {"status": {"phase": "Succeeded"}}
        await self.kubernetes.patch(PODS, name, status, namespace="default", subresource="status")
        await self.kubernetes.delete(PODS, name, "default")

    async def call(self, command: str, name: str) -> Any:
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": name,
            "CNI_NETNS": f"/run/netns/{self.netns(name)}",
            "CNI_IFNAME": "net1",
            "CNI_PATH": str(self.folder / "bin"),
            "CNI_ARGS": f"K8S_POD_NAMESPACE=default;K8S_POD_NAME={name};K8S_POD_UID={self.pods[name]}",
        }
        with trio.fail_after(LIMIT_SECONDS):
            done = await trio.run_process(
                [str(self.folder / "bin" / "multi-nic")],
                stdin=json.dumps(NETCONF).encode(),
                env=environment,
                capture_stdout=True,
                check=False,
            )
        assert done.returncode == 0, done.stdout
        return json.loads(done.stdout) if done.stdout else None

    async def audit(self, *options: str) -> tuple[int, Any]:
        """Exit status and JSON of the real command in the node's namespace."""
        command = self.inside(sys.executable, "-c", MULTINIC, "audit", "--json")
        command += ["--node", NODE, "--run-dir", str(self.run_dir), "--kubeconfig", str(self.kubeconfig), *options]
        with trio.fail_after(LIMIT_SECONDS):
            done = await trio.run_process(
                command, env=tools.environment(), capture_stdout=True, capture_stderr=True, check=False
            )
        assert not done.stderr, done.stderr
        return done.returncode, json.loads(done.stdout)

    async def agreed(self, pods: int) -> None:
        """When the mirror has the addresses of so many pods, an audit finds nothing to differ."""
        with trio.fail_after(LIMIT_SECONDS):
            while {len(pool.spec.allocations) for pool in await self.kubernetes.list(IPPOOLS)} != {pods}:
                await trio.sleep(0.05)
        status, document = await self.audit()
        assert (status, document["differences"]) == (0, 0), document
        assert len(document["findings"]) == document["attachments"] == pods
        assert all(said.startswith("compared") for said in document["sources"].values())


def differences(document: Any) -> list[dict[str, Any]]:
    return [finding for finding in document["findings"] if finding["verdict"] != Verdict.FINE]


@asynccontextmanager
async def ground(folder: Path) -> AsyncIterator[Ground]:
    """A node with two NICs, network ``net-a`` and its daemon; all gone at the end."""
    tag = uuid.uuid4().hex[:8]
    node, fabric = f"mna-{tag}-node", f"mna-{tag}-fabric"
    made: Ground | None = None
    try:
        ip("netns", "add", node)
        ip("netns", "add", fabric)
        ip("-n", node, "link", "set", "lo", "up")
        for number, ifname in enumerate(NICS, start=1):
            ip("-n", node, "link", "add", ifname, "type", "veth", "peer", "name", ifname, "netns", fabric)
            for namespace in (node, fabric):
                ip("-n", namespace, "link", "set", ifname, "up")
            ip("-n", node, "address", "add", f"10.0.{number}.1/24", "dev", ifname)
        door = listen_in(Path("/run/netns") / node, LOOPBACK, 0)
        inside = write_kubeconfig(folder / "inside.conf", f"http://127.0.0.1:{door.getsockname()[1]}")
        async with trio.open_nursery() as nursery:
            server: ApiServer = await nursery.start(partial(serve_api, extra_sockets=[door]))
            kubernetes = connect(str(write_kubeconfig(folder / "outside.conf", server.url)))
            await seed(kubernetes)
            made = Ground(folder, tag, kubernetes, inside)
            socket = str(made.run_dir / "cni.sock")
            install = ("-m", "multinic_cni", "install", "--bin-dir", str(folder / "bin"), "--socket", socket)
            assert run(sys.executable, *install).returncode == 0
            try:
                await made.start_daemon()
                yield made
            finally:
                if made.daemon is not None:
                    made.daemon.kill()
                    made.daemon.wait(timeout=60)
                nursery.cancel_scope.cancel()
    finally:
        there = set(ip("netns", "list").split())
        for name in [*(map(made.netns, made.pods) if made else ()), node, fabric]:
            if name in there:
                ip("netns", "del", name)


async def seed(kubernetes: Kubernetes) -> None:
    """What a cluster and the operator have written before a pod starts."""
    for resource in OUR_RESOURCES:
        await kubernetes.create(CRDS, crd(resource))
    for name in (SYSTEM_NAMESPACE, "default"):
        await create_if_missing(kubernetes, name)
    await kubernetes.create(NODES, {"metadata": {"name": NODE}})
    network, cidr, pools = network_objects("net-a", len(NICS), node=NODE, prefix=PREFIX)
    await kubernetes.create(NETWORKS, network)
    await kubernetes.create(CIDRS, cidr)
    for pool in pools:
        await kubernetes.create(IPPOOLS, pool)


async def create_if_missing(kubernetes: Kubernetes, name: str) -> None:
    if name not in {each.name for each in await kubernetes.list(NAMESPACES)}:
        await kubernetes.create(NAMESPACES, {"metadata": {"name": name}})


async def test_audit_names_what_differs_and_frees_only_what_is_dead(tmp_path: Path) -> None:
    """Clean is 0; a link deleted by hand is named with 1; sandbox and pod gone is dead, and only that is freed."""
    async with ground(tmp_path) as g:
        await g.add("p1")
        await g.add("p2")
        await g.agreed(2)

        ip("-n", g.netns("p1"), "link", "del", "net1-1")
        ip("-n", g.netns("p2"), "address", "add", "10.9.9.9/32", "dev", "net1-0")
        stray = ("stray", "group", str(GROUP_BASE + 0xFFFF), "netns", g.netns("p1"), "type", "macvlan")
        ip("-n", g.node, "link", "add", "link", "eth1", "name", *stray)
        status, document = await g.audit()
        assert status == 1
        assert {(each["kind"], each["subject"], each["kernel"]) for each in differences(document)} == {
            (Kind.LINKS_MISSING, "net1 of default/p1 (p1) in net-a", "net1-1 is missing"),
            (Kind.ADDRESS_DIFFERS, "net1 of default/p2 (p2) in net-a", "net1-0 has 10.9.9.9/32 beyond the row"),
            (
                Kind.LINK_WITHOUT_ROW,
                f"stray in /run/netns/{g.netns('p1')}, group {GROUP_BASE + 0xFFFF:#x}",
                "no address",
            ),
        }
        ip("-n", g.netns("p1"), "link", "del", "stray")

        ip("netns", "del", g.netns("p2"))
        status, document = await g.audit("--repair")
        assert status == 1
        assert {(each["kind"], each["verdict"]) for each in differences(document)} == {
            (Kind.LINKS_MISSING, Verdict.DIFFERENCE),
            (Kind.SANDBOX_GONE, Verdict.DIFFERENCE),
        }
        assert document["repaired"] == []

        await g.end_pod("p2")
        status, document = await g.audit("--no-api")
        assert Verdict.DEAD not in {each["verdict"] for each in document["findings"]}
        status, document = await g.audit("--repair")
        assert status == 1  # p1 still lacks its link
        (repaired,) = document["repaired"]
        assert repaired["subject"] == "net1 of default/p2 (p2) in net-a"
        assert repaired["problem"] == ""
        assert sorted(repaired["freed"]) == [f"{PREFIX}.0.2/18", f"{PREFIX}.64.2/18"]

        await g.call("DEL", "p1")
        await g.agreed(0)


async def test_audit_works_while_the_daemon_is_down(tmp_path: Path) -> None:
    """It still compares, and tells of a DEL that waits and of stale routes; --repair refuses with exit status 2."""
    async with ground(tmp_path) as g:
        await g.add("p1")
        await g.agreed(1)
        await g.stop_daemon()
        status, document = await g.audit()
        assert (status, document["daemon"]) == (0, False)
        await g.call("DEL", "p1")
        ip("-n", g.node, "rule", "add", "from", "172.30.0.0/16", "table", "7000", "protocol", "109")
        ip("-n", g.node, "route", "add", "172.30.1.0/24", "via", "10.0.1.2", "table", "7000", "proto", "109")
        status, document = await g.audit()
        assert status == 1
        assert [(each["kind"], each["subject"]) for each in differences(document)] == [
            (Kind.ROUTES_ORPHANED, "table 7000"),
            (Kind.RULE_ORPHANED, "from 172.30.0.0/16 lookup 7000"),
            (Kind.TOMBSTONE, "DEL of net1 of p1 in net-a"),
        ]
        table = run(*g.inside(sys.executable, "-c", MULTINIC, "audit", "--no-api", "--run-dir", str(g.run_dir)))
        assert table.returncode == 1
        lines = [line.split()[:2] for line in table.stdout.splitlines()]
        assert [line for line in lines if line[:1] in (["difference"], ["fine"])] == [
            ["difference", "tombstone"],
            ["fine", "attachment"],
        ]
        assert "pods: not compared: --no-api" in table.stdout
        done = run(sys.executable, "-c", MULTINIC, "audit", "--repair", "--run-dir", str(g.run_dir))
        assert done.returncode == 2
        assert "repair: no daemon answers on" in done.stderr
        await g.start_daemon()
        await g.agreed(0)
