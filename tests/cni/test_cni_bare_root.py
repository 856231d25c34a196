"""The self-contained form in a root that holds what was installed and nothing else: no Python, no libc, no /proc.

The daemon's end of the socket is outside of that root, as a daemon's container is outside of the host's.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import trio
from multinic_cni.install import choose_interpreter, install_self_contained
from multinic_daemon.calls.request import parse_request

from .conftest import QUICK, Executables, first_stage

pytestmark = pytest.mark.needs_root

OK = b'0{"cniVersion":"1.0.0","ips":[]}\n'
ANSWER_SECONDS = 1
ENTER = "import os, sys; os.chroot(sys.argv[1]); os.chdir('/'); os.execv(sys.argv[2], sys.argv[2:])"
INTERPRETERS = sorted({choose_interpreter().resolve(), Path(sys._base_executable).resolve()})


@pytest.fixture(scope="module", params=[*INTERPRETERS, QUICK], ids=str)
def installed(request):
    """A root and a socket's path in it; installed once for each interpreter of this machine, and with a first stage."""
    first = first_stage() if request.param == QUICK else None
    interpreter = INTERPRETERS[0] if first else request.param
    root = Path(tempfile.mkdtemp(prefix="multinic-bare-"))
    root.chmod(0o755)
    install_self_contained(
        Path("/opt/cni/bin"),
        Path("/run/cni.sock"),
        interpreter,
        root=root,
        seconds=ANSWER_SECONDS,
        first_stage=first,
    )
    yield root
    shutil.rmtree(root)


@pytest.fixture
def bare(installed):
    """The executables of that root, each start of which is a start inside."""
    executables = Executables(installed / "spare")
    shutil.rmtree(installed / "spare")
    executables.socket = installed / "run" / "cni.sock"
    executables.bin = installed / "opt" / "cni" / "bin"
    executables.command = lambda plugin: inside(installed, f"/opt/cni/bin/{plugin}")
    shutil.rmtree(executables.socket.parent, ignore_errors=True)
    assert {path.name for path in installed.iterdir()} == {"opt"}
    return executables


def inside(root: Path, *command: str) -> list[str]:
    """A command line that becomes this command within the root."""
    return [str(choose_interpreter()), "-ISc", ENTER, str(root), *command]


def test_nothing_but_what_was_installed_is_there(installed):
    """Everything is below the runtime's folder: two executables, and one private interpreter, complete."""
    folder = installed / "opt/cni/bin"
    assert {path for path in installed.rglob("*") if path.is_file()} == {
        path for path in folder.rglob("*") if path.is_file()
    }
    assert {path.name for path in folder.iterdir()} == {".multinic", "multi-nic", "multi-nic-ipam"}
    assert not any(path.is_symlink() for path in installed.rglob("*"))


@pytest.mark.parametrize("plugin", ["multi-nic", "multi-nic-ipam"])
async def test_a_call_is_answered(bare, plugin):
    """From the first line to the printed result, whatever locale and library path the runtime has."""
    async with bare.daemon(lambda _: OK) as received:
        done = await bare.run("ADD", plugin=plugin, LANG="de_DE.ISO-8859-1", LC_ALL="tr_TR", CNI_ARGS="K=ä")
    assert (done.status, done.stdout, done.stderr) == (0, OK[1:], b"")
    (request,) = map(parse_request, received)
    assert (request.plugin, request.command, request.args) == (plugin, "ADD", "K=ä")


async def test_an_error_is_printed_with_status_1(bare):
    """As the daemon wrote it."""
    async with bare.daemon(lambda _: b'1{"code":7}'):
        done = await bare.run("CHECK")
    assert (done.status, done.stdout, done.stderr) == (1, b'{"code":7}', b"")


@pytest.mark.parametrize(
    ("command", "stdin", "changes", "code"),
    [
        ("ADD", "{", {}, 6),
        ("ADD", {"cniVersion": "9.9"}, {}, 1),
        ("ADD", {}, {}, 11),
        ("ADD", {}, {"CNI_IFNAME": "a/b", "CNI_NETNS": None}, 4),
        ("CHECK", {}, {}, 11),
        ("GC", {}, {}, 11),
        ("STATUS", {}, {}, 50),
        ("OTHER", {}, {}, 4),
    ],
)
async def test_without_a_daemon_each_command_says_so(bare, command, stdin, changes, code):
    """The slow path finds all the modules it needs: every code of an executable alone."""
    done = await bare.run(command, stdin, **changes)
    assert (done.status, done.answer["code"], done.stderr) == (1, code, b"")


async def test_version_is_answered(bare):
    """Without a daemon, as everywhere."""
    done = await bare.run("VERSION", {"cniVersion": "0.4.0"})
    assert (done.status, done.answer["cniVersion"], done.stderr) == (0, "0.4.0", b"")


async def test_del_leaves_a_tombstone(bare):
    """The request, for the daemon's next start."""
    done = await bare.run("DEL")
    assert (done.status, done.stdout, done.stderr) == (0, b"", b"")
    (tombstone,) = bare.tombstones
    assert parse_request(tombstone.read_bytes()).command == "DEL"


@pytest.mark.parametrize(("answer", "named"), [(None, "no answer"), (b"", "hung up")], ids=["silent", "hangs up"])
async def test_a_daemon_that_does_not_answer_is_given_up(bare, answer, named):
    """After the number of seconds given at installation."""
    async with bare.daemon(lambda _: answer):
        with trio.fail_after(60):
            done = await bare.run("ADD")
    assert (done.status, done.answer["code"], done.stderr) == (1, 11, b"")
    assert named in done.answer["msg"]


async def test_the_hosts_own_files_have_no_say(bare, installed):
    """Neither its libraries, newer or broken, nor its list of preloaded ones, nor its Python of the same version."""
    home = next((bare.bin / ".multinic").iterdir())
    taken = [path.relative_to(home) for path in home.rglob("*") if path.is_file() and path.name != "python"]
    names = {path.name for path in taken if path.parent in (Path(), Path("first"))}
    foreign = [Path("usr") / path for path in taken] + [Path("usr/local") / path for path in taken]
    foreign += [Path(folder) / name for name in names for folder in ("lib", "lib64", "usr/lib/x86_64-linux-gnu")]
    foreign += [Path("lib/x86_64-linux-gnu") / name for name in names]
    try:
        for path in foreign:
            (installed / path).parent.mkdir(parents=True, exist_ok=True)
            (installed / path).write_bytes(b"broken")
        (installed / "etc").mkdir()
        (installed / "etc/ld.so.preload").write_text("/lib/libc.so.6\n")
        (installed / "etc/ld.so.cache").write_bytes(b"broken")
        done = await bare.run("VERSION", LD_LIBRARY_PATH="/lib", PYTHONHOME="/usr", PYTHONPATH="/usr/lib")
    finally:
        for name in ("usr", "lib", "lib64", "etc"):
            shutil.rmtree(installed / name, ignore_errors=True)
    assert (done.status, done.answer["cniVersion"], done.stderr) == (0, "1.0.0", b"")


def test_the_interpreter_looks_for_modules_in_its_own_folder_alone(installed):
    """Its paths are those of the private copy, so that a host's Python of the same version is not mixed in."""
    (home,) = (installed / "opt/cni/bin/.multinic").iterdir()
    shown = Path("/") / home.relative_to(installed)
    question = "import sys; print([sys.path, sys.prefix, sys.exec_prefix, sys._stdlib_dir])"
    done = subprocess.run(
        inside(installed, str(shown / "python"), "-ISXutf8", "-c", question), capture_output=True, text=True, check=True
    )
    path, *prefixes = json.loads(done.stdout.replace("'", '"'))
    assert done.stderr == ""
    assert all(os.path.commonpath([place, shown]) == str(shown) for place in (*path, *prefixes))
