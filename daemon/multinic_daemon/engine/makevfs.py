"""Making VFs where a network says that its nodes do so themselves, at the first pod that needs them.

The kernel changes the number of a NIC's VFs only by way of none. So they are made where none of them is in use: not
held by an attachment, and there on the node, down, with a driver of the kernel. A NIC that has enough is left alone;
one that has too few, of which some are in use, is too, and that is said.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from multinic_core.deviceplans import nic_key
from multinic_core.plan import Nic, NodeView
from multinic_daemon.engine.context import Engine
from multinic_daemon.engine.invocation import Invocation
from multinic_daemon.engine.planning import main_plugin
from multinic_daemon.engine.select import find_members

log = logging.getLogger(__name__)


async def make_vfs(engine: Engine, call: Invocation) -> None:
    """Give each NIC of the network the number of VFs that it wants, where that can be; how many there are then counts.

    Raises:
        ConfigError: the plugin's block does not fit.
        KernelError: the kernel refused.
    """
    netconf = call.netconf
    wanted_vfs: Callable[[Mapping[str, Any]], int] | None = getattr(
        main_plugin(engine.registry, netconf.plugin), "wanted_vfs", None
    )
    if wanted_vfs is None or not (wanted := wanted_vfs(netconf.plugin)):
        return
    parents = {pool.spec.interface_name for pool in engine.cluster.pools(netconf.name)}
    members = find_members(engine.registry, netconf, engine.view(), parents, engine.cluster.cidr(netconf.name))
    # one whose VFs are being made already is waited for
    for name in [nic.ifname for nic in members.nics if _too_few(nic, wanted) or nic.ifname in engine.remade]:
        async with engine.vfs((name, "")):
            await _grow(engine, netconf.name, name, wanted)


async def _grow(engine: Engine, network: str, ifname: str, wanted: int) -> None:
    """With the NIC's lock; another call may have done it meanwhile."""
    if engine.fresh is not None:
        await engine.fresh()
    view = engine.view()
    nic = view.nics.get(ifname)
    if nic is None or not _too_few(nic, wanted):
        return
    fields = {"network": network, "nic": ifname, "found": len(nic.vfs), "wanted": wanted}
    if reason := in_use(nic, view, engine.journal.held_devices.keys):
        log.warning("too few VFs, and no more can be made: %s", reason, extra=fields)
        return
    # from here on nobody else is given one of those that there are
    engine.remade.add(nic.ifname)
    try:
        await engine.in_thread(partial(engine.kernel.make_vfs, nic.pci_address, wanted), network)
    finally:
        engine.remade.discard(nic.ifname)
    log.info("VFs made", extra=fields)


def in_use(nic: Nic, view: NodeView, held: frozenset[str]) -> str:
    """Why the number of a NIC's VFs cannot be changed now, or ""."""
    if nic_key(nic) in held:
        return f"NIC {nic.ifname!r} sits in a pod"
    busy = [vf for vf in nic.vfs if vf.pci_address in held | view.devices_held or not vf.ifname or vf.up]
    return f"{len(busy)} of the {len(nic.vfs)} VFs of NIC {nic.ifname!r} are in use" if busy else ""


def _too_few(nic: Nic, wanted: int) -> bool:
    return bool(nic.pci_address) and len(nic.vfs) < wanted <= nic.vfs_possible
