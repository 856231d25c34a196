"""``multinic lab``: the demo, and a cluster to play with."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import click
import trio

from multinic_lab.cluster.demo import run_demo
from multinic_lab.cluster.scenario import load_scenario
from multinic_lab.cluster.standing import Standing, serve
from multinic_lab.ending import run_to_end
from multinic_lab.twin.command import twin

SCENARIO = click.option(
    "--scenario",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("examples/demo.yaml"),
    show_default=True,
    help="How many nodes, NICs and pods, and which network.",
)
NAME = click.option("--name", default="lab", show_default=True, help="Tells several labs apart.")


@click.group()
def lab() -> None:
    """A cluster with many NICs on this one machine; no Kubernetes, containers or root needed."""


@lab.command()
@SCENARIO
@click.option("--logs", type=click.Path(path_type=Path, file_okay=False), help="Keep kubeconfig and logs here.")
def demo(scenario: Path, logs: Path | None) -> None:
    """Show the whole system at work; exit status 0 only if every line was as it should be."""
    raise SystemExit(run_to_end(partial(run_demo, load_scenario(scenario), logs)))


@lab.command()
@SCENARIO
@NAME
@click.option("--bare", is_flag=True, help="Only nodes and NICs: no network applied, no pods.")
def up(scenario: Path, name: str, bare: bool) -> None:
    """Bring up a cluster, leave it running, and print how to reach it."""
    load_scenario(scenario)
    standing = Standing.named(name)
    standing.start(scenario.resolve(), bare=bare)
    click.echo(f"export KUBECONFIG={standing.kubeconfig}")
    click.echo("The lab is up. Try: kubectl get hif,mnn,pods; multinic lab exec POD -- ip addr", err=True)


@lab.command()
@NAME
def down(name: str) -> None:
    """Take a standing cluster down."""
    click.echo("The lab is gone." if Standing.named(name).stop() else "No lab was running.", err=True)


@lab.command(name="exec", context_settings={"ignore_unknown_options": True})
@NAME
@click.argument("pod")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(name: str, pod: str, command: tuple[str, ...]) -> None:
    """Run COMMAND in the network namespace of POD (NAMESPACE/NAME or NAME) of a standing cluster."""
    status, out, err = trio.run(Standing.named(name).execute, pod, list(command))
    click.echo(out, nl=False)
    click.echo(err, nl=False, err=True)
    raise SystemExit(status)


lab.add_command(twin)


@lab.command(name="serve", hidden=True)
@SCENARIO
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), required=True)
@click.option("--bare", is_flag=True)
def serve_lab(scenario: Path, folder: Path, bare: bool) -> None:
    """Carry a standing cluster in the foreground; what ``up`` starts in the background."""
    os.umask(0o077)
    standing = Standing(folder)
    trio.run(lambda: serve(load_scenario(scenario), standing, bare=bare))
