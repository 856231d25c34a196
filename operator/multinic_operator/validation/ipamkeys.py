"""Keys of the built-in IPAM's block that nobody reads. Pure.

A key that is nearly one of ours would silently count as absent, and a hostBlock that counts as 0 is another network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from multinic_core.model import MultiNicIpamConfig

OF_THE_ORIGINAL = ("daemonIP", "daemonPort")
"""Accepted in old manifests, without effect."""
KNOWN = (*(field.alias or name for name, field in MultiNicIpamConfig.model_fields.items()), *OF_THE_ORIGINAL)


def _meant(key: str) -> str | None:
    plain = {known.lower(): known for known in KNOWN}
    near = get_close_matches(key.lower().replace("_", "").replace("-", ""), plain, n=1, cutoff=0.8)
    return plain[near[0]] if near else None


def misspelt_keys(ipam: Mapping[str, Any]) -> Iterable[str]:
    """One sentence for each key that is nearly one that we read."""
    for key in ipam:
        if key not in KNOWN and (meant := _meant(key)) is not None:
            yield f"spec.ipam.{key}: found an unknown key, expected {meant!r}"


def unknown_keys(ipam: Mapping[str, Any]) -> Iterable[str]:
    """One sentence for each further key that has no effect."""
    for key in ipam:
        if key not in KNOWN and _meant(key) is None:
            yield f"spec.ipam.{key}: found an unknown key, which has no effect; expected one of {sorted(KNOWN)!r}"
