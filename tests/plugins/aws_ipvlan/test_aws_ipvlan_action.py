"""A pod's address in EC2, by the real SDK over HTTP: assigned, looked for, taken back, and never taken from anybody."""

import threading
from typing import Any

import pytest
from multinic_lab.ec2 import Ec2StandIn, Fault
from multinic_plugin_aws_ipvlan.action import PrivateAddress

from multinic_core.errors import ActionError, AddressInUseError, PoolExhaustedError
from multinic_core.testing import check_action

ADDRESS, PRIMARY, MAC = "10.0.1.40", "10.0.1.10", "02:00:00:00:00:01"


def test_action_conforms(ec2: Ec2StandIn, eni: str, action: PrivateAddress, arguments: Any) -> None:
    """Undone without having been done, done twice, undone twice, and checked in between."""
    check_action(action, arguments())
    assert ec2.addresses(eni) == []


def test_address_is_secondary_on_the_interface_of_the_nic(
    ec2: Ec2StandIn, eni: str, action: PrivateAddress, arguments: Any
) -> None:
    """Beside those that are there; two calls do it and two take it back."""
    action.do(arguments(address="10.0.1.41"))
    ec2.calls.clear()
    action.do(arguments())
    assert ec2.addresses(eni) == [ADDRESS, "10.0.1.41"]
    assert action.check(arguments()) == []
    action.undo(arguments())
    assert ec2.addresses(eni) == ["10.0.1.41"]
    look = "DescribeNetworkInterfaces"
    assert ec2.calls == [look, "AssignPrivateIpAddresses", look, look, "UnassignPrivateIpAddresses"]


def test_nothing_is_assigned_twice(ec2: Ec2StandIn, eni: str, action: PrivateAddress, arguments: Any) -> None:
    """What is on the interface from an earlier try is left as it is, as EC2 says when it is asked again."""
    for _ in range(2):
        action.do(arguments())
    assert ec2.addresses(eni) == [ADDRESS]


def test_address_just_taken_back_is_assigned_though_ec2_still_shows_it(
    ec2: Ec2StandIn, eni: str, action: PrivateAddress, arguments: Any
) -> None:
    """On a full node a pod gets the address of the one that has just left; what EC2 shows may be older than that."""
    ec2.backend.assign_private_ip_addresses(eni, [ADDRESS])
    shown = [ADDRESS]

    def settle(operation: str, fields: dict[str, str]) -> None:
        if operation == "AssignPrivateIpAddresses" and shown:
            ec2.backend.unassign_private_ip_addresses(eni, [shown.pop()])

    ec2.before = settle
    action.do(arguments())
    settle("AssignPrivateIpAddresses", {})  # what was shown goes, whether or not it was asked for
    assert ec2.addresses(eni) == [ADDRESS]


def test_address_of_another_interface_stays_there(ec2: Ec2StandIn, action: PrivateAddress, arguments: Any) -> None:
    """Somebody uses it: ADD is refused with the name of who has it, and undo takes nothing from there."""
    subnet = ec2.subnet("10.0.1.0/24")
    own = ec2.interface(subnet, PRIMARY, MAC)
    other = ec2.interface(subnet, "10.0.1.11", "", ADDRESS, description="database")
    with pytest.raises(AddressInUseError) as refusal:
        action.do(arguments())
    assert f"NIC 'eth1' with address {PRIMARY}, pod's address {ADDRESS}: {other} (database) has it" in str(
        refusal.value
    )
    assert "excludeCIDRs" in str(refusal.value)
    assert action.check(arguments()) == [str(refusal.value)]
    action.undo(arguments())
    assert (ec2.addresses(own), ec2.addresses(other)) == ([], [ADDRESS])


def test_address_that_somebody_gets_meanwhile_stays_there(
    ec2: Ec2StandIn, action: PrivateAddress, arguments: Any
) -> None:
    """EC2 itself decides between two who ask at once."""
    subnet = ec2.subnet("10.0.1.0/24")
    own, other = ec2.interface(subnet, PRIMARY, MAC), ec2.interface(subnet, "10.0.1.11")

    def before(operation: str, fields: dict[str, str]) -> None:
        if operation == "AssignPrivateIpAddresses":
            ec2.backend.assign_private_ip_addresses(other, [ADDRESS])

    ec2.before = before
    with pytest.raises(AddressInUseError, match=other):
        action.do(arguments())
    assert (ec2.addresses(own), ec2.addresses(other)) == ([], [ADDRESS])


def test_same_addresses_in_other_vpcs_do_not_matter(
    ec2: Ec2StandIn, eni: str, action: PrivateAddress, arguments: Any
) -> None:
    """The interface is the one with the NIC's MAC address, and only its subnet counts."""
    other = ec2.interface(ec2.subnet("10.0.1.0/24"), PRIMARY, "", ADDRESS)
    action.do(arguments())
    assert (ec2.addresses(eni), ec2.addresses(other)) == ([ADDRESS], [ADDRESS])
    action.undo(arguments())
    assert (ec2.addresses(eni), ec2.addresses(other)) == ([], [ADDRESS])


def test_own_address_of_an_interface_is_never_touched(
    ec2: Ec2StandIn, eni: str, action: PrivateAddress, arguments: Any
) -> None:
    """Neither given to a pod nor unassigned."""
    with pytest.raises(AddressInUseError, match="it is the primary address of eni-"):
        action.do(arguments(address=PRIMARY))
    action.undo(arguments(address=PRIMARY))
    assert set(ec2.calls) == {"DescribeNetworkInterfaces"}
    assert [each["PrivateIpAddress"] for each in ec2.backend.enis[eni].private_ip_addresses] == [PRIMARY]


def test_interface_that_is_gone(ec2: Ec2StandIn, eni: str, action: PrivateAddress, arguments: Any) -> None:
    """Its addresses went with it, so there is nothing to take back; a pod is refused, and CHECK says so."""
    action.do(arguments())
    ec2.remove(eni)
    action.undo(arguments())
    with pytest.raises(ActionError) as refusal:
        action.do(arguments())
    assert f"no network interface with MAC address {MAC!r} has the NIC's address" in str(refusal.value)
    assert action.check(arguments()) == [str(refusal.value)]


@pytest.mark.usefixtures("on_the_node")
def test_an_interface_that_the_node_has_and_ec2_does_not_know_is_not_gone(
    ec2: Ec2StandIn, eni: str, action: PrivateAddress, arguments: Any
) -> None:
    """In the wrong region or account nothing is found: the undoing fails, and works when asked in the right one."""
    action.do(arguments())
    with pytest.raises(ActionError, match="in region 'us-west-2'; expected one of the account whose credentials"):
        action.undo(arguments(region="us-west-2"))
    assert ec2.addresses(eni) == [ADDRESS]
    action.undo(arguments())
    assert ec2.addresses(eni) == []


@pytest.mark.usefixtures("on_the_node")
def test_a_nic_that_has_another_address_since_is_found_by_its_mac_address(
    ec2: Ec2StandIn, action: PrivateAddress, arguments: Any
) -> None:
    """The address is taken back, and undoing it again does not fail for ever."""
    own = ec2.interface(ec2.subnet("10.0.1.0/24"), "10.0.1.77", MAC, ADDRESS)
    for _ in range(2):
        action.undo(arguments())
        assert ec2.addresses(own) == []


def test_interface_that_goes_while_its_address_is_taken_back(
    ec2: Ec2StandIn, eni: str, action: PrivateAddress, arguments: Any
) -> None:
    """What EC2 does not find any more needs no undoing."""
    action.do(arguments())

    def before(operation: str, fields: dict[str, str]) -> None:
        if operation == "UnassignPrivateIpAddresses":
            ec2.remove(eni)

    ec2.before = before
    action.undo(arguments())


def test_interface_of_another_nic_is_named(ec2: Ec2StandIn, action: PrivateAddress, arguments: Any) -> None:
    """The address alone does not make it ours; who looks in the wrong region or account is told what is there."""
    stranger = ec2.interface(ec2.subnet("10.0.1.0/24"), PRIMARY, "0e:00:00:00:00:99")
    with pytest.raises(ActionError, match=rf"{stranger} \(0e:00:00:00:00:99\) of another MAC address do"):
        action.do(arguments())
    assert ec2.addresses(stranger) == []


def test_region_is_where_ec2_is_asked(ec2: Ec2StandIn, eni: str, action: PrivateAddress, arguments: Any) -> None:
    """The argument counts before the environment."""
    action.do(arguments(region="eu-central-1"))
    assert ec2.addresses(eni) == [ADDRESS]
    with pytest.raises(ActionError, match="in region 'us-west-2'"):
        action.do(arguments(region="us-west-2"))


def test_address_just_assigned_is_taken_back_though_ec2_does_not_show_it_yet(
    ec2: Ec2StandIn, eni: str, action: PrivateAddress, arguments: Any
) -> None:
    """What EC2 shows may be older than what it did."""
    action.do(arguments())
    held = ec2.backend.enis[eni].private_ip_addresses
    hidden = held.pop()

    def before(operation: str, fields: dict[str, str]) -> None:
        if operation == "UnassignPrivateIpAddresses":
            held.append(hidden)

    ec2.before = before
    action.undo(arguments())
    assert ec2.addresses(eni) == []


def test_answer_that_is_lost_is_no_refusal(ec2: Ec2StandIn, eni: str, action: PrivateAddress, arguments: Any) -> None:
    """EC2 assigned and failed to say so: asked again it refuses, and the address is found to be ours."""
    lost: list[str] = []

    def before(operation: str, fields: dict[str, str]) -> Fault | None:
        if operation != "AssignPrivateIpAddresses" or lost:
            return None
        lost.append(operation)
        ec2.backend.assign_private_ip_addresses(eni, [ADDRESS])
        return Fault("InternalError", "An internal error has occurred", 500)

    ec2.before = before
    action.do(arguments())
    assert (lost, ec2.addresses(eni)) == (["AssignPrivateIpAddresses"], [ADDRESS])


def test_full_interface_is_told_with_its_size(
    ec2: Ec2StandIn, eni: str, action: PrivateAddress, arguments: Any
) -> None:
    """How many addresses the instance type allows is how many there are; when one goes the next pod gets its own."""
    ec2.limit = 3
    for last in (41, 42):
        action.do(arguments(address=f"10.0.1.{last}"))
    with pytest.raises(PoolExhaustedError, match=f"{eni} has 3 addresses, its own included"):
        action.do(arguments())
    action.undo(arguments(address="10.0.1.41"))
    action.do(arguments())
    assert ec2.addresses(eni) == [ADDRESS, "10.0.1.42"]


def test_many_pods_at_once(ec2: Ec2StandIn, eni: str, action: PrivateAddress, arguments: Any) -> None:
    """Threads share one client, and each gets its own address."""
    names = [f"10.0.1.{last}" for last in range(40, 60)]
    threads = [threading.Thread(target=action.do, args=(arguments(address=name),)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ec2.addresses(eni) == names
