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
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from ..kernel.supervisor import GUEST_FAILED, TIMED_OUT, die_with_parent, private_folder
from ..kernel.uml import kept_folders, write_modprobe
from ..provision import tools
from . import initrd, pc

MEMORY_MB = 2048
CONSOLE_LINES = 30


def run_in_pc(argv: Sequence[str], *, timeout_seconds: float) -> int:
    """Run `argv` in the emulated PC, from this folder and with this process's environment, output to ours; blocking.

    Args:
        argv: the command; the guest sees the host's files at their paths, and writes only to its memory.
        timeout_seconds: for boot and command together.

    Returns:
        The command's exit status: 128 + number for a signal, 124 for time up, 125 for a PC that failed.

    Raises:
        ToolMissingError: QEMU, its kernel, kmod or busybox is not there.
    """
    with contextlib.ExitStack() as undo:
        folder = undo.enter_context(private_folder("mnpc-"))
        console = undo.enter_context((folder / "console.log").open("w+b"))
        _prepare(folder, argv)
        reader, writer = os.pipe()
        output = undo.enter_context(os.fdopen(reader, "rb", buffering=0))
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
        if not _show(output, time.monotonic() + timeout_seconds):
            _explain(f"the time of {timeout_seconds:.0f} s is up", console)
            return TIMED_OUT
        process.wait()
        said = (folder / "status").read_text().strip() if (folder / "status").exists() else ""
        if not said.isdigit():
            _explain(f"it went off without an exit status, QEMU with {process.returncode}", console)
            return GUEST_FAILED
        return int(said)


def _prepare(folder: Path, argv: Sequence[str]) -> None:
    """Fill the machine's folder: what process 1 is told, the program that starts it, and what is booted."""
    _, modules = pc.kernel()
    write_modprobe(folder, modules.parent)
    order = {
        "argv": list(argv),
        "env": tools.environment() | {"COLUMNS": os.environ.get("COLUMNS", "120")},
        "cwd": str(Path.cwd()),
        "folder": str(folder),
        "keep": [str(path) for path in kept_folders(Path.cwd(), folder)],
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
    python = shlex.join([sys.executable, "-I", "-S", "-B", "-c", code, str(folder / "order.json")])
    start = folder / "start"
    start.write_text(f"#!/bin/sh\nexec {python} </dev/null >/dev/console 2>&1\n")
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


def _explain(reason: str, console: BinaryIO) -> None:
    """Say what became of the PC, with the end of its console."""
    console.seek(0)
    tail = console.read().decode(errors="replace").strip().splitlines()[-CONSOLE_LINES:]
    sys.stderr.write("\n".join([f"emulated PC: {reason}; its console said:", *(f"  {line}" for line in tail), ""]))
