"""Telling changes that matter from those that do not."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

from multinic_core.model import KubeObject
from multinic_core.ports import Key, Store

M = TypeVar("M", bound=KubeObject)


def on_change(store: Store[M], digest: Callable[[M], Hashable], tell: Callable[[Key, M | None], None]) -> None:
    """Call ``tell`` when an object appears, goes, or changes its digest.

    ``tell`` gets the object, or what it was last when it has gone.
    """
    seen: dict[Key, tuple[Hashable, M]] = {}

    def changed(key: Key) -> None:
        item = store.get(key.name, key.namespace)
        if item is None:
            before = seen.pop(key, None)
            tell(key, before[1] if before else None)
            return
        now = digest(item)
        if key not in seen or seen[key][0] != now:
            tell(key, item)
        seen[key] = now, item

    store.subscribe(changed)
