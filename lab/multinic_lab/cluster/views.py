"""Tables of a cluster for people; pure functions from objects to rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from multinic_core.cli.terminal import table
from multinic_core.model import CIDR, HostInterface, MultiNicNetwork
from multinic_core.rows import rows_of
from multinic_lab.cluster.pods import LabPod


def nic_table(hosts: Sequence[HostInterface], cidr: CIDR | None = None) -> Table:
    """Nodes × NICs: each NIC's address, and its pod CIDR once there is one."""
    names = sorted({nic.interface_name for host in hosts for nic in host.spec.interfaces})
    blocks = pod_blocks(hosts, cidr) if cidr else {}
    rows = []
    for host in hosts:
        addresses = {nic.interface_name: nic.host_ip or "" for nic in host.spec.interfaces}
        cells = [_cell(addresses.get(name, "-"), blocks.get((host.name, name))) for name in names]
        rows.append((host.name, *cells))
    return table("", ("NODE", *names), rows)


def pod_blocks(hosts: Sequence[HostInterface], cidr: CIDR) -> dict[tuple[str, str], str]:
    """Node and NIC to pod CIDR, whether the CIDR lists its nodes or not."""
    if cidr.spec.compact:
        return {(host.name, row.interface_name): row.pod_cidr for host in hosts for row in rows_of(cidr, host)}
    listed = [host for entry in cidr.spec.cidr for host in entry.hosts]
    return {(host.host_name, host.interface_name): host.pod_cidr for host in listed}


def _cell(address: str, block: str | None) -> str:
    return f"{address}\n{block}" if block else address


def pod_table(pods: Sequence[LabPod]) -> Table:
    """Pods with the address of each interface."""
    names = sorted({ifname for pod in pods for ifname, _ in pod.interfaces})
    rows = [(pod.name, pod.node, *(dict(pod.interfaces).get(name, "-") for name in names)) for pod in pods]
    return table("", ("POD", "NODE", *names), rows)


def route_lines(found: Mapping[str, Any]) -> list[str]:
    """Rules and routes of ours on one node, as ``ip rule`` and ``ip route`` print them."""
    rules = [f"{rule['priority']}: from {rule['src']} lookup {rule['table']}" for rule in found["rules"]]
    routes = [
        f"{route['dst']} via {route['gateway']} dev {route['ifname']} table {route['table']}"
        for route in found["routes"]
    ]
    return [*rules, *routes]


def status_phrase(network: MultiNicNetwork) -> str:
    """The status of a network in one line."""
    status = network.status
    if status is None:
        return "no status yet"
    words = f"config {status.config_status or '-'}, routes {status.route_status or '-'}"
    return f"{words} ({status.message})" if status.message else words
