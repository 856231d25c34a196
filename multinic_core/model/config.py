"""Config: settings of the operator and of the daemon's DaemonSet."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from multinic_core.model.base import GROUP, VERSION, JsonModel, KubeObject, PrinterColumn, Resource


class DaemonMount(JsonModel):
    name: str
    podpath: str = Field(alias="podpath")
    hostpath: str = Field(alias="hostpath")


class DaemonSpec(JsonModel):
    """How the daemon's pods are made."""

    image: str
    port: int = Field(ge=0, le=65535)
    """Accepted for old manifests, without effect: no daemon listens on the network for commands."""
    image_pull_policy: str | None = None
    image_pull_secret_name: str | None = None
    env: list[dict[str, Any]] | None = None
    env_from: list[dict[str, Any]] | None = None
    node_selector: dict[str, str] | None = None
    tolerations: list[dict[str, Any]] | None = None
    resources: dict[str, Any] | None = None
    security_context: dict[str, Any] | None = None
    mounts: list[DaemonMount] | None = None


class ConfigSpec(JsonModel):
    cni_type: str
    """``type`` of the NetworkAttachmentDefinitions."""
    ipam_type: str
    daemon: DaemonSpec
    join_path: str
    """Accepted for old manifests, without effect."""
    get_interface_path: str
    """Accepted for old manifests, without effect."""
    add_route_path: str | None = None
    """Accepted for old manifests, without effect."""
    delete_route_path: str | None = None
    """Accepted for old manifests, without effect."""
    urgent_reconcile_seconds: int | None = None
    normal_reconcile_minutes: int | None = None
    long_reconcile_minutes: int | None = None
    context_timeout_minutes: int | None = None
    log_level: int | None = Field(default=None, ge=1, le=127)


class Config(KubeObject):
    """Settings of multinic; the object ``multi-nicd`` is the one that counts."""

    api_version: str = f"{GROUP}/{VERSION}"
    kind: str = "Config"
    spec: ConfigSpec


CONFIGS = Resource(
    model=Config,
    group=GROUP,
    version=VERSION,
    kind="Config",
    plural="configs",
    namespaced=False,
    columns=(
        PrinterColumn("Image", "string", ".spec.daemon.image"),
        PrinterColumn("Age", "date", ".metadata.creationTimestamp"),
    ),
)
