"""Refuses a use of a NIC that does not go together with what others on this node make of it.

The journal knows who uses a NIC how, so this is told before anything is done and by the names of networks. Links that
are not ours only the kernel knows; it has the last word (:mod:`multinic_daemon.podlinks.obstacles`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from multinic_core.errors import NicInUseError
from multinic_core.parents import PASSTHRU, use_of_parent
from multinic_core.plan import CreateLink
from multinic_daemon.journal.sharing import Sharing


def require_shareable(links: Iterable[CreateLink], sharing: Sharing) -> None:
    """Let pass what can be beside everything that is there.

    Raises:
        NicInUseError: says which networks use the NICs in which way, and what would go together; all links at once.
    """
    problems = [_problem(link, others) for link in links if (others := sharing.obstacles(link))]
    if problems:
        raise NicInUseError("; ".join(problems))


def _problem(link: CreateLink, others: Mapping[str, Mapping[str, int]]) -> str:
    nic = f"NIC {link.parent!r}" if not link.vlan else f"VLAN {link.vlan} of NIC {link.parent!r}"
    wanted = use_of_parent(link.link_kind, link.attributes)
    held = " and ".join(f"{use} by {_users(networks)}" for use, networks in sorted(others.items()))
    found = f"link {link.ifname!r}: found {nic} in use ({held}), which does not go with {wanted}"
    return f"{found}; {_way_out(wanted, others)}"


def _users(networks: Mapping[str, int]) -> str:
    return ", ".join(
        f"{count} pod{'s' if count > 1 else ''} of {f'network {name!r}' if name else 'a network that is not known'}"
        for name, count in sorted(networks.items())
    )


def _way_out(wanted: str, others: Iterable[str]) -> str:
    if wanted == PASSTHRU or PASSTHRU in others:
        return "expected no other link beside one of mode passthru: use another NIC, another mode or a VLAN of its own"
    if all(use.startswith("ipvlan") == wanted.startswith("ipvlan") for use in others):
        return "expected the same mode and flag in all ipvlan networks of a NIC: change one, or use another NIC or VLAN"
    return "expected either ipvlan or macvlan on a NIC: use another NIC or a VLAN of its own (plugin.args.vlan)"
