"""``multinic-cni install``: write the executables ``multi-nic`` and ``multi-nic-ipam`` into a folder.

Each is one text file: a first line naming the interpreter, the sources of ``call`` and ``fallback``, the compiled
form of ``call``, and a last line that starts it with the socket's path. It needs no package, no virtual environment
and no site folder at run time, so it can be copied to a host from a container image. A file appears under its name
in one rename: a runtime that is just starting the old one keeps the old one. The self-contained form is the same file
with a private interpreter in its first line, which ``private`` has put beside the executables before.

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

from multinic_cni.call import ANSWER_SECONDS, MARK
from multinic_cni.private import OPTIONS as PRIVATE_OPTIONS
from multinic_cni.private import PROGRAM, below, forget, gather, place

NAMES = ("multi-nic", "multi-nic-ipam")
SOCKET = Path("/run/multinic/cni.sock")
LIBRARY = ".multinic"
"""Folder of private interpreters beside the executables; hidden, so that nobody takes it for a plugin."""
OLDEST = (3, 11)
USUAL = Path("/usr/bin/python3")
"""The distribution's interpreter: no virtual environment to find and no shared library of its own to load."""
OPTIONS = "-IS"
"""-I takes no notice of PYTHON* variables, -S looks for no site. One word: a first line carries no more."""
SHEBANG_LIMIT = 127
"""Bytes of a first line that every kernel takes whole. Source: linux/binfmts.h, BINPRM_BUF_SIZE before 5.1."""

COMPILER = """
import marshal, sys
from _frozen_importlib_external import MAGIC_NUMBER
code = compile(sys.stdin.read(), "multinic_cni.call", "exec", optimize=2)
print(MAGIC_NUMBER.hex(), marshal.dumps(code).hex())
"""
"""What the chosen interpreter runs to compile ``call``."""

STANDALONE_NEEDS = "import multinic_cni.standalone, multinic_daemon.standalone"

TEMPLATE = '''"""{name} of multinic, written by "multinic-cni install": hands a CNI call to the daemon of this node."""

CALL = {call}

FALLBACK = {fallback}

import marshal
from _frozen_importlib_external import MAGIC_NUMBER

COMPILED = "{code}"
exec(marshal.loads(bytes.fromhex(COMPILED)) if MAGIC_NUMBER.hex() == "{magic}" else CALL)
ANSWER_SECONDS = {seconds}
STANDALONE_PYTHON = {standalone!r}
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


def render(
    name: str,
    socket: Path,
    interpreter: Path,
    *,
    options: str = OPTIONS,
    compiler: Path | None = None,
    seconds: int = ANSWER_SECONDS,
    standalone: Path | None = None,
) -> bytes:
    """The text of one executable.

    Args:
        name: of the executable.
        socket: the daemon's.
        interpreter: as the host sees it.
        options: one word for the interpreter.
        compiler: the same interpreter as it can be run here; None when that is the same path.
        seconds: how long to wait for the daemon's answer.
        standalone: the interpreter of standalone networks, as the host sees it; None: there is none.

    Raises:
        ValueError: as `require_startable`.
    """
    require_startable(interpreter, options, socket, seconds)
    here = Path(__file__).parent
    call = (here / "call.py").read_text()
    magic, code = compiled_by(compiler or interpreter, call)
    text = TEMPLATE.format(
        name=name,
        call=_literal(call),
        fallback=_literal((here / "fallback.py").read_text()),
        code=code,
        magic=magic,
        seconds=seconds,
        socket=str(socket),
        plugin=name.encode(),
        standalone=str(standalone or ""),
    )
    early = MARK + b"%d %s %s\n" % (seconds, name.encode(), os.fsencode(socket))
    return _first_line(interpreter, options) + early + text.encode()


def require_startable(interpreter: Path, options: str, socket: Path, seconds: int) -> None:
    """Refuse what an executable could not be started or reach a daemon with.

    Raises:
        ValueError: the interpreter's path does not fit into a first line, or the socket's into a socket address, or
            the wait is none.
    """
    room = SHEBANG_LIMIT - len(_first_line(Path(), options))
    if len(os.fsencode(interpreter)) > room or any(c in os.fsencode(interpreter) for c in b" \t\n"):
        raise ValueError(f"interpreter: found {str(interpreter)!r}, expected no spaces and at most {room} bytes")
    if not socket.is_absolute() or len(os.fsencode(socket)) > 106 or "\n" in str(socket):
        raise ValueError(f"socket: found {str(socket)!r}, expected an absolute path of at most 106 bytes in one line")
    if seconds < 1:
        raise ValueError(f"answer-seconds: found {seconds}, expected 1 or more")


def _first_line(interpreter: Path, options: str) -> bytes:
    return b"#!" + os.fsencode(interpreter) + f" {options}\n".encode()


def _literal(source: str) -> str:
    """The source as a raw string that a person can read in the executable."""
    literal = f"r'''{source}'''"
    if ast.literal_eval(literal) != source:
        raise ValueError("a source of the executables cannot be written as a raw string")
    return literal


def install(
    folder: Path,
    socket: Path = SOCKET,
    interpreter: Path | None = None,
    *,
    seconds: int = ANSWER_SECONDS,
    standalone: Path | None = None,
) -> list[Path]:
    """Write both executables, mode 0755, replacing older ones; gives their paths.

    Args:
        folder: for the executables, as it is found here.
        socket, interpreter, seconds, standalone: as for `render`.

    Raises:
        ValueError: as `render`.
        OSError: the folder cannot be made or written.
    """
    python = interpreter or choose_interpreter()
    texts = {name: render(name, socket, python, seconds=seconds, standalone=standalone) for name in NAMES}
    return _replace_all(folder, texts)


def install_self_contained(
    folder: Path,
    socket: Path = SOCKET,
    interpreter: Path | None = None,
    *,
    library: Path | None = None,
    root: Path = Path("/"),
    seconds: int = ANSWER_SECONDS,
    standalone: Path | None = None,
) -> list[Path]:
    """Write both executables and a private copy of the interpreter for them; gives the executables' paths here.

    Args:
        folder: for the executables, as the host sees it; absolute.
        socket: the daemon's, as the host sees it.
        interpreter: the one to copy; None for the usual one.
        library: for the private interpreters of this folder's executables and nothing else; None for ``.multinic``
            in the folder.
        root: where the host's file system is here.
        seconds: how long to wait for the daemon's answer.
        standalone: as for `render`.

    Raises:
        ValueError: as `render`, or the interpreter cannot be copied, or a path is relative.
        OSError: something cannot be written.
    """
    library = library or folder / LIBRARY
    for path in (folder, library):
        if not path.is_absolute():
            raise ValueError(f"folder: found {str(path)!r}, expected an absolute path")
    # All that can be refused is refused before anything is written.
    require_startable(library / ("0" * 16) / PROGRAM, PRIVATE_OPTIONS, socket, seconds)
    source = interpreter or choose_interpreter()
    parts = gather(source)
    if parts.version < OLDEST:
        raise ValueError(f"interpreter: found Python {parts.version} at {str(source)!r}, expected {OLDEST} or newer")
    program = place(parts, library, root)
    texts = {
        name: render(
            name,
            socket,
            program,
            options=PRIVATE_OPTIONS,
            compiler=source,
            seconds=seconds,
            standalone=standalone,
        )
        for name in NAMES
    }
    written = _replace_all(below(root, folder), texts)
    forget(program, root)
    return written


def choose_standalone(wanted: Path | None, root: Path) -> Path | None:
    """The interpreter of standalone networks, as the host sees it.

    Args:
        wanted: by name; None: this one, which is there for the host only where its file system is ours.
        root: where the host's file system is here.

    Raises:
        ValueError: the one named can be run here and does not have what it needs.
    """
    if wanted is None:
        return Path(sys.executable) if root == Path("/") else None
    if not wanted.is_absolute():
        raise ValueError(f"standalone-python: found {str(wanted)!r}, expected an absolute path")
    if root == Path("/"):
        try:
            command = [str(wanted), "-I", "-c", STANDALONE_NEEDS]
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", None) or str(error)
            raise ValueError(
                f"standalone-python: found {str(wanted)!r}, expected an interpreter with multinic-cni and"
                f" multinic-daemon: {said.strip().rpartition(chr(10))[2]}"
            ) from error
    return wanted


def _replace_all(folder: Path, texts: dict[str, bytes]) -> list[Path]:
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
    command.add_argument(
        "--root", type=Path, default=Path("/"), help="where the host's file system is here (default: %(default)s)"
    )
    command.add_argument("--socket", type=Path, default=SOCKET, help="the daemon's socket (default: %(default)s)")
    command.add_argument(
        "--interpreter", type=Path, help=f"Python 3.11 or newer (default: {USUAL} if it is, else the one running this)"
    )
    command.add_argument(
        "--answer-seconds",
        type=int,
        default=ANSWER_SECONDS,
        metavar="N",
        help="how long to wait for the daemon, below the runtime's own limit (default: %(default)s)",
    )
    command.add_argument(
        "--self-contained", action="store_true", help="bring a private copy of the interpreter: the host needs none"
    )
    command.add_argument(
        "--lib-dir", type=Path, help=f"the private copies' own folder (default: {LIBRARY} in the runtime's folder)"
    )
    command.add_argument(
        "--standalone-python",
        type=Path,
        metavar="PYTHON",
        help="interpreter with multinic-daemon and plugins, for networks without a daemon (default: the one running"
        " this, or none below another --root)",
    )
    options = parser.parse_args(arguments)
    if options.lib_dir and not options.self_contained:
        parser.error("--lib-dir: only with --self-contained")
    folder = options.bin_dir.absolute()
    try:
        standalone = choose_standalone(options.standalone_python, options.root)
        if options.self_contained:
            written = install_self_contained(
                folder,
                options.socket,
                options.interpreter,
                library=options.lib_dir,
                root=options.root,
                seconds=options.answer_seconds,
                standalone=standalone,
            )
        else:
            written = install(
                below(options.root, folder),
                options.socket,
                options.interpreter,
                seconds=options.answer_seconds,
                standalone=standalone,
            )
    except (ValueError, OSError) as error:
        sys.stderr.write(f"multinic-cni: {error}\n")
        return 1
    for path in written:
        sys.stdout.write(f"{path}\n")
    return 0
