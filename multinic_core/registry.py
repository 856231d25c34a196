"""The plugin registry: loads every distribution's entry points and keeps the objects they offer, by name.

One broken plugin stops nothing: an entry point that raises on import, a hook that raises, an object without a name, a
name that is taken, all become :class:`Problem` values that name distribution and cause, and everything else works.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

import pluggy

from multinic_core import hookspecs
from multinic_core.errors import ConfigError
from multinic_core.hookspecs import PROJECT, Action, AttachmentStrategy, Ipam, MainPlugin
from multinic_core.model import MULTI_NIC_IPAM

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Problem:
    """A plugin, or a part of one, that was left out."""

    distribution: str
    entry_point: str
    cause: str

    def __str__(self) -> str:
        return f"plugin {self.entry_point!r} of {self.distribution}: {self.cause}"


@dataclass(frozen=True, slots=True)
class Owner:
    """Where a registered object comes from."""

    distribution: str
    version: str
    entry_point: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version} ({self.entry_point})"


@dataclass(slots=True)
class Register(Generic[T]):
    """The objects of one kind, by name."""

    title: str
    """What one object is called in messages, such as ``main plugin``."""
    objects: dict[str, T] = field(default_factory=dict)
    owners: dict[str, Owner] = field(default_factory=dict)

    def __getitem__(self, name: str) -> T:
        """The object of this name.

        Raises:
            ConfigError: there is none; lists those there are.
        """
        try:
            return self.objects[name]
        except KeyError:
            raise ConfigError(f"{self.title} {name!r} is not installed; found {sorted(self.objects)!r}") from None

    def __contains__(self, name: str) -> bool:
        return name in self.objects


@dataclass(slots=True)
class Registry:
    """All plugins of this process."""

    main_plugins: Register[MainPlugin] = field(default_factory=lambda: Register("main plugin"))
    strategies: Register[AttachmentStrategy] = field(default_factory=lambda: Register("attachment strategy"))
    ipams: Register[Ipam] = field(default_factory=lambda: Register("IPAM"))
    actions: Register[Action] = field(default_factory=lambda: Register("action"))
    problems: list[Problem] = field(default_factory=list)
    hooks: dict[Owner, list[str]] = field(default_factory=dict)
    """Owner to the names of the hooks it implements."""

    def main_plugin(self, name: object) -> MainPlugin | None:
        """The main plugin that serves a type: the one of this name, else the one that ``serves_others``; or None."""
        if not isinstance(name, str) or not name:
            return None
        found = self.main_plugins.objects
        return found.get(name) or next((each for each in found.values() if getattr(each, "serves_others", False)), None)

    def gives_from_pools(self, ipam_type: object) -> bool:
        """Whether an IPAM of this name gives addresses of the pools that the operator makes: ours, or an installed one.

        Others are CNI executables of the nodes.
        """
        return isinstance(ipam_type, str) and (ipam_type == MULTI_NIC_IPAM or ipam_type in self.ipams)


def _owner(entry_point: EntryPoint) -> Owner:
    distribution = entry_point.dist
    return Owner(
        distribution.name if distribution else "unknown distribution",
        distribution.version if distribution else "",
        entry_point.name,
    )


def load_plugins(found: Iterable[EntryPoint] | None = None) -> Registry:
    """Load the plugins of all installed distributions, in the order of distribution and entry point names.

    Args:
        found: the entry points to load; None: those of group ``multinic`` installed here.
    """
    registry = Registry()
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    loaded: list[tuple[Owner, object]] = []
    candidates = entry_points(group=PROJECT) if found is None else found
    for entry_point in sorted(candidates, key=lambda e: (_owner(e).distribution, e.name)):
        owner = _owner(entry_point)
        try:
            module = entry_point.load()
            manager.register(module, name=f"{owner.distribution}:{owner.entry_point}")
            manager.check_pending()
        except BaseException as error:
            if not isinstance(error, (Exception, SystemExit)):
                raise
            _unregister(manager, f"{owner.distribution}:{owner.entry_point}")
            _report(registry, owner, f"left out, loading raised {type(error).__name__}: {error}")
            continue
        loaded.append((owner, module))
    registers: Sequence[tuple[str, Register[Any]]] = (
        ("multinic_register_main_plugins", registry.main_plugins),
        ("multinic_register_strategies", registry.strategies),
        ("multinic_register_ipams", registry.ipams),
        ("multinic_register_actions", registry.actions),
    )
    for owner, module in loaded:
        callers = {caller.name for caller in manager.get_hookcallers(module) or ()}
        registry.hooks[owner] = sorted(callers)
        for hook, register in registers:
            if hook in callers:
                _collect(registry, register, owner, getattr(module, hook))
    return registry


def _unregister(manager: pluggy.PluginManager, name: str) -> None:
    if manager.has_plugin(name):
        manager.unregister(name=name)


def _report(registry: Registry, owner: Owner, cause: str) -> None:
    problem = Problem(owner.distribution, owner.entry_point, cause)
    registry.problems.append(problem)
    logger.error(
        "plugin left out",
        extra={"plugin": owner.entry_point, "distribution": owner.distribution, "cause": cause},
    )


def _collect(registry: Registry, register: Register[T], owner: Owner, hook: Callable[[], Iterable[T]]) -> None:
    try:
        offered = list(hook())
    except Exception as error:  # a foreign plugin may raise anything
        _report(
            registry,
            owner,
            f"its {register.title}s left out, the hook raised {type(error).__name__}: {error}",
        )
        return
    for item in offered:
        name = getattr(item, "name", None)
        if not isinstance(name, str) or not name:
            _report(registry, owner, f"{register.title} {item!r} left out, its name is {name!r}")
        elif name in register:
            _report(
                registry,
                owner,
                f"{register.title} {name!r} left out, {register.owners[name]} offers it already",
            )
        else:
            register.objects[name] = item
            register.owners[name] = owner
