"""The whole of multinic on one node: embedded API server, objects as the operator writes them, daemon, executables."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from harness.forms import available, install_form
from harness.namespaces import Node
from harness.processes import Runner, require_alive, staying
from harness.report import BenchError, checkout
from multinic_core.addressing import parse_blocks
from multinic_core.model import (
    CIDRS,
    HOSTNAME_LABEL,
    IPPOOLS,
    MULTI_NIC_IPAM,
    NETNAME_LABEL,
    NETWORKS,
    NODES,
    Resource,
    pool_name,
)

OBSERVED = Path(__file__).with_name("observed.py")
NETWORK = "bench"
NODE_NAME = "bench-node"
SUBNET = "10.64.0.0/10"
INTERFACE_BLOCK, HOST_BLOCK = 5, 6
"""Room for 32 NICs, 64 nodes and 2,046 addresses per NIC of a node."""
READY_SECONDS, SAID_SECONDS = 60, 10


@dataclass(frozen=True, slots=True)
class Stack:
    """A node that is ready to attach pods."""

    node: Node
    executable: Path
    runner: Runner
    main_plugin: str
    daemon: int
    """Process id."""
    socket: Path
    """The daemon's."""
    observations: Path
    """What :mod:`harness.observed` writes."""

    def netconf(self, nics: int) -> dict[str, object]:
        """What the operator's NetworkAttachmentDefinition would hold, with a pod's wish for so many NICs."""
        return {
            "cniVersion": "1.0.0",
            "name": NETWORK,
            "type": "multi-nic",
            "plugin": {"cniVersion": "1.0.0", "type": self.main_plugin, "mode": "bridge"},
            "subnet": SUBNET,
            "masterNets": [self.node.network(position) for position in range(len(self.node.nics))],
            "multiNICIPAM": True,
            "ipam": _ipam(),
            "args": {"cni": {"nics": nics}},
        }

    def call(self, command: str, container_id: str, netns: Path, nics: int) -> tuple[float, bytes]:
        """One whole process of the executable: seconds, and what it printed."""
        environment = self._environment(command, container_id, netns) | {"PATH": os.defpath}
        return self.runner.run(self.executable, environment, json.dumps(self.netconf(nics)).encode())

    def ask(self, command: str, container_id: str, netns: Path, nics: int) -> tuple[float, bytes]:
        """The same call by a caller that runs already: seconds from connecting to the end of the answer, and that.

        Nothing is subtracted, so waking the daemon and waking the caller are in it.

        Raises:
            BenchError: the daemon refused, or is gone.
        """
        variables = self._environment(command, container_id, netns) | {"CNI_PLUGIN": "multi-nic"}
        head = b"".join(f"{name}={value}\0".encode() for name, value in variables.items())
        request, answer = head + b"\0" + json.dumps(self.netconf(nics)).encode(), b""
        begin = time.perf_counter()
        try:
            with socket.socket(socket.AF_UNIX) as daemon:
                daemon.connect(str(self.socket))
                daemon.sendall(request)
                daemon.shutdown(socket.SHUT_WR)
                while part := daemon.recv(1 << 16):
                    answer += part
        except OSError as error:
            raise BenchError(f"{command}: the daemon does not answer: {error}") from error
        seconds = time.perf_counter() - begin
        if answer[:1] != b"0":
            raise BenchError(f"the daemon's answer to {command}: {answer!r}")
        return seconds, answer[1:]

    def inside(self, command: str, container_id: str) -> float:
        """Seconds that the daemon itself took for such a call, the last: from request read to answer written.

        Raises:
            BenchError: it has not said so.
        """
        begin, end = f"{command} {container_id} ", time.monotonic() + SAID_SECONDS
        while time.monotonic() < end:  # it is said after the answer
            for line in reversed(self.observations.read_text().splitlines()):
                if line.startswith(begin):
                    return float(line.removeprefix(begin)) / 1e3
            time.sleep(0.001)
        raise BenchError(f"the daemon has not said how long {begin}took")

    def _environment(self, command: str, container_id: str, netns: Path) -> dict[str, str]:
        return {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container_id,
            "CNI_NETNS": str(netns),
            "CNI_IFNAME": "net1",
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={container_id};K8S_POD_UID=u",
            "CNI_PATH": str(self.executable.parent),
        }


@contextmanager
def stack(node: Node, folder: Path, *, main_plugin: str = "macvlan", form: str = "") -> Iterator[Stack]:
    """Start everything on this node, in whose namespace the process is already; stopped at the end.

    Args:
        folder: for sockets, journal and logs; a tmpfs, as a node's run directory is.
        form: of the executables; "" for the quickest that can be had here.

    Raises:
        BenchError: something did not start.
    """
    kubeconfig, path = folder / "kubeconfig", folder / "run" / "cni.sock"
    observations = folder / "observations"
    api_log, daemon_log = folder / "api.log", folder / "daemon.log"
    executable = install_form(form or available()[-1], folder / "bin", path)
    serve = [sys.executable, "-m", "multinic_lab.apiserver", "--kubeconfig", kubeconfig]
    with staying(serve, api_log, stdout=subprocess.PIPE) as api:
        assert api.stdout is not None
        url = api.stdout.readline().decode().strip()
        if not url:
            api.wait(10)
            require_alive(api, api_log)
        _write_objects(url, node, main_plugin)
        command = [sys.executable, OBSERVED, observations, "--node", NODE_NAME, "--run-dir", path.parent]
        command += ["--socket", path, "--kubeconfig", kubeconfig]
        with staying(command, daemon_log, stdout=subprocess.DEVNULL) as daemon:
            found = Stack(node, executable, Runner(folder), main_plugin, daemon.pid, path, observations)
            end = time.monotonic() + READY_SECONDS
            while (problem := _first_attachment(found)) and time.monotonic() < end:
                require_alive(daemon, daemon_log)
                time.sleep(0.1)
            if problem:
                raise BenchError(f"the daemon is not ready after {READY_SECONDS} seconds: {problem}")
            yield found


def _first_attachment(stack: Stack) -> str:
    """Attach and detach every NIC once; what is wrong, or ""."""
    with stack.node.pod() as pod:
        try:
            stack.call("ADD", "first", pod, len(stack.node.nics))
            stack.call("DEL", "first", pod, len(stack.node.nics))
        except BenchError as error:
            return str(error)
    return ""


def _ipam() -> dict[str, object]:
    return {"type": MULTI_NIC_IPAM, "hostBlock": HOST_BLOCK, "interfaceBlock": INTERFACE_BLOCK, "vlanMode": "l2"}


def operator_objects(node: Node, main_plugin: str) -> list[tuple[Resource, dict[str, object]]]:
    """The node, and what the operator computes for a network with this one node; without apiVersion and kind."""
    (blocks,) = parse_blocks(SUBNET, INTERFACE_BLOCK, HOST_BLOCK, [])
    networks = [node.network(position) for position in range(len(node.nics))]
    objects: list[tuple[Resource, dict[str, object]]] = [(NODES, {"metadata": {"name": NODE_NAME}})]
    entries = []
    for position, nic in enumerate(node.nics):
        pods, block = str(blocks.pod_block(position, 0)), str(blocks.interface_block(position))
        name = pool_name(NETWORK, pods)
        host = {
            "hostIndex": 0,
            "hostName": NODE_NAME,
            "interfaceName": nic,
            "hostIP": node.address(position),
            "podCIDR": pods,
            "ippool": name,
        }
        entries.append(
            {"netAddress": networks[position], "interfaceIndex": position, "vlanCIDR": block, "hosts": [host]}
        )
        pool = {
            "podCIDR": pods,
            "vlanCIDR": block,
            "netAttachDef": NETWORK,
            "hostName": NODE_NAME,
            "interfaceName": nic,
            "excludes": [],
            "allocations": [],
        }
        labels = {HOSTNAME_LABEL: NODE_NAME, NETNAME_LABEL: NETWORK}
        objects.append((IPPOOLS, {"metadata": {"name": name, "labels": labels}, "spec": pool}))
    config = {
        "name": NETWORK,
        "type": main_plugin,
        "subnet": SUBNET,
        "masterNets": networks,
        "hostBlock": HOST_BLOCK,
        "interfaceBlock": INTERFACE_BLOCK,
        "vlanMode": "l2",
    }
    objects.append((CIDRS, {"metadata": {"name": NETWORK}, "spec": {"config": config, "cidr": entries}}))
    spec = {
        "subnet": SUBNET,
        "masterNets": networks,
        "ipam": json.dumps(_ipam()),
        "multiNICIPAM": True,
        "plugin": {"cniVersion": "1.0.0", "type": main_plugin, "args": {"mode": "bridge"}},
        "attachPolicy": {"strategy": "none"},
    }
    objects.append((NETWORKS, {"metadata": {"name": NETWORK}, "spec": spec}))
    return objects


def _write_objects(url: str, node: Node, main_plugin: str) -> None:
    for path in sorted((checkout() / "deploy" / "crds").glob("*.yaml")):
        _post(url, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", yaml.safe_load(path.read_text()))
    for resource, body in operator_objects(node, main_plugin):
        group = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
        kind = {"apiVersion": f"{resource.group}/{resource.version}".lstrip("/"), "kind": resource.kind}
        _post(url, f"{group}/{resource.plural}", kind | body)


def _post(url: str, path: str, body: dict[str, object]) -> None:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url + path, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=20):
            pass
    except OSError as error:
        text = error.read().decode() if isinstance(error, urllib.error.HTTPError) else str(error)
        raise BenchError(f"POST {path}: {text}") from error
