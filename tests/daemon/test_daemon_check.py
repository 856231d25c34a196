"""CHECK, STATUS and the executable multi-nic-ipam."""

from dataclasses import replace

import pytest
import trio
from multinic_daemon.engine.lanes import Lane
from multinic_daemon.journal.journal import read_rows
from multinic_daemon.testing import NETWORK, NODE, Rig, addresses

from multinic_core.errors import (
    CheckFailedError,
    ConfigError,
    ConnectivityLimitedError,
    DaemonUnavailableError,
    IncompatibleVersionError,
    NotReadyError,
    PoolExhaustedError,
)
from multinic_core.model import IPPOOLS


async def test_check_of_an_untouched_attachment_passes(rig: Rig) -> None:
    """In every version that knows CHECK, and with what later plugins of a chain have added."""
    for container, version in (("c1", "0.4.0"), ("c2", "1.0.0"), ("c3", "1.1.0")):
        result = await rig.call("ADD", container, cniVersion=version)
        result["interfaces"].append({"name": "other", "sandbox": "/elsewhere"})
        assert await rig.call("CHECK", container, cniVersion=version, prevResult=result) is None


async def test_check_is_not_allowed_before_its_version(rig: Rig) -> None:
    """Code 1, as the specification's own libraries answer."""
    result = await rig.call("ADD", cniVersion="0.3.1")
    await rig.refused(IncompatibleVersionError, "CHECK", cniVersion="0.3.1", prevResult=result)


async def test_check_needs_the_result_of_add(rig: Rig) -> None:
    """Without prevResult there is nothing to compare."""
    await rig.call("ADD")
    assert "prevResult" in await rig.refused(ConfigError, "CHECK")


async def test_check_names_a_missing_link(rig: Rig) -> None:
    """The kernel differs from the record."""
    result = await rig.call("ADD")
    (rig.folder / "netns" / "c1" / "net1-1").unlink()
    assert "'net1-1' is missing" in await rig.refused(CheckFailedError, "CHECK", prevResult=result)


async def test_check_compares_what_the_runtime_remembers(rig: Rig) -> None:
    """prevResult with another MAC address, without an address, without an interface."""
    result = await rig.call("ADD")
    result["interfaces"][0]["mac"] = "02:00:00:00:00:ff"
    result["interfaces"].pop()
    result["ips"].pop(0)
    message = await rig.refused(CheckFailedError, "CHECK", prevResult=result)
    for words in ("02:00:00:00:00:ff", "lacks interface 'net1-2'", "lacks address 192.168.0.1/18"):
        assert words in message


async def test_check_of_what_is_not_attached_fails(rig: Rig) -> None:
    """No record, no pass."""
    assert "not attached" in await rig.refused(CheckFailedError, "CHECK", prevResult={"cniVersion": "1.1.0"})


async def test_check_in_another_or_vanished_namespace_fails(rig: Rig) -> None:
    """The links are where ADD made them."""
    result = await rig.call("ADD")
    assert "attached in namespace" in await rig.refused(
        CheckFailedError, "CHECK", netns=rig.pod("b"), prevResult=result
    )


async def test_status_of_a_node_that_can_serve_says_nothing(rig: Rig) -> None:
    """STATUS has no answer but errors."""
    assert await rig.call("STATUS") is None
    assert await rig.call("STATUS", executable="multi-nic-ipam") is None


async def test_status_names_what_is_missing(rig: Rig) -> None:
    """Code 50 for an unknown network, a plugin not installed, no pool, and an API never reached."""
    assert "unknown" in await rig.refused(NotReadyError, "STATUS", name="unknown")
    assert "teapot" in await rig.refused(NotReadyError, "STATUS", plugin={"type": "teapot"})
    for pool in await rig.kubernetes.list(IPPOOLS):
        await rig.kubernetes.delete(IPPOOLS, pool.name)
    assert "pool" in await rig.refused(NotReadyError, "STATUS")
    assert "pool" in await rig.refused(NotReadyError, "STATUS", executable="multi-nic-ipam")
    with rig.kubernetes.stale():
        rig.kubernetes._stores.clear()
        rig.engine = rig.make_engine()
        assert "API" in await rig.refused(NotReadyError, "STATUS")


async def test_status_says_that_no_nic_is_left(rig: Rig) -> None:
    """Code 50: the node has pools, and none of their NICs any more."""
    rig.view = replace(rig.view, nics={})
    assert "has no NIC of it" in await rig.refused(NotReadyError, "STATUS")


async def test_status_says_that_the_journal_was_refused(rig: Rig) -> None:
    """Code 50 with the file and what is wrong with it, until it is known from elsewhere what is held."""
    rig.adoption.close()
    rig.journal.close()
    (rig.folder / "run" / "journal.db").write_bytes(b"text " * 1000)
    rig.journal = rig.open_journal()
    rig.engine = rig.make_engine()
    said = await rig.refused(NotReadyError, "STATUS")
    assert "journal.db" in said
    assert "refused" in said
    rig.adoption = type(rig.adoption)(rig.engine, rig.kubernetes, NODE, rig.pools)
    rig.adopt()
    assert await rig.call("STATUS") is None


async def test_status_says_that_the_journal_cannot_be_written(rig: Rig) -> None:
    """Code 50 as long as no ADD could write its row; nothing else of the file changes by asking."""
    await rig.call("ADD")
    before = read_rows(rig.journal.path)
    rig.journal._db.execute("PRAGMA query_only = ON")
    said = await rig.refused(NotReadyError, "STATUS")
    assert "readonly" in said
    assert "journal.db" in said
    rig.journal._db.execute("PRAGMA query_only = OFF")
    assert await rig.call("STATUS") is None
    assert read_rows(rig.journal.path) == before


async def test_status_tells_of_routes_that_failed(rig: Rig) -> None:
    """Code 51: pods of this node may not reach those of others."""
    rig.engine.route_problem = lambda network: "EPERM" if network == NETWORK else ""
    assert "EPERM" in await rig.refused(ConnectivityLimitedError, "STATUS")


async def test_ipam_executable_gives_addresses_for_named_nics(rig: Rig) -> None:
    """Another main plugin asks for addresses: no link, no interface, one row."""
    fields = {"masters": ["eth2", "eth1"], "executable": "multi-nic-ipam"}
    result = await rig.call("ADD", **fields)
    assert addresses(result) == ["192.168.64.1/18", "192.168.0.1/18"]
    assert [ip["interface"] for ip in result["ips"]] == [0, 1]
    assert "interfaces" not in result
    assert await rig.call("ADD", **fields) == result
    assert rig.kernel.calls == []
    assert await rig.call("CHECK", prevResult=result, **fields) is None
    assert await rig.call("DEL", **fields) is None
    assert rig.held() == {}
    assert "not attached" in await rig.refused(CheckFailedError, "CHECK", prevResult=result, **fields)


async def test_ipam_executable_reads_master_of_single_nic_plugins(rig: Rig) -> None:
    """macvlan and ipvlan configurations carry ``master``."""
    assert addresses(await rig.call("ADD", executable="multi-nic-ipam", master="eth3")) == ["192.168.128.1/18"]


async def test_ipam_executable_and_engine_share_the_pools(rig: Rig) -> None:
    """An address held for one is not given to the other."""
    await rig.call("ADD", "c1", executable="multi-nic-ipam", masters=["eth1"])
    assert addresses(await rig.call("ADD", "c2"))[0] == "192.168.0.2/18"


@pytest.mark.parametrize("named", [{}, {"masters": []}, {"masters": ["eth1", "eth1"]}, {"masters": [1]}, {"master": 3}])
async def test_ipam_executable_refuses_what_names_no_nics(rig: Rig, named: dict[str, object]) -> None:
    """No NIC falls through to all or none."""
    assert "masters" in await rig.refused(ConfigError, "ADD", executable="multi-nic-ipam", **named)


async def test_ipam_executable_gives_all_or_nothing(rig: Rig) -> None:
    """A NIC without pool, and a full pool, hold nothing back."""
    await rig.refused(DaemonUnavailableError, "ADD", executable="multi-nic-ipam", masters=["eth1", "eth9"])
    rig.add_network("small", 0)
    rig.add_pool("small", "eth1", "10.9.0.0/24", "10.9.0.0/18")
    rig.add_pool("small", "eth2", "10.9.64.0/32", "10.9.64.0/18")
    fields = {"name": "small", "executable": "multi-nic-ipam", "masters": ["eth1", "eth2"]}
    await rig.call("ADD", "c1", **fields)
    await rig.refused(PoolExhaustedError, "ADD", "c2", **fields)
    assert set(rig.held().values()) == {1}


async def test_gc_of_one_executable_leaves_the_other_alone(rig: Rig) -> None:
    """Rows of ``multi-nic`` and of ``multi-nic-ipam`` belong to different callers."""
    await rig.call("ADD", "c1")
    await rig.call("ADD", "c2", executable="multi-nic-ipam", masters=["eth1"])
    await rig.call("GC", executable="multi-nic-ipam", **{"cni.dev/valid-attachments": []})
    assert len(rig.pod_links("c1")) == 3
    assert set(rig.held().values()) == {1}


async def test_call_that_takes_too_long_is_undone(rig: Rig, autojump_clock: trio.abc.Clock) -> None:
    """The daemon answers inside the runtime's limit, and says that the call may be tried again."""
    rig.engine.making = Lane("make links", 1, 8)
    messages: list[str] = []

    async def add() -> None:
        messages.append(await rig.refused(DaemonUnavailableError, "ADD"))

    with await rig.engine.making.worker("net-b"):
        async with trio.open_nursery() as nursery, rig.engine.locks(("c1", "net1")):
            nursery.start_soon(add)
            await trio.sleep(45)
    assert "60 seconds" in messages[0]
    assert "'net-b' holds 1 of 1 workers to make links, one for 60 seconds" in messages[0]
    rig.assert_clean()
