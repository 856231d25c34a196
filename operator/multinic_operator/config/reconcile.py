"""Config: makes the default one, keeps the DaemonSet of the one that counts, and says on each what became of it.

All Configs are looked at together, since which one counts depends on all. Nothing is deleted on the word of a local
store: before that the API is asked again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from multinic_core.errors import ApiError
from multinic_core.model import (
    CONFIGS,
    LEASES,
    PODS,
    Config,
    ConfigSpec,
    ConfigStatus,
    DaemonMount,
    DaemonSpec,
    ObjectMeta,
)
from multinic_core.model.config import DEFAULT_CONFIG
from multinic_operator.config.daemonset import CNI_BIN_PODPATH
from multinic_operator.config.keep import DaemonSets
from multinic_operator.config.status import derive_conditions, same_conditions
from multinic_operator.config.unwind import Unwinding
from multinic_operator.leading.leader import LEASE_NAME
from multinic_operator.ownership import write_finalizers
from multinic_operator.settings import choose, current_spec, readable
from multinic_operator.status.daemons import Daemons
from multinic_operator.status.derive import timestamp
from multinic_operator.status.events import tell
from multinic_operator.world import World

logger = logging.getLogger(__name__)

FINALIZER = "finalizers.config.multinic.fms.io"
"""Ours, under the name that the original gave it."""
DELETED_ANNOTATION = "multinic.fms.io/config-deleted"
"""On the operator's Lease: the last Config was deleted by somebody, so no leader makes a new one by itself."""
ALL = "configs"
"""The one key of the queue."""


class Configs:
    """Reconciles all Configs and the DaemonSet."""

    def __init__(self, world: World, daemons: Daemons, changed: Callable[[], None]) -> None:
        """``changed`` is called when something that others act on is other than before."""
        self._world = world
        self._daemons = daemons
        self._changed = changed
        self._daemonsets = DaemonSets(world)
        self._unwinding = Unwinding(world, daemons)
        self._known: tuple[bool | None, ConfigSpec] | None = None
        self._written: dict[str, tuple[str | None, ConfigStatus]] = {}
        """Config to the resourceVersion that its last status was based on, and what was written."""
        self.paused: bool | None = None
        """Whether there is no Config, so nothing is kept up; None before that is known."""

    async def reconcile(self, _: str) -> float | None:
        """Have one DaemonSet as the Config that counts says, and true statuses.

        Raises:
            ApiError: a read or write failed; nothing was deleted because of that.
        """
        world = self._world
        if not readable(world.configs):
            reasons = "; ".join(f"{key.name}: {reason}" for key, reason in world.configs.invalid.items())
            logger.error("Config cannot be read, all stays as it is", extra={"reason": reasons})
            self._conclude(paused=self.paused or False)
            return None
        chosen = choose(world.configs.list())
        if chosen is None and not world.configs.list() and await self._make_default():
            return None  # the store will tell
        self._conclude(paused=chosen is None)
        problem = ""
        if chosen is not None:
            chosen = await self._hold(chosen)
            problem = await self._daemonsets.keep(chosen)
        again = await self._part()
        for config in world.configs.list():
            await self._report(config, chosen, problem)
        return again

    def _conclude(self, *, paused: bool) -> None:
        self.paused = paused
        known = paused, current_spec(self._world.configs)
        if known != self._known:
            self._known = known
            self._changed()

    async def _make_default(self) -> bool:
        """Make the Config ``multi-nicd``, unless somebody deleted the last one; gives whether there is one now."""
        kube, namespace = self._world.kube, self._world.namespace
        if await kube.list(CONFIGS):
            return True
        try:
            lease = await kube.get(LEASES, LEASE_NAME, namespace)
        except ApiError as error:
            if error.status != 404:
                raise
        else:
            if DELETED_ANNOTATION in (lease.metadata.annotations or {}):
                return False
        try:
            await kube.create(CONFIGS, Config(metadata=ObjectMeta(name=DEFAULT_CONFIG), spec=await self._default()))
        except ApiError as error:
            if error.api_reason != "AlreadyExists":
                raise
        logger.info("Config made with the defaults", extra={"config": DEFAULT_CONFIG})
        return True

    async def _default(self) -> ConfigSpec:
        """The defaults, with the folder of executables that Multus of this cluster uses."""
        for pod in await self._world.kube.list(PODS, label_selector="app=multus"):
            for volume in pod.spec.volumes:
                path = (volume.get("hostPath") or {}).get("path")
                if volume.get("name") == "cnibin" and path:
                    mount = DaemonMount(name="cnibin", podpath=CNI_BIN_PODPATH, hostpath=path)
                    return ConfigSpec(daemon=DaemonSpec(mounts=[mount]))
        return ConfigSpec()

    async def _hold(self, chosen: Config) -> Config:
        """Keep the Config from going before what it set up has gone."""
        finalizers = chosen.metadata.finalizers or []
        if FINALIZER in finalizers:
            return chosen
        return await write_finalizers(self._world.kube, CONFIGS, chosen, [*finalizers, FINALIZER])

    async def _part(self) -> float | None:
        """Go on with Configs that are being deleted; gives the seconds after which to look again."""
        world, again = self._world, None
        for config in world.configs.list():
            finalizers = config.metadata.finalizers or []
            if config.metadata.deletion_timestamp is None or FINALIZER not in finalizers:
                continue
            alone = choose(await world.kube.list(CONFIGS)) is None
            if alone and (wait := await self._unwinding.advance(config)) is not None:
                again = wait
                continue
            if alone:
                await self._remember_deletion()
            try:
                await write_finalizers(world.kube, CONFIGS, config, [f for f in finalizers if f != FINALIZER])
            except ApiError as error:
                if error.status != 404:
                    raise
            logger.info("Config removed", extra={"config": config.name, "unwound": alone})
        return again

    async def _remember_deletion(self) -> None:
        mark = {"metadata": {"annotations": {DELETED_ANNOTATION: timestamp(self._world.now())}}}
        await self._world.kube.patch(
            LEASES, LEASE_NAME, mark, namespace=self._world.namespace, kind="apply", field_manager="multinic-config"
        )

    async def _report(self, config: Config, chosen: Config | None, problem: str) -> None:
        """Have the status say what is, and an Event tell of what a person must know."""
        world = self._world
        based_on, written = self._written.get(config.name, (None, None))
        found = config.status
        if based_on is not None and based_on == config.metadata.resource_version:
            found = written  # the store has yet to show our own write
        daemonset = world.daemonsets.get(chosen.name, world.namespace) if chosen is not None else None
        conditions = derive_conditions(
            config,
            found.conditions if found else [],
            chosen,
            daemonset,
            problem,
            self._daemons.problems(),
            self._unwinding.message if config.metadata.deletion_timestamp is not None else "",
            world.daemon_image,
            world.now(),
        )
        if found is not None and same_conditions(found.conditions, conditions):
            return
        before = {c.type: c for c in found.conditions} if found else {}
        for new in conditions:
            old = before.get(new.type)
            if (
                new.status == "False"
                and new.reason in TELLING
                and (old is None or (old.status, old.reason, old.message) != (new.status, new.reason, new.message))
            ):
                logger.warning(
                    "Config needs attention",
                    extra={"config": config.name, "reason": new.reason, "problem": new.message},
                )
                await tell(world, config, "Warning", new.reason, new.message, since=new.last_transition_time)
        status = ConfigStatus(conditions=conditions)
        try:
            await world.kube.patch(CONFIGS, config.name, {"status": status.to_json()}, subresource="status")
        except ApiError as error:
            if error.status != 404:
                raise
        self._written[config.name] = config.metadata.resource_version, status


TELLING = frozenset({"FieldsWithoutEffect", "NotInUse", "NameTaken", "AddressesInUse", "DaemonProblem"})
"""Reasons of conditions that are told by an Event and in the log, once for each text."""
