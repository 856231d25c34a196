"""How much the attachments of this node use each NIC, kept in memory beside the journal's rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from multinic_core.devices import TakeDevice
from multinic_core.outside import RunPlugin
from multinic_core.plan import CreateLink, Plan


def parents(plan: Plan) -> tuple[str, ...]:
    """The NIC of each link that a plan brings into the pod."""
    steps: list[CreateLink | TakeDevice | RunPlugin] = [*plan.links, *plan.devices, *plan.plugins]
    return tuple(step.parent for step in steps)


class Uses:
    """Links and promised bandwidth by NIC."""

    def __init__(self) -> None:
        self._rows: dict[int, tuple[tuple[str, ...], Mapping[str, int]]] = {}
        self.links: Counter[str] = Counter()
        """ifname to the number of links on it; to read only, as ``promised``."""
        self.promised: Counter[str] = Counter()
        """ifname to bit/s."""

    def set(self, row: int, nics: Iterable[str], promised: Mapping[str, int]) -> None:
        """A row's links are on these NICs, and it was promised this; in place of what was said of it before."""
        self.remove(row)
        self._rows[row] = (tuple(nics), promised)
        self.links.update(self._rows[row][0])
        self.promised.update(promised)

    def remove(self, row: int) -> None:
        """A row is gone."""
        nics, promised = self._rows.pop(row, ((), {}))
        self.links.subtract(nics)
        self.promised.subtract(promised)
