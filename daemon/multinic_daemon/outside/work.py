"""The steps of one attachment that others do, done, checked and undone in order.

Doing passes on what the executables answered; undoing and checking read everything from the journal's row. An IPAM's
and a main plugin's executable are undone by DEL whether or not they came to their end, as nobody knows that after a
crash, and DEL of what is not there succeeds by the specification.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from multinic_core.errors import ConfigError, ExecutableError, MultinicError
from multinic_core.hookspecs import Action
from multinic_core.outside import Act, RunIpam, RunPlugin
from multinic_core.plan import PodReference
from multinic_core.registry import Registry
from multinic_daemon import crashpoints
from multinic_daemon.journal.records import Record
from multinic_daemon.outside.actions import Actors
from multinic_daemon.outside.executables import Site, allows_check, find, run_executable, search_path
from multinic_daemon.podlinks.namespaces import namespace_device

if TYPE_CHECKING:  # the engine has one of these, and so imports this module
    from multinic_daemon.engine.lanes import Lane

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
        _find(step, step.path, otherwise)
        return step

    async def add(self, record: Record, step: R) -> R:
        """Let an executable do its part; the step with its answer.

        Raises:
            MultinicError: it did not; it may have done a part.
        """
        with await self.doing.worker(record.key.network):
            answer = await run_executable(_find(step, step.path), "ADD", _site(record, step), step.config, step.path)
        if answer is None:
            raise ExecutableError(f"{_subject(step)}: ADD of executable {_type(step)!r} printed nothing")
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
        file = _find(step, path)
        with await self.undoing.worker(record.key.network):
            await run_executable(file, "DEL", _site(record, step, netns, gone=True), _config(step), path)

    async def check(self, record: Record, registry: Registry) -> list[str]:
        """How what others did differs from what they find now, one sentence each."""
        plan, found = record.plan, list[str]()
        asked: list[RunIpam | RunPlugin] = [*plan.ipams, *plan.plugins]
        for step in asked:
            if not allows_check(step.config):
                continue
            path = self.search_path(step.path)
            try:
                file = _find(step, path)
                with await self.doing.worker(record.key.network):
                    await run_executable(file, "CHECK", _site(record, step), _config(step), path)
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


def _type(step: RunIpam | RunPlugin) -> object:
    return step.config.get("ipam", {}).get("type") if isinstance(step, RunIpam) else step.config.get("type")


def _find(step: RunIpam | RunPlugin, path: str, otherwise: str = "") -> Path:
    return find(_type(step), path, "ipam.type" if isinstance(step, RunIpam) else "plugin.type", otherwise)


def _subject(step: RunIpam | RunPlugin) -> str:
    return f"NIC {step.parent!r}, link {step.ifname!r}"


def _config(step: RunIpam | RunPlugin) -> dict[str, object]:
    """As CHECK and DEL get it: with the executable's own answer, where its version knows of that."""
    known = step.result is not None and allows_check(step.config)
    return {**step.config, "prevResult": step.result} if known else dict(step.config)


def _site(record: Record, step: RunIpam | RunPlugin, other: str = "", *, gone: bool = False) -> Site:
    """Args: ``gone``: the namespace may be, and is then left out."""
    netns = record.netns
    if gone:
        netns = next((path for path in (record.netns, other) if _is_there(path)), "")
    return Site(record.key.container_id, netns, step.ifname, cni_args(record, step), _subject(step))


def _is_there(netns: str) -> bool:
    """Whether a path may lead to a namespace; what an unmounted one leaves is a plain file, or nothing."""
    try:
        found = Path(netns).stat()
    except OSError:
        return False
    return bool(netns) and (found.st_dev == namespace_device() or not stat.S_ISREG(found.st_mode))


def cni_args(record: Record, step: RunIpam | RunPlugin) -> str:
    """``CNI_ARGS`` as runtimes write them, the same for ADD, CHECK and DEL, with the addresses asked for this link."""
    pod: PodReference = record.pod
    asked = step.config.get("runtimeConfig", {}).get("ips", ())
    pairs = (
        ("IgnoreUnknown", "1"),
        ("K8S_POD_NAMESPACE", pod.namespace),
        ("K8S_POD_NAME", pod.name),
        ("K8S_POD_INFRA_CONTAINER_ID", record.key.container_id),
        ("K8S_POD_UID", pod.uid),
        ("IP", ",".join(asked)),
    )
    return ";".join(f"{key}={value}" for key, value in pairs if value)
