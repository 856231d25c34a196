"""``multinic-cni install``: write the executables ``multi-nic`` and ``multi-nic-ipam`` into a folder.

Each is one text file (see ``text``). It needs no package, no virtual environment and no site folder at run time, so it
can be copied to a host from a container image. A file appears under its name in one rename: a runtime that is just
starting the old one keeps the old one. The self-contained form has a private interpreter in its first line, which
``private`` has put beside the executables before: the same one, or a small one that starts the other when it must.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from multinic_cni.call import ANSWER_SECONDS
from multinic_cni.first_stage import gather_first_stage
from multinic_cni.private import FIRST_STAGE, PROGRAM, Bound, Parts, below, forget, gather, place
from multinic_cni.private import OPTIONS as PRIVATE_OPTIONS
from multinic_cni.text import render, render_first, render_handover, render_second, require_startable

NAMES = ("multi-nic", "multi-nic-ipam")
SOCKET = Path("/run/multinic/cni.sock")
LIBRARY = ".multinic"
"""Folder of private interpreters beside the executables; hidden, so that nobody takes it for a plugin."""
OLDEST = (3, 11)
USUAL = Path("/usr/bin/python3")
"""The distribution's interpreter: no virtual environment to find and no shared library of its own to load."""
MICROPYTHON = "micropython"
"""What is looked for to run a first stage."""
HANDOVER, SECOND = "first/handover", "second"
"""In the folder of a private interpreter: what the first stage goes on with, and what that starts CPython with."""
STANDALONE_NEEDS = "import multinic_cni.standalone, multinic_daemon.standalone"


def choose_interpreter() -> Path:
    """The usual one when it is new enough, else the one this virtual environment was made from."""
    question = f"import sys; sys.exit(sys.version_info < {OLDEST})"
    if os.access(USUAL, os.X_OK) and subprocess.run([USUAL, "-IS", "-c", question], check=False).returncode == 0:
        return USUAL
    return Path(getattr(sys, "_base_executable", sys.executable))


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
    first_stage: Bound | None = None,
    parts: Parts | None = None,
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
        first_stage: what `gather_first_stage` gave, for each call to start on; None: it starts on the interpreter.
        parts: what `gather` gave for the same interpreter, to install it several times; None: it is gathered now.

    Raises:
        ValueError: as `render`, or an interpreter cannot be copied, or a path is relative.
        OSError: something cannot be written.
    """
    library = library or folder / LIBRARY
    for path in (folder, library):
        if not path.is_absolute():
            raise ValueError(f"folder: found {str(path)!r}, expected an absolute path")
    # All that can be refused is refused before anything is written.
    started, options = (FIRST_STAGE, "") if first_stage else (PROGRAM, PRIVATE_OPTIONS)
    require_startable(library / ("0" * 16) / started, options, socket, seconds)
    source = interpreter or choose_interpreter()
    parts = parts or gather(source)
    if parts.version < OLDEST:
        raise ValueError(f"interpreter: found Python {parts.version} at {str(source)!r}, expected {OLDEST} or newer")
    if first_stage:
        stages = {HANDOVER: render_handover(), SECOND: render_second(source)}
        parts = replace(parts, first=first_stage, files={**parts.files, **stages})
    program = place(parts, library, root)
    home = program.parent

    def text(name: str) -> bytes:
        if not first_stage:
            return render(
                name,
                socket,
                program,
                options=PRIVATE_OPTIONS,
                compiler=source,
                seconds=seconds,
                standalone=standalone,
            )
        second = (str(program), PRIVATE_OPTIONS, str(home / SECOND))
        return render_first(
            name, socket, home / FIRST_STAGE, home / HANDOVER, second, seconds=seconds, standalone=standalone
        )

    texts = {name: text(name) for name in NAMES}
    written = _replace_all(below(root, folder), texts)
    forget(program, root)
    return written


def choose_first_stage(wanted: Path | None) -> tuple[Bound | None, str]:
    """What calls are to start on: the one named, else the one on PATH, else none, and then why.

    Raises:
        ValueError: the one named cannot be taken.
    """
    if wanted:
        return gather_first_stage(wanted), ""
    found = shutil.which(MICROPYTHON)
    if not found:
        return None, f"first-stage: found no {MICROPYTHON!r} on PATH"
    try:
        return gather_first_stage(Path(found)), ""
    except ValueError as error:
        return None, str(error)


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
        "--first-stage",
        type=Path,
        metavar="MICROPYTHON",
        help="what calls start on with --self-contained, for speed (default: micropython on PATH, if it is there)",
    )
    command.add_argument(
        "--standalone-python",
        type=Path,
        metavar="PYTHON",
        help="interpreter with multinic-daemon and plugins, for networks without a daemon (default: the one running"
        " this, or none below another --root)",
    )
    options = parser.parse_args(arguments)
    for option, value in (("--lib-dir", options.lib_dir), ("--first-stage", options.first_stage)):
        if value and not options.self_contained:
            parser.error(f"{option}: only with --self-contained")
    folder = options.bin_dir.absolute()
    try:
        standalone = choose_standalone(options.standalone_python, options.root)
        first_stage, without = choose_first_stage(options.first_stage) if options.self_contained else (None, "")
        if options.self_contained:
            written = install_self_contained(
                folder,
                options.socket,
                options.interpreter,
                library=options.lib_dir,
                root=options.root,
                seconds=options.answer_seconds,
                standalone=standalone,
                first_stage=first_stage,
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
    if without:
        sys.stderr.write(f"multinic-cni: {without}; a call takes four times as long without it\n")
    for path in written:
        sys.stdout.write(f"{path}\n")
    return 0
