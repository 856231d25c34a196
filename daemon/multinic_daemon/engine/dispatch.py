"""One request to one reply: reads the call, runs the command within its time, prints the result."""

from __future__ import annotations

import json
from functools import partial

import trio

from multinic_core.cni import version_json
from multinic_core.errors import DaemonUnavailableError, InvocationError
from multinic_daemon.calls.request import PLAN, CniReply, CniRequest, Handler
from multinic_daemon.calls.tombstone_files import leave
from multinic_daemon.cluster import SYNC_SECONDS
from multinic_daemon.engine.addresses import allocate_addresses
from multinic_daemon.engine.answer import NEWEST, print_result
from multinic_daemon.engine.attach import attach
from multinic_daemon.engine.check import check
from multinic_daemon.engine.context import REQUEST_SECONDS, Engine
from multinic_daemon.engine.detach import collect
from multinic_daemon.engine.invocation import read_invocation, read_key, read_pod
from multinic_daemon.engine.planned import planned
from multinic_daemon.engine.status import status
from multinic_daemon.engine.takenover import delete_any


def handler(engine: Engine) -> Handler:
    """The engine as the socket server calls it."""
    return partial(serve_request, engine)


async def serve_request(engine: Engine, request: CniRequest) -> CniReply:
    """Serve one CNI call.

    Raises:
        MultinicError: as CNI error JSON it is what the runtime gets. Whatever it is, a failed ADD has left nothing.
    """
    try:
        with trio.fail_after(REQUEST_SECONDS):
            return CniReply(0, await _serve(engine, request))
    except trio.TooSlowError as error:
        undone = "; nothing of it is left" if request.command == "ADD" else ""
        busy = f" ({found})" if (found := engine.busy()) else ""
        raise DaemonUnavailableError(
            f"{request.command}: not done within {REQUEST_SECONDS:g} seconds{undone}; try again later{busy}"
        ) from error


async def _serve(engine: Engine, request: CniRequest) -> bytes:
    if request.command == "VERSION":
        return json.dumps(version_json(NEWEST)).encode()
    if request.command == "DEL":
        await _delete(engine, request)
        return b""
    if request.command == PLAN:
        await engine.cluster.ready()
        return json.dumps(await planned(engine, request)).encode()
    call = read_invocation(request)
    match request.command:
        case "ADD":
            await engine.cluster.ready()
            await engine.gate.passed(SYNC_SECONDS)
            if call.plugin == "multi-nic":
                result = await attach(engine, call)
            else:
                result = await allocate_addresses(engine, call, request.stdin)
            return print_result(result, call.netconf.cni_version)
        case "CHECK":
            require_complete(engine)
            await check(engine, call)
        case "GC":
            require_complete(engine)
            await collect(engine, call)
        case "STATUS":
            await status(engine, call)
        case _:
            raise InvocationError(
                f"CNI_COMMAND: found {request.command!r}, expected ADD, DEL, CHECK, GC, STATUS or VERSION"
            )
    return b""


async def _delete(engine: Engine, request: CniRequest) -> None:
    """DEL, which a journal that does not yet know its node keeps for when it does."""
    key = read_key(request)
    if not engine.gate.is_open and not engine.journal.complete and engine.tombstones is not None:
        leave(engine.tombstones, request)
    else:
        async with engine.removing.enter(key.network):
            await delete_any(engine, key, request.netns, read_pod(request))


def require_complete(engine: Engine) -> None:
    """Raise DaemonUnavailableError where the journal does not yet know what is attached on its node."""
    if not engine.journal.complete:
        engine.gate.check()
