"""How growth is told, and sizes are read."""

import pytest
from multinic_lab.twin.growth import exponent
from multinic_lab.twin.report import size_text
from multinic_lab.twin.run import sizes_of
from multinic_lab.twin.size import Size, node_nics

from multinic_core.errors import ConfigError


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_is_that_of_a_power(power: float) -> None:
    """Values that are a power of the size, however scaled, give that power."""
    assert exponent({n: 7 * n**power for n in (100, 500, 1000, 5000)}) == pytest.approx(power)


@pytest.mark.parametrize("values", [{}, {100: 5.0}, {100: 0.0, 500: 3.0}])
def test_there_may_be_no_exponent(values: dict[int, float]) -> None:
    """One size, or a value of 0, says nothing about growth."""
    assert exponent(values) is None


def test_a_single_size_brings_smaller_ones() -> None:
    """5,000 is compared with 100, 500 and 1,000 unless it is to be alone; several sizes are taken as they are."""
    assert sizes_of("5000") == (100, 500, 1000, 5000)
    assert sizes_of("5000", alone=True) == (5000,)
    assert sizes_of("40,20") == (20, 40)


def test_a_size_that_is_no_number_is_named() -> None:
    """The option, what was found and what would do."""
    with pytest.raises(ConfigError, match=r"--nodes: found 'many', expected whole numbers"):
        sizes_of("many")


@pytest.mark.parametrize(("nodes", "nics"), [(1, 4), (9000, 4), (10, 1), (10, 17)])
def test_a_size_that_cannot_be_is_refused(nodes: int, nics: int) -> None:
    """Blocks are cut for so many nodes and NICs and no more."""
    with pytest.raises(ConfigError, match="expected a number from 2 to"):
        Size(nodes, nics)


def test_no_two_nodes_share_an_address() -> None:
    """Every NIC of every node has an address of its own, on its NIC network."""
    nics = [nic for number in range(8000) for nic in node_nics(number, 2).values()]
    assert len({nic.addresses[0].ip for nic in nics}) == len(nics)
    assert {str(nic.network) for nic in nics} == {"172.16.0.0/16", "172.17.0.0/16"}


@pytest.mark.parametrize(("count", "text"), [(7, "7 B"), (1500, "1.5 kB"), (2_340_000, "2.3 MB"), (5e9, "5.0 GB")])
def test_bytes_are_told_shortly(count: float, text: str) -> None:
    """In the largest unit of which there is one."""
    assert size_text(count) == text
