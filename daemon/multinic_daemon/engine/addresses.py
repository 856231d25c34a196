"""ADD of ``multi-nic-ipam``: addresses for another main plugin, which makes the links itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from multinic_core.cni import Result, parse_result
from multinic_core.errors import ConfigError
from multinic_core.model import MULTI_NIC_IPAM
from multinic_core.plan import Plan
from multinic_daemon import crashpoints
from multinic_daemon.engine import allocate as allocating
from multinic_daemon.engine.answer import address_result, encode_result
from multinic_daemon.engine.context import Engine
from multinic_daemon.engine.invocation import Invocation
from multinic_daemon.engine.prepare import node_pools, require_pools
from multinic_daemon.engine.recorded import settle_recorded
from multinic_daemon.journal.journal import NewAttachment


def read_masters(stdin: bytes) -> tuple[str, ...]:
    """The NICs to give addresses for: ``masters``, or the ``master`` that single-NIC main plugins carry.

    Raises:
        ConfigError: neither names a NIC, or a NIC is named twice.
    """
    document: Mapping[str, Any] = json.loads(stdin)
    named = document.get("masters") or document.get("master")
    found = [named] if isinstance(named, str) else named
    if not isinstance(found, list) or not found or not all(isinstance(each, str) and each for each in found):
        raise ConfigError(f"masters: found {named!r}, expected the names of NICs to give addresses for")
    if len(set(found)) < len(found):
        raise ConfigError(f"masters: found {found!r}, expected each NIC once")
    return tuple(found)


async def allocate_addresses(engine: Engine, call: Invocation, stdin: bytes) -> Result:
    """Hold one address per NIC in one transaction, or answer again what was answered before.

    Raises:
        MultinicError: nothing is held.
    """
    parents = read_masters(stdin)
    ipam = call.netconf.ipam
    if ipam.get("type") != MULTI_NIC_IPAM:
        raise ConfigError(f"ipam.type: found {ipam.get('type')!r}, expected {MULTI_NIC_IPAM!r}")
    async with engine.making.enter(call.netconf.name), engine.locks((call.container_id, call.ifname)):
        if (recorded := await settle_recorded(engine, call)) is not None:
            return recorded
        if call.netconf.prev_result is not None and (earlier := parse_result(call.netconf.prev_result)).ips:
            new = NewAttachment(call.key, call.netns, call.pod, call.digest, Plan(()), (), {})
            engine.journal.record_ready(new, encode_result(earlier))
            return earlier  # somebody has given addresses already: they are passed on, and nothing is held
        pools = node_pools(engine, call.netconf.name)
        require_pools(engine, call.netconf.name, MULTI_NIC_IPAM, parents, pools)
        allocations = allocating.allocate(engine.registry, ipam, parents, call.static, pools)
        result = address_result(parents, allocations, ipam)
        moved = allocating.cursors(allocations, call.static)
        new = NewAttachment(call.key, call.netns, call.pod, call.digest, Plan(()), allocations, moved)
        engine.journal.record_ready(new, encode_result(result))
        crashpoints.reached("addresses.ready")
    return result
