"""The executables as processes: what reaches the daemon, what is printed, and how little is loaded for it."""

import os
import subprocess
from pathlib import Path

import pytest
import trio
from multinic_cni import call, fallback
from multinic_daemon.calls.request import COMMANDS, LIMIT, parse_request

from multinic_core.cni import SUPPORTED_VERSIONS

OK = b'0{"cniVersion":"1.0.0","ips":[]}\n'


@pytest.mark.parametrize("plugin", ["multi-nic", "multi-nic-ipam"])
@pytest.mark.parametrize("command", COMMANDS)
async def test_every_command_reaches_the_daemon_whole(executables, command, plugin):
    """The daemon gets the plugin's name, every CNI variable it reads and the standard input byte for byte."""
    stdin = b'{"cniVersion":"1.0.0",\n "x":"\xc3\xa9\\u0000"}\n'
    async with executables.daemon(lambda _: OK) as received:
        done = await executables.run(command, stdin, plugin, CNI_EXTRA="1")
    assert (done.status, done.stdout, done.stderr) == (0, OK[1:], b"")
    (request,) = map(parse_request, received)
    assert request.plugin == plugin
    assert request.command == command
    assert request.container_id == "c1"
    assert request.netns == "/run/netns/c1"
    assert request.ifname == "net1"
    assert request.args == "K8S_POD_NAMESPACE=default;K8S_POD_NAME=p;IP=10.0.0.1/16"
    assert request.path == "/opt/cni/bin"
    assert request.stdin == stdin
    # MicroPython has no list of its variables, so it sends those that a daemon reads.
    assert (b"\0CNI_EXTRA=1\0" in received[0]) == (executables.form == "usual")


async def test_only_cni_variables_leave_the_process(executables):
    """Nothing of the runtime's environment but CNI_* is sent, and CNI_PLUGIN cannot be forged."""
    async with executables.daemon(lambda _: OK) as received:
        await executables.run("ADD", SECRET="x", CNI_PLUGIN="other")
    assert b"SECRET" not in received[0]
    assert parse_request(received[0]).plugin == "multi-nic"


async def test_an_error_is_printed_as_it_came_with_status_1(executables):
    """Status digit 1 makes the exit status 1 and the JSON the output."""
    async with executables.daemon(lambda _: b'1{"cniVersion":"1.0.0","code":102,"msg":"none left"}'):
        done = await executables.run("ADD")
    assert (done.status, done.answer["code"]) == (1, 102)


async def test_an_empty_success_prints_nothing(executables):
    """DEL has no result."""
    async with executables.daemon(lambda _: b"0"):
        done = await executables.run("DEL")
    assert (done.status, done.stdout) == (0, b"")


async def test_a_large_answer_and_a_large_request_pass(executables):
    """Sizes just below the bound pass in both directions."""
    answer = b'0"' + b"x" * (LIMIT - 1000) + b'"'
    stdin = b'{"x":"' + b"y" * (LIMIT - 1000) + b'"}'
    # A first stage that leaves a large request to the second has sent nothing, and hangs up.
    async with executables.daemon(lambda request: answer if request else b"") as received:
        done = await executables.run("ADD", stdin)
    assert done.stdout == answer[1:]
    (request,) = filter(None, received)
    assert parse_request(request).stdin == stdin


async def test_a_request_past_the_bound_is_refused(executables):
    """More than 1 MiB of configuration is a decoding failure, code 6."""
    done = await executables.run("ADD", b'{"x":"' + b"y" * LIMIT + b'"}')
    assert (done.status, done.answer["code"]) == (1, 6)


@pytest.mark.parametrize("version", ["0.3.0", "0.4.0", "1.1.0", "0.2.0"])
async def test_version_is_answered_without_a_daemon(executables, version):
    """VERSION repeats the version asked with and lists those that are spoken, on an empty environment too."""
    done = await executables.run(
        "VERSION", {"cniVersion": version}, CNI_CONTAINERID=None, CNI_NETNS=None, CNI_IFNAME=None, CNI_PATH=None
    )
    assert done.status == 0
    assert done.answer == {"cniVersion": version, "supportedVersions": list(SUPPORTED_VERSIONS)}


def test_the_versions_are_those_of_core():
    """The executables carry their own copy of the list, and it is the same."""
    assert fallback.SUPPORTED == SUPPORTED_VERSIONS


def test_every_command_of_the_daemon_is_known():
    """The executables let through exactly the commands that the daemon serves."""
    assert {command.decode() for command in call.COMMANDS} == set(fallback.NEEDS) == set(COMMANDS)


WRONG_ENVIRONMENTS = [
    ("ADD", {"CNI_CONTAINERID": None}, ["CNI_CONTAINERID: missing"]),
    ("ADD", {"CNI_NETNS": ""}, ["CNI_NETNS: missing"]),
    ("CHECK", {"CNI_IFNAME": None}, ["CNI_IFNAME: missing"]),
    ("DEL", {"CNI_CONTAINERID": None, "CNI_IFNAME": None}, ["CNI_CONTAINERID: missing", "CNI_IFNAME: missing"]),
    ("ADD", {"CNI_CONTAINERID": "../x"}, ["CNI_CONTAINERID: found '../x'"]),
    ("ADD", {"CNI_CONTAINERID": "-x"}, ["CNI_CONTAINERID: found '-x'"]),
    ("ADD", {"CNI_CONTAINERID": "é"}, ["CNI_CONTAINERID: found 'é'"]),
    ("ADD", {"CNI_IFNAME": "sixteen-letters-"}, ["CNI_IFNAME: found 'sixteen-letters-'"]),
    ("ADD", {"CNI_IFNAME": "a/b"}, ["CNI_IFNAME: found 'a/b'"]),
    ("ADD", {"CNI_IFNAME": "a:b"}, ["CNI_IFNAME: found 'a:b'"]),
    ("ADD", {"CNI_IFNAME": "a b"}, ["CNI_IFNAME: found 'a b'"]),
    ("ADD", {"CNI_IFNAME": ".."}, ["CNI_IFNAME: found '..'"]),
    ("REMOVE", {}, ["CNI_COMMAND: found 'REMOVE'"]),
    (
        None,
        {"CNI_CONTAINERID": None, "CNI_NETNS": None, "CNI_IFNAME": "/"},
        ["CNI_COMMAND: found ''", "CNI_CONTAINERID: missing", "CNI_NETNS: missing", "CNI_IFNAME: found '/'"],
    ),
]


@pytest.mark.parametrize(("command", "changes", "expected"), WRONG_ENVIRONMENTS)
async def test_a_wrong_environment_is_code_4_and_names_every_fault(executables, command, changes, expected):
    """All faults at once, in the version of the configuration, though no daemon is there to say so."""
    done = await executables.run(command, {"cniVersion": "0.4.0"}, **changes)
    assert (done.status, executables.tombstones) == (1, [])
    assert (done.answer["code"], done.answer["cniVersion"]) == (4, "0.4.0")
    faults = done.answer["msg"].split("; ")
    assert len(faults) == len(expected), faults
    assert all(fault.startswith(start) for fault, start in zip(faults, expected, strict=True)), faults


@pytest.mark.parametrize("command", ["", "REMOVE", "add", None])
async def test_a_command_of_no_specification_does_not_reach_the_daemon(executables, command):
    """The executable itself answers code 4."""
    async with executables.daemon(lambda _: OK) as received:
        done = await executables.run(command)
    assert (done.status, done.answer["code"], received) == (1, 4, [])


@pytest.mark.parametrize("identity", ["a", "0f3", "A_b.c-d", "x--", "9."])
async def test_container_ids_of_the_specification_pass(executables, identity):
    """A letter or digit, then letters, digits, underscores, dots and hyphens."""
    done = await executables.run("STATUS", CNI_CONTAINERID=identity)
    assert done.answer["code"] == 50


@pytest.mark.parametrize(("command", "code"), [("DEL", None), ("GC", 11), ("STATUS", 50)])
async def test_a_netns_is_needed_only_by_add_and_check(executables, command, code):
    """DEL works on what ADD recorded; GC and STATUS are about no container."""
    done = await executables.run(command, CNI_NETNS="")
    assert done.answer.get("code") == code


def test_a_person_on_a_terminal_gets_one_line_of_help(executables):
    """Without CNI_COMMAND and with a terminal as input, a sentence on stderr and no error."""
    master, slave = os.openpty()
    try:
        done = subprocess.run(
            [executables.bin / "multi-nic-ipam"], stdin=slave, env={}, capture_output=True, check=False, timeout=60
        )
    finally:
        os.close(master)
        os.close(slave)
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.startswith(b"CNI plugin multi-nic-ipam:")
    assert done.stderr.count(b"\n") == 1


async def test_input_that_never_ends_does_not_hold_up_an_error(executables):
    """The version of an error is read from stdin only as far as it comes within a second."""
    reader, writer = os.pipe()
    try:
        with trio.fail_after(60):
            done = await trio.run_process(
                [executables.bin / "multi-nic"], stdin=reader, env={}, capture_stdout=True, check=False
            )
    finally:
        os.close(reader)
        os.close(writer)
    assert (done.returncode, b'"code": 4' in done.stdout) == (1, True)


def modules_of(*command: str | os.PathLike[str], **environment: str) -> set[str]:
    """Names that an interpreter reports having imported."""
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60
    )
    return {
        line.rpartition(b"|")[2].strip().decode()
        for line in done.stderr.splitlines()
        if line.startswith(b"import time:") and b"imported package" not in line
    }


async def test_the_fast_path_loads_only_the_socket(usual):
    """Beside what the interpreter loads to run any script, `_socket` alone: no site, json, re, enum, dataclasses."""
    nothing = usual.folder / "nothing"
    nothing.write_text("")
    script = usual.bin / "multi-nic"
    interpreter = script.read_text().partition(" ")[0].removeprefix("#!")
    start = [interpreter, "-IS", "-X", "importtime"]
    base = await trio.to_thread.run_sync(modules_of, *start, nothing)
    assert base, "the interpreter reports its imports"
    async with usual.daemon(lambda _: OK) as received:
        environment = {"CNI_COMMAND": "GC", "CNI_PATH": "/opt/cni/bin"}
        used = await trio.to_thread.run_sync(lambda: modules_of(*start, script, **environment))
    assert len(received) == 1
    assert used - base == {"_socket"}
    assert "site" not in used


async def test_the_environment_of_python_has_no_say(executables):
    """PYTHONPATH, PYTHONHOME and PYTHONSTARTUP of whoever starts the runtime change nothing."""
    (executables.folder / "_socket.py").write_text("raise SystemExit('loaded from PYTHONPATH')")
    folder = str(executables.folder)
    async with executables.daemon(lambda _: OK):
        done = await executables.run("ADD", PYTHONPATH=folder, PYTHONHOME=folder, PYTHONINSPECT="1")
    assert (done.status, done.stdout) == (0, OK[1:])


def test_an_executable_stays_small(usual):
    """Its text is read at every pod start: under 36 KiB, of which what is compiled anew is under 1 KiB."""
    text = (usual.bin / "multi-nic").read_text()
    assert len(text) < 36 << 10
    (compiled,) = [line for line in text.splitlines() if line.startswith("COMPILED = ")]
    sources = [Path(module.__file__).read_text() for module in (call, fallback)]
    assert len(text) - len(compiled) - sum(map(len, sources)) < 1 << 10


async def test_another_interpreters_bytecode_is_not_used(usual):
    """After an upgrade of the interpreter the source is compiled instead."""
    path = usual.bin / "multi-nic"
    text = path.read_text()
    stale = text.replace('MAGIC_NUMBER.hex() == "', 'MAGIC_NUMBER.hex() == "00').replace(
        'COMPILED = "', 'COMPILED = "00'
    )
    assert stale != text
    path.write_text(stale)
    async with usual.daemon(lambda _: OK):
        done = await usual.run("ADD")
    assert (done.status, done.stdout, done.stderr) == (0, OK[1:], b"")
