"""Make a dynamically linked program take its loader and its libraries from one folder and nowhere else.

An ELF file says in its program headers which loader the kernel starts for it, and in its dynamic table where that
loader looks for libraries. Both entries hold places of strings, and longer strings do not fit where the old ones are.
So one segment is appended to the file, with both strings and a longer copy of the table, and the headers point there.
The header of the new segment takes the place of a note's, because the list of headers cannot grow in place and Linux
before 5.18 does not find a list that has moved.

Understood: 64-bit little-endian files, which all machines are that Kubernetes nodes run on. Sections are not needed to
run a program and are dropped. Source: elf(5), linux/elf.h, the System V ABI's chapter on dynamic linking.
"""

import struct
from typing import NamedTuple

PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE, PT_GNU_PROPERTY = 1, 2, 3, 4, 0x6474E553
DT_NULL, DT_STRTAB, DT_SONAME, DT_RPATH, DT_RUNPATH = 0, 5, 14, 15, 29
READ_WRITE = 6
MAGIC = b"\x7fELF\x02\x01"
"""Of files of 64 bits, little end first."""


class Header(NamedTuple):
    """One program header: ``struct Elf64_Phdr``."""

    type: int
    flags: int
    offset: int
    address: int
    physical: int
    file_size: int
    memory_size: int
    align: int


HEADER = struct.Struct("<IIQQQQQQ")
ENTRY = struct.Struct("<qQ")
"""Of the dynamic table: tag and value."""
PLACE, FORM = struct.Struct("<Q"), struct.Struct("<HH")
PLACE_AT, FORM_AT, SECTIONS_AT, SECTION_COUNT_AT = 0x20, 0x36, 0x28, 0x3C
"""Offsets in the file's first bytes: of the program headers' place, their size and number; the sections' the same."""


def loader_of(program: bytes) -> str:
    """Path of the loader that the kernel starts for a program.

    Raises:
        ValueError: it is no program of the kind understood here, or needs no loader.
    """
    for header in _headers(program):
        if header.type == PT_INTERP:
            return program[header.offset :].partition(b"\0")[0].decode()
    raise ValueError("found a program that names no loader, expected a dynamically linked one")


def soname_of(library: bytes) -> str:
    """The name under which others ask for a library; "" when it has none.

    Raises:
        ValueError: it is no library of the kind understood here.
    """
    headers = _headers(library)
    table = dict(_table(library, headers))
    if DT_SONAME not in table:
        return ""
    return library[_offset(headers, table[DT_STRTAB]) + table[DT_SONAME] :].partition(b"\0")[0].decode()


def without_search_path(library: bytes) -> bytes:
    """The same library with no folder of its own to look in: its loader then uses those of the program.

    Raises:
        ValueError: it is no library of the kind understood here.
    """
    library = _trimmed(library)
    (place,) = [header for header in _headers(library) if header.type == PT_DYNAMIC]
    kept = [entry for entry in _table(library, _headers(library)) if entry[0] not in (DT_RPATH, DT_RUNPATH)]
    table = _packed(kept)
    changed = bytearray(library)
    changed[place.offset : place.offset + len(table)] = table
    return bytes(changed)


def relocated(program: bytes, loader: str, folder: str) -> bytes:
    """The same program with this loader, looking for all libraries in this folder before anywhere else.

    Args:
        program: the file.
        loader: an absolute path; the kernel knows no other form.
        folder: absolute too; ``$ORIGIN`` would need /proc.

    Raises:
        ValueError: it is no program of the kind understood here.
    """
    loader_of(program)
    program = _trimmed(program)
    headers = _headers(program)
    loads = [header for header in headers if header.type == PT_LOAD]
    align = max(header.align for header in loads)
    offset = _rounded_up(len(program), align)
    address = _rounded_up(max(header.address + header.memory_size for header in loads), align)

    name, search = loader.encode() + b"\0", folder.encode() + b"\0"
    entries = [entry for entry in _table(program, headers) if entry[0] not in (DT_RPATH, DT_RUNPATH)]
    # Strings of the table are named by their distance from its string table, which may reach into any segment. The
    # older DT_RPATH holds for libraries of libraries too, and goes before LD_LIBRARY_PATH, unlike DT_RUNPATH.
    entries.append((DT_RPATH, address + len(name) - dict(entries)[DT_STRTAB]))
    table_at, table = _rounded_up(len(name + search), 16), _packed(entries)
    added = (name + search).ljust(table_at, b"\0") + table

    def moved(header: Header, place: int, size: int) -> Header:
        there = address + place
        return header._replace(offset=offset + place, address=there, physical=there, file_size=size, memory_size=size)

    spare = [header for header in headers if header.type in (PT_NOTE, PT_GNU_PROPERTY)]
    if not spare:
        raise ValueError("found a program without notes, expected one whose header could be used otherwise")
    headers.remove(spare[-1])
    for position, header in enumerate(headers):
        if header.type == PT_INTERP:
            headers[position] = moved(header, 0, len(name))
        if header.type == PT_DYNAMIC:
            headers[position] = moved(header, table_at, len(table))
    last = max(position for position, header in enumerate(headers) if header.type == PT_LOAD)
    segment = Header(PT_LOAD, READ_WRITE, offset, address, address, len(added), len(added), align)
    headers.insert(last + 1, segment)

    changed = bytearray(program.ljust(offset, b"\0") + added)
    packed = b"".join(HEADER.pack(*header) for header in headers)
    (place,) = PLACE.unpack_from(program, PLACE_AT)
    changed[place : place + len(packed)] = packed
    return bytes(changed)


def _trimmed(file: bytes) -> bytes:
    """The file without sections, and so without what only debuggers read: that is most of some interpreters."""
    end = max(header.offset + header.file_size for header in _headers(file))
    changed = bytearray(file[:end])
    PLACE.pack_into(changed, SECTIONS_AT, 0)
    FORM.pack_into(changed, SECTION_COUNT_AT, 0, 0)
    return bytes(changed)


def _headers(file: bytes) -> list[Header]:
    if file[: len(MAGIC)] != MAGIC:
        raise ValueError(f"found a file that begins with {file[:6]!r}, expected a 64-bit little-endian ELF file")
    (place,) = PLACE.unpack_from(file, PLACE_AT)
    size, count = FORM.unpack_from(file, FORM_AT)
    return [Header(*HEADER.unpack_from(file, place + position * size)) for position in range(count)]


def _table(file: bytes, headers: list[Header]) -> list[tuple[int, int]]:
    """The entries of the dynamic table up to its end mark."""
    entries: list[tuple[int, int]] = []
    for header in headers:
        if header.type == PT_DYNAMIC:
            for tag, value in ENTRY.iter_unpack(file[header.offset : header.offset + header.file_size]):
                if tag == DT_NULL:
                    return entries
                entries.append((tag, value))
    raise ValueError("found a file without a dynamic table, expected a dynamically linked one")


def _packed(entries: list[tuple[int, int]]) -> bytes:
    return b"".join(ENTRY.pack(*entry) for entry in [*entries, (DT_NULL, 0)])


def _offset(headers: list[Header], address: int) -> int:
    """Where in the file the byte is that is at this address in memory."""
    for header in headers:
        if header.type == PT_LOAD and header.address <= address < header.address + header.file_size:
            return header.offset + address - header.address
    raise ValueError(f"found nothing at address {address:#x}, expected a table of strings")


def _rounded_up(number: int, unit: int) -> int:
    return -(-number // unit) * unit
