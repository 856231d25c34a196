"""Pods on real ipvlan links whose addresses EC2 knows: the real daemon, the AWS SDK, and EC2's stand-in on the node."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from multinic_lab.ec2 import Ec2StandIn, sdk_environment, serving_ec2
from multinic_lab.machine.api import LOOPBACK, listen_in

PORT = 4599
"""On the loopback of the node's own network namespace, where nobody else listens."""
AWS = {"type": "aws-ipvlan", "mode": "l2"}
TRY_LATER = 11
NICS = range(3)

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.link_kind("veth", "ipvlan"),
    pytest.mark.parametrize("crash_node", [{"type": "ipvlan", "mode": "l2"}], indirect=True, ids=["beside ipvlan"]),
]


@pytest.fixture(scope="module", autouse=True)
def aws() -> Iterator[None]:
    """The environment of daemons, made before the node is."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in sdk_environment(str(LOOPBACK), PORT).items():
            patch.setenv(name, value)
        yield


def interfaces(ec2: Ec2StandIn, node: Any) -> list[str]:
    """A network interface for each NIC, in the subnet that its pods' addresses are from."""
    found = []
    for number in NICS:
        shown = json.loads(node.ip_on_node("-j", "link", "show", f"eth{number + 1}"))
        subnet = ec2.subnet(f"192.168.{64 * number}.0/18")
        found.append(ec2.interface(subnet, f"10.0.{number + 1}.1", shown[0]["address"]))
    return found


def test_pods_addresses_are_in_ec2_for_as_long_as_their_links_are_there(crash_node: Any) -> None:
    """Also when the daemon is killed between the two: the next one takes the addresses back."""
    node = crash_node
    with listen_in(Path("/run/netns") / node.name, LOOPBACK, PORT) as listener, serving_ec2(listener) as ec2:
        enis = interfaces(ec2, node)
        node.kill()
        node.start("add.applied")
        assert node.call("ADD", "p1", plugin=AWS)["code"] == TRY_LATER
        assert node.ended() == -signal.SIGKILL
        assert [len(ec2.addresses(eni)) for eni in enis] == [1, 1, 1]
        node.start()
        node.until(lambda: all(ec2.addresses(eni) == [] for eni in enis))
        node.until(lambda: node.audit() == {"keeper"})
        given = [each["address"].split("/")[0] for each in node.call("ADD", "p1", plugin=AWS)["ips"]]
        assert [ec2.addresses(eni) for eni in enis] == [[address] for address in given]
        links = node.links("p1")
        assert {link["linkinfo"]["info_kind"] for link in links.values()} == {"ipvlan"}
        assert {link["linkinfo"]["info_data"]["mode"] for link in links.values()} == {"l2"}
        assert node.audit() == {"keeper", "p1"}
        assert node.call("DEL", "p1", plugin=AWS) is None
        assert [ec2.addresses(eni) for eni in enis] == [[], [], []]
        assert node.audit() == {"keeper"}
        node.kill()
