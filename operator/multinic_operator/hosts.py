"""HostInterfaces: written by the daemons, numbered here, and removed when their node has gone for good.

A node costs one write when it comes (its index and, rarely, claims, in one status) and two when it goes for good: the
record of what it held, shared with all that go at the same time, then the deletion.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import trio

from multinic_core.errors import ApiError
from multinic_core.model import HOST_INTERFACES, IPPOOLS, NODES, IndexClaim, pool_name
from multinic_core.pools import HeldIndexes
from multinic_core.rows import Rows
from multinic_operator.numbering.departed import (
    Departure,
    decode_departed,
    encode_departed,
    read_departed,
    write_departed,
)
from multinic_operator.numbering.exceptions import concerns, settle, with_claims
from multinic_operator.numbering.fleet import Member
from multinic_operator.numbering.indexes import choose_index, held_claims, listed_indexes
from multinic_operator.ownership import release
from multinic_operator.status.derive import timestamp
from multinic_operator.together import each
from multinic_operator.world import World

logger = logging.getLogger(__name__)

AT_ONCE = 50
"""So many nodes are numbered before others get their turn."""


async def write_member(world: World, name: str) -> None:
    """Have the HostInterface say what was decided about its node; nothing when it does.

    Raises:
        ApiError: it could not be written; status 409 when it has changed meanwhile.
    """
    member = world.fleet.members.get(name)
    if member is None or member.written:
        return
    claims = [claim.to_json() for claim in member.claims] or None
    body = {
        "metadata": {"resourceVersion": member.version},
        "status": {"hostIndex": member.index, "exceptions": claims},
    }
    written = await world.kube.patch(HOST_INTERFACES, name, body, subresource="status")
    world.fleet.confirm(name, member, written.metadata.resource_version)
    logger.info("index written", extra={"node": name, "index": member.index, "exceptions": len(member.claims)})


class Hosts:
    """Reconciles HostInterfaces, by node name."""

    def __init__(self, world: World, departing: Callable[[], None]) -> None:
        """``departing`` is called when :meth:`let_go` has something to do."""
        self._world = world
        self._departing = world.fleet.on_leave = departing
        self._recorded: str | None = None
        """What the ConfigMap holds; None until it was read."""
        self._leaving: set[str] = set()
        """Nodes whose HostInterface is to be deleted once what they held is recorded."""
        self._compact: dict[str, tuple[str | None, Rows]] = {}
        """Compact network to the resourceVersion of its CIDR and what was made of it."""

    async def reconcile(self, name: str) -> float | None:
        """Number a node that is there, and let go of one that no longer exists.

        Gone is proven by the store of Nodes and by the API's own "not found", never by another error: a store may be
        behind, and a daemon may be quicker than it.

        Raises:
            ApiError: the proof or a write failed otherwise.
        """
        await self.prepare()
        world = self._world
        host = world.hosts.get(name)
        if host is None:
            await self._without_object(name)
            return None
        if await release(world.kube, HOST_INTERFACES, host) or host.metadata.deletion_timestamp is not None:
            return None
        if not host.unmanaged and not world.has_node(name):
            try:
                await world.kube.get(NODES, name)
            except ApiError as error:
                if error.status != 404:
                    raise
                self._leaving.add(name)
                self._departing()
            return None
        self.number(name)
        await write_member(world, name)
        return None

    def number(self, name: str, before: Member | None = None) -> set[str]:
        """Decide what this node is to have; gives the compact networks that must be looked at as a whole.

        Nothing is decided before :meth:`prepare` has run.

        Args:
            before: the node as it was until now; of two NICs in one network the one that was there keeps its block.
        """
        fleet = self._world.fleet
        if self._recorded is None or (member := fleet.members.get(name)) is None:
            return set()
        touched: set[str] = set()
        if member.index is None or name in fleet.clashing:
            member = self._first_index(member)
        for rows in self.compact_rows().values():
            if concerns(fleet, member, rows):
                settled = settle(fleet, rows, member, first=self._first_nics(rows, member, before))
                if settled.left or settled.bars:
                    touched.add(rows.network)
                if not settled.bars:  # else the network's own reconcile does it, in the right order
                    member = fleet.decide(name, member.index, with_claims(member, rows.network, settled.claims))
        return touched

    def _first_nics(self, rows: Rows, member: Member, before: Member | None) -> dict[str, str]:
        """NIC network to the NIC that has had the node's own index there, for networks where the node has several.

        The one that was alone there until now; after a restart, the one whose pool has addresses in use.
        """
        found: dict[str, str] = {}
        for net, nics in member.nets.items():
            if len(nics) < 2 or net not in rows.places or member.index is None or member.index >= rows.limit:
                continue
            was = before.nets.get(net, ()) if before is not None else ()
            pool = self._world.pools.get(pool_name(rows.network, rows.pod_cidr(net, member.index)))
            names = [nic.ifname for nic in nics]
            if len(was) == 1 and was[0].ifname in names:
                found[net] = was[0].ifname
            elif len(was) == 1:
                found[net] = next((nic.ifname for nic in nics if nic.address == was[0].address), "")
            elif pool is not None and pool.spec.allocations:
                found[net] = pool.spec.interface_name
        return found

    def _first_index(self, member: Member) -> Member:
        world, fleet = self._world, self._world.fleet
        now = world.now()
        for old in [d for d in fleet.departed.values() if d.expired(now, world.retention_seconds())]:
            if old.node != member.name:
                fleet.forget(old.node)
        if (departure := fleet.departed.get(member.name)) is not None:
            fleet.forget(member.name)
            if departure.host_index not in fleet.held:
                return fleet.decide(member.name, departure.host_index, departure.exceptions or ())
        cidrs = world.cidrs.list()
        for index in listed_indexes(cidrs, member.name).get(member.name, ()):
            if index not in fleet.held:
                return fleet.decide(member.name, index, member.claims)
        pools = [pool for name in fleet.pools.get(member.name, ()) if (pool := world.pools.get(name)) is not None]
        if claims := held_claims(pools, self.compact_rows()):
            return self._from_pools(member, claims)
        limits = [
            1 << cidr.spec.config.host_block
            for cidr in cidrs
            if any(entry.net_address in member.nets for entry in cidr.spec.cidr)
        ]
        return fleet.decide(member.name, choose_index(fleet, limits, self._listed_anywhere()), member.claims)

    def _listed_anywhere(self) -> HeldIndexes:
        indexes = {row.host_index for c in self._world.cidrs.list() for entry in c.spec.cidr for row in entry.hosts}
        return HeldIndexes([(index, index) for index in indexes])

    def _from_pools(self, member: Member, claims: list[IndexClaim]) -> Member:
        """The index that most of the pools with addresses name, and claims for the others."""
        fleet = self._world.fleet
        free = [c for c in claims if c.host_index is not None and c.host_index not in fleet.held]
        indexes = [claim.host_index for claim in free if claim.host_index is not None]
        index = max(sorted(indexes), key=indexes.count) if indexes else choose_index(fleet, (), self._listed_anywhere())
        deviating = [claim for claim in free if claim.host_index != index]
        return fleet.decide(member.name, index, [*member.claims, *deviating])

    async def prepare(self) -> None:
        """Read once what earlier operators recorded, and decide the indexes of all nodes that stand in lists and have
        none, before any new node takes one of them.

        Raises:
            ApiError: the records could not be read.
        """
        if self._recorded is not None:
            return
        world, fleet = self._world, self._world.fleet
        text = await read_departed(world.kube, world.namespace)
        if self._recorded is not None:
            return  # by another task meanwhile
        self._recorded = text
        for departure in sorted(decode_departed(text), key=lambda d: (d.left, d.node)):
            member = fleet.members.get(departure.node)
            known = departure.node in fleet.departed or (member is not None and member.index is not None)
            if not known and not departure.indexes & self._in_use(departure.indexes):
                fleet.leave(departure)
        listed = listed_indexes(world.cidrs.list())
        missing = sorted(name for name, member in fleet.members.items() if member.index is None)
        for name in missing:
            free = (index for index in listed.get(name, ()) if index not in fleet.held)
            if name not in fleet.departed and (index := next(free, None)) is not None:
                fleet.decide(name, index, fleet.members[name].claims)
        for count, name in enumerate(missing, 1):
            if count % AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
            self.number(name)

    def _in_use(self, indexes: set[int]) -> set[int]:
        return {index for index in indexes if index in self._world.fleet.by_index}

    def compact_rows(self) -> dict[str, Rows]:
        """The compact networks, ready for arithmetic."""
        found: dict[str, tuple[str | None, Rows]] = {}
        for cidr in self._world.cidrs.list():
            if not cidr.spec.compact:
                continue
            version = cidr.metadata.resource_version
            known = self._compact.get(cidr.name)
            if known is None or known[0] != version:
                try:
                    known = version, Rows(cidr.name, cidr.spec)
                except ValueError:
                    continue  # the network's reconcile says so
            found[cidr.name] = known
        self._compact = found
        return {name: rows for name, (_, rows) in found.items()}

    # Leaving

    def gone(self, member: Member) -> None:
        """Remember what a node held whose HostInterface has just gone."""
        fleet = self._world.fleet
        if member.index is not None and member.name not in fleet.departed:
            fleet.leave(self._departure(member))
            self._departing()

    def _departure(self, member: Member) -> Departure:
        claims = list(member.claims)
        for cidr in self._world.cidrs.list():
            for entry in cidr.spec.cidr:
                rows = [row for row in entry.hosts if row.host_name == member.name]
                if len(rows) == 1 and rows[0].host_index == member.index:
                    continue
                claims += [
                    IndexClaim(
                        network=cidr.name,
                        net_address=entry.net_address,
                        interface_name=row.interface_name,
                        host_ip=row.host_ip or None,
                        host_index=row.host_index,
                    )
                    for row in rows
                ]
        assert member.index is not None, member.name
        return Departure(
            node=member.name, host_index=member.index, exceptions=claims or None, left=timestamp(self._world.now())
        )

    async def _without_object(self, name: str) -> None:
        """Take the pools of a node that is gone away in compact networks; elsewhere the network's reconcile does."""
        world = self._world
        if not world.knows_node(name):
            compact = self.compact_rows()
            pools = [pool for pool in map(world.pools.get, sorted(world.fleet.pools.get(name, ()))) if pool is not None]
            gone = [pool for pool in pools if pool.spec.net_attach_def in compact]
            await each(partial(world.kube.delete, IPPOOLS, pool.name, uid=pool.metadata.uid) for pool in gone)

    async def let_go(self, _: str) -> float | None:
        """Record what all nodes held that are leaving, then delete their HostInterfaces.

        Raises:
            ApiError: a write failed; nothing was deleted that was not recorded.
        """
        await self.prepare()
        world, fleet = self._world, self._world.fleet
        leaving = [member for name in sorted(self._leaving) if (member := fleet.members.get(name)) is not None]
        held = {member.name: self._departure(member) for member in leaving if member.index is not None}
        gone = {departure.node: departure for departure in fleet.departed.values()}
        if (text := encode_departed([*(gone | held).values()])) != self._recorded:
            await write_departed(world.kube, world.namespace, text)
            self._recorded = text
        await each(partial(self._delete, member) for member in leaving)
        self._leaving -= {member.name for member in leaving}
        return None

    async def _delete(self, member: Member) -> None:
        await self._world.kube.delete(HOST_INTERFACES, member.name, uid=member.uid)
        logger.info("host interface deleted, its node is gone", extra={"node": member.name})
