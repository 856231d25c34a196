"""This node's pools, whoever makes them: the operator's IPPool objects, and where a CIDR lists no nodes, arithmetic.

For a network of the second kind there may be no object. Its pools follow from the CIDR and this node's HostInterface,
and an object that is there, written by the operator before the list was left out or by the mirror, lends them what
stands in it: its allocations bind as ever. Readers see a store of IPPools and no difference.

Two watches are not in step. When a list is left out, the operator has written down first which NICs of which nodes are
exceptions; so the HostInterface is read once more, after the CIDR was seen, before anything is derived from it.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import ip_network
from typing import Any

import trio

from multinic_core.errors import ApiError
from multinic_core.model import CIDR, CIDRS, HOST_INTERFACES, HOSTNAME_LABEL, IPPOOLS, HostInterface, IPPool
from multinic_core.ports import Key, Kubernetes, Store
from multinic_daemon.hostroutes.allhosts import ALL_HOSTS
from multinic_daemon.pools.derived import derive_pools, node_addresses, why_none

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
"""After an error of the API."""


class NodePools:
    """The pools of one node, as a store."""

    def __init__(self, kubernetes: Kubernetes, node: str) -> None:
        self._kubernetes = kubernetes
        self._node = node
        self._objects = kubernetes.store(IPPOOLS, label_selector=f"{HOSTNAME_LABEL}={node}")
        self._cidrs = kubernetes.store(CIDRS)
        self._own_store = kubernetes.store(HOST_INTERFACES, field_selector=f"metadata.name={node}")
        self._hosts: Store[HostInterface] | None = None
        """Of all nodes; None: no network has needed them yet."""
        self._derived: dict[str, dict[str, IPPool]] = {}
        """Network without lists to its pools by name."""
        self._compact: dict[str, CIDR] = {}
        """Networks without lists."""
        self._unread: dict[str, int] = {}
        """Those of them for which the HostInterface has to be read once more, and a number for each time."""
        self._numbers = itertools.count()
        self._read: HostInterface | None = None
        """As it was then."""
        self._known = False
        self._subscribers: list[Callable[[Key], None]] = []
        self._stirred = trio.Event()
        self._objects.subscribe(self._announce)
        self._cidrs.subscribe(self._cidr_changed)
        self._own_store.subscribe(self._own_changed)

    # As a store

    def get(self, name: str, namespace: str = "") -> IPPool | None:
        """The pool of this name; without a resourceVersion when there is no object."""
        made, derived = self._objects.get(name), self.derived(name)
        if derived is None or (made is not None and made.spec.host_name != self._node):
            return made if derived is None else derived
        if made is None:
            return derived
        spec = derived.spec.model_copy(update={"allocations": made.spec.allocations})
        return made.model_copy(update={"spec": spec})

    def list(self, namespace: str | None = None) -> list[IPPool]:
        names = {pool.name for pool in self._objects.list()}.union(*self._derived.values())
        return [pool for name in sorted(names) if (pool := self.get(name)) is not None]

    @property
    def invalid(self) -> Mapping[Key, str]:
        return self._objects.invalid

    @property
    def synced(self) -> bool:
        """Whether it has been known once which pools there are, and what stands in them.

        A network whose lists are left out later makes no other one wait.
        """
        self._known = self._known or (all(store.synced for store in self._needed()) and not self._unread)
        return self._known

    async def wait_synced(self) -> None:
        while not self.synced:
            for store in self._needed():
                await store.wait_synced()
            if self._unread:
                await self._stirred.wait()

    def _needed(self) -> Iterable[Store[Any]]:
        yield from (self._objects, self._cidrs)
        if self._compact:
            yield self._own_store
        if self._hosts is not None:
            yield self._hosts

    def subscribe(self, changed: Callable[[Key], None]) -> None:
        self._subscribers.append(changed)
        for pool in self.list():
            changed(Key("", pool.name))

    # For the engine and the mirror

    def of_network(self, network: str) -> Sequence[IPPool]:
        """The pools that this node gives addresses from, sorted by name; those being deleted are absent."""
        if network in self._compact:
            return [pool for name in sorted(self._derived.get(network, ())) if (pool := self.get(name)) is not None]
        return [
            pool
            for pool in self._objects.list()
            if pool.spec.net_attach_def == network
            and pool.spec.host_name == self._node
            and pool.metadata.deletion_timestamp is None
        ]

    def problems(self, network: str) -> Sequence[str]:
        """Why pools of a network may be missing, one sentence each."""
        found = [
            f"IPPool {key.name!r}: {reason}"
            for key, reason in self._objects.invalid.items()
            if key.name.startswith(f"{network}-")
        ]
        if network in self._unread:
            return [*found, f"HostInterface {self._node!r}: not read since CIDR {network!r} lists no nodes"]
        if network in self._compact:
            return [*found, why_none(self._compact[network], self._node, self._own())]
        return found

    def derived(self, name: str) -> IPPool | None:
        """The pool as it follows by arithmetic, without allocations; None when that does not make it."""
        return next((pools[name] for pools in self._derived.values() if name in pools), None)

    # Deriving

    def _own(self) -> HostInterface | None:
        """This node's HostInterface, not older than when it was read."""
        shown = self._own_store.get(self._node)
        return self._read if shown is not None and _is_older(shown, self._read) else shown

    def _cidr_changed(self, key: Key) -> None:
        cidr = self._cidrs.get(key.name)
        if cidr is None and key in self._cidrs.invalid:
            return
        before = self._compact.pop(key.name, None)
        if cidr is None or not cidr.spec.compact or cidr.metadata.deletion_timestamp is not None:
            self._unread.pop(key.name, None)
            self._set(key.name, {})
            return
        self._compact[key.name] = cidr
        if not cidr.spec.config.subnet and self._hosts is None:
            self._hosts = self._kubernetes.store(ALL_HOSTS)
            self._hosts.subscribe(self._host_changed)
        if before is None or before.metadata.uid != cidr.metadata.uid:
            self._unread[key.name] = next(self._numbers)
            self._stir()
        else:
            self._derive(key.name)

    def _own_changed(self, key: Key) -> None:
        if key not in self._own_store.invalid:  # else nobody knows what it says now, and its blocks stay
            self._derive_all()

    def _host_changed(self, key: Key) -> None:
        """Another node's address in one of our blocks is one that pods must not get."""
        host = self._hosts.get(key.name) if self._hosts is not None and self._hosts.synced else None
        for network, cidr in self._compact.items():
            pools = self._derived.get(network, {}).values()
            if cidr.spec.config.subnet or host is None:
                continue
            blocks = [ip_network(pool.spec.pod_cidr) for pool in pools]
            known = {text for pool in pools for text in pool.spec.excludes}
            if not {str(address) for _, address in node_addresses([host], blocks)} <= known:
                self._derive(network)

    def _derive_all(self) -> None:
        for network in self._compact:
            self._derive(network)

    def _derive(self, network: str) -> None:
        cidr, own = self._compact[network], self._own()
        pools: dict[str, IPPool] = {}
        hosts = self._hosts if not cidr.spec.config.subnet else None
        if own is not None and network not in self._unread and (hosts is None or hosts.synced):
            try:
                pools = derive_pools(cidr, own, hosts.list() if hosts is not None else ())
            except ValueError as error:
                fields = {"network": network, "cause": str(error)}
                log.error("CIDR cannot be read, its pools stay", extra=fields)  # noqa: TRY400  # the cause says it all
                return
        self._set(network, pools)

    def _set(self, network: str, pools: dict[str, IPPool]) -> None:
        before = self._derived.pop(network, {})
        if pools:
            self._derived[network] = pools
        for name in sorted(before.keys() | pools.keys()):
            if before.get(name) != pools.get(name):
                self._announce(Key("", name))

    def _announce(self, key: Key) -> None:
        for changed in list(self._subscribers):
            changed(key)

    def _stir(self) -> None:
        self._stirred.set()
        self._stirred = trio.Event()

    # Reading once more

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Read the HostInterface whenever that is due; never returns. ``started()`` is called at once."""
        task_status.started()
        failed = False
        while True:
            stirred = self._stirred
            if not self._unread:
                await stirred.wait()
                continue
            try:
                await self.read_once_more()
                failed = False
            except ApiError as error:
                if not failed:
                    log.warning("HostInterface not read, will retry", extra={"node": self._node, "cause": str(error)})
                failed = True
                await trio.sleep(RETRY_SECONDS)

    async def read_once_more(self) -> None:
        """Read the HostInterface after the CIDRs that are known now, and derive what had to wait for it.

        Raises:
            ApiError: it could not be read.
        """
        unread = dict(self._unread)
        try:
            self._read = await self._kubernetes.get(HOST_INTERFACES, self._node)
        except ApiError as error:
            if error.status != 404:
                raise
        if self._hosts is not None:
            await self._hosts.wait_synced()
        for network, number in unread.items():
            if self._unread.get(network) == number:
                del self._unread[network]
        self._derive_all()
        self._stir()


def _is_older(shown: HostInterface, read: HostInterface | None) -> bool:
    """Whether a watch has yet to bring what was read."""
    if read is None or shown.metadata.uid != read.metadata.uid:
        return False
    try:
        return int(shown.metadata.resource_version or "0") < int(read.metadata.resource_version or "0")
    except ValueError:
        return False
