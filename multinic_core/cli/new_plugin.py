"""``multinic new-plugin``: a distribution that works as written, to be changed into what its author wants."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

from multinic_core.cli.skeleton import KINDS, fill_in, write
from multinic_core.errors import ConfigError
from multinic_core.registry import Register, load_plugins


def refuse_taken(name: str, registers: Sequence[Register[Any]], distribution: str) -> None:
    """Refuse what would be left out beside the installed plugins, or be installed in the place of one.

    Raises:
        ConfigError: an installed plugin has the name, or an installed distribution.
    """
    for register in registers:
        if name in register:
            raise ConfigError(
                f"{register.title} {name!r}: {register.owners[name]} offers it already, expected none of "
                f"{sorted(register.objects)!r}"
            )
    try:
        found = version(distribution)
    except PackageNotFoundError:
        return
    raise ConfigError(f"distribution {distribution!r}: version {found} is installed, expected one that is not")


@click.command("new-plugin")
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(list(KINDS)),
    default="main",
    show_default=True,
    help="What it decides: main, which links a pod gets; action, these and something outside the kernel; strategy, "
    "which NICs; ipam, which addresses.",
)
@click.option(
    "--directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=".",
    show_default=True,
    help="Where to make the folder.",
)
def new_plugin(name: str, kind: str, directory: Path) -> None:
    """Write a working plugin with tests to a new folder, multinic-plugin-NAME.

    Prints the folder, and on stderr the commands to go on with. NAME is what networks will say in spec.plugin.type,
    spec.attachPolicy.strategy or the type of spec.ipam.
    """
    skeleton = fill_in(name, kind)
    refuse_taken(name, KINDS[kind].registers(load_plugins()), skeleton.distribution)
    try:
        folder = write(skeleton, directory)
    except OSError as error:
        raise ConfigError(f"folder {str(directory)!r}: cannot be written to: {error.strerror}") from error
    click.echo(folder)
    click.echo(
        f"\nThe {KINDS[kind].title} {name!r} is in {skeleton.package}/__init__.py. Next:\n"
        f"  cd {shlex.quote(str(folder))}\n"
        "  pip install -e '.[dev]'\n"
        "  pytest\n"
        "  multinic plugins",
        err=True,
    )
