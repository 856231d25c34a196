"""The first stage: what it serves by itself, what it leaves to the second, and what it hands over with that."""

import socket
import subprocess
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import trio
from multinic_cni import install as module
from multinic_cni.call import STANDALONE
from multinic_cni.first_stage import gather_first_stage
from multinic_cni.install import install_self_contained, main
from multinic_cni.text import render_first
from multinic_daemon.calls.request import LIMIT, parse_request
from multinic_lab.provision import tools

OK = b'0{"cniVersion":"1.0.0","ips":[]}\n'
LARGE = b'0{"x":"' + b"x" * 300_000 + b'"}'
"""An answer that comes in parts."""
LEFT = 7
"""Exit status of a second stage that a test has put in the place of the real one."""


@pytest.fixture
def alone(quick):
    """Executables whose second stage does nothing but tell that it was started."""
    quick.own_second_stage().write_text(f"raise SystemExit({LEFT})\n")
    return quick


@pytest.mark.parametrize("plugin", ["multi-nic", "multi-nic-ipam"])
@pytest.mark.parametrize(
    "answer",
    [OK, b"0", b'1{"cniVersion":"1.0.0","code":102,"msg":"none left"}', LARGE, b'0"' + b"x" * 8190 + b'"'],
    ids=["result", "nothing", "error", "large", "just too large for one part"],
)
async def test_an_answered_call_never_gets_to_the_second_stage(alone, plugin, answer):
    """Answer and status are those of the daemon."""
    async with alone.daemon(lambda _: answer) as received:
        done = await alone.run("ADD", plugin=plugin)
    assert (done.status, done.stdout, done.stderr) == (answer[0] - 48, answer[1:], b"")
    assert received[0].startswith(b"CNI_PLUGIN=" + plugin.encode() + b"\0")


@pytest.mark.parametrize(("command", "stdin"), [("VERSION", {}), ("STATUS", {}), ("REMOVE", {}), (None, {})])
async def test_what_no_daemon_answered_is_left_to_the_second_stage(alone, command, stdin):
    """By exec: its exit status is that of the process."""
    assert (await alone.run(command, stdin)).status == LEFT


@pytest.mark.parametrize(
    ("stdin", "changes"),
    [(b'{"standalone":true}', {}), (b'{"x":"' + b"y" * 8192 + b'"}', {}), (b"{}", {"CNI_ARGS": "\udcff"})],
    ids=["standalone", "large", "no text"],
)
async def test_what_the_first_stage_cannot_serve_is_not_sent_by_it(alone, stdin, changes):
    """The daemon sees a connection at most, on which nothing comes."""
    async with alone.daemon(lambda request: OK if request else b"") as received:
        done = await alone.run("ADD", stdin, **changes)
    assert (done.status, list(filter(None, received))) == (LEFT, [])


async def test_a_daemon_that_hangs_up_before_it_has_the_request_is_asked_again(quick):
    """It cannot have begun: the second stage sends all of the request to its successor."""
    quick.socket.parent.mkdir()
    requests: list[bytes] = []
    reader, writer = socket.socketpair()
    with socket.socket(socket.AF_UNIX) as listener, reader, writer:
        listener.bind(str(quick.socket))
        listener.listen()
        listener.settimeout(20)

        def hang_up_then_serve() -> None:
            listener.accept()[0].close()
            writer.sendall(b'{"x":1}')  # standard input ends only now, so the request is sent to nobody
            writer.shutdown(socket.SHUT_WR)
            second, _ = listener.accept()
            with second:
                while part := second.recv(1 << 16):
                    requests.append(part)
                second.sendall(OK)

        server = threading.Thread(target=hang_up_then_serve)
        server.start()
        environment = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "net1", "CNI_NETNS": "/n"}
        command = [quick.bin / "multi-nic"]
        run = partial(subprocess.run, command, stdin=reader, env=environment, capture_output=True, timeout=60)
        done = await trio.to_thread.run_sync(run)
        server.join()
    assert (done.returncode, done.stdout) == (0, OK[1:])
    assert parse_request(b"".join(requests)).stdin == b'{"x":1}'


async def test_an_answer_past_the_bound_is_none(quick):
    """1 MiB is read and no more, as by the other forms."""
    answer = b'0{"x":"' + b"x" * LIMIT + b'"}'
    with suppress(BaseExceptionGroup):  # the daemon's own: its caller goes before it has sent all
        async with quick.daemon(lambda _: answer):
            done = await quick.run("ADD")
    assert (done.status, done.answer["code"]) == (1, 11)


async def test_variables_of_its_own_have_no_say(quick):
    """Neither a search path, nor a wish to stay, nor modules beside the executable or in the working folder."""
    for name in ("sys", "ffi", "uos", "os", "usocket", "socket", "uio", "io"):
        (quick.bin / f"{name}.py").write_text("raise SystemExit('loaded from beside the executable')")
    async with quick.daemon(lambda _: LARGE):
        done = await quick.run("ADD", MICROPYPATH=str(quick.bin), MICROPYINSPECT="1")
    assert (done.status, done.stdout, done.stderr) == (0, LARGE[1:], b"")


async def test_without_the_second_stage_a_call_fails_with_a_sentence(quick):
    """Exit status 1 and what could not be started, on stderr; nothing that a runtime could take for a result."""
    for path in quick.bin.iterdir():
        path.write_bytes(path.read_bytes().replace(b"/python\\x00", b"/nothon\\x00"))
    done = await quick.run("STATUS")
    assert (done.status, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"multinic: 'cannot start /")


def test_a_full_pipe_or_disk_is_no_success(quick):
    """An answer that cannot be printed is exit status 1, and is not asked for again."""
    quick.socket.parent.mkdir()
    asked = []

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            while part := connection.recv(1 << 16):
                asked.append(part)
            connection.sendall(OK)

    with socket.socket(socket.AF_UNIX) as listener, Path("/dev/full").open("wb") as full:
        listener.bind(str(quick.socket))
        listener.listen()
        listener.settimeout(20)
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        done = subprocess.run(
            [quick.bin / "multi-nic"],
            env={"CNI_COMMAND": "GC"},
            input=b"{}",
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
        server.join()
    assert (done.returncode, len(asked)) == (1, 1)
    assert b"28" in done.stderr


def test_the_text_of_a_first_stage_is_small():
    """MicroPython compiles it at every call; it holds values where the source has names."""
    text = render_first("multi-nic", Path("/run/x.sock"), Path("/m"), Path("/h"), ("/p", "-I", "/s"), seconds=5)
    assert text.startswith(b"#!/m\n")
    assert len(text) < 2048
    assert STANDALONE in text
    assert b"\\x05" + b"\\x00" * 15 in text
    assert b"/p\\x00-I\\x00/s\\x005\\x00multi-nic\\x00/run/x.sock\\x00\\x00" in text
    assert b"MSG_" not in text


@pytest.mark.parametrize("program", ["/bin/false", "/bin/true", "/nonexistent", "/usr/bin/python3"])
def test_what_is_no_micropython_is_refused_when_it_is_named(tmp_path, capsys, program):
    """Exit status 1, one sentence, and no file written."""
    arguments = ["install", "--self-contained", "--bin-dir", str(tmp_path / "b"), "--first-stage", program]
    assert main(arguments) == 1
    assert capsys.readouterr().err.startswith(f"multinic-cni: first-stage: found {program!r}, expected a MicroPython")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", [None, "/bin/false"], ids=["absent", "unusable"])
def test_without_micropython_the_private_interpreter_does_it_alone(tmp_path, capsys, monkeypatch, there):
    """That is said on stderr; the executables are the self-contained ones."""
    monkeypatch.setattr(module.shutil, "which", lambda _: there)
    assert main(["install", "--self-contained", "--bin-dir", str(tmp_path)]) == 0
    error = capsys.readouterr().err
    assert error.startswith("multinic-cni: first-stage: found ")
    assert error.count("\n") == 1
    assert b"/python -ISXutf8\n" in (tmp_path / "multi-nic").read_bytes()
    assert not list(tmp_path.rglob("first"))


def test_micropython_on_the_path_is_taken(tmp_path, capsys, monkeypatch, quick):
    """Without being named."""
    monkeypatch.setattr(module.shutil, "which", lambda name: str(tools.find(name)))
    assert main(["install", "--self-contained", "--bin-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().err == ""
    (home,) = (tmp_path / ".multinic").iterdir()
    assert (tmp_path / "multi-nic").read_text().splitlines()[0] == f"#!{home}/first/micropython"
    executable = {path.name for path in home.rglob("*") if path.is_file() and path.stat().st_mode & 0o777 == 0o755}
    assert {"python", "micropython"} < executable
    assert all(name.startswith("ld-") for name in executable - {"python", "micropython"})


def test_a_first_stage_needs_a_self_contained_form(tmp_path, capsys):
    """--first-stage without --self-contained is a mistake of usage."""
    with pytest.raises(SystemExit) as ended:
        main(["install", "--bin-dir", str(tmp_path), "--first-stage", "/x"])
    assert ended.value.code == 2
    assert "--first-stage: only with --self-contained" in capsys.readouterr().err


def test_the_same_first_stage_gets_the_same_folder(tmp_path, quick):
    """It is named after what is in it, with and without a first stage two folders."""
    first = gather_first_stage(tools.find("micropython"))
    folder = tmp_path / "bin"
    for _ in range(2):
        install_self_contained(folder, Path("/run/x.sock"), first_stage=first)
    (home,) = (folder / ".multinic").iterdir()
    install_self_contained(folder, Path("/run/x.sock"))
    assert len(list((folder / ".multinic").iterdir())) == 2
    assert home.exists()
