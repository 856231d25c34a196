"""A scenario: how many nodes, NICs and pods, and which network they share. Read from YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from multinic_core.errors import ConfigError
from multinic_core.model import MultiNicNetwork

MANAGEMENT = "172.20.0"
"""First three bytes of the primary network, on which nodes reach the Kubernetes API."""


class Scenario(BaseModel):
    """One lab cluster."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    nodes: int = Field(default=3, ge=1, le=50)
    nics: int = Field(default=4, ge=2, le=33)
    """NICs of each node, the primary one included."""
    pods_per_node: int = Field(default=2, ge=1, le=20)
    pod_nics: int | None = Field(default=None, ge=1)
    """NICs that each pod asks for; None: all of the network."""
    mtu: int = Field(default=1500, ge=1280, le=65535)
    """Bytes, of every NIC."""
    network: Path = Path("network.yaml")
    """Manifest of the MultiNicNetwork, relative to the scenario file."""
    bandwidth_seconds: int = Field(default=1, ge=1, le=60)
    """How long each bandwidth measurement takes; iperf3 knows whole seconds only."""
    bandwidth_bytes: int | None = Field(default=None, ge=1)
    """What each measurement sends instead, however long that takes: less says less, and keeps no processor busy."""
    kernel: Literal["auto", "native", "lab"] = "auto"
    """Which kernel carries the nodes; ``auto``: this machine's if it can make the network's links."""

    @property
    def node_names(self) -> list[str]:
        return [f"node-{number}" for number in range(1, self.nodes + 1)]

    @property
    def expected_nics(self) -> int:
        """NICs that each pod shall get."""
        return self.pod_nics or self.nics - 1

    def machine_spec(self, prefix: str, api_port: int) -> dict[str, Any]:
        """The machine that the agent is asked to make: eth0 is primary, eth<n> is on NIC network n."""
        nics = range(1, self.nics)
        return {
            "prefix": prefix,
            "api_port": api_port,
            "networks": [{"index": 0, "bridge_address": f"{MANAGEMENT}.1/24"}, *({"index": n} for n in nics)],
            "nodes": [
                {
                    "name": name,
                    "nics": [
                        {"ifname": "eth0", "network": 0, "address": f"{MANAGEMENT}.{10 + number}/24", "mtu": self.mtu},
                        *(
                            {"ifname": f"eth{n}", "network": n, "address": f"10.0.{n}.{number}/24", "mtu": self.mtu}
                            for n in nics
                        ),
                    ],
                }
                for number, name in enumerate(self.node_names, 1)
            ],
        }


def load_scenario(path: Path) -> Scenario:
    """Read a scenario file; the network's path comes back absolute.

    Raises:
        ConfigError: the file is not there or not a scenario; each problem with its field path.
    """
    try:
        document = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        raise ConfigError(f"scenario {str(path)!r}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"scenario {str(path)!r}: not YAML: {error}") from error
    try:
        scenario = Scenario.model_validate(document)
    except ValidationError as error:
        raise ConfigError(
            *(f"{path.name}: {'.'.join(map(str, e['loc']))}: found {e['input']!r}: {e['msg']}" for e in error.errors())
        ) from error
    return scenario.model_copy(update={"network": (path.parent / scenario.network).resolve()})


def load_network(path: Path) -> MultiNicNetwork:
    """The MultiNicNetwork that a manifest holds.

    Raises:
        ConfigError: the file is not there, or does not hold exactly one MultiNicNetwork.
    """
    try:
        documents = [document for document in yaml.safe_load_all(path.read_text()) if document]
        (network,) = (MultiNicNetwork.model_validate(d) for d in documents if d.get("kind") == "MultiNicNetwork")
    except OSError as error:
        raise ConfigError(f"network {str(path)!r}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"network {str(path)!r}: expected one MultiNicNetwork: {error}") from error
    return network
