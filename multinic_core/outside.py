"""Steps that others do: CNI executables on the node, and actions that a plugin brings.

A plan only names them, with everything that doing, checking and undoing need. The daemon runs them, each bounded in
time, in worker threads or processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RunExecutable:
    """Call a CNI executable for one link; what both kinds of them need."""

    ifname: str
    """Inside the pod: the executable's ``CNI_IFNAME``."""
    parent: str
    """ifname of the NIC on the node."""
    config: Mapping[str, Any]
    """Network configuration for it, with ``cniVersion``, ``name`` and its ``type``, of an IPAM inside ``ipam``."""
    path: str = ""
    """Where executables were looked for when it was found, as in ``CNI_PATH``; the daemon fills it in."""
    result: Mapping[str, Any] | None = None
    """What it answered to ADD; None: it has not been run, or did not come to an end. The daemon fills it in."""


@dataclass(frozen=True, slots=True)
class RunIpam(RunExecutable):
    """Let an IPAM executable give the addresses of one link; undone by its DEL."""


@dataclass(frozen=True, slots=True)
class RunPlugin(RunExecutable):
    """Let a main plugin's executable make one link; undone by its DEL."""


@dataclass(frozen=True, slots=True)
class Act:
    """Let an action of a plugin do something outside the node's kernel, such as a call to a cloud."""

    action: str
    """``name`` of a registered :class:`multinic_core.hookspecs.Action`."""
    arguments: Mapping[str, Any]
    """Plain JSON: what doing, checking and undoing need."""
    ifname: str = ""
    """The link that it is for, or ""."""
