"""Metrics of this node for Prometheus: how its NICs are used, read-only and only where somebody wants them.

Each scrape asks for values that the daemon has in memory anyway; nothing is counted for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

import trio
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from multinic_core.errors import ConfigError
from multinic_core.plan import Nic
from multinic_core.selection import UNUSED, NicUse
from multinic_daemon.engine.context import Engine
from multinic_daemon.engine.inputs import nic_uses

MEGABIT = 1_000_000
"""bit."""


@dataclass(frozen=True, slots=True)
class NicState:
    """One NIC at one moment."""

    nic: Nic
    use: NicUse


Snapshot = Callable[[], list[NicState]]
"""The node's NICs now; called in the daemon's event loop."""

GAUGES: tuple[tuple[str, str, Callable[[NicState], float]], ...] = (
    ("transmit_bits_per_second", "What leaves over the NIC.", lambda state: state.use.transmit_rate),
    ("receive_bits_per_second", "What arrives over the NIC.", lambda state: state.use.receive_rate),
    ("promised_bits_per_second", "What policies promised to running pods.", lambda state: state.use.promised),
    ("speed_bits_per_second", "Speed of the NIC; 0: unknown.", lambda state: state.nic.speed * MEGABIT),
    ("attachments", "Links of running pods on the NIC.", lambda state: state.use.attachments),
    ("up", "Whether the NIC is up and has a carrier.", lambda state: float(state.nic.up)),
)
"""Name behind ``multinic_nic_``, help, and value."""


class NicCollector(Collector):
    """Asks the event loop at each scrape, from the server's thread."""

    def __init__(self, node: str, snapshot: Snapshot, token: trio.lowlevel.TrioToken) -> None:
        self._node = node
        self._snapshot = snapshot
        self._token = token

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """What there is, without asking for it."""
        return (GaugeMetricFamily(f"multinic_nic_{name}", text) for name, text, _ in GAUGES)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The values of now."""
        states = trio.from_thread.run_sync(self._snapshot, trio_token=self._token)
        for name, text, value in GAUGES:
            family = GaugeMetricFamily(f"multinic_nic_{name}", text, labels=("node", "nic"))
            for state in states:
                family.add_metric((self._node, state.nic.ifname), value(state))
            yield family


def nic_states(engine: Engine) -> list[NicState]:
    """The NICs of an engine's node."""
    nics = list(engine.view().nics.values())
    uses = nic_uses(nics, engine.journal.uses, engine.rates())
    return [NicState(nic, uses.get(nic.ifname, UNUSED)) for nic in nics]


def read_address(text: str) -> tuple[str, int]:
    """Host and port of ``10.0.0.1:9100`` or ``[::]:9100``.

    Raises:
        ConfigError: it is not of this form.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        ip_address(host)
        number = int(port)
    except ValueError:
        number = -1
    if not 0 <= number <= 65535:
        raise ConfigError(f"--metrics: found {text!r}, expected ADDRESS:PORT, such as '0.0.0.0:9100' or '[::]:9100'")
    return host, number


async def serve_metrics(
    address: str, node: str, snapshot: Snapshot, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
) -> None:
    """Answer scrapes at an address until cancelled; tells the port that it listens on.

    Args:
        address: as :func:`read_address` takes it; port 0 takes a free one.

    Raises:
        ConfigError: the address is none, or cannot be listened on.
    """
    host, port = read_address(address)
    registry = CollectorRegistry()
    registry.register(NicCollector(node, snapshot, trio.lowlevel.current_trio_token()))
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise ConfigError(f"--metrics: cannot listen on {address!r}: {error}") from error
    try:
        task_status.started(server.server_port)
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(server.shutdown)
            server.server_close()
            await trio.to_thread.run_sync(thread.join)
