"""VF settings on NICs of which the kernel cannot tell them, or not any more."""

import errno
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import pytest
from multinic_daemon.netlink import Conversation, Refusal, Request
from multinic_daemon.podlinks import vfs

from multinic_core import KernelError, VfSettings
from multinic_core.devices import ConfigureVf

STEP = ConfigureVf("net1-0", "eth1", 7, 200, VfSettings(vlan=5), VfSettings())


class Untold:
    """A node whose kernel refuses to tell of VFs."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def ask(self, requests: Sequence[Request]) -> list[Refusal | None]:
        self.asked += [request.subject for request in requests]
        return [None] * len(requests)


@pytest.fixture
def untold() -> Untold:
    return Untold()


def refuse(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def read(*_: object) -> dict[int, VfSettings]:
        raise KernelError("VFs of link 7", number)

    monkeypatch.setattr(vfs, "read_vfs", read)


def test_a_pod_goes_from_a_nic_with_more_vfs_than_an_answer_holds(untold: Untold, monkeypatch: pytest.MonkeyPatch):
    """What was there before is not known, so nothing is given back; and CHECK says nothing of what nobody can see."""
    refuse(monkeypatch, errno.EMSGSIZE)
    node = cast("Conversation", untold)
    vfs.restore(node, [STEP])
    assert list(vfs.vf_differences(node, [STEP])) == []
    assert untold.asked == []


def test_a_vf_of_a_nic_that_is_gone_is_missing(untold: Untold, monkeypatch: pytest.MonkeyPatch):
    """It has nothing to give back, and CHECK tells."""
    refuse(monkeypatch, errno.ENODEV)
    node = cast("Conversation", untold)
    vfs.restore(node, [STEP])
    assert list(vfs.vf_differences(node, [STEP])) == ["VF 200 of NIC 'eth1' is missing"]


def test_a_kernel_that_does_not_answer_keeps_the_row(untold: Untold, monkeypatch: pytest.MonkeyPatch):
    """Nothing is known to be given back."""
    refuse(monkeypatch, errno.ETIMEDOUT)
    with pytest.raises(KernelError):
        vfs.restore(cast("Conversation", untold), [STEP])


def test_a_value_that_the_driver_does_not_take_again_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """The pod goes; the log tells which VF is not as it was, as drivers say the same of a VF that is gone."""
    node = Untold()
    monkeypatch.setattr(vfs, "read_vfs", lambda *_: {200: VfSettings(vlan=5)})
    monkeypatch.setattr(node, "ask", lambda asked: [Refusal(errno.EINVAL, "no such VLAN")] * len(asked))
    vfs.restore(cast("Conversation", node), [replace(STEP, before=VfSettings(vlan=7, qos=0))])
    assert [record.getMessage() for record in caplog.records] == [
        "a VF came back, but not as it was: VLAN 7 with priority 0 of VF 200 of NIC 'eth1'"
    ]


def test_a_driver_that_gives_nothing_back_keeps_the_vf_and_names_the_way_out(monkeypatch: pytest.MonkeyPatch):
    """As after an update of the driver that took the setting away; once the VF is as before, it is let go."""
    node, step = Untold(), replace(STEP, before=VfSettings(vlan=0, qos=0))
    monkeypatch.setattr(vfs, "read_vfs", lambda *_: {200: VfSettings(vlan=5, qos=0)})
    monkeypatch.setattr(node, "ask", lambda asked: [Refusal(errno.EOPNOTSUPP, "")] * len(asked))
    message = "giving back VLAN 0 with priority 0 of VF 200 of NIC 'eth1'"
    with pytest.raises(KernelError, match=message) as refused:
        vfs.restore(cast("Conversation", node), [step])
    assert "by hand with ip link set NIC vf NUMBER" in refused.value.details
    monkeypatch.setattr(vfs, "read_vfs", lambda *_: {200: VfSettings(vlan=0, qos=0)})
    vfs.restore(cast("Conversation", node), [step])
