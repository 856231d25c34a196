"""Pods of an aws-ipvlan network through the daemon's engine, with the real action and EC2 behind HTTP."""

import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import pytest
import trio
from multinic_daemon import crashpoints
from multinic_daemon.recovery.recovery import recover
from multinic_daemon.testing import Rig, addresses
from multinic_daemon.testing.executables import Others
from multinic_daemon.testing.forks import Forks
from multinic_lab.ec2 import Ec2StandIn, Fault

from multinic_core.errors import ActionError, AddressInUseError, CheckFailedError, DaemonUnavailableError

AWS = {"type": "aws-ipvlan", "cniVersion": "0.3.0", "mode": "l2"}
NICS = 3
CRASHES = [
    ("outside.planned", ["ADD"]),
    ("outside.acted", ["ADD"]),
    ("add.applied", ["ADD"]),
    ("del.marked", ["ADD", "DEL"]),
    ("outside.taken_back", ["ADD", "DEL"]),
]


@pytest.fixture
async def node(ec2: Ec2StandIn, shared_action: Any, tmp_path: Path) -> AsyncIterator[Rig]:
    """A node whose NICs are in the subnets from which its blocks are cut."""
    rig = Rig(tmp_path, NICS)
    nics = {
        nic.ifname: replace(nic, addresses=(ip_interface(f"192.168.{64 * number}.250/18"),))
        for number, nic in enumerate(rig.view.nics.values())
    }
    rig.view = replace(rig.view, nics=nics)
    rig.plugin = AWS
    rig.registry.actions.objects["aws-private-address"] = shared_action
    yield rig
    rig.journal.close()


@pytest.fixture
def enis(ec2: Ec2StandIn) -> list[str]:
    """The network interfaces of its NICs."""
    return [
        ec2.interface(
            ec2.subnet(f"192.168.{64 * number}.0/18"), f"192.168.{64 * number}.250", f"02:00:00:00:00:0{number + 1}"
        )
        for number in range(NICS)
    ]


def held(ec2: Ec2StandIn, enis: list[str]) -> list[str]:
    return [address for eni in enis for address in ec2.addresses(eni)]


async def test_pods_come_and_go(node: Rig, ec2: Ec2StandIn, enis: list[str]) -> None:
    """EC2 knows the pods' addresses for as long as they have them, each on the interface of its NIC."""
    for number, pod in enumerate(("c1", "c2"), 1):
        result = await node.call("ADD", pod)
        assert addresses(result) == [f"192.168.{64 * nic}.{number}/18" for nic in range(NICS)]
    assert [ec2.addresses(eni) for eni in enis] == [[f"192.168.{64 * n}.1", f"192.168.{64 * n}.2"] for n in range(NICS)]
    await node.call("DEL", "c1")
    await node.call("DEL", "c1")
    assert held(ec2, enis) == [f"192.168.{64 * nic}.2" for nic in range(NICS)]
    await node.call("DEL", "c2")
    assert held(ec2, enis) == []
    node.assert_clean()


async def test_refusal_for_the_second_nic_undoes_the_first(node: Rig, ec2: Ec2StandIn, enis: list[str]) -> None:
    """All or nothing: no address in EC2, no link, no row."""

    def before(operation: str, fields: dict[str, str]) -> Fault | None:
        if operation == "AssignPrivateIpAddresses" and fields["NetworkInterfaceId"] == enis[1]:
            assert held(ec2, enis) == ["192.168.0.1"]
            return Fault("UnauthorizedOperation", "not authorized", 403)
        return None

    ec2.before = before
    message = await node.refused(ActionError, "ADD")
    assert f"NIC 'eth2' with address 192.168.64.250, pod's address 192.168.64.1, {enis[1]}" in message
    assert message.endswith("needs the permission ec2:AssignPrivateIpAddresses")
    assert held(ec2, enis) == []
    node.assert_clean()


async def test_address_of_somebody_else_is_passed_over(node: Rig, ec2: Ec2StandIn, enis: list[str]) -> None:
    """The pod is refused once; asked again, as runtimes do, it gets the next address."""
    subnet = ec2.backend.enis[enis[0]].subnet.id
    other = ec2.interface(subnet, "192.168.0.251", "", "192.168.0.1", description="database")
    assert f"{other} (database) has it" in await node.refused(AddressInUseError, "ADD")
    assert held(ec2, enis) == []
    result = await node.call("ADD")
    assert addresses(result)[0] == "192.168.0.2/18"
    await node.call("DEL")
    assert (held(ec2, enis), ec2.addresses(other)) == ([], ["192.168.0.1"])
    node.assert_clean()


async def test_check_tells_what_ec2_does_not_have(node: Rig, ec2: Ec2StandIn, enis: list[str]) -> None:
    """An address that somebody unassigned behind our back."""
    result = await node.call("ADD")
    await node.call("CHECK", prevResult=result)
    ec2.backend.unassign_private_ip_addresses(enis[2], ["192.168.128.1"])
    message = await node.refused(CheckFailedError, "CHECK", prevResult=result)
    assert f"pod's address 192.168.128.1: {enis[2]} does not have it" in message
    await node.call("DEL")
    node.assert_clean()


async def test_address_stays_held_while_ec2_may_still_have_it(node: Rig, ec2: Ec2StandIn, enis: list[str]) -> None:
    """A busy EC2 delays the end of a pod, and nobody else gets its addresses meanwhile."""
    await node.call("ADD")

    def before(operation: str, fields: dict[str, str]) -> Fault | None:
        busy = operation == "UnassignPrivateIpAddresses" and fields["NetworkInterfaceId"] == enis[0]
        return Fault("RequestLimitExceeded", "Request limit exceeded.", 503) if busy else None

    ec2.before = before
    assert "RequestLimitExceeded" in await node.refused(DaemonUnavailableError, "DEL")
    assert (held(ec2, enis), set(node.held().values())) == (["192.168.0.1"], {1})
    ec2.before = lambda operation, fields: None
    await node.call("DEL")
    assert held(ec2, enis) == []
    node.assert_clean()


async def test_slow_ec2_delays_no_other_network(node: Rig, ec2: Ec2StandIn, enis: list[str]) -> None:
    """While EC2 lets a pod wait, pods of a network that asks nobody come and go."""
    node.add_network("net-b", NICS, prefix="172.30")
    asked, go_on = threading.Event(), threading.Event()

    def before(operation: str, fields: dict[str, str]) -> None:
        asked.set()
        assert go_on.wait(120)

    ec2.before = before
    others = {"name": "net-b", "plugin": {"type": "ipvlan", "mode": "l2"}}

    async def slow() -> None:
        with suppress(DaemonUnavailableError):  # a loaded machine may take longer than a call to EC2 is waited for
            await node.call("ADD", "slow")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(slow)
        await trio.to_thread.run_sync(asked.wait)
        for command in ("ADD", "DEL"):
            await node.call(command, "quick", **others)
        assert held(ec2, enis) == []
        go_on.set()
    await node.call("DEL", "slow")
    assert held(ec2, enis) == []


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    made = Forks()
    yield made
    made.close()


@pytest.mark.parametrize(("at", "commands"), CRASHES, ids=lambda value: value if isinstance(value, str) else "")
async def test_new_daemon_takes_back_what_a_killed_one_assigned(
    forks: Forks, ec2: Ec2StandIn, shared_action: Any, tmp_path: Path, at: str, commands: list[str]
) -> None:
    """kill -9 while EC2 is asked: the row is enough to find and unassign what may be there."""
    macs = [f"02:00:00:00:00:0{number + 1}" for number in range(NICS)]
    # the addresses of this pod come from an executable, which counts in one network for all NICs
    enis = [ec2.interface(ec2.subnet("172.20.0.0/16"), f"10.0.{n}.1", mac) for n, mac in enumerate(macs, 1)]
    words = [word for command in commands for word in (command, "aws-ipvlan")]
    environment = {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "NO_PROXY"))}
    output = tmp_path / "output"
    pid = forks.start(
        "multinic_daemon.testing.executables:main",
        str(tmp_path),
        *words,
        output=output,
        environment=environment | {crashpoints.VARIABLE: at},
    )
    assert forks.wait(pid) == -signal.SIGKILL, output.read_text()
    expected = {"outside.acted": 1, "add.applied": 3, "del.marked": 3}.get(at, 0)
    assert len(held(ec2, enis)) == expected
    others = Others.on(Rig(tmp_path))
    others.rig.registry.actions.objects["aws-private-address"] = shared_action
    assert await recover(others.rig.engine) == 0
    assert held(ec2, enis) == []
    others.assert_clean()
    others.rig.journal.close()
