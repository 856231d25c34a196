"""However the emulated PC ends, its command's output and one exit status come back, and nothing of it stays."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from multinic_lab.emulator import pc, run, sriov_tests
from multinic_lab.kernel.supervisor import GUEST_FAILED, TIMED_OUT
from multinic_lab.provision import tools

Stand = Callable[[str], None]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stand:
    """Puts a shell script in QEMU's place: ``$1`` is the machine's folder, ``$2`` the descriptor for output."""

    def use(script: str) -> None:
        def command_line(folder: Path, memory_mb: int, output: int, console: int) -> list[str]:
            return ["/bin/sh", "-c", script, "stand-in", str(folder), str(output)]

        monkeypatch.setattr(pc, "command_line", command_line)

    monkeypatch.setattr(run, "_prepare", lambda *_: None)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return use


def running() -> Iterator[bytes]:
    """The command line of each process there is."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield (process / "cmdline").read_bytes()


def test_output_and_exit_status_come_from_inside(stand_in: Stand, capfdbinary: pytest.CaptureFixture[bytes]):
    """What the command prints goes to standard output, in order and whole; QEMU's own status says nothing."""
    stand_in('seq 100000 >/proc/self/fd/$2; echo 7 >"$1/status"; exit 1')
    assert run.run_in_pc(["true"], timeout_seconds=600) == 7
    assert capfdbinary.readouterr().out == b"".join(b"%d\n" % number for number in range(1, 100_001))


def test_a_pc_that_goes_off_by_itself_is_a_failure_with_its_console(
    stand_in: Stand, capfd: pytest.CaptureFixture[str], tmp_path: Path
):
    """A panic ends the PC without a status: 125, and the last lines of the kernel."""
    stand_in("seq -f 'line %g' 100; echo 'Kernel panic - not syncing'")
    assert run.run_in_pc(["true"], timeout_seconds=600) == GUEST_FAILED
    said = capfd.readouterr().err
    assert "went off without an exit status" in said
    assert said.endswith("  line 99\n  line 100\n  Kernel panic - not syncing\n")
    assert "line 50\n" not in said
    assert list(tmp_path.iterdir()) == []


def test_a_pc_whose_time_is_up_is_ended(stand_in: Stand, capfd: pytest.CaptureFixture[str], tmp_path: Path):
    """124 with the console, and neither its process nor its folder is left."""
    os.mkfifo(tmp_path / "nobody writes here")
    stand_in(f'read -r line <"{tmp_path}/nobody writes here"')
    assert run.run_in_pc(["true"], timeout_seconds=1) == TIMED_OUT
    assert "the time of 1 s is up" in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["nobody writes here"]
    assert not any(str(tmp_path).encode() in command for command in running())


def test_tests_that_need_the_pc_are_never_passed_over_in_silence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Without QEMU or its kernel the status is one of its own, and one line says what is missing and what gets it."""
    monkeypatch.setattr(tools, "checkout", lambda: tmp_path)
    monkeypatch.setattr(sriov_tests, "pytest_command", lambda _: (["pytest"], 0))
    for name in (sriov_tests.IN_EMULATED_PC, sriov_tests.NATIVE_KINDS):
        monkeypatch.setenv(name, "")
    assert sriov_tests.main([]) == sriov_tests.CANNOT
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("*** SR-IOV tests did not run: ")
    assert said.endswith("found kernels [], expected one: run 'make emulator'")


def test_a_pc_in_which_no_test_runs_is_a_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """A selection that fits no test with the marker has pytest's own status for it."""
    monkeypatch.setattr(sriov_tests, "pytest_command", lambda _: ([], sriov_tests.NO_TESTS))
    for name in (sriov_tests.IN_EMULATED_PC, sriov_tests.NATIVE_KINDS):
        monkeypatch.setenv(name, "")
    assert sriov_tests.main(["-k", "no such test"]) == sriov_tests.NO_TESTS
    assert capsys.readouterr().out == "SR-IOV tests: no test of the marker sriov is selected\n"
