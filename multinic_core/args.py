"""Reading a plugin's arguments: strings in ``spec.plugin.args``, JSON values in the netconf, one model for both.

An IPAM's are keys of the ipam block, beside those that all IPAMs with pools have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticCustomError

from multinic_core.errors import ConfigError
from multinic_core.model import MultiNicIpamConfig


class PluginArgs(BaseModel):
    """Base of the argument models of main plugins and IPAMs; field names are the keys that users write."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


A = TypeVar("A", bound=PluginArgs)


def shaped(pattern: str, expected: str) -> AfterValidator:
    """For a field's annotation: texts of this shape, told to people in words instead of as a pattern.

    Args:
        pattern: what the whole text must match.
        expected: such as ``a PCI address such as '0000:3b:00.0'``.
    """
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise PydanticCustomError("shape", "expected {expected}", {"expected": expected})
        return text

    return AfterValidator(check)


def keys_of(model: type[BaseModel]) -> list[str]:
    """The keys that a model accepts, sorted."""
    return sorted(field.alias or name for name, field in model.model_fields.items())


def read_args(model: type[A], values: Mapping[str, Any], path: str = "spec.plugin.args") -> A:
    """The arguments a user wrote.

    Raises:
        ConfigError: every unknown key and every value that does not fit, each with its field path.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(
            *(
                f"{path}.{fault['loc'][0]}: unknown argument, expected one of {keys_of(model)!r}"
                if fault["type"] == "extra_forbidden"
                else f"{path}.{'.'.join(map(str, fault['loc']))}: found {fault['input']!r}: {fault['msg']}"
                for fault in error.errors()
            )
        ) from error


def read_plugin_block(model: type[A], block: Mapping[str, Any]) -> A:
    """The arguments in a netconf's ``plugin`` block; keys of CNI itself and of other generations are passed over.

    Raises:
        ConfigError: a value does not fit, with its field path.
    """
    known = set(keys_of(model))
    return read_args(model, {key: value for key, value in block.items() if key in known}, "plugin")


def read_ipam_block(model: type[A], block: Mapping[str, Any], path: str = "ipam") -> A:
    """The keys of an ipam block that are its IPAM's own; those that say how pools are computed are passed over.

    Raises:
        ConfigError: every further key and every value that does not fit, each with its field path.
    """
    of_pools = keys_of(MultiNicIpamConfig)
    return read_args(model, {key: value for key, value in block.items() if key not in of_pools}, path)
