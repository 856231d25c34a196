"""The host's side: boots the emulated PC, runs one command in it, shows what it prints, and ends it without fail.

The PC ends when the command ends, when the time is up, and (by the kernel's parent-death signal) when this process
ends. Everything it needs is in a folder of its own that goes with it; no root is needed.
"""

import contextlib
import json
import os
import selectors
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from ..kernel.supervisor import GUEST_FAILED, TIMED_OUT, die_with_parent, private_folder
from ..kernel.uml import kept_folders, write_modprobe
from ..provision import tools
from . import initrd, pc

MEMORY_MB = 2048
CONSOLE_LINES = 30


def run_in_pc(argv: Sequence[str], env: Mapping[str, str], *, cwd: Path, timeout_seconds: float) -> int:
    """Run `argv` in the emulated PC, output to ours; blocking.

    Args:
        argv: the command; the guest sees the host's files at their paths, and writes only to its memory.
        env: its whole environment.
        cwd: where it starts.
        timeout_seconds: for boot and command together.

    Returns:
        The command's exit status: 128 + number for a signal, 124 for time up, 125 for a PC that failed.

    Raises:
        ToolMissingError: QEMU, its kernel or busybox is not there.
    """
    with contextlib.ExitStack() as undo:
        folder = undo.enter_context(private_folder("mnpc-"))
        console = undo.enter_context((folder / "console.log").open("w+b"))
        _prepare(folder, argv, env, cwd)
        reader, writer = os.pipe()
        with os.fdopen(reader, "rb", buffering=0) as output:
            try:
                process = subprocess.Popen(
                    pc.command_line(folder, MEMORY_MB, writer, console.fileno()),
                    stdin=subprocess.DEVNULL,
                    stdout=console,
                    stderr=console,
                    pass_fds=(writer, console.fileno()),
                    start_new_session=True,
                    # Safe here: this process has one thread, and the call only marks the child.
                    preexec_fn=die_with_parent,
                )
            finally:
                os.close(writer)
            undo.callback(process.wait)
            undo.callback(process.kill)
            in_time = _show(output, time.monotonic() + timeout_seconds)
            if not in_time:
                sys.stderr.write(f"emulated PC: the time of {timeout_seconds:.0f} s is up\n")
                return TIMED_OUT
            process.wait()
        said = (folder / "status").read_text().strip() if (folder / "status").exists() else ""
        if not said.isdigit():
            return _failed(f"it went off without an exit status (QEMU ended with {process.returncode})", console)
        return int(said)


def _prepare(folder: Path, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
    _, modules = pc.kernel()
    write_modprobe(folder, modules.parent)
    order = {
        "argv": list(argv),
        "env": dict(env),
        "cwd": str(cwd),
        "folder": str(folder),
        "keep": [str(path) for path in kept_folders(cwd, folder)],
        "modules": pc.MODULES,
        "output": pc.OUTPUT,
        "status": pc.STATUS,
    }
    (folder / "order.json").write_text(json.dumps(order))
    package = Path(__file__).resolve().parent
    code = (
        f"import sys; sys.path.insert(0, {str(package.parent.parent)!r}); "
        f"from {package.parent.name}.{package.name}.inside import main; main()"
    )
    start = folder / "start"
    start.write_text(
        "#!/bin/sh\n"
        "exec </dev/null >/dev/console 2>&1\n"
        f"exec {shlex.join([sys.executable, '-I', '-S', '-B', '-c', code, str(folder / 'order.json')])}\n"
    )
    start.chmod(0o700)
    initrd.build(folder / "initrd", tools.find("busybox"), modules, [str(start)])


def _show(output: BinaryIO, deadline: float) -> bool:
    """Pass on all there is; False when the deadline came first."""
    os.set_blocking(output.fileno(), False)
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not selector.select(left):
                continue
            data = output.read(65_536)
            if not data:
                return True
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
    return False


def _failed(reason: str, console: BinaryIO) -> int:
    console.seek(0)
    tail = console.read().decode(errors="replace").strip().splitlines()[-CONSOLE_LINES:]
    sys.stderr.write("\n".join([f"emulated PC: {reason}; its console said:", *(f"  {line}" for line in tail), ""]))
    return GUEST_FAILED
