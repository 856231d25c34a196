"""CHECK: the journal, the runtime's prevResult and the kernel must say the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from multinic_core.cni import Result, parse_result
from multinic_core.errors import CheckFailedError, ConfigError
from multinic_daemon.engine.answer import decode_result
from multinic_daemon.engine.context import Engine
from multinic_daemon.engine.invocation import Invocation
from multinic_daemon.engine.recorded import kernel_differences, same_netns
from multinic_daemon.engine.takenover import check_taken_over


async def check(engine: Engine, call: Invocation) -> None:
    """Compare what was made with what is there; of both ``multi-nic`` and ``multi-nic-ipam``.

    Raises:
        ConfigError: there is no ``prevResult``.
        CheckFailedError: they differ; names each difference.
    """
    if call.netconf.prev_result is None:
        raise ConfigError("prevResult: missing, CHECK needs the result of ADD")
    subject = f"interface {call.ifname!r} of container {call.container_id!r} on network {call.netconf.name!r}"
    async with engine.making.enter(call.netconf.name), engine.locks((call.container_id, call.ifname)):
        record = engine.journal.find(call.key)
        if record is None or record.taken_over:
            taken_over = await check_taken_over(engine, call)
            if taken_over:
                raise CheckFailedError(f"{subject}: {'; '.join(taken_over)}")
            if taken_over is not None:
                return
        if record is None:
            raise CheckFailedError(f"{subject}: not attached by this node")
        if record.state != "ready":
            raise CheckFailedError(f"{subject}: found {record.state}, expected ready")
        found = []
        if not same_netns(record.netns, call.netns):
            found.append(f"attached in namespace {record.netns!r}, asked about {call.netns!r}")
        recorded = decode_result(record.result_json)
        if not record.digest:  # taken over, and the namespace is perhaps known by another path
            interfaces = tuple(replace(each, sandbox=call.netns) for each in recorded.interfaces)
            recorded = replace(recorded, interfaces=interfaces)
        found += _result_differences(recorded, parse_result(call.netconf.prev_result))
        if record.has_links:
            found += await kernel_differences(engine, record)
        if record.outside:
            found += await engine.outside.check(record, engine.registry)
    if found:
        raise CheckFailedError(f"{subject}: {'; '.join(found)}")


def _result_differences(recorded: Result, given: Result) -> Iterator[str]:
    """What of the recorded answer is not in ``prevResult``, which later plugins of a chain may have added to."""
    interfaces = {(each.name, each.sandbox): each for each in given.interfaces}
    for interface in recorded.interfaces:
        other = interfaces.get((interface.name, interface.sandbox))
        if other is None:
            yield f"prevResult lacks interface {interface.name!r} in {interface.sandbox!r}"
        elif other.mac.lower() != interface.mac.lower():
            yield f"prevResult has MAC address {other.mac!r} for {interface.name!r}, recorded {interface.mac!r}"
    addresses = {ip.address for ip in given.ips}
    for ip in recorded.ips:
        if ip.address not in addresses:
            yield f"prevResult lacks address {ip.address}"
