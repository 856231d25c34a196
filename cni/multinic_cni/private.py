"""A private interpreter for the executables: all they need to run on a host that has no Python, in one folder.

``gather`` takes from the interpreter of this machine its program, the libraries and the loader it has in memory, and
those modules of its standard library that the executables import. ``place`` writes them into a folder of their own,
named after what is in it, and binds the program to that folder: nothing else of the host is used, however old or new
its own libraries are.

Such an interpreter serves the call it was started for within its very first import, when it has built-in modules and
nothing else; only what no daemon answers is worth the rest of the start. Where there is a first stage on another
interpreter (see ``first_stage``), that is put into a folder below, and only what no daemon answers gets to this one.

A folder never changes once it is there, so a process that has started from it can go on. ``forget`` removes folders
that another one superseded more than an hour ago, which is many times longer than any call takes.
"""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from multinic_cni.elf import loader_of, relocated, soname_of, without_search_path

OPTIONS = "-ISXutf8"
"""As for an ordinary interpreter, and UTF-8 whatever the locale: the codecs of others are not brought along."""
PROGRAM = "python"
FIRST_FOLDER, FIRST_STAGE = "first", "first/micropython"
"""The program of the first stage, in a folder of its own, as its C library may be another."""
SUPERSEDED = ".superseded"
"""An empty file in a folder that is no longer used by new processes; its time is when that was noticed."""
KEEP_SECONDS = 3600
ATTEMPTS = 10
PRELOAD = b"\0/etc/ld.so.preload\0"
"""In glibc's loader: a list of the host's libraries that every program is to load. They need the host's own libc."""
FIRST = """
early()
from encodings.usual import *
"""
"""What follows the source of ``call`` in the package ``encodings``, which CPython imports before anything else that is
not built in: before the standard streams, signal handlers and the main script, which is a fifth of a start."""
SOURCES = tuple(Path(__file__).with_name(name) for name in ("call.py", "fallback.py"))


@dataclass(frozen=True, slots=True)
class Bound:
    """A program and what it has in memory, before it is bound to a folder."""

    program: bytes
    loader: str
    """Name of the loader among ``files``."""
    files: Mapping[str, bytes]
    """Path below the folder to content, without the program."""


@dataclass(frozen=True, slots=True)
class Parts(Bound):
    """Everything a private interpreter consists of, before it is bound to a folder."""

    version: tuple[int, int]
    first: Bound | None = None
    """The interpreter of a first stage, for a folder below."""


def gather(interpreter: Path) -> Parts:
    """What this interpreter needs to run the executables.

    Raises:
        ValueError: it cannot be run here, or is no dynamically linked program of a known kind.
    """
    # A fixed seed makes equal compiled files of equal sources, so that the same parts get the same folder.
    script: list[str | Path] = [Path(__file__).with_name("collect.py"), FIRST, *SOURCES]
    command: list[str | Path] = [interpreter, "-sSBOO", "-Xutf8", *script]
    try:
        done = subprocess.run(command, env={"PYTHONHASHSEED": "0"}, capture_output=True, check=True)
        needs = json.loads(done.stdout)
        program = Path(needs["program"]).read_bytes()
        wanted = Path(loader_of(program)).resolve()
        files = {f"{needs['library']}/{name}": bytes.fromhex(code) for name, code in needs["modules"].items()}
        _put_first(files, f"{needs['library']}/encodings/", bytes.fromhex(needs["first"]))
        # The interpreter takes the folder for its own by this one, empty or not.
        files[f"{needs['library']}/lib-dynload/.folder"] = b""
        loader = ""
        for path in map(Path, needs["machine_code"]):
            if path == Path(needs["program"]):
                continue
            content, name = path.read_bytes(), soname_of(path.read_bytes())
            if path == wanted:
                loader = name or path.name
                files[loader] = without_preload(content)
            elif name:
                files[name] = without_search_path(content)
            else:
                files[f"{needs['library']}/lib-dynload/{path.name}"] = without_search_path(content)
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ValueError(f"interpreter: found {str(interpreter)!r}, which does not run here: {last}") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"interpreter: cannot make {str(interpreter)!r} self-contained: {error}") from error
    if not loader:
        raise ValueError(f"interpreter: found no loader {str(wanted)!r} in memory of {str(interpreter)!r}")
    return Parts(program, loader, files, (needs["version"][0], needs["version"][1]))


def without_preload(loader: bytes) -> bytes:
    """A loader that does not look for the host's list of libraries that every program is to load."""
    return loader.replace(PRELOAD, PRELOAD.replace(b"/", b"\0", 1))


def _put_first(files: dict[str, bytes], package: str, first: bytes) -> None:
    """Let the interpreter's first import begin with ours; when that returns, it goes on with the usual one."""
    if usual := files.get(f"{package}__init__.pyc"):  # else it is built in, and the calls take the longer way
        files |= {f"{package}usual.pyc": usual, f"{package}__init__.pyc": first}


def place(parts: Parts, folder: Path, root: Path) -> Path:
    """The program of a private interpreter in a folder below this one, made if it is not there yet.

    Args:
        parts: what `gather` gave.
        folder: the path on the host; may not exist yet.
        root: where the host's file system is here.

    Raises:
        OSError: it cannot be written.
    """
    below_home = dict(parts.files)
    if parts.first:
        below_home |= {f"{FIRST_FOLDER}/{name}": content for name, content in parts.first.files.items()}
    digest = hashlib.sha256(parts.program + (parts.first.program if parts.first else b""))
    for name, content in sorted(below_home.items()):
        digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
    # A damaged folder of that name is left alone, because someone may be running in it, and a next name is taken.
    for attempt in range(ATTEMPTS):
        home = folder / (digest.hexdigest()[:16] + (f"-{attempt}" if attempt else ""))
        here = below(root, home)
        files = {**below_home, PROGRAM: relocated(parts.program, str(home / parts.loader), str(home))}
        started = {PROGRAM, parts.loader}
        if parts.first:
            first, loader = home / FIRST_FOLDER, f"{FIRST_FOLDER}/{parts.first.loader}"
            files[FIRST_STAGE] = relocated(parts.first.program, str(home / loader), str(first))
            started |= {FIRST_STAGE, loader}
        if not here.exists():
            _write(files, here, started)
        if all(_is(here / name, content) for name, content in files.items()):
            return home / PROGRAM
    raise OSError(errno.EIO, f"found other content than was written, {ATTEMPTS} times", str(here))


def forget(current: Path, root: Path) -> None:
    """Remove the folders beside the current one that were superseded long ago; note those that are so only now.

    Args:
        current: what `place` gave, now named by all executables.
        root: as for `place`.
    """
    home = below(root, current.parent)
    (home / SUPERSEDED).unlink(missing_ok=True)
    for folder in home.parent.iterdir():
        note = folder / SUPERSEDED
        if folder == home or not folder.is_dir():
            continue
        if not note.exists():
            note.touch()
        elif note.stat().st_mtime < time.time() - KEEP_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def below(root: Path, path: Path) -> Path:
    """Where an absolute path of the host is here."""
    return root / path.relative_to("/")


def _is(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def _write(files: Mapping[str, bytes], target: Path, executable: set[str]) -> None:
    """A folder with these files, complete from the first instant that it is there; another's is left as it is."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=".", dir=target.parent))
    try:
        for name, content in files.items():
            path = unfinished / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                file.write(content)
                os.fchmod(file.fileno(), 0o755 if name in executable else 0o644)
                # Or a power failure could leave a folder of that name with empty files.
                os.fsync(file.fileno())
        for path in (unfinished, *unfinished.rglob("*/")):
            path.chmod(0o755)
        unfinished.rename(target)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:  # which says that another process was first
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
