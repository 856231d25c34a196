"""What of multinic is on the nodes: for the last page of a demo, where the answer must be nothing.

Looked at from outside the daemon: pod namespaces and links by the kernel, routes and rules in each node's namespace,
processes by /proc; the journal through the daemon's own ``dump``.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multinic_core.errors import MultinicError
from multinic_lab.machine import links, netns
from multinic_lab.machine.layout import Layout
from multinic_lab.machine.spec import NodeSpec

KERNEL_TABLES = frozenset({253, 254, 255})
"""default, main, local. Source: linux/rtnetlink.h, enum rt_class_t."""
KERNEL_RULES = frozenset({(0, 255), (32766, 254), (32767, 253)})
"""(priority, table) of the rules that every network namespace starts with."""


def added_routes() -> dict[str, Any]:
    """``routes`` outside the kernel's tables and ``rules`` beside the kernel's, of the calling thread's namespace."""
    return {
        "routes": [route for route in links.list_routes() if route["table"] not in KERNEL_TABLES],
        "rules": [rule for rule in links.list_rules() if (rule["priority"], rule["table"]) not in KERNEL_RULES],
    }


def node_leftovers(layout: Layout, node: NodeSpec) -> dict[str, list[Any]]:
    """What is on a node that neither the lab nor the kernel put there, by kind; every list is empty when all is gone.

    Blocking. ``links`` are those beside lo and the node's NICs.
    """
    nics = {"lo", *(nic.ifname for nic in node.nics)}

    def look() -> dict[str, Any]:
        return {"links": [link for link in links.list_links() if link["ifname"] not in nics], **added_routes()}

    pods = layout.pod_netns_names(node.name)
    processes = netns.processes_in([netns.path_of(name) for name in pods]) if pods else {}
    return {
        **netns.run_in(netns.path_of(layout.node_netns(node.name)), look),
        "tombstones": _tombstones(layout.run_dir(node.name)),
        "pod_namespaces": pods,
        "pod_links": [link for name in pods for link in _pod_links(name)],
        "pod_processes": [{"pid": pid, "command": command} for pid, command in processes.items()],
    }


def _pod_links(name: str) -> list[dict[str, Any]]:
    """Links other than ``lo`` in a pod's namespace; [] when it is gone."""
    with contextlib.suppress(MultinicError):
        found = netns.run_in(netns.path_of(name), links.list_links)
        return [link | {"netns": name} for link in found if link["ifname"] != "lo"]
    return []


def _tombstones(run_dir: Path) -> list[str]:
    """Names of DELs that wait for the daemon."""
    folder = run_dir / "tombstones"
    return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []


def journal_rows(text: str) -> list[dict[str, Any]]:
    """The attachments in the JSON that ``multinic-daemon dump --json`` prints, each with its addresses.

    Raises:
        ValueError: the text is not such JSON.
    """
    document = json.loads(text)
    rows = document.get("attachments") if isinstance(document, dict) else document
    if not isinstance(rows, list):
        raise ValueError(f"found {text[:80]!r}, expected an object with 'attachments'")  # noqa: TRY004
    return rows


def problems(nodes: Mapping[str, Mapping[str, list[Any]]]) -> list[str]:
    """One sentence for each thing that is left."""
    return [
        f"{node}: {kind.replace('_', ' ')}: {item if isinstance(item, str) else json.dumps(item)}"
        for node, kinds in nodes.items()
        for kind, items in kinds.items()
        for item in items
    ]
