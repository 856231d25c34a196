"""The command ``multinic audit``."""

from __future__ import annotations

from pathlib import Path

import click

from multinic_daemon.options import kubeconfig_option, node_option, run_dir_option, socket_option, socket_path


@click.command()
@node_option
@run_dir_option
@socket_option
@kubeconfig_option
@click.option("--no-api", is_flag=True, help="Compare neither pods nor mirror nor host routes.")
@click.option("--repair", is_flag=True, help="Ask the running daemon to free what is proven dead, and nothing else.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def audit(
    node: str | None,
    run_dir: Path,
    socket: Path | None,
    kubeconfig: str | None,
    no_api: bool,
    repair: bool,
    as_json: bool,
) -> None:
    """Compare journal, kernel, sandboxes, pods and mirror of this node; exit status 1 on any difference.

    Run it as root in the node's network namespace, while the daemon runs or not. Exit status 2 says that it could not
    be carried out. With --repair, differences that were repaired do not count.
    """
    # only here, so that `multinic --help` stays fast
    import trio

    from multinic_core.errors import MultinicError
    from multinic_daemon.audit.run import Wanted, run_audit

    wanted = Wanted(node or "", run_dir, socket_path(socket, run_dir), kubeconfig or None, no_api, repair, as_json)
    try:
        left = trio.run(run_audit, wanted)
    except MultinicError as error:
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(2) from error
    if left:
        raise SystemExit(1)
