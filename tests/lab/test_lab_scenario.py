"""Scenarios: read, checked, turned into a machine."""

from pathlib import Path

import pytest
from multinic_lab.cluster.place import choose_kernel
from multinic_lab.cluster.scenario import Scenario, load_network, load_scenario
from multinic_lab.machine.spec import read_spec

from multinic_core import ConfigError

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("name", ["demo.yaml", "demo-macvlan.yaml"])
def test_examples_are_scenarios(name):
    """The files that the README names can be read, with the network they name, and make a machine."""
    scenario = load_scenario(EXAMPLES / name)
    assert load_network(scenario.network).name
    spec = read_spec(scenario.machine_spec("mn1", 6443))
    assert len(spec.nodes) == scenario.nodes
    assert {len(node.nics) for node in spec.nodes} == {scenario.nics}


def test_the_demo_is_what_the_readme_says():
    """Three nodes with four NICs, two pods each."""
    scenario = load_scenario(EXAMPLES / "demo.yaml")
    assert (scenario.nodes, scenario.nics, scenario.pods_per_node) == (3, 4, 2)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nodes: 0", "nodes: found 0: Input should be greater than or equal to 1"),
        ("nics: 1", "nics: found 1: Input should be greater than or equal to 2"),
        ("nodes: many", "nodes: found 'many'"),
        ("noods: 3", "noods: found 3: Extra inputs are not permitted"),
        ("kernel: windows", "kernel: found 'windows'"),
        ("nodes: [", "not YAML"),
    ],
)
def test_a_bad_scenario_is_refused_with_its_path(tmp_path, text, told):
    """Each fault says where, what was found, and what would do."""
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_scenario(path)
    assert told in str(refused.value)


def test_missing_files_are_named(tmp_path):
    """A scenario or network that is not there is named by its path."""
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        load_scenario(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"nothing.yaml.*No such file"):
        load_network(tmp_path / "nothing.yaml")


def test_a_manifest_without_a_network_is_refused(tmp_path):
    """One MultiNicNetwork is expected, not none."""
    path = tmp_path / "other.yaml"
    path.write_text("kind: ConfigMap")
    with pytest.raises(ConfigError, match="expected one MultiNicNetwork"):
        load_network(path)


def test_the_lab_kernel_is_used_for_what_this_one_lacks():
    """A kind of link that no kernel has natively here sends the nodes to the lab kernel, with the reason."""
    kernel, reason = choose_kernel("auto", frozenset({"no-such-kind"}))
    assert kernel == "lab"
    assert "no-such-kind" in reason or "may not make" in reason


def test_asking_for_the_native_kernel_in_vain_is_refused():
    """A scenario that insists on this kernel is told what it lacks."""
    with pytest.raises(ConfigError, match="kernel: found 'native', but"):
        choose_kernel("native", frozenset({"no-such-kind"}))


def test_pods_get_all_nics_unless_they_ask_for_fewer():
    """The primary NIC is never one of them."""
    assert Scenario(nics=4).expected_nics == 3
    assert Scenario(nics=4, pod_nics=1).expected_nics == 1
