"""Which Config counts, and what it says. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from multinic_core.model import DEFAULT_CONFIG, Config, ConfigSpec
from multinic_core.ports import Key, Store
from multinic_operator.queue import Timing

DEBUG_LEVEL = 7
"""``spec.logLevel`` from which on every step is logged. Source: original.md, section 10."""


def choose(configs: Iterable[Config]) -> Config | None:
    """The one that counts: ``multi-nicd``, else the oldest, else the first by name; never one that is being deleted."""
    alive = [config for config in configs if config.metadata.deletion_timestamp is None]
    return min(
        alive, key=lambda c: (c.name != DEFAULT_CONFIG, c.metadata.creation_timestamp or "", c.name), default=None
    )


def readable(store: Store[Config]) -> bool:
    """Whether it can be told which one counts: none that might is unreadable."""
    return Key("", DEFAULT_CONFIG) not in store.invalid and (not store.invalid or choose(store.list()) is not None)


def current_spec(store: Store[Config]) -> ConfigSpec:
    """What the Config that counts says; the defaults when there is none."""
    chosen = choose(store.list())
    return chosen.spec if chosen is not None else ConfigSpec()


def timing_of(spec: ConfigSpec) -> Timing:
    """How patiently the operator works; what is absent or not positive has the default."""

    def positive(value: int | None, unit: float) -> float | None:
        return value * unit if value is not None and value > 0 else None

    default = Timing()
    return Timing(
        first_retry=positive(spec.urgent_reconcile_seconds, 1) or default.first_retry,
        last_retry=positive(spec.normal_reconcile_minutes, 60) or default.last_retry,
        resync=positive(spec.long_reconcile_minutes, 60) or default.resync,
        limit=positive(spec.context_timeout_minutes, 60) or default.limit,
    )


def log_level(spec: ConfigSpec) -> str | None:
    """Level for the log of operator and daemons, or None when the Config leaves it open."""
    return None if spec.log_level is None else "debug" if spec.log_level >= DEBUG_LEVEL else "info"
