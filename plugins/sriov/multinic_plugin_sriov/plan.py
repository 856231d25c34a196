"""On the node: which virtual function a link gets, and the settings that are laid down for it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from multinic_core import AttachmentRequest, ConfigError, NodeView, Plan
from multinic_core.bandwidth import MEGABIT
from multinic_core.deviceplans import (
    choose_vf,
    find_nic,
    mtu_problem,
    no_vf_reason,
    plan_taken,
    set_vf_up,
    take_vf,
)
from multinic_core.devices import ConfigureVf, TakeDevice, Vf, VfSettings
from multinic_core.plan import LinkRequest, Nic
from multinic_plugin_sriov.args import SriovArgs, sriov_block

SWITCH = {"on": True, "off": False}


def unavailable(config: Mapping[str, Any], nic: Nic, node: NodeView) -> str:
    """Why a NIC has no virtual function for another link now, or ""."""
    args, reason = sriov_block(config), no_vf_reason(nic, node)
    if not args.manage_vfs:
        return reason
    if args.num_vfs > nic.vfs_possible:
        most = f"expected at most {nic.vfs_possible}, which NIC {nic.ifname!r} can have"
        return f"plugin.numVfs: found {args.num_vfs}, {most}"
    if reason and len(nic.vfs) < args.num_vfs:
        return f"{reason}; the other {args.num_vfs - len(nic.vfs)} of numVfs can be made when none is in use"
    return reason


def wanted_vfs(config: Mapping[str, Any]) -> int:
    """How many virtual functions the node shall make on each NIC of the network; 0: none, others do."""
    args = sriov_block(config)
    return args.num_vfs if args.manage_vfs else 0


def plan_vfs(request: AttachmentRequest, node: NodeView) -> Plan:
    """One virtual function per link: the one that the kubelet gave the pod, else the first free one of the chosen NIC.

    Raises:
        ConfigError: arguments that do not fit, or that this NIC cannot honour; all links at once.
        SelectionError: no virtual function is free, or the one that is named is in use.
    """
    args = sriov_block(request.config)
    taken: list[tuple[TakeDevice, tuple[ConfigureVf, ...]]] = []
    problems: list[str] = []
    for link in request.links:
        nic = find_nic(link, node)
        vf = choose_vf(link, nic, node, [step for step, _ in taken])
        problems += _problems(args, link, nic, vf)
        taken.append((take_vf(link, nic, vf, args.mtu or 0), set_vf_up(link, nic, vf, _settings(args, link))))
    if problems:
        raise ConfigError(*dict.fromkeys(problems))
    return plan_taken(request, taken)


def _settings(args: SriovArgs, link: LinkRequest) -> VfSettings:
    return VfSettings(
        mac_address=link.mac_address,
        vlan=args.vlan,
        qos=args.vlan_qos,
        spoof_check=None if args.spoofchk is None else SWITCH[args.spoofchk],
        trust=None if args.trust is None else SWITCH[args.trust],
        link_state=args.link_state,
        min_tx_rate=args.min_tx_rate,
        max_tx_rate=_most(args, link),
    )


def _most(args: SriovArgs, link: LinkRequest) -> int | None:
    """Mbit/s that the VF may send: what the network says, or what the pod's policy promised, in whole ones."""
    return -(-link.rate // MEGABIT) if args.rate_limit and link.rate else args.max_tx_rate


def _problems(args: SriovArgs, link: LinkRequest, nic: Nic, vf: Vf) -> list[str]:
    subject = f"VF {vf.index} of NIC {nic.ifname!r}"
    found = [mtu_problem(args.mtu or 0, nic.mtu, f"the MTU of {nic.ifname!r}") if vf.ifname else ""]
    most = _most(args, link) or 0
    rate = max(args.min_tx_rate or 0, most)
    key = "min_tx_rate" if rate != most else "rateLimit" if args.rate_limit else "max_tx_rate"
    if nic.speed and rate > nic.speed:
        found.append(f"plugin.{key}: found {rate}, expected at most {nic.speed} Mbit/s, the speed of {nic.ifname!r}")
    if link.mac_address and link.mac_address == nic.mac_address:
        found.append(
            f"link {link.ifname!r}: found MAC address {link.mac_address!r} asked for, which is that of NIC"
            f" {nic.ifname!r} itself, expected another one"
        )
    if vf.settings == VfSettings():
        return [each for each in found if each]  # the kernel tells nothing of them, and has the last word
    if rate and vf.settings.max_tx_rate is None:
        found.append(f"plugin.{key}: found {rate} for {subject}, a rate without support: its driver tells of no rates")
    if args.spoofchk is not None and vf.settings.spoof_check is None:
        found.append(f"plugin.spoofchk: found {args.spoofchk!r} for {subject}, whose driver has no spoof check")
    if args.trust is not None and vf.settings.trust is None:
        found.append(f"plugin.trust: found {args.trust!r} for {subject}, whose driver knows no trust")
    return [each for each in found if each]
