"""The command ``multinic-operator``."""

from __future__ import annotations

import logging
import signal
import sys

import click
import trio

from multinic_core import load_plugins
from multinic_core.errors import ConfigError
from multinic_core.kube import connect
from multinic_core.model import SYSTEM_NAMESPACE
from multinic_core.ports import Kubernetes
from multinic_core.registry import Registry
from multinic_operator.logs import log_to_stderr
from multinic_operator.serve import serve_operator

logger = logging.getLogger(__name__)


async def run(kube: Kubernetes, registry: Registry, namespace: str) -> None:
    """Serve until SIGTERM or SIGINT."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: serve_operator(kube, registry, namespace=namespace))
            async for number in signals:
                logger.info("operator stopping", extra={"signal": signal.Signals(number).name})
                nursery.cancel_scope.cancel()
                break


@click.command(name="multinic-operator")
@click.option(
    "--kubeconfig", envvar="KUBECONFIG", default=None, help="File that names the API; else the pod's account."
)
@click.option(
    "--namespace",
    envvar="OPERATOR_NAMESPACE",
    default=SYSTEM_NAMESPACE,
    show_default=True,
    help="Of the daemons' Leases.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    default="info",
    show_default=True,
    help="Least level that is written to stderr.",
)
def main(kubeconfig: str | None, namespace: str, log_level: str) -> None:
    """Decide indexes and address blocks, write attachment definitions and statuses, for the whole cluster."""
    log_to_stderr(log_level)
    try:
        kube = connect(kubeconfig)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    trio.run(run, kube, load_plugins(), namespace)
    sys.exit(0)


if __name__ == "__main__":
    main()
