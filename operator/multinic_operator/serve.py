"""The operator as a whole: stores, queues and reconcilers wired together.

An event only says which key to look at. What changes often and concerns nothing here (Lease renewals, allocations
mirrored into pools, heartbeats of Nodes) is recognised by its digest before it costs a reconcile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Hashable
from datetime import datetime
from typing import Any

import trio

from multinic_core.model import CIDRS, IPPOOLS, SYSTEM_NAMESPACE, DaemonSet, IPPool, MultiNicNetwork, Resource
from multinic_core.ports import Key, Kubernetes
from multinic_core.registry import Registry
from multinic_operator.changes import on_change
from multinic_operator.config.pause import Pausing
from multinic_operator.config.reconcile import ALL, Configs
from multinic_operator.dependents.kinds import ForeignKinds, needs
from multinic_operator.hosts import AT_ONCE, Hosts
from multinic_operator.leading.catchup import caught_up
from multinic_operator.leading.leader import Election, serve_elected
from multinic_operator.logs import set_level
from multinic_operator.networks.legacy import LegacyFinalizers
from multinic_operator.networks.reconcile import Networks
from multinic_operator.networks.statuses import Statuses
from multinic_operator.queue import Controller
from multinic_operator.settings import current_spec, log_level, timing_of
from multinic_operator.status.daemons import Daemons
from multinic_operator.system import SystemNamespace
from multinic_operator.together import WRITES_AT_ONCE
from multinic_operator.validation.surroundings import Watch
from multinic_operator.webhook import serve_webhook
from multinic_operator.world import DAEMON_IMAGE, World, utc_now

logger = logging.getLogger(__name__)

GATHER_SECONDS = 0.1
"""Events wait so long for others of the same key, so that a burst costs one reconcile."""
COMPACT_SECONDS = 2.0
"""So long for networks whose blocks do not depend on the nodes that came: only what is told about them does."""
SYNC_WARNING_SECONDS = 10.0
FOREIGN_SECONDS = 1.0
"""So long for objects of kinds that others define, which come and change in crowds, one for each node."""
ROLL_SECONDS = 2.0
"""Steps of a roll of daemons, and what daemons report of themselves, are gathered so long before they are told."""


def network_digest(network: MultiNicNetwork) -> Hashable:
    """What a person or a finalizer changes in a network; not its status, which is ours."""
    metadata = network.metadata
    return metadata.uid, metadata.generation, metadata.deletion_timestamp, tuple(metadata.finalizers or ())


def pool_digest(pool: IPPool) -> Hashable:
    """What the operator cares for in a pool: all but which addresses are held."""
    spec, metadata = pool.spec, pool.metadata
    return (
        (spec.pod_cidr, spec.vlan_cidr, spec.net_attach_def, spec.host_name, spec.interface_name, *spec.excludes),
        bool(spec.allocations),
        tuple((metadata.labels or {}).items()),
        tuple((owner.kind, owner.name, owner.uid, owner.controller) for owner in metadata.owner_references or ()),
        metadata.deletion_timestamp,
    )


def daemonset_digest(daemonset: DaemonSet) -> Hashable:
    """What tells somebody else's edit from a step of a roll."""
    metadata = daemonset.metadata
    return (
        metadata.uid,
        metadata.generation,
        metadata.deletion_timestamp,
        str(metadata.labels),
        str(metadata.annotations),
    )


class Operator:
    """All controllers over one view of the cluster."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.around = Watch(world)
        self.foreign = ForeignKinds(world, self._foreign_changed)
        self.networks = Networks(world, self.around, self.foreign, self._concluded)
        self.daemons = Daemons(world, self._reported)
        self.configs = Configs(world, self.daemons, self._settings_changed)
        self._configs = Controller("configs", self.configs.reconcile)
        self._networks = Controller("networks", Pausing(world, self.networks, self.configs, self._concluded).reconcile)
        self.statuses = Statuses(world, self.networks, self.daemons)
        self._statuses = Controller("statuses", self.statuses.reconcile)
        self.hosts = Hosts(world, self._departing)
        self._hosts = Controller("hosts", self.hosts.reconcile, workers=WRITES_AT_ONCE)
        self._departures = Controller("departures", self.hosts.let_go)
        self._legacy = Controller("legacy finalizers", LegacyFinalizers(world).reconcile)
        self._system = Controller("system namespace", SystemNamespace(world).reconcile)
        self.controllers = (
            self._system,
            self._configs,
            self._legacy,
            self._hosts,
            self._departures,
            self._networks,
            self._statuses,
        )

    def subscribe(self) -> None:
        """Turn changes into keys; what is there already is announced at once."""
        world = self.world
        world.networks.subscribe(lambda key: self._statuses.queue.add(key.name, GATHER_SECONDS))
        on_change(world.networks, network_digest, lambda key, _: self._network_changed(key.name))
        world.hosts.subscribe(self._host_changed)
        on_change(world.nodes, lambda node: node.metadata.uid, lambda key, _: self._node_changed(key.name))
        on_change(world.namespaces, lambda n: n.status.phase, lambda key, _: self._namespace_changed(key.name))
        on_change(world.definitions, lambda d: d.model_dump_json(), lambda key, _: self._touch(key.name))
        on_change(world.cidrs, lambda c: c.model_dump_json(), lambda key, _: self._cidr_changed(key.name))
        on_change(world.pools, pool_digest, self._pool_changed)
        self._system.queue.add(world.namespace)
        for name in world.fleet.claimants:
            self._networks.queue.add(name)  # one that went while nobody looked leaves claims behind
        self._configs.queue.add(ALL)
        on_change(world.configs, lambda c: c.metadata.resource_version, lambda key, _: self._configs.queue.add(ALL))
        on_change(world.daemonsets, daemonset_digest, lambda key, _: self._configs.queue.add(ALL, GATHER_SECONDS))
        world.daemonsets.subscribe(lambda key: self._configs.queue.add(ALL, ROLL_SECONDS))

    def _settings_changed(self) -> None:
        """Another Config counts, or says something else, or there is none any more."""
        spec = current_spec(self.world.configs)
        for controller in self.controllers:
            controller.timing = timing_of(spec)
        set_level(log_level(spec))
        self._touch_all()

    def _touch(self, name: str) -> None:
        """Look at a network if there is one of this name."""
        if self.world.networks.get(name) is not None:
            self._networks.queue.add(name, GATHER_SECONDS)

    def _touch_all(self) -> None:
        for network in self.world.networks.list():
            self._networks.queue.add(network.name, GATHER_SECONDS)

    def _foreign_changed(self, resource: Resource[Any]) -> None:
        """Look at the networks whose main plugin reads objects of this kind, or keeps some."""
        for network in self.world.networks.list():
            plugin = self.world.registry.main_plugins.objects.get(network.spec.plugin.type)
            if plugin is not None and needs(plugin, resource):
                self._networks.queue.add(network.name, FOREIGN_SECONDS)

    def _network_changed(self, name: str) -> None:
        self._networks.queue.add(name)
        self._touch_all()  # a subnet that comes, changes or goes may concern every other network

    def _touch_blocks(self, at_once: Collection[str] = ()) -> None:
        """Look at networks since nodes have changed: at those with a list of nodes, and at these others, soon."""
        for network in self.world.networks.list():
            cidr = self.world.cidrs.get(network.name)
            soon = cidr is None or not cidr.spec.compact or network.name in at_once
            self._networks.queue.add(network.name, GATHER_SECONDS if soon else COMPACT_SECONDS)

    def _host_changed(self, key: Key) -> None:
        """Take a node's change in; what it is to have is decided here and now, and written when its turn comes."""
        fleet, host = self.world.fleet, self.world.hosts.get(key.name)
        before, after = fleet.observe(key.name, host)
        if before is not None and after is None:
            self.hosts.gone(before)
        self._hosts.queue.add(key.name)
        if before is after:
            return
        known = {entry.net_address for cidr in self.world.cidrs.list() for entry in cidr.spec.cidr}
        touched = self.hosts.number(key.name, before)
        if after is not None and not after.nets.keys() <= known:
            touched = {network.name for network in self.world.networks.list()}
        self._touch_blocks(touched)
        self._reported(None)

    def _node_changed(self, name: str) -> None:
        self._hosts.queue.add(name)
        if not self.world.has_node(name):
            self._touch_blocks()

    def _departing(self) -> None:
        self._departures.queue.add("departed", GATHER_SECONDS)

    def _namespace_changed(self, name: str) -> None:
        self._system.queue.add(name)
        self._touch_all()

    def _cidr_changed(self, name: str) -> None:
        self._legacy.queue.add(f"{CIDRS.plural}/{name}")
        self._touch(name)

    def _pool_changed(self, key: Key, pool: IPPool | None) -> None:
        self._legacy.queue.add(f"{IPPOOLS.plural}/{key.name}")
        if pool is None:
            return
        node, name, world = pool.spec.host_name, pool.spec.net_attach_def, self.world
        if world.pools.get(key.name) is None:
            world.fleet.pools[node].discard(key.name)
        else:
            world.fleet.pools[node].add(key.name)
        cidr, network = world.cidrs.get(name), world.networks.get(name)
        if cidr is None or not cidr.spec.compact or (network and network.metadata.deletion_timestamp):
            self._touch(name)
        elif not world.knows_node(node):
            self._hosts.queue.add(node)

    def _concluded(self, name: str) -> None:
        self._statuses.queue.add(name)

    def _reported(self, names: set[str] | None) -> None:
        self._configs.queue.add(ALL, ROLL_SECONDS)
        for name in [network.name for network in self.world.networks.list()] if names is None else names:
            self._statuses.queue.add(name, GATHER_SECONDS)

    async def wait_synced(self) -> None:
        """Wait for a first complete list of every kind; says whose is missing."""
        while missing := [plural for plural, store in self.world.stores.items() if not store.synced]:
            with trio.move_on_after(SYNC_WARNING_SECONDS):
                for plural in missing:
                    await self.world.stores[plural].wait_synced()
                continue
            missing = [plural for plural, store in self.world.stores.items() if not store.synced]
            logger.warning("still waiting for the API server", extra={"kinds": ",".join(missing)})

    async def serve(
        self,
        election: Election | None = None,
        *,
        webhook_port: int = 0,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Keep the stores current and reconcile until cancelled, or until an election is lost.

        Args:
            election: reconcile only while this one is won; None: from the start.
            webhook_port: answer the API server there, won or not; 0: nowhere.
        """
        async with trio.open_nursery() as nursery:
            await nursery.start(self.world.kube.serve)
            await self.wait_synced()
            await nursery.start(self.around.serve)
            if webhook_port:
                nursery.start_soon(lambda: serve_webhook(self.world, self.around, self.foreign, port=webhook_port))
            if election is None:
                await nursery.start(self.work)
                task_status.started()
                await trio.sleep_forever()
            task_status.started()
            await serve_elected(election, self._take_over)
            nursery.cancel_scope.cancel()

    async def _take_over(self) -> None:
        await caught_up(self.world)
        await self.work()

    async def _know_hosts(self) -> None:
        """Take all nodes in, some at a time; whoever changes meanwhile is announced again at the subscription."""
        fleet, hosts = self.world.fleet, self.world.hosts
        for count, host in enumerate(hosts.list(), 1):
            fleet.observe(host.name, host)
            if count % AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        for name in [name for name in fleet.members if hosts.get(name) is None]:
            fleet.observe(name, None)

    async def work(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Reconcile until cancelled; the stores are complete."""
        async with trio.open_nursery() as nursery:
            await self._know_hosts()
            self.subscribe()
            await nursery.start(self.daemons.serve)
            for controller in self.controllers:
                await nursery.start(controller.serve)
            logger.info("operator started", extra={"networks": len(self.world.networks.list())})
            task_status.started()
            while True:
                await trio.sleep(timing_of(current_spec(self.world.configs)).resync)
                self._configs.queue.add(ALL)
                self._touch_all()


async def serve_operator(
    kube: Kubernetes,
    registry: Registry,
    *,
    namespace: str = SYSTEM_NAMESPACE,
    now: Callable[[], datetime] = utc_now,
    daemon_image: str = DAEMON_IMAGE,
    election: Election | None = None,
    webhook_port: int = 0,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run an operator on this API; returns only when an election is lost that it had won."""
    world = World.watch(kube, registry, namespace=namespace, now=now, daemon_image=daemon_image)
    await Operator(world).serve(election, webhook_port=webhook_port, task_status=task_status)
