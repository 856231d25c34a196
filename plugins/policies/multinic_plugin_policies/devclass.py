"""devClass: NICs of a DeviceClass, that is of certain vendors and products."""

from __future__ import annotations

from collections.abc import Sequence

from multinic_core import Nic, Selection, SelectionRequest
from multinic_core.selection import Figure
from multinic_plugin_policies.filters import check_args, eligible, how_many, refuse_target, tie_break


class DeviceClassOnly:
    """The strategy ``devClass``."""

    name = "devClass"

    def select(self, request: SelectionRequest, candidates: Sequence[Nic]) -> Selection:
        """Keep the NICs of the class the pod names; then the first ``nics``, those least in use first.

        Without ``nics`` all of the class, in the network's order; with ``masters`` those, in the pod's order. A pod
        that names no class has all classes to choose from.

        Raises:
            SelectionError: the class does not exist or matches nothing, or has fewer NICs than asked for.
        """
        check_args(request, ())
        refuse_target(request, self.name)
        filtered = eligible(request, candidates)
        wanted = how_many(request, filtered)
        names = [nic.ifname for nic in filtered.eligible]
        if request.masters:
            names = [ifname for ifname in request.masters if ifname in names]
        elif wanted < len(names):
            names = [nic.ifname for nic in sorted(filtered.eligible, key=lambda nic: tie_break(request, nic))]
        chosen = tuple(names[:wanted])
        whose = f"of class {request.device_class!r}" if request.device_class else "no class asked for"
        reasons = {
            nic.ifname: filtered.left.get(nic.ifname)
            or (whose if nic.ifname in chosen else f"{whose}, beyond the {wanted} asked for")
            for nic in candidates
        }
        figures: dict[str, dict[str, Figure]] = {
            nic.ifname: {
                "vendor": nic.vendor,
                "product": nic.product,
                "attachments": request.use_of(nic.ifname).attachments,
            }
            for nic in candidates
        }
        return Selection(chosen, reasons, figures=figures)
