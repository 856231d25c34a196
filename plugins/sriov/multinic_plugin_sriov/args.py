"""The arguments of sriov, as users write them and as the netconf carries them.

The original's documents and its code spell the rates differently, so both spellings are read; the netconf has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from multinic_core.args import PluginArgs, read_args, read_plugin_block, shaped
from multinic_core.errors import ConfigError

OTHER_SPELLINGS = {"minTxRate": "min_tx_rate", "maxTxRate": "max_tx_rate", "linkState": "link_state"}
"""Spelling that is accepted to the one that is used. Source of the latter: keys of the CNI plugin sriov."""
FOR_THE_NODE = frozenset(
    {
        "vlan",
        "vlanQoS",
        "spoofchk",
        "trust",
        "min_tx_rate",
        "max_tx_rate",
        "link_state",
        "mtu",
        "isRdma",
        "manageVfs",
        "rateLimit",
    }
)
"""Keys that the netconf carries. The others only shape the SR-IOV operator's objects."""
FOR_THE_SRIOV_OPERATOR = ("resourceName", "priority", "needVhostNet")
"""Keys that mean nothing where the nodes manage VFs themselves."""


class SriovArgs(PluginArgs):
    """Arguments of sriov."""

    vlan: int | None = Field(default=None, ge=0, le=4094)
    """VLAN that the VF's traffic gets outside: ``ip link set PF vf N vlan VLAN``; 0: none."""
    vlan_qos: int | None = Field(default=None, alias="vlanQoS", ge=0, le=7)
    """Priority in the VLAN tag: ``ip link set PF vf N vlan VLAN qos QOS``."""
    spoofchk: Literal["on", "off"] | None = None
    """Whether the VF may send from its own MAC address only: ``ip link set PF vf N spoofchk on``."""
    trust: Literal["on", "off"] | None = None
    """Whether the VF may become promiscuous or change its MAC address: ``ip link set PF vf N trust on``."""
    link_state: Literal["auto", "enable", "disable"] | None = None
    """``ip link set PF vf N state auto``."""
    min_tx_rate: int | None = Field(default=None, ge=0)
    """Mbit/s; 0: none. ``ip link set PF vf N min_tx_rate RATE``."""
    max_tx_rate: int | None = Field(default=None, ge=0)
    """Mbit/s; 0: no limit. ``ip link set PF vf N max_tx_rate RATE``."""
    rate_limit: bool = Field(default=False, alias="rateLimit")
    """A VF sends no more than the pod's policy promised on its NIC: ``ip link set PF vf N max_tx_rate RATE``."""
    mtu: int | None = Field(default=None, ge=0, le=65535)
    """Bytes; 0 or absent: as the VF is. ``ip link set VF mtu MTU``."""
    resource_name: Annotated[
        str, shaped("[a-zA-Z0-9_]{0,63}", "at most 63 letters, digits and '_', without prefix")
    ] = Field(default="", alias="resourceName")
    """Name, without prefix, of the VFs that somebody else's SriovNetworkNodePolicy makes; empty: one is made."""
    priority: int | None = Field(default=None, ge=0, le=99)
    """Of the policy that is made; of several policies on one NIC the lowest number counts."""
    num_vfs: int = Field(default=1, alias="numVfs", ge=1, le=1024)
    """VFs on each NIC."""
    is_rdma: bool | None = Field(default=None, alias="isRdma")
    """Whether pods get the VF's RDMA devices too."""
    need_vhost_net: bool | None = Field(default=None, alias="needVhostNet")
    """Whether pods get ``/dev/vhost-net`` too."""
    manage_vfs: bool = Field(default=False, alias="manageVfs")
    """Whether the nodes make and give out VFs themselves, without the SR-IOV operator."""


def _one_spelling(values: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The same values with the spelling that is used.

    Raises:
        ConfigError: both spellings are there and say different things.
    """
    read = {key: value for key, value in values.items() if key not in OTHER_SPELLINGS}
    problems = []
    for other, used in OTHER_SPELLINGS.items():
        if other not in values:
            continue
        if str(read.setdefault(used, values[other])) != str(values[other]):
            problems.append(
                f"{path}.{other}: found {values[other]!r} beside {used} {values[used]!r}, expected one of the two"
            )
    if problems:
        raise ConfigError(*problems)
    return read


def _fitting(args: SriovArgs, path: str) -> SriovArgs:
    """The arguments, when they fit each other.

    Raises:
        ConfigError: they do not; all problems at once.
    """
    problems = []
    if args.vlan_qos and not args.vlan:
        problems.append(
            f"{path}.vlanQoS: found {args.vlan_qos} without a VLAN, expected {path}.vlan from 1 to 4094, or 0"
        )
    if args.rate_limit and args.max_tx_rate is not None:
        problems.append(
            f"{path}.rateLimit: found true beside max_tx_rate {args.max_tx_rate}, expected one of the two: the limit is"
            " what the policy promises, or this one"
        )
    if args.min_tx_rate and args.max_tx_rate and args.min_tx_rate > args.max_tx_rate:
        problems.append(
            f"{path}.min_tx_rate: found {args.min_tx_rate}, expected at most {args.max_tx_rate}, the max_tx_rate"
        )
    if problems:
        raise ConfigError(*problems)
    return args


def sriov_args(values: Mapping[str, Any], path: str = "spec.plugin.args") -> SriovArgs:
    """The arguments that a user wrote, strings all.

    Raises:
        ConfigError: unknown keys, values that do not fit and values that contradict each other, with field paths.
    """
    args = _fitting(read_args(SriovArgs, _one_spelling(values, path), path), path)
    if args.manage_vfs:
        asked = {
            "resourceName": args.resource_name,
            "priority": values.get("priority"),
            "needVhostNet": args.need_vhost_net,
        }
        beside = [key for key, value in asked.items() if value]
        if beside:
            raise ConfigError(
                *(
                    f"{path}.{key}: found {values[key]!r} beside manageVfs 'true', expected no {key}, which is for"
                    " objects of the SR-IOV operator; or no manageVfs"
                    for key in beside
                )
            )
    return args


def sriov_block(block: Mapping[str, Any]) -> SriovArgs:
    """The arguments in a netconf's ``plugin`` block, in either spelling; keys of others are passed over.

    Raises:
        ConfigError: a value does not fit, with its field path.
    """
    return _fitting(read_plugin_block(SriovArgs, _one_spelling(block, "plugin")), "plugin")


def for_the_node(args: SriovArgs) -> dict[str, Any]:
    """What the netconf carries of these arguments: those that were written, in one spelling, with JSON types."""
    written = args.model_dump(exclude_unset=True, by_alias=True)
    kept = FOR_THE_NODE | ({"numVfs"} if args.manage_vfs else set())
    return {key: value for key, value in written.items() if key in kept}
