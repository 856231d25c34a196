"""Installed executables, run as a runtime runs them, and a daemon that does exactly what a test says."""

import atexit
import json
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import trio
from multinic_cni.call import ANSWER_SECONDS
from multinic_cni.first_stage import gather_first_stage
from multinic_cni.install import choose_interpreter, install, install_self_contained
from multinic_cni.private import Bound, Parts, gather
from multinic_lab.provision import tools

NETCONF = {"cniVersion": "1.0.0", "name": "multinic-sample", "type": "multi-nic"}
ENVIRONMENT = {
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/c1",
    "CNI_IFNAME": "net1",
    "CNI_ARGS": "K8S_POD_NAMESPACE=default;K8S_POD_NAME=p;IP=10.0.0.1/16",
    "CNI_PATH": "/opt/cni/bin",
}


@dataclass(frozen=True)
class Outcome:
    """What one run printed, how it ended, and the answer as JSON ({} when nothing was printed)."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def answer(self) -> dict:
        return json.loads(self.stdout) if self.stdout else {}


USUAL, PRIVATE, QUICK = "usual", "self-contained", "first stage"
FORMS = (USUAL, QUICK)


@cache
def interpreter() -> Parts:
    """What a self-contained form of the usual interpreter consists of."""
    return gather(choose_interpreter())


@cache
def first_stage() -> Bound:
    """A MicroPython; a test that needs it where there is none is reported by name at the end."""
    try:
        return gather_first_stage(tools.find("micropython"))
    except tools.ToolMissingError as error:
        pytest.skip(f"{WITHOUT}{error}")


@cache
def library() -> Path:
    """A folder of private interpreters for all tests of a process."""
    folder = Path(tempfile.mkdtemp(prefix="multinic-cni-library-"))
    atexit.register(shutil.rmtree, folder)
    return folder


WITHOUT = "without a first stage: "


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests that could not run for want of a first stage."""
    for report in terminalreporter.stats.get("skipped", []):
        if WITHOUT in str(report.longrepr):
            terminalreporter.write_line(f"NOT RUN {report.nodeid}: {report.longrepr[2]}", red=True)


class Executables:
    """Both executables in a folder of their own, for a socket of their own."""

    def __init__(self, folder: Path, form: str = USUAL) -> None:
        self.folder = folder
        self.socket = folder / "run" / "cni.sock"
        self.bin = folder / "bin"
        self.form = form
        self.limits: dict[str, float] = {}
        self.install()

    def install(self, **options: Any) -> None:
        """Write both anew, in the same form."""
        if self.form == USUAL:
            install(self.bin, self.socket, **options)
            return
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("multinic_cni.install.gather", lambda _: interpreter())
            first = first_stage() if self.form == QUICK else None
            install_self_contained(self.bin, self.socket, library=library(), first_stage=first, **options)

    def command(self, plugin: str) -> list[str]:
        """What a runtime would start."""
        return [str(self.bin / plugin)]

    @property
    def tombstones(self) -> list[Path]:
        return sorted((self.socket.parent / "tombstones").glob("*"))

    def shorten(self, constant: str, seconds: float) -> None:
        """Write a smaller limit into both executables, so that no test has to wait for the real one."""
        paths = list(self.bin.iterdir())
        if self.form == QUICK:
            self.limits[constant] = seconds
            self.install(seconds=int(self.limits.get("ANSWER_SECONDS", ANSWER_SECONDS)))
            paths = [self.own_second_stage()]
        for path in paths:
            text = path.read_text()
            for name, value in (self.limits or {constant: seconds}).items():
                text, changed = re.subn(rf"^{name} = .*$", f"{name} = {value}", text, flags=re.M)
                assert changed, name
            path.write_text(text.replace('MAGIC_NUMBER.hex() == "', 'MAGIC_NUMBER.hex() == "not '))  # use the source

    def own_second_stage(self) -> Path:
        """A copy of the second stage, which is that of all tests, for these executables alone."""
        own = self.folder / "second"
        for path in self.bin.iterdir():
            text = path.read_text()
            home = Path(text.partition("\n")[0].removeprefix("#!")).parents[1]
            own.write_text((home / "second").read_text())
            path.write_text(text.replace(f"{home}/second", str(own)))
        return own

    async def run(
        self,
        command: str | None,
        stdin: bytes | str | Mapping[str, object] = NETCONF,
        plugin: str = "multi-nic",
        **changes: str | None,
    ) -> Outcome:
        """One call; ``changes`` set a variable of ENVIRONMENT, or remove it with None."""
        wanted = ENVIRONMENT | {"CNI_COMMAND": command} | changes
        if isinstance(stdin, Mapping):
            stdin = json.dumps(stdin)
        with trio.fail_after(60):
            done = await trio.run_process(
                self.command(plugin),
                stdin=stdin.encode() if isinstance(stdin, str) else stdin,
                env={key: value for key, value in wanted.items() if value is not None},
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
        return Outcome(done.returncode, done.stdout, done.stderr)

    @asynccontextmanager
    async def daemon(self, reply: Callable[[bytes], bytes | None]) -> AsyncIterator[list[bytes]]:
        """A daemon that answers each whole request with ``reply(request)``, or never with None.

        Gives the requests received, in order.
        """
        received: list[bytes] = []

        async def serve(stream: trio.SocketStream) -> None:
            parts = [part async for part in stream]
            received.append(b"".join(parts))
            answer = reply(received[-1])
            if answer is None:
                await trio.sleep_forever()
            else:
                await stream.send_all(answer)
                await stream.aclose()

        self.socket.parent.mkdir(exist_ok=True)
        with trio.socket.socket(trio.socket.AF_UNIX) as sock:
            await sock.bind(str(self.socket))
            sock.listen(64)
            async with trio.open_nursery() as nursery:
                await nursery.start(trio.serve_listeners, serve, [trio.SocketListener(sock)])
                yield received
                nursery.cancel_scope.cancel()
        self.socket.unlink()


@contextmanager
def installed(form: str) -> Iterator[Executables]:
    # Not tmp_path: the path of a unix socket holds 107 bytes at most.
    folder = Path(tempfile.mkdtemp(prefix="multinic-cni-"))
    try:
        yield Executables(folder, form)
    finally:
        shutil.rmtree(folder)


@pytest.fixture(params=FORMS)
def executables(request: pytest.FixtureRequest) -> Iterator[Executables]:
    """Executables of each form in turn."""
    with installed(request.param) as found:
        yield found


@pytest.fixture
def usual() -> Iterator[Executables]:
    """Executables of the usual form."""
    with installed(USUAL) as found:
        yield found


@pytest.fixture
def early() -> Iterator[Executables]:
    """Executables of the self-contained form without a first stage."""
    with installed(PRIVATE) as found:
        yield found


@pytest.fixture(params=(PRIVATE, QUICK))
def brought(request: pytest.FixtureRequest) -> Iterator[Executables]:
    """Executables of each form that brings its interpreter, in turn."""
    with installed(request.param) as found:
        yield found


@pytest.fixture
def quick() -> Iterator[Executables]:
    """Executables with a first stage."""
    with installed(QUICK) as found:
        yield found
