"""The command page against the commands: every help text is there, word for word."""

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from multinic_core.cli import multinic

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/commands.md").read_text()


def walk(command, path):
    yield " ".join(path), command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if not found.hidden:
                yield from walk(found, [*path, name])


COMMANDS = dict(walk(multinic, ["multinic"]))


@pytest.mark.parametrize("path", COMMANDS)
def test_help_is_on_the_page(path):
    """The page shows exactly what --help prints."""
    result = CliRunner().invoke(multinic, [*path.split()[1:], "--help"], prog_name="multinic", terminal_width=100)
    assert result.exit_code == 0
    assert f"## `{path}`\n\n```\n{result.output}```" in PAGE


def test_no_command_is_on_the_page_that_does_not_exist():
    """A command that is gone is gone from the page."""
    assert re.findall(r"^## `(.*)`$", PAGE, re.MULTILINE) == list(COMMANDS)
