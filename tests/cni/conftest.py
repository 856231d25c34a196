"""Installed executables, run as a runtime runs them, and a daemon that does exactly what a test says."""

import json
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from multinic_cni.install import install

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


class Executables:
    """Both executables in a folder of their own, for a socket of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "run" / "cni.sock"
        self.bin = folder / "bin"
        install(self.bin, self.socket)

    def command(self, plugin: str) -> list[str]:
        """What a runtime would start."""
        return [str(self.bin / plugin)]

    @property
    def tombstones(self) -> list[Path]:
        return sorted((self.socket.parent / "tombstones").glob("*"))

    def shorten(self, constant: str, seconds: float) -> None:
        """Write a smaller limit into both executables, so that no test has to wait for the real one."""
        for path in self.bin.iterdir():
            text, changed = re.subn(rf"^{constant} = .*$", f"{constant} = {seconds}", path.read_text(), flags=re.M)
            assert changed, constant
            path.write_text(text.replace('MAGIC_NUMBER.hex() == "', 'MAGIC_NUMBER.hex() == "not '))  # use the source

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
        with trio.fail_after(30):
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


@pytest.fixture
def executables() -> Iterator[Executables]:
    # Not tmp_path: the path of a unix socket holds 107 bytes at most.
    folder = Path(tempfile.mkdtemp(prefix="multinic-cni-"))
    yield Executables(folder)
    shutil.rmtree(folder)
