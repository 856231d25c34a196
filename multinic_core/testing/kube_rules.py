"""Rules of the Kubernetes API as pure functions over JSON: JSON patches and selectors."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from typing import Any


class PatchError(ValueError):
    """A JSON patch that cannot be applied: a failed test, or a path that is not there."""


def _steps(pointer: str) -> list[str]:
    """Source: RFC 6901, section 4."""
    if pointer and not pointer.startswith("/"):
        raise PatchError(f"path {pointer!r} does not start with a slash")
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _child(parent: Any, step: str) -> Any:
    try:
        return parent[int(step)] if isinstance(parent, list) else parent[step]
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise PatchError(f"nothing at {step!r}") from error


def _remove(parent: Any, step: str) -> Any:
    value = _child(parent, step)
    del parent[int(step) if isinstance(parent, list) else step]
    return value


def _add(parent: Any, step: str, value: Any) -> None:
    if isinstance(parent, list):
        at = len(parent) if step == "-" else int(step)
        if not 0 <= at <= len(parent):
            raise PatchError(f"index {at} is outside the list")
        parent.insert(at, value)
    elif isinstance(parent, dict):
        parent[step] = value
    else:
        raise PatchError(f"nothing to add {step!r} to")


def json_patch(target: Mapping[str, Any], operations: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """``target`` after a JSON patch; ``target`` stays as it is. Source: RFC 6902.

    Raises:
        PatchError: an operation is unknown, its path is absent, or its test failed.
    """
    root = {"": copy.deepcopy(dict(target))}

    def locate(pointer: str) -> tuple[Any, str]:
        parent: Any = root
        steps = ["", *_steps(pointer)]
        for step in steps[:-1]:
            parent = _child(parent, step)
        return parent, steps[-1]

    for operation in operations:
        name = operation.get("op")
        parent, step = locate(operation["path"])
        match name:
            case "add":
                _add(parent, step, copy.deepcopy(operation["value"]))
            case "remove":
                _remove(parent, step)
            case "replace":
                _child(parent, step)
                parent[int(step) if isinstance(parent, list) else step] = copy.deepcopy(operation["value"])
            case "move":
                value = _remove(*locate(operation["from"]))
                _add(*locate(operation["path"]), value)
            case "copy":
                _add(parent, step, copy.deepcopy(_child(*locate(operation["from"]))))
            case "test":
                if _child(parent, step) != operation["value"]:
                    raise PatchError(f"test of {operation['path']!r} failed")
            case _:
                raise PatchError(f"operation {name!r} is unknown")
    result: dict[str, Any] = root[""]
    return result


def label_match(selector: str, labels: Mapping[str, str]) -> bool:
    """Whether labels fit a selector such as ``a=b,c!=d,e in (f,g),h,!i``. Empty fits all."""
    return all(_requirement(part.strip(), labels) for part in re.split(r",(?![^(]*\))", selector) if part.strip())


def _requirement(text: str, labels: Mapping[str, str]) -> bool:
    if found := re.fullmatch(r"(\S+)\s+(in|notin)\s*\(([^)]*)\)", text):
        values = {value.strip() for value in found[3].split(",")}
        return (labels.get(found[1]) in values) == (found[2] == "in")
    if found := re.fullmatch(r"([^=!\s]+)\s*(==|=|!=)\s*(\S*)", text):
        return (labels.get(found[1]) == found[3]) == (found[2] != "!=")
    if found := re.fullmatch(r"(!?)\s*([^=!\s(),]+)", text):
        return (found[2] in labels) != bool(found[1])
    raise ValueError(f"label selector {text!r} cannot be read")


def field_match(selector: str, raw: Mapping[str, Any]) -> bool:
    """Whether an object fits a selector such as ``spec.nodeName=n1,status.phase!=Failed``. Empty fits all."""
    for part in filter(None, selector.split(",")):
        path, operator, wanted = re.split(r"(!=|==|=)", part, maxsplit=1)
        value: Any = raw
        for name in path.strip().split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        if (str(value or "") == wanted.strip()) != (operator != "!="):
            return False
    return True
