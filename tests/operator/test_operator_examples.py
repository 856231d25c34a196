"""The networks in examples/ work with the plugins that come with multinic."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from multinic_operator.validation.validate import validate

from multinic_core import load_plugins
from multinic_core.model import MultiNicNetwork

EXAMPLES = Path(__file__).parents[2] / "examples"
REGISTRY = load_plugins()


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("network*.yaml")), ids=lambda file: file.name)
def test_an_example_is_accepted_without_a_warning(file: Path) -> None:
    """Whoever starts from one meets no refusal and no key that has no effect."""
    network = MultiNicNetwork.model_validate(yaml.safe_load(file.read_text()))
    intent = validate(network, REGISTRY, [])
    assert network.spec.plugin.type in REGISTRY.main_plugins.objects
    assert (intent.warnings, intent.config.waits, intent.config.notes) == ((), (), ())
