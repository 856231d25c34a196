"""The daemon's unix socket: who may speak, what a bad caller can do, and how it starts and stops."""

import json
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import trio
from multinic_daemon.calls import server
from multinic_daemon.calls.request import COMMANDS, LIMIT, PLUGINS, CniReply, CniRequest, parse_request
from multinic_daemon.calls.server import SocketInUseError, serve_socket
from trio.testing import MockClock

from multinic_core.errors import ConfigError, DaemonUnavailableError, InvocationError


def frame(stdin: bytes = b'{"cniVersion":"1.0.0"}', **variables: str) -> bytes:
    """A request's bytes."""
    wanted = {"CNI_PLUGIN": "multi-nic", "CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1"} | variables
    return "\0".join(f"{key}={value}" for key, value in wanted.items()).encode() + b"\0\0" + stdin


async def ask(path: Path, request: bytes) -> bytes:
    """The whole answer."""
    with trio.fail_after(20):
        async with await trio.open_unix_socket(str(path)) as stream:
            await stream.send_all(request)
            await stream.send_eof()
            return b"".join([part async for part in stream])


async def echo(request: CniRequest) -> CniReply:
    return CniReply(0, request.container_id.encode())


@pytest.fixture
def path() -> Iterator[Path]:
    """A socket path short enough to bind, in a folder that does not exist yet."""
    folder = Path(tempfile.mkdtemp(prefix="multinic-daemon-"))
    yield folder / "run" / "cni.sock"
    shutil.rmtree(folder)


# --- the frame ----------------------------------------------------------------------------------


def test_a_request_is_read_field_by_field():
    """Variables may be empty, absent or contain '='; what follows the empty variable is the standard input."""
    request = parse_request(b"CNI_PLUGIN=multi-nic-ipam\0CNI_ARGS=IP=10.0.0.1/8\0CNI_NETNS=\0CNI_COMMAND=DEL\0\0a\0\0b")
    assert request == CniRequest("multi-nic-ipam", "DEL", "", "", "", "IP=10.0.0.1/8", "", b"a\0\0b")


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", ["request"]),
        (b"CNI_PLUGIN=multi-nic\0CNI_COMMAND=ADD\0", ["request"]),
        (b"CNI_PLUGIN=x\0CNI_COMMAND=VERSION\0\0", ["CNI_PLUGIN", "CNI_COMMAND"]),
        (b"GET / HTTP/1.1\0\0", ["CNI_PLUGIN", "CNI_COMMAND"]),
    ],
)
def test_a_frame_the_daemon_cannot_work_with_is_refused(data, named):
    """Every fault is named at once."""
    with pytest.raises(InvocationError) as refused:
        parse_request(data)
    assert [part.partition(":")[0] for part in str(refused.value).split("; ")] == named


@pytest.mark.parametrize("plugin", PLUGINS)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_plugin_and_command_is_accepted(plugin, command):
    """The two executables have the same commands."""
    request = parse_request(frame(CNI_PLUGIN=plugin, CNI_COMMAND=command))
    assert (request.plugin, request.command) == (plugin, command)


# --- the socket ---------------------------------------------------------------------------------


async def test_the_socket_is_for_its_owner_alone(path, nursery):
    """Mode 0600 in a folder of mode 0700, whatever the umask."""
    before = os.umask(0)
    try:
        await nursery.start(serve_socket, path, echo)
    finally:
        os.umask(before)
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    nursery.cancel_scope.cancel()


async def test_the_socket_never_has_a_wider_mode(path, nursery, monkeypatch):
    """At the moment it begins to listen, before it has its name, the file is 0600 already."""
    seen = []
    listen = socket.socket.listen

    def watched(self: socket.socket, backlog: int) -> None:
        seen.append(stat.S_IMODE(Path(self.getsockname()).stat().st_mode))
        listen(self, backlog)

    monkeypatch.setattr(socket.socket, "listen", watched)
    before = os.umask(0)
    try:
        await nursery.start(serve_socket, path, echo)
    finally:
        os.umask(before)
    assert seen == [0o600]
    nursery.cancel_scope.cancel()


async def test_the_socket_of_a_dead_daemon_is_replaced(path, nursery):
    """What kill -9 leaves behind is no obstacle."""
    path.parent.mkdir()
    for name in (path, path.with_name("cni.sock~")):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(name))
    path.with_name("cni.sock.lock").touch()
    await nursery.start(serve_socket, path, echo)
    assert await ask(path, frame()) == b"0c1"
    nursery.cancel_scope.cancel()


async def test_the_socket_of_a_live_daemon_is_refused(path, nursery):
    """A second daemon does not take over, and the first one serves on."""
    await nursery.start(serve_socket, path, echo)
    with pytest.raises(SocketInUseError, match=r"cni\.sock"):
        await serve_socket(path, echo)
    assert await ask(path, frame()) == b"0c1"
    nursery.cancel_scope.cancel()


async def test_a_path_that_fits_no_socket_address_is_refused(path):
    """The limit is named instead of the kernel's 'path too long'."""
    with pytest.raises(ValueError, match="at most 106 bytes"):
        await serve_socket(path.with_name("x" * 107), echo)


async def test_callers_can_connect_before_the_first_is_accepted(path, nursery):
    """``before_accept`` runs between: who connects then is served afterwards, in this order."""
    order = []

    async def replay() -> None:
        async with await trio.open_unix_socket(str(path)):
            order.append("connected")

    async def handler(request: CniRequest) -> CniReply:
        order.append("served")
        return await echo(request)

    async def start(*, task_status) -> None:
        await serve_socket(path, handler, before_accept=replay, task_status=task_status)

    await nursery.start(start)
    await ask(path, frame())
    assert order == ["connected", "served"]
    nursery.cancel_scope.cancel()


# --- callers ------------------------------------------------------------------------------------


@pytest.mark.needs_root
async def test_another_user_is_refused(path, nursery, caplog):
    """The kernel's word for who connected decides, even where the file's mode would let them in."""
    await nursery.start(serve_socket, path, echo)
    for name, mode in ((path, 0o666), (path.parent, 0o755), (path.parent.parent, 0o755)):
        name.chmod(mode)
    with socket.socket(socket.AF_UNIX) as caller:
        os.seteuid(65534)
        try:
            caller.connect(str(path))
        finally:
            os.seteuid(0)
        caller.setblocking(False)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(caller))
        answer = b""
        with suppress(trio.BrokenResourceError), trio.fail_after(20):
            answer = await stream.receive_some()
    assert answer == b""
    assert [(r.message, r.uid) for r in caplog.records if r.name == server.__name__ and r.levelname == "WARNING"] == [
        ("caller refused", 65534)
    ]
    assert await ask(path, frame()) == b"0c1"
    nursery.cancel_scope.cancel()


async def test_callers_who_say_too_much_are_cut_off(path, nursery):
    """More than 1 MiB is not even held in memory; the daemon serves on."""
    await nursery.start(serve_socket, path, echo)
    with suppress(trio.BrokenResourceError):
        assert await ask(path, frame(b"x" * (LIMIT * 2))) == b""
    assert await ask(path, frame(b"x" * (LIMIT - 200))) == b"0c1"
    nursery.cancel_scope.cancel()


async def test_callers_who_are_too_slow_are_cut_off(path, nursery, monkeypatch):
    """A request that does not end in time ends the connection, not the daemon."""
    monkeypatch.setattr(server, "EXCHANGE_SECONDS", 0.05)
    await nursery.start(serve_socket, path, echo)
    async with await trio.open_unix_socket(str(path)) as stream:
        await stream.send_all(b"CNI_COMMAND=ADD\0")
        with trio.fail_after(20):
            assert await stream.receive_some() == b""
    assert await ask(path, frame()) == b"0c1"
    nursery.cancel_scope.cancel()


async def test_callers_who_go_away_do_no_harm(path, nursery):
    """Neither before the request, in it, nor before the answer; and work that has begun is finished."""
    finished = trio.Event()

    async def handler(request: CniRequest) -> CniReply:
        if request.container_id == "gone":
            await gone.wait()
            finished.set()
            return CniReply(0, b"x" * (LIMIT - 1))
        return await echo(request)

    gone = trio.Event()
    await nursery.start(serve_socket, path, handler)
    for part in (b"", b"CNI_COM", frame(CNI_CONTAINERID="gone")):
        stream = await trio.open_unix_socket(str(path))
        await stream.send_all(part)
        await stream.aclose()
    gone.set()
    with trio.fail_after(20):
        await finished.wait()
    assert await ask(path, frame()) == b"0c1"
    nursery.cancel_scope.cancel()


# --- failures of the handler --------------------------------------------------------------------

FAILURES = [
    ("ADD", ConfigError("nics: found 4, expected at most 2"), {"code": 7, "msg": "nics: found 4, expected at most 2"}),
    ("ADD", ConfigError("a", details="b"), {"code": 7, "msg": "a", "details": "b"}),
    ("ADD", DaemonUnavailableError("not yet"), {"code": 11, "msg": "not yet"}),
    ("STATUS", DaemonUnavailableError("not yet"), {"code": 50, "msg": "not yet"}),
    ("ADD", ZeroDivisionError("x"), {"code": 999, "msg": "daemon: unexpected ZeroDivisionError('x')"}),
]


@pytest.mark.parametrize(("command", "error", "expected"), FAILURES)
async def test_what_a_handler_raises_becomes_error_json(path, nursery, command, error, expected):
    """Ours keep their code, anything else is 999, in the version of the request; the next caller is served."""

    async def handler(request: CniRequest) -> CniReply:
        if request.container_id == "bad":
            raise error
        return await echo(request)

    await nursery.start(serve_socket, path, handler)
    answer = await ask(path, frame(b'{"cniVersion":"0.3.1"}', CNI_CONTAINERID="bad", CNI_COMMAND=command))
    assert answer[:1] == b"1"
    assert json.loads(answer[1:]) == {"cniVersion": "0.3.1"} | expected
    assert await ask(path, frame()) == b"0c1"
    nursery.cancel_scope.cancel()


async def test_only_an_unexpected_failure_is_logged(path, nursery, caplog):
    """A refusal is the caller's to report; a defect is ours, once, with its traceback and the attachment."""
    errors = {"mine": ConfigError("x"), "bug": KeyError("y")}

    async def handler(request: CniRequest) -> CniReply:
        raise errors[request.container_id]

    await nursery.start(serve_socket, path, handler)
    for identity in errors:
        await ask(path, frame(CNI_CONTAINERID=identity))
    (record,) = [r for r in caplog.records if r.levelname == "ERROR"]
    assert record.container_id == "bug"
    assert record.exc_info is not None
    nursery.cancel_scope.cancel()


async def test_how_long_a_call_took_is_told_at_level_debug(path, nursery, caplog, autojump_clock):
    """From the end of the request to the end of the answer, with the attachment; at any other level nothing is."""

    async def handler(request: CniRequest) -> CniReply:
        await trio.sleep(2)
        return await echo(request)

    await nursery.start(serve_socket, path, handler)
    for level in ("DEBUG", "INFO"):
        caplog.set_level(level)
        await ask(path, frame(CNI_IFNAME="net1"))
    await trio.testing.wait_all_tasks_blocked()
    (record,) = [r for r in caplog.records if r.msg == "answered"]
    assert (record.command, record.container_id, record.ifname) == ("ADD", "c1", "net1")
    assert record.milliseconds == pytest.approx(2000, abs=1)
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("stdin", [b"", b"{", b"[]", b'{"cniVersion":4}'])
async def test_an_error_without_a_readable_version_takes_the_newest(path, nursery, stdin):
    """The runtime still gets one JSON object."""

    async def handler(_: CniRequest) -> CniReply:
        raise ConfigError("x")

    await nursery.start(serve_socket, path, handler)
    assert json.loads((await ask(path, frame(stdin)))[1:])["cniVersion"] == "1.1.0"
    nursery.cancel_scope.cancel()


async def test_an_answer_past_the_bound_is_an_error(path, nursery):
    """An executable would not read it to its end."""

    async def handler(_: CniRequest) -> CniReply:
        return CniReply(0, b"x" * LIMIT)

    await nursery.start(serve_socket, path, handler)
    assert json.loads((await ask(path, frame()))[1:])["code"] == 999
    nursery.cancel_scope.cancel()


async def test_a_handler_that_takes_too_long_is_given_up(path, nursery, monkeypatch):
    """The answer is 'try again', before the executable stops waiting."""
    monkeypatch.setattr(server, "HANDLE_SECONDS", 0.05)

    async def handler(_: CniRequest) -> CniReply:
        await trio.sleep_forever()
        raise AssertionError

    await nursery.start(serve_socket, path, handler)
    assert json.loads((await ask(path, frame()))[1:])["code"] == 11
    nursery.cancel_scope.cancel()


async def test_a_handler_that_cannot_even_be_stopped_is_answered_for(path, nursery, monkeypatch):
    """Its caller hears what it waits for; what it says in the end is nobody's, and others are served meanwhile."""
    monkeypatch.setattr(server, "HANDLE_SECONDS", 0.05)
    monkeypatch.setattr(server, "WATCH_SECONDS", 0.01)
    stuck = trio.Event()

    async def handler(request: CniRequest) -> CniReply:
        if request.container_id == "stuck":
            with trio.CancelScope(shield=True):
                await stuck.wait()
        return await echo(request)

    await nursery.start(partial(serve_socket, path, handler, busy=lambda: "network 'a' holds 8 of 16 workers"))
    answer = json.loads((await ask(path, frame(CNI_CONTAINERID="stuck")))[1:])
    assert answer["code"] == 11
    assert answer["msg"].startswith("ADD: no end after 0 seconds (network 'a' holds 8 of 16 workers)")
    assert await ask(path, frame()) == b"0c1"
    stuck.set()
    nursery.cancel_scope.cancel()


# --- the end ------------------------------------------------------------------------------------


async def test_stopping_finishes_what_has_begun(path, nursery):
    """After the cancellation nobody can connect, a request in work is answered, and the name is gone at the end."""
    begun, finish = trio.Event(), trio.Event()
    answers = []

    async def handler(request: CniRequest) -> CniReply:
        begun.set()
        await finish.wait()
        return await echo(request)

    async def caller() -> None:
        answers.append(await ask(path, frame()))

    async with trio.open_nursery() as service:
        await service.start(serve_socket, path, handler)
        nursery.start_soon(caller)
        await begun.wait()
        service.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(OSError, match=r"Connection refused|No such file"):
                await trio.open_unix_socket(str(path))
            finish.set()
    assert not path.exists()
    with trio.fail_after(20):
        while not answers:
            await trio.lowlevel.checkpoint()
    assert answers == [b"0c1"]


async def test_stopping_does_not_wait_for_ever(path, autojump_clock: MockClock):
    """What has not finished within the grace period is cancelled."""
    begun, cancelled = trio.Event(), []

    async def handler(_: CniRequest) -> CniReply:
        begun.set()
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            cancelled.append(trio.current_time())
            raise
        raise AssertionError

    async with trio.open_nursery() as outer:
        async with trio.open_nursery() as service:
            await service.start(serve_socket, path, handler)
            stream = await trio.open_unix_socket(str(path))
            await stream.send_all(frame())
            await stream.send_eof()
            await begun.wait()
            stopped = trio.current_time()
            service.cancel_scope.cancel()
        outer.cancel_scope.cancel()
        await stream.aclose()
    assert cancelled == [pytest.approx(stopped + server.GRACE_SECONDS)]
