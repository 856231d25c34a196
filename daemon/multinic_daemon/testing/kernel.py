"""A kernel on a folder, for tests of what attaches pods: a namespace is a folder, a link is a file in it.

It survives the death of the process, as links do, and can be told to fail, or to die, at any step. A test reads the
folder itself as the independent witness.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any, TypeVar

import trio

from multinic_core.deviceplans import device_key
from multinic_core.devices import TakeDevice
from multinic_core.errors import ConfigError, ContainerGoneError, KernelError
from multinic_core.outside import Act, RunIpam, RunPlugin
from multinic_core.plan import AddAddress, AddRule, CreateLink, Plan
from multinic_daemon import crashpoints
from multinic_daemon.engine.lanes import Held
from multinic_daemon.journal.codec import decode_plan, encode_plan
from multinic_daemon.podlinks.kernel import Parent, Sandbox, SandboxLink, parent_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FakeLink:
    """A link that was made."""

    ifname: str
    ifindex: int
    mac_address: str
    mtu: int


@dataclass(slots=True)
class FakeKernel:
    """Implements ``multinic_daemon.podlinks.kernel.PodKernel``; a netns path is a folder."""

    before_step: Callable[[str], None] = lambda step: None
    """Called with ``link <ifname>`` before each link is made, with ``remove`` and ``compare``; may raise or wait."""
    undo: bool = True
    """False: a failing ``apply_plan`` leaves the links it made, as a crash would."""
    netns_folder: Path | None = None
    """Holds the folders that are all the namespaces of the node."""
    calls: list[str] = field(default_factory=list)

    def apply_plan(self, plan: Plan, netns: str, group: int) -> tuple[FakeLink, ...]:
        self.calls.append("apply")
        folder = Path(netns)
        if not netns or not folder.is_dir():
            raise ContainerGoneError(f"network namespace {netns!r}: no such file, expected the path of one")
        made: list[FakeLink] = []
        try:
            if missing := {parent_of(link) for link in plan.links if link.vlan} - set(self.read_vlans()):
                for parent in missing:
                    self.before_step(f"vlan {parent.vlan}")
                    self._vlan_file(parent).parent.mkdir(exist_ok=True)
                    self._vlan_file(parent).touch()
                crashpoints.reached("vlan.made")
            for number, link in enumerate(plan.links):
                self.before_step(f"link {link.ifname}")
                file = folder / link.ifname
                if file.exists():
                    raise ConfigError(f"link {link.ifname!r} exists already in {netns!r}")  # noqa: TRY301
                mac_address = link.mac_address or f"02:00:{group & 0xFF:02x}:00:00:{number:02x}"
                own = _part(plan, link.ifname)
                content = {"group": group, "mac_address": mac_address, "mtu": link.mtu, "plan": encode_plan(own)}
                file.write_text(json.dumps(content))
                made.append(FakeLink(link.ifname, 100 + number, mac_address, link.mtu))
            made += self._take(plan, folder, group)
            crashpoints.reached("apply.created")
        except Exception:
            if self.undo:
                self._give_back(plan, netns, group)
                for done in made:
                    (folder / done.ifname).unlink(missing_ok=True)
            raise
        return tuple(made)

    def complete(self, plan: Plan, netns: str, group: int) -> None:
        self.calls.append("complete")
        self.before_step("complete")
        there = links(netns)
        names = {step.ifname for step in plan.steps if not isinstance(step, AddRule)}
        if missing := names - there.keys():
            raise ConfigError(f"links {sorted(missing)!r} are missing in {netns!r}")
        for ifname in there:
            content = there[ifname]
            if ifname in names or content["group"] == group:
                content["plan"] = encode_plan(Plan((*decode_plan(content["plan"]).steps, *_part(plan, ifname).steps)))
                (Path(netns) / ifname).write_text(json.dumps(content))

    def _take(self, plan: Plan, folder: Path, group: int) -> list[FakeLink]:
        taken: list[FakeLink] = []
        for vf in plan.vfs:
            self.before_step(f"vf {vf.index}")
            self._on_node("vfs", f"{vf.parent}.{vf.index}").write_text(repr(vf.settings))
        for number, step in enumerate(plan.devices):
            self.before_step(f"device {step.ifname}")
            place = self._on_node("devices", device_key(step))
            if place.exists():
                raise ConfigError(f"device {device_key(step)!r} belongs to another attachment")
            place.write_text(str(group))
            if not step.device:
                continue
            mac_address, mtu = step.mac_address or step.mac_address_before, step.mtu or step.mtu_before
            own = encode_plan(_part(plan, step.ifname))
            content = {"group": group, "mac_address": mac_address, "mtu": mtu, "plan": own, "device": device_key(step)}
            (folder / step.ifname).write_text(json.dumps(content))
            taken.append(FakeLink(step.ifname, 200 + number, mac_address, mtu))
        return taken

    def make_vfs(self, pci_address: str, count: int) -> None:
        self.calls.append(f"make {count} VFs of {pci_address}")
        self.before_step("make vfs")

    def return_devices(self, plan: Plan, netns: str, group: int) -> int:
        self.calls.append("return")
        self.before_step("return")
        return self._give_back(plan, netns, group)

    def _give_back(self, plan: Plan, netns: str, group: int) -> int:
        found = [file for file, content in links(netns).items() if content["group"] == group and "device" in content]
        for file in found:
            (Path(netns) / file).unlink()
        for step in plan.devices:
            place = self._on_node("devices", device_key(step))
            if place.exists() and place.read_text() == str(group):
                place.unlink()
        for settings in plan.vfs:
            self._on_node("vfs", f"{settings.parent}.{settings.index}").unlink(missing_ok=True)
        return len(found)

    def devices(self) -> dict[str, int]:
        """Key of each device that is away from the node to the group of its attachment."""
        folder = self._on_node("devices", "any").parent
        return {file.name: int(file.read_text()) for file in sorted(folder.iterdir())}

    def marked_groups(self) -> set[int]:
        folders = self.netns_folder.iterdir() if self.netns_folder and self.netns_folder.is_dir() else ()
        inside = {content.get("device") for folder in folders for content in links(folder).values()}
        return {group for key, group in self.devices().items() if key not in inside}

    def free_devices(self, groups: Collection[int]) -> int:
        found = [key for key, group in self.devices().items() if group in groups]
        for key in found:
            self._on_node("devices", key).unlink()
        return len(found)

    def _on_node(self, kind: str, name: str) -> Path:
        """A file that stands for something of the node."""
        folder = (self.netns_folder or Path()).parent / kind
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    def remove_links(self, netns: str, group: int, rules: Sequence[AddRule] = ()) -> bool:
        self.calls.append("remove")
        self.before_step("remove")
        own = [file for file, content in links(netns).items() if content["group"] == group]
        if any("device" in links(netns)[file] for file in own):
            raise KernelError(f"removing links {own}", errno.EOPNOTSUPP)
        for file in own:
            (Path(netns) / file).unlink()
        return bool(own)

    def differences(self, plan: Plan, netns: str) -> list[str]:
        self.calls.append("compare")
        self.before_step("compare")
        there = links(netns)
        found = [f"link {step.ifname!r} is missing" for step in plan.plugins if step.ifname not in there]
        wanted: list[CreateLink | TakeDevice] = [*plan.links, *(step for step in plan.devices if step.device)]
        for link in wanted:
            own = _part(plan, link.ifname)
            if link.ifname not in there:
                found.append(f"link {link.ifname!r} is missing")
                continue
            if isinstance(link, CreateLink) and link.vlan and parent_of(link) not in self.read_vlans():
                found.append(f"VLAN link of id {link.vlan} on NIC {link.parent!r} is missing")
            content = there[link.ifname]
            made = _with_mac(decode_plan(content["plan"]), content).steps
            # what is there beyond the plan is no difference
            if any(step not in made for step in _with_mac(own, content).steps):
                found.append(f"link {link.ifname!r} differs")
        return found

    def read_vlans(self) -> list[Parent]:
        folder = self._vlan_file(Parent(0)).parent
        names = sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []
        return [Parent(*map(int, name.split("."))) for name in names]

    def remove_vlan(self, parent: Parent) -> bool:
        self.calls.append("remove vlan")
        self.before_step("remove vlan")
        there = self._vlan_file(parent).exists()
        self._vlan_file(parent).unlink(missing_ok=True)
        return there

    def _vlan_file(self, parent: Parent) -> Path:
        """Stands for the VLAN link of an id on a NIC of the node."""
        return (self.netns_folder or Path()).parent / "vlans" / f"{parent.ifindex}.{parent.vlan}"

    def survey(self) -> tuple[Sandbox, ...]:
        self.before_step("survey")
        folders = sorted(self.netns_folder.iterdir()) if self.netns_folder and self.netns_folder.is_dir() else []
        return tuple(
            Sandbox(
                str(folder),
                (folder.stat().st_dev, folder.stat().st_ino),
                tuple(_seen(name, content) for name, content in links(folder).items()),
            )
            for folder in folders
        )

    def remove_foreign(self, netns: str, ifnames: Collection[str]) -> int:
        self.calls.append("remove foreign")
        self.before_step("remove foreign")
        own = [file for file in links(netns) if file in ifnames]
        for file in own:
            (Path(netns) / file).unlink()
        return len(own)


def _part(plan: Plan, ifname: str) -> Plan:
    """What of the plan is one link's; a rule is any link's."""
    own = (step for step in plan.steps if not isinstance(step, RunIpam | RunPlugin | Act))
    return Plan(tuple(step for step in own if isinstance(step, AddRule) or step.ifname == ifname))


def _with_mac(plan: Plan, content: Mapping[str, Any]) -> Plan:
    """The plan with the MAC address that the link got where it leaves the choice to the kernel."""
    return Plan(
        tuple(
            replace(step, mac_address=step.mac_address or content["mac_address"])
            if isinstance(step, CreateLink | TakeDevice)
            else step
            for step in plan.steps
        )
    )


def _seen(ifname: str, content: Mapping[str, Any]) -> SandboxLink:
    plan = decode_plan(content["plan"])
    if plan.devices:
        addresses = tuple(step.address for step in plan.addresses)
        return SandboxLink(
            ifname, content["group"], "", content["mtu"], content["mac_address"], 0, False, {}, addresses
        )
    (link,) = plan.links
    return SandboxLink(
        ifname,
        content["group"],
        link.link_kind,
        content["mtu"],
        content["mac_address"],
        link.parent_ifindex,
        True,
        link.attributes,
        own := tuple(step.address for step in plan.addresses),
        plan.routes,
        tuple(rule for rule in plan.rules if rule.src in {ip_network(each.ip) for each in own}),
        {step.name: int(step.value) for step in plan.sysctls},
        link.vlan,
    )


def make_link(netns: str | Path, ifname: str, *addresses: str, group: int = 0, parent_ifindex: int = 11) -> None:
    """Put a link there that no daemon of this generation made."""
    steps = [CreateLink(ifname, "macvlan", "eth1", parent_ifindex, 1500)]
    plan = Plan((*steps, *(AddAddress(ifname, ip_interface(address)) for address in addresses)))
    content = {"group": group, "mac_address": "02:00:00:00:00:99", "mtu": 1500, "plan": encode_plan(plan)}
    (Path(netns) / ifname).write_text(json.dumps(content))


def links(netns: str | Path) -> dict[str, dict[str, Any]]:
    """ifname to content of the links in a fake namespace; empty when it is gone."""
    folder = Path(netns)
    if not str(netns) or not folder.is_dir():
        return {}
    return {file.name: json.loads(file.read_text()) for file in sorted(folder.iterdir())}


def refuse(step: str) -> Callable[[str], None]:
    """For ``before_step``: the kernel refuses this step."""

    def check(reached: str) -> None:
        if reached == step:
            raise KernelError(f"fake kernel: {step}", errno.EBUSY)

    return check


async def run_in_place(_worker: Held, talk: Callable[[], T]) -> T:
    """Takes the place of ``Held.run``: no thread, so that a clock that jumps cannot overtake a talk with the kernel."""
    await trio.lowlevel.cancel_shielded_checkpoint()
    return talk()
