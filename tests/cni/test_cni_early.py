"""The self-contained form serves a call before its interpreter has started in full, and else starts as any other."""

import shutil
import socket
import tempfile
import threading
from pathlib import Path

import pytest
from multinic_cni.install import install
from multinic_daemon.calls.request import parse_request

OK = b'0{"cniVersion":"1.0.0","ips":[]}\n'
CUT_OFF = b'0{"cniVersion":"1.0.0","ips":['
BRACES = b'1{"cniVersion":"1.0.0","code":7,"msg":"found }"}\n'
"""Whole, though its braces do not match."""
LARGE = b'0{"x":"' + b"x" * 300_000 + b'"}'


def forget_the_script(early) -> None:
    """Leave of the executables only what is read early; the interpreter ends with status 7 when it gets to the rest."""
    for path in filter(Path.is_file, early.bin.iterdir()):
        first, second, _ = path.read_bytes().split(b"\n", 2)
        path.write_bytes(b"\n".join((first, second, b"raise SystemExit(7)\n")))


@pytest.mark.parametrize("plugin", ["multi-nic", "multi-nic-ipam"])
@pytest.mark.parametrize("answer", [OK, b"0", b'1{"cniVersion":"1.0.0","code":102,"msg":"none left"}'])
async def test_an_answered_call_never_gets_to_the_script(early, plugin, answer):
    """Answer and status are those of the daemon, while the script would end in another way."""
    forget_the_script(early)
    async with early.daemon(lambda _: answer) as received:
        done = await early.run("ADD", plugin=plugin)
    assert (done.status, done.stdout, done.stderr) == (answer[0] - 48, answer[1:], b"")
    assert received[0].startswith(b"CNI_PLUGIN=" + plugin.encode() + b"\0")


@pytest.mark.parametrize("command", ["VERSION", "STATUS", "REMOVE", None])
async def test_what_no_daemon_answered_is_left_to_the_script(early, command):
    """The interpreter goes on starting; here it is told to end with 7."""
    forget_the_script(early)
    assert (await early.run(command)).status == 7


@pytest.mark.parametrize(
    "answer", [OK, CUT_OFF, BRACES, b"", b"?", LARGE[:-2]], ids=["whole", "cut off", "braces", "none", "odd", "half"]
)
@pytest.mark.parametrize("command", ["ADD", "DEL", "STATUS"])
async def test_all_forms_do_the_same(brought, answer, command):
    """The same one request reaches the daemon, the runtime gets the same, and the same tombstones are left."""
    found = []
    for form in ("brought", "usual"):
        if form == "usual":
            install(brought.bin, brought.socket)
        async with brought.daemon(lambda _: answer) as received:
            done = await brought.run(command)
        left = [parse_request(path.read_bytes()) for path in brought.tombstones]
        shutil.rmtree(brought.socket.parent / "tombstones", ignore_errors=True)
        found.append((done, left, [parse_request(frame) for frame in received]))
    assert found[0] == found[1]
    assert len(found[0][2]) in ((1,) if command != "DEL" else (1, 2))  # a DEL without an answer is asked once more


@pytest.mark.parametrize("command", ["DEL", "CHECK", "GC", "STATUS"])
async def test_without_a_daemon_all_forms_say_the_same(brought, command):
    """The error names the socket, from what was tried early."""
    done = await brought.run(command)
    install(brought.bin, brought.socket)
    assert done == await brought.run(command)


@pytest.mark.parametrize("form", ["early", "usual"])
async def test_a_daemon_that_hangs_up_before_the_request_is_asked_again(early, form):
    """It may have waited too long for standard input, or have been replaced: it cannot have begun."""
    if form == "usual":
        install(early.bin, early.socket)
    early.socket.parent.mkdir()
    requests: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        early_one, _ = listener.accept()
        early_one.close()
        second, _ = listener.accept()
        with second:
            while part := second.recv(1 << 16):
                requests.append(part)
            second.sendall(OK)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(early.socket))
        listener.listen()
        listener.settimeout(20)
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        # More than a socket takes at once, so that it is being sent when the daemon hangs up.
        done = await early.run("ADD", b'{"x":"' + b"y" * 900_000 + b'"}')
        server.join()
    assert (done.status, done.stdout) == (0, OK[1:])
    assert b"".join(requests).endswith(b'y"}')


async def test_bytes_that_are_no_text_pass(early):
    """Variables and standard input travel as bytes, before there is any codec."""
    async with early.daemon(lambda _: OK) as received:
        done = await early.run("ADD", b'{"x":"\xff"}', CNI_ARGS="K8S_POD_NAME=\udcff")
    assert done.status == 0
    assert received[0].endswith(b'\0\0{"x":"\xff"}')
    assert b"K8S_POD_NAME=\xff\0" in received[0]


def test_a_socket_path_of_two_lines_is_refused():
    """The path is read from one line."""
    folder = Path(tempfile.mkdtemp())
    with pytest.raises(ValueError, match="in one line"):
        install(folder / "bin", Path("/run/a\nb"))
    assert list(folder.iterdir()) == []
    folder.rmdir()
