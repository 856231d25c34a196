"""A MicroPython for the first stage of the executables: its program, its libraries and their loader.

It is told by itself what it has in memory, so that it may also be one that a script starts in a way of its own, as one
whose C library is newer than the machine's.
"""

import subprocess
from pathlib import Path

from multinic_cni.elf import loader_of, soname_of, without_search_path
from multinic_cni.private import Bound, without_preload

QUESTION = """
import ffi, uarray, uctypes, uio, uos, usocket, utime
ffi.open(None).func("i", "memfd_create", "sI")
for line in uio.open("/proc/self/maps"):
    if " /" in line:
        print(line[line.index(" /") + 1:].rstrip("\\n"))
"""
"""Prints the files in its memory, when it has all that the first stage needs."""
MAGIC = b"\x7fELF"


def gather_first_stage(micropython: Path) -> Bound:
    """What this MicroPython consists of.

    Raises:
        ValueError: it cannot be run here, or lacks a module, or is no dynamically linked program of a known kind.
    """
    wanted = f"first-stage: found {str(micropython)!r}, expected a MicroPython for Unix with its module ffi"
    try:
        done = subprocess.run([micropython, "-c", QUESTION], env={}, capture_output=True, check=True, timeout=60)
        paths = [Path(line) for line in sorted(set(done.stdout.decode().splitlines()))]
        code = [content for path in paths if (content := path.read_bytes())[:4] == MAGIC]
        # Libraries have a name for others to ask for them by; a program has none.
        (program,) = [content for content in code if not soname_of(content)]
        loader = Path(loader_of(program)).name
        files = {soname_of(content): without_search_path(content) for content in code if content != program}
        files[loader] = without_preload(next(content for content in code if soname_of(content) == loader))
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ValueError(f"{wanted}: {last}") from error
    except (OSError, ValueError, StopIteration, subprocess.TimeoutExpired) as error:
        raise ValueError(f"{wanted}: {error}") from error
    return Bound(program, loader, files)
