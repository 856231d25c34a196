"""What the operator makes of main plugins that others write: with two arguments, with kinds, and with mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from multinic_operator.dependents.manifests import APPLIED, change, completed

from multinic_core import NetworkConfig
from multinic_core.clusterfacts import NO_FACTS, ClusterFacts, ForeignObject, KeptKind
from multinic_core.model import MultiNicNetwork, Resource
from multinic_core.testing import example_network

WIDGETS = Resource(ForeignObject, "example.org", "v1", "Widget", "widgets", namespaced=False)
CLAIMS = Resource(ForeignObject, "example.org", "v1", "Claim", "claims", namespaced=True)


class Widgets:
    """A main plugin of somebody else: counts widgets, and claims as many."""

    name = "widgets"
    link_kinds: frozenset[str] = frozenset()
    args_model = None
    reads = (WIDGETS,)
    keeps = (KeptKind(CLAIMS), KeptKind(WIDGETS))
    mistake: Any = None

    def network_config(self, network: Any, nodes: Sequence[Any], facts: ClusterFacts = NO_FACTS) -> NetworkConfig:
        widgets = facts.of(WIDGETS) or ()
        claim = {
            "apiVersion": "example.org/v1",
            "kind": "Claim",
            "metadata": {"name": network.name, "namespace": "default", "labels": {"team": "blue"}},
            "spec": {"size": len(widgets), "nodes": sorted(facts.nodes)},
        }
        return NetworkConfig({"widgets": len(widgets)}, dependents=(self.mistake or claim,))

    def plan(self, request: Any, node: Any) -> Any:
        raise NotImplementedError


@pytest.fixture
def widgets(cluster: Any) -> Widgets:
    plugin = Widgets()
    cluster.registry.main_plugins.objects["widgets"] = plugin
    cluster.node("node-1", {"eth1": "10.0.1.1/24"})
    cluster.network(plugin={"cniVersion": "0.3.0", "type": "widgets"})
    return plugin


async def test_kinds_that_a_plugin_reads_are_followed(cluster: Any, widgets: Widgets, autojump_clock: Any) -> None:
    """What changes in them reaches netconf and dependents; the plugin's own labels stay beside ours."""
    async with cluster.running():
        assert cluster.kube.raw(CLAIMS, "net", "default")["spec"] == {"size": 0, "nodes": ["node-1"]}
        await cluster.kube.create(WIDGETS, {"metadata": {"name": "one"}})
        await cluster.quiet()
        claim = cluster.kube.raw(CLAIMS, "net", "default")
        assert claim["spec"]["size"] == 1
        assert claim["metadata"]["labels"] == {"team": "blue", "multi-nic-cni-generated": "true"}


async def test_kinds_are_left_alone_while_nobody_needs_them(cluster: Any, autojump_clock: Any) -> None:
    """An operator with such a plugin and no such network works where its kinds may not even be listed."""
    cluster.registry.main_plugins.objects["widgets"] = Widgets()
    cluster.kube.uninstall(WIDGETS, CLAIMS)
    cluster.node("node-1", {"eth1": "10.0.1.1/24"})
    cluster.network()
    await cluster.settle()
    assert (await cluster.status()).config_status == "WaitForConfig"
    assert [c.status for c in (await cluster.status()).conditions if c.type == "Configured"] == ["True"]


CLAIM = {"apiVersion": "example.org/v1", "kind": "Claim", "metadata": {"name": "c", "namespace": "default"}}


@pytest.mark.parametrize(
    "mistake",
    [
        pytest.param(CLAIM | {"kind": "Secret", "apiVersion": "v1"}, id="a kind that it does not keep"),
        pytest.param(CLAIM | {"apiVersion": "example.org/v2"}, id="another version"),
        pytest.param(CLAIM | {"metadata": {"namespace": "default"}}, id="no name"),
        pytest.param(CLAIM | {"metadata": {"name": "c"}}, id="no namespace"),
        pytest.param(CLAIM | {"kind": "Widget"}, id="a namespace too many"),
        pytest.param({"metadata": {"name": "c"}}, id="no kind"),
    ],
)
async def test_a_plugins_mistake_is_told_by_its_name(
    cluster: Any, widgets: Widgets, autojump_clock: Any, mistake: Any
) -> None:
    """A dependent that cannot be is a problem of that network, which names the plugin; nothing is written for it."""
    widgets.mistake = mistake
    await cluster.settle()
    status = await cluster.status()
    assert status.config_status == "Failed"
    assert "main plugin 'widgets' of an unknown distribution: wants " in status.message
    assert "expected a named object of one of ['Claim', 'Widget']" in status.message
    assert await cluster.kube.list(CLAIMS) == []


NETWORK: MultiNicNetwork = example_network("widgets")


def stored(before: dict[str, Any], **spec: Any) -> ForeignObject:
    """An object as it is stored after ``before`` was wanted and others have changed its spec."""
    made = completed({**CLAIM, "spec": before}, NETWORK).to_json()
    return ForeignObject.model_validate(made | {"spec": {**before, **spec}, "status": {"ready": True}})


@pytest.mark.parametrize(
    ("before", "others", "wanted", "patch"),
    [
        pytest.param({"a": 1}, {}, {"a": 1}, {}, id="as wanted"),
        pytest.param({"a": 1}, {"b": 2}, {"a": 1}, {}, id="others add"),
        pytest.param({"a": 1}, {"a": 3}, {"a": 1}, {"a": 1}, id="others change"),
        pytest.param({"a": 1, "b": 2}, {}, {"a": 1}, {"b": None}, id="wanted no more"),
        pytest.param({"a": {"x": 1, "y": 2}}, {}, {"a": {"x": 1}}, {"a": {"y": None}}, id="no more, further down"),
        pytest.param({"a": {"x": 1}}, {"a": {"x": 1, "z": 3}}, {"a": {"x": 2}}, {"a": {"x": 2}}, id="both, below"),
        pytest.param({"a": [1, 2]}, {}, {"a": [1]}, {"a": [1]}, id="lists are whole"),
        pytest.param({"a": 1}, {"a": {"x": 1}}, {"a": 1}, {"a": 1}, id="another shape"),
    ],
)
def test_a_change_touches_what_was_or_is_wanted(
    before: dict[str, Any], others: dict[str, Any], wanted: dict[str, Any], patch: dict[str, Any]
) -> None:
    """The patch has nothing that others put in, and the annotation whenever the wish itself is another."""
    found = change(stored(before, **others), completed({**CLAIM, "spec": wanted}, NETWORK))
    assert found.pop("spec", {}) == patch
    assert (APPLIED in found.get("metadata", {}).get("annotations", {})) == (before != wanted)


def test_a_spoiled_annotation_is_written_anew() -> None:
    """What cannot be read counts as nothing wanted before."""
    found = stored({"a": 1})
    assert found.metadata.annotations is not None
    found.metadata.annotations[APPLIED] = "{"
    patch = change(found, completed({**CLAIM, "spec": {"b": 2}}, NETWORK))
    assert patch["spec"] == {"b": 2}
    assert patch["metadata"]["annotations"][APPLIED] == '{"spec":{"b":2}}'
