"""spread: each pod starts at another NIC, chosen by its name."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

from multinic_core import AttachmentStrategy, Nic, Selection, SelectionError, SelectionRequest, hookimpl


class Spread:
    """The strategy ``spread``."""

    name = "spread"

    def select(self, request: SelectionRequest, candidates: Sequence[Nic]) -> Selection:
        """Take ``nics`` NICs in a row, from a place that the pod's name decides; one if the pod does not say.

        Raises:
            SelectionError: more NICs are asked for than there are.
        """
        names = [nic.ifname for nic in candidates]
        wanted = request.nics or 1
        if wanted > len(names):
            raise SelectionError(f"network {request.network!r}: {wanted} NICs asked for, found {names!r}")
        start = crc32(f"{request.pod.namespace}/{request.pod.name}".encode()) % len(names)
        turned = names[start:] + names[:start]
        chosen = tuple(turned[:wanted])
        return Selection(
            chosen, {name: f"place {turned.index(name) + 1} of {len(names)} for this pod" for name in names}
        )


@hookimpl
def multinic_register_strategies() -> Sequence[AttachmentStrategy]:
    return [Spread()]
