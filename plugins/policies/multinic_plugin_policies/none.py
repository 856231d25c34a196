"""none: no preference. All NICs of the network, or those the pod names, or as many as it asks for."""

from __future__ import annotations

from collections.abc import Sequence

from multinic_core import Nic, Selection, SelectionError, SelectionRequest


class NoPreference:
    """The strategy ``none``."""

    name = "none"

    def select(self, request: SelectionRequest, candidates: Sequence[Nic]) -> Selection:
        """Keep the NICs named by ``masters`` in the pod's order, or all in the network's; then the first ``nics``.

        Raises:
            SelectionError: ``class`` or ``target`` is asked for, which this strategy cannot honour; a NIC named is not
                among the candidates or named twice; more NICs are asked for than there are, or there are none.
        """
        for argument, value in (("class", request.device_class), ("target", request.target)):
            if value:
                raise SelectionError(
                    f"network {request.network!r}: strategy 'none' cannot honour {argument} {value!r}; "
                    f"remove it or choose a strategy that can"
                )
        offered = [nic.ifname for nic in candidates]
        if unknown := [master for master in request.masters if master not in offered]:
            raise SelectionError(f"network {request.network!r}: masters {unknown!r} are not among its NICs {offered!r}")
        if len(set(request.masters)) < len(request.masters):
            raise SelectionError(f"network {request.network!r}: masters {list(request.masters)!r} name a NIC twice")
        if not offered:
            raise SelectionError(f"network {request.network!r}: this node has no NIC of it")
        eligible = list(request.masters) or offered
        wanted = request.nics or len(eligible)
        if wanted > len(eligible):
            among = "masters" if request.masters else "NICs"
            raise SelectionError(
                f"network {request.network!r}: {wanted} NICs asked for, found {len(eligible)} {among}: {eligible!r}"
            )
        chosen = tuple(eligible[:wanted])
        return Selection(chosen, {ifname: _reason(ifname, chosen, request) for ifname in offered})


def _reason(ifname: str, chosen: tuple[str, ...], request: SelectionRequest) -> str:
    if ifname in chosen:
        return "named in masters" if request.masters else "part of the network"
    if request.masters and ifname not in request.masters:
        return "not named in masters"
    return f"beyond the {request.nics} asked for"
