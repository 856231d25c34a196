"""The command line: our commands, foreign ones, and what they print."""

import json
from importlib.metadata import EntryPoint

import click
import pytest
import yaml
from click.testing import CliRunner

from multinic_core import cli
from multinic_core.cli import multinic


def test_crds_prints_every_kind():
    """The output is what kubectl apply takes: six CustomResourceDefinitions."""
    result = CliRunner().invoke(multinic, ["crds"])
    kinds = [document["spec"]["names"]["kind"] for document in yaml.safe_load_all(result.stdout)]
    assert kinds == ["MultiNicNetwork", "CIDR", "HostInterface", "IPPool", "Config", "DeviceClass"]


def test_plugins_lists_names_and_distributions():
    """The JSON names each plugin with where it comes from, and the problems: none."""
    result = CliRunner().invoke(multinic, ["plugins", "--json"])
    document = json.loads(result.stdout)
    assert {
        "register": "main plugin",
        "name": "ipvlan",
        "distribution": "multinic-plugin-ipvlan",
        "version": "0.1.0",
    } in (document["plugins"])
    assert document["problems"] == []
    assert result.exit_code == 0


def test_plugins_prints_a_table():
    """People get one row per plugin."""
    result = CliRunner().invoke(multinic, ["plugins"])
    rows = [line.split() for line in result.stdout.splitlines() if "multinic-plugin" in line]
    assert ["main", "plugin", "ipvlan", "multinic-plugin-ipvlan", "0.1.0"] in rows


@pytest.fixture
def foreign_commands(monkeypatch):
    """Pretend that distributions offer these commands."""

    def offer(*found):
        def entry_points(*, group, name=None):
            return [e for e in found if e.group == group and name in (None, e.name)]

        monkeypatch.setattr(cli, "entry_points", entry_points)

    return offer


def test_a_broken_foreign_command_disturbs_no_other(foreign_commands):
    """It is listed with its fault, says it when asked for, and the rest works."""
    foreign_commands(EntryPoint("bad", "no_such_module:command", cli.COMMANDS_GROUP))
    assert "Cannot be loaded: ModuleNotFoundError" in CliRunner().invoke(multinic, ["--help"]).stdout
    result = CliRunner().invoke(multinic, ["bad"])
    assert result.exit_code == 1
    assert "command 'bad' of unknown distribution cannot be loaded" in result.stderr


def test_what_is_no_command_is_refused(foreign_commands):
    """An entry point that leads to something else is named."""
    foreign_commands(EntryPoint("odd", "json:dumps", cli.COMMANDS_GROUP))
    assert "cannot be loaded: found <function dumps" in CliRunner().invoke(multinic, ["odd"]).stderr


def test_our_errors_become_one_line(monkeypatch, capsys):
    """A refusal of ours is a message and exit status 1, not a traceback."""

    @click.command()
    def refuse():
        raise cli.MultinicError("nothing there")

    monkeypatch.setattr(cli, "multinic", refuse)
    monkeypatch.setattr("sys.argv", ["multinic"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == "Error: nothing there\n"
