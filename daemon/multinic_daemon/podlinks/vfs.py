"""Virtual functions get their settings from the physical function on the node, before and after they are in a pod."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields

from multinic_core.devices import ConfigureVf, VfSettings
from multinic_core.errors import KernelError
from multinic_daemon.netlink import Conversation, Refusal
from multinic_daemon.netlink.devices import read_vfs, set_vf

log = logging.getLogger(__name__)

_NO_SUCH = frozenset({errno.ENODEV, errno.EINVAL, errno.ENOENT})
"""How drivers say that the VF, or its physical function, is no more."""
_WAY_OUT = {
    errno.EOPNOTSUPP: "the NIC's driver cannot do this: leave the argument out, or use another NIC",
    errno.EINVAL: "the NIC's driver takes no such value: check the arguments of the network against the NIC's manual",
    errno.EPERM: "run the daemon as root with CAP_NET_ADMIN",
    errno.ENODEV: "the NIC is gone from the node: wait for it to return or choose another",
}
_HELD = (
    "the VF is held for its pod until it has its settings from before: set them by hand with ip link set NIC vf NUMBER,"
    " load the NIC's driver that took the pod's settings, or make the NIC's VFs anew, which forgets all of theirs"
)


def configure(node: Conversation, steps: Sequence[ConfigureVf]) -> None:
    """Lay the settings down.

    Raises:
        KernelError: a driver refused one; names it with VF and NIC. Others may have been laid down.
    """
    asked = [
        request
        for step in steps
        for request in set_vf(step.parent_ifindex, step.index, step.settings, step.before, _subject(step))
    ]
    for request, refusal in zip(asked, node.ask(asked) if asked else (), strict=True):
        if refusal is not None:
            raise refusal.error(request.subject, _way_out(refusal, request.subject))


def restore(node: Conversation, steps: Sequence[ConfigureVf]) -> None:
    """Give back the settings from before, as far as they were laid down; a VF that is gone has none.

    A value that the driver had and does not take is said only, as it never will.

    Raises:
        KernelError: a driver refused; others are given back.
    """
    refused: list[KernelError] = []
    for step in steps:
        if not (there := _read(node, step)):
            continue
        asked = set_vf(step.parent_ifindex, step.index, _differing(step, there), step.before, _subject(step))
        for request, refusal in zip(asked, node.ask(asked) if asked else (), strict=True):
            if refusal is not None and refusal.errno not in _NO_SUCH:
                refused.append(refusal.error(f"giving back {request.subject}", _HELD))
            elif refusal is not None and refusal.errno == errno.EINVAL and _read(node, step) is not None:
                log.error("a VF came back, but not as it was: %s", request.subject, extra={"cause": refusal.text})
    if refused:
        raise refused[0]


def vf_differences(node: Conversation, steps: Iterable[ConfigureVf]) -> Iterator[str]:
    """How VFs differ from what was laid down, one sentence for each setting; nothing where the kernel cannot tell."""
    for step in steps:
        if (there := _read(node, step)) != VfSettings():
            yield from setting_differences(step, there)


def setting_differences(step: ConfigureVf, there: VfSettings | None) -> Iterator[str]:
    """The same of one VF whose settings are read already; None: there is no such VF."""
    if there is None:
        yield f"{_subject(step)} is missing"
        return
    for name in _names():
        wanted, found = getattr(step.settings, name), getattr(there, name)
        if wanted not in (None, "") and not _same(wanted, found):
            yield f"{_subject(step)} has {name.replace('_', ' ')} {found}, expected {wanted}"


def _read(node: Conversation, step: ConfigureVf) -> VfSettings | None:
    try:
        return read_vfs(node, step.parent_ifindex).get(step.index)
    except KernelError as error:
        if error.errno == errno.ENODEV:
            return None
        if error.errno == errno.EMSGSIZE:  # more VFs than the kernel's answer holds: discovery passes over it, too
            return VfSettings()
        raise


def _subject(step: ConfigureVf) -> str:
    return f"VF {step.index} of NIC {step.parent!r}"


def _way_out(refusal: Refusal, subject: str) -> str:
    if refusal.errno in (errno.EOPNOTSUPP, errno.EINVAL) and subject.startswith("rate"):
        return "a rate without support: this NIC limits no VF so; leave minTxRate and maxTxRate out, or use another NIC"
    return _WAY_OUT.get(refusal.errno, "")


def _names() -> tuple[str, ...]:
    return tuple(field.name for field in fields(VfSettings))


def _differing(step: ConfigureVf, there: VfSettings) -> VfSettings:
    """Settings from before that were asked to change and have; half of a pair brings the other."""
    values = {
        name: before
        for name in _names()
        if getattr(step.settings, name) not in (None, "")
        and (before := getattr(step.before, name)) not in (None, "")
        and not _same(before, getattr(there, name))
    }
    for one, other in (("vlan", "qos"), ("min_tx_rate", "max_tx_rate")):
        if one in values or other in values:
            values |= {one: getattr(step.before, one), other: getattr(step.before, other)}
    return VfSettings(**values)


def _same(one: object, other: object) -> bool:
    return one.lower() == other.lower() if isinstance(one, str) and isinstance(other, str) else one == other
