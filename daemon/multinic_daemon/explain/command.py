"""The commands ``multinic explain`` and ``multinic plan``."""

from __future__ import annotations

from pathlib import Path

import click

from multinic_daemon.options import kubeconfig_option, run_dir_option, socket_option, socket_path


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


@click.command()
@click.option(
    "--pod",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="Manifest of the pod, or of what makes such pods.",
)
@click.option("--node", default="", help="Name of the node; without, the one that this is run on.")
@run_dir_option
@socket_option
@kubeconfig_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def plan(file: Path, node: str, run_dir: Path, socket: Path | None, kubeconfig: str | None, as_json: bool) -> None:
    """Say which NICs and addresses a pod would get on a node, and why, without touching anything.

    On the node itself its daemon decides, exactly as for a pod. For another node it is decided here by what the API
    shows of that node, which lacks what only the node knows; the output says so. Each network is looked at by itself.
    Exit status 1: a network would be refused.
    """
    # only here, so that `multinic --help` stays fast
    import trio

    from multinic_core.cli.terminal import console, print_json
    from multinic_core.errors import MultinicError
    from multinic_daemon.explain.plan import look_ahead
    from multinic_daemon.explain.podfile import read_pod
    from multinic_daemon.explain.show import answer_json, choice_table, link_lines

    try:
        pod = read_pod(file.read_bytes(), str(file))
        outlook = trio.run(look_ahead, pod, node, socket_path(socket, run_dir), kubeconfig or None)
    except MultinicError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        attachments = [answer_json(answer) for answer in outlook.answers]
        print_json({"node": outlook.node, "source": outlook.source, "attachments": attachments})
    else:
        click.echo(f"pod {pod.namespace}/{pod.name} on node {outlook.node}, by {outlook.source}")
    for answer in outlook.answers if not as_json else ():
        if (choice := answer.choice) is not None:
            console().print(choice_table(choice))
        for line in link_lines(answer):
            click.echo(line)
    if any(answer.refusal for answer in outlook.answers):
        raise SystemExit(1)
