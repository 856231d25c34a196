"""``multinic lab``: the demo, and a cluster to play with."""

from __future__ import annotations

from pathlib import Path

import click
import trio

from multinic_lab.cluster.demo import run_demo
from multinic_lab.cluster.scenario import load_scenario

SCENARIO = click.option(
    "--scenario",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("examples/demo.yaml"),
    show_default=True,
    help="How many nodes, NICs and pods, and which network.",
)


@click.group()
def lab() -> None:
    """A cluster with many NICs on this one machine; no Kubernetes, containers or root needed."""


@lab.command()
@SCENARIO
@click.option("--logs", type=click.Path(path_type=Path, file_okay=False), help="Keep kubeconfig and logs here.")
def demo(scenario: Path, logs: Path | None) -> None:
    """Show the whole system at work; exit status 0 only if every line was as it should be."""
    raise SystemExit(trio.run(run_demo, load_scenario(scenario), logs))
