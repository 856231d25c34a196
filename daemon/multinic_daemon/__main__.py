"""Command line of the daemon: ``multinic-daemon`` runs it, ``multinic-daemon dump`` shows its journal."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from multinic_core.errors import MultinicError
from multinic_core.model import SYSTEM_NAMESPACE
from multinic_daemon.logs import LEVELS, start_logging
from multinic_daemon.options import kubeconfig_option, node_option, run_dir_option, socket_option, socket_path

IPROUTE2_DIR = Path("/etc/iproute2")
CNI_BIN = "/opt/cni/bin"


@click.group(invoke_without_command=True)
@node_option
@run_dir_option
@socket_option
@kubeconfig_option
@click.option(
    "--namespace",
    envvar="OPERATOR_NAMESPACE",
    default=SYSTEM_NAMESPACE,
    show_default=True,
    help="Namespace of this node's Lease.  [env: OPERATOR_NAMESPACE]",
)
@click.option(
    "--iproute2-dir",
    envvar="MULTINIC_IPROUTE2_DIR",
    default=str(IPROUTE2_DIR),
    show_default=True,
    help='Where iproute2 reads names of routing tables; "" leaves them unnamed.  [env: MULTINIC_IPROUTE2_DIR]',
)
@click.option(
    "--cni-bin",
    envvar="MULTINIC_CNI_BIN",
    default=CNI_BIN,
    show_default=True,
    help="Folders of CNI executables, separated by colons, looked through after the runtime's CNI_PATH."
    "  [env: MULTINIC_CNI_BIN]",
)
@click.option(
    "--metrics",
    envvar="MULTINIC_METRICS",
    default="",
    metavar="ADDRESS:PORT",
    help="Tell Prometheus how the NICs are used, read-only.  [env: MULTINIC_METRICS; default: nobody]",
)
@click.option("--log-level", type=click.Choice(LEVELS, case_sensitive=False), default="info", show_default=True)
@click.pass_context
def main(
    context: click.Context,
    node: str | None,
    run_dir: Path,
    socket: Path | None,
    kubeconfig: str | None,
    namespace: str,
    iproute2_dir: str,
    cni_bin: str,
    metrics: str,
    log_level: str,
) -> None:
    """Run the node half of multinic: find NICs, keep host routes, attach pods."""
    if context.invoked_subcommand:
        return
    if not node:
        raise click.UsageError("missing option --node (or the variable K8S_NODENAME)")
    start_logging(log_level)
    import trio

    from multinic_daemon.calls.server import SocketInUseError
    from multinic_daemon.service import Settings, run_daemon

    settings = Settings(
        node=node,
        run_dir=run_dir,
        socket=socket_path(socket, run_dir),
        kubeconfig=kubeconfig or None,
        namespace=namespace,
        iproute2=Path(iproute2_dir) if iproute2_dir else None,
        cni_bin=cni_bin,
        metrics=metrics,
    )
    try:
        trio.run(run_daemon, settings)
    except (MultinicError, SocketInUseError, BaseExceptionGroup) as error:
        cause = _single_cause(error)
        if not isinstance(cause, MultinicError | SocketInUseError):
            raise
        click.echo(f"multinic-daemon: {cause}", err=True)
        if isinstance(cause, MultinicError) and cause.details:
            click.echo(cause.details, err=True)
        sys.exit(1)


def _single_cause(error: BaseException) -> BaseException:
    """What is inside of groups of one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


@main.command()
@run_dir_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object with everything.")
def dump(run_dir: Path, as_json: bool) -> None:
    """Show the journal's rows, reading only; a daemon may be running."""
    from multinic_daemon.journal.file import FILE_NAME, read_rows

    try:
        rows = read_rows(run_dir / FILE_NAME)
    except MultinicError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        _print_table(rows["attachments"])


def _print_table(attachments: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("network", "container", "interface", "pod", "state", "addresses")
    for row in attachments:
        pod = "/".join(filter(None, (row["pod"]["namespace"], row["pod"]["name"])))
        addresses = ", ".join(f"{each['address']} on {each['parent']}" for each in row["addresses"])
        table.add_row(row["network"], row["containerID"], row["ifname"], pod, row["state"], addresses)
    Console().print(table)


if __name__ == "__main__":
    main()
