"""Which rows use which parent in which way, kept in memory beside the journal's rows.

A parent is a NIC, or the VLAN link of an id on it. What of the uses go together is the kernel's rule
(:mod:`multinic_core.parents`); here they are only counted, so that a use that does not go
together with the others is known before the kernel is asked, and the last one to leave a VLAN link is known as such.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from multinic_core.parents import PASSTHRU, use_of_parent
from multinic_core.plan import CreateLink
from multinic_daemon.podlinks.kernel import Parent

_NONE: Mapping[str, Mapping[str, int]] = MappingProxyType({})
Key = tuple[int, int]
"""A :class:`Parent` as a plain tuple, which is made in a third of the time: one for each link of each ADD."""


class Sharing:
    """Rows by parent and use. Used from one thread."""

    def __init__(self) -> None:
        self._uses: dict[Key, dict[str, dict[int, str]]] = {}
        """Parent to use to the rows that use it so, each with its network; none of them empty."""
        self._rows: dict[int, list[tuple[Key, str]]] = {}

    def set(self, row: int, network: str, links: Iterable[CreateLink]) -> None:
        """A row has these links, in place of what was said of it before."""
        if row in self._rows:
            self.remove(row)
        found = []
        for link in links:
            key, use = (link.parent_ifindex, link.vlan), use_of_parent(link.link_kind, link.attributes)
            found.append((key, use))
            if (uses := self._uses.get(key)) is None:
                self._uses[key] = {use: {row: network}}
            else:
                uses.setdefault(use, {})[row] = network
        if found:
            self._rows[row] = found

    def remove(self, row: int) -> None:
        """The links of a row are gone."""
        for key, use in self._rows.pop(row, ()):
            uses = self._uses.get(key, {})
            rows = uses.get(use, {})
            rows.pop(row, None)
            if not rows:
                uses.pop(use, None)
                if not uses:
                    self._uses.pop(key, None)

    def used(self, parent: Parent) -> bool:
        """Whether any row is on this parent."""
        return parent in self._uses

    def parents(self) -> frozenset[Parent]:
        """All that are in use."""
        return frozenset(Parent(*key) for key in self._uses)

    def obstacles(self, link: CreateLink) -> Mapping[str, Mapping[str, int]]:
        """What does not go together with a link that is to be made: use to network to the number of its pods."""
        uses = self._uses.get((link.parent_ifindex, link.vlan))
        if uses is None or not (wanted := use_of_parent(link.link_kind, link.attributes)):
            return _NONE
        if len(uses) == 1 and wanted in uses and wanted != PASSTHRU:
            return _NONE
        return {
            use: Counter(rows.values()) for use, rows in uses.items() if use and (use != wanted or wanted == PASSTHRU)
        }
