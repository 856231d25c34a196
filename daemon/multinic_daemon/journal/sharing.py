"""Which rows use which parent in which way, kept in memory beside the journal's rows.

A parent is a NIC, or the VLAN link of an id on it. What of the uses go together is the kernel's rule
(:func:`multinic_daemon.netlink.kinds.use_of_parent`); here they are only counted, so that a use that does not go
together with the others is known before the kernel is asked, and the last one to leave a VLAN link is known as such.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from multinic_core.plan import CreateLink
from multinic_daemon.netlink.kinds import PASSTHRU, use_of_parent
from multinic_daemon.podlinks.kernel import Parent, parent_of


class Sharing:
    """Rows by parent and use. Used from one thread."""

    def __init__(self) -> None:
        self._uses: dict[Parent, dict[str, dict[int, str]]] = {}
        """Parent to use to the rows that use it so, each with its network; none of them empty."""
        self._rows: dict[int, tuple[tuple[Parent, str], ...]] = {}

    def set(self, row: int, network: str, links: Iterable[CreateLink]) -> None:
        """A row has these links, in place of what was said of it before."""
        self.remove(row)
        found = tuple((parent_of(link), use_of_parent(link.link_kind, link.attributes)) for link in links)
        if not found:
            return
        self._rows[row] = found
        for parent, use in found:
            self._uses.setdefault(parent, {}).setdefault(use, {})[row] = network

    def remove(self, row: int) -> None:
        """The links of a row are gone."""
        for parent, use in self._rows.pop(row, ()):
            uses = self._uses.get(parent, {})
            rows = uses.get(use, {})
            rows.pop(row, None)
            if not rows:
                uses.pop(use, None)
            if not uses:
                self._uses.pop(parent, None)

    def used(self, parent: Parent) -> bool:
        """Whether any row is on this parent."""
        return parent in self._uses

    def parents(self) -> frozenset[Parent]:
        """All that are in use."""
        return frozenset(self._uses)

    def obstacles(self, link: CreateLink) -> Mapping[str, Mapping[str, int]]:
        """What does not go together with a link that is to be made: use to network to the number of its pods."""
        uses = self._uses.get(parent_of(link))
        if not uses or not (wanted := use_of_parent(link.link_kind, link.attributes)):
            return {}
        if wanted != PASSTHRU and len(uses) == 1 and wanted in uses:
            return {}
        return {
            use: Counter(rows.values()) for use, rows in uses.items() if use and (use != wanted or wanted == PASSTHRU)
        }
