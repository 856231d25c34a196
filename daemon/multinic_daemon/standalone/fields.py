"""The keys of a standalone network configuration that neither a MultiNicNetwork nor CNI has."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from multinic_core.model.base import JsonModel

DATA_DIR = Path("/run/multinic/standalone")
"""On a tmpfs, as what the journal describes is gone with the links at a reboot."""


class PoolFields(JsonModel):
    """One entry of ``pools``; the names are those of an IPPool."""

    interface_name: str = Field(min_length=1)
    """NIC of this machine."""
    pod_cidr: str = Field(alias="podCIDR")
    """Addresses to give."""
    vlan_cidr: str = Field(default="", alias="vlanCIDR")
    """Network around it, whose prefix length addresses carry; empty: the same."""
    excludes: list[str] = Field(default_factory=list)
    """Networks or addresses never given."""


class StandaloneFields(JsonModel):
    """What stands for the operator and for the command line of a daemon."""

    host_index: int = 0
    """Number of this machine among those that share the subnet; each has a block of its own."""
    pools: list[PoolFields] | None = None
    """Addresses NIC by NIC, in place of ``subnet`` and blocks."""
    data_dir: str = Field(default=str(DATA_DIR), pattern="^/")
    """Folder of the journal."""
