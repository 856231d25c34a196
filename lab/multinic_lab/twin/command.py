"""``multinic lab twin``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option(
    "--nodes",
    default="5000",
    show_default=True,
    help="Size of the cluster; with smaller ones before it, or several sizes separated by commas.",
)
@click.option("--alone", is_flag=True, help="No smaller ones before a single size, so no growth.")
@click.option("--nics", default=8, show_default=True, help="Secondary NICs of each node.")
@click.option("--processes", default=2, show_default=True, help="That carry the nodes.")
@click.option("--sample", default=2, show_default=True, help="Nodes of each process that compute their host routes.")
@click.option("--logs", type=click.Path(path_type=Path, file_okay=False), help="Keep the logs of all processes here.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def twin(nodes: str, alone: bool, nics: int, processes: int, sample: int, logs: Path | None, as_json: bool) -> None:
    """Run thousands of nodes with the real operator, and print what each event costs and how that grows."""
    from multinic_core.cli.terminal import console, print_json
    from multinic_core.errors import ConfigError
    from multinic_lab.cluster.demo import leaves
    from multinic_lab.ending import run_to_end
    from multinic_lab.twin.report import NOTES, document, growth_table, parts_table, phase_table
    from multinic_lab.twin.run import Wish, run_twins, sizes_of
    from multinic_lab.twin.twin import TwinError

    try:
        wish = Wish(sizes_of(nodes, alone=alone), nics, processes, sample)
        found = run_to_end(lambda: run_twins(wish, folder=logs, progress=lambda text: click.echo(text, err=True)))
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    except ExceptionGroup as group:
        told = [str(error) for error in leaves(group) if isinstance(error, TwinError)]
        if not told:
            raise
        raise click.ClickException(f"{'; '.join(told)}; --logs keeps what the processes said") from group
    if as_json:
        print_json(document(found, nics))
        return
    out = console()
    for size, phases in found.items():
        out.print(phase_table(size, nics, phases))
        out.print(parts_table(size, phases))
    if len(found) > 1:
        out.print(growth_table(found))
    out.print(NOTES.format(sample=sample, processes=processes), style="dim")
