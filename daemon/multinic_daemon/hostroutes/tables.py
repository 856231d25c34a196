"""Which routing table belongs to which network, without editing ``/etc/iproute2/rt_tables``.

A network's table id is 5000 + CRC-32 of its name modulo 4000, or the next free id above it, wrapping round, when a
foreign rule, route or rt_tables file has that one. The same name gives the same id on every node and after every
restart; where it had to move, our own rule ``from SUBNET lookup TABLE`` tells which it was.

iproute2 reads names from every ``*.conf`` in ``rt_tables.d``; where that folder exists ours is written there, whole and
in one rename, so that ``ip rule`` shows the network's name.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from multinic_core.errors import KernelError
from multinic_core.plan import IPNetwork
from multinic_daemon.hostroutes.desired import NetworkRoutes, is_ours
from multinic_daemon.netlink.observed import Rule

FIRST = 5000
COUNT = 4000
"""Ids 5000 to 8999: clear of 253 to 255, and of 100 and 1000 and up, from where people, clouds and VRFs count."""

IPROUTE2 = Path("/etc/iproute2")
_SHIPPED = (Path("/usr/share/iproute2"), Path("/usr/lib/iproute2"))
OWN_FILE = "multinic.conf"


def candidates(network: str) -> Iterable[int]:
    """Every id that the network may have, the one it shall have first."""
    start = zlib.crc32(network.encode()) % COUNT
    return (FIRST + (start + step) % COUNT for step in range(COUNT))


def assign_tables(
    wishes: Collection[NetworkRoutes], rules: Iterable[Rule], before: Mapping[str, int], foreign: Collection[int]
) -> dict[str, int]:
    """Network to table id.

    Args:
        wishes: the networks that need a table.
        rules: all rules of the node; ours tell which table a network has.
        before: what was assigned last, networks without a wish now included.
        foreign: ids that others use.

    Raises:
        KernelError: no id is left.
    """
    rules = list(rules)
    known: dict[IPNetwork, int] = {}
    for rule in rules:
        if is_ours(rule) and rule.source:
            known.setdefault(rule.source, rule.table)
    taken = {rule.table for rule in rules if not is_ours(rule)} | set(foreign)
    assigned: dict[str, int] = {}
    used = set(before.values())
    for wish in sorted(wishes, key=lambda wish: wish.network):
        table = before.get(wish.network)
        if table is None:
            table = next((known[source] for source in wish.sources if known.get(source, 0) not in used | {0}), None)
        if table is not None:
            assigned[wish.network] = table
            used.add(table)
    used |= {rule.table for rule in rules if is_ours(rule)}  # of networks that are going: not to be shared meanwhile
    for wish in sorted(wishes, key=lambda wish: wish.network):
        if wish.network not in assigned:
            free = (table for table in candidates(wish.network) if table not in used and table not in taken)
            table = next(free, None)
            if table is None:
                raise KernelError(
                    f"network {wish.network!r}: all routing tables {FIRST} to {FIRST + COUNT - 1} are taken", 28
                )
            assigned[wish.network] = table
            used.add(table)
    return assigned


def named_tables(folder: Path) -> dict[int, str]:
    """Ids that rt_tables files name, ours left out; unreadable files and lines name none.

    Args:
        folder: iproute2's configuration, ``/etc/iproute2``; what iproute2 ships elsewhere is read too.
    """
    found: dict[int, str] = {}
    for place in (*_SHIPPED, folder):
        drop_ins = sorted((place / "rt_tables.d").glob("*.conf"))
        for path in (place / "rt_tables", *(drop_in for drop_in in drop_ins if drop_in.name != OWN_FILE)):
            with suppress(OSError):
                found |= _parse(path.read_text(errors="replace"))
    return found


def _parse(text: str) -> dict[int, str]:
    found = {}
    for line in text.splitlines():
        words = line.split("#", 1)[0].split()
        if len(words) == 2:
            with suppress(ValueError):
                found[int(words[0], 0)] = words[1]
    return found


def write_names(folder: Path, tables: Mapping[str, int]) -> None:
    """Name our tables for people, where ``rt_tables.d`` exists; with no tables our file goes.

    Raises:
        OSError: the folder exists and cannot be written.
    """
    drop_ins = folder / "rt_tables.d"
    if not drop_ins.is_dir():
        return
    path = drop_ins / OWN_FILE
    if not tables:
        path.unlink(missing_ok=True)
        return
    lines = ["# Routing tables of MultiNicNetworks, written by multinic-daemon."]
    lines += [f"{table}\t{network}" for network, table in sorted(tables.items())]
    text = "\n".join(lines) + "\n"
    with suppress(OSError):
        if path.read_text() == text:
            return
    fresh = drop_ins / f".{OWN_FILE}.new"
    fresh.write_text(text)
    fresh.replace(path)
