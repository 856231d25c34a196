"""One request to one reply: reads the call, runs the command within its time, prints the result."""

from __future__ import annotations

import json
from functools import partial

import trio

from multinic_core.cni import version_json
from multinic_core.errors import DaemonUnavailableError, InvocationError
from multinic_daemon.engine.addresses import allocate_addresses
from multinic_daemon.engine.answer import NEWEST, print_result
from multinic_daemon.engine.attach import attach
from multinic_daemon.engine.check import check
from multinic_daemon.engine.context import REQUEST_SECONDS, Engine
from multinic_daemon.engine.detach import collect, delete
from multinic_daemon.engine.invocation import read_invocation, read_key
from multinic_daemon.engine.status import status
from multinic_daemon.request import CniReply, CniRequest, Handler


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
        key = read_key(request)
        async with engine.removing.enter(key.network):
            await delete(engine, key, request.netns)
        return b""
    call = read_invocation(request)
    match request.command:
        case "ADD":
            await engine.cluster.ready()
            if call.plugin == "multi-nic":
                result = await attach(engine, call)
            else:
                result = await allocate_addresses(engine, call, request.stdin)
            return print_result(result, call.netconf.cni_version)
        case "CHECK":
            await check(engine, call)
        case "GC":
            await collect(engine, call)
        case "STATUS":
            await status(engine, call)
        case _:
            raise InvocationError(
                f"CNI_COMMAND: found {request.command!r}, expected ADD, DEL, CHECK, GC, STATUS or VERSION"
            )
    return b""
