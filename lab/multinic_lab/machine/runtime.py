"""Runs CNI executables as a container runtime does: found in CNI_PATH by ``type``, in the node's network namespace,
bounded.

Source: CNI specification 1.1.0, sections 2 and 3; libcni for the chain of a list: ADD in order with each result as
the next one's ``prevResult``, DEL in reverse with the last result.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multinic_core.cni.delegates import Delegate
from multinic_core.errors import MultinicError
from multinic_lab.machine import netns, processes
from multinic_lab.machine.delegate import allows_check
from multinic_lab.machine.layout import Layout

TIMEOUT_SECONDS = 120.0
"""The runtime's own limit for one request. Source: kubelet flag --runtime-request-timeout, default 2 minutes."""
SHARED_FOLDERS = ("/opt/cni/bin", "/usr/lib/cni")
"""Where a node's other CNI executables are, after those of the lab."""


class CniError(MultinicError):
    """A CNI executable failed.

    Attributes:
        code: ``code`` of its error JSON, 0 when it printed none.
    """

    cni_code = 999
    reason = "CniFailed"

    def __init__(self, message: str, *, code: int = 0, details: str = "") -> None:
        super().__init__(message, details=details)
        self.code = code


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The namespace of one attempt to run a pod."""

    container_id: str
    """64 hex digits."""
    netns: Path


@dataclass(frozen=True, slots=True)
class Attached:
    """One network that was added, with all that its DEL needs."""

    delegate: Delegate
    result: Mapping[str, Any] | None
    """The last result of the chain; None when ADD failed."""


class CniRuntime:
    """Calls CNI executables for the pods of one node."""

    def __init__(self, layout: Layout, node: str, folders: Sequence[str] = SHARED_FOLDERS) -> None:
        self._node_netns = netns.path_of(layout.node_netns(node))
        self._folders = (str(layout.bin_dir(node)), *folders)

    def find(self, delegate: Delegate) -> None:
        """Make sure that the executables of the chain exist. Raises CniError; there is nothing to delete then."""
        for config in delegate.configs:
            self._find(str(config["type"]))

    async def add(self, sandbox: Sandbox, delegate: Delegate) -> Attached:
        """Run the chain's ADDs.

        Raises:
            CniError: one failed; the caller then deletes what may be half there.
        """
        result: Mapping[str, Any] | None = None
        for config in delegate.configs:
            stdin = dict(config) | ({"prevResult": result} if result is not None else {})
            result = await self.call("ADD", sandbox, delegate, stdin)
        return Attached(delegate, result)

    async def delete(self, sandbox: Sandbox, attached: Attached) -> None:
        """Run the chain's DELs with the configurations of its ADDs, last first. Raises CniError."""
        for config in reversed(attached.delegate.configs):
            stdin = dict(config)
            if attached.result is not None and allows_check(config):
                stdin["prevResult"] = attached.result
            await self.call("DEL", sandbox, attached.delegate, stdin)

    async def check(self, sandbox: Sandbox, attached: Attached) -> None:
        """Run the chain's CHECKs. Raises CniError, also for a version that has no CHECK."""
        for config in attached.delegate.configs:
            if not allows_check(config):
                raise CniError(f"{config['type']} CHECK: cniVersion {config.get('cniVersion')!r} has no CHECK")
            stdin = dict(config) | {"prevResult": attached.result}
            await self.call("CHECK", sandbox, attached.delegate, stdin)

    async def call(
        self, command: str, sandbox: Sandbox, delegate: Delegate, stdin: Mapping[str, Any]
    ) -> Mapping[str, Any] | None:
        """One run of one executable; the JSON it printed, None when it printed nothing. Raises CniError."""
        executable = self._find(str(stdin["type"]))
        environment = {key: value for key, value in os.environ.items() if not key.startswith("CNI_")} | {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": sandbox.container_id,
            "CNI_NETNS": str(sandbox.netns),
            "CNI_IFNAME": delegate.selection.ifname,
            "CNI_ARGS": delegate.cni_args,
            "CNI_PATH": ":".join(self._folders),
        }
        ended = await processes.run(
            [str(executable)],
            namespace=self._node_netns,
            env=environment,
            stdin=json.dumps(stdin).encode(),
            timeout_seconds=TIMEOUT_SECONDS,
        )
        return _read(f"{stdin['type']} {command} {delegate.selection.ifname}", ended)

    def _find(self, name: str) -> Path:
        if "/" in name or name in {"", ".", ".."}:
            raise CniError(f"plugin type {name!r} is not a file name")
        for folder in self._folders:
            if os.access(path := Path(folder, name), os.X_OK):
                return path
        raise CniError(f"failed to find plugin {name!r} in path {list(self._folders)}")


def _read(what: str, ended: processes.Completed) -> Mapping[str, Any] | None:
    if ended.timed_out:
        raise CniError(f"{what}: no answer within {TIMEOUT_SECONDS:.0f} s")
    document: Any = None
    if ended.stdout.strip():
        try:
            document = json.loads(ended.stdout)
        except ValueError:
            document = ended.stdout.decode(errors="replace")
    if ended.status:
        said = document if isinstance(document, dict) else {"msg": str(document or "").strip()}
        stderr = ended.stderr.decode(errors="replace").strip()
        message = said.get("msg") or stderr or f"ended with status {ended.status}"
        code = said.get("code")
        raise CniError(
            f"{what}: {message}", code=code if isinstance(code, int) else 0, details=str(said.get("details") or stderr)
        )
    if document is not None and not isinstance(document, dict):
        raise CniError(f"{what}: printed {document!r}, expected a JSON object")
    return document
