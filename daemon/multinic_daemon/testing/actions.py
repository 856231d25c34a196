"""What happens on one node in memory, told as words: for tests that kill the process while it happens.

``main`` makes a :class:`~multinic_daemon.testing.rig.Rig` on the folder that is the first argument and carries out the
others in order. Containers are ``c1`` and ``c2``; every word is for ``c1`` unless it says so.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import trio

from multinic_core.errors import KernelError
from multinic_daemon.recovery.recovery import recover
from multinic_daemon.recovery.sweep import serve_sweep
from multinic_daemon.recovery.tombstones import FOLDER, replay
from multinic_daemon.testing.kernel import refuse
from multinic_daemon.testing.rig import Rig

NOTHING: dict[str, Any] = {"cni.dev/valid-attachments": []}


def run_actions(rig: Rig, *words: str) -> None:
    """Carry them out in turn.

    ``ADD``, ``DEL``, ``GC`` (of everything) and ``ADD c2`` are CNI calls; ``HOLD`` is an ADD of ``multi-nic-ipam``;
    ``RECOVER`` and ``REPLAY`` what a new daemon does; ``REBOOT`` makes another boot; ``SPOIL`` removes a link behind
    the daemon's back; ``TOMBSTONE`` leaves the note of a DEL; ``REFUSE step`` has the kernel refuse this step and undo
    nothing; ``KILL step`` ends the process at this step of the kernel; ``VLAN id`` has later pods lie on this VLAN.
    ``SWEEP`` is a DEL that the kernel refuses at first, and what a running daemon then makes of it.
    """
    for word in words:
        kind, _, rest = word.partition(" ")
        match kind:
            case "ADD" | "DEL":
                trio.run(rig.call, kind, rest or "c1")
            case "SWEEP":
                trio.run(_refused_and_swept, rig)
            case "GC":
                trio.run(lambda: rig.call("GC", "", netns="", **NOTHING))
            case "HOLD":
                trio.run(lambda: rig.call("ADD", executable="multi-nic-ipam", masters=["eth1", "eth2"]))
            case "RECOVER":
                trio.run(recover, rig.engine)
            case "REPLAY":
                trio.run(replay, rig.engine, rig.folder / "run" / FOLDER)
            case "REBOOT":
                rig.restart(boot="boot-2")
            case "SPOIL":
                Path(rig.pod(), "net1-1").unlink()
            case "TOMBSTONE":
                leave_tombstone(rig)
            case "REFUSE":
                rig.kernel.before_step, rig.kernel.undo = refuse(rest), False
            case "VLAN":
                rig.plugin["vlan"] = int(rest)
            case "KILL":
                rig.kernel.before_step = partial(_die_at, rest)
            case _:
                raise ValueError(f"action {word!r}: not one of those above")


async def _refused_and_swept(rig: Rig) -> None:
    rig.kernel.before_step = refuse("remove")
    with suppress(KernelError):
        await rig.call("DEL")
    rig.kernel.before_step = lambda step: None
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_sweep, rig.engine)


def leave_tombstone(rig: Rig) -> None:
    """What the executable leaves of a DEL of ``c1`` when no daemon is there."""
    variables = {"PLUGIN": "multi-nic", "COMMAND": "DEL", "CONTAINERID": "c1", "IFNAME": "net1", "NETNS": ""}
    frame = b"".join(f"CNI_{key}={value}\0".encode() for key, value in variables.items()) + b"\0"
    file = rig.folder / "run" / FOLDER / "a1"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(frame + json.dumps(rig.netconf()).encode())


def _die_at(wanted: str, step: str) -> None:
    if step == wanted:
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """``sys.argv``: nothing, the folder, the words."""
    run_actions(Rig(Path(sys.argv[1])), *sys.argv[2:])
