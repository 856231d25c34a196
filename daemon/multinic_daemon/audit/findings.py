"""What an audit finds: one line for everything that was compared, with what each source says of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What follows from a finding."""

    FINE = "fine"
    DIFFERENCE = "difference"
    DEAD = "proven dead"
    """A difference that may be freed: what it describes cannot come back."""


class Kind(StrEnum):
    """What was found."""

    AGREED = "attachment"
    OTHER_BOOT = "row of another boot"
    SANDBOX_GONE = "sandbox gone"
    POD_GONE = "pod gone"
    LINKS_MISSING = "links missing"
    LINK_DIFFERS = "link differs"
    ADDRESS_DIFFERS = "address differs"
    UNFINISHED = "unfinished"
    ADDRESS_TWICE = "address twice"
    LINK_WITHOUT_ROW = "link without row"
    VLAN_WITHOUT_ROW = "VLAN link without row"
    NOT_MIRRORED = "not mirrored"
    ONLY_MIRRORED = "only mirrored"
    MIRROR_DIFFERS = "mirror differs"
    ROUTES_DIFFER = "host routes differ"
    ROUTES_ORPHANED = "orphaned host routes"
    RULE_ORPHANED = "orphaned rule"
    TOMBSTONE = "tombstone waits"


REMEDIES = {
    Kind.OTHER_BOOT: "the daemon forgets it at its next start; multinic audit --repair does now",
    Kind.SANDBOX_GONE: "the runtime's DEL or GC frees it; so does --repair, once pod and sandbox are proven gone",
    Kind.POD_GONE: "the runtime still owes a DEL for this sandbox: end the sandbox with the runtime's own tool",
    Kind.LINKS_MISSING: "somebody removed links inside the pod: delete the pod, its successor gets new ones",
    Kind.LINK_DIFFERS: "somebody changed a link inside the pod: change it back, or delete the pod",
    Kind.ADDRESS_DIFFERS: "somebody changed addresses inside the pod: change them back, or delete the pod",
    Kind.UNFINISHED: "a running daemon tries again until it is gone, at most 30 s apart; its log says why it is not",
    Kind.ADDRESS_TWICE: "must not happen: delete one of the pods and report this output",
    Kind.LINK_WITHOUT_ROW: "nobody accounts for it: delete the pod that has it, or the link by hand",
    Kind.VLAN_WITHOUT_ROW: "no row needs it: the daemon removes it at its next start, unless links of others lie on it",
    Kind.NOT_MIRRORED: "the daemon writes it within seconds while it reaches the API: look at its log",
    Kind.ONLY_MIRRORED: "the address stays held until the daemon knows it to be free: look at its log",
    Kind.MIRROR_DIFFERS: "the daemon corrects it within seconds while it reaches the API: look at its log",
    Kind.ROUTES_DIFFER: "the daemon mends it within seconds while it can: its report on the node's Lease says why not",
    Kind.ROUTES_ORPHANED: "the daemon removes them within seconds while it runs and reaches the API",
    Kind.RULE_ORPHANED: "the daemon removes it within seconds while it runs and reaches the API",
    Kind.TOMBSTONE: "the daemon honours it at its next start",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing compared. A source that has nothing to say of it is ""."""

    kind: Kind
    subject: str
    verdict: Verdict
    journal: str = ""
    kernel: str = ""
    sandbox: str = ""
    pod: str = ""
    mirror: str = ""
    row: int | None = None
    """Id of the row that it is about."""
    place: tuple[str, int] | None = None
    """Pool and index of the address that it is about, where no row is."""

    @property
    def remedy(self) -> str:
        """What a person, or ``--repair``, can do; "" for what is fine."""
        return REMEDIES.get(self.kind, "")

    @property
    def identity(self) -> tuple[Kind, str, int | None]:
        """By which a second look knows it again."""
        return self.kind, self.subject, self.row
