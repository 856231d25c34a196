"""A node of real links whose daemon dies and comes back by the dozen: forked from one preloaded process."""

import json
import os
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import trio
from multinic_cni.call import exchange, frame
from multinic_cni.install import install
from multinic_daemon.crashpoints import VARIABLE
from multinic_daemon.journal.file import read_rows
from multinic_daemon.testing import network_objects
from multinic_daemon.testing.forks import Forks
from multinic_lab.apiserver import Store
from multinic_lab.apiserver.server import serve_api, write_kubeconfig
from multinic_lab.machine.api import LOOPBACK, listen_in
from multinic_lab.provision import tools

from multinic_core.kube import connect
from multinic_core.model import (
    CIDRS,
    IPPOOLS,
    NETWORKS,
    NODES,
    OUR_RESOURCES,
    SYSTEM_NAMESPACE,
    KubeObject,
    Resource,
)
from multinic_core.model.crd import crd
from multinic_core.ports import Kubernetes

NODE = "node-1"
NICS = 3
POOL = "net-a-192.168.0.0-24"
LIMIT_SECONDS = 60
NEAR_SECONDS = 60.0
CRDS = Resource(
    KubeObject, "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", False
)
NAMESPACES = Resource(KubeObject, "", "v1", "Namespace", "namespaces", False)


class CrashNode:
    """One node, its pods, and at most one daemon at a time over one run directory."""

    def __init__(self, folder: Path, plugin: dict[str, Any]) -> None:
        self.folder = folder
        self.plugin = plugin
        self.netconf = {"cniVersion": "1.1.0", "name": "net-a", "type": "multi-nic", "plugin": plugin}
        self.netconf |= {"ipam": {"type": "multi-nic-ipam"}}
        self.tag = uuid4().hex[:8]
        self.name = self._namespace("node")
        self.fabric = self._namespace("fabric")
        self.pods: list[str] = []
        self.run_dir = folder / "run"
        self.log = folder / "daemon.log"
        self.executables = install(folder / "bin", self.run_dir / "cni.sock")
        self.environment = tools.environment()
        self.forks = Forks(["ip", "netns", "exec", self.name], self.environment)
        self.kubeconfig = folder / "inside.conf"
        self.store = Store()
        self.kept: Any = None
        self._daemon, self._status = 0, 0
        ip("-n", self.name, "link", "set", "lo", "up")
        for number in range(1, NICS + 1):
            ifname = f"eth{number}"
            ip("-n", self.name, "link", "add", ifname, "type", "veth", "peer", "name", ifname, "netns", self.fabric)
            for namespace in (self.name, self.fabric):
                ip("-n", namespace, "link", "set", ifname, "up")
            ip("-n", self.name, "address", "add", f"10.0.{number}.1/24", "dev", ifname)

    def _namespace(self, name: str) -> str:
        unique = f"mnc-{self.tag}-{name}"
        ip("netns", "add", unique)
        return unique

    def pod(self, name: str) -> str:
        """The namespace of a pod, made at first; its path."""
        if name not in self.pods:
            self._namespace(name)
            self.pods.append(name)
        return f"/run/netns/mnc-{self.tag}-{name}"

    def remove_pod(self, name: str) -> None:
        """Let its namespace end."""
        self.pods.remove(name)
        ip("netns", "del", f"mnc-{self.tag}-{name}")

    def close(self) -> None:
        self.forks.close()
        for name in [*(f"mnc-{self.tag}-{pod}" for pod in self.pods), self.name, self.fabric]:
            ip("netns", "del", name)

    def start(self, crash_at: str = "") -> None:
        """Start the daemon and wait until it listens, or has died."""
        (self.run_dir / "cni.sock").unlink(missing_ok=True)  # what a killed daemon left does not count as listening
        arguments = ["--node", NODE, "--run-dir", str(self.run_dir), "--kubeconfig", str(self.kubeconfig)]
        arguments += ["--iproute2-dir", ""]
        self._daemon = self.forks.start(
            "multinic_daemon.__main__:main", *arguments, output=self.log, environment={VARIABLE: crash_at}
        )
        end = time.monotonic() + LIMIT_SECONDS
        while not (self.run_dir / "cni.sock").exists():
            if self._ended_now() is not None:
                return
            assert time.monotonic() < end, self.log.read_text()

    def _ended_now(self) -> int | None:
        """Its exit status, once."""
        status = self.forks.wait(self._daemon, 0.03)
        if status is not None:
            self._status, self._daemon = status, 0
        return status

    def ended(self) -> int:
        """Wait for the daemon to end; its exit status."""
        if self._daemon:
            status = self.forks.wait(self._daemon, LIMIT_SECONDS)
            assert status is not None, self.log.read_text()
            self._status, self._daemon = status, 0
        return self._status

    def kill(self) -> None:
        """kill -9, if there is one."""
        if self._daemon:
            os.kill(self._daemon, 9)
            self.ended()

    def lose(self) -> None:
        """Kill the daemon and remove its journal."""
        self.kill()
        for file in self.run_dir.glob("journal.db*"):
            file.unlink()

    def reboot(self, pod: str) -> None:
        """What a reboot makes of one pod, the daemon being dead: its links are gone, its row is of another boot."""
        for ifname in self.links(pod):
            self.ip_in(pod, "link", "del", ifname)
        with closing(sqlite3.connect(self.run_dir / "journal.db")) as journal, journal:
            journal.execute("UPDATE attachment SET boot_id = 'before' WHERE container_id = ?", (pod,))

    def call(
        self,
        command: str,
        pod: str = "",
        *,
        executable: str = "multi-nic",
        ifname: str = "net1",
        netns: str = "",
        uid: str = "",
        **fields: Any,
    ) -> Any:
        """Run the real executable as a runtime does; what it prints, as JSON.

        Args:
            netns: another path to the pod's namespace.
            uid: the pod's, where the API knows the pod.
        """
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": pod,
            "CNI_NETNS": netns or (self.pod(pod) if pod else ""),
            "CNI_IFNAME": ifname if pod else "",
            "CNI_PATH": str(self.folder / "bin"),
            "CNI_ARGS": f"K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod};K8S_POD_UID={uid or f'uid-{pod}'}",
        }
        done = subprocess.run(
            [self.folder / "bin" / executable],
            input=json.dumps(self.netconf | fields).encode(),
            env=environment,
            capture_output=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
        assert not done.stderr, done.stderr
        answer = json.loads(done.stdout) if done.stdout else None
        assert done.returncode == (1 if answer and "code" in answer else 0)
        return answer

    def serves(self) -> bool:
        """Whether the executable's STATUS says so; it is not started before the daemon would let it.

        Polled by a process each, a daemon that starts would get less of the lab kernel's only processor than the polls.
        """
        request = frame({b"CNI_COMMAND": b"STATUS"}, b"multi-nic", json.dumps(self.netconf).encode())
        with socket.socket(socket.AF_UNIX) as sock:
            try:
                sock.connect(str(self.run_dir / "cni.sock"))
                answer = exchange(sock, request)
            except OSError:
                return False
        return answer.startswith(b"0") and self.call("STATUS") is None

    def ask(self, question: Callable[[Kubernetes], Any]) -> Any:
        """What the API server answers to an async function of a client."""

        async def main() -> Any:
            return await question(connect(str(self.folder / "outside.conf")))

        return trio.run(main)

    def mirrored(self) -> set[str]:
        """``pod address`` of every entry of the first pool, as the API server has it."""
        pool = self.store.collection(IPPOOLS.group, IPPOOLS.plural).records["", POOL].obj
        return {f"{each['pod']} {each['address']}" for each in pool["spec"].get("allocations", [])}

    def mirrored_pods(self) -> set[str]:
        """Names of the pods in the first pool's mirror."""
        return {entry.split()[0] for entry in self.mirrored()}

    def unmirror(self, pod: str) -> None:
        """Take a pod out of the mirror, as if it had never been written there."""

        async def write(kubernetes: Kubernetes) -> None:
            for pool in await kubernetes.list(IPPOOLS):
                there = pool.to_json()["spec"].get("allocations", [])
                kept = [entry for entry in there if entry["pod"] != pod]
                await kubernetes.patch(IPPOOLS, pool.name, {"spec": {"allocations": kept}})

        self.ask(write)

    def until(self, true: Callable[[], bool], seconds: float = NEAR_SECONDS) -> None:
        """Poll until it is so, for a bounded time."""
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)  # another process has no event to wait for

    def links(self, pod: str) -> dict[str, Any]:
        """ifname to ``ip -j -d address`` of a pod, without its loopback."""
        found = json.loads(ip("-n", f"mnc-{self.tag}-{pod}", "-d", "-j", "address", "show"))
        return {link["ifname"]: link for link in found if link["ifname"] != "lo"}

    def ip_in(self, pod: str, *arguments: str) -> None:
        """Change a pod behind the daemon's back."""
        self.pod(pod)
        ip("-n", f"mnc-{self.tag}-{pod}", *arguments)

    def ip_on_node(self, *arguments: str) -> str:
        """Change the node itself, or look at it."""
        return ip("-n", self.name, *arguments)

    def node_links(self) -> set[str]:
        """Names of the node's own links."""
        return {link["ifname"] for link in json.loads(ip("-n", self.name, "-j", "link", "show"))}

    def rows(self) -> list[dict[str, Any]]:
        return read_rows(self.run_dir / "journal.db")["attachments"]

    def audit(self, *vlans: str) -> set[str]:
        """Journal and kernel say the same, nothing is half made and nothing held twice; the containers attached.

        Args:
            vlans: the VLAN links that the node has.
        """
        rows = self.rows()
        assert {row["state"] for row in rows} <= {"ready"}
        given = [each["address"] for row in rows for each in row["addresses"]]
        assert len(given) == len(set(given))
        for pod in self.pods:
            own = [row for row in rows if row["netns"] == self.pod(pod) and row["links"]]
            wanted = {(name, str(row["group"])) for row in own for name in row["links"]}
            links = self.links(pod)
            assert {(name, link["group"]) for name, link in links.items()} == wanted
            assert all("UP" in link["flags"] for link in links.values())
            held = [
                f"{address['local']}/{address['prefixlen']}"
                for link in links.values()
                for address in link["addr_info"]
                if address["scope"] == "global"
            ]
            assert sorted(held) == sorted(each["address"] for row in own for each in row["addresses"])
        assert self.node_links() == {"lo", *(f"eth{number}" for number in range(1, NICS + 1)), *vlans}
        return {row["containerID"] for row in rows}


def ip(*arguments: str) -> str:
    done = subprocess.run(
        ["ip", *arguments], env=tools.environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
    return done.stdout


@contextmanager
def api_for(node: CrashNode) -> Iterator[None]:
    """An API server in a thread of its own, with a door inside the node, holding what the operator would write."""
    ready, stop = threading.Event(), threading.Event()

    async def main() -> None:
        door = listen_in(Path("/run/netns") / node.name, LOOPBACK, 0)
        write_kubeconfig(node.kubeconfig, f"http://127.0.0.1:{door.getsockname()[1]}")
        async with trio.open_nursery() as nursery:
            server = await nursery.start(partial(serve_api, extra_sockets=[door]))
            node.store = server.api.store
            kubernetes = connect(str(write_kubeconfig(node.folder / "outside.conf", server.url)))
            await nursery.start(kubernetes.serve)
            for resource in OUR_RESOURCES:
                await kubernetes.create(CRDS, crd(resource))
            await kubernetes.create(NAMESPACES, {"metadata": {"name": SYSTEM_NAMESPACE}})
            await kubernetes.create(NODES, {"metadata": {"name": NODE}})
            network, cidr, pools = network_objects("net-a", NICS, node=NODE)
            await kubernetes.create(NETWORKS, network)
            await kubernetes.create(CIDRS, cidr)
            for pool in pools:
                await kubernetes.create(IPPOOLS, pool)
            ready.set()
            await trio.to_thread.run_sync(stop.wait)
            nursery.cancel_scope.cancel()

    thread = threading.Thread(target=trio.run, args=[main])
    thread.start()
    try:
        assert ready.wait(LIMIT_SECONDS)
        yield
    finally:
        stop.set()
        thread.join(LIMIT_SECONDS)


@pytest.fixture(scope="module")
def crash_node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrashNode]:
    """One node for a whole table of crashes; ``request.param`` is the ``plugin`` block of its pods.

    Its pod ``keeper`` is attached before the first crash, and ``kept`` is the answer that it got.
    """
    node = CrashNode(tmp_path_factory.mktemp("crash"), request.param)
    try:
        with api_for(node):
            node.start()
            node.kept = node.call("ADD", "keeper")
            assert "ips" in node.kept, node.kept
            node.until(lambda: node.mirrored_pods() == {"keeper"})
            node.kill()
            yield node
    finally:
        node.close()
