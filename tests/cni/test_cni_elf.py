"""Binding a program to one folder: what the loader then does, and what is no program that could be bound."""

import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from multinic_cni.elf import loader_of, relocated, soname_of, without_search_path
from multinic_cni.install import choose_interpreter

PROGRAMS = sorted({choose_interpreter().resolve(), Path(sys._base_executable).resolve()})
"""Of both ways to build an interpreter, where this machine has both: with its library inside, and beside it."""


def loaded(program: Path, **environment: str) -> dict[str, str]:
    """Library to path, as the program's loader finds them."""
    environment["LD_TRACE_LOADED_OBJECTS"] = "1"
    done = subprocess.run([program], env=environment, capture_output=True, text=True, check=True)
    words = [line.split() for line in done.stdout.splitlines()]
    return {Path(line[0]).name: line[line.index("=>") + 1] for line in words if "=>" in line}


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_a_bound_program_takes_loader_and_libraries_from_the_folder(tmp_path, program):
    """All of them, whatever LD_LIBRARY_PATH says; and it runs."""
    before = loaded(program)
    for name, path in before.items():
        (tmp_path / name).write_bytes(without_search_path(Path(path).read_bytes()))
    loader = tmp_path / "loader"
    shutil.copy(loader_of(program.read_bytes()), loader)
    bound = tmp_path / "bound"
    bound.write_bytes(relocated(program.read_bytes(), str(loader), str(tmp_path)))
    bound.chmod(0o755)
    elsewhere = str(Path(next(iter(before.values()))).parent)
    assert loaded(bound, LD_LIBRARY_PATH=elsewhere) == {name: str(tmp_path / name) for name in before}
    assert loader_of(bound.read_bytes()) == str(loader)
    maps = "print(open('/proc/self/maps').read())"
    done = subprocess.run(
        [bound, "-ISc", maps], env={"PYTHONHOME": sys.base_prefix}, capture_output=True, text=True, check=True
    )
    assert str(loader) in done.stdout


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_what_only_debuggers_read_is_left_out(program):
    """Symbols and sections are not written to hosts, and nothing of it is needed to find the name of a library."""
    for path in loaded(program).values():
        library = Path(path).read_bytes()
        again = without_search_path(library + bytes(1000))
        assert again == without_search_path(library)
        assert soname_of(again) == soname_of(library)
        assert len(again) < len(library)


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_binding_again_binds_anew(program):
    """A private copy can be the source of another one: nothing of the first binding remains in force."""
    twice = relocated(relocated(program.read_bytes(), "/a/loader", "/a"), "/b/longer/loader", "/b/longer")
    assert loader_of(twice) == "/b/longer/loader"


def test_libraries_are_asked_for_by_their_names():
    """The name inside a library is the one its users know, whatever the file is called."""
    found = loaded(PROGRAMS[0])
    assert {soname_of(Path(path).read_bytes()) for path in found.values()} == set(found)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"#!/bin/sh\n", "begins with b'#!/bin'"),
        (b"\x7fELF\x01\x01" + bytes(60), "64-bit little-endian"),
        (b"\x7fELF\x02\x01".ljust(64, b"\0"), "names no loader"),
    ],
    ids=["script", "32 bits", "static"],
)
def test_what_cannot_be_bound_is_refused(content, named):
    """A file of another form, or one that needs no loader, is named for what it is."""
    with pytest.raises(ValueError, match=named):
        relocated(content, "/loader", "/folder")


def test_a_program_without_room_for_a_segment_is_refused():
    """Where no header can be spared, nothing is guessed."""
    program = bytearray(PROGRAMS[0].read_bytes())
    (place,) = struct.unpack_from("<Q", program, 0x20)
    size, count = struct.unpack_from("<HH", program, 0x36)
    for position in range(count):
        (kind,) = struct.unpack_from("<I", program, place + position * size)
        if kind in (4, 0x6474E553):
            struct.pack_into("<I", program, place + position * size, 0x6FFFFFFF)
    with pytest.raises(ValueError, match="without notes"):
        relocated(bytes(program), "/loader", "/folder")
