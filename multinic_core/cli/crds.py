"""``multinic crds``: the CRD manifests, generated from the models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import yaml

from multinic_core.model import OUR_RESOURCES, Resource
from multinic_core.model.crd import crd

HEADER = "# Made by `multinic crds` from multinic_core/model; edit the models, not this file.\n"


def manifest(resource: Resource[Any]) -> str:
    """One CRD as YAML text."""
    return HEADER + yaml.safe_dump(crd(resource), sort_keys=False, width=110)


def manifests() -> dict[str, str]:
    """File name to YAML text of every CRD."""
    return {f"{resource.crd_name}.yaml": manifest(resource) for resource in OUR_RESOURCES}


@click.command()
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write one file per kind to this folder.",
)
def crds(output: Path | None) -> None:
    """Print the CustomResourceDefinitions, ready for kubectl apply -f -."""
    if output is None:
        click.echo("---\n".join(manifests().values()), nl=False)
        return
    output.mkdir(parents=True, exist_ok=True)
    for name, text in manifests().items():
        (output / name).write_text(text)
        click.echo(f"wrote {output / name}", err=True)
