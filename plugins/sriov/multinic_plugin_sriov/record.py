"""Which NICs of which nodes a policy was written for, as an annotation of the policy.

A policy for all nodes does not tell whose NIC an address was: the same slot may hold another NIC on a node that came
later. So each policy carries its addresses with the nodes that wanted them, nodes as short digests, as names of
thousands of them would not fit into annotations.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256

from multinic_core.model import GROUP

SELECTED_FOR = f"{GROUP}/selected-for"
"""Annotation: JSON of PCI addresses, separated by spaces, to the digests of the nodes."""


def digest(node: str) -> str:
    """Ten characters that stand for a node, also in names of objects."""
    return sha256(node.encode()).hexdigest()[:10]


def record(wanted: Mapping[str, Iterable[str]]) -> str:
    """The annotation's text for node to PCI addresses."""
    groups: dict[str, list[str]] = {}
    for node, addresses in wanted.items():
        if text := " ".join(sorted(addresses)):
            groups.setdefault(text, []).append(digest(node))
    ordered = {text: sorted(nodes) for text, nodes in groups.items()}
    return json.dumps(ordered, sort_keys=True, separators=(",", ":"))


def recorded(texts: Iterable[str]) -> dict[str, set[str]]:
    """Digest of a node to its PCI addresses, from the annotations' texts; what cannot be read says nothing."""
    found: dict[str, set[str]] = {}
    for text in texts:
        try:
            groups = json.loads(text)
            for addresses, nodes in groups.items():
                for node in nodes:
                    found.setdefault(node, set()).update(addresses.split())
        except (AttributeError, TypeError, ValueError):
            continue
    return found
