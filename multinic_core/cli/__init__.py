"""The command ``multinic``: one group, to which distributions add commands through entry points.

A command of another distribution (group ``multinic.commands``) is loaded only when it is asked for, so that a broken or
slow one disturbs no other. Data goes to stdout, messages to stderr; every listing has ``--json``.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

import click

from multinic_core.cli.crds import crds
from multinic_core.cli.new_plugin import new_plugin
from multinic_core.cli.plugins import plugins
from multinic_core.errors import MultinicError

COMMANDS_GROUP = "multinic.commands"
"""Entry-point group of further commands: name to ``module:click_command``."""


class CommandGroup(click.Group):
    """Our own commands and those of other distributions."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *(found.name for found in entry_points(group=COMMANDS_GROUP))})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if (own := super().get_command(ctx, cmd_name)) is not None:
            return own
        for found in entry_points(group=COMMANDS_GROUP, name=cmd_name):
            try:
                command = found.load()
            except Exception as error:  # a foreign distribution may raise anything
                return _broken(found, f"{type(error).__name__}: {error}")
            return command if isinstance(command, click.Command) else _broken(found, f"found {command!r}")
        return None


def _broken(found: EntryPoint, cause: str) -> click.Command:
    """A command that says why the real one cannot run, so that the others stay listed and usable."""
    owner = found.dist.name if found.dist else "unknown distribution"

    def fail() -> None:
        raise click.ClickException(f"command {found.name!r} of {owner} cannot be loaded: {cause}")

    return click.Command(found.name, callback=fail, help=f"Cannot be loaded: {cause}")


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="multinic-core", prog_name="multinic")
def multinic() -> None:
    """Every fast NIC of a Kubernetes node, in every pod that asks."""


multinic.add_command(crds)
multinic.add_command(new_plugin)
multinic.add_command(plugins)


def main() -> None:
    """Run the command line; our errors become one line on stderr and exit status 1."""
    try:
        multinic()
    except MultinicError as error:
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(1) from error
