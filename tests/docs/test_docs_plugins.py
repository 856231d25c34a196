"""The plugin page against the code: its blocks run, its hooks and methods are the real ones."""

import inspect
import re
from pathlib import Path
from typing import get_args

import pytest

from multinic_core import hookspecs
from multinic_core.plan import Step

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/plugins.md").read_text()
PROTOCOLS = {
    "multinic_register_main_plugins": hookspecs.MainPlugin,
    "multinic_register_strategies": hookspecs.AttachmentStrategy,
    "multinic_register_ipams": hookspecs.Ipam,
    "multinic_register_actions": hookspecs.Action,
}


def test_python_blocks_run():
    """Every Python block of the page runs, in the page's order, in one module."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 6
    names = {}
    for block in blocks:
        exec(compile(block, "docs/plugins.md", "exec"), names)


def test_every_hook_is_on_the_page():
    """A hook that is added must be documented."""
    hooks = {name for name in vars(hookspecs) if name.startswith("multinic_register")}
    assert hooks == PROTOCOLS.keys()
    assert hooks == set(re.findall(r"^\| `(multinic_\w+)\(\)`", PAGE, re.MULTILINE))


@pytest.mark.parametrize("hook", PROTOCOLS)
def test_methods_are_shown_with_their_real_arguments(hook):
    """The row of a hook names each method with the arguments that the protocol has."""
    (row,) = re.findall(rf"^\| `{hook}\(\)`.*$", PAGE, re.MULTILINE)
    shown = set(re.findall(r"`(\w+\([\w, ]*\))`", row)) - {f"{hook}()"}
    real = {
        f"{name}({', '.join(list(inspect.signature(method).parameters)[1:])})"
        for name, method in inspect.getmembers(PROTOCOLS[hook], inspect.isfunction)
        if not name.startswith("_")
    }
    assert shown == real


def test_every_step_of_a_plan_is_on_the_page():
    """A step that is added must be told of, and one that is gone must go."""
    steps = {step.__name__ for step in get_args(Step)}
    (told,) = re.findall(r"^`plan_child_links` makes links .*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"\(`(\w+)`\)", told)) == steps


def test_the_example_distribution_is_the_one_described():
    """The entry point on the page is the example's."""
    assert '[project.entry-points.multinic]\nspread = "multinic_spread_policy"' in PAGE
    assert 'spread = "multinic_spread_policy"' in (ROOT / "examples/third-party-policy/pyproject.toml").read_text()
