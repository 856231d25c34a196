"""Which link is which device, by what stays with it: its PCI address and the marks that it got; and its MAC address."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from multinic_core.devices import TakeDevice
from multinic_daemon.netlink import Conversation, Link, Refusal
from multinic_daemon.netlink import devices as dv
from multinic_daemon.podlinks.marks import GROUPS


def match(
    steps: Sequence[TakeDevice], links: Sequence[tuple[Link, str]], group: int, *, certain: bool = False
) -> dict[str, Link]:
    """ifname in the pod to the link that is its device, of those that are among these links.

    By PCI address, and by name where a function has several links, one for each of its ports. Where no address is told,
    by the mark and one of its names, or its MAC address when it was renamed.

    Args:
        links: each with its PCI address, or "".
        certain: only the mark proves it, as in a namespace of who knows whom: without one it is somebody else's by now.
    """
    known = [(link, address) for link, address in links if link.group == group or link.group not in GROUPS]
    found: dict[str, Link] = {}
    for step in steps:
        if (link := next(_candidates(step, known, group, certain), None)) is not None:
            found[step.ifname] = link
    return found


def _candidates(step: TakeDevice, links: Sequence[tuple[Link, str]], group: int, certain: bool) -> Iterator[Link]:
    """Links that may be the device, each with its PCI address; the best first."""
    own = [(link, address) for link, address in links if link.group == group and not link.loopback]
    names = (step.ifname, step.device)
    if step.pci_address:
        functions = [link for link, address in (own if certain else links) if address == step.pci_address]
        yield from sorted(functions, key=lambda link: (link.group != group, link.ifname not in names))
    untold = [link for link, address in own if not address]
    if not certain:
        yield from (link for link in untold if link.ifname in names)
    macs = {mac.lower() for mac in (step.mac_address, step.mac_address_before) if mac}
    yield from (link for link in untold if link.mac_address in macs)


def set_mac_address(kernel: Conversation, link: Link, mac_address: str, subject: str) -> Refusal | None:
    """Give a link that is down this address; why not, or None.

    The driver of a VF asks that of its physical function, and some are not heard before they were brought up once after
    a change there.
    """
    change = dv.change_link(link.ifindex, subject, mac_address=mac_address)
    (refusal,) = kernel.ask([change])
    if refusal is None:
        return None
    up, down = (dv.change_link(link.ifindex, subject, up=up) for up in (True, False))
    _, refusal, _ = kernel.ask([up, change, down])
    if refusal is not None:
        (refusal,) = kernel.ask([change])
    return refusal


def subject_of(step: TakeDevice) -> str:
    where = f" ({step.pci_address})" if step.pci_address else ""
    return f"device {step.device or step.pci_address!r}{where} of link {step.ifname!r}"
