"""``multinic-cni install``: write the executables ``multi-nic`` and ``multi-nic-ipam`` into a folder.

Each is one text file: a first line naming the interpreter, the sources of ``call`` and ``fallback``, the compiled
form of ``call``, and a last line that starts it with the socket's path. It needs no package, no virtual environment
and no site folder at run time, so it can be copied to a host from a container image. A file appears under its name
in one rename: a runtime that is just starting the old one keeps the old one.

The compiled form saves 0.4 of 6.2 ms at each start. It is used only by an interpreter whose bytecode it is; any other,
such as the same one after an upgrade, compiles the source beside it.
"""

import argparse
import ast
import os
import subprocess
import sys
import tempfile
from pathlib import Path

NAMES = ("multi-nic", "multi-nic-ipam")
SOCKET = Path("/run/multinic/cni.sock")
OLDEST = (3, 11)
USUAL = Path("/usr/bin/python3")
"""The distribution's interpreter: no virtual environment to find and no shared library of its own to load."""
SHEBANG_LIMIT = 127
"""Bytes of a first line that every kernel takes whole. Source: linux/binfmts.h, BINPRM_BUF_SIZE before 5.1."""

COMPILER = """
import marshal, sys
from _frozen_importlib_external import MAGIC_NUMBER
code = compile(sys.stdin.read(), "multinic_cni.call", "exec", optimize=2)
print(MAGIC_NUMBER.hex(), marshal.dumps(code).hex())
"""
"""What the chosen interpreter runs to compile ``call``."""

TEMPLATE = '''"""{name} of multinic, written by "multinic-cni install": hands a CNI call to the daemon of this node."""

CALL = {call}

FALLBACK = {fallback}

import marshal
from _frozen_importlib_external import MAGIC_NUMBER

COMPILED = "{code}"
exec(marshal.loads(bytes.fromhex(COMPILED)) if MAGIC_NUMBER.hex() == "{magic}" else CALL)
run({socket!r}, {plugin!r}, FALLBACK)
'''


def choose_interpreter() -> Path:
    """The usual one when it is new enough, else the one this virtual environment was made from."""
    question = f"import sys; sys.exit(sys.version_info < {OLDEST})"
    if os.access(USUAL, os.X_OK) and subprocess.run([USUAL, "-IS", "-c", question], check=False).returncode == 0:
        return USUAL
    return Path(getattr(sys, "_base_executable", sys.executable))


def compiled_by(interpreter: Path, source: str) -> tuple[str, str]:
    """The magic number of an interpreter's bytecode and the bytecode, both in hexadecimal.

    Both are "" when it does not run here, as one of a host does not in the container that installs for it.
    """
    try:
        done = subprocess.run(
            [interpreter, "-IS", "-c", COMPILER], input=source, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "", ""
    magic, code = done.stdout.split()
    return magic, code


def render(name: str, socket: Path, interpreter: Path) -> bytes:
    """The text of one executable.

    Raises:
        ValueError: the interpreter's path does not fit into a first line, or the socket's into a socket address.
    """
    # One argument is all that a first line can carry: -I takes no notice of PYTHON* variables, -S looks for no site.
    first = b"#!" + os.fsencode(interpreter) + b" -IS\n"
    if len(first) > SHEBANG_LIMIT or any(c in os.fsencode(interpreter) for c in b" \t\n"):
        raise ValueError(f"interpreter: found {str(interpreter)!r}, expected no spaces and at most 120 bytes")
    if not socket.is_absolute() or len(os.fsencode(socket)) > 106:
        raise ValueError(f"socket: found {str(socket)!r}, expected an absolute path of at most 106 bytes")
    here = Path(__file__).parent
    call = (here / "call.py").read_text()
    magic, code = compiled_by(interpreter, call)
    text = TEMPLATE.format(
        name=name,
        call=_literal(call),
        fallback=_literal((here / "fallback.py").read_text()),
        code=code,
        magic=magic,
        socket=str(socket),
        plugin=name.encode(),
    )
    return first + text.encode()


def _literal(source: str) -> str:
    """The source as a raw string that a person can read in the executable."""
    literal = f"r'''{source}'''"
    if ast.literal_eval(literal) != source:
        raise ValueError("a source of the executables cannot be written as a raw string")
    return literal


def install(folder: Path, socket: Path = SOCKET, interpreter: Path | None = None) -> list[Path]:
    """Write both executables, mode 0755, replacing older ones; gives their paths.

    Raises:
        ValueError: as `render`.
        OSError: the folder cannot be made or written.
    """
    python = interpreter or choose_interpreter()
    texts = {name: render(name, socket, python) for name in NAMES}
    folder.mkdir(parents=True, exist_ok=True)
    return [_replace(folder / name, text) for name, text in texts.items()]


def _replace(path: Path, text: bytes) -> Path:
    descriptor, unfinished = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 -- a descriptor, not a path
            file.write(text)
            os.fchmod(descriptor, 0o755)
        Path(unfinished).rename(path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise
    return path


def main(arguments: list[str] | None = None) -> int:
    """The command ``multinic-cni``."""
    parser = argparse.ArgumentParser(prog="multinic-cni", description="The CNI executables of multinic.")
    command = parser.add_subparsers(dest="command", required=True).add_parser(
        "install", help="write multi-nic and multi-nic-ipam into a folder"
    )
    command.add_argument("--bin-dir", type=Path, required=True, help="the runtime's folder of CNI executables")
    command.add_argument("--socket", type=Path, default=SOCKET, help="the daemon's socket (default: %(default)s)")
    command.add_argument(
        "--interpreter", type=Path, help=f"Python 3.11 or newer (default: {USUAL} if it is, else the one running this)"
    )
    options = parser.parse_args(arguments)
    try:
        written = install(options.bin_dir, options.socket, options.interpreter)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"multinic-cni: {error}\n")
        return 1
    for path in written:
        sys.stdout.write(f"{path}\n")
    return 0
