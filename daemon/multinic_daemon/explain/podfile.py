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


def read_pod(text: str | bytes, path: str) -> WantedPod:
    """The first pod of a YAML or JSON text, itself or in ``spec.template`` of a Deployment, a Job, a CronJob and so on.

    Args:
        path: of the file, for messages.

    Raises:
        ConfigError: it is no YAML, holds no pod, or the pod asks for no network or asks wrongly.
    """
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not YAML: {error}") from error
    for document in documents:
        if (found := _pod(document, path)) is not None:
            return _wanted(*found, path)
    kinds = [document.get("kind") if isinstance(document, dict) else type(document).__name__ for document in documents]
    raise ConfigError(f"{path}: found {kinds!r}, expected a Pod or an object with a pod in spec.template")


def _wanted(own: Mapping[str, Any], pod: Mapping[str, Any], where: str, path: str) -> WantedPod:
    """What counts of a pod.

    Args:
        own: metadata of the object that was written down.
        pod: metadata of the pod in it.
        where: the field path of the latter.
    """
    annotations = _mapping(pod.get("annotations"), f"{path}: {where}.annotations")
    labels = _mapping(pod.get("labels"), f"{path}: {where}.labels")
    if not (wanted := annotations.get(NETWORKS_ANNOTATION)):
        raise ConfigError(f"{path}: {where}.annotations: {NETWORKS_ANNOTATION} is missing, so it asks for no network")
    namespace = str(own.get("namespace") or "default")
    try:
        networks = parse_networks(str(wanted), namespace)
    except ConfigError as error:
        raise ConfigError(f"{path}: {where}.annotations: {error}") from error
    name = pod.get("name") or pod.get("generateName") or own.get("name") or own.get("generateName") or "pod"
    texts = {str(key): str(value) for key, value in labels.items()}
    return WantedPod(namespace, str(name), str(pod.get("uid") or ""), texts, networks)


def _pod(document: Any, path: str) -> tuple[Mapping[str, Any], Mapping[str, Any], str] | None:
    """Metadata of an object and of the pod in it, and the field path of the latter; None without a pod."""
    if not isinstance(document, dict):
        return None
    own = _mapping(document.get("metadata"), f"{path}: metadata")
    if document.get("kind") == "Pod":
        return own, own, "metadata"
    holder: Mapping[str, Any] = document
    where = ""
    if document.get("kind") == "CronJob":
        holder, where = _member(_member(document, "spec"), "jobTemplate"), "spec.jobTemplate."
    template = _member(_member(holder, "spec"), "template")
    if not isinstance(template.get("spec"), dict):
        return None
    where += "spec.template.metadata"
    return own, _mapping(template.get("metadata"), f"{path}: {where}"), where


def _member(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object in an object; empty when it is something else."""
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def _mapping(found: Any, subject: str) -> Mapping[str, Any]:
    """An object, or nothing.

    Raises:
        ConfigError: it is something else.
    """
    if found is None or isinstance(found, dict):
        return found or {}
    raise ConfigError(f"{subject}: found {found!r}, expected an object")
