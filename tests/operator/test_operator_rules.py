"""The rules in the schema beside the operator's validation: the API server must not know better."""

from __future__ import annotations

import json
from ipaddress import ip_network
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from multinic_lab.apiserver import schema
from multinic_lab.apiserver.cel import check, check_rules
from multinic_operator.validation.validate import validate

from multinic_core import load_plugins
from multinic_core.errors import ConfigError
from multinic_core.model import NETWORKS, MultiNicNetwork
from multinic_core.model.crd import crd
from multinic_core.model.rules import NETWORK_LENGTH, TEXT_LENGTH
from multinic_core.model.rules import NETWORKS as MOST_NETWORKS

SCHEMA = crd(NETWORKS)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
REGISTRY = load_plugins()

networks = st.one_of(
    st.builds(
        lambda address, length, aligned: (
            str(ip_network((address, length), strict=False)) if aligned else f"{ip_network((address, 32))[0]}/{length}"
        ),
        st.integers(0, 2**32 - 1),
        st.integers(0, 32),
        st.booleans(),
    ),
    st.builds(
        lambda address, length: str(ip_network((address, length), strict=False)),
        st.integers(2**124, 2**128 - 1),
        st.integers(0, 128),
    ),
    st.sampled_from(["192.168.0.0/16", "10.0.0.0/8", "fd00::/48", "fd00::/120", "FD00::/64", "10.0.0.0/08", "x", ""]),
)
numbers = st.one_of(st.integers(-2, 130), st.sampled_from(["6", 6.5, None, True]))
blocks = st.fixed_dictionaries(
    {"type": st.sampled_from(["multi-nic-ipam", "whereabouts"])},
    optional={
        "hostBlock": numbers,
        "interfaceBlock": numbers,
        "vlanMode": st.sampled_from(["", "l2", "l3", "l3s", "l4", 3]),
        "excludeCIDRs": st.lists(networks, max_size=2),
        "comment": st.sampled_from(["}", '"hostBlock": 99', "{", "\\n"]),
    },
)
texts = st.one_of(
    st.builds(json.dumps, blocks, indent=st.sampled_from([None, 2])),
    st.sampled_from(["", " ", "{}", "[]", "null", '"x"', "{", '{"type": ""}', ' {"type" : "multi-nic-ipam" }\n']),
)
specs = st.fixed_dictionaries(
    {"ipam": texts, "plugin": st.just({"cniVersion": "0.3.0", "type": "ipvlan"})},
    optional={
        "subnet": networks,
        "masterNets": st.lists(networks, max_size=5),
        "multiNICIPAM": st.booleans(),
        "attachPolicy": st.just({"strategy": "none"}),
    },
)


def refusals(spec: dict[str, Any]) -> list[str]:
    """What the API server says about a network of this spec."""
    body = {"metadata": {"name": "net"}, "spec": spec}
    return [str(error) for error in schema.validate(body, SCHEMA) + check(body, None, SCHEMA)]


def test_every_rule_can_be_evaluated_and_reads_only_what_has_a_bound() -> None:
    """The cost of a rule is estimated from the longest value that it may meet."""
    spec = SCHEMA["properties"]["spec"]
    assert check_rules(spec, "spec") == []
    fields = spec["properties"]
    assert fields["ipam"]["maxLength"] == TEXT_LENGTH
    assert fields["subnet"]["maxLength"] == 2 * NETWORK_LENGTH
    assert (fields["masterNets"]["maxItems"], fields["masterNets"]["items"]["maxLength"]) == (
        MOST_NETWORKS,
        NETWORK_LENGTH,
    )
    servers = fields["plugin"]["properties"]["dns"]["properties"]["nameservers"]
    assert servers["maxItems"] * servers["items"]["maxLength"] == 1024


@settings(max_examples=400, deadline=None)
@given(specs)
def test_the_rules_refuse_nothing_that_the_operator_accepts(spec: dict[str, Any]) -> None:
    """Whatever the order, the blanks and the other keys of the text."""
    try:
        validate(MultiNicNetwork.model_validate({"metadata": {"name": "net"}, "spec": spec}), REGISTRY, ())
    except (ConfigError, ValueError):
        return
    assert refusals(spec) == []


@settings(max_examples=200, deadline=None)
@given(specs)
def test_a_refusal_can_be_told_on_one_line(spec: dict[str, Any]) -> None:
    """Every message is found by its expression, and has no line break, which API servers would drop."""
    for refusal in refusals(spec):
        assert "rule evaluation error" not in refusal
        assert "\n" not in refusal.replace(json.dumps(spec["ipam"]), "")
