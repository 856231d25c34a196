"""Networks that cannot work, each refused before it is stored, with field, value and what would do.

One table. Three layers: the structure and bounds of the schema, the rules in it, and the webhook. The real kubectl is
asked about all of them, against the lab's API server with the real webhook over TLS; the operator is asked about those
of the last two layers, as it is what clusters without the webhook have.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio
import yaml
from multinic_lab.apiserver import serve_api, write_kubeconfig
from multinic_operator.validation.surroundings import Watch
from multinic_operator.webhook import serve_webhook
from multinic_operator.webhook.judging import Judging
from multinic_operator.webhook.review import Question
from multinic_operator.world import World

from multinic_core import load_plugins
from multinic_core.errors import ConfigError
from multinic_core.kube import connect
from multinic_core.model import (
    CIDRS,
    HOST_INTERFACES,
    IPPOOLS,
    NETWORKS,
    NODES,
    OUR_RESOURCES,
    SERVICE_CIDRS,
    SERVICES,
    WEBHOOK_CONFIGURATIONS,
    KubeObject,
    MultiNicNetwork,
    Resource,
)
from multinic_core.model.crd import crd
from multinic_core.testing.kube import FakeKubernetes

SCHEMA, RULES, WEBHOOK = "schema", "rules", "webhook"


@dataclass(frozen=True)
class Bad:
    """One network that cannot work."""

    what: str
    layer: str
    path: str
    """Field that the refusal names."""
    found: str
    """Part of the refusal that shows the value."""
    remedy: str
    """Part of the refusal that says what would do."""
    spec: Mapping[str, Any]
    """Fields other than those of a good network; None for a field that is missing."""
    name: str = ""
    """"" for a name made from ``what``; else that of a network that exists."""

    @property
    def network(self) -> str:
        return self.name or "bad-" + re.sub(r"[^a-z0-9]+", "-", self.what.lower()).strip("-")


IPAM: dict[str, Any] = {"type": "multi-nic-ipam", "hostBlock": 6, "interfaceBlock": 2, "vlanMode": "l3"}
PLUGIN = {"cniVersion": "0.3.0", "type": "ipvlan", "args": {"mode": "l3"}}


def ipam(**changes: Any) -> dict[str, Any]:
    return {"ipam": json.dumps(IPAM | changes)}


def plugin(**changes: Any) -> dict[str, Any]:
    return {"plugin": {key: value for key, value in (PLUGIN | changes).items() if value is not None}}


def host_subnets(**changes: Any) -> dict[str, Any]:
    return {"subnet": None} | ipam(vlanMode="l2", interfaceBlock=0, **changes)


TABLE = (
    # Structure and bounds
    Bad("no ipam", SCHEMA, "spec.ipam", "", "Required value", {"ipam": None}),
    Bad("no plugin", SCHEMA, "spec.plugin", "", "Required value", {"plugin": None}),
    Bad("no plugin type", SCHEMA, "spec.plugin.type", "", "Required value", plugin(type=None)),
    Bad("no cni version", SCHEMA, "spec.plugin.cniVersion", "", "Required value", plugin(cniVersion=None)),
    Bad("empty plugin type", SCHEMA, "spec.plugin.type", '""', "at least 1 chars", plugin(type="")),
    Bad("a path as plugin type", SCHEMA, "spec.plugin.type", '"../ipvlan"', "match", plugin(type="../ipvlan")),
    Bad("a number as plugin type", SCHEMA, "spec.plugin.type", "integer", "type string", plugin(type=3)),
    Bad("half a cni version", SCHEMA, "spec.plugin.cniVersion", '"1"', "match", plugin(cniVersion="1")),
    Bad("a word as cni version", SCHEMA, "spec.plugin.cniVersion", '"new"', "match", plugin(cniVersion="new")),
    Bad("capability no truth", SCHEMA, "spec.plugin.capabilities.ips", "string", "type boolean",
        plugin(capabilities={"ips": "yes"})),
    Bad("argument no text", SCHEMA, "spec.plugin.args.mtu", "integer", "type string", plugin(args={"mtu": 9000})),
    Bad("arguments as a list", SCHEMA, "spec.plugin.args", "array", "type object", plugin(args=["mode=l3"])),
    Bad("too many arguments", SCHEMA, "spec.plugin.args", "65", "at most 64",
        plugin(args={f"a{i}": "" for i in range(65)})),
    Bad("too many name servers", SCHEMA, "spec.plugin.dns.nameservers", "17", "at most 16",
        plugin(dns={"nameservers": ["10.0.0.1"] * 17})),
    Bad("words as subnet", SCHEMA, "spec.subnet", '"the lab"', "match", {"subnet": "the lab"}),
    Bad("a number as subnet", SCHEMA, "spec.subnet", "integer", "type string", {"subnet": 10}),
    Bad("a subnet with blanks", SCHEMA, "spec.subnet", '" 192.168.0.0/16"', "match", {"subnet": " 192.168.0.0/16"}),
    Bad("a prefix with a zero", SCHEMA, "spec.subnet", '"192.168.0.0/016"', "match", {"subnet": "192.168.0.0/016"}),
    Bad("one NIC network for many", SCHEMA, "spec.masterNets", "string", "type array", {"masterNets": "10.0.1.0/24"}),
    Bad("a NIC for its network", SCHEMA, "spec.masterNets[0]", '"eth1"', "match", {"masterNets": ["eth1"]}),
    Bad("an address for a network", SCHEMA, "spec.masterNets[1]", '"10.0.2.1"', "match",
        {"masterNets": ["10.0.1.0/24", "10.0.2.1"]}),
    Bad("too many NIC networks", SCHEMA, "spec.masterNets", "129", "at most 128",
        {"masterNets": [f"10.{i}.0.0/16" for i in range(129)]}),
    Bad("a word for a truth", SCHEMA, "spec.multiNICIPAM", "string", "type boolean", {"multiNICIPAM": "yes"}),
    Bad("no strategy", SCHEMA, "spec.attachPolicy.strategy", "", "Required value", {"attachPolicy": {}}),
    Bad("a path as strategy", SCHEMA, "spec.attachPolicy.strategy", '"a/b"', "match",
        {"attachPolicy": {"strategy": "a/b"}}),
    Bad("a word as bandwidth", SCHEMA, "spec.attachPolicy.target", '"fast"', "match",
        {"attachPolicy": {"strategy": "none", "target": "fast"}}),
    Bad("namespace in capitals", SCHEMA, "spec.namespaces[0]", '"Blue"', "match", {"namespaces": ["Blue"]}),
    Bad("one namespace for many", SCHEMA, "spec.namespaces", "string", "type array", {"namespaces": "blue"}),
    Bad("a namespace too long", SCHEMA, "spec.namespaces[0]", "Too long", "63", {"namespaces": ["n" * 64]}),
    Bad("ipam as an object", SCHEMA, "spec.ipam", "object", "type string", {"ipam": {}}),
    Bad("ipam as a book", SCHEMA, "spec.ipam", "Too long", "32768", ipam(comment="x" * 33000)),
    Bad("a name that is longer than any label value may be since pools carry it in one", SCHEMA, "metadata.name",
        "Too long", "63", {}),
    Bad("unknown field", SCHEMA, "spec.subnets", "unknown field", "spec.subnets", {"subnets": ["192.168.0.0/16"]}),
    # Rules
    Bad("host bits", RULES, "spec.subnet", "'192.168.1.0/16' with host bits", "expected '192.168.0.0/16'",
        {"subnet": "192.168.1.0/16"}),
    Bad("host bits in version six", RULES, "spec.subnet", "'fd00::1/48'", "expected 'fd00::/48'",
        {"subnet": "fd00::1/48"}),
    Bad("an octet too large", RULES, "spec.subnet", "'300.0.0.0/8'", "such as '192.168.0.0/16'",
        {"subnet": "300.0.0.0/8"}),
    Bad("a prefix too long", RULES, "spec.subnet", "'10.0.0.0/33'", "such as '192.168.0.0/16'",
        {"subnet": "10.0.0.0/33"}),
    Bad("two families", RULES, "spec.subnet", "'192.168.0.0/16,fd00::/48'", "make one network for each",
        {"subnet": "192.168.0.0/16,fd00::/48"}),
    Bad("loopback", RULES, "spec.subnet", "'127.0.0.0/16'", "unicast network", {"subnet": "127.0.0.0/16"}),
    Bad("multicast", RULES, "spec.subnet", "'239.0.0.0/16'", "unicast network", {"subnet": "239.0.0.0/16"}),
    Bad("link-local", RULES, "spec.subnet", "'169.254.0.0/16'", "unicast network", {"subnet": "169.254.0.0/16"}),
    Bad("link-local in version six", RULES, "spec.subnet", "'fe80::/64'", "unicast network", {"subnet": "fe80::/64"}),
    Bad("everything", RULES, "spec.subnet", "'0.0.0.0/0'", "unicast network", {"subnet": "0.0.0.0/0"}),
    Bad("NIC network with host bits", RULES, "spec.masterNets[0]", "'10.0.1.7/24'", "expected '10.0.1.0/24'",
        {"masterNets": ["10.0.1.7/24"]}),
    Bad("NIC network out of bounds", RULES, "spec.masterNets[0]", "'10.0.1.0/40'", "such as '192.168.0.0/16'",
        {"masterNets": ["10.0.1.0/40"]}),
    Bad("NIC network twice", RULES, "spec.masterNets", "'10.0.1.0/24' a second time", "once",
        {"masterNets": ["10.0.1.0/24", "10.0.2.0/24", "10.0.1.0/24"]}),
    Bad("more NIC networks than blocks", RULES, "spec.masterNets", "found 5 networks", "interfaceBlock",
        {"masterNets": [f"10.{i}.0.0/16" for i in range(1, 6)]}),
    Bad("ipam as a list", RULES, "spec.ipam", "found a", "object", {"ipam": "[1]"}),
    Bad("ipam as a word", RULES, "spec.ipam", "multi-nic-ipam", "object", {"ipam": "multi-nic-ipam"}),
    Bad("ipam without a type", RULES, "spec.ipam.type", "found", "name of an IPAM", {"ipam": '{"hostBlock": 6}'}),
    Bad("hostBlock below nothing", RULES, "spec.ipam.hostBlock", "-1", "0", ipam(hostBlock=-1)),
    Bad("hostBlock below nothing on lines of its own", RULES, "spec.ipam.hostBlock", "-1", "0",
        {"ipam": '{"type": "multi-nic-ipam", "hostBlock":\r\n-1\r\n}'}),
    Bad("hostBlock as a text", RULES, "spec.ipam.hostBlock", "6", "", ipam(hostBlock="6")),
    Bad("hostBlock with a fraction", RULES, "spec.ipam.hostBlock", "6.5", "", ipam(hostBlock=6.5)),
    Bad("interfaceBlock past all bits", RULES, "spec.ipam.interfaceBlock", "128", "127", ipam(interfaceBlock=128)),
    Bad("interfaceBlock of nothing", RULES, "spec.ipam.interfaceBlock", "", "", ipam(interfaceBlock=None)),
    Bad("an unknown mode", RULES, "spec.ipam.vlanMode", "l4", "l3s", ipam(vlanMode="l4")),
    Bad("a number as mode", RULES, "spec.ipam.vlanMode", "3", "l3s", ipam(vlanMode=3)),
    Bad("blocks too wide", RULES, "spec.ipam.hostBlock", "found 15", "bits", ipam(hostBlock=15)),
    Bad("blocks too wide in version six", RULES, "spec.ipam.hostBlock", "found 8", "bits",
        {"subnet": "fd00::/120"} | ipam(hostBlock=8)),
    Bad("host routes without a subnet", RULES, "spec.subnet", "''", "expected a subnet", {"subnet": None}),
    Bad("a name for a name server", RULES, "spec.plugin.dns.nameservers[0]", "'dns.local'", "such as '10.96.0.10'",
        plugin(dns={"nameservers": ["dns.local"]})),
    Bad("one call for nothing", RULES, "spec.multiNICIPAM", "true", "expected an IPAM", {"ipam": "", "subnet": None}),
    # What more than the text tells
    Bad("half a JSON", WEBHOOK, "spec.ipam", "not JSON at line 1", "", {"ipam": '{"type": "multi-nic-ipam",}'}),
    Bad("hostblock", WEBHOOK, "spec.ipam.hostblock", "unknown key", "expected 'hostBlock'", ipam(hostblock=6)),
    Bad("exclude_cidrs", WEBHOOK, "spec.ipam.exclude_cidrs", "unknown key", "expected 'excludeCIDRs'",
        ipam(exclude_cidrs=[])),
    Bad("excludes as a text", WEBHOOK, "spec.ipam.excludeCIDRs", "'192.168.0.0/24'", "list",
        ipam(excludeCIDRs="192.168.0.0/24")),
    Bad("an exclude elsewhere", WEBHOOK, "spec.ipam.excludeCIDRs[0]", "'10.9.0.0/24'", "a part of 192.168.0.0/16",
        ipam(excludeCIDRs=["10.9.0.0/24"])),
    Bad("a word as exclude", WEBHOOK, "spec.ipam.excludeCIDRs[0]", "'gateway'", "a network or an address",
        ipam(excludeCIDRs=["gateway"])),
    Bad("a route to a word", WEBHOOK, "spec.ipam.routes[0].dst", "'home'", "such as '192.168.0.0/16'",
        ipam(routes=[{"dst": "home"}])),
    Bad("a route by a word", WEBHOOK, "spec.ipam.routes[0].gw", "'router'", "such as '10.0.1.1'",
        ipam(routes=[{"dst": "10.9.0.0/16", "gw": "router"}])),
    Bad("a route by another family", WEBHOOK, "spec.ipam.routes[0].gw", "'fd00::1'", "family of '10.9.0.0/16'",
        ipam(routes=[{"dst": "10.9.0.0/16", "gw": "fd00::1"}])),
    Bad("a word as name server", WEBHOOK, "spec.ipam.dns.nameservers[0]", "'dns'", "such as '10.96.0.10'",
        ipam(dns={"nameservers": ["dns"]})),
    Bad("an unknown plugin", WEBHOOK, "spec.plugin.type", "'ipvlam'", "expected one of", plugin(type="ipvlam")),
    Bad("an unknown strategy", WEBHOOK, "spec.attachPolicy.strategy", "'best'", "expected one of",
        {"attachPolicy": {"strategy": "best"}}),
    Bad("an unknown argument", WEBHOOK, "spec.plugin.args.mood", "", "mode", plugin(args={"mood": "l3"})),
    Bad("an unknown ipvlan mode", WEBHOOK, "spec.plugin.args.mode", "'l9'", "l3s", plugin(args={"mode": "l9"})),
    Bad("a VLAN 0", WEBHOOK, "spec.plugin.args.vlan", "'0'", "greater than or equal to 1", plugin(args={"vlan": "0"})),
    Bad("a VLAN by name", WEBHOOK, "spec.plugin.args.vlan", "'blue'", "integer", plugin(args={"vlan": "blue"})),
    Bad("a MAC address for all ipvlan pods", WEBHOOK, "spec.plugin.args.mac", "unknown argument", "'vlan'",
        plugin(args={"mac": "02:00:5e:10:00:01"})),
    Bad("an mtu of no size", WEBHOOK, "spec.plugin.args.mtu", "'big'", "integer", plugin(args={"mtu": "big"})),
    Bad("another network's subnet", WEBHOOK, "spec.subnet", "'172.20.0.0/16'", "of network 'taken'; choose another",
        {"subnet": "172.20.0.0/16"}),
    Bad("a part of another network", WEBHOOK, "spec.subnet", "'172.20.64.0/18'", "of network 'taken'; choose another",
        {"subnet": "172.20.64.0/18"} | ipam(hostBlock=4)),
    Bad("the NICs' own network", WEBHOOK, "spec.subnet", "the NIC network 10.0.1.0/24 (eth1 of node 'node-1')",
        "leave spec.subnet empty", {"subnet": "10.0.0.0/16"}),
    Bad("the NICs' own network by masterNets", RULES, "spec.subnet", "10.0.1.0/24", "subnet",
        {"subnet": "10.0.0.0/16", "masterNets": ["10.0.1.0/24"]}),
    Bad("the pod network", WEBHOOK, "spec.subnet", "10.244.1.0/24, the pod network of node 'node-1'", "choose another",
        {"subnet": "10.244.0.0/16"}),
    Bad("the Service network", WEBHOOK, "spec.subnet", "10.96.0.0/12, the Service network", "choose another",
        {"subnet": "10.97.0.0/16"}),
    Bad("the Service of the API", WEBHOOK, "spec.subnet", "10.96.0.1/32, the address of the Service 'kubernetes'",
        "choose another", {"subnet": "10.96.0.0/16"}),
    Bad("the nodes' addresses", WEBHOOK, "spec.subnet", "198.51.100.1/32, the address of node 'node-1'",
        "choose another", {"subnet": "198.51.100.0/24"} | ipam(hostBlock=2, interfaceBlock=2)),
    Bad("more nodes than blocks", WEBHOOK, "spec.ipam.hostBlock", "found 1, which gives 2 blocks",
        "expected at least 2", ipam(hostBlock=1)),
    Bad("more nodes than blocks less the excluded", WEBHOOK, "spec.ipam.hostBlock", "4 blocks less 2 excluded",
        "expected at least 3", ipam(hostBlock=2, excludeCIDRs=["192.168.0.0/19"])),
    Bad("more NIC networks found than blocks", WEBHOOK, "spec.ipam.interfaceBlock", "found 1, which numbers 2",
        "expected at least 2, or fewer networks in spec.masterNets", ipam(interfaceBlock=1)),
    Bad("NIC networks too small to cut", WEBHOOK, "spec.ipam.hostBlock", "10.0.3.0/28 has only 4 bits",
        "only larger networks in spec.masterNets", host_subnets(hostBlock=6)),
    Bad("NIC networks cut for another network", WEBHOOK, "spec.subnet", "given to pods by network 'cutter'",
        "set a subnet of its own", host_subnets(hostBlock=4) | {"masterNets": ["10.0.2.0/24"]}),
    # Edits of a network whose addresses are in use
    Bad("another subnet", WEBHOOK, "spec.subnet", "found '172.21.0.0/16', expected '172.20.0.0/16'",
        "1 address is in use and would be lost; remove the pods first", {"subnet": "172.21.0.0/16"}, "taken"),
    Bad("another hostBlock", WEBHOOK, "spec.ipam.hostBlock", "found 5, expected 6", "restore the value",
        {"subnet": "172.20.0.0/16"} | ipam(hostBlock=5), "taken"),
    Bad("another interfaceBlock", WEBHOOK, "spec.ipam.interfaceBlock", "found 3, expected 2", "restore the value",
        {"subnet": "172.20.0.0/16"} | ipam(interfaceBlock=3), "taken"),
    Bad("a VLAN too high", WEBHOOK, "spec.plugin.args.vlan", "'5000'", "4094",
        plugin(type="sriov", args={"vlan": "5000"})),
    Bad("a priority without a VLAN", WEBHOOK, "spec.plugin.args.vlanQoS", "found 3", "vlan from 1 to 4094",
        plugin(type="sriov", args={"vlanQoS": "3"})),
    Bad("trust as a truth", WEBHOOK, "spec.plugin.args.trust", "'true'", "'on' or 'off'",
        plugin(type="sriov", args={"trust": "true"})),
    Bad("two spellings of one rate", WEBHOOK, "spec.plugin.args.minTxRate", "beside min_tx_rate '6'", "one of the two",
        plugin(type="sriov", args={"minTxRate": "5", "min_tx_rate": "6"})),
    Bad("rates the wrong way round", WEBHOOK, "spec.plugin.args.min_tx_rate", "found 9", "at most 5",
        plugin(type="sriov", args={"minTxRate": "9", "max_tx_rate": "5"})),
    Bad("VFs of two makers", WEBHOOK, "spec.plugin.args.resourceName", "'fast'", "or no manageVfs",
        plugin(type="sriov", args={"manageVfs": "true", "resourceName": "fast"})),
    Bad("one MAC address for all pods", WEBHOOK, "spec.plugin.args.mac", "unknown argument", "'max_tx_rate'",
        plugin(type="sriov", args={"mac": "02:00:00:00:00:01"})),
    Bad("arguments for mellanox", WEBHOOK, "spec.plugin.args.mtu", "unknown argument", "one of []",
        plugin(type="mellanox", args={"mtu": "9000"})),
    Bad("two names of a device", WEBHOOK, "spec.plugin.args.pciBusID", "found beside device", "at most one of",
        plugin(type="host-device", args={"device": "eth1", "pciBusID": "0000:3b:00.0"})),
    Bad("a resource without a prefix", WEBHOOK, "spec.plugin.args.resourceName", "'nics'", "'nvidia.com/hostdev'",
        plugin(type="host-device", args={"resourceName": "nics"})),
    Bad("a subnet on AWS", WEBHOOK, "spec.subnet", "'192.168.0.0/16'", "expected ''",
        plugin(type="aws-ipvlan", args={"mode": "l2"})),
    Bad("a zone of AWS", WEBHOOK, "spec.plugin.args.region", "'eu-central-1a'", "such as 'eu-central-1'",
        host_subnets(hostBlock=1) | plugin(type="aws-ipvlan", args={"region": "eu-central-1a"})),
    Bad("a VLAN on AWS", WEBHOOK, "spec.plugin.args.vlan", "unknown argument", "'region'",
        host_subnets(hostBlock=1) | plugin(type="aws-ipvlan", args={"vlan": "100"})),
    Bad("another plugin", WEBHOOK, "spec.plugin.type", "found 'macvlan', expected 'ipvlan'", "restore the value",
        {"subnet": "172.20.0.0/16"} | plugin(type="macvlan", args={"mode": "bridge"}), "taken"),
)  # fmt: skip


def document(name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "subnet": "192.168.0.0/16",
        **ipam(),
        "multiNICIPAM": True,
        **plugin(),
        "attachPolicy": {"strategy": "none"},
    }
    fields = {key: value for key, value in (fields | dict(spec)).items() if value is not None}
    head = {"apiVersion": "multinic.fms.io/v1", "kind": "MultiNicNetwork", "metadata": {"name": name}}
    return head | {"spec": fields}


def cidr(name: str, subnet: str, bits: tuple[int, int], entries: list[dict[str, Any]]) -> dict[str, Any]:
    config = {"name": name, "type": "ipvlan", "subnet": subnet, "masterNets": []}
    config |= {"hostBlock": bits[0], "interfaceBlock": bits[1]}
    return {"metadata": {"name": name}, "spec": {"config": config, "cidr": entries}}


def cluster_objects(make_host: Any) -> list[tuple[Resource[Any], dict[str, Any]]]:
    """Three nodes with three NICs, and two networks at work: one with a subnet, one that cuts a NIC network."""
    found: list[tuple[Resource[Any], dict[str, Any]]] = []
    for number in (1, 2, 3):
        name = f"node-{number}"
        node = {"metadata": {"name": name}, "spec": {"podCIDR": f"10.244.{number}.0/24"}}
        node["status"] = {"addresses": [{"type": "InternalIP", "address": f"198.51.100.{number}"}]}  # type: ignore[dict-item]
        found.append((NODES, node))
        nics = {"eth1": f"10.0.1.{number}/24", "eth2": f"10.0.2.{number}/24", "eth3": f"10.0.3.{number}/28"}
        found.append((HOST_INTERFACES, make_host(name, nics).to_json()))
    service = {"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"}}
    found.append((SERVICE_CIDRS, service | {"spec": {"cidrs": ["10.96.0.0/12"]}}))
    found.append((NETWORKS, document("taken", {"subnet": "172.20.0.0/16"})))
    found.append((CIDRS, cidr("taken", "172.20.0.0/16", (6, 2), [])))
    pool = {"podCIDR": "172.20.0.0/24", "vlanCIDR": "172.20.0.0/18", "netAttachDef": "taken", "hostName": "node-1"}
    held = {"pod": "p", "namespace": "default", "index": 1, "address": "172.20.0.1"}
    pool |= {"interfaceName": "eth1", "excludes": [], "allocations": [held]}  # type: ignore[dict-item]
    found.append((IPPOOLS, {"metadata": {"name": "taken-172.20.0.0-24"}, "spec": pool}))
    found.append((NETWORKS, document("cutter", host_subnets(hostBlock=4) | {"masterNets": ["10.0.2.0/24"]})))
    entry = {"netAddress": "10.0.2.0/24", "interfaceIndex": 0, "vlanCIDR": "10.0.2.0/24", "hosts": []}
    found.append((CIDRS, cidr("cutter", "", (4, 0), [entry])))
    return found


SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "kubernetes", "namespace": "default"},
    "spec": {"clusterIP": "10.96.0.1"},
}


@pytest.fixture
async def judging(make_host: Any) -> Judging:
    """The validation, over the cluster in memory."""
    kube = FakeKubernetes()
    for resource, body in cluster_objects(make_host):
        kube.seed(resource, body)
    kube.seed(SERVICES, SERVICE)
    world = World.watch(kube, load_plugins())
    around = Watch(world)
    await around.read_services()
    return Judging(world, around)


def problems_of(judging: Judging, bad: Bad) -> list[str]:
    """What the validation says about a network, [] when it accepts it."""
    network = MultiNicNetwork.model_validate(document(bad.network, bad.spec))
    try:
        judging.judge(Question(network, network if bad.name else None))
    except ConfigError as error:
        return list(error.problems)
    return []


def test_the_table_has_at_least_sixty_networks_of_all_layers() -> None:
    """Each under a name of its own."""
    assert len(TABLE) >= 60
    assert len({(bad.network, bad.what) for bad in TABLE}) == len(TABLE)
    assert {bad.layer for bad in TABLE} == {SCHEMA, RULES, WEBHOOK}


@pytest.mark.parametrize("bad", [bad for bad in TABLE if bad.layer != SCHEMA], ids=lambda bad: bad.what)
async def test_the_operator_refuses_it_too(judging: Judging, bad: Bad) -> None:
    """A problem that starts with the field path; of the webhook's layer with value and remedy as well."""
    told = problems_of(judging, bad)
    fitting = [text for text in told if re.match(re.escape(bad.path) + r"(\[\d+\])?:", text)]
    if bad.layer == WEBHOOK:
        fitting = [text for text in fitting if bad.found in text and bad.remedy in text]
    assert fitting, told


@asynccontextmanager
async def kubectl_with_webhook(folder: Path, make_host: Any) -> AsyncIterator[Any]:
    """The lab's API server with our kinds, the cluster, and the webhook; gives a function that runs kubectl."""
    definitions: Resource[Any] = Resource(
        KubeObject, "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", False
    )
    kubectl = shutil.which("kubectl", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    assert kubectl is not None
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_api)
        config = write_kubeconfig(folder / "kubeconfig", server.url)
        kube = connect(str(config))
        for resource in OUR_RESOURCES:
            await kube.create(definitions, crd(resource))
        for resource, body in cluster_objects(make_host):
            await kube.create(resource, body)
        world = World.watch(kube, load_plugins(), namespace="default")
        around = Watch(world)
        await nursery.start(kube.serve)
        for store in world.stores.values():
            if store is not world.definitions:
                await store.wait_synced()
        await nursery.start(around.serve)
        port = await nursery.start(lambda task_status: serve_webhook(
            world, around, host="127.0.0.1", port=0, names=["127.0.0.1"], task_status=task_status))  # fmt: skip
        await kube.create(WEBHOOK_CONFIGURATIONS, configuration(port))

        async def run(*words: str, stdin: str = "") -> tuple[int, str]:
            with trio.fail_after(60):
                done = await trio.run_process(
                    [kubectl, *words], stdin=stdin.encode(), capture_stdout=True, capture_stderr=True, check=False,
                    env={"KUBECONFIG": str(config), "HOME": str(folder), "PATH": os.environ.get("PATH", "")},
                )  # fmt: skip
            return done.returncode, done.stdout.decode() + done.stderr.decode()

        with trio.fail_after(60):
            while "caBundle" not in (await kube.get(WEBHOOK_CONFIGURATIONS, "multinic")).webhooks[0]["clientConfig"]:
                await trio.sleep(0.02)
        yield run
        nursery.cancel_scope.cancel()


def configuration(port: int) -> dict[str, Any]:
    """The shipped configuration, with the URL of a webhook on this machine in place of the Service."""
    for found in yaml.safe_load_all((Path(__file__).parents[2] / "deploy" / "webhook.yaml").read_text()):
        if found["kind"] == "ValidatingWebhookConfiguration":
            for webhook in found["webhooks"]:
                webhook["clientConfig"] = {"url": f"https://127.0.0.1:{port}/validate-multinicnetwork"}
            return dict(found)
    raise AssertionError("no configuration is shipped")


async def test_kubectl_apply_refuses_every_one(tmp_path: Path, make_host: Any, judging: Judging) -> None:
    """Whatever layer refuses it, kubectl shows the field path, the value and what would do; nothing is stored."""
    async with kubectl_with_webhook(tmp_path, make_host) as kubectl:
        documents = "---\n".join(yaml.safe_dump(document(bad.network, bad.spec)) for bad in TABLE)
        code, output = await kubectl("apply", "-f", "-", stdin=documents)
        refusals = output.split("Error from server")
        assert (code, len(refusals)) == (1, len(TABLE) + 1), output
        for bad, refusal in zip(TABLE, refusals[1:], strict=True):
            name = bad.network if bad.found != "unknown field" else "strict decoding error"
            for part in (name, bad.path, bad.found, bad.remedy):
                assert part in refusal, (bad, refusal)
            if bad.layer == WEBHOOK:
                assert "; ".join(problems_of(judging, bad)) in refusal
        _, names = await kubectl("get", "multinicnetworks", "-o", "name")
        assert names.split() == [f"multinicnetwork.multinic.fms.io/{name}" for name in ("cutter", "taken")]
        _, network = await kubectl(
            "get", "multinicnetwork", "taken", "-o", "jsonpath={.spec.subnet} {.spec.plugin.type}"
        )
        assert network == "172.20.0.0/16 ipvlan"


async def test_what_works_is_stored_and_warned_about(tmp_path: Path, make_host: Any) -> None:
    """Blocks that are nearly used up, keys without effect and what is not there yet are warnings of kubectl."""
    body = document("good", {"namespaces": ["default", "later"], "masterNets": ["10.0.1.0/24", "10.0.9.0/24"]})
    body["spec"] |= ipam(interfaceBlock=1, comment="ours")
    async with kubectl_with_webhook(tmp_path, make_host) as kubectl:
        code, output = await kubectl("apply", "-f", "-", stdin=yaml.safe_dump(body))
        assert code == 0
        assert "multinicnetwork.multinic.fms.io/good created" in output
        for warning in (
            "spec.ipam.interfaceBlock 1: 2 of 2 blocks are in use",
            "spec.ipam.comment: found an unknown key, which has no effect",
            "spec.masterNets[1]: found '10.0.9.0/24', which no NIC of any node is in now",
            "spec.namespaces[1]: found 'later', which does not exist",
        ):
            assert f"Warning: multinic: {warning}" in output
        code, output = await kubectl("label", "multinicnetwork", "taken", "team=blue")
        assert code == 0, "metadata may be changed whatever the spec"
