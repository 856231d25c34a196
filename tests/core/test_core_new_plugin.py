"""``multinic new-plugin``: what it writes works as written, and what it refuses leaves nothing behind."""

import ast
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, reject, settings
from hypothesis.strategies import from_regex, sampled_from

from multinic_core import ConfigError, load_plugins
from multinic_core.cli import multinic
from multinic_core.cli.skeleton import KINDS, LONGEST_NAME, NAME, Skeleton, fill_in

ROOT = Path(__file__).parents[2]
LONGEST = "a" * (LONGEST_NAME - 2) + "-9"


def new_plugin(folder, *arguments):
    return CliRunner().invoke(multinic, ["new-plugin", "--directory", folder, *arguments])


def run(folder, *module):
    """The exit status and output of ``python -m``, in a folder that holds the plugin's own pyproject.toml."""
    done = subprocess.run(
        [sys.executable, "-m", *module], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.returncode, done.stdout


@pytest.fixture(scope="module", params=[(kind, name) for kind in KINDS for name in ("x", LONGEST)])
def made(request, tmp_path_factory):
    """Kind, name and folder of a new plugin, with the shortest and the longest name."""
    kind, name = request.param
    parent = tmp_path_factory.mktemp("new-plugin")
    result = new_plugin(parent, name, "--kind", kind)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{parent / f'multinic-plugin-{name}'}\n"
    return kind, name, Path(result.stdout.strip())


def test_its_own_tests_pass(made):
    """The conformance function, what it does and its table of bad input."""
    *_, folder = made
    status, said = run(folder, "pytest", "-q")
    assert status == 0, said
    assert "passed" in said
    assert "check_" in (folder / "tests/test_plugin.py").read_text()


def test_style_and_types_are_ours(made):
    """Ruff's rules are those of this repository and hold, as the formatter's do for names of any length, and mypy's."""
    *_, folder = made
    theirs, ours = (tomllib.loads((place / "pyproject.toml").read_text())["tool"] for place in (folder, ROOT))
    assert theirs["ruff"]["lint"]["select"] == ours["ruff"]["lint"]["select"]
    assert theirs["ruff"]["line-length"] == ours["ruff"]["line-length"]
    assert theirs["mypy"]["strict"] is ours["mypy"]["strict"] is True
    for tool in (("ruff", "check"), ("ruff", "format", "--check"), ("mypy",)):
        status, said = run(folder, *tool)
        assert status == 0, said


def test_it_needs_what_multinic_needs_and_no_more(made):
    """Each requirement is multinic-core or one of its own, so that an environment with multinic has all of them."""
    *_, folder = made
    theirs, ours = (tomllib.loads((place / "pyproject.toml").read_text())["project"] for place in (folder, ROOT))
    assert theirs["dependencies"][0] == ours["name"]
    assert set(theirs["dependencies"]) <= {ours["name"], *ours["dependencies"]}
    assert set(theirs["optional-dependencies"]["dev"]) <= set(ours["optional-dependencies"]["dev"])
    assert theirs["requires-python"] == ours["requires-python"]


def test_the_registry_takes_it_under_its_name(made, monkeypatch):
    """The entry point of its pyproject.toml leads to a plugin of that kind and name, without a problem."""
    kind, name, folder = made
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == folder.name == f"multinic-plugin-{name}"
    ((entry_point, package),) = project["entry-points"]["multinic"].items()
    assert entry_point == name
    assert (folder / package / "py.typed").is_file()
    monkeypatch.syspath_prepend(folder)
    registry = load_plugins([EntryPoint(name, package, "multinic")])
    del sys.modules[package]
    assert [list(register.objects) for register in KINDS[kind].registers(registry)] in ([[name]], [[name], [name]])
    assert registry.problems == []


def test_the_next_commands_go_to_stderr(tmp_path):
    """They name the folder as a shell needs it written, so that stdout is the folder alone."""
    parent = tmp_path / "my plugins"
    parent.mkdir()
    result = new_plugin(parent, "quiet")
    assert result.stdout == f"{parent}/multinic-plugin-quiet\n"
    assert f"  cd '{parent}/multinic-plugin-quiet'\n  pip install -e '.[dev]'\n  pytest\n" in result.stderr
    assert "main plugin 'quiet' is in multinic_plugin_quiet/__init__.py" in result.stderr


@settings(deadline=None)
@given(
    name=from_regex(NAME, fullmatch=True).filter(lambda name: len(name) <= LONGEST_NAME), kind=sampled_from([*KINDS])
)
def test_every_name_that_is_accepted_makes_files_that_can_be_read(name, kind):
    """No name makes a module or a table that does not parse, nor a line that is too long."""
    try:
        filled = fill_in(name, kind)
    except ConfigError:
        reject()  # those names have a table below
    assert tomllib.loads(filled.files["pyproject.toml"])["project"]["entry-points"] == {
        "multinic": {name: filled.package}
    }
    modules = [text for path, text in filled.files.items() if path.endswith(".py")]
    assert len(modules) >= 2
    for text in modules:
        ast.parse(text)
        assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        pytest.param("Quiet", "main", "name: found 'Quiet', expected at most 30 lower-case letters", id="capital"),
        pytest.param("my_plugin", "main", "name: found 'my_plugin', expected at most", id="underscore"),
        pytest.param("my--plugin", "main", "name: found 'my--plugin', expected at most", id="two-hyphens"),
        pytest.param("plugin-", "main", "name: found 'plugin-', expected at most", id="hyphen-last"),
        pytest.param("4g", "main", "name: found '4g', expected at most", id="digit-first"),
        pytest.param("ü", "main", "name: found 'ü', expected at most", id="no-ascii"),
        pytest.param("a\n", "main", r"name: found 'a\n', expected at most", id="line-end"),
        pytest.param("../up", "main", "name: found '../up', expected at most", id="path"),
        pytest.param("", "main", "name: found '', expected at most", id="empty"),
        pytest.param("a" + LONGEST, "main", f"name: found 'a{LONGEST}', expected at most", id="too-long"),
        pytest.param("class", "main", "name: found 'class', expected another word, as Python keeps", id="keyword"),
        pytest.param("true", "strategy", "as Python keeps 'True' for itself", id="keyword-as-class"),
        pytest.param("plan", "main", "as the plugin imports 'Plan'", id="class-imported"),
        pytest.param("plugin", "main", "as the plugin imports 'PluginArgs'", id="args-imported"),
        pytest.param("nic", "strategy", "as the plugin imports 'Nic'", id="class-imported-by-strategy"),
        pytest.param("config-error", "main", "as the plugin imports 'ConfigError'", id="class-imported-by-tests"),
        pytest.param(
            "ipvlan", "main", "main plugin 'ipvlan': multinic-plugin-ipvlan 0.1.0 (ipvlan) offers it", id="registered"
        ),
        pytest.param(
            "policies",
            "strategy",
            "distribution 'multinic-plugin-policies': version 0.1.0 is installed, expected one that is not",
            id="installed",
        ),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(tmp_path, name, kind, told):
    """The refusal says what was found and what would do, and nothing is written."""
    result = new_plugin(tmp_path, name, "--kind", kind)
    assert isinstance(result.exception, ConfigError)
    assert told in str(result.exception)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["folder", "file", "dangling-link"])
def test_what_is_there_already_is_left_alone(tmp_path, place):
    """Neither an empty folder nor anything else of that name is written over."""
    target = tmp_path / "multinic-plugin-quiet"
    {"folder": target.mkdir, "file": target.touch, "dangling-link": lambda: target.symlink_to("nowhere")}[place]()
    before = target.lstat()
    result = new_plugin(tmp_path, "quiet")
    assert str(result.exception).startswith(f"folder {str(target)!r}: found one, expected none")
    assert list(tmp_path.iterdir()) == [target]
    assert target.lstat() == before


def test_a_failure_half_way_leaves_nothing(tmp_path, monkeypatch):
    """What was written of the folder before the failure is removed, and the cause is told."""
    files = fill_in("quiet", "main").files | {"x" * 256: "a name that no file system takes"}
    command = import_module("multinic_core.cli.new_plugin")
    monkeypatch.setattr(command, "fill_in", lambda *_: Skeleton("d", "p", files))
    result = new_plugin(tmp_path, "quiet")
    assert str(result.exception) == f"folder {str(tmp_path)!r}: cannot be written to: File name too long"
    assert list(tmp_path.iterdir()) == []


def test_a_missing_parent_is_refused(tmp_path):
    """No folder is made but the plugin's own."""
    result = new_plugin(tmp_path / "nowhere", "quiet")
    assert result.exit_code == 2
    assert "Directory" in result.stderr
    assert "does not exist" in result.stderr
    assert list(tmp_path.iterdir()) == []
