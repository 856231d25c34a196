"""The real daemon process on a node of real links, called by the real executables, watching a real API server."""

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import trio
from multinic_daemon.testing import network_objects
from multinic_lab.apiserver.server import ApiServer, serve_api, write_kubeconfig
from multinic_lab.machine.api import LOOPBACK, listen_in
from multinic_lab.provision import tools

from multinic_core.kube import connect
from multinic_core.model import (
    CIDRS,
    HOST_INTERFACES,
    IPPOOLS,
    LEASES,
    NETWORKS,
    NODES,
    OUR_RESOURCES,
    SYSTEM_NAMESPACE,
    KubeObject,
    Resource,
    read_report,
)
from multinic_core.model.crd import crd
from multinic_core.ports import Kubernetes

NODE = "node-1"
NICS = ("eth1", "eth2", "eth3")
CRDS = Resource(
    KubeObject, "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", False
)
NAMESPACES = Resource(KubeObject, "", "v1", "Namespace", "namespaces", False)
LIMIT_SECONDS = 60

pytestmark = [pytest.mark.needs_root, pytest.mark.link_kind("veth", "macvlan")]


class Machine:
    """A node and its pods as network namespaces, an API server, and a daemon that can be killed."""

    def __init__(self, folder: Path, kubernetes: Kubernetes, kubeconfig: Path, tag: str) -> None:
        self.folder = folder
        self.kubernetes = kubernetes
        self.kubeconfig = kubeconfig
        self.node = f"mnd-{tag}-node"
        self.tag = tag
        self.run_dir = folder / "run"
        self.log = folder / "daemon.log"
        self.daemon: subprocess.Popen[bytes] | None = None
        self.pods: list[str] = []

    def pod(self, name: str) -> str:
        """A fresh pod namespace; gives its path."""
        unique = f"mnd-{self.tag}-{name}"
        if unique not in self.pods:
            ip("netns", "add", unique)
            self.pods.append(unique)
        return f"/run/netns/{unique}"

    async def start(self, *, crash_at: str = "") -> None:
        """Start the daemon and wait until it listens."""
        (self.run_dir / "cni.sock").unlink(missing_ok=True)  # what a killed daemon left does not count as listening
        command = ["ip", "netns", "exec", self.node, sys.executable, "-m", "multinic_daemon", "--node", NODE]
        command += [
            "--run-dir",
            str(self.run_dir),
            "--kubeconfig",
            str(self.kubeconfig),
            "--log-level",
            "debug",
            "--iproute2-dir",
            "",
        ]
        self.daemon = spawn(command, self.log, MULTINIC_CRASH_AT=crash_at)

        def listening() -> bool:
            assert self.daemon is not None
            assert self.daemon.poll() is None, self.log.read_text()
            return (self.run_dir / "cni.sock").exists()

        await until(listening)

    async def ended(self) -> int:
        """Wait for the daemon to end; its exit status."""
        daemon = self.daemon
        assert daemon is not None
        await until(lambda: daemon.poll() is not None)
        return daemon.returncode

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self.daemon is not None and self.daemon.poll() is None:
            self.daemon.send_signal(number)

    async def call(self, command: str, name: str = "p1", *, netns: str | None = None, **fields: Any) -> Any:
        """Run the real executable as a runtime does; what it prints, as JSON."""
        netconf = {
            "cniVersion": "1.1.0",
            "name": "net-a",
            "type": "multi-nic",
            "plugin": {"type": "macvlan", "mode": "bridge"},
            "ipam": {"type": "multi-nic-ipam"},
        }
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": name,
            "CNI_NETNS": self.pod(name) if netns is None else netns,
            "CNI_IFNAME": "net1",
            "CNI_PATH": str(self.folder / "bin"),
            "CNI_ARGS": f"K8S_POD_NAMESPACE=default;K8S_POD_NAME={name};K8S_POD_UID=uid-{name}",
        }
        with trio.fail_after(LIMIT_SECONDS):
            done = await trio.run_process(
                [str(self.folder / "bin" / "multi-nic")],
                stdin=json.dumps(netconf | fields).encode(),
                env=environment,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
        assert not done.stderr, done.stderr
        answer = json.loads(done.stdout) if done.stdout else None
        assert done.returncode == (1 if answer and "code" in answer else 0)
        return answer

    def links(self, name: str = "p1") -> dict[str, Any]:
        """ifname to ``ip -j -d address`` of a pod, without its loopback."""
        found = ip("-n", f"mnd-{self.tag}-{name}", "-d", "-j", "address", "show")
        return {link["ifname"]: link for link in json.loads(found) if link["ifname"] != "lo"}

    def rows(self) -> list[dict[str, Any]]:
        """The journal as ``multinic-daemon dump`` shows it."""
        command = [sys.executable, "-m", "multinic_daemon", "dump", "--run-dir", str(self.run_dir), "--json"]
        return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)["attachments"]


def spawn(command: list[str], log: Path, **variables: str) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(command, env=tools.environment() | variables, stderr=output, stdout=output)


async def until(true: Callable[[], bool]) -> None:
    """Poll until it is so, for a bounded time."""
    with trio.fail_after(LIMIT_SECONDS):
        while not true():  # another process has no event to wait for
            await trio.sleep(0.02)


def install_executables(folder: Path, socket: Path) -> None:
    command = [sys.executable, "-m", "multinic_cni", "install", "--bin-dir", str(folder), "--socket", str(socket)]
    subprocess.run(command, check=True, timeout=60, capture_output=True)


def ip(*arguments: str) -> str:
    done = subprocess.run(
        ["ip", *arguments], env=tools.environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
    return done.stdout


@asynccontextmanager
async def machine(folder: Path) -> AsyncIterator[Machine]:
    """A node with three NICs, network ``net-a`` with its pools, no daemon yet; all gone at the end."""
    tag = uuid4().hex[:8]
    node, fabric = f"mnd-{tag}-node", f"mnd-{tag}-fabric"
    ip("netns", "add", node)
    ip("netns", "add", fabric)
    made: Machine | None = None
    try:
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
            await nursery.start(kubernetes.serve)
            await seed(kubernetes)
            made = Machine(folder, kubernetes, inside, tag)
            install_executables(folder / "bin", made.run_dir / "cni.sock")
            try:
                yield made
            finally:
                made.kill()
                if made.daemon is not None:
                    made.daemon.wait(timeout=60)
                nursery.cancel_scope.cancel()
    finally:
        for name in [*(made.pods if made else []), node, fabric]:
            ip("netns", "del", name)


async def seed(kubernetes: Kubernetes) -> None:
    """What a cluster and the operator have written before a pod starts."""
    for resource in OUR_RESOURCES:
        await kubernetes.create(CRDS, crd(resource))
    await kubernetes.create(NAMESPACES, {"metadata": {"name": SYSTEM_NAMESPACE}})
    await kubernetes.create(NODES, {"metadata": {"name": NODE}})
    network, cidr, pools = network_objects("net-a", len(NICS), node=NODE)
    await kubernetes.create(NETWORKS, network)
    await kubernetes.create(CIDRS, cidr)
    for pool in pools:
        await kubernetes.create(IPPOOLS, pool)


@pytest.mark.parametrize(
    "plugin",
    [
        {"type": "macvlan", "mode": "bridge"},
        pytest.param({"type": "ipvlan", "mode": "l3"}, marks=pytest.mark.link_kind("ipvlan")),
    ],
    ids=["macvlan", "ipvlan-l3"],
)
async def test_pod_is_attached_checked_and_detached(tmp_path: Path, plugin: dict[str, str]) -> None:
    """ADD makes links that the kernel shows as answered, CHECK agrees until something changes, DEL leaves nothing."""
    async with machine(tmp_path) as m:
        await m.start()
        result = await m.call("ADD", plugin=plugin)
        links = m.links()
        assert list(links) == ["net1-0", "net1-1", "net1-2"]
        for position, interface in enumerate(result["interfaces"]):
            link = links[interface["name"]]
            (address,) = (ip["address"] for ip in result["ips"] if ip["interface"] == position)
            assert link["address"] == interface["mac"]
            assert link["mtu"] == interface["mtu"]
            assert link["linkinfo"]["info_kind"] == plugin["type"]
            assert f"{link['addr_info'][0]['local']}/{link['addr_info'][0]['prefixlen']}" == address
        assert await m.call("CHECK", plugin=plugin, prevResult=result) is None
        assert await m.call("STATUS") is None
        ip("-n", f"mnd-{m.tag}-p1", "address", "flush", "dev", "net1-1")
        failed = await m.call("CHECK", prevResult=result)
        assert failed["code"] == 101
        assert "net1-1" in failed["msg"]
        assert await m.call("DEL") is None
        assert m.links() == {}
        assert m.rows() == []
        assert await m.call("DEL", netns="") is None


async def test_check_names_each_mutilation(tmp_path: Path) -> None:
    """Of a link that somebody replaced, retuned or stripped behind the daemon's back; put right again, it passes."""
    async with machine(tmp_path) as m:
        await m.start()
        result = await m.call("ADD")
        mac, pod = result["interfaces"][1]["mac"], f"mnd-{m.tag}-p1"
        address = next(each["address"] for each in result["ips"] if each["interface"] == 1)
        for change, undo, words in (
            (["set", "net1-1", "address", "02:00:00:00:00:77"], ["set", "net1-1", "address", mac], "MAC address"),
            (["set", "net1-1", "mtu", "1280"], ["set", "net1-1", "mtu", "1500"], "mtu 1280"),
            (["set", "net1-1", "down"], ["set", "net1-1", "up"], "is down"),
        ):
            ip("-n", pod, "link", *change)
            failed = await m.call("CHECK", prevResult=result)
            assert failed["code"] == 101
            assert "net1-1" in failed["msg"]
            assert words in failed["msg"]
            ip("-n", pod, "link", *undo)
            assert await m.call("CHECK", prevResult=result) is None
        ip("-n", pod, "link", "del", "net1-1")
        assert "'net1-1' is missing" in (await m.call("CHECK", prevResult=result))["msg"]
        ip("-n", pod, "link", "add", "net1-1", "type", "veth", "peer", "name", "other")
        ip("-n", pod, "address", "add", address, "dev", "net1-1")
        assert "is of kind 'veth', expected 'macvlan'" in (await m.call("CHECK", prevResult=result))["msg"]


async def test_source_routing_is_made_checked_and_removed(tmp_path: Path) -> None:
    """Rules, tables and settings come with ADD, CHECK names what somebody changed, and DEL leaves no rule."""
    plugin = {"type": "macvlan", "sourceRouting": True}

    def rules(pod: str) -> list[tuple[str, str]]:
        shown = json.loads(ip("-n", pod, "-j", "rule", "show"))
        return [(each["src"], each["table"]) for each in shown if each["src"] != "all"]

    async with machine(tmp_path) as m:
        await m.start()
        result = await m.call("ADD", plugin=plugin)
        pod = f"mnd-{m.tag}-p1"
        sources = [each["address"].split("/")[0] for each in result["ips"]]
        assert rules(pod) == list(zip(sources, ("1100", "1101", "1102"), strict=True))
        assert await m.call("CHECK", plugin=plugin, prevResult=result) is None
        assert await m.call("ADD", plugin=plugin) == result
        ip("-n", pod, "rule", "del", "from", sources[1])
        ip("netns", "exec", pod, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/net1-2/rp_filter")
        failed = await m.call("CHECK", plugin=plugin, prevResult=result)
        assert failed["code"] == 101
        for words in (f"rule from {sources[1]}/32 lookup 1101", "'net1-2' has rp_filter 1, expected 2"):
            assert words in failed["msg"]
        m.kill()
        await m.ended()
        await m.start()
        assert await m.call("DEL", plugin=plugin) is None
        assert (m.links(), rules(pod), m.rows()) == ({}, [], [])


async def test_node_is_published(tmp_path: Path) -> None:
    """The daemon writes the node's NICs and its Lease."""
    async with machine(tmp_path) as m:
        await m.start()
        hifs, leases = m.kubernetes.store(HOST_INTERFACES), m.kubernetes.store(LEASES, namespace=SYSTEM_NAMESPACE)
        await until(lambda: bool(hifs.get(NODE) and leases.get(f"multi-nicd-{NODE}", SYSTEM_NAMESPACE)))
        found = hifs.get(NODE)
        assert found is not None
        assert {each.interface_name: each.net_address for each in found.spec.interfaces} == {
            "eth1": "10.0.1.0/24",
            "eth2": "10.0.2.0/24",
            "eth3": "10.0.3.0/24",
        }
        lease = leases.get(f"multi-nicd-{NODE}", SYSTEM_NAMESPACE)
        assert lease is not None
        assert read_report(lease) is not None


@pytest.mark.parametrize("crash_at", ["add.journaled", "add.applied"])
async def test_daemon_killed_inside_add_leaves_nothing_when_it_is_back(tmp_path: Path, crash_at: str) -> None:
    """The runtime hears that it may try again, and what the kernel has is what the journal has."""
    async with machine(tmp_path) as m:
        await m.start(crash_at=crash_at)
        assert (await m.call("ADD"))["code"] == 11
        assert await m.ended() == -signal.SIGKILL
        assert len(m.links()) == (3 if crash_at == "add.applied" else 0)
        await m.start()
        assert m.links() == {}
        assert m.rows() == []
        assert len((await m.call("ADD"))["ips"]) == 3


async def test_daemon_killed_inside_del_finishes_it_when_it_is_back(tmp_path: Path) -> None:
    """The executable has left a tombstone and said yes; links and addresses go before the first call is answered."""
    async with machine(tmp_path) as m:
        await m.start(crash_at="del.marked")
        await m.call("ADD", "p1")
        await m.call("ADD", "p2")
        assert await m.call("DEL", "p1") is None
        assert await m.ended() == -signal.SIGKILL
        assert await m.call("DEL", "p2") is None
        assert len(m.links("p1")) == len(m.links("p2")) == 3
        assert len(list((m.run_dir / "tombstones").iterdir())) == 2
        await m.start()
        await m.call("STATUS")  # callers can connect before the tombstones are honoured, and wait for that
        assert m.links("p1") == m.links("p2") == {}
        assert m.rows() == []
        assert list((m.run_dir / "tombstones").iterdir()) == []


async def test_daemon_told_to_stop_leaves_pods_as_they_are(tmp_path: Path) -> None:
    """SIGTERM ends it with status 0 and no socket; a new daemon answers for the old one's pods."""
    async with machine(tmp_path) as m:
        await m.start()
        result = await m.call("ADD")
        m.kill(signal.SIGTERM)
        assert await m.ended() == 0, m.log.read_text()
        assert not (m.run_dir / "cni.sock").exists()
        assert list(m.links()) == ["net1-0", "net1-1", "net1-2"]
        await m.start()
        assert await m.call("CHECK", prevResult=result) is None
        assert await m.call("ADD") == result
        await m.call("DEL")
        assert m.links() == {}


async def test_many_pods_at_once_get_distinct_addresses(tmp_path: Path) -> None:
    """Eight executables at the same time, then all but one of them gone by one GC."""
    async with machine(tmp_path) as m:
        await m.start()
        for number in range(8):
            m.pod(f"p{number}")
        results: list[Any] = []

        async def add(number: int) -> None:
            results.append(await m.call("ADD", f"p{number}"))

        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(add, number)
        given = [ip["address"] for result in results for ip in result["ips"]]
        assert len(given) == len(set(given)) == 24
        kept = {"containerID": "p7", "ifname": "net1"}
        assert await m.call("GC", **{"cni.dev/valid-attachments": [kept]}) is None
        assert [row["containerID"] for row in m.rows()] == ["p7"]
        assert [number for number in range(8) if m.links(f"p{number}")] == [7]
