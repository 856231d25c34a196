"""The conformance function finds a main plugin that takes no notice of the MAC addresses that pods ask for."""

from dataclasses import replace

import pytest
from multinic_plugin_macvlan import Macvlan

from multinic_core import AttachmentRequest, ConfigError, NodeView, Plan
from multinic_core.testing import check_main_plugin


class Forgetful(Macvlan):
    """Gives links whichever address the kernel chooses."""

    def plan(self, request: AttachmentRequest, node: NodeView) -> Plan:
        return super().plan(without_macs(request), node)


class Curt(Macvlan):
    """Refuses without saying what."""

    def plan(self, request: AttachmentRequest, node: NodeView) -> Plan:
        if any(link.mac_address for link in request.links):
            raise ConfigError("plugin: no")
        return super().plan(request, node)


class Plain(Curt):
    """Refuses by name."""

    def plan(self, request: AttachmentRequest, node: NodeView) -> Plan:
        if asked := [link.mac_address for link in request.links if link.mac_address]:
            raise ConfigError(f"plugin: found MAC address {asked[0]!r} asked for, expected none")
        return super().plan(request, node)


def without_macs(request: AttachmentRequest) -> AttachmentRequest:
    return replace(request, links=tuple(replace(link, mac_address="") for link in request.links))


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        (Forgetful(), "plan: gives 'net1-0' MAC address '', expected '02:00:5e:10:00:00' or a refusal"),
        (Curt(), "plan: the refusal 'plugin: no' does not name the MAC address asked for"),
    ],
    ids=["forgetful", "curt"],
)
def test_a_plugin_that_takes_no_notice_is_found(plugin: Macvlan, words: str):
    """Silence is no answer to a wish."""
    with pytest.raises(AssertionError, match=words):
        check_main_plugin(plugin)


@pytest.mark.parametrize("plugin", [Macvlan(), Plain()], ids=["gives", "refuses"])
def test_a_plugin_may_give_or_refuse(plugin: Macvlan):
    """Both are answers."""
    check_main_plugin(plugin)
