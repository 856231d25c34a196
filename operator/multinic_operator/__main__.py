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
from multinic_operator.leading.leader import Election, Fence, own_identity
from multinic_operator.logs import log_to_stderr
from multinic_operator.memory import exempt_what_stays
from multinic_operator.serve import serve_operator
from multinic_operator.world import DAEMON_IMAGE

logger = logging.getLogger(__name__)

AGENT = "multinic-operator"
"""User agent, by which the API server's log knows the operator."""


async def run(
    kube: Kubernetes,
    registry: Registry,
    namespace: str,
    daemon_image: str,
    election: Election | None,
    webhook_port: int,
) -> bool:
    """Serve until SIGTERM or SIGINT, or until the leadership is lost; gives whether it was."""
    stopped = False
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:

            async def stop_on_signal() -> None:
                nonlocal stopped
                async for number in signals:
                    logger.info("operator stopping", extra={"signal": signal.Signals(number).name})
                    stopped = True
                    nursery.cancel_scope.cancel()
                    return

            nursery.start_soon(stop_on_signal)
            await serve_operator(
                kube,
                registry,
                namespace=namespace,
                daemon_image=daemon_image,
                election=election,
                webhook_port=webhook_port,
            )
            nursery.cancel_scope.cancel()
    return not stopped


@click.command(name="multinic-operator")
@click.option(
    "--kubeconfig", envvar="KUBECONFIG", default=None, help="File that names the API; else the pod's account."
)
@click.option(
    "--namespace",
    envvar="OPERATOR_NAMESPACE",
    default=SYSTEM_NAMESPACE,
    show_default=True,
    help="Of the operator, the daemons and all Leases.",
)
@click.option(
    "--daemon-image",
    envvar="MULTINIC_DAEMON_IMAGE",
    default=DAEMON_IMAGE,
    show_default=True,
    help="What runs on the nodes unless a Config says otherwise.",
)
@click.option(
    "--leader-elect/--no-leader-elect",
    default=True,
    show_default=True,
    help="Work only while holding the operator's Lease, so that several can run.",
)
@click.option(
    "--webhook-port",
    envvar="WEBHOOK_PORT",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="Where the API server asks before it stores a network; 0: nowhere.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    default="info",
    show_default=True,
    help="Least level that is written to stderr, unless a Config says otherwise.",
)
def main(
    kubeconfig: str | None, namespace: str, daemon_image: str, leader_elect: bool, webhook_port: int, log_level: str
) -> None:
    """Decide indexes and address blocks, write attachment definitions and statuses, keep the daemons, cluster-wide."""
    log_to_stderr(log_level)
    exempt_what_stays()
    election: Election | None = None
    try:
        if leader_elect:
            fence = Fence()
            kube = connect(kubeconfig, agent=AGENT, writing=fence.writing)
            election = Election(connect(kubeconfig, agent=AGENT), namespace, own_identity(), fence)
        else:
            kube = connect(kubeconfig, agent=AGENT)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    lost = trio.run(run, kube, load_plugins(), namespace, daemon_image, election, webhook_port)
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
