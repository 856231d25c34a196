"""The page about Config against the model and the operator."""

import re
from pathlib import Path

from multinic_operator.config.unwind import PODS_SECONDS, ROUTES_SECONDS

from multinic_core.model import ConfigSpec, DaemonSpec

PAGE = (Path(__file__).parents[2] / "docs/config.md").read_text()


def test_every_field_is_on_the_page():
    """The table names each field of the Config once, and none that does not exist."""
    table = PAGE[PAGE.index("| field of `spec`") : PAGE.index("Fields without effect")]
    named = [name for row in table.splitlines()[2:] if row for name in re.findall(r"`([^`]+)`", row.split("|")[1])]
    own = [field.alias for name, field in ConfigSpec.model_fields.items() if name != "daemon"]
    assert sorted(named) == sorted([*own, *(f"daemon.{field.alias}" for field in DaemonSpec.model_fields.values())])


def test_the_bounds_of_a_deletion_are_those_of_the_code():
    """Five minutes for pods and half a minute for host routes."""
    assert (PODS_SECONDS, ROUTES_SECONDS) == (300, 30)
    assert "five minutes at most" in PAGE
    assert "half a minute later at most" in PAGE
