"""delegate: a CNI main plugin executable makes the links, one call for each chosen NIC.

It serves ``spec.plugin.type: delegate``, whose argument ``type`` names the executable, and every other type that no
installed main plugin has for its own. The executable gets the arguments as its configuration, with their JSON types,
and the addresses in an ipam block of type ``static``, so it does not matter to it where they come from.
"""

from __future__ import annotations

from collections.abc import Sequence

from multinic_core import AttachmentRequest, MainPlugin, NetworkConfig, NodeView, Plan, hookimpl
from multinic_core.errors import ConfigError
from multinic_core.links import LOOSE_FILTER, OWN_ARP
from multinic_core.model import HostInterface, MultiNicNetwork
from multinic_core.outside import RunPlugin
from multinic_core.plan import SetSysctl, Step
from multinic_plugin_delegate.args import DELEGATE, DelegateArgs, read_block, typed_args
from multinic_plugin_delegate.config import link_config


class Delegate:
    """The main plugin ``delegate``."""

    name = DELEGATE
    serves_others = True
    link_kinds: frozenset[str] = frozenset()
    args_model = DelegateArgs

    def network_config(self, network: MultiNicNetwork, nodes: Sequence[HostInterface]) -> NetworkConfig:
        """The arguments that the user wrote, with their JSON types.

        Raises:
            ConfigError: no executable is named, an argument is set by multinic itself, or begins like JSON and is none.
        """
        name = network.spec.plugin.type
        block = typed_args(name, network.spec.plugin.args or {})
        if name == DELEGATE:
            return NetworkConfig(block)
        note = f"spec.plugin.type: no main plugin {name!r} is installed, so each node's CNI executable {name!r} is used"
        return NetworkConfig(block, notes=(note,))

    def plan(self, request: AttachmentRequest, node: NodeView) -> Plan:
        """One call of the executable per chosen NIC, and for several links the settings that all plugins give them.

        Raises:
            ConfigError: no executable is named, or a NIC that the node does not have.
        """
        executable, block = read_block(request.config)
        problems = [
            f"{executable} {link.ifname!r}: no NIC {link.parent!r} on {node.name!r}, found {sorted(node.nics)!r}"
            for link in request.links
            if link.parent not in node.nics
        ]
        if problems:
            raise ConfigError(*problems)
        steps: list[Step] = [
            RunPlugin(link.ifname, link.parent, link_config(executable, block, link)) for link in request.links
        ]
        if len(request.links) > 1:
            steps += [
                SetSysctl(f"net/ipv4/conf/{link.ifname}/{name}", value)
                for link in request.links
                for name, value in (LOOSE_FILTER | OWN_ARP).items()
            ]
        return Plan(tuple(steps))


@hookimpl
def multinic_register_main_plugins() -> Sequence[MainPlugin]:
    return [Delegate()]
