"""IPAMs of plugins: they give addresses of pools as ours does, and who lacks one, daemon or operator, is told."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from multinic_daemon.testing import NETWORK, Rig, addresses

from multinic_core.errors import ConfigError, DaemonUnavailableError, ExecutableError, NotReadyError
from multinic_core.ipam import MultiNicIpam
from multinic_core.model import CIDRS, IPPOOLS
from multinic_core.plan import Allocation, AllocationRequest
from multinic_core.pools import Pool
from multinic_core.registry import Owner

BLOCK = {"type": "foreign", "hostBlock": 6, "interfaceBlock": 2, "row": {"first": 7}}


class Foreign(MultiNicIpam):
    """Gives the addresses from that number on which a key of its own names, and does to the block what none should."""

    name = "foreign"

    def allocate(self, request: AllocationRequest, pools: Sequence[Pool]) -> tuple[Allocation, ...]:
        if "row" not in request.ipam:
            raise ConfigError("ipam.row: missing, expected where to start")
        first = request.ipam["row"].pop("first")
        return super().allocate(request, [replace(pool, cursor=first - 1) for pool in pools])


@pytest.fixture
def foreign(rig: Rig) -> Rig:
    """A node whose daemon has the foreign IPAM."""
    rig.registry.ipams.objects["foreign"] = Foreign()
    rig.registry.ipams.owners["foreign"] = Owner("foreign-ipam", "1.0", "foreign")
    return rig


async def without(rig: Rig, *kinds: Any) -> None:
    """The operator has made none of these for the network."""
    for kind in kinds:
        for found in rig.kubernetes.store(kind).list():
            await rig.kubernetes.delete(kind, found.name)


async def test_pods_get_addresses_of_the_pools_from_it(foreign: Rig) -> None:
    """Each pod gets what the IPAM says of the node's pools, held in the journal until DEL."""
    found = [addresses(await foreign.call("ADD", container, ipam=BLOCK)) for container in ("c1", "c2")]
    assert found == [[f"192.168.{third}.{last}/18" for third in (0, 64, 128)] for last in (7, 8)]
    assert set(foreign.held().values()) == {2}
    await foreign.call("DEL", "c1", ipam=BLOCK)
    await foreign.call("DEL", "c2", ipam=BLOCK)
    foreign.assert_clean("c1")


async def test_its_own_keys_reach_it(foreign: Rig) -> None:
    """What it refuses of them the runtime is told as it stands."""
    told = await foreign.refused(ConfigError, "ADD", ipam={"type": "foreign"})
    assert told == "ipam.row: missing, expected where to start"
    foreign.assert_clean()


async def test_the_nics_of_its_network_are_those_with_blocks(foreign: Rig) -> None:
    """A NIC in whose network the operator has cut no block is no NIC of the network, as for our own IPAM."""
    found = foreign.kubernetes.raw(CIDRS, NETWORK, "")["spec"]
    cut = [entry for entry in found["cidr"] if entry["netAddress"] != "10.0.2.0/24"]
    await foreign.kubernetes.patch(CIDRS, NETWORK, {"spec": {"cidr": cut}})
    (lost,) = [pool.name for pool in foreign.kubernetes.store(IPPOOLS).list() if pool.spec.interface_name == "eth2"]
    await foreign.kubernetes.delete(IPPOOLS, lost)
    assert addresses(await foreign.call("ADD", ipam=BLOCK)) == ["192.168.0.7/18", "192.168.128.7/18"]


async def test_status_is_ready_with_its_pools(foreign: Rig) -> None:
    """A node that has the IPAM and pools can serve."""
    assert await foreign.call("STATUS", ipam=BLOCK) is None


async def test_an_ipam_that_the_operator_lacks_is_named(foreign: Rig, autojump_clock: Any) -> None:
    """Without blocks of the operator, ADD and STATUS say whose IPAM it is, and where else it belongs."""
    await without(foreign, IPPOOLS, CIDRS)
    hint = (
        "ipam.type: found 'foreign', which foreign-ipam 1.0 (foreign) offers on this node; the operator makes pools for"
        " it only where that is installed in the operator too"
    )
    assert hint in await foreign.refused(DaemonUnavailableError, "ADD", ipam=BLOCK)
    assert hint in await foreign.refused(NotReadyError, "STATUS", ipam=BLOCK)
    foreign.assert_clean()


async def test_pools_that_are_late_are_waited_for(foreign: Rig, autojump_clock: Any) -> None:
    """Where the operator has cut blocks, a pool that it has not made yet is its to make."""
    await without(foreign, IPPOOLS)
    told = await foreign.refused(DaemonUnavailableError, "ADD", ipam=BLOCK)
    assert "the operator makes pools, and says on the MultiNicNetwork why it cannot" in told


async def test_an_ipam_that_the_daemon_lacks_is_named(rig: Rig) -> None:
    """With pools for an IPAM that is neither installed nor an executable, ADD and STATUS say where it belongs."""
    hint = (
        "installed IPAMs are ['multi-nic-ipam']; this node has pools of the network, so its IPAM may have to be"
        " installed in the daemon too"
    )
    assert hint in await rig.refused(ExecutableError, "ADD", ipam=BLOCK)
    assert hint in await rig.refused(NotReadyError, "STATUS", ipam=BLOCK)
    rig.assert_clean()


async def test_an_executable_that_is_missing_is_only_that_without_pools(rig: Rig) -> None:
    """Where the operator has made no pools, the IPAM is nothing but an executable."""
    await without(rig, IPPOOLS, CIDRS)
    told = await rig.refused(ExecutableError, "ADD", ipam={"type": "whereabouts"})
    assert told.endswith("installed IPAMs are ['multi-nic-ipam']")
