"""HostInterfaces kept light say what whole ones say, as far as blocks and routes go."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from multinic_daemon.hostroutes.allhosts import ALL_HOSTS

from multinic_core.kube.objects import see
from multinic_core.model import CIDR, HOST_INTERFACES
from multinic_core.rows import nics_by_network, rows_of
from multinic_core.testing.kube import FakeKubernetes

CIDR_JSON: dict[str, Any] = {
    "metadata": {"name": "net"},
    "spec": {
        "compact": True,
        "config": {
            "name": "net",
            "type": "ipvlan",
            "subnet": "192.168.0.0/16",
            "masterNets": [],
            "hostBlock": 6,
            "interfaceBlock": 2,
        },
        "cidr": [
            {"netAddress": f"10.0.{i}.0/24", "interfaceIndex": i, "vlanCIDR": f"192.168.{64 * i}.0/18"} for i in (0, 1)
        ],
    },
}
nic = st.fixed_dictionaries(
    {"interfaceName": st.sampled_from(["eth0", "eth1", "eth2"])},
    optional={
        "netAddress": st.sampled_from(["10.0.0.0/24", "10.0.1.7/24", "10.9.0.0/24", "nonsense"]),
        "hostIP": st.sampled_from(["10.0.0.1", "10.0.1.1", ""]),
        "vendor": st.just("15b3"),
    },
)
claim = st.fixed_dictionaries(
    {"network": st.sampled_from(["net", "other"])},
    optional={
        "netAddress": st.just("10.0.0.0/24"),
        "interfaceName": st.sampled_from(["eth0", "eth1"]),
        "hostIndex": st.integers(0, 70),
    },
)
status = st.fixed_dictionaries(
    {}, optional={"hostIndex": st.integers(0, 70), "exceptions": st.lists(claim, max_size=3)}
)


@given(st.lists(nic, max_size=4), st.one_of(st.none(), status))
def test_light_and_whole_give_the_same_rows(interfaces: list[Any], said: Any):
    """Whatever a HostInterface says, and also what it does not say."""
    raw: dict[str, Any] = {"metadata": {"name": "n1"}, "spec": {"hostName": "n1", "interfaces": interfaces}}
    if said is not None:
        raw["status"] = said
    light, whole = see(ALL_HOSTS, raw).model, see(HOST_INTERFACES, raw).model
    assert light is not None
    assert whole is not None
    cidr = CIDR.model_validate(CIDR_JSON)
    assert rows_of(cidr, light) == rows_of(cidr, whole)
    assert nics_by_network(light) == nics_by_network(whole)


def test_what_does_not_fit_is_told_as_ever():
    """A light store names the same objects as invalid, and hears of every write."""
    kube = FakeKubernetes()
    light, whole = kube.store(ALL_HOSTS), kube.store(HOST_INTERFACES)
    kube.seed_invalid(HOST_INTERFACES, {"metadata": {"name": "bad"}, "spec": {"interfaces": 7}})
    kube.seed(HOST_INTERFACES, {"metadata": {"name": "n1"}, "spec": {"hostName": "n1", "interfaces": []}})
    assert light.invalid.keys() == whole.invalid.keys() != set()
    assert [host.name for host in light.list()] == ["n1"]
