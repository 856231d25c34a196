"""Refuses a use of a NIC that does not go together with what others on this node make of it.

The journal knows which pods use a NIC how, and discovery which links of the node itself do, so this is told before
anything is done and by name. Links in other namespaces that are not ours only the kernel knows; it has the last word
(:mod:`multinic_daemon.podlinks.obstacles`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from multinic_core.errors import NicInUseError
from multinic_core.parents import PASSTHRU, go_together, use_of_parent
from multinic_core.plan import CreateLink
from multinic_daemon.journal.sharing import Sharing

Uses = Mapping[tuple[int, int], Mapping[str, str]]
"""As :class:`multinic_core.plan.NodeView` has them."""


def require_shareable(links: Iterable[CreateLink], sharing: Sharing, of_node: Uses) -> None:
    """Let pass what can be beside everything that is there.

    Args:
        of_node: how links of the node itself use its NICs.

    Raises:
        NicInUseError: says who uses the NICs in which way, and what would go together; all links at once.
    """
    problems = [problem for link in links if (problem := _problem(link, sharing, of_node))]
    if problems:
        raise NicInUseError("; ".join(problems))


def _problem(link: CreateLink, sharing: Sharing, of_node: Uses) -> str:
    pods = sharing.obstacles(link)
    if not pods and not of_node:
        return ""
    wanted = use_of_parent(link.link_kind, link.attributes)
    own = of_node.get((link.parent_ifindex, link.vlan), {})
    held = [f"{use} by {_users(networks)}" for use, networks in sorted(pods.items())]
    strange = {use: name for use, name in sorted(own.items()) if not go_together(use, wanted)}
    held += [f"{use} by link {name!r} of the node" for use, name in strange.items()]
    if not held:
        return ""
    nic = f"NIC {link.parent!r}" if not link.vlan else f"VLAN {link.vlan} of NIC {link.parent!r}"
    found = f"link {link.ifname!r}: found {nic} in use ({' and '.join(held)}), which does not go with {wanted}"
    return f"{found}; {_way_out(wanted, [*pods, *strange])}"


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
