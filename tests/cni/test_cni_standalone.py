"""Standalone networks: no daemon ever hears of them, and ordinary ones are never served without one."""

import json
import sys
from pathlib import Path

import pytest
from multinic_cni import install as module
from multinic_cni.install import install_self_contained, main
from multinic_cni.standalone import main as serve

from .conftest import NETCONF

STANDALONE = NETCONF | {"standalone": True}
OK = b'0{"cniVersion":"1.0.0","ips":[]}\n'


def answer(frame: bytes) -> bytes:
    """What a daemon says to a request; a caller that sent none has gone."""
    return OK if frame else b""


def reinstall(executables, python: Path | None) -> None:
    executables.install(standalone=python)


@pytest.mark.parametrize("command", ["ADD", "DEL", "CHECK", "GC", "STATUS"])
async def test_a_daemon_never_gets_one(executables, command):
    """Even where a daemon listens, and nobody else could serve it: that is an error, and leaves no tombstone."""
    reinstall(executables, None)
    async with executables.daemon(answer) as received:
        done = await executables.run(command, STANDALONE)
    assert (done.status, done.answer["code"]) == (1, 5)
    assert done.answer["msg"].startswith("standalone: found no interpreter that serves it")
    assert not any(received)
    assert executables.tombstones == []


@pytest.mark.parametrize(
    "netconf",
    [
        NETCONF | {"standalone": False},
        NETCONF | {"standalone": None},
        NETCONF | {"args": {"cni": {"standalone": True}}},
        NETCONF | {"prevResult": {"x": "standalone"}},
    ],
    ids=["false", "null", "deeper down", "as a value"],
)
@pytest.mark.parametrize("command", ["ADD", "DEL", "STATUS"])
async def test_what_only_mentions_the_word_goes_to_the_daemon(executables, netconf, command):
    """As it came, once."""
    async with executables.daemon(answer) as received:
        done = await executables.run(command, netconf)
    assert (done.status, done.stdout) == (0, OK[1:])
    (frame,) = filter(None, received)
    assert frame.endswith(json.dumps(netconf).encode())


async def test_what_only_mentions_the_word_is_a_tombstone_without_a_daemon(executables):
    """DEL of an ordinary network is kept for the daemon, as ever."""
    done = await executables.run("DEL", NETCONF | {"standalone": False})
    assert (done.status, len(executables.tombstones)) == (0, 1)


@pytest.mark.parametrize("value", ["yes", 1, []])
async def test_neither_true_nor_false_is_refused(executables, value):
    """Nobody is asked, as nobody knows who is meant."""
    async with executables.daemon(answer) as received:
        done = await executables.run("ADD", NETCONF | {"standalone": value})
    assert (done.status, done.answer["code"]) == (1, 7)
    assert done.answer["msg"] == f"standalone: found {value!r}, expected true or false"
    assert not any(received)


async def test_an_interpreter_that_is_gone_is_named(executables):
    """The message says which, and how to name another."""
    reinstall(executables, Path("/nonexistent/python"))
    done = await executables.run("ADD", STANDALONE)
    assert (done.status, done.answer["code"]) == (1, 5)
    assert "cannot start '/nonexistent/python'" in done.answer["msg"]
    assert done.answer["msg"].endswith("multinic-cni install --standalone-python")


async def test_the_interpreter_named_serves_the_call(executables):
    """Environment, standard input and plugin arrive there, and its answer is the executable's."""
    python = executables.folder / "python"
    python.write_text(
        f"#!{sys.executable}\nimport os, sys\n"
        "print(sys.argv[1:], os.environ['CNI_COMMAND'], len(sys.stdin.buffer.read()))\nsys.exit(1)\n"
    )
    python.chmod(0o755)
    reinstall(executables, python)
    large = STANDALONE | {"x": "y" * 500_000}
    done = await executables.run("CHECK", large, plugin="multi-nic-ipam")
    expected = f"['-I', '-m', 'multinic_cni.standalone', 'multi-nic-ipam'] CHECK {len(json.dumps(large))}\n"
    assert (done.status, done.stdout.decode()) == (1, expected)


async def test_by_default_the_installations_own_interpreter_serves(usual, capsys):
    """It reads the configuration with the models of core, which know what is wrong with it."""
    assert main(["install", "--bin-dir", str(usual.bin), "--socket", str(usual.socket)]) == 0
    done = await usual.run("ADD", STANDALONE)
    assert (done.status, done.answer["code"]) == (1, 7)
    assert done.answer["msg"].startswith("plugin.type: ")


async def test_the_self_contained_form_goes_on_as_that_interpreter(usual):
    """Nothing of the private one, nor of the runtime's environment, stands in the way; no daemon hears of it."""
    install_self_contained(usual.bin, usual.socket, standalone=Path(sys.executable))
    async with usual.daemon(answer) as received:
        done = await usual.run("ADD", STANDALONE, PYTHONPATH="/nonexistent", PYTHONHOME="/nonexistent")
    assert (done.status, done.answer["code"]) == (1, 7)
    assert done.answer["msg"].startswith("plugin.type: ")
    assert not any(received)


@pytest.mark.parametrize("command", ["ADD", "DEL"])
async def test_what_a_daemon_would_refuse_is_refused_before(executables, command):
    """A wrong environment is code 4, whoever serves the network."""
    done = await executables.run(command, STANDALONE, CNI_IFNAME="a/b")
    assert (done.status, done.answer["code"]) == (1, 4)


def test_an_interpreter_is_tried_when_it_is_named(tmp_path, capsys):
    """One without multinic-daemon is refused, and nothing is written; a relative path as well."""
    bare = tmp_path / "python"
    bare.write_text("#!/bin/sh\necho 'No module named x' >&2\nexit 1\n")
    bare.chmod(0o755)
    for python, said in ((bare, "No module named x"), ("/nonexistent", "No such file"), ("python", "absolute path")):
        assert main(["install", "--bin-dir", str(tmp_path / "bin"), "--standalone-python", str(python)]) == 1
        message = capsys.readouterr().err
        assert message.startswith(f"multinic-cni: standalone-python: found {str(python)!r}, expected ")
        assert said in message
    assert not (tmp_path / "bin").exists()
    assert main(["install", "--bin-dir", str(tmp_path / "bin"), "--standalone-python", sys.executable]) == 0


def test_for_a_host_elsewhere_no_interpreter_is_taken_for_granted(tmp_path):
    """The one that runs here is not the host's; one that is named is believed."""
    assert module.choose_standalone(None, Path("/")) == Path(sys.executable)
    assert module.choose_standalone(None, tmp_path) is None
    assert module.choose_standalone(Path("/opt/venv/bin/python"), tmp_path) == Path("/opt/venv/bin/python")


def test_an_interpreter_without_the_engine_says_so(monkeypatch, capsys):
    """As a CNI error, so that the runtime shows it."""
    monkeypatch.setitem(sys.modules, "multinic_daemon.standalone", None)
    assert serve(["multi-nic"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["code"] == 5
    assert "cannot import what serves it" in answer["msg"]
    assert sys.executable in answer["msg"]
