"""The action ``aws-private-address``: a pod's address is a secondary private address of an elastic network interface.

The ENI is found by the address and the MAC address that the node's NIC has: private addresses come again in other
VPCs. An address that another ENI of the subnet has is never moved away from there, as somebody uses it: EC2 is asked
not to reassign, so that it decides, whatever happens between looking and assigning. What is on the ENI already is our
own, from a try whose answer was lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from multinic_core.errors import ActionError, AddressInUseError, MultinicError, PoolExhaustedError
from multinic_plugin_aws_ipvlan.ec2 import Ec2, RefusedError, in_time

ACTION = "aws-private-address"
UNFIT = "Invalid"
"""How codes begin that say that ENI or address is not as asked for: of an address that somebody has, of one to unassign
that is not there, of an ENI that is gone."""
FULL = "PrivateIpAddressLimitExceeded"
NICS = Path("/sys/class/net")
"""The node's network interfaces, as the daemon is in the node's network namespace."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The arguments of one action."""

    nic: str
    mac: str
    primary: str
    address: str
    region: str

    @property
    def subject(self) -> str:
        return f"NIC {self.nic!r} with address {self.primary}, pod's address {self.address}"


@dataclass(frozen=True, slots=True)
class _Found:
    """What EC2 knows."""

    own: Mapping[str, Any] | None
    """The ENI of the NIC."""
    holder: Mapping[str, Any] | None = None
    """Another ENI of its subnet that has the pod's address."""
    strangers: list[str] = field(default_factory=list)
    """ENIs that have the NIC's address and another MAC address."""


class PrivateAddress:
    """Assigns, unassigns and looks for the pod's address."""

    name = ACTION

    def __init__(self, nics: Path = NICS) -> None:
        self._ec2 = Ec2()
        self._nics = nics

    def do(self, arguments: Mapping[str, Any]) -> None:
        """Assign it; one that the ENI has already is success.

        Raises:
            AddressInUseError: another ENI has it, or it is the primary address of this one.
            PoolExhaustedError: the ENI has as many addresses as it may.
            DaemonUnavailableError: EC2 cannot be reached or is busy.
            ActionError: there is no such ENI, EC2 refuses, or the SDK or credentials are missing.
        """
        wanted = _Wanted(**arguments)
        with in_time():
            found = self._look(wanted)
            own = _require(wanted, found)
            self._is_there(wanted, found)  # raises where somebody else has it
            # asked for also where EC2 shows it: it may still show what was unassigned a moment ago
            try:
                self._ec2.call(
                    wanted.region,
                    "AssignPrivateIpAddresses",
                    f"{wanted.subject}, {_id(own)}",
                    NetworkInterfaceId=_id(own),
                    PrivateIpAddresses=[wanted.address],
                    AllowReassignment=False,
                )
            except RefusedError as error:
                if error.code.startswith(UNFIT) and self._is_there(wanted, self._look(wanted)):
                    return
                raise _explained(error, own) from error

    def undo(self, arguments: Mapping[str, Any]) -> None:
        """Unassign it; an ENI that is gone, or does not have it, is success.

        Where EC2 knows no such ENI the node itself tells whether it is gone: while the NIC's MAC address is there, EC2
        was asked in the wrong account or region, and the address is still assigned.

        Raises:
            DaemonUnavailableError: EC2 cannot be reached or is busy.
            ActionError: EC2 refuses, does not know a NIC that the node has, or the SDK or credentials are missing.
        """
        wanted = _Wanted(**arguments)
        with in_time():
            own = self._own(wanted)
            if own is None or _addresses(own).get(wanted.address):
                return
            # asked for also where EC2 shows no such address: it may not show yet what was assigned a moment ago
            try:
                self._ec2.call(
                    wanted.region,
                    "UnassignPrivateIpAddresses",
                    f"{wanted.subject}, {_id(own)}",
                    NetworkInterfaceId=_id(own),
                    PrivateIpAddresses=[wanted.address],
                )
            except RefusedError as error:
                if not error.code.startswith(UNFIT):
                    raise
                own = self._own(wanted)
                if own is not None and wanted.address in _addresses(own):
                    raise

    def check(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        """Whether the ENI has the address, and as a secondary one.

        Raises:
            MultinicError: as ``do``.
        """
        wanted = _Wanted(**arguments)
        with in_time():
            found = self._look(wanted)
        try:
            there = self._is_there(wanted, found)
            own = _require(wanted, found)
        except MultinicError as error:
            return [str(error)]
        return [] if there else [f"{wanted.subject}: {_id(own)} does not have it"]

    def _look(self, wanted: _Wanted) -> _Found:
        """The ENIs that have the NIC's address or the pod's, by one call."""
        found = self._described(wanted, "addresses.private-ip-address", wanted.primary, wanted.address)
        having = [eni for eni in found if wanted.primary in _addresses(eni)]
        own = next((eni for eni in having if not wanted.mac or eni["MacAddress"].lower() == wanted.mac), None)
        if own is None:
            return _Found(None, strangers=[f"{_id(eni)} ({eni['MacAddress']})" for eni in having])
        others = (eni for eni in found if eni["SubnetId"] == own["SubnetId"] and _id(eni) != _id(own))
        return _Found(own, next((eni for eni in others if wanted.address in _addresses(eni)), None))

    def _own(self, wanted: _Wanted) -> Mapping[str, Any] | None:
        """The ENI of the NIC, also of one that has lost the address it had; None when the node has no such NIC.

        Raises:
            ActionError: the node has the NIC, and EC2 does not know it.
        """
        found = self._look(wanted)
        if found.own is not None or not self._on_the_node(wanted.mac):
            return found.own
        having = self._described(wanted, "mac-address", wanted.mac)
        return having[0] if having else _require(wanted, found)

    def _described(self, wanted: _Wanted, by: str, *values: str) -> list[Mapping[str, Any]]:
        answer = self._ec2.call(
            wanted.region,
            "DescribeNetworkInterfaces",
            wanted.subject,
            Filters=[{"Name": by, "Values": list(values)}],
        )
        return list(answer["NetworkInterfaces"])

    def _on_the_node(self, mac: str) -> bool:
        """Whether a network interface of the node has this MAC address."""
        for path in self._nics.glob("*/address"):
            try:
                if mac and path.read_text().strip().lower() == mac.lower():
                    return True
            except OSError:  # gone meanwhile, or without one
                continue
        return False

    def _is_there(self, wanted: _Wanted, found: _Found) -> bool:
        """Whether the ENI has the address.

        Raises:
            AddressInUseError: another one has it, or it is the primary address.
        """
        if found.own is not None and _addresses(found.own).get(wanted.address):
            raise AddressInUseError(f"{wanted.subject}: it is the primary address of {_id(found.own)}")
        if found.holder is not None:
            what = found.holder.get("Description") or "no description"
            raise AddressInUseError(
                f"{wanted.subject}: {_id(found.holder)} ({what}) has it, and keeps it; unassign it there, or put it"
                " into excludeCIDRs of spec.ipam"
            )
        return found.own is not None and wanted.address in _addresses(found.own)


def _require(wanted: _Wanted, found: _Found) -> Mapping[str, Any]:
    if found.own is None:
        others = f"; {', '.join(found.strangers)} of another MAC address do" if found.strangers else ""
        region = f"region {wanted.region!r}" if wanted.region else "the daemon's region"
        raise ActionError(
            f"{wanted.subject}: no network interface with MAC address {wanted.mac!r} has the NIC's address in {region}"
            f"{others}; expected one of the account whose credentials the daemon has"
        )
    return found.own


def _explained(error: RefusedError, own: Mapping[str, Any]) -> MultinicError:
    if error.code != FULL:
        return error
    count = len(_addresses(own))
    return PoolExhaustedError(
        f"{error}; {_id(own)} has {count} addresses, its own included, as many as its instance type allows; fewer pods"
        " on the node, or a larger instance type"
    )


def _id(eni: Mapping[str, Any]) -> str:
    return str(eni["NetworkInterfaceId"])


def _addresses(eni: Mapping[str, Any]) -> dict[str, bool]:
    """Private IPv4 addresses of an ENI, and whether each is the primary one."""
    return {each["PrivateIpAddress"]: bool(each.get("Primary")) for each in eni.get("PrivateIpAddresses", ())}
