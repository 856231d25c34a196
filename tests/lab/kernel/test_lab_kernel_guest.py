"""A command in the lab kernel behaves as if it ran here, reaches the host, is reached by it, and never
outlives its owner."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from multinic_lab.kernel.guest import open_guest
from multinic_lab.provision import tools

SUPERVISOR = [sys.executable, "-m", "multinic_lab.kernel", "--memory=512"]

LINK_PROGRAM = """
import os, socket, subprocess, sys, threading
sys.path.insert(0, sys.argv[1])
from kernel.link import forward_to_host
from kernel.rtnetlink import set_up, unshare_network

agent = socket.socket(socket.AF_UNIX)
agent.bind("/run/agent.sock")
agent.listen()
unshare_network()
set_up("lo")
listener = socket.create_server(("127.0.0.1", 7443), backlog=256)
forward_to_host(listener, int(sys.argv[2]))
listener.close()
print("ready", flush=True)
orders, _ = agent.accept()
orders.sendall(b"hello " + orders.recv(100))
orders.close()
failures = []
def converse(number):
    try:
        sock = socket.create_connection(("127.0.0.1", 7443), timeout=60)
        sent = bytes([number]) * 100_003
        threading.Thread(target=lambda: (sock.sendall(sent), sock.shutdown(socket.SHUT_WR))).start()
        got = b"".join(iter(lambda: sock.recv(65536), b""))
        assert got == sent, (number, len(got))
    except BaseException as error:
        failures.append(error)
threads = [threading.Thread(target=converse, args=(number,)) for number in range(100)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(failures or "all the same", flush=True)
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Guests of this test keep their folders here, so that those of others on this machine are not taken for them."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def _guest_processes() -> set[int]:
    """Process ids of this test's User Mode Linux processes, from /proc: their command lines name their folder."""
    folder = f"uml_dir={os.environ['TMPDIR']}/".encode()
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"linux.uml" in command and folder in command:
                found.add(int(entry.name))
    return found


async def _gone(processes: set[int]) -> bool:
    """True once all of `processes` are gone, within 10 s."""
    with trio.move_on_after(10) as scope:
        while processes & _guest_processes():
            await trio.sleep(0.05)
    return not scope.cancelled_caught


async def _read_all(stream: trio.abc.ReceiveStream) -> bytes:
    async with stream:
        return b"".join([bytes(part) async for part in stream])


def test_output_and_exit_status_are_the_commands_own():
    """Standard output, standard error and exit status arrive apart, whole and true."""
    script = "seq 1 200000; echo oops >&2; exit 7"
    done = subprocess.run([*SUPERVISOR, "--", "sh", "-c", script], capture_output=True, timeout=120, check=False)
    assert done.returncode == 7
    assert done.stderr == b"oops\n"
    assert done.stdout == b"".join(b"%d\n" % number for number in range(1, 200_001))


def test_the_guests_main_namespace_starts_with_loopback_alone():
    """Neither loading the modules nor the way to the host leaves a link there, even after asking for a kind."""
    script = "ip link add kept0 type dummy && ip -json link show"
    done = subprocess.run([*SUPERVISOR, "--", "sh", "-c", script], capture_output=True, timeout=120, check=True)
    assert {link["ifname"]: "UP" in link["flags"] for link in json.loads(done.stdout)} == {"lo": True, "kept0": False}


def test_a_command_that_cannot_start_or_dies_is_told_apart():
    """127 for a missing program with its name; 128 + 9 for one that was killed."""
    missing = subprocess.run([*SUPERVISOR, "--", "/no/such"], capture_output=True, timeout=120, check=False)
    assert (missing.returncode, b"/no/such" in missing.stderr) == (127, True)
    killed = subprocess.run(
        [*SUPERVISOR, "--", "sh", "-c", "kill -9 $$"], capture_output=True, timeout=120, check=False
    )
    assert killed.returncode == 137


def test_a_command_that_takes_too_long_ends_with_its_guest():
    """The time bound holds even for a command that ignores SIGTERM."""
    before = _guest_processes()
    script = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(1000)"
    command = [*SUPERVISOR, "--timeout=0.5", "--grace=0.5", "--", sys.executable, "-I", "-S", "-c", script]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 124
    assert b"time" in done.stderr
    assert _guest_processes() == before


async def test_the_guest_reaches_the_host_and_is_reached(nursery: trio.Nursery):
    """A hundred connections at once from a namespace of the guest to a loopback port here, and one from here
    into the guest."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]

    async def echo(stream: trio.SocketStream) -> None:
        async for part in stream:
            await stream.send_all(part)
        await stream.send_eof()

    nursery.start_soon(trio.serve_listeners, echo, listeners)
    package = str(tools.checkout() / "lab" / "multinic_lab")
    argv = [sys.executable, "-I", "-S", "-c", LINK_PROGRAM, package, str(port)]
    with trio.fail_after(120):
        async with open_guest(argv, memory_mb=512) as guest:
            assert await guest.output.receive_some() == b"ready\n"
            stream = await guest.connect("/run/agent.sock")
            await stream.send_all(b"guest")
            assert await _read_all(stream) == b"hello guest"
            refused = await guest.connect("/run/nobody.sock")
            assert await _ends(refused)
            assert await _read_all(guest.output) == b"all the same\n"
            assert await guest.wait() == 0
    nursery.cancel_scope.cancel()


async def _ends(stream: trio.SocketStream) -> bool:
    try:
        async with stream:
            return await stream.receive_some() == b""
    except trio.BrokenResourceError:
        return True


async def test_cancelling_the_owner_ends_the_guest():
    """No process of the guest is left when a cancelled block has been left."""
    before = _guest_processes()
    async with open_guest(["sh", "-c", "echo up; sleep 1000"], memory_mb=512) as guest:
        with trio.fail_after(60):
            assert await guest.output.receive_some() == b"up\n"
        mine = _guest_processes() - before
        assert mine
        with trio.CancelScope() as scope:
            scope.cancel()
            await trio.sleep_forever()
    assert not mine & _guest_processes()


async def test_killing_the_supervisor_ends_the_guest():
    """kill -9 of the process that owns the guest leaves nothing running."""
    before = _guest_processes()
    process = await trio.lowlevel.open_process(
        [*SUPERVISOR, "--", "sh", "-c", "echo up; sleep 1000"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    with trio.fail_after(60):
        assert await process.stdout.receive_some() == b"up\n"
    mine = _guest_processes() - before
    assert mine
    process.kill()
    await process.wait()
    await process.stdout.aclose()
    assert await _gone(mine)


def test_the_next_guest_removes_what_a_killed_one_left(tmp_path: Path):
    """An old unlocked folder of a killed supervisor goes; a locked one and a fresh one stay."""
    leftover, locked, fresh = (tmp_path / f"mnlab-{name}" for name in ("leftover", "locked", "fresh"))
    for folder in (leftover, locked, fresh):
        folder.mkdir()
    for folder in (leftover, locked):
        os.utime(folder, (0, 0))
    holder = os.open(locked, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    subprocess.run([*SUPERVISOR, "--", "true"], env=environment, timeout=120, check=True)
    os.close(holder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mnlab-fresh", "mnlab-locked"]


async def test_killing_the_owner_of_the_supervisor_ends_both():
    """When the program that asked for the guest is killed, the supervisor notices and ends the guest."""
    before = _guest_processes()
    program = f"import subprocess; subprocess.run({[*SUPERVISOR, '--', 'sh', '-c', 'echo up; sleep 1000']!r})"
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", program], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    with trio.fail_after(60):
        assert await process.stdout.receive_some() == b"up\n"
    mine = _guest_processes() - before
    assert mine
    process.kill()
    await process.wait()
    assert await _gone(mine)
    await process.stdout.aclose()
