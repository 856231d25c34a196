"""Trio's view of a guest: start it, read its output, speak with sockets in it, and be sure it ends."""

import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from ..provision import tools

END_SECONDS = 30.0
"""The supervisor ends within its own bounds, well below this."""


class Guest:
    """A running guest. `output` is the command's standard output as bytes; its standard error is this
    process's own."""

    def __init__(self, process: trio.Process, control: Path) -> None:
        self._process, self._control = process, control
        assert process.stdout is not None
        self.output: trio.abc.ReceiveStream = process.stdout

    async def connect(self, path: str) -> trio.SocketStream:
        """Connect to the unix socket at `path` in the guest. The stream ends at once when nobody listens
        there."""
        stream = await trio.open_unix_socket(str(self._control))
        await stream.send_all(f"unix:{path}\n".encode())
        return stream

    async def wait(self) -> int:
        """The command's exit status once it has ended: 128 + number for a signal, 124 for time up, 125 for a
        failed guest."""
        return await self._process.wait()

    def terminate(self) -> None:
        """Pass SIGTERM to the command; the guest ends when it has ended, or 10 s later."""
        self._process.terminate()


@asynccontextmanager
async def open_guest(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    memory_mb: int = 1024,
    timeout_seconds: float = 600.0,
    keep: Sequence[Path] = (),
) -> AsyncIterator[Guest]:
    """Boot a guest that runs `argv` (in `cwd`, with `env` over the tools' environment) until the block or the
    command ends.

    Leaving the block, by whatever way, ends the command and the guest before it returns. The guest also ends
    when this process dies. The command may not have started yet when the block begins; connections wait until
    somebody listens only if the caller retries.

    Raises:
        ToolMissingError: User Mode Linux or kmod is missing.
    """
    for name in ("linux.uml", "modprobe"):
        tools.find(name)
    with tempfile.TemporaryDirectory(prefix="mnctl-") as folder:
        control = Path(folder, "control.sock")
        command = [sys.executable, "-m", "multinic_lab.kernel", f"--memory={memory_mb}", f"--timeout={timeout_seconds}"]
        command += [f"--control={control}", *(f"--keep={path}" for path in keep), "--", *argv]
        process = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            cwd=cwd,
            env=tools.environment() | dict(env or {}),
        )
        try:
            # The supervisor listens before it boots; a process that ended instead shows in `wait`.
            with trio.fail_after(END_SECONDS):
                while not await trio.Path(control).exists() and process.poll() is None:  # noqa: ASYNC110 - another process tells nobody
                    await trio.sleep(0.01)
            yield Guest(process, control)
        finally:
            with trio.CancelScope(shield=True):
                await _end(process)


async def _end(process: trio.Process) -> None:
    """Ask the supervisor to stop and wait; its guest dies with it even if it has to be killed."""
    if process.poll() is None:
        process.terminate()
    assert process.stdout is not None
    with trio.move_on_after(END_SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_discard, process.stdout)
            await process.wait()
            nursery.cancel_scope.cancel()
    if process.poll() is None:
        process.kill()
        await process.wait()
    await process.stdout.aclose()


async def _discard(stream: trio.abc.ReceiveStream) -> None:
    """Read what nobody wants any more, so that a full pipe does not hold the supervisor."""
    try:
        async for _ in stream:
            pass
    except (trio.ClosedResourceError, trio.BusyResourceError):
        return


def run_in_guest(argv: Sequence[str], *, memory_mb: int = 1024, timeout_seconds: float = 600.0) -> int:
    """Run `argv` in a guest here and now, output to ours; its exit status (as `Guest.wait`). Blocking."""
    command = [sys.executable, "-m", "multinic_lab.kernel", f"--memory={memory_mb}", f"--timeout={timeout_seconds}"]
    return subprocess.run(
        [*command, "--", *argv], stdin=subprocess.DEVNULL, env=tools.environment(), check=False
    ).returncode
