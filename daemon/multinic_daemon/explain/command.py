"""The commands ``multinic explain``."""

from __future__ import annotations

from pathlib import Path

import click

from multinic_daemon.options import run_dir_option


@click.group()
def explain() -> None:
    """Say why something is as it is, from what this node wrote down when it decided."""


@explain.command("pod")
@click.argument("pod", metavar="NAMESPACE/NAME")
@run_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def explain_pod(pod: str, run_dir: Path, as_json: bool) -> None:
    """Print each NIC of the node, taken or left for POD, with the reason and the figures of that moment.

    Run it on the pod's node, while the daemon runs or not. A name alone is looked for in namespace default. Exit status
    1: nothing is known of the pod here.
    """
    # only here, so that `multinic --help` stays fast
    from multinic_core.cli.terminal import console, print_json
    from multinic_core.errors import MultinicError
    from multinic_daemon.explain.choices import choices_of
    from multinic_daemon.explain.show import choice_json, choice_table
    from multinic_daemon.journal.file import FILE_NAME, read_snapshot

    namespace, _, name = pod.rpartition("/")
    namespace = namespace or "default"
    try:
        choices = choices_of(read_snapshot(run_dir / FILE_NAME), namespace, name)
    except MultinicError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        print_json({"pod": f"{namespace}/{name}", "attachments": [choice_json(choice) for choice in choices]})
    for choice in choices if not as_json else ():
        console().print(choice_table(choice))
    if not choices:
        raise click.ClickException(
            f"pod {namespace}/{name}: nothing is attached to it by {str(run_dir / FILE_NAME)!r}; expected"
            " NAMESPACE/NAME of a pod with a MultiNicNetwork on this node"
        )
