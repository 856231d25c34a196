"""Whether a schema, or any schema within it, has a mark such as ``default``: where none has, an object need not be
walked for its sake. Asked once for each schema, since those of a kind stay the same from write to write."""

from typing import Any

from .errors import Json

_MOST = 50_000
"""Answers that are remembered; beyond that all are found out again."""
_known: dict[tuple[int, str], tuple[Json, bool]] = {}
"""By identity, with the schema itself, so that no other one can come to have its place."""


def has_within(schema: Json, mark: str) -> bool:
    """Whether the mark is at the schema's root or at any depth."""
    found = _known.get((id(schema), mark))
    if found is not None:
        return found[1]
    if len(_known) > _MOST:
        _known.clear()
    answer = _look(schema, mark)
    _known[id(schema), mark] = schema, answer
    return answer


def _look(value: Any, mark: str) -> bool:
    if isinstance(value, dict):
        return mark in value or any(_look(item, mark) for item in value.values())
    return isinstance(value, list) and any(_look(item, mark) for item in value)
