"""What a runtime gets while the daemon is away, hangs up or is silent, command by command."""

import json
import os
import re
from contextlib import suppress
from types import SimpleNamespace

import pytest
import trio
from multinic_cni import call
from multinic_cni.fallback import rescue
from multinic_daemon.calls.request import parse_request
from multinic_daemon.calls.server import HANDLE_SECONDS

NETCONF = {"cniVersion": "0.4.0", "name": "n", "type": "multi-nic"}
ENVIRONMENT = {"CNI_CONTAINERID": "c1", "CNI_NETNS": "/run/netns/c1", "CNI_IFNAME": "net1"}


@pytest.fixture
def impatient(executables):
    """Executables that wait a small part of the real time."""
    executables.shorten("ADD_PATIENCE_SECONDS", 0.1)
    executables.shorten("ANSWER_SECONDS", 1)
    return executables


NOBODY = [("ADD", 11), ("CHECK", 11), ("GC", 11), ("STATUS", 50)]


@pytest.mark.parametrize("stale", [False, True], ids=["no socket", "socket of a dead daemon"])
@pytest.mark.parametrize(("command", "code"), NOBODY)
async def test_nobody_listening_is_an_error_that_may_be_retried(impatient, command, code, stale):
    """Code 11, for STATUS 50, naming the socket, and in the version of the configuration."""
    if stale:
        impatient.socket.parent.mkdir()
        with trio.socket.socket(trio.socket.AF_UNIX) as sock:
            await sock.bind(str(impatient.socket))
    done = await impatient.run(command, NETCONF)
    assert (done.status, done.answer["code"], done.answer["cniVersion"]) == (1, code, "0.4.0")
    assert str(impatient.socket) in done.answer["msg"]
    assert impatient.tombstones == []


@pytest.mark.parametrize(("command", "code"), NOBODY)
@pytest.mark.parametrize(
    "answer",
    [b"", b"?", b"0{", b'0{"ips":[{}'],
    ids=["hangs up", "answers nonsense", "hangs up at once", "hangs up in the middle"],
)
async def test_a_daemon_that_dies_in_mid_answer_is_an_error_that_may_be_retried(impatient, command, code, answer):
    """A call the daemon has taken is not sent again by the executable: the runtime decides."""
    async with impatient.daemon(lambda _: answer) as received:
        done = await impatient.run(command, NETCONF)
    assert (done.status, done.answer["code"], len(received)) == (1, code, 1)


@pytest.mark.parametrize(("command", "code"), [*NOBODY, ("DEL", 11)])
async def test_a_silent_daemon_is_given_up(impatient, command, code):
    """The wait is bounded; a living daemon that has the DEL gets no tombstone."""
    async with impatient.daemon(lambda _: None):
        done = await impatient.run(command, NETCONF)
    assert (done.status, done.answer["code"]) == (1, code)
    assert "no answer" in done.answer["msg"]
    assert impatient.tombstones == []


async def test_braces_in_the_texts_of_an_answer_are_no_harm(impatient):
    """What looks cut off and is whole is printed as it came."""
    answer = b'1{"code":7,"msg":"found \'{\'"}'
    async with impatient.daemon(lambda _: answer) as received:
        done = await impatient.run("ADD", NETCONF)
    assert (done.status, done.stdout, len(received)) == (1, answer[1:], 1)


@pytest.mark.parametrize("begin", [b"0", b'0{"x":"' + b"x" * 20_000], ids=["small", "large"])
async def test_the_wait_is_bounded_over_all_parts_of_an_answer(executables, begin):
    """A daemon that sends a byte now and then cannot hold up a runtime: the seconds chosen at installation are all."""
    executables.install(seconds=1)

    async def drip(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            await stream.send_all(begin)
            while True:
                await stream.send_all(b"{")
                await trio.sleep(0.2)

    executables.socket.parent.mkdir()
    with trio.socket.socket(trio.socket.AF_UNIX) as sock:
        await sock.bind(str(executables.socket))
        sock.listen()
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, drip, [trio.SocketListener(sock)])
            started = trio.current_time()
            done = await executables.run("ADD", NETCONF)
            taken = trio.current_time() - started
            nursery.cancel_scope.cancel()
    assert (done.status, done.answer["code"]) == (1, 11)
    assert 1 <= taken < 10


def test_the_usual_bound_lies_between_the_daemons_and_the_runtimes(usual):
    """The daemon answers for a late handler before its caller gives up, and that before the kubelet's two minutes."""
    *_, last = re.findall(r"^ANSWER_SECONDS = (\d+)$", (usual.bin / "multi-nic").read_text(), re.MULTILINE)
    assert last == "90"
    assert HANDLE_SECONDS < 90 < 120


def scripted(*outcomes: bytes | OSError) -> SimpleNamespace:
    """The namespace of ``call`` with an ``ask`` of these outcomes, one after another; ``left`` are those unused."""
    left = list(outcomes)

    def ask(_path: str, _request: bytes) -> bytes:
        outcome = left.pop(0)
        if isinstance(outcome, OSError):
            raise outcome
        return outcome

    return SimpleNamespace(frame=call.frame, LIMIT=call.LIMIT, STANDALONE=call.STANDALONE, ask=ask, left=left)


NO_SOCKET, REFUSED = FileNotFoundError(2, "no such file"), ConnectionRefusedError(111, "refused")
SILENT, RESET = BlockingIOError(11, "try again"), ConnectionResetError(104, "reset")


@pytest.mark.parametrize(
    ("command", "first", "later", "status", "unused"),
    [
        ("ADD", NO_SOCKET, [REFUSED, REFUSED, b"0{}"], b"0", 0),
        ("ADD", NO_SOCKET, [RESET, b"0{}"], b"1", 1),
        ("ADD", RESET, [b"0{}"], b"1", 1),
        ("DEL", SILENT, [b"0"], b"1", 1),
        ("STATUS", NO_SOCKET, [b"0"], b"1", 1),
    ],
    ids=[
        "ADD waits for a daemon that is being replaced",
        "ADD is never sent again once a daemon had it",
        "nor when the first attempt had reached one",
        "a daemon that is silent lives, so DEL leaves no tombstone",
        "STATUS answers at once",
    ],
)
def test_waiting_for_a_daemon(monkeypatch, tmp_path, command, first, later, status, unused):
    """Only a call that no daemon has taken is tried again, and only where waiting helps."""
    for key, value in (ENVIRONMENT | {"CNI_COMMAND": command}).items():
        monkeypatch.setitem(os.environ, key, value)
    namespace = scripted(*later)
    answer = rescue(namespace, str(tmp_path / "cni.sock"), b"multi-nic", json.dumps(NETCONF).encode(), first)
    assert (answer[:1], len(namespace.left)) == (status, unused)
    assert list(tmp_path.iterdir()) == []


BAD_INPUT = [
    (b"{", 6, "1.1.0"),
    (b"", 6, "1.1.0"),
    (b"[]", 6, "1.1.0"),
    (b"\xff", 6, "1.1.0"),
    (b'{"cniVersion":"0.2.0"}', 1, "0.2.0"),
    (b'{"cniVersion":"9.9.9"}', 1, "9.9.9"),
    (b'{"cniVersion":7}', 1, "1.1.0"),
]


@pytest.mark.parametrize("command", ["ADD", "DEL", "CHECK", "GC", "STATUS"])
@pytest.mark.parametrize(("stdin", "code", "version"), BAD_INPUT)
async def test_bad_input_is_refused_when_no_daemon_is_there_to_do_it(impatient, command, stdin, code, version):
    """Undecodable configuration is code 6, an unknown version code 1, and neither leaves a tombstone."""
    done = await impatient.run(command, stdin)
    assert (done.status, done.answer["code"], done.answer["cniVersion"]) == (1, code, version)
    assert impatient.tombstones == []


async def test_del_without_a_daemon_succeeds_and_leaves_the_request(impatient):
    """The tombstone is readable by its owner alone and holds exactly what a daemon would have received."""
    async with impatient.daemon(lambda _: b"0") as received:
        await impatient.run("DEL", NETCONF, CNI_NETNS="")
    done = await impatient.run("DEL", NETCONF, CNI_NETNS="")
    assert (done.status, done.stdout) == (0, b"")
    (tombstone,) = impatient.tombstones
    assert parse_request(tombstone.read_bytes()) == parse_request(received[0])
    assert tombstone.stat().st_mode & 0o777 == 0o600
    request = parse_request(tombstone.read_bytes())
    assert (request.command, request.container_id, request.ifname) == ("DEL", "c1", "net1")
    assert json.loads(request.stdin) == NETCONF


@pytest.mark.parametrize("answer", [b"", b'1{"code":'], ids=["before", "in the middle"])
async def test_del_when_the_daemon_dies_in_mid_answer_leaves_the_request(impatient, answer):
    """A DEL the daemon may not have finished is done again by its successor."""
    async with impatient.daemon(lambda _: answer):
        done = await impatient.run("DEL", NETCONF)
    assert (done.status, len(impatient.tombstones)) == (0, 1)


async def test_every_del_has_its_own_tombstone(impatient):
    """Many DELs at once while the daemon is down are all kept."""
    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(lambda n=number: impatient.run("DEL", NETCONF, CNI_CONTAINERID=f"c{n}"))
    kept = {parse_request(path.read_bytes()).container_id for path in impatient.tombstones}
    assert kept == {f"c{n}" for n in range(8)}


async def test_a_daemon_that_appears_while_the_tombstone_is_written_is_asked(impatient):
    """It may have read the tombstones already; its answer makes the tombstone unneeded."""
    answers = iter([b"", b"0"])
    async with impatient.daemon(lambda _: next(answers)) as received:
        done = await impatient.run("DEL", NETCONF)
    assert (done.status, len(received), impatient.tombstones) == (0, 2, [])


async def test_del_that_can_leave_no_tombstone_is_not_called_a_success(impatient):
    """Where the folder cannot be made the runtime must try again."""
    impatient.socket.parent.write_text("in the way")
    done = await impatient.run("DEL", NETCONF)
    assert (done.status, done.answer["code"]) == (1, 11)
