"""Processes of others: killed when they hang, with what they started, and never more than a network's share of them."""

import os
from pathlib import Path
from typing import Any

import pytest
import trio
from multinic_daemon.outside import executables as running
from multinic_daemon.outside import process
from multinic_daemon.outside.process import OUTPUT_LIMIT, OutputTooLongError, run_process
from multinic_daemon.testing import Rig
from multinic_daemon.testing.executables import Executables, Others

from multinic_core.errors import DaemonUnavailableError


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def gone(pid: int) -> None:
    with trio.fail_after(60):
        while alive(pid):
            await trio.sleep(0.01)


async def run(script: str, stdin: bytes = b"", seconds: float = 60.0) -> process.Finished:
    return await run_process(["/bin/sh", "-c", script], {"PATH": os.defpath}, stdin, seconds)


async def test_status_output_and_errors_are_given() -> None:
    """What it reads is what it gets, what it prints is what comes back."""
    done = await run("cat; echo oops >&2; exit 7", b"input")
    assert (done.status, done.output, done.errors) == (7, b"input", b"oops\n")


async def test_process_that_reads_nothing_is_no_failure() -> None:
    """More input than a pipe holds does not keep waiting for one that never reads."""
    done = await run("exit 0", b"x" * (1 << 20))
    assert done.status == 0


async def test_process_that_hangs_is_killed_after_its_time() -> None:
    """No process is waited for without an end."""
    with pytest.raises(trio.TooSlowError):
        await run("sleep 1000", seconds=0.1)


async def test_cancelled_process_is_killed_with_its_children(tmp_path: Path) -> None:
    """Nobody waits for it any more, so nothing of it runs."""
    script = (
        f"sleep 1000 & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/new && mv {tmp_path}/new {tmp_path}/pid; wait"
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, script)
        while not (tmp_path / "pid").exists():
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    await gone(int((tmp_path / "pid").read_text()))
    await gone(int((tmp_path / "child").read_text()))


async def test_process_that_says_too_much_is_killed(tmp_path: Path) -> None:
    """Memory is bounded whatever it prints."""
    with pytest.raises(OutputTooLongError):
        await run(f"echo $$ > {tmp_path}/pid; exec cat /dev/zero")
    await gone(int((tmp_path / "pid").read_text()))
    assert OUTPUT_LIMIT == 1 << 20


async def test_process_that_leaves_a_child_with_its_output_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that it starts keeps the pipe open; its own end is what counts."""
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.1)
    done = await run("echo said; sleep 1000 & echo $! >&2")
    assert done.output == b"said\n"
    os.kill(int(done.errors), 9)


async def test_hung_executable_is_killed_and_told(rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Code 11 with NIC and executable, and whatever it may have done is undone."""
    others = Others.on(rig)

    async def impatient(command: list[str], environment: dict[str, str], stdin: bytes, seconds: float) -> Any:
        hangs = (environment["CNI_COMMAND"], environment["CNI_IFNAME"]) == ("ADD", "net1-1")
        return await run_process(command, environment, stdin, 0.3 if hangs else seconds)

    monkeypatch.setattr(running, "run_process", impatient)
    others.executables.tell("hang-ADD-net1-1")
    with pytest.raises(DaemonUnavailableError) as refusal:
        await others.call("ADD", "macvlan")
    assert refusal.value.cni_code == 11
    assert "NIC 'eth2', link 'net1-1': ADD of executable" in str(refusal.value)
    assert "did not end within 30 seconds and was killed" in str(refusal.value)
    assert [call for call in others.executables.calls() if call.startswith("DEL")] == [
        f"DEL net1-{number} fake-ipam" for number in (1, 0)
    ]
    others.assert_clean()


async def test_hung_executables_of_one_network_delay_no_other(rig: Rig) -> None:
    """More calls that hang than there are places: pods of another network get theirs."""
    others = Others.on(rig)
    rig.add_network("net-b", 3, prefix="172.30")
    others.executables.tell("hang-ADD-net1-0")
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(others.call, "ADD", "macvlan", f"c{number}")
        with trio.fail_after(60):
            while "holds 8 of 16" not in rig.engine.outside.doing.busy():
                await trio.sleep(0.01)
            while sum(call.startswith("ADD net1-0") for call in others.executables.calls()) < 8:
                await trio.sleep(0.01)
            others.executables.untell("hang-ADD-net1-0")
            ipam = {"type": Executables.IPAM}
            await rig.call("ADD", "other", name="net-b", ipam=ipam)
            await rig.call("DEL", "other", name="net-b", ipam=ipam)
            await rig.call("ADD", "same-network")
        nursery.cancel_scope.cancel()
    assert rig.engine.outside.doing.idle
