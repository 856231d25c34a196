"""Which devices an attachment gets, as far as others say it: the kubelet, or the runtime in its name.

What the kubelet gave a pod comes first, before any policy: its NICs are those of the devices, or the physical functions
of the virtual functions among them. Who holds a device is the journal's to say, and what a device is like now is read
afresh before each choice, so that what is given back later is what was there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from multinic_core.deviceplans import nic_key
from multinic_core.devices import TakeDevice
from multinic_core.errors import ConfigError, MultinicError, PluginError, SelectionError
from multinic_core.hookspecs import MainPlugin
from multinic_core.plan import Nic, NodeView
from multinic_core.registry import Registry
from multinic_core.selection import Selection
from multinic_daemon.engine.context import Engine
from multinic_daemon.engine.invocation import Invocation
from multinic_daemon.engine.limits import limited
from multinic_daemon.engine.makevfs import make_vfs
from multinic_daemon.engine.planning import main_plugin
from multinic_daemon.engine.select import Members
from multinic_daemon.journal.sharing import Sharing
from multinic_daemon.journal.uses import Uses

Unavailable = Callable[[Mapping[str, Any], Nic, NodeView], str]


@dataclass(frozen=True, slots=True)
class AskedDevices:
    """What one call asks for, and what was held when the node was looked at for it."""

    path: str = ""
    """Field that names the devices, for messages; "" when none does."""
    ids: tuple[str, ...] = ()
    """PCI addresses, in the order of the links."""
    held: frozenset[str] = frozenset()
    """Devices that are not free, whatever the journal says: the view may show them as their last pod had them."""


NO_DEVICES = AskedDevices()


def takes_devices(registry: Registry, block: Mapping[str, Any]) -> bool:
    """Whether the main plugin gives pods whole devices of the node.

    Raises:
        ConfigError: it is not installed.
    """
    return _unavailable(main_plugin(registry, block)) is not None


async def asked_devices(engine: Engine, call: Invocation) -> AskedDevices:
    """The devices that the runtime or the kubelet names, and for plugins that take devices a fresh look at the node.

    Raises:
        ConfigError: what names devices is malformed.
        DaemonUnavailableError: the kubelet does not tell.
        KernelError: VFs were to be made, and the kernel refused.
    """
    path, ids = _named(call)
    if not takes_devices(engine.registry, call.netconf.plugin):
        return AskedDevices(path, ids)
    others: frozenset[str] = frozenset()
    if not ids and engine.device_source is not None:
        resources = await engine.cluster.resources(call.netconf.name, call.pod.namespace)
        if resources:
            path = f"resource {', '.join(resources)}"
            ids, others = await engine.device_source(call.pod, resources)
    await make_vfs(engine, call)
    held = engine.journal.held_devices.keys
    if engine.fresh is not None:
        await engine.fresh()
    return AskedDevices(path if ids else "", ids, held | others)


def node_view(engine: Engine, asked: AskedDevices) -> NodeView:
    """The node as it is now, with what is held on it."""
    view, held = engine.view(), engine.journal.held_devices.keys | asked.held
    if engine.remade:
        held |= {vf.pci_address for name in engine.remade if name in view.nics for vf in view.nics[name].vfs}
    return replace(view, devices_held=held) if held else view


def chosen_devices(plugin: MainPlugin, asked: AskedDevices, members: Members, view: NodeView) -> Selection:
    """The NICs of the devices asked for, in their order; several times where a plugin takes several VFs of one.

    Raises:
        ConfigError: a device is unknown, or its NIC is not of this network; all at once.
        SelectionError: a device is held by another attachment.
    """
    nics = {nic.ifname: nic for nic in members.nics}
    chosen: list[str] = []
    problems: list[str] = []
    for number, device in enumerate(asked.ids):
        nic = _nic_of(device, view.nics.values())
        where = f"{asked.path}[{number}]" if len(asked.ids) > 1 else asked.path
        if nic is None:
            found = sorted(each.pci_address or each.ifname for each in view.nics.values())
            problems.append(f"{where}: found {device!r}, expected a NIC of this node or a VF of one: {found!r}")
        elif nic.ifname not in nics:
            why = members.left.get(nic.ifname, "it does not belong to it")
            problems.append(f"{where}: found {device!r} of NIC {nic.ifname!r}, which this network cannot use: {why}")
        else:
            chosen.append(nic.ifname)
    if problems:
        raise ConfigError(*problems)
    if held := [device for device in asked.ids if device in view.devices_held]:
        raise SelectionError(f"{asked.path}: device {held[0]!r} is in use by another attachment, expected a free one")
    if _unavailable(plugin) is None:
        chosen = list(dict.fromkeys(chosen))
    reasons = dict.fromkeys(nics, "not one of the devices that the pod was given")
    return Selection(
        tuple(chosen), {**reasons, **dict.fromkeys(chosen, f"the pod was given a device of it ({asked.path})")}
    )


def available_members(
    registry: Registry, plugin: MainPlugin, block: Mapping[str, Any], members: Members, view: NodeView
) -> Members:
    """Those NICs that are here, and have a device to give if that is what the plugin takes; the others are left with
    the reason.

    Raises:
        ConfigError: the block does not fit.
        PluginError: the plugin raised something else.
    """
    if (unavailable := _unavailable(plugin)) is None:
        if not view.devices_held:
            return members
        away = {
            nic.ifname: f"NIC {nic.ifname!r} sits in a pod" for nic in members.nics if nic_key(nic) in view.devices_held
        }
        return Members(tuple(nic for nic in members.nics if nic.ifname not in away), {**members.left, **away})
    subject = (
        f"main plugin {plugin.name!r} of {registry.main_plugins.owners.get(plugin.name, 'an unknown distribution')}"
    )
    try:
        why = limited(subject, lambda: {nic.ifname: unavailable(block, nic, view) for nic in members.nics})
    except MultinicError:
        raise
    except Exception as error:
        raise PluginError(f"{subject}: raised {error!r}") from error
    there = tuple(nic for nic in members.nics if not why[nic.ifname])
    return Members(there, {**members.left, **{name: reason for name, reason in why.items() if reason}})


def require_unused(devices: Iterable[TakeDevice], sharing: Sharing, uses: Uses, nics: Mapping[str, Nic]) -> None:
    """Let no NIC go into a pod on which others have links, whoever made them: those would lose it.

    Raises:
        SelectionError: there are some, of this node's attachments.
    """
    parents = {parent.ifindex for parent in sharing.parents()}
    for step in devices:
        if step.device == step.parent and (nics[step.parent].ifindex in parents or uses.links[step.parent] > 0):
            raise SelectionError(
                f"NIC {step.parent!r} is in use: links of pods are on it, expected one that no pod uses"
            )


def with_reasons(error: SelectionError, all_members: Members, members: Members) -> SelectionError:
    """The strategy's refusal, with why NICs were not among those that it could choose from."""
    busy = [members.left[nic.ifname] for nic in all_members.nics if nic.ifname in members.left]
    untold = [reason for reason in busy if reason not in str(error)]
    return SelectionError("; ".join((str(error), *untold)), details=error.details)


def _unavailable(plugin: MainPlugin) -> Unavailable | None:
    found: Unavailable | None = getattr(plugin, "unavailable", None)
    return found


def _nic_of(device: str, nics: Iterable[Nic]) -> Nic | None:
    return next((nic for nic in nics if device in (nic.pci_address, *(vf.pci_address for vf in nic.vfs))), None)


def _named(call: Invocation) -> tuple[str, tuple[str, ...]]:
    """The field that names devices, and what it names."""
    netconf = call.netconf
    fields: Sequence[tuple[str, object]] = (
        ("deviceIDs", netconf.device_ids),
        ("runtimeConfig.deviceID", netconf.runtime_config.get("deviceID")),
        ("deviceID", netconf.device_id),
    )
    for path, value in fields:
        if not value:
            continue
        ids = [value] if isinstance(value, str) else value
        if not isinstance(ids, list) or not all(isinstance(each, str) and each for each in ids):
            raise ConfigError(f"{path}: found {value!r}, expected a PCI address such as '0000:8a:10.1', or a list")
        if twice := [each for each in ids if ids.count(each) > 1]:
            raise ConfigError(f"{path}: found {twice[0]!r} twice, expected each device once")
        return path, tuple(each.lower() for each in ids)
    return "", ()
