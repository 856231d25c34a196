"""The registry: broken plugins are named and left out, everything else works."""

import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from multinic_core import ConfigError, hookimpl, load_plugins


class Strategy:
    def __init__(self, name):
        self.name = name


@pytest.fixture
def plugin(monkeypatch):
    """A function that makes a plugin module out of hooks and gives its entry point."""

    def make(name, **hooks):
        module = ModuleType(name)
        for hook, function in hooks.items():
            setattr(module, hook, hookimpl(function))
        monkeypatch.setitem(sys.modules, name, module)
        return EntryPoint(name, name, "multinic")

    return make


def good():
    return EntryPoint("policies", "multinic_plugin_policies", "multinic")


def test_ours_load_through_the_same_entry_points():
    """Installed distributions are found without being named anywhere in core."""
    registry = load_plugins()
    assert {"ipvlan", "macvlan"} <= registry.main_plugins.objects.keys()
    assert registry.main_plugins.owners["ipvlan"].distribution == "multinic-plugin-ipvlan"


def test_a_plugin_that_raises_on_import_is_named_and_left_out(tmp_path, monkeypatch, caplog):
    """The others load, the log and the problems name the culprit."""
    (tmp_path / "explosive_plugin.py").write_text("raise RuntimeError('boom')")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = load_plugins([EntryPoint("explosive", "explosive_plugin", "multinic"), good()])
    assert "none" in registry.strategies
    (problem,) = registry.problems
    assert problem.entry_point == "explosive"
    assert problem.cause == "left out, loading raised RuntimeError: boom"
    assert [record.plugin for record in caplog.records] == ["explosive"]


def test_a_plugin_that_exits_on_import_is_left_out(tmp_path, monkeypatch):
    """Even sys.exit at import does not end the process."""
    (tmp_path / "quitting_plugin.py").write_text("raise SystemExit(3)")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = load_plugins([EntryPoint("quitting", "quitting_plugin", "multinic"), good()])
    assert "none" in registry.strategies
    assert "SystemExit" in registry.problems[0].cause


def test_a_hook_that_raises_is_named(plugin):
    """An exception out of a hook costs only what that hook offers."""

    def hook():
        raise KeyError("x")

    registry = load_plugins([plugin("raising_hook", multinic_register_strategies=hook), good()])
    assert "the hook raised KeyError" in registry.problems[0].cause
    assert "none" in registry.strategies


def test_a_misspelt_hook_is_reported(plugin):
    """A hook that nobody calls is a problem, not silence."""

    def hook():
        return []

    registry = load_plugins([plugin("misspelt", multinic_register_strategy=hook), good()])
    assert "multinic_register_strategy" in registry.problems[0].cause
    assert "none" in registry.strategies


def test_a_repeated_name_names_both_owners(plugin):
    """The first by distribution and entry point keeps the name."""
    first = plugin("a_first", multinic_register_strategies=lambda: [Strategy("same")])
    second = plugin("b_second", multinic_register_strategies=lambda: [Strategy("same"), Strategy("other")])
    registry = load_plugins([second, first])
    assert registry.strategies.owners["same"].entry_point == "a_first"
    assert registry.strategies.owners["other"].entry_point == "b_second"
    (problem,) = registry.problems
    assert problem.entry_point == "b_second"
    assert "a_first" in problem.cause


def test_an_object_without_a_name_is_left_out(plugin):
    """A nameless object could never be asked for."""
    registry = load_plugins([plugin("nameless", multinic_register_strategies=lambda: [Strategy("")])])
    assert "its name is ''" in registry.problems[0].cause


def test_an_unknown_name_lists_the_known_ones():
    """Asking for what is not installed says what is."""
    with pytest.raises(ConfigError, match=r"attachment strategy 'best' is not installed; found \['costOpt', .*'none'"):
        load_plugins([good()]).strategies["best"]
