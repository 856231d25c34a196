"""A node of another generation in memory: what it left, and what this generation makes of it, told as words.

For tests that kill the process while it happens, as :mod:`multinic_daemon.testing.actions` is for the rest.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import trio

from multinic_core.model import IPPOOLS
from multinic_daemon.testing.kernel import make_link
from multinic_daemon.testing.rig import Rig

POOL = "net-a-192.168.0.0-24"
ARGS = "K8S_POD_NAMESPACE=default;K8S_POD_NAME={}"


def foreign_node(folder: Path, *, alive: bool = True) -> Rig:
    """``web-0`` with address .1, and a link in container c1 when ``alive``; ``db-0`` with .2 and a link in c2. Nothing
    is taken over yet. Making it again on the same folder is the same node later."""
    rig = Rig(folder, adopting=False)
    for container, number in (("c1", 1), ("c2", 2)):
        fresh = not (folder / "netns" / container).exists()
        netns = rig.pod(container)
        if fresh and (alive or container == "c2"):
            make_link(netns, "net1-0", f"192.168.0.{number}/18")
    entries = [
        {"pod": pod, "namespace": "default", "index": index, "address": f"192.168.0.{index}"}
        for pod, index in (("web-0", 1), ("db-0", 2))
    ]
    patch = {"spec": {"allocations": entries}}
    trio.run(partial(rig.kubernetes.patch, IPPOOLS, POOL, patch))
    return rig


def main() -> None:
    """``sys.argv``: nothing, the folder, then ``ADOPT``, ``DEL`` (of web-0), ``DEAD`` (no pod lives, let go)."""
    words = sys.argv[2:]
    rig = foreign_node(Path(sys.argv[1]), alive="DEAD" not in words)
    for word in words:
        match word:
            case "ADOPT":
                rig.adopt()
            case "DEL":
                trio.run(partial(rig.call, "DEL", args=ARGS.format("web-0")))
            case "DEAD":
                trio.run(rig.adoption.release_dead)
            case _:
                raise ValueError(f"action {word!r}: not one of those above")
