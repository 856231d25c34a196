"""``multinic plugins``: what is installed, and what was left out and why."""

from __future__ import annotations

import click

from multinic_core.cli.terminal import console, print_json, table
from multinic_core.registry import Registry, load_plugins


def _rows(registry: Registry) -> list[dict[str, str]]:
    registers = (registry.main_plugins, registry.strategies, registry.ipams, registry.actions)
    return [
        {
            "register": register.title,
            "name": name,
            "distribution": register.owners[name].distribution,
            "version": register.owners[name].version,
        }
        for register in registers
        for name in sorted(register.objects)
    ]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def plugins(as_json: bool) -> None:
    """List main plugins, attachment strategies, IPAMs and actions; exit status 1 if a plugin was left out."""
    registry = load_plugins()
    rows = _rows(registry)
    if as_json:
        print_json(
            {
                "plugins": rows,
                "hooks": {str(owner): hooks for owner, hooks in registry.hooks.items()},
                "problems": [
                    {"distribution": p.distribution, "entryPoint": p.entry_point, "cause": p.cause}
                    for p in registry.problems
                ],
            }
        )
    else:
        columns = ("KIND", "NAME", "DISTRIBUTION", "VERSION")
        console().print(table("", columns, [tuple(row.values()) for row in rows]))
        for problem in registry.problems:
            click.echo(f"left out: {problem}", err=True)
    if registry.problems:
        raise SystemExit(1)
