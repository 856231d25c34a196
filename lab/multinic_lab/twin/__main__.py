"""``python -m multinic_lab.twin``: a process that carries nodes; started by the twin."""

from __future__ import annotations

import logging
import sys

import click
import trio
from multinic_operator.memory import exempt_what_stays

from multinic_lab.machine.__main__ import inherited_stream


@click.command()
@click.option("--fds", type=int, nargs=2, required=True, help="Inherited descriptors to read from and to answer on.")
def main(fds: tuple[int, int]) -> None:
    """Carry nodes for one twin, until it goes away."""
    from multinic_lab.twin.carrier import carry

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    exempt_what_stays()

    async def run() -> None:
        await carry(inherited_stream(*fds))

    trio.run(run)


if __name__ == "__main__":
    main()
