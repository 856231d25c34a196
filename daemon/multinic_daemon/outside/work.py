"""The steps of one attachment that others do, done, checked and undone in order.

Doing passes on what the executables answered; undoing and checking read everything from the journal's row. An IPAM's
and a main plugin's executable are undone by DEL whether or not they came to their end, as nobody knows that after a
crash, and DEL of what is not there succeeds by the specification.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import trio

from multinic_core.errors import ConfigError, ExecutableError, MultinicError
from multinic_core.hookspecs import Action
from multinic_core.outside import Act, RunIpam, RunPlugin
from multinic_core.registry import Registry
from multinic_daemon import crashpoints
from multinic_daemon.journal.records import Record
from multinic_daemon.outside.actions import Actors
from multinic_daemon.outside.asking import config_of, find_for, site_of, subject_of, type_of
from multinic_daemon.outside.executables import allows_check, run_executable, search_path
from multinic_daemon.outside.orphans import end_orphans, mark_of

if TYPE_CHECKING:  # the engine has one of these, and so imports this module
    from multinic_daemon.engine.lanes import Lane

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R", RunIpam, RunPlugin)


@dataclass(slots=True)
class Outside:
    """One node's executables and actions."""

    doing: Lane
    undoing: Lane
    """Of its own, so that nothing that hangs in doing keeps a pod from going."""
    cni_bin: str = ""
    """Folders of executables besides the runtime's ``CNI_PATH``, written as that is."""
    actors: Actors = field(default_factory=Actors)

    def search_path(self, path: str) -> str:
        """Where executables are looked for: in the runtime's ``CNI_PATH``, then in our own folders."""
        return search_path(path, self.cni_bin)

    def found(self, step: R, path: str, otherwise: str = "") -> R:
        """The step with the folders in which its executable is now.

        Args:
            path: the runtime's ``CNI_PATH``.
            otherwise: what else the configuration might have named.

        Raises:
            ConfigError, ExecutableError: it is not there.
        """
        step = replace(step, path=self.search_path(path))
        find_for(step, step.path, otherwise)
        return step

    async def add(self, record: Record, step: R) -> R:
        """Let an executable do its part; the step with its answer.

        Raises:
            MultinicError: it did not; it may have done a part.
        """
        with await self.doing.worker(record.key.network):
            answer = await run_executable(
                find_for(step, step.path), "ADD", site_of(record, step), step.config, step.path
            )
        if answer is None:
            raise ExecutableError(f"{subject_of(step)}: ADD of executable {type_of(step)!r} printed nothing")
        return replace(step, result=answer)

    async def unplug(self, record: Record, netns: str) -> None:
        """Let executables remove the links that they made.

        Args:
            netns: path of the namespace where the recorded one is gone, or "".

        Raises:
            MultinicError: some may be left.
        """
        if plugins := record.plan.plugins:
            await self._delete(record, plugins, netns)
            crashpoints.reached("outside.unplugged")

    async def release(self, record: Record, registry: Registry, netns: str) -> None:
        """Take actions back and let executables free the addresses that they gave; links are gone by now.

        Raises:
            MultinicError: something may be left, perhaps of each.
        """
        plan = record.plan
        await self._take_back(record, registry, plan.actions)
        if plan.actions:
            crashpoints.reached("outside.taken_back")
        if plan.ipams:
            await self._delete(record, plan.ipams, netns)
            crashpoints.reached("outside.freed")

    async def _delete(self, record: Record, steps: Sequence[R], netns: str) -> None:
        """Undo what executables did, the last first, each even when another fails; raises the first failure."""
        failures: list[MultinicError] = []
        for step in reversed(steps):
            try:
                await self.delete(record, step, netns)
            except MultinicError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    async def delete(self, record: Record, step: RunIpam | RunPlugin, netns: str = "") -> None:
        """Undo what one executable did.

        Args:
            netns: path of the namespace where the recorded one is gone, or "".

        Raises:
            MultinicError: it could not; something may be left.
        """
        path = self.search_path(step.path)
        file = find_for(step, path)
        with await self.undoing.worker(record.key.network):
            end = partial(end_orphans, mark_of(record, step.ifname))
            if await trio.to_thread.run_sync(end, abandon_on_cancel=True):
                log.warning("an executable was still running, killed", extra=record.key.log_fields)
            await run_executable(file, "DEL", site_of(record, step, netns, gone=True), config_of(step), path)

    async def check(self, record: Record, registry: Registry) -> list[str]:
        """How what others did differs from what they find now, one sentence each."""
        plan, found = record.plan, list[str]()
        asked: list[RunIpam | RunPlugin] = [*plan.ipams, *plan.plugins]
        for step in asked:
            if not allows_check(step.config):
                continue
            path = self.search_path(step.path)
            try:
                file = find_for(step, path)
                with await self.doing.worker(record.key.network):
                    await run_executable(file, "CHECK", site_of(record, step), config_of(step), path)
            except MultinicError as error:
                found.append(str(error))
        for act in plan.actions:
            try:
                action = _action(registry, act)
                found += await self._act(self.doing, record, "check", act, partial(action.check, act.arguments))
            except MultinicError as error:
                found.append(str(error))
        return found

    async def act(self, record: Record, registry: Registry, acts: Sequence[Act]) -> None:
        """Do these actions, in order.

        Raises:
            MultinicError: one was not done; those before it were.
        """
        for act in acts:
            action = _action(registry, act)
            await self._act(self.doing, record, "do", act, partial(action.do, act.arguments))
            crashpoints.reached("outside.acted")

    async def _take_back(self, record: Record, registry: Registry, acts: Sequence[Act]) -> None:
        """Undo these actions, the last first, each even when another fails; raises the first failure."""
        failures: list[MultinicError] = []
        for act in reversed(acts):
            try:
                action = _action(registry, act)
                await self._act(self.undoing, record, "undo", act, partial(action.undo, act.arguments))
            except MultinicError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    async def _act(self, lane: Lane, record: Record, verb: str, act: Act, talk: Callable[[], T]) -> T:
        link = f" for link {act.ifname!r}" if act.ifname else ""
        subject = f"action {act.action!r}{link}: {verb}"
        return await self.actors.run(lane, record.key.network, record.id, subject, talk)


def require_actions(registry: Registry, acts: Sequence[Act]) -> None:
    """Raise ConfigError where one of these actions is not installed."""
    for act in acts:
        _action(registry, act)


def _action(registry: Registry, act: Act) -> Action:
    if act.action not in registry.actions:
        raise ConfigError(
            f"action: found {act.action!r}, expected one that is installed: {sorted(registry.actions.objects)!r}"
        )
    return registry.actions[act.action]
