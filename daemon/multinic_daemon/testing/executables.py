"""CNI executables on a folder, for tests: an IPAM and a main plugin that keep what they gave as files.

They are real processes, shell scripts, which the daemon starts as it does any other; a test reads the folder as the
independent witness. Files beside the scripts tell them what to do otherwise: ``refuse-COMMAND-IFNAME`` to fail with
code 77, ``hang-COMMAND-IFNAME`` to hang, ``routes`` and ``dns`` what the IPAM's answer has beside the address.

:class:`Acting` is a main plugin whose plans have an action, :class:`FileAction`, which keeps what it did as files too.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from multinic_core.args import PluginArgs
from multinic_core.hookspecs import NetworkConfig
from multinic_core.links import plan_child_links
from multinic_core.model import HostInterface, MultiNicNetwork
from multinic_core.outside import Act
from multinic_core.plan import AttachmentRequest, NodeView, Plan
from multinic_daemon.testing.rig import Rig

_SCRIPT = """#!/bin/sh
cd "{folder}" || exit 9
config=$(cat)
echo "$CNI_COMMAND $CNI_IFNAME {name}" >> calls
printf '%s' "$config" > "config-$CNI_COMMAND-$CNI_IFNAME-{name}"
env | grep ^CNI_ > "environment-$CNI_COMMAND-$CNI_IFNAME-{name}"
if [ -e "hang-$CNI_COMMAND-$CNI_IFNAME" ]; then echo $$ > hanging; exec sleep 1000; fi
if [ -e "refuse-$CNI_COMMAND-$CNI_IFNAME" ]; then
  echo '{{"cniVersion":"0.4.0","code":77,"msg":"refused as told","details":"by a file"}}'; exit 1
fi
mkdir -p given-{name}
mine="given-{name}/$CNI_CONTAINERID.$CNI_IFNAME"
case $CNI_COMMAND in
ADD) {add} ;;
CHECK) [ -e "$mine" ] || {{ echo '{{"cniVersion":"0.4.0","code":78,"msg":"not given"}}'; exit 1; }} ;;
DEL) {delete} ;;
esac
"""
_ADD_ADDRESS = """
  case $config in
  *'"ips"'*) address=$(printf '%s' "$config" | sed 's/.*"ips": *\\["\\([^"]*\\)".*/\\1/') ;;
  *) number=10; while grep -qs "172.20.0.$number/" given-{name}/*; do number=$((number + 1)); done
     address="172.20.0.$number/16" ;;
  esac
  echo "$address" > "$mine"
  printf '{{"cniVersion":"0.4.0","ips":[{{"version":"4","address":"%s","gateway":"172.20.0.1"}}],' "$address"
  printf '"routes":%s,"dns":%s}}' "$(cat routes 2>/dev/null || echo '[]')" "$(cat dns 2>/dev/null || echo '{{}}')"
"""
_ADD_LINK = """
  link='[{{\\"step\\":\\"link\\",\\"ifname\\":\\"'$CNI_IFNAME'\\",\\"link_kind\\":\\"veth\\",\\"parent\\":\\"\\"'
  link=$link',\\"parent_ifindex\\":0,\\"mtu\\":1500,\\"attributes\\":{{}},\\"mac_address\\":\\"\\"}}]'
  printf '{{"group":0,"mac_address":"02:00:00:00:00:77","mtu":1500,"plan":"%s"}}' "$link" > "$CNI_NETNS/$CNI_IFNAME"
  touch "$mine"
  ips=$(printf '%s' "$config" | grep -o '"address": *"[^"]*"' | sed 's/.*/{{"version":"4","interface":1,&}}/')
  ips=$(printf '%s' "$ips" | tr '\\n' ,)
  printf '{{"cniVersion":"0.4.0","interfaces":[{{"name":"host-%s","mac":"02:00:00:00:00:66"}},' "$CNI_IFNAME"
  printf '{{"name":"%s","mac":"02:00:00:00:00:77","sandbox":"%s"}}],' "$CNI_IFNAME" "$CNI_NETNS"
  printf '"ips":[%s],"dns":{{}}}}' "${{ips%,}}"
"""


class Executables:
    """A folder of them."""

    IPAM, PLUGIN = "fake-ipam", "fake-plugin"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.write(self.IPAM, _ADD_ADDRESS, 'rm -f "$mine"')
        self.write(self.PLUGIN, _ADD_LINK, 'rm -f "$mine"; [ -z "$CNI_NETNS" ] || rm -f "$CNI_NETNS/$CNI_IFNAME"')

    def write(self, name: str, add: str, delete: str = "") -> None:
        """Make one more, of what it does on ADD and DEL."""
        fields = {"folder": self.folder, "name": name}
        text = _SCRIPT.format(**fields, add=add.format(**fields), delete=delete or ":")
        self.write_text(name, text)

    def write_text(self, name: str, text: str) -> None:
        """Make one more, of a whole script."""
        file = self.folder / name
        file.write_text(text)
        file.chmod(0o755)

    def tell(self, word: str, text: str = "") -> None:
        """Put a file there that tells them what to do otherwise."""
        (self.folder / word).write_text(text)

    def untell(self, word: str) -> None:
        (self.folder / word).unlink()

    def calls(self) -> list[str]:
        """``COMMAND IFNAME NAME`` of each call so far, in order."""
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def config(self, command: str, ifname: str, name: str = IPAM) -> dict[str, Any]:
        """What the last such call read."""
        found: dict[str, Any] = json.loads((self.folder / f"config-{command}-{ifname}-{name}").read_text())
        return found

    def environment(self, command: str, ifname: str, name: str = IPAM) -> dict[str, str]:
        """``CNI_*`` of the last such call."""
        lines = (self.folder / f"environment-{command}-{ifname}-{name}").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def given(self, name: str = IPAM) -> dict[str, str]:
        """``CONTAINER.IFNAME`` to what an executable has given and not taken back."""
        folder = self.folder / f"given-{name}"
        return {file.name: file.read_text().strip() for file in sorted(folder.glob("*"))} if folder.is_dir() else {}


class FileAction:
    """An action that keeps what it did as files, and fails at the word of a file."""

    def __init__(self, folder: Path, name: str = "fake-action") -> None:
        self.folder, self.name = folder, name
        self.before: Callable[[str], None] = lambda verb: None
        """Called with ``do``, ``undo`` or ``check`` before anything is done; may raise or wait."""
        folder.mkdir(parents=True, exist_ok=True)

    def do(self, arguments: Mapping[str, Any]) -> None:
        self._enter("do", arguments)
        self._file(arguments).write_text(json.dumps(dict(arguments)))

    def undo(self, arguments: Mapping[str, Any]) -> None:
        self._enter("undo", arguments)
        self._file(arguments).unlink(missing_ok=True)

    def check(self, arguments: Mapping[str, Any]) -> list[str]:
        self._enter("check", arguments)
        return [] if self._file(arguments).exists() else [f"{arguments['key']} is not done"]

    def _enter(self, verb: str, arguments: Mapping[str, Any]) -> None:
        self.before(verb)
        if (self.folder / f"refuse-{verb}-{arguments['key']}").exists():
            raise ValueError("refused as told")

    def _file(self, arguments: Mapping[str, Any]) -> Path:
        return self.folder / f"done-{arguments['key']}"

    def done(self) -> list[str]:
        """Keys of what is done and not taken back."""
        return sorted(file.name.removeprefix("done-") for file in self.folder.glob("done-*"))


class Acting:
    """The main plugin ``acting``: a macvlan link for each NIC, and an action for each."""

    name = "acting"
    link_kinds = frozenset({"macvlan"})
    args_model = PluginArgs

    def network_config(self, network: MultiNicNetwork, nodes: Sequence[HostInterface]) -> NetworkConfig:
        return NetworkConfig({})

    def plan(self, request: AttachmentRequest, node: NodeView) -> Plan:
        links = plan_child_links(request, node, "macvlan", attributes={"IFLA_MACVLAN_MODE": 4})
        key = request.container_id
        acts = (Act("fake-action", {"key": f"{key}.{link.ifname}"}, link.ifname) for link in request.links)
        return Plan((*acts, *links.steps))


@dataclass(frozen=True, slots=True)
class Others:
    """Everybody who has a part in attachments on a node in memory."""

    rig: Rig
    executables: Executables
    action: FileAction

    @classmethod
    def on(cls, rig: Rig) -> Others:
        """Put them on a node, or find them again on one that has started anew."""
        executables = Executables(rig.folder / "bin")
        rig.engine.outside.cni_bin = str(executables.folder)
        action = FileAction(rig.folder / "actions")
        rig.registry.main_plugins.objects["acting"] = Acting()
        rig.registry.actions.objects[action.name] = action
        return cls(rig, executables, action)

    async def call(self, command: str, kind: str, container: str = "c1") -> Any:
        """A CNI call of a network whose IPAM is ``fake-ipam``, with the main plugin of this type."""
        fields: dict[str, Any] = {"plugin": {"type": kind, "cniVersion": "0.4.0"}, "ipam": {"type": Executables.IPAM}}
        return await self.rig.call(command, container, **fields)

    def assert_clean(self) -> None:
        """Nothing is left of ``c1``, on the node or elsewhere."""
        assert self.executables.given() == {}
        assert self.executables.given(Executables.PLUGIN) == {}
        assert self.action.done() == []
        self.rig.assert_clean()


def main() -> None:
    """Make calls on a node, for tests that kill this process. ``sys.argv``: nothing, the folder, ``COMMAND KIND`` …."""
    others = Others.on(Rig(Path(sys.argv[1])))
    for command, kind in zip(sys.argv[2::2], sys.argv[3::2], strict=True):
        trio.run(others.call, command, kind)
