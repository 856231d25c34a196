"""Options that several commands of this node have, and their defaults."""

from __future__ import annotations

from pathlib import Path

import click

RUN_DIR = Path("/run/multinic")

node_option = click.option(
    "--node", envvar="K8S_NODENAME", help="Name of this node in Kubernetes.  [env: K8S_NODENAME]"
)
run_dir_option = click.option(
    "--run-dir",
    type=click.Path(path_type=Path),
    default=RUN_DIR,
    show_default=True,
    help="Folder of the daemon's journal.",
)
socket_option = click.option(
    "--socket", type=click.Path(path_type=Path), help="Unix socket of the daemon.  [default: RUN_DIR/cni.sock]"
)
kubeconfig_option = click.option(
    "--kubeconfig",
    envvar="KUBECONFIG",
    help="File that names the API; the pod's service account without.  [env: KUBECONFIG]",
)


def socket_path(socket: Path | None, run_dir: Path) -> Path:
    """Where the daemon answers, by the options ``--socket`` and ``--run-dir``."""
    return socket or run_dir / "cni.sock"
