"""Arguments of an executable that nobody here knows: strings in ``spec.plugin.args``, JSON values in its configuration.

A string that is JSON stands for that value: ``"true"``, ``"1500"``, ``"[1, 2]"``, ``"{…}"``, and ``"\\"1500\\""`` for
the text 1500. Any other string stands for itself. One that begins like an object or a list and is none is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict

from multinic_core.args import PluginArgs
from multinic_core.errors import ConfigError

DELEGATE = "delegate"
EXECUTABLE = "executable"
"""Key of the attachment definition's ``plugin`` block that names the executable where ``type`` is ``delegate``."""
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.+\-]*")
SET_BY_US = ("cniVersion", "name", "ipam", "prevResult", "runtimeConfig", "args", EXECUTABLE)
"""Keys of the configuration that do not come from arguments."""


class DelegateArgs(PluginArgs):
    """Arguments of delegate: ``type``, and whatever the executable reads."""

    model_config = ConfigDict(extra="allow")

    type: str | None = None
    """The executable, where ``spec.plugin.type`` is ``delegate``."""
    master: str | None = None
    """Accepted for old manifests; the attachment policy chooses the NICs."""


def typed_args(plugin_type: str, args: Mapping[str, str], path: str = "spec.plugin") -> dict[str, Any]:
    """The arguments as the attachment definition's ``plugin`` block has them.

    Args:
        plugin_type: ``spec.plugin.type``.

    Raises:
        ConfigError: every problem, with its field path.
    """
    problems: list[str] = []
    found: dict[str, Any] = {}
    if plugin_type == DELEGATE:
        if "type" not in args:
            problems.append(
                f"{path}.args.type: missing, expected the name of a CNI executable such as 'bridge';"
                f" found {sorted(args)!r}"
            )
        else:
            found[EXECUTABLE] = args["type"]
            problems += _name_problem(args["type"], f"{path}.args.type")
    else:
        problems += _name_problem(plugin_type, f"{path}.type")
        if "type" in args:
            problems.append(
                f"{path}.args.type: found {args['type']!r}, expected none, as {path}.type names the executable"
                f" {plugin_type!r}"
            )
    for key, value in args.items():
        if key in SET_BY_US:
            problems.append(f"{path}.args.{key}: found {value!r}, expected none, as multinic sets it for each link")
        elif key not in ("type", "master"):
            try:
                found[key] = typed(value)
            except ValueError as error:
                problems.append(f"{path}.args.{key}: found {value!r}, which begins like JSON and is none: {error}")
    if problems:
        raise ConfigError(*problems)
    return found


def typed(text: str) -> Any:
    """The JSON value that a string stands for.

    Raises:
        ValueError: it begins like an object or a list and is none.
    """
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError:
        if text.lstrip()[:1] in ("{", "["):
            raise
        return text


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def read_block(block: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The executable that a netconf's ``plugin`` block names, and the configuration it has for it.

    Raises:
        ConfigError: it names none.
    """
    named = block.get("type")
    path = "plugin.type"
    if named == DELEGATE or (named is None and EXECUTABLE in block):
        named, path = block.get(EXECUTABLE), f"plugin.{EXECUTABLE}"
    if problems := _name_problem(named, path):
        raise ConfigError(*problems)
    return str(named), {key: value for key, value in block.items() if key not in ("type", EXECUTABLE)}


def _name_problem(name: object, path: str) -> list[str]:
    if isinstance(name, str) and NAME.fullmatch(name) and name != DELEGATE:
        return []
    return [f"{path}: found {name!r}, expected the name of a CNI executable such as 'bridge', without a folder"]
