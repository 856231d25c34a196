"""What CHECK says of links that executables made."""

from ipaddress import ip_interface

import pytest
from multinic_daemon.netlink import Address, Link
from multinic_daemon.podlinks.compare import Observed, compare

from multinic_core.outside import RunPlugin
from multinic_core.plan import Plan


def differences(answered: object) -> list[str]:
    step = RunPlugin("net1-0", "eth1", {"type": "fake"}, "", {"ips": [{"address": answered}]})
    link = Link(5, "net1-0", 1, 1, 1500, "", "", b"", 0, None, 0, 0, True, "", "")
    held = (Address(5, ip_interface("fd00::1/64"), 0, 0), Address(5, ip_interface("10.0.0.1/24"), 0, 0))
    return compare(Plan((step,)), Observed((link,), held, ()), 0)


@pytest.mark.parametrize("answered", ["fd00::1/64", "FD00:0:0::0001/64", "10.0.0.1/24", "10.0.0.1/255.255.255.0"])
def test_an_address_is_there_however_its_executable_wrote_it(answered: str) -> None:
    """An address has many spellings."""
    assert differences(answered) == []


@pytest.mark.parametrize("answered", ["fd00::2/64", "fd00::1/65", "10.0.0.1", "nothing", None])
def test_another_address_and_none_at_all_are_differences(answered: object) -> None:
    """What the link has not is named as it was answered."""
    assert differences(answered) == [f"link 'net1-0' lacks the address {answered}"]
