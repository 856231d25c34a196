"""The CRD manifests: current, structural, and true to the original's fields."""

from pathlib import Path

import pytest
import yaml

from multinic_core.cli.crds import manifests
from multinic_core.model import OUR_RESOURCES, MultiNicNetwork
from multinic_core.model.crd import crd

ROOT = Path(__file__).parents[2]
FIELDS = {
    "multinicnetworks": ["subnet", "masterNets", "ipam", "multiNICIPAM", "plugin", "attachPolicy", "namespaces"],
    "cidrs": ["config", "cidr", "compact"],
    "hostinterfaces": ["hostName", "interfaces"],
    "ippools": [
        "podCIDR", "vlanCIDR", "netAttachDef", "hostName", "interfaceName", "excludes", "allocations",
    ],
    "configs": [
        "cniType", "ipamType", "daemon", "joinPath", "getInterfacePath", "addRoutePath", "deleteRoutePath",
        "urgentReconcileSeconds", "normalReconcileMinutes", "longReconcileMinutes", "contextTimeoutMinutes", "logLevel",
        "indexRetention",
    ],
    "deviceclasses": ["ids"],
}  # fmt: skip


def test_written_manifests_are_current():
    """deploy/crds holds what `multinic crds` prints, file for file."""
    written = {path.name: path.read_text() for path in (ROOT / "deploy/crds").glob("*.yaml")}
    assert written == manifests()


@pytest.mark.parametrize("resource", OUR_RESOURCES, ids=lambda resource: resource.plural)
def test_spec_has_the_originals_fields(resource):
    """Each spec names the original's fields, as the original spells them, then the few that are new."""
    (version,) = crd(resource)["spec"]["versions"]
    assert list(version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]) == FIELDS[resource.plural]


def nodes(schema):
    yield schema
    for part in schema.get("properties", {}).values():
        yield from nodes(part)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key])


@pytest.mark.parametrize("resource", OUR_RESOURCES, ids=lambda resource: resource.plural)
def test_schema_is_structural(resource):
    """Every node has a type and no keyword that the API server would refuse."""
    (version,) = crd(resource)["spec"]["versions"]
    for node in nodes(version["schema"]["openAPIV3Schema"]):
        assert node["type"] in {"object", "array", "string", "integer", "number", "boolean"}
        assert not {"$ref", "anyOf", "title", "default", "const", "$defs"} & node.keys()


def test_the_user_guides_network_is_read_and_written_unchanged():
    """The example network goes through the model without losing or inventing a field."""
    document = yaml.safe_load((ROOT / "examples/network.yaml").read_text())
    again = MultiNicNetwork.model_validate(document).to_json()
    assert again["spec"] == document["spec"]
