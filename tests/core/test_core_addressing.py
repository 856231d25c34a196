"""Blocks, indexes and excludes."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multinic_core import ConfigError
from multinic_core.addressing import block, covers, excluded_blocks, merged, parse_blocks, usable_indexes


@pytest.mark.parametrize(
    ("subnet", "interface_bits", "host_bits", "interface_index", "host_index", "expected"),
    [
        ("192.168.0.0/16", 2, 6, 0, 0, "192.168.0.0/24"),
        ("192.168.0.0/16", 2, 6, 0, 63, "192.168.63.0/24"),
        ("192.168.0.0/16", 2, 6, 1, 1, "192.168.65.0/24"),
        ("192.168.0.0/16", 2, 6, 3, 2, "192.168.194.0/24"),
        ("192.168.0.0/16", 2, 8, 0, 1, "192.168.0.64/26"),
        ("192.168.0.0/16", 2, 9, 0, 511, "192.168.63.224/27"),
        ("192.168.0.0/16", 2, 10, 1, 1023, "192.168.127.240/28"),
        ("10.0.0.0/8", 3, 10, 1, 1, "10.32.8.0/21"),
        ("172.34.0.0/16", 2, 8, 1, 2, "172.34.64.128/26"),
        ("fd00::/48", 5, 11, 3, 7, "fd00:0:0:1807::/64"),
    ],
)
def test_pod_block_follows_the_formula(subnet, interface_bits, host_bits, interface_index, host_index, expected):
    """The worked examples of the original, and one of IPv6 by the same arithmetic."""
    (blocks,) = parse_blocks(subnet, interface_bits, host_bits, [])
    assert blocks.pod_block(interface_index, host_index) == ip_network(expected)


@given(
    st.sampled_from(["10.0.0.0/8", "192.168.0.0/16", "fd00::/32"]),
    st.integers(0, 5),
    st.integers(0, 10),
    st.data(),
)
def test_pod_blocks_never_overlap(subnet, interface_bits, host_bits, data):
    """Two different pairs of indexes have disjoint blocks inside the subnet."""
    (blocks,) = parse_blocks(subnet, interface_bits, host_bits, [])
    pairs = st.tuples(st.integers(0, (1 << interface_bits) - 1), st.integers(0, (1 << host_bits) - 1))
    one, other = data.draw(pairs), data.draw(pairs)
    assert blocks.pod_block(*one).overlaps(blocks.pod_block(*other)) == (one == other)
    assert covers(blocks.subnet, blocks.pod_block(*one))


@pytest.mark.parametrize(("bits", "index"), [(2, 4), (2, -1), (0, 1)])
def test_an_index_outside_the_blocks_is_an_error(bits, index):
    """There is no block beyond 2^bits - 1."""
    with pytest.raises(ValueError, match="is not within"):
        block(ip_network("192.168.0.0/16"), bits, index)


@pytest.mark.parametrize(
    ("network", "usable"),
    [
        ("10.0.0.0/24", range(1, 255)),
        ("10.0.0.0/30", range(1, 3)),
        ("10.0.0.0/31", range(2)),
        ("10.0.0.0/32", range(1)),
        ("fd00::/126", range(1, 3)),
        ("fd00::/127", range(2)),
    ],
)
def test_usable_addresses(network, usable):
    """All but network and broadcast, and what point-to-point rules allow."""
    assert usable_indexes(ip_network(network)) == usable


@pytest.mark.parametrize(
    ("subnet", "blocks", "excludes", "problem"),
    [
        ("192.168.0.1/16", (2, 6), [], "found '192.168.0.1/16' with host bits set, expected '192.168.0.0/16'"),
        ("here", (2, 6), [], "found 'here', expected a network"),
        (
            "192.168.0.0/16",
            (2, 15),
            [],
            "spec.ipam.hostBlock: found 15, but 192.168.0.0/16 with interfaceBlock 2 leaves 14",
        ),
        ("192.168.0.0/16,10.0.0.0/8", (2, 6), [], "at most one subnet of each address family"),
        ("192.168.0.0/16", (2, 6), ["10.0.0.0/24"], "excludeCIDRs[0]: found '10.0.0.0/24', expected a part of"),
        ("192.168.0.0/16", (2, 6), ["192.168.1.0/24", "x"], "excludeCIDRs[1]: found 'x', expected a network"),
    ],
)
def test_bad_blocks_are_named_by_path(subnet, blocks, excludes, problem):
    """Each problem says where it is, what was found and what would do."""
    with pytest.raises(ConfigError) as refused:
        parse_blocks(subnet, *blocks, excludes)
    assert problem in str(refused.value)


def test_all_problems_are_told_at_once():
    """Three faults in one network make three problems."""
    with pytest.raises(ConfigError) as refused:
        parse_blocks("192.168.0.0/16", 9, 9, ["x", "10.0.0.0/8"])
    assert len(refused.value.problems) == 3


def test_excludes_take_whole_blocks_only():
    """Half a block excluded leaves it usable; two halves that join, or more than the container, take it."""
    container = ip_network("192.168.0.0/18")
    halves = [ip_network("192.168.0.64/27"), ip_network("192.168.0.96/27")]
    assert excluded_blocks(container, 8, [*halves, ip_network("192.168.0.128/30")]) == []
    assert excluded_blocks(container, 8, merged(halves)) == [(1, 1)]
    assert excluded_blocks(container, 8, [ip_network("192.168.1.0/24")]) == [(4, 7)]
    assert excluded_blocks(container, 8, [ip_network("192.168.0.0/16")]) == [(0, 255)]


@given(st.integers(0, 255), st.integers(18, 30), st.integers(0, 2**14 - 1))
def test_excluded_blocks_are_those_that_the_exclude_covers(index, prefix_length, offset):
    """The ranges say exactly what asking each block would say."""
    container = ip_network("192.168.0.0/18")
    base = int(container.network_address) + offset
    exclude = ip_network((base >> (32 - prefix_length) << (32 - prefix_length), prefix_length))
    ranges = excluded_blocks(container, 8, [exclude])
    assert any(first <= index <= last for first, last in ranges) == covers(exclude, block(container, 8, index))
