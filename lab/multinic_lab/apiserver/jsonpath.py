"""The JSONPath of printer columns, scale paths and the like: fields, quoted fields, indexes, ``[*]``, simple filters.

Source: Kubernetes documentation, "JSONPath Support"; CRDs allow the simple paths only, filters on equality are common.
"""

import json
import re
from functools import lru_cache
from typing import Any

_STEP = re.compile(
    r"""\.(?P<field>(?:[^.\[\]\\]|\\.)+)
    |\[\s*(?P<index>-?\d+)\s*\]
    |\[\s*'(?P<quoted>[^']*)'\s*\]
    |\[\s*"(?P<dquoted>[^"]*)"\s*\]
    |(?P<all>\[\s*\*\s*\]|\.\*)
    |\[\?\(\s*@(?P<path>(?:\.[\w\\./-]+)+)\s*(?P<sign>==|!=)\s*(?P<value>"[^"]*"|'[^']*'|[\w.+-]+)\s*\)\]""",
    re.VERBOSE,
)


@lru_cache(maxsize=1024)
def _steps(path: str) -> tuple[tuple[str, Any], ...]:
    path = path.strip()
    if path.startswith("{") and path.endswith("}"):
        path = path[1:-1]
    if not path.startswith((".", "[")):
        path = "." + path.removeprefix("$").removeprefix(".")
    steps: list[tuple[str, Any]] = []
    position = 0
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None:
            raise ValueError(f"json path {path!r}: cannot read {path[position:]!r}")
        position = match.end()
        if match["all"] or match["field"] == "*":
            steps.append(("all", None))
        elif match["field"] is not None:
            steps.append(("field", re.sub(r"\\(.)", r"\1", match["field"])))
        elif match["index"] is not None:
            steps.append(("index", int(match["index"])))
        elif match["path"] is not None:
            text = match["value"]
            value = text[1:-1] if text[0] in "'\"" else json.loads(text)
            steps.append(("filter", (match["path"], match["sign"] == "==", value)))
        else:
            steps.append(("field", match["quoted"] if match["quoted"] is not None else match["dquoted"]))
    return tuple(steps)


def find(obj: Any, path: str) -> list[Any]:
    """Every value the path leads to, in order; empty when there is none.

    Raises:
        ValueError: the path cannot be read.
    """
    found = [obj]
    for kind, argument in _steps(path):
        following: list[Any] = []
        for value in found:
            if (kind == "field" and isinstance(value, dict) and argument in value) or (
                kind == "index" and isinstance(value, list) and -len(value) <= argument < len(value)
            ):
                following.append(value[argument])
            elif kind == "all" and isinstance(value, (list, dict)):
                following += value.values() if isinstance(value, dict) else value
            elif kind == "filter" and isinstance(value, list):
                inner, same, wanted = argument
                following += [v for v in value if (find(v, inner) == [wanted]) is same]
        found = following
    return found


def put(obj: dict[str, Any], path: str, value: Any) -> None:
    """Set the field at a path of plain fields, making the maps on the way."""
    *parents, last = [argument for _, argument in _steps(path)]
    for name in parents:
        obj = obj.setdefault(name, {})
    obj[last] = value
