"""The IPPool object of one block."""

from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st

from multinic_core.model import OwnerReference
from multinic_core.poolobjects import pool_excludes, pool_object

BLOCK = ip_network("10.0.1.0/26")


def test_pool_has_name_labels_owner_and_what_it_never_gives():
    """As the original's operator writes one, without allocations."""
    owner = OwnerReference(
        api_version="multinic.fms.io/v1", kind="MultiNicNetwork", name="net", uid="u", controller=True
    )
    pool = pool_object(
        "net",
        "n1",
        "eth1",
        "10.0.1.0/26",
        "10.0.1.0/24",
        owners=[owner],
        excludes=[ip_network("10.0.1.32/28"), ip_network("10.9.0.0/16"), ip_network("10.0.0.0/8")],
        addresses=[ip_network("10.0.1.9"), ip_network("10.0.1.70"), ip_network("10.0.1.2"), ip_network("10.0.1.9")],
    )
    assert pool.to_json() == {
        "apiVersion": "multinic.fms.io/v1",
        "kind": "IPPool",
        "metadata": {
            "name": "net-10.0.1.0-26",
            "labels": {"hostname": "n1", "netname": "net"},
            "ownerReferences": [owner.to_json()],
        },
        "spec": {
            "podCIDR": "10.0.1.0/26",
            "vlanCIDR": "10.0.1.0/24",
            "netAttachDef": "net",
            "hostName": "n1",
            "interfaceName": "eth1",
            "excludes": ["10.0.1.32/28", "10.0.0.0/8", "10.0.1.2/32", "10.0.1.9/32"],
            "allocations": [],
        },
    }


@given(st.lists(st.integers(0, 255)), st.lists(st.integers(0, 255)))
def test_order_of_addresses_does_not_matter(one: list[int], other: list[int]):
    """The same NICs in any order exclude the same, so that nothing is written when only their order changed."""
    addresses = [ip_network((0x0A000100 + each, 32)) for each in one + other]
    found = pool_excludes(BLOCK, (), addresses)
    assert found == pool_excludes(BLOCK, (), reversed(addresses))
    assert set(found) == {each for each in addresses if each.subnet_of(BLOCK)}
