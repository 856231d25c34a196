"""What one address costs as a pool fills: allocation and journal on a /8 pool that holds up to a million addresses.

The pool is as scattered as can be: every second address is held, so a million held ones are a million ranges. Timed
is what an ADD does with one NIC: find the next free address, write it down, mark it ready; and what DEL does: free it.
"""

import argparse
import math
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from statistics import median

from harness.report import Report, Target, carry_out
from multinic_daemon.journal.journal import AttachmentKey, Journal, NewAttachment
from rich.table import Table

from multinic_core import AllocationRequest, Plan, PodReference, Pool
from multinic_core.ipam import MultiNicIpam

SIZES = (100, 10_000, 1_000_000)
"""Addresses held."""
POOL = "bench-10.0.0.0-8"
NETWORK = ip_network("10.0.0.0/8")
EXPONENT_LIMIT = 0.2
"""The most by which the time of one allocation may grow, as a power of the addresses held."""


def attachment(number: int, pool: Pool) -> NewAttachment:
    """One new attachment with the next free address of the pool."""
    (allocation,) = MultiNicIpam().allocate(AllocationRequest(("eth1",)), [pool])
    key = AttachmentKey("multi-nic", "bench", f"measured-{number}", "net1")
    pod = PodReference("default", f"pod-{number}", f"uid-{number}")
    return NewAttachment(key, "/run/netns/none", pod, "", Plan(()), (allocation,), {POOL: allocation.index})


def fill(folder: Path, size: int) -> None:
    """A journal in which every second address from the second on is held, ``size`` of them."""
    journal = Journal.open(folder)
    journal.finish(journal.begin(attachment(0, Pool(POOL, NETWORK, 8, "eth1"))), "{}")
    path = journal.path
    journal.close()
    database = sqlite3.connect(path)
    database.row_factory = sqlite3.Row
    row = dict(database.execute("SELECT * FROM attachment").fetchone())
    address = dict(database.execute("SELECT * FROM address").fetchone())
    numbers = range(row["id"] + 1, row["id"] + size)
    _insert(
        database,
        "attachment",
        (
            row | {"id": n, "container_id": f"held-{n}", "link_group": row["link_group"] + n - row["id"]}
            for n in numbers
        ),
        list(row),
    )
    _insert(
        database,
        "address",
        (address | {"attachment": n, "pool_index": (2 * n).to_bytes(16, "big"), "address": "-"} for n in numbers),
        list(address),
    )
    database.commit()
    database.close()


def _insert(database: sqlite3.Connection, table: str, rows: object, columns: list[str]) -> None:
    places = ", ".join(f":{column}" for column in columns)
    database.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", rows)


def measure(size: int, runs: int) -> dict[str, float]:
    """Median milliseconds of opening, and microseconds of allocating and of freeing one address, with ``size`` held."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        folder = Path(name)
        fill(folder, size)
        start = time.perf_counter()
        journal = Journal.open(folder)
        opened = time.perf_counter() - start
        allocating, freeing = [], []
        for number in range(1, runs + 1):
            start = time.perf_counter()
            pool = Pool(POOL, NETWORK, 8, "eth1", (), journal.held(POOL), journal.cursor(POOL))
            record = journal.begin(attachment(number, pool))
            journal.finish(record, "{}")
            allocating.append(time.perf_counter() - start)
            start = time.perf_counter()
            journal.mark_deleting(record)
            journal.forget(record)
            freeing.append(time.perf_counter() - start)
        journal.close()
    return {
        "open_ms": round(opened * 1e3, 1),
        "allocate_us": round(median(allocating) * 1e6, 1),
        "release_us": round(median(freeing) * 1e6, 1),
    }


def bench(sizes: Sequence[int], runs: int) -> Report:
    """Every size, and how the cost of one address grows with the addresses held."""
    figures = {str(size): measure(size, runs) for size in sizes}
    first, last = figures[str(sizes[0])], figures[str(sizes[-1])]
    growth = math.log(sizes[-1] / sizes[0])
    exponents = {what: math.log(last[what] / first[what]) / growth for what in ("allocate_us", "release_us")}
    table = Table(
        "held", "open the journal, ms", "allocate, µs", "release, µs", title="One address", title_justify="left"
    )
    for size, found in figures.items():
        table.add_row(f"{int(size):,}", *(f"{value:,.1f}" for value in found.values()))
    targets = [
        Target(f"growth exponent of {what.removesuffix('_us')}", round(value, 3), EXPONENT_LIMIT)
        for what, value in exponents.items()
    ]
    return Report("allocation", {"held": figures, "exponents": exponents}, targets, [table])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--runs", type=int, default=500, help="addresses measured at each size (default: %(default)s)")
    parser.add_argument("--held", type=int, nargs="+", default=SIZES, help="addresses held (default: %(default)s)")
    arguments = parser.parse_args()
    sizes = sorted(set(arguments.held))
    if len(sizes) < 2 or sizes[0] < 1:
        parser.error(f"--held: found {arguments.held}, expected at least two different numbers of addresses")
    return carry_out(partial(bench, sizes, arguments.runs), as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
