"""One audit from the command line's wishes to what is printed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import trio

from multinic_core.cli.terminal import console, print_json
from multinic_core.errors import MultinicError
from multinic_core.kube import connect
from multinic_core.ports import Kubernetes
from multinic_daemon.audit import show
from multinic_daemon.audit.looks import Result, examine
from multinic_daemon.audit.repair import Repaired, repair, require_daemon
from multinic_daemon.audit.sources.observe import Node
from multinic_daemon.audit.world import NotCompared


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line says."""

    node: str
    """"" when nobody said."""
    run_dir: Path
    socket: Path
    kubeconfig: str | None
    """None: the pod's service account."""
    no_api: bool
    repair: bool
    as_json: bool


async def run_audit(wanted: Wanted) -> int:
    """Audit, repair if asked to, print; how many differences are left.

    Raises:
        MultinicError: it could not be carried out; nothing has been changed, and what was to be printed is not.
    """
    if wanted.repair:
        await trio.to_thread.run_sync(require_daemon, wanted.socket)
    result = await examine(Node(wanted.run_dir, wanted.socket, wanted.node, _kubernetes(wanted)).look)
    if not wanted.as_json:
        console().print(show.as_table(result.findings))
        for line in show.summary(result):
            click.echo(line)
    repaired = await trio.to_thread.run_sync(partial(_repair, wanted, result)) if wanted.repair else []
    if wanted.as_json:
        print_json(show.as_json(wanted.node, result, repaired))
    return len(result.differences) - sum(not each.problem for each in repaired)


def _kubernetes(wanted: Wanted) -> Kubernetes | NotCompared:
    """The API, or why it is left out."""
    if wanted.no_api:
        return NotCompared("--no-api")
    if not wanted.node:
        return NotCompared("nobody named this node: --node, or the variable K8S_NODENAME")
    try:
        return connect(wanted.kubeconfig)
    except MultinicError as error:
        return NotCompared(str(error))


def _repair(wanted: Wanted, result: Result) -> list[Repaired]:
    """Free what is dead, saying so line by line unless one JSON object is to say everything."""
    done: list[Repaired] = []
    for each in repair(result.findings, result.world.rows, wanted.run_dir, wanted.socket):
        done.append(each)
        if not wanted.as_json:
            click.echo(show.told(each))
    return done
