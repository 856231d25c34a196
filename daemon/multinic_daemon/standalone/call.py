"""One call from the runtime's words to what is printed."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import trio

from multinic_core.errors import DaemonUnavailableError, KernelError, MultinicError
from multinic_core.model import pool_name
from multinic_core.plan import NodeView
from multinic_core.registry import Registry, load_plugins
from multinic_daemon.calls.request import CniReply, CniRequest
from multinic_daemon.calls.server import error_reply
from multinic_daemon.discovery.discovery import Discovery
from multinic_daemon.discovery.held import held_nics
from multinic_daemon.engine import Engine, serve_request
from multinic_daemon.journal.journal import Journal
from multinic_daemon.logs import start_logging
from multinic_daemon.podlinks import apply
from multinic_daemon.recovery.recovery import recover
from multinic_daemon.standalone.cluster import OneNetwork
from multinic_daemon.standalone.config import (
    StandaloneNetwork,
    engine_netconf,
    read_data_dir,
    read_document,
    read_network,
)
from multinic_daemon.standalone.pools import pool_objects
from multinic_daemon.standalone.stock import held_elsewhere, release_dead, take_stock
from multinic_daemon.standalone.turn import WORK_SECONDS, alarm, turn

log = logging.getLogger(__name__)

NODE = "this machine"
"""Where messages name the node."""
VARIABLES = ("CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH")
CHOOSING = ("ADD", "STATUS")
"""Commands that decide something, and so read all of the configuration; the others go by the journal, and load plugins
only where actions of these are to be undone or checked."""


def answer(plugin: str, environment: Mapping[str, str], stdin: bytes) -> tuple[int, bytes]:
    """Serve one call in this process, from its main thread.

    Args:
        plugin: ``multi-nic`` or ``multi-nic-ipam``.
        environment: with the ``CNI_*`` variables.

    Returns:
        The exit status and what to print, CNI error JSON in case of failure.
    """
    start_logging("warning")
    command, container_id, netns, ifname, args, path = (environment.get(key, "") for key in VARIABLES)
    request = CniRequest(plugin, command, container_id, netns, ifname, args, path, stdin)
    try:
        reply = _serve(request)
    except MultinicError as error:
        reply = error_reply(error, request)
    except Exception as error:  # the outermost handler
        log.exception("call failed")
        reply = error_reply(MultinicError(f"standalone: unexpected {error!r}"), request)
    return reply.status, reply.body


def _serve(request: CniRequest) -> CniReply:
    document = read_document(request.stdin)
    folder = read_data_dir(document)
    registry, network = Registry(), None
    bounded = partial(alarm, WORK_SECONDS, partial(_end, request))
    if request.command in CHOOSING:
        with bounded():  # plugins may be anybody's
            registry = load_plugins()
            network = read_network(request.plugin, document, registry)
    engine_request = replace(request, stdin=network.netconf if network else engine_netconf(document))
    with turn(folder), bounded():
        return trio.run(_serve_in_turn, engine_request, folder, registry, network)


def _end(request: CniRequest) -> None:
    """Answer for a kernel or a plugin that hangs, and end this process; the next one finishes what it leaves."""
    late = DaemonUnavailableError(f"standalone: {request.command} not done within {WORK_SECONDS:g} seconds")
    sys.stdout.buffer.write(error_reply(late, request).body)
    sys.stdout.buffer.flush()
    os._exit(1)


async def _serve_in_turn(
    request: CniRequest, folder: Path, registry: Registry, network: StandaloneNetwork | None
) -> CniReply:
    journal, refused = Journal.open_or_replace(folder)
    try:
        if refused:
            log.error("journal refused, what is held is found in the kernel", extra={"cause": refused})
        if network is None and journal.acting():
            registry = load_plugins()  # who did something outside the machine has to undo it
        view = NodeView(NODE, {})
        engine = Engine(registry, journal, apply, OneNetwork(None), lambda: view)
        await recover(engine)
        if network:
            view = await _look(network, journal)  # only now: recovering brings devices back as they were
            name = network.network.name
            taken = held_elsewhere(journal, {pool_name(name, str(pool.network)) for pool in network.pools})
            pools, problems = pool_objects(name, network.pools, view, taken)
            engine.cluster = OneNetwork(network.network, pools, problems)
        if network and request.command == "ADD":
            await take_stock(engine, pools)
        reply = await serve_request(engine, request)
        try:
            await release_dead(engine)
        except KernelError as error:
            log.warning("nothing proven dead this time", extra={"cause": str(error)})
        return reply
    finally:
        journal.close()


async def _look(network: StandaloneNetwork, journal: Journal) -> NodeView:
    """This machine's NICs now, also those that sit in pods: their addresses are taken, and the network is theirs."""
    held = partial(held_nics, journal.held_devices, lambda: NodeView(NODE, {}))
    discovery = Discovery(NODE, held=held)
    discovery.set_declared(dict.fromkeys(network.named, ()))
    return await discovery.look()
