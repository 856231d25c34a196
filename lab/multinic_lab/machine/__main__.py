"""``python -m multinic_lab.machine``: the agent, on standard input and output, descriptors, or a unix socket."""

from __future__ import annotations

import logging
import os
import socket
import stat
import sys
from pathlib import Path

import click
import trio

from multinic_lab.machine.launcher import fork_launcher, preload


@click.command()
@click.option("--fds", type=int, nargs=2, help="Inherited descriptors to read requests from and to answer on.")
@click.option("--listen", "path", type=click.Path(path_type=Path), help="Unix socket to listen on for one controller.")
@click.option("--log-level", default="WARNING", show_default=True, help="Level of the messages on standard error.")
def main(fds: tuple[int, int] | None, path: Path | None, log_level: str) -> None:
    """Run the machine part of a lab for one controller, until it goes away."""
    logging.basicConfig(level=log_level.upper(), format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    if fds is None and path is None:
        # Whatever prints by mistake must not end up within the protocol.
        fds = (os.dup(0), os.dup(1))
        os.dup2(2, 1)
    listener = _listen(path) if path is not None else None
    preload()
    launcher, pid = fork_launcher()
    try:
        trio.run(_run, launcher, listener, fds)
    finally:
        if path is not None:
            path.unlink(missing_ok=True)
        launcher.close()
        os.waitpid(pid, 0)


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path.unlink(missing_ok=True)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(4)
    return listener


async def _run(launcher: socket.socket, listener: socket.socket | None, fds: tuple[int, int] | None) -> None:
    # Imported here, after the fork: the launcher needs none of it.
    from multinic_lab.machine.agent import Agent
    from multinic_lab.machine.launching import Launcher

    if listener is not None:
        listener.setblocking(False)
        with trio.socket.from_stdlib_socket(listener) as door:
            connection, _ = await door.accept()
        stream: trio.abc.Stream = trio.SocketStream(connection)
    else:
        assert fds is not None
        stream = inherited_stream(*fds)
    await Agent(stream, Launcher(launcher)).run()


def inherited_stream(read: int, write: int) -> trio.abc.Stream:
    """A stream over inherited descriptors; one socket may serve as both."""
    if read == write and stat.S_ISSOCK(os.fstat(read).st_mode):
        sock = socket.socket(fileno=read)
        sock.setblocking(False)
        return trio.SocketStream(trio.socket.from_stdlib_socket(sock))
    return trio.StapledStream(trio.lowlevel.FdStream(write), trio.lowlevel.FdStream(read))


if __name__ == "__main__":
    main()
