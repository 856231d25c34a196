"""MAC addresses that a pod asks for: one for each of its links, from wherever its runtime puts them.

A runtime's capability ``mac`` and ``CNI_ARGS`` have room for one; ``args.cni.mac``, which a pod's annotation fills, may
be a list. What is asked for in several places must be the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from multinic_core.cni import NetConf
from multinic_core.errors import ConfigError

_DIGITS = re.compile(r"[0-9a-f]{2}([:-])(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}|(?:[0-9a-f]{4}\.){2}[0-9a-f]{4}", re.IGNORECASE)
"""The forms in which six bytes are written."""
_MULTICAST = 1
"""Bit of the first byte. Source: IEEE 802."""


@dataclass(frozen=True, slots=True)
class AskedMacs:
    """What one call asks for."""

    path: str = ""
    """Field that says so, for messages; "" when none does."""
    addresses: tuple[str, ...] = ()
    """Lower case with colons; () leaves the choice to the kernel."""


NONE_ASKED = AskedMacs()


def read_macs(netconf: NetConf, cni_args: str) -> AskedMacs:
    """The MAC addresses that ``runtimeConfig.mac``, ``CNI_ARGS`` and ``args.cni.mac`` ask for.

    Raises:
        ConfigError: one is none, or none that a link can have; one comes twice; or two fields disagree.
    """
    by_runtime, by_pod = netconf.runtime_config.get("mac"), netconf.args.cni.mac
    if not (by_runtime or by_pod or "MAC=" in cni_args):
        return NONE_ASKED
    by_args = [part.removeprefix("MAC=") for part in cni_args.split(";") if part.startswith("MAC=")]
    written = (("runtimeConfig.mac", by_runtime), ("CNI_ARGS: MAC", by_args), ("args.cni.mac", by_pod))
    found = [AskedMacs(path, _read(path, value)) for path, value in written if value]
    asked = [each for each in found if each.addresses]
    if not asked:
        return NONE_ASKED
    first = asked[0]
    if others := [each for each in asked if each.addresses != first.addresses]:
        raise ConfigError(
            f"{others[0].path}: found {_text(others[0].addresses)}, expected {_text(first.addresses)} as in"
            f" {first.path}"
        )
    return first


def share_out(asked: AskedMacs, ifnames: Sequence[str]) -> Sequence[str]:
    """The MAC address of each link, "" where the pod asks for none.

    Raises:
        ConfigError: there are more or fewer than links.
    """
    if not asked.addresses:
        return [""] * len(ifnames)
    if len(asked.addresses) != len(ifnames):
        raise ConfigError(
            f"{asked.path}: found {_text(asked.addresses)} for {len(ifnames)} links {list(ifnames)!r}, expected one"
            " MAC address for each: a list in args.cni.mac, or fewer NICs by args.cni.nics"
        )
    return asked.addresses


def _read(path: str, value: object) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list):
        raise ConfigError(f"{path}: found {value!r}, expected a MAC address such as '02:00:5e:10:00:01'")
    read = tuple(_address(path, each) for each in values if each != "")
    if twice := sorted({each for each in read if read.count(each) > 1}):
        raise ConfigError(f"{path}: found {twice[0]!r} for two links, expected a MAC address of its own for each")
    return read


def _address(path: str, text: object) -> str:
    if not isinstance(text, str) or not _DIGITS.fullmatch(text):
        raise ConfigError(f"{path}: found {text!r}, expected six bytes such as '02:00:5e:10:00:01'")
    packed = bytes.fromhex(re.sub("[:.-]", "", text))
    if not any(packed):
        raise ConfigError(f"{path}: found {text!r}, expected one that is not zero, such as '02:00:5e:10:00:01'")
    if packed[0] & _MULTICAST:
        raise ConfigError(
            f"{path}: found {text!r}, which is for many receivers, expected one of a single link, whose first byte is"
            " even, such as '02:00:5e:10:00:01'"
        )
    return packed.hex(":")


def _text(addresses: Sequence[str]) -> str:
    return ", ".join(map(repr, addresses))
