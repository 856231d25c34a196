"""The self-contained form: what is written where, when it is written again, and when it goes."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import trio
from multinic_cni import install as module
from multinic_cni import private
from multinic_cni.install import NAMES, choose_interpreter, install_self_contained, main
from multinic_lab.provision import tools

from .conftest import first_stage

SOCKET = Path("/run/x.sock")


@pytest.fixture(scope="module")
def parts():
    return private.gather(choose_interpreter())


@pytest.fixture
def version(monkeypatch, parts):
    """Makes the next installs bring another private interpreter, told apart by a file of its own."""

    def choose(name: str) -> None:
        changed = replace(parts, files={**parts.files, "version": name.encode()})
        monkeypatch.setattr(module, "gather", lambda _: changed)

    choose("first")
    return choose


def homes(folder: Path) -> list[Path]:
    return sorted((folder / ".multinic").iterdir())


def home_of(executable: Path) -> Path:
    """The folder that an executable's first line names."""
    return Path(executable.read_text().partition(" ")[0].removeprefix("#!")).parent


def answers(executable: Path) -> bool:
    done = subprocess.run([executable], env={"CNI_COMMAND": "VERSION"}, input=b"{}", capture_output=True, check=False)
    return done.returncode == 0 and b"supportedVersions" in done.stdout and not done.stderr


def test_the_command_writes_executables_and_one_private_interpreter(tmp_path, capsys):
    """Paths are those of the host, files are written below its root; anyone can read and run them."""
    arguments = ["install", "--self-contained", "--root", str(tmp_path), "--bin-dir", "/opt/cni/bin"]
    assert main([*arguments, "--lib-dir", "/opt/cni/lib", "--socket", str(SOCKET)]) == 0
    folder = tmp_path / "opt/cni/bin"
    assert sorted(path.name for path in folder.iterdir()) == sorted(NAMES)
    assert sorted(capsys.readouterr().out.split()) == [str(folder / name) for name in sorted(NAMES)]
    (home,) = (tmp_path / "opt/cni/lib").iterdir()
    first = (folder / "multi-nic").read_text().splitlines()[0]
    assert first == f"#!/opt/cni/lib/{home.name}/python -ISXutf8"
    for path in home.rglob("*"):
        wanted = 0o755 if path.is_dir() or path.name == "python" or path.name.startswith("ld-") else 0o644
        assert path.stat().st_mode & 0o777 == wanted, path
    size = sum(path.stat().st_size for path in home.rglob("*"))
    assert size < 32 << 20


def test_without_lib_dir_the_private_interpreter_is_beside_the_executables(tmp_path, version):
    """One mounted folder is enough; and the executables run from there."""
    written = install_self_contained(tmp_path, SOCKET)
    (home,) = homes(tmp_path)
    assert [home_of(path) for path in written] == [home, home]
    assert all(answers(path) for path in written)


def test_the_same_parts_are_written_once(tmp_path, parts):
    """Gathering again finds the same, and a folder that is there is used as it is."""
    assert private.gather(choose_interpreter()) == parts
    install_self_contained(tmp_path, SOCKET)
    (home,) = homes(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*")}
    install_self_contained(tmp_path, SOCKET)
    assert homes(tmp_path) == [home]
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*")} == before


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_damaged_folder_is_replaced_by_another(tmp_path, version, damage):
    """Someone may be running in it, so it is left alone and the executables go elsewhere."""
    executable = install_self_contained(tmp_path, SOCKET)[0]
    damaged = home_of(executable)
    if damage == "changed":
        (damaged / "python").write_bytes(b"")
    else:
        (damaged / "version").unlink()
    install_self_contained(tmp_path, SOCKET)
    assert home_of(executable) == damaged.with_name(f"{damaged.name}-1")
    assert answers(executable)
    assert damaged.exists()


def test_a_superseded_folder_stays_for_an_hour(tmp_path, version):
    """Processes that started from it may import something at the very end of their wait."""
    executable = install_self_contained(tmp_path, SOCKET)[0]
    old = home_of(executable)
    version("second")
    install_self_contained(tmp_path, SOCKET)
    install_self_contained(tmp_path, SOCKET)
    assert homes(tmp_path) == sorted([old, home_of(executable)])
    long_ago = time.time() - 3601
    os.utime(old / private.SUPERSEDED, (long_ago, long_ago))
    install_self_contained(tmp_path, SOCKET)
    assert homes(tmp_path) == [home_of(executable)]
    assert answers(executable)


def test_the_hour_begins_when_a_folder_is_last_left(tmp_path, version):
    """One that was superseded long ago and is used again is as new."""
    executable = install_self_contained(tmp_path, SOCKET)[0]
    first = home_of(executable)
    version("second")
    install_self_contained(tmp_path, SOCKET)
    os.utime(first / private.SUPERSEDED, (0, 0))
    version("first")
    install_self_contained(tmp_path, SOCKET)
    assert home_of(executable) == first
    version("second")
    install_self_contained(tmp_path, SOCKET)
    assert len(homes(tmp_path)) == 2


def test_a_failed_write_leaves_what_was_there(tmp_path, version, monkeypatch):
    """A full disk leaves the old executables, the old private interpreter, and nothing half written."""
    executable = install_self_contained(tmp_path, SOCKET)[0]
    version("second")

    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space left"):
        install_self_contained(tmp_path, SOCKET)
    assert homes(tmp_path) == [home_of(executable)]
    assert answers(executable)


def test_two_installers_at_once_agree(tmp_path, version, monkeypatch):
    """The one that comes second to the rename uses the folder of the first."""
    rename, renamed = Path.rename, []

    def late(path: Path, target: Path) -> Path:
        if not renamed:
            renamed.append(target)
            install_self_contained(tmp_path, SOCKET)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", late)
    executable = install_self_contained(tmp_path, SOCKET)[0]
    assert renamed == homes(tmp_path) == [home_of(executable)]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--interpreter", "/bin/false"], "interpreter: found '/bin/false', which does not run here"),
        (["--interpreter", "/bin/true"], "interpreter: cannot make '/bin/true' self-contained"),
        (["--interpreter", "/nonexistent"], "interpreter: cannot make '/nonexistent' self-contained"),
        (["--lib-dir", "lib"], "folder: found 'lib', expected an absolute path"),
        (["--lib-dir", "/" + "x" * 120], "interpreter: found "),
        (["--socket", "run/x.sock"], "socket: found "),
        (["--answer-seconds", "0"], "answer-seconds: found 0"),
    ],
)
def test_what_would_not_start_is_refused(tmp_path, capsys, arguments, named):
    """Exit status 1, one sentence, and no file written."""
    assert main(["install", "--self-contained", "--bin-dir", str(tmp_path / "b"), *arguments]) == 1
    assert capsys.readouterr().err.startswith(f"multinic-cni: {named}")
    assert list(tmp_path.iterdir()) == []


def test_an_old_interpreter_is_refused(tmp_path, monkeypatch, parts):
    """The executables are written for 3.11 and newer."""
    monkeypatch.setattr(module, "gather", lambda _: replace(parts, version=(3, 10)))
    with pytest.raises(ValueError, match=r"found Python \(3, 10\)"):
        install_self_contained(tmp_path / "b", SOCKET)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_for_private_interpreters_needs_one(tmp_path, capsys):
    """--lib-dir without --self-contained is a mistake of usage."""
    with pytest.raises(SystemExit) as ended:
        main(["install", "--bin-dir", str(tmp_path), "--lib-dir", "/x"])
    assert ended.value.code == 2
    assert "--lib-dir: only with --self-contained" in capsys.readouterr().err


CALLERS, REPLACEMENTS = 16, 12
INSTALLER = """
import sys
from dataclasses import replace
from pathlib import Path
from multinic_cni import install as module

folder, form = Path(sys.argv[1]), sys.argv[2]
parts = module.gather(module.choose_interpreter())
first = module.gather_first_stage(Path(sys.argv[3])) if form == "first stage" else None
for number, _ in enumerate(sys.stdin):
    changed = replace(parts, files={**parts.files, "version": b"%d" % (number % 3)})
    module.gather = lambda _: changed
    install = module.install if form == "usual" else module.install_self_contained
    options = {"first_stage": first} if form == "first stage" else {}
    install(folder, Path(f"/run/{number}.sock"), **options)
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""
"""Installs once for each line it reads. A process of its own, as an installer is: one that starts other processes while
it writes would hand them the unfinished file, and the kernel starts no file that someone may write."""


@pytest.mark.parametrize("form", ["usual", "self-contained", "first stage"])
async def test_replacing_while_16_processes_call_fails_nobody(tmp_path, form):
    """Each call, begun at any instant of a replacement, starts, finds its modules and answers."""
    micropython = [str(tools.find("micropython"))] if form == "first stage" and first_stage() else []
    path = tmp_path / "multi-nic"
    calls, failures, going = 0, [], True

    async def call_on() -> None:
        nonlocal calls
        while going:
            done = await trio.run_process(
                [path],
                env={"CNI_COMMAND": "VERSION"},
                stdin=b"{}",
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
            calls += 1
            if done.returncode or b"supportedVersions" not in done.stdout or done.stderr:
                failures.append(done)

    inodes = set()
    async with trio.open_nursery() as nursery:
        command = [sys.executable, "-c", INSTALLER, str(tmp_path), form, *micropython]
        installer = await nursery.start(
            partial(trio.run_process, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        )
        for number in range(REPLACEMENTS):
            before = calls
            await installer.stdin.send_all(b"\n")
            assert await installer.stdout.receive_some() == b"%d\n" % number
            inodes.add(path.stat().st_ino)
            if not number:
                for _ in range(CALLERS):
                    nursery.start_soon(call_on)
            while calls < before + CALLERS // 2:
                await trio.sleep(0.005)
        going = False
        await installer.stdin.aclose()
    assert failures == []
    assert len(inodes) > 1
    assert calls >= REPLACEMENTS * CALLERS // 2
