"""A pod as somebody is about to apply it: from a manifest of a pod, or of what makes pods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from multinic_core.cni.podnetworks import NETWORKS_ANNOTATION, NetworkSelection, parse_networks
from multinic_core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class WantedPod:
    """What counts of it for its networks."""

    namespace: str
    name: str
    uid: str
    labels: Mapping[str, str]
    networks: tuple[NetworkSelection, ...]


def read_pod(text: str, path: str) -> WantedPod:
    """The first pod of a YAML or JSON text, itself or as ``spec.template`` of a Deployment, a Job and the like.

    Args:
        path: of the file, for messages.

    Raises:
        ConfigError: it is no YAML, holds no pod, or the pod asks for no network or asks wrongly.
    """
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not YAML: {error}") from error
    pods = [pod for document in documents if (pod := _pod(document)) is not None]
    if not pods:
        kinds = [
            document.get("kind") if isinstance(document, dict) else type(document).__name__ for document in documents
        ]
        raise ConfigError(f"{path}: found {kinds!r}, expected a Pod or an object with a pod in spec.template")
    metadata, namespace = pods[0]
    annotations = metadata.get("annotations") or {}
    if not (wanted := annotations.get(NETWORKS_ANNOTATION)):
        raise ConfigError(
            f"{path}: metadata.annotations: {NETWORKS_ANNOTATION} is missing, so the pod asks for no network"
        )
    return WantedPod(
        namespace,
        str(metadata.get("name") or metadata.get("generateName") or "pod"),
        str(metadata.get("uid") or ""),
        {str(name): str(value) for name, value in (metadata.get("labels") or {}).items()},
        parse_networks(str(wanted), namespace),
    )


def _pod(document: Any) -> tuple[Mapping[str, Any], str] | None:
    """Metadata of the pod in an object, and its namespace."""
    if not isinstance(document, dict):
        return None
    own = document.get("metadata") or {}
    namespace = own.get("namespace") or "default"
    if document.get("kind") == "Pod":
        return own, namespace
    template = (document.get("spec") or {}).get("template") if isinstance(document.get("spec"), dict) else None
    if not isinstance(template, dict) or not isinstance(template.get("spec"), dict):
        return None
    return {"name": own.get("name"), **(template.get("metadata") or {})}, namespace
