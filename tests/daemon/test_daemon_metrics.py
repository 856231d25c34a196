"""Metrics: what Prometheus reads is what the daemon knows at that moment, and reading changes nothing."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from urllib.request import urlopen

import pytest
import trio
from multinic_daemon.report.metrics import nic_states, read_address, serve_metrics
from multinic_daemon.testing import Rig
from prometheus_client.parser import text_string_to_metric_families

from multinic_core.errors import ConfigError


def scrape(port: int) -> dict[tuple[str, str], float]:
    """Metric and NIC to value, as a real scrape reads it."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return {(s.name, s.labels["nic"]): s.value for family in families for s in family.samples if "nic" in s.labels}


async def test_a_scrape_tells_rates_promises_and_attachments(rig: Rig) -> None:
    """Each NIC of the node has its values, also one that nobody uses."""
    rig.view = replace(rig.view, nics={**rig.view.nics, "eth1": replace(rig.view.nics["eth1"], speed=10_000)})
    rig.engine.rates = lambda: {"eth1": (5e9, 1e9)}
    await rig.call("ADD")
    rows = rig.journal.uses.links.copy()
    async with trio.open_nursery() as nursery:
        serve = partial(serve_metrics, "127.0.0.1:0", "node-1", partial(nic_states, rig.engine))
        port = await nursery.start(serve)
        found = await trio.to_thread.run_sync(scrape, port)
        nursery.cancel_scope.cancel()
    assert found["multinic_nic_transmit_bits_per_second", "eth1"] == 5e9
    assert found["multinic_nic_receive_bits_per_second", "eth1"] == 1e9
    assert found["multinic_nic_speed_bits_per_second", "eth1"] == 10e9
    assert found["multinic_nic_transmit_bits_per_second", "eth2"] == 0
    assert {nic: found["multinic_nic_attachments", nic] for nic in rig.view.nics} == {"eth1": 1, "eth2": 1, "eth3": 1}
    assert {found["multinic_nic_up", nic] for nic in rig.view.nics} == {1}
    assert rig.journal.uses.links == rows


async def test_a_port_that_is_taken_is_refused_by_its_option(rig: Rig) -> None:
    """The daemon says so and ends, rather than running without what it was asked for."""
    async with trio.open_nursery() as nursery:
        serve = partial(serve_metrics, "127.0.0.1:0", "node-1", partial(nic_states, rig.engine))
        port = await nursery.start(serve)
        with pytest.raises(ConfigError, match=f"--metrics: cannot listen on '127.0.0.1:{port}'"):
            await serve_metrics(f"127.0.0.1:{port}", "node-1", partial(nic_states, rig.engine))
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("text", ["9100", "localhost:9100", "127.0.0.1:", "127.0.0.1:70000", "127.0.0.1:-1", "[::1"])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    """With what would do."""
    with pytest.raises(ConfigError, match="expected ADDRESS:PORT"):
        read_address(text)


@pytest.mark.parametrize(("text", "expected"), [("0.0.0.0:9100", ("0.0.0.0", 9100)), ("[::]:0", ("::", 0))])
def test_an_address_is_read(text: str, expected: tuple[str, int]) -> None:
    """Of both families, port 0 for any."""
    assert read_address(text) == expected
