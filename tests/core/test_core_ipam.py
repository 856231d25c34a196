"""Held indexes and the built-in IPAM."""

from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multinic_core import AddressInUseError, AllocationRequest, ConfigError, HeldIndexes, Pool, PoolExhaustedError
from multinic_core.ipam import MultiNicIpam, excluded_indexes, next_index

IPAM = MultiNicIpam()


def pool(network="192.168.0.0/28", *, excludes=(), held=(), cursor=0, parent="eth1"):
    return Pool(
        name=f"net-{network}".replace("/", "-"),
        network=ip_network(network),
        prefix_length=18,
        parent=parent,
        excludes=tuple(map(ip_network, excludes)),
        held=HeldIndexes((index, index) for index in held),
        cursor=cursor,
    )


def walk(start, count):
    """Give ``count`` addresses in a row, holding each."""
    held, cursor, given_indexes = start.held, start.cursor, []
    for _ in range(count):
        cursor = next_index(Pool(start.name, start.network, 18, start.parent, start.excludes, held, cursor))
        if cursor is None:
            break
        held.add(cursor)
        given_indexes.append(cursor)
    return given_indexes


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=80))
def test_held_indexes_behave_as_a_set(steps):
    """Adding, removing, membership, size and the next free index agree with a plain set."""
    held, model = HeldIndexes(), set()
    for adding, index in steps:
        if adding == (index in model):
            with pytest.raises(ValueError, match=f"index {index} is"):
                (held.add if adding else held.remove)(index)
            continue
        (held.add if adding else held.remove)(index)
        model ^= {index}
        assert len(held) == len(model)
        assert all((number in held) == (number in model) for number in range(32))
        assert held.next_free(index) == next(number for number in range(index, 40) if number not in model)
        assert all(end + 1 < start for (_, end), (start, _) in zip(held, list(held)[1:], strict=False))


def test_a_million_held_indexes_answer_at_once():
    """The next free index of a pool of 2^24 addresses costs one search, not one step per held index."""
    held = HeldIndexes((index, index) for index in range(0, 2_000_000, 2))
    assert next_index(Pool("big", ip_network("10.0.0.0/8"), 8, "eth1", (), held, 1_000_000)) == 1_000_001


def test_addresses_ascend_from_the_first():
    """A fresh pool gives network + 1 first, with the prefix length of the interface block."""
    (allocation,) = IPAM.allocate(AllocationRequest(("eth1",)), [pool()])
    assert allocation.address == ip_interface("192.168.0.1/18")
    assert walk(pool(), 20) == list(range(1, 15))


def test_reuse_waits_until_the_top_is_reached():
    """A released address rests while there are addresses above the one given last."""
    assert next_index(pool(held=[1, 3], cursor=3)) == 4
    assert next_index(pool(held=[1, 3, 14], cursor=14)) == 2


def test_excludes_hold_also_when_the_search_wraps():
    """The original gave index 1 for ever when an exclude began the pool; here it is never given."""
    assert walk(pool(excludes=["192.168.0.0/30"]), 20) == list(range(4, 15))
    assert walk(pool("192.168.0.0/26", excludes=["192.168.0.16/28"], cursor=31), 60) == [*range(32, 63), *range(1, 16)]


def test_an_exclude_larger_than_the_pool_takes_all_of_it():
    """Nothing is left, and nothing outside the pool is counted."""
    assert list(excluded_indexes(pool(excludes=["192.168.0.0/16"]))) == [(0, 15)]
    assert next_index(pool(excludes=["192.168.0.0/16"])) is None


@pytest.mark.parametrize(
    ("network", "indexes"),
    [
        ("10.0.0.0/30", [1, 2]),
        ("10.0.0.0/31", [1, 0]),
        ("10.0.0.0/32", [0]),
        ("fd00::/126", [1, 2]),
    ],
)
def test_small_pools_give_all_that_they_have(network, indexes):
    """Capacity is 2^n - 2, or what point-to-point rules allow."""
    assert sorted(walk(pool(network), 5)) == sorted(indexes)


def test_static_addresses_are_honoured_in_the_pool_that_contains_them():
    """One static address and one chosen: each NIC gets its own."""
    pools = [pool("192.168.0.0/24"), pool("192.168.64.0/24", parent="eth2")]
    request = AllocationRequest(("eth1", "eth2"), (ip_interface("192.168.64.9/18"),))
    assert [str(a.address) for a in IPAM.allocate(request, pools)] == ["192.168.0.1/18", "192.168.64.9/18"]


@pytest.mark.parametrize(
    ("static", "told"),
    [
        ("192.168.0.5", "held by another attachment"),
        ("192.168.0.9", "is excluded from pool"),
        ("192.168.0.0", "is the network or broadcast address"),
        ("192.168.0.15", "is the network or broadcast address"),
        ("10.0.0.1", "expected at most one in each of ['192.168.0.0/28']"),
    ],
)
def test_static_addresses_that_cannot_be_given_are_refused(static, told):
    """The refusal names the address, the pool and why."""
    request = AllocationRequest(("eth1",), (ip_address(static),))
    with pytest.raises(AddressInUseError) as refused:
        IPAM.allocate(request, [pool(held=[5], excludes=["192.168.0.8/30"])])
    assert static in str(refused.value)
    assert told in str(refused.value)


def test_two_static_addresses_in_one_pool_are_refused():
    """A NIC gets one address of each family; a second one is not dropped in silence."""
    request = AllocationRequest(("eth1",), (ip_address("192.168.0.3"), ip_address("192.168.0.4")))
    with pytest.raises(AddressInUseError, match=r"192\.168\.0\.4"):
        IPAM.allocate(request, [pool()])


def test_a_full_pool_is_named():
    """The refusal names pool, network and NIC."""
    with pytest.raises(PoolExhaustedError, match=r"pool 'net-192.168.0.0-28' .* of NIC 'eth1' is full: 14"):
        IPAM.allocate(AllocationRequest(("eth1",)), [pool(held=range(1, 15))])


def test_a_nic_without_a_pool_is_named():
    """A chosen NIC never goes without an address in silence."""
    with pytest.raises(ConfigError, match=r"NICs \['eth9'\] have no address pool; pools are for \['eth1'\]"):
        IPAM.allocate(AllocationRequest(("eth1", "eth9")), [pool()])


@given(st.sets(st.integers(1, 14)), st.integers(0, 14))
def test_no_index_is_given_twice(held, cursor):
    """Free + held = size, from whatever state."""
    given_indexes = walk(pool(held=held, cursor=cursor), 20)
    assert sorted([*given_indexes, *held]) == list(range(1, 15))
