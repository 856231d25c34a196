"""Whether those who have a part in a network's attachments are there: executables on the node, and actions."""

from __future__ import annotations

from multinic_core.model import HOST_DEVICE_IPAM
from multinic_core.outside import RunIpam, RunPlugin
from multinic_core.plan import Plan, Step
from multinic_core.registry import Registry
from multinic_core.singlenic import MULTI_CONFIG
from multinic_daemon.engine.context import Engine
from multinic_daemon.engine.invocation import Invocation
from multinic_daemon.outside.executables import find
from multinic_daemon.outside.work import require_actions


def found(engine: Engine, call: Invocation, plan: Plan) -> Plan:
    """The plan with the folders in which its executables are now.

    Raises:
        MultinicError: an executable is not there, or an action is not installed.
    """
    require_actions(engine.registry, plan.actions)
    path, registry, steps = call.path, engine.registry, list[Step]()
    for step in plan.steps:
        if isinstance(step, RunIpam):
            steps.append(engine.outside.found(step, path, _installed_ipams(engine, call.netconf.name)))
        elif isinstance(step, RunPlugin):
            steps.append(engine.outside.found(step, path, _installed_main_plugins(registry)))
        else:
            steps.append(step)
    return Plan(tuple(steps))


def require_executables(engine: Engine, call: Invocation) -> None:
    """Raise MultinicError where the network names an executable that is not there, as STATUS asks."""
    netconf, registry = call.netconf, engine.registry
    path = engine.outside.search_path(call.path)
    if (name := netconf.plugin.get("type")) not in registry.main_plugins.objects:
        find(name, path, "plugin.type", _installed_main_plugins(registry))
    ipam = netconf.ipam
    name = ipam.get("ipam_type") if ipam.get("type") == MULTI_CONFIG else ipam.get("type")
    if name and name != HOST_DEVICE_IPAM and name not in registry.ipams:
        find(name, path, "ipam.type", _installed_ipams(engine, netconf.name))


def _installed_ipams(engine: Engine, network: str) -> str:
    """For messages; pools are there where the operator has the IPAM that this daemon lacks."""
    installed = f"installed IPAMs are {sorted(engine.registry.ipams.objects)!r}"
    if not engine.cluster.pools(network):
        return installed
    return f"{installed}; this node has pools of the network, so its IPAM may have to be installed in the daemon too"


def _installed_main_plugins(registry: Registry) -> str:
    """For messages."""
    return f"installed main plugins are {sorted(registry.main_plugins.objects)!r}"
