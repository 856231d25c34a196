"""What the controller asks for: the nodes, their NICs and the networks these are wired to.

Network 0 is the management network; its bridge carries the address at which nodes reach the Kubernetes API.
"""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from multinic_core.errors import ConfigError

RESERVED_PREFIX = "lab"
"""Its folder ``/run/multinic-lab`` belongs to :mod:`multinic_lab.kernel`."""
MANAGEMENT = 0
"""Index of the management network."""


def _split(value: Any) -> Any:
    """``"a/n,b/n"`` and ``None`` are accepted where a list of addresses is meant."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [] if value is None else value


Addresses = Annotated[tuple[IPv4Interface | IPv6Interface, ...], BeforeValidator(_split)]
Ifname = Annotated[str, Field(pattern=r"^[^\s/:]{1,15}$")]
Mtu = Annotated[int, Field(ge=68, le=65_535)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, use_attribute_docstrings=True)


class NicSpec(_Strict):
    """One NIC of a node: a link whose other end is a port of the bridge of ``network``."""

    ifname: Ifname
    network: int = Field(ge=0)
    addresses: Addresses = Field(default=(), alias="address")
    """With prefix length; JSON: one string, several joined by commas, or a list."""
    mtu: Mtu = 1500
    """Bytes."""


class NodeSpec(_Strict):
    """One node; its first NIC on the management network is the primary one and carries the default route."""

    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=63)
    nics: tuple[NicSpec, ...] = Field(min_length=1)

    @property
    def primary(self) -> NicSpec:
        return next(nic for nic in self.nics if nic.network == MANAGEMENT)


class NetworkSpec(_Strict):
    """One switched network: a bridge in the fabric, with addresses only where the fabric itself is to be reached."""

    index: int = Field(ge=0)
    bridge_addresses: Addresses = Field(default=(), alias="bridge_address")


class LabSpec(_Strict):
    """A whole lab, as ``up`` takes it."""

    prefix: str = Field(pattern=r"^[a-z][a-z0-9-]{0,19}$")
    """Starts the name of every network namespace of the lab; two labs with unlike prefixes do not meet."""
    nodes: tuple[NodeSpec, ...] = Field(min_length=1)
    networks: tuple[NetworkSpec, ...] = Field(min_length=1)
    api_port: int = Field(ge=1, le=65_535)
    """The API server's port on 127.0.0.1 of the host, and the port that nodes use on the management bridge."""
    token: str = ""
    """Bearer token for the API; "" for none."""

    @property
    def management(self) -> NetworkSpec:
        return next(network for network in self.networks if network.index == MANAGEMENT)

    def node(self, name: str) -> NodeSpec:
        """The node of that name. Raises ConfigError naming those there are."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise ConfigError(f"node: {name!r} is not one of {[node.name for node in self.nodes]}")

    @model_validator(mode="after")
    def _check(self) -> LabSpec:
        problems = _repeated("networks", [str(network.index) for network in self.networks])
        if self.prefix == RESERVED_PREFIX:
            problems.append(f"prefix: {self.prefix!r} is the lab kernel's own")
        problems += _repeated("nodes", [node.name for node in self.nodes])
        indexes = {network.index for network in self.networks}
        management = [network for network in self.networks if network.index == MANAGEMENT]
        if not management or not management[0].bridge_addresses:
            problems.append("networks: index 0, the management network, needs a bridge_address")
        for node in self.nodes:
            problems += _repeated(f"nodes[{node.name}].nics", [nic.ifname for nic in node.nics])
            problems += [
                f"nodes[{node.name}].nics[{nic.ifname}].network: {nic.network} is not one of {sorted(indexes)}"
                for nic in node.nics
                if nic.network not in indexes
            ]
            primary = [nic for nic in node.nics if nic.network == MANAGEMENT]
            if not primary or not primary[0].addresses:
                problems.append(f"nodes[{node.name}].nics: needs a NIC with an address on network 0")
        if problems:
            raise ValueError("; ".join(problems))
        return self


def _repeated(where: str, names: list[str]) -> list[str]:
    return [f"{where}: {name!r} appears twice" for name in sorted({n for n in names if names.count(n) > 1})]


def read_spec(document: Any) -> LabSpec:
    """The spec in ``document``, JSON types.

    Raises:
        ConfigError: one sentence per fault, each starting with its path.
    """
    try:
        return LabSpec.model_validate(document)
    except ValidationError as error:
        raise ConfigError(*(_sentence(fault) for fault in error.errors())) from error


def _sentence(fault: Any) -> str:
    path = "spec" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["loc"])
    found = "" if fault["type"] in {"missing", "value_error"} else f", found {fault['input']!r}"
    return f"{path}: {fault['msg']}{found}"
