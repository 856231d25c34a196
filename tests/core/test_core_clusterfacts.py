"""What plugins know of the cluster, whose a dependent is, and which plugins break that contract."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from pydantic import BaseModel

from multinic_core import ClusterFacts, ForeignObject, KeptKind, NetworkConfig
from multinic_core.clusterfacts import belongs, configure
from multinic_core.model import Resource
from multinic_core.testing import example_network
from multinic_core.testing.clusterside import check_cluster_side

WIDGETS = Resource(ForeignObject, "example.org", "v1", "Widget", "widgets", namespaced=False)
CLAIMS = Resource(ForeignObject, "example.org", "v1", "Claim", "claims", namespaced=True)
WIDGET = ForeignObject.model_validate({"metadata": {"name": "w"}, "spec": {"size": 3, "none": None}})


def test_absent_unknown_and_empty_are_three_things():
    """A kind is served with or without objects, known to be missing, or nothing is known of it."""
    served = ClusterFacts({WIDGETS.crd_name: (WIDGET,)}, frozenset([CLAIMS.crd_name]))
    assert (served.of(WIDGETS), served.lacks(WIDGETS)) == ((WIDGET,), False)
    assert (served.of(CLAIMS), served.lacks(CLAIMS)) == (None, True)
    assert (ClusterFacts().of(CLAIMS), ClusterFacts().lacks(CLAIMS)) == (None, False)
    assert ClusterFacts({CLAIMS.crd_name: ()}).of(CLAIMS) == ()


@pytest.mark.parametrize(
    ("path", "found"),
    [(("spec", "size"), 3), (("spec",), {"size": 3, "none": None}), (("spec", "size", "x"), None), (("status",), None)],
)
def test_a_part_that_is_missing_is_none(path, found):
    """Looking for a field never raises, whatever others have written there."""
    assert WIDGET.part(*path) == found


LABEL = {"multi-nic-cni-generated": "true"}
DENIED = {"multi-nic-cni-generated": "false"}


@pytest.mark.parametrize(
    ("name", "labels", "owners", "is_ours"),
    [
        pytest.param("any", LABEL, [("MultiNicNetwork", "net", True)], True, id="owner"),
        pytest.param("any", {}, [("MultiNicNetwork", "net", True)], False, id="owner without label"),
        pytest.param(
            "any", {"multi-nic-cni-generated": "false"}, [("MultiNicNetwork", "net", True)], False, id="denied"
        ),
        pytest.param("net-x", LABEL, [("MultiNicNetwork", "other", True)], False, id="another's, with our name"),
        pytest.param("net-x", LABEL, [("Deployment", "net", True)], False, id="another kind's"),
        pytest.param("net-x", LABEL, [], True, id="the original's"),
        pytest.param("net-x", LABEL, [("Deployment", "net", False)], True, id="the original's, with a mere owner"),
        pytest.param("net-x", {}, [], False, id="a person's"),
        pytest.param("net-y", LABEL, [], False, id="of another network of the original"),
    ],
)
def test_an_object_belongs_to_one_network(name, labels, owners, is_ours):
    """Label and controller decide, and of the original's objects label and name."""
    references = [
        {"apiVersion": "v1", "kind": kind, "name": owner, "uid": "u", "controller": controller}
        for kind, owner, controller in owners
    ]
    metadata = {"name": name, "labels": labels, "ownerReferences": references}
    found = ForeignObject.model_validate({"metadata": metadata})
    assert belongs(KeptKind(CLAIMS, ("{network}-x",)), found, "net") is is_ours


class Args(BaseModel):
    pass


class Plain:
    """A plugin with two arguments."""

    name = "plain"
    link_kinds: frozenset[str] = frozenset()
    args_model = Args

    def network_config(self, network, nodes):
        return NetworkConfig({"nodes": len(nodes)})

    def plan(self, request, node):
        raise NotImplementedError


def test_a_plugin_with_two_arguments_gets_two():
    """Who names no kinds is asked as ever, and held to nothing new."""
    network = example_network("plain")
    assert configure(Plain(), network, [], ClusterFacts({WIDGETS.crd_name: (WIDGET,)})) == NetworkConfig({"nodes": 0})
    check_cluster_side(Plain(), network)


NUMBERS = count()
CLAIM = {"apiVersion": "example.org/v1", "kind": "Claim", "metadata": {"name": "c", "namespace": "d"}}


def knowing(answer: Any, **attributes: Any) -> Any:
    """A plugin that knows the cluster and gives this answer."""

    class Knowing(Plain):
        reads = (WIDGETS,)
        keeps = (KeptKind(CLAIMS),)

        def network_config(self, network, nodes, facts=None):
            return answer(facts) if callable(answer) else answer

    made = Knowing()
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def test_a_good_plugin_passes():
    """With dependents of its kinds, and waiting where its kinds are missing."""
    good = NetworkConfig({}, dependents=(CLAIM,))
    check_cluster_side(
        knowing(lambda facts: NetworkConfig({}, waits=("x",)) if facts.lacks(WIDGETS) else good), example_network("x")
    )


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        pytest.param(knowing(NetworkConfig({}), reads=("Widget",)), "reads: found 'Widget'", id="reads"),
        pytest.param(knowing(NetworkConfig({}), keeps=(CLAIMS,)), "keeps: found Resource", id="keeps"),
        pytest.param(knowing({}), "expected a NetworkConfig", id="no config"),
        pytest.param(knowing(NetworkConfig({}, waits=(1,))), "waits for 1", id="no sentence"),
        pytest.param(knowing(NetworkConfig({}, dependents=(CLAIM, CLAIM))), "is wanted twice", id="twice"),
        pytest.param(
            knowing(NetworkConfig({}, dependents=(CLAIM | {"kind": "Widget"},))), "that keeps does not name", id="kind"
        ),
        pytest.param(
            knowing(NetworkConfig({}, dependents=(CLAIM | {"metadata": {"namespace": "d"}},))), "has no name", id="name"
        ),
        pytest.param(
            knowing(NetworkConfig({}, dependents=(CLAIM | {"metadata": {"name": "c"}},))),
            "in namespace None",
            id="place",
        ),
        pytest.param(
            knowing(NetworkConfig({}, dependents=(CLAIM | {"spec": (1,)},))), "is not plain JSON", id="no JSON"
        ),
        pytest.param(
            knowing(lambda facts: NetworkConfig({}, waits=(str(next(NUMBERS)),))),
            "differs when asked again",
            id="fickle",
        ),
    ],
)
def test_a_broken_plugin_is_told_in_one_sentence(plugin, words):
    """Each part of the contract has its own sentence."""
    with pytest.raises(AssertionError) as told:
        check_cluster_side(plugin, example_network("x"))
    assert words in str(told.value)
