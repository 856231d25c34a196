"""Config: settings of the operator and of the daemon's DaemonSet.

Every field of the original is accepted. Those that only drove its HTTP protocol have no effect any more; what
``unused_fields`` names of them is told to the person who wrote them.
"""

from __future__ import annotations

import re
from typing import Any

from pydantic import Field

from multinic_core.model import rules
from multinic_core.model.base import GROUP, VERSION, Condition, JsonModel, KubeObject, PrinterColumn, Resource
from multinic_core.model.rules import Rule

DEFAULT_CONFIG = "multi-nicd"
"""Name of the Config that counts when there are several, and of the one that the operator makes when there is none."""
DURATION = r"^([0-9]+(\.[0-9]+)?(h|m|s))+$"
INDEX_RETENTION = "24h"
UNIQUE_MOUNTS = tuple(
    Rule(
        f"self.all(one, self.exists_one(other, other.{key} == one.{key}))",
        f"'found the same {key} twice, expected each of its own'",
        f"each {key} once",
    )
    for key in ("name", "podpath")
)
_UNIT_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0}


def duration_seconds(text: str) -> float:
    """Seconds of a duration such as ``24h`` or ``1h30m``.

    Raises:
        ValueError: it is none.
    """
    if not re.fullmatch(DURATION[1:-1], text):
        raise ValueError(f"duration: found {text!r}, expected such as '24h', '90m' or '1h30m'")
    parts: list[tuple[str, str, str]] = re.findall(r"([0-9]+(\.[0-9]+)?)([hms])", text)
    return sum(float(number) * _UNIT_SECONDS[unit] for number, _, unit in parts)


class DaemonMount(JsonModel):
    """One folder or file of the host in the daemon's container."""

    name: str = Field(min_length=1, max_length=63, pattern="^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
    podpath: str = Field(alias="podpath", pattern="^/", max_length=1024)
    """Where the container sees it; absolute."""
    hostpath: str = Field(alias="hostpath", pattern="^/", max_length=1024)
    """Where the host has it; absolute."""


class DaemonSpec(JsonModel):
    """How the daemon's pods are made."""

    image: str | None = Field(default=None, min_length=1)
    """With tag or digest; the operator's own version of the daemon when absent."""
    port: int | None = Field(default=None, ge=0, le=65535)
    """Accepted for old manifests, without effect: no daemon listens on the network for commands."""
    image_pull_policy: str | None = Field(default=None, pattern="^(Always|IfNotPresent|Never)?$")
    """``Always``, ``IfNotPresent`` or ``Never``; absent: as Kubernetes chooses by the tag."""
    image_pull_secret_name: str | None = Field(default=None, max_length=253)
    """Secret in the operator's namespace with which the image is pulled."""
    env: list[dict[str, Any]] | None = None
    """Variables of the daemon, as in a container."""
    env_from: list[dict[str, Any]] | None = None
    """Sources of variables, as in a container."""
    node_selector: dict[str, str] | None = None
    """Only nodes with these labels get a daemon."""
    tolerations: list[dict[str, Any]] | None = None
    """As in a pod."""
    resources: dict[str, Any] | None = None
    """Requests and limits, as in a container; requests of 100m CPU and 100Mi memory when absent."""
    security_context: dict[str, Any] | None = None
    """As in a container; ``privileged: true`` when absent."""
    mounts: list[DaemonMount] | None = Field(default=None, json_schema_extra=rules.checked(*UNIQUE_MOUNTS, maxItems=32))
    """Further parts of the host; ``/host/opt/cni/bin`` tells in which folder the runtime looks for CNI executables."""


class ConfigSpec(JsonModel):
    cni_type: str = Field(default="multi-nic", pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=253)
    """``type`` of the NetworkAttachmentDefinitions."""
    ipam_type: str = Field(default="multi-nic-ipam", max_length=253)
    """Accepted for old manifests; networks with ``multi-nic-ipam`` are recognised by that name whatever stands here."""
    daemon: DaemonSpec = Field(default_factory=DaemonSpec)
    join_path: str | None = None
    """Accepted for old manifests, without effect."""
    get_interface_path: str | None = None
    """Accepted for old manifests, without effect."""
    add_route_path: str | None = None
    """Accepted for old manifests, without effect."""
    delete_route_path: str | None = None
    """Accepted for old manifests, without effect."""
    urgent_reconcile_seconds: int | None = None
    """Pause before what failed is tried again, doubled with each failure; 0.2 seconds when absent or 0."""
    normal_reconcile_minutes: int | None = None
    """Longest such pause; 1 when absent or 0."""
    long_reconcile_minutes: int | None = None
    """Everything is looked at afresh so often, told or not; 10 when absent or 0."""
    context_timeout_minutes: int | None = None
    """Limit of one look at one object; when absent or 0 only each single call is limited."""
    log_level: int | None = Field(default=None, ge=1, le=127)
    """From 7 on operator and daemons log every step; below, what changes."""
    index_retention: str = Field(default=INDEX_RETENTION, pattern=DURATION)
    """How long the host index of a node that left is kept for its return, such as ``24h`` or ``90m``."""

    @property
    def index_retention_seconds(self) -> float:
        return duration_seconds(self.index_retention)

    def unused_fields(self) -> list[str]:
        """Paths of fields that are set and have no effect, sorted."""
        found = {
            "spec.addRoutePath": self.add_route_path,
            "spec.daemon.port": self.daemon.port,
            "spec.deleteRoutePath": self.delete_route_path,
            "spec.getInterfacePath": self.get_interface_path,
            "spec.ipamType": None if self.ipam_type == "multi-nic-ipam" else self.ipam_type,
            "spec.joinPath": self.join_path,
        }
        return [path for path, value in found.items() if value is not None]


class ConfigStatus(JsonModel):
    conditions: list[Condition] = Field(default_factory=list)
    """``Accepted``, ``FieldsUsed`` and ``DaemonsReady``; during deletion also ``Unwinding``."""


class Config(KubeObject):
    """Settings of multinic; ``multi-nicd`` counts, or the oldest when none has that name."""

    api_version: str = f"{GROUP}/{VERSION}"
    kind: str = "Config"
    spec: ConfigSpec
    status: ConfigStatus | None = None


CONFIGS = Resource(
    model=Config,
    group=GROUP,
    version=VERSION,
    kind="Config",
    plural="configs",
    namespaced=False,
    columns=(
        PrinterColumn("Accepted", "string", '.status.conditions[?(@.type=="Accepted")].status'),
        PrinterColumn("Daemons", "string", '.status.conditions[?(@.type=="DaemonsReady")].message'),
        PrinterColumn("Image", "string", ".spec.daemon.image"),
        PrinterColumn("Age", "date", ".metadata.creationTimestamp"),
    ),
)
