"""CNI executables of the node: found by type, called as the specification says, their answers read.

Source: CNI specification 1.1.0, sections 2 (execution protocol), 4 (delegation) and 5 (results and errors).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from multinic_core.errors import ConfigError, DaemonUnavailableError, ExecutableError
from multinic_daemon.outside.orphans import VARIABLE
from multinic_daemon.outside.process import OUTPUT_LIMIT, OutputTooLongError, run_process

EXECUTABLE_SECONDS = 30.0
"""For one call of one executable. Half of what a whole call of ours may take, so that its failure can be told."""
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.+\-]*")
OURS = ("multi-nic", "multi-nic-ipam")
"""They would ask this daemon, and wait for it while it waits for them."""
FIRST_CHECK = (0, 4, 0)
"""``cniVersion`` from which there is CHECK, and ``prevResult`` comes with it and with DEL."""
TAIL = 2000
"""Characters of an executable's standard error that an error repeats."""


class RefusedError(ExecutableError):
    """An executable ended by itself and says that it failed, or could not be started at all."""


@dataclass(frozen=True, slots=True)
class Site:
    """What one executable is called for."""

    container_id: str
    netns: str
    """Path; "" in DEL where it is gone."""
    ifname: str
    args: str
    """``CNI_ARGS``."""
    subject: str
    """As errors name it, such as ``NIC 'eth1', link 'net1-0'``."""
    mark: str = ""
    """By which a later daemon knows the process as this attachment's."""


def search_path(*parts: str) -> str:
    """One ``CNI_PATH`` of several, each folder once; relative ones are left out."""
    folders = [folder for part in parts for folder in part.split(os.pathsep) if folder.startswith("/")]
    return os.pathsep.join(dict.fromkeys(folders))


def find(name: object, path: str, field: str, otherwise: str = "") -> Path:
    """The executable of a type.

    Args:
        path: folders, as ``search_path`` gives them.
        field: of the configuration, such as ``plugin.type``.
        otherwise: what else the field might have said, such as ``installed main plugins are ['ipvlan']``.

    Raises:
        ConfigError: it is no name of an executable, or one of ours.
        ExecutableError: there is none.
    """
    more = f"; {otherwise}" if otherwise else ""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ConfigError(f"{field}: found {name!r}, expected the name of a CNI executable, without a folder{more}")
    if name in OURS:
        raise ConfigError(f"{field}: found {name!r}, which would call itself without end{more}")
    folders = path.split(os.pathsep) if path else []
    for folder in folders:
        file = Path(folder, name)
        if file.is_file() and os.access(file, os.X_OK):
            return file
    raise ExecutableError(f"{field}: no executable {name!r} in {folders!r}{more}")


def allows_check(config: Mapping[str, Any]) -> bool:
    """Whether the version of this configuration knows CHECK."""
    parts = str(config.get("cniVersion", "0.1.0")).split(".")
    return tuple(int(part) if part.isdigit() else 0 for part in parts) >= FIRST_CHECK


async def run_executable(
    file: Path, command: str, site: Site, config: Mapping[str, Any], path: str, *, seconds: float | None = None
) -> Mapping[str, Any] | None:
    """What it printed; None when it printed nothing, as DEL and CHECK do.

    Args:
        path: ``CNI_PATH`` for it, by which it finds others.

    Raises:
        RefusedError: it failed by its own word; with its own code where it gave one.
        ExecutableError: it ended in another way than it should.
        DaemonUnavailableError: it did not end in time, and was killed.
    """
    seconds = EXECUTABLE_SECONDS if seconds is None else seconds
    subject = f"{site.subject}: {command} of executable {str(file)!r}"
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": site.container_id,
        "CNI_NETNS": site.netns,
        "CNI_IFNAME": site.ifname,
        "CNI_ARGS": site.args,
        "CNI_PATH": path,
        VARIABLE: site.mark,
    }
    try:
        done = await run_process([str(file)], environment, json.dumps(config).encode(), seconds)
    except OSError as error:
        raise RefusedError(f"{subject}: cannot be started: {error}") from error
    except trio.TooSlowError as error:
        raise DaemonUnavailableError(f"{subject}: did not end within {seconds:g} seconds and was killed") from error
    except OutputTooLongError as error:
        raise ExecutableError(f"{subject}: printed more than {OUTPUT_LIMIT} bytes and was killed") from error
    if done.status:
        raise _failure(subject, done.status, done.output, done.errors)
    if not done.output.strip():
        return None
    answer = _object(done.output)
    if answer is None:
        raise ExecutableError(f"{subject}: printed {_short(done.output)!r}, expected a CNI result")
    return answer


def _failure(subject: str, status: int, output: bytes, errors: bytes) -> ExecutableError:
    """The executable's own error, with what it printed beside."""
    answer = _object(output) or {}
    code, message, details = answer.get("code"), answer.get("msg"), answer.get("details")
    said = _short(errors)
    if not isinstance(code, int) or not isinstance(message, str):
        if status < 0:
            return ExecutableError(f"{subject}: ended by signal {-status}", details=said)
        return RefusedError(f"{subject}: failed with status {status}, printed {_short(output)!r}", details=said)
    more = [details] if isinstance(details, str) and details else []
    return RefusedError(f"{subject}: {message}", code=code, details="\n".join([*more, *([said] if said else [])]))


def _object(output: bytes) -> Mapping[str, Any] | None:
    try:
        found = json.loads(output)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _short(output: bytes) -> str:
    return output.decode(errors="replace").strip()[-TAIL:]
