"""Why a pod got its NICs, as the journal keeps it: what was asked, and one phrase and some figures for every NIC."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from multinic_core.selection import NOTHING, Figure

_DENSE = json.JSONEncoder(separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Decision:
    """One choice of NICs with its inputs in brief."""

    strategy: str
    asked: Mapping[str, Any]
    """``nics``, ``masters``, ``class`` and ``target``, those that were given."""
    chosen: tuple[str, ...]
    reasons: Mapping[str, str]
    """ifname of every NIC of the node to why it was taken or left."""
    promised: Mapping[str, int] = field(default_factory=lambda: NOTHING)
    """ifname to bit/s."""
    figures: Mapping[str, Mapping[str, Figure]] = field(default_factory=lambda: NOTHING)
    warning: str = ""


def decision_document(decision: Decision) -> dict[str, Any]:
    """The decision as plain JSON."""
    return {
        "strategy": decision.strategy,
        "asked": dict(decision.asked),
        "chosen": decision.chosen,
        "reasons": dict(decision.reasons),
        "promised": dict(decision.promised),
        "figures": {ifname: dict(own) for ifname, own in decision.figures.items()},
        "warning": decision.warning,
    }


def read_decision(document: Mapping[str, Any]) -> Decision:
    """The decision that ``decision_document`` gave, also after a way as text."""
    return Decision(**{**document, "chosen": tuple(document["chosen"])})


def encode_decision(decision: Decision) -> str:
    """The decision as one line of JSON."""
    return _DENSE.encode(decision_document(decision))


def decode_decision(text: str) -> Decision:
    """The decision that ``encode_decision`` wrote."""
    return read_decision(json.loads(text))
