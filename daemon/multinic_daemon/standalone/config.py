"""A standalone network configuration, read and checked: the network, its pools, and what the engine is to read.

The keys are those of a MultiNicNetwork's spec and go through its models, so that both are refused for the same reasons;
the paths in messages are those of the configuration.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from multinic_core.cni import NetConf, parse_netconf
from multinic_core.errors import ConfigError, DecodeError, MultinicError, PluginError
from multinic_core.hookspecs import MainPlugin
from multinic_core.model import MULTI_NIC_IPAM, MultiNicNetwork, ObjectMeta, multi_nic_ipam_config
from multinic_core.registry import Registry
from multinic_daemon.engine.planning import main_plugin
from multinic_daemon.standalone.fields import StandaloneFields
from multinic_daemon.standalone.pools import NicPool, cut_pools, listed_pools

M = TypeVar("M", bound=BaseModel)

CNI_KEYS = ("type", "cniVersion", "capabilities", "dns")
"""Of the ``plugin`` block, beside its arguments."""


@dataclass(frozen=True, slots=True)
class StandaloneNetwork:
    """What a network object, its pools and its attachment definition say in a cluster."""

    network: MultiNicNetwork
    pools: tuple[NicPool, ...]
    """Empty where the addresses come from elsewhere, or there are none."""
    named: tuple[str, ...]
    """NICs that the configuration names: they are used whatever else they are."""
    netconf: bytes
    """For the engine."""


def read_document(stdin: bytes) -> dict[str, Any]:
    """The configuration as JSON.

    Raises:
        DecodeError: it is no JSON object.
        ConfigError: it is meant for a daemon.
    """
    try:
        document = json.loads(stdin)
    except ValueError as error:
        raise DecodeError(f"network configuration is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise DecodeError(f"network configuration: found a JSON {type(document).__name__}, expected an object")
    if document.get("standalone") is not True:
        raise ConfigError(f"standalone: found {document.get('standalone')!r}, expected true")
    return document


def read_data_dir(document: Mapping[str, Any]) -> Path:
    """The folder of the journal, whatever else the configuration says.

    Raises:
        ConfigError: it is no absolute path.
    """
    return Path(_validated(StandaloneFields, {key: document[key] for key in ("dataDir",) if key in document}).data_dir)


def engine_netconf(document: Mapping[str, Any], plugin: Mapping[str, Any] | None = None) -> bytes:
    """The configuration as the engine reads it.

    Args:
        plugin: the main plugin's block; None: as it is.
    """
    kept = {key: value for key, value in document.items() if key != "standalone"}
    return json.dumps(kept if plugin is None else kept | {"plugin": plugin}).encode()


def read_network(executable: str, document: Mapping[str, Any], registry: Registry) -> StandaloneNetwork:
    """Everything the configuration asks for.

    Args:
        executable: ``multi-nic``, or ``multi-nic-ipam`` as the IPAM of another main plugin.

    Raises:
        ConfigError: all problems that can be seen at once, each with its field path.
        PluginError: the main plugin raised.
        MultinicError: as ``parse_netconf``.
    """
    netconf = parse_netconf(json.dumps(document))
    fields = _validated(StandaloneFields, document)
    own = dict(document.get("plugin") or {}) if executable == "multi-nic" else {"type": netconf.type}
    with_args = "args" in own
    arguments = own.get("args") if with_args else {key: own[key] for key in own if key not in CNI_KEYS}
    network = _network(document, netconf, own, arguments)
    plugin = None
    if executable == "multi-nic":
        plugin = {"type": network.spec.plugin.type, "cniVersion": network.spec.plugin.cni_version}
        plugin |= _arguments(registry, network, "plugin.args" if with_args else "plugin")
    masters = tuple(netconf.masters or ())
    if executable != "multi-nic" and not masters and isinstance(document.get("master"), str):
        masters = (document["master"],)
    pools = _pools(registry, network, fields, masters)
    named = dict.fromkeys([*masters, *(pool.nic for pool in pools if isinstance(pool.nic, str))])
    return StandaloneNetwork(network, pools, tuple(named), engine_netconf(document, plugin))


def _network(
    document: Mapping[str, Any], netconf: NetConf, own: Mapping[str, Any], arguments: object
) -> MultiNicNetwork:
    texts = (
        {key: value if isinstance(value, str) else json.dumps(value) for key, value in arguments.items()}
        if isinstance(arguments, Mapping)
        else arguments
    )
    spec = {
        "subnet": netconf.subnet or None,
        "masterNets": netconf.master_nets,
        "ipam": json.dumps(netconf.ipam) if netconf.ipam else "",
        "multiNICIPAM": True,
        "plugin": {"cniVersion": netconf.cni_version, **own, "args": texts},
        "attachPolicy": document.get("attachPolicy"),
    }
    return _validated(MultiNicNetwork, {"metadata": ObjectMeta(name=netconf.name), "spec": spec})


def _arguments(registry: Registry, network: MultiNicNetwork, path: str) -> Mapping[str, Any]:
    """The main plugin's arguments with their types, as the operator writes them into an attachment definition."""
    plugin: MainPlugin = main_plugin(registry, {"type": network.spec.plugin.type})
    try:
        return plugin.network_config(network, ()).plugin
    except ConfigError as error:
        raise ConfigError(*_paths(error.problems, path), details=error.details) from error
    except MultinicError:
        raise
    except Exception as error:
        owner = registry.main_plugins.owners.get(plugin.name, "an unknown distribution")
        raise PluginError(f"main plugin {plugin.name!r} of {owner}: raised {error!r}") from error


def _pools(
    registry: Registry, network: MultiNicNetwork, fields: StandaloneFields, masters: tuple[str, ...]
) -> tuple[NicPool, ...]:
    spec = network.spec
    try:
        ipam = multi_nic_ipam_config(network, registry.ipams.objects)
        if ipam is None:
            if fields.pools is not None:
                known = sorted({MULTI_NIC_IPAM, *registry.ipams.objects})
                raise ConfigError(f"pools: found some, but ipam.type is not one of {known!r}, expected none")  # noqa: TRY301
            return ()
        if fields.pools is not None:
            if spec.subnet or spec.master_nets:
                raise ConfigError("pools: found beside subnet or masterNets, expected one or the other")  # noqa: TRY301
            return listed_pools(fields.pools, ipam.exclude_cidrs)
        if not spec.subnet:
            raise ConfigError("subnet: missing, expected the network of the addresses to give; or pools")  # noqa: TRY301
        return cut_pools(spec.subnet, ipam, masters, spec.master_nets or (), fields.host_index)
    except ConfigError as error:
        raise ConfigError(*_paths(error.problems), details=error.details) from error


def _paths(problems: Iterable[str], arguments: str = "plugin.args") -> list[str]:
    """Problems of a MultiNicNetwork as problems of the configuration.

    Args:
        arguments: path of the main plugin's arguments.
    """
    return [
        f"{arguments}{problem.removeprefix('spec.plugin.args')}"
        if problem.startswith("spec.plugin.args")
        else problem.removeprefix("spec.")
        for problem in problems
    ]


def _validated(model: type[M], values: Mapping[str, Any]) -> M:
    """Raises ConfigError, every problem with its path."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        found = [f"{'.'.join(map(str, e['loc']))}: found {e['input']!r}: {e['msg']}" for e in error.errors()]
        raise ConfigError(*_paths(found)) from error
