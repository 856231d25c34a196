"""Run the API server by itself until interrupted."""

import logging
import signal
import sys
from pathlib import Path

import click
import trio

from .server import ApiServer, serve_api, write_kubeconfig


async def _run(host: str, port: int, kubeconfig: Path | None) -> None:
    async with trio.open_nursery() as nursery:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            server: ApiServer = await nursery.start(
                lambda task_status: serve_api(host=host, port=port, task_status=task_status)
            )
            if kubeconfig is not None:
                write_kubeconfig(kubeconfig, server.url)
            click.echo(server.url)
            async for _ in signals:
                nursery.cancel_scope.cancel()
                return


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, show_default=True, help="Port to listen on; 0 takes a free one.")
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="Write a kubeconfig that leads here.")
@click.option("--verbose", is_flag=True, help="Log at DEBUG.")
def main(host: str, port: int, kubeconfig: Path | None, verbose: bool) -> None:
    """Serve a Kubernetes API in memory; the URL is printed once it answers."""
    logging.basicConfig(stream=sys.stderr, level=logging.DEBUG if verbose else logging.INFO)
    trio.run(_run, host, port, kubeconfig)


if __name__ == "__main__":
    main()
