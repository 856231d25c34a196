"""From a NetworkAttachmentDefinition and a pod's wish to what the CNI executable gets: configuration and arguments.

Source: CNI specification 1.1.0, section 4 (deriving execution configuration from runtime configuration), and Multus
4 for the pod's part: ``cni-args`` go to ``args.cni``, ``ips`` and ``mac`` both to CNI_ARGS and, where the plugin
declares the capability, to ``runtimeConfig``. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from multinic_core.cni.podnetworks import NetworkSelection
from multinic_core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class PodIdentity:
    """The pod that CNI_ARGS names."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Delegate:
    """One network of one pod: the chain of plugin configurations to run in order, and what goes with each."""

    selection: NetworkSelection
    configs: tuple[Mapping[str, Any], ...]
    """One netconf for each plugin, name and version filled in; a single one unless the definition is a list."""
    cni_args: str
    """CNI_ARGS."""

    @property
    def status_name(self) -> str:
        return f"{self.selection.namespace}/{self.selection.name}"


def make_delegate(selection: NetworkSelection, definition: str, pod: PodIdentity, container_id: str) -> Delegate:
    """What to run for ``selection``, whose definition's ``spec.config`` is ``definition``.

    Raises:
        ConfigError: the definition is no CNI configuration.
    """
    where = f"NetworkAttachmentDefinition {selection.namespace}/{selection.name} spec.config"
    try:
        document = json.loads(definition)
    except ValueError as error:
        raise ConfigError(f"{where}: is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{where}: found {type(document).__name__}, expected an object")
    plugins: Any = document.get("plugins", [document])
    if not isinstance(plugins, list) or not plugins or not all(isinstance(p, dict) and p.get("type") for p in plugins):
        raise ConfigError(f"{where}: expected 'type', or a list 'plugins' of objects with 'type'")
    shared = {"cniVersion": document.get("cniVersion", "0.1.0"), "name": document.get("name") or selection.name}
    configs = tuple(_netconf(plugin | shared, selection) for plugin in plugins)
    return Delegate(selection, configs, _cni_args(selection, pod, container_id))


def _netconf(plugin: dict[str, Any], selection: NetworkSelection) -> dict[str, Any]:
    netconf = {key: value for key, value in plugin.items() if key not in {"capabilities", "prevResult"}}
    if selection.cni_args:
        args = dict(netconf.get("args") or {})
        netconf["args"] = args | {"cni": dict(args.get("cni") or {}) | dict(selection.cni_args)}
    wanted: dict[str, Any] = dict(selection.capabilities)
    if selection.ips:
        wanted["ips"] = list(selection.ips)
    if selection.mac:
        wanted["mac"] = selection.mac
    declared = plugin.get("capabilities") or {}
    if runtime_config := {key: value for key, value in wanted.items() if declared.get(key) is True}:
        netconf["runtimeConfig"] = runtime_config
    return netconf


def _cni_args(selection: NetworkSelection, pod: PodIdentity, container_id: str) -> str:
    pairs = [
        ("IgnoreUnknown", "1"),
        ("K8S_POD_NAMESPACE", pod.namespace),
        ("K8S_POD_NAME", pod.name),
        ("K8S_POD_INFRA_CONTAINER_ID", container_id),
        ("K8S_POD_UID", pod.uid),
    ]
    if selection.ips:
        pairs.append(("IP", ",".join(selection.ips)))
    if selection.mac:
        pairs.append(("MAC", selection.mac))
    return ";".join(f"{key}={value}" for key, value in pairs)
