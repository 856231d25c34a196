"""Where PCI functions of a virtual machine sit on the hardware below it, as a file on the machine tells.

A hypervisor shows its guest one flat PCI bus; clouds with GPUs put a file beside it that says which functions share a
switch and a NUMA node. It is believed before sysfs. Its form is that of NCCL's topology files: ``cpu`` elements with a
``numaid``, below them ``pci`` elements with a ``busid``, nested as bridges are; what else it holds is passed over.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from xml.parsers import expat

from multinic_daemon.discovery.pci import PciFunction, normal_address

log = logging.getLogger(__name__)

VIRTUAL_TOPOLOGY = Path("/run/nvidia-topologyd/virtualTopology.xml")
"""Source: NVIDIA's topology daemon, below ``/var/run``, as NCCL looks for it."""
LARGEST = 4 << 20
"""Bytes. Files of clouds have a few kilobytes."""


class VirtualPlace(NamedTuple):
    """Of one function."""

    path: tuple[str, ...]
    """PCI addresses of the bridges above it, from the outermost."""
    numa_node: int | None


Places = Mapping[str, VirtualPlace]
"""PCI address, as sysfs writes it, to place."""
NO_PLACES: Places = MappingProxyType({})


def placed(function: PciFunction, places: Places) -> PciFunction:
    """The function where the file puts it; as it is when that tells nothing of it."""
    if (place := places.get(function.address)) is None:
        return function
    return replace(function, path=place.path, numa_node=place.numa_node)


class TopologyError(ValueError):
    """The file cannot be understood; says where and what was found."""


def parse_places(content: bytes) -> Places:
    """The places that a topology file tells.

    Raises:
        TopologyError: it is no XML of this form.
    """
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
    parser.StartDoctypeDeclHandler = reader.refuse_doctype
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise TopologyError(f"is not XML: {error}") from error
    except TopologyError as error:
        raise TopologyError(f"line {parser.CurrentLineNumber}: {error}") from None
    return MappingProxyType(reader.places)


class _Reader:
    """Takes the elements as they come."""

    def __init__(self) -> None:
        self.places: dict[str, VirtualPlace] = {}
        self._open: list[tuple[str, str]] = []
        """Name of each element around the next one, and the address or number that counts in it."""

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if not self._open and name != "system":
            raise TopologyError(f"found element {name!r}, expected 'system'")
        told = ""
        if name == "cpu":
            told = attributes.get("numaid", "")
            if not told.removeprefix("-").isdecimal():
                raise TopologyError(f"cpu.numaid: found {told!r}, expected a number")
        elif name == "pci":
            told = normal_address(attributes.get("busid", ""))
            if not told:
                found = attributes.get("busid", "")
                raise TopologyError(f"pci.busid: found {found!r}, expected an address such as '0000:0c:05.0'")
            self.places.setdefault(told, VirtualPlace(tuple(self._told("pci")), self._numa_node()))
        self._open.append((name, told))

    def end(self, name: str) -> None:
        self._open.pop()

    def refuse_doctype(self, name: str, *_: object) -> None:
        raise TopologyError(f"found a document type {name!r}, expected none")

    def _told(self, wanted: str) -> Iterator[str]:
        return (told for name, told in self._open if name == wanted)

    def _numa_node(self) -> int | None:
        """-1 is none."""
        number = max(map(int, self._told("cpu")), default=-1)
        return None if number < 0 else number


class VirtualTopology:
    """The file of one machine, read again when it has changed; most machines have none."""

    def __init__(self, path: Path = VIRTUAL_TOPOLOGY) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._places = NO_PLACES

    def places(self) -> Places:
        """What it tells now; nothing without a file, or with one that is not understood, which is logged. Blocks.

        From any thread: nobody is told of a file that is being read that it tells nothing.
        """
        found, seen = NO_PLACES, None
        try:
            stat = self._path.stat()
            seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if seen == self._seen:
                return self._places
            if stat.st_size > LARGEST:
                raise TopologyError(f"has {stat.st_size} bytes, expected at most {LARGEST}")  # noqa: TRY301
            found = parse_places(self._path.read_bytes())
        except FileNotFoundError:
            seen = None
        except (OSError, TopologyError) as error:
            log.warning(
                "topology of the virtual machine not read", extra={"path": str(self._path), "cause": str(error)}
            )
        self._places, self._seen = found, seen
        return found
