"""CNI types: netconf in, results and errors out, for every version."""

import json
from ipaddress import ip_interface, ip_network

import pytest

from multinic_core import ConfigError, PoolExhaustedError
from multinic_core.cni import (
    SUPPORTED_VERSIONS,
    Interface,
    IPConfig,
    Result,
    RouteConfig,
    error_json,
    parse_cni_args,
    parse_netconf,
    parse_result,
)
from multinic_core.errors import DecodeError, IncompatibleVersionError

ORIGINAL = """{"cniVersion":"0.3.0","name":"multinic-ipvlanl3","type":"multi-nic",
 "ipam":{"hostBlock":8,"interfaceBlock":2,"type":"multi-nic-ipam","vlanMode":"l3"},"dns":{},
 "plugin":{"cniVersion":"0.3.0","mode":"l3","type":"ipvlan"},
 "subnet":"192.168.0.0/16","masterNets":["10.0.1.0/24","10.0.2.0/24"],
 "multiNICIPAM":true,"daemonIP":"","daemonPort":11000}"""

RESULT = Result(
    (Interface("net1-0", "02:00:00:00:00:01", 1500, "/run/netns/c1", "0000:01:00.0"),),
    (IPConfig(ip_interface("192.168.0.1/18"), 0), IPConfig(ip_interface("fd00::1/64"), 0)),
    (RouteConfig(ip_network("10.9.0.0/16"), ip_interface("192.168.0.254/18").ip),),
)


def test_a_definition_of_the_original_is_understood():
    """A NetworkAttachmentDefinition written by Multi-NIC CNI 1.3 is read whole."""
    netconf = parse_netconf(ORIGINAL)
    assert netconf.name == "multinic-ipvlanl3"
    assert netconf.plugin == {"cniVersion": "0.3.0", "mode": "l3", "type": "ipvlan"}
    assert netconf.ipam["type"] == "multi-nic-ipam"
    assert netconf.master_nets == ["10.0.1.0/24", "10.0.2.0/24"]
    assert netconf.multi_nic_ipam is True


@pytest.mark.parametrize(
    ("args", "masters"),
    [
        ({"masters": ["eth1", "eth2"]}, ["eth1", "eth2"]),
        ({"master": "eth1"}, ["eth1"]),
        ({"master": ["eth1"]}, ["eth1"]),
        ({"master": "eth1", "masters": ["eth2"]}, ["eth2"]),
        ({}, []),
    ],
)
def test_master_is_accepted_beside_masters(args, masters):
    """Both spellings that the original's pages show are read."""
    netconf = parse_netconf(json.dumps({"name": "n", "args": {"cni": args}}))
    assert netconf.args.cni.masters == masters


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("{", DecodeError, "not JSON"),
        ("[]", DecodeError, "found a JSON list, expected an object"),
        ('{"cniVersion": "9.0.0"}', IncompatibleVersionError, "found '9.0.0', expected one of 0.3.0, 0.3.1"),
        ('{"name": "n", "args": {"cni": {"nics": "many"}}}', ConfigError, "args.cni.nics: found 'many'"),
        ('{"name": "n", "masterNets": "10.0.0.0/8"}', ConfigError, "masterNets: found '10.0.0.0/8'"),
        ('{"name": "../etc"}', ConfigError, "name: found '../etc'"),
    ],
)
def test_bad_netconf_is_refused_with_its_path(text, error, told):
    """Each fault has its CNI code and says what was found."""
    with pytest.raises(error) as refused:
        parse_netconf(text)
    assert told in str(refused.value)


def test_valid_attachments_are_absent_or_empty():
    """GC tells a missing list from an empty one, and knows the key of older drafts."""
    assert parse_netconf('{"name": "n"}').valid_attachments is None
    assert parse_netconf('{"name": "n", "cni.dev/valid-attachments": []}').valid_attachments == []
    (attachment,) = parse_netconf(
        '{"name": "n", "cni.dev/attachments": [{"containerID": "c", "ifname": "net1"}]}'
    ).valid_attachments
    assert (attachment.container_id, attachment.ifname) == ("c", "net1")


def test_cni_args_name_the_pod_and_static_addresses():
    """The pod's names and the comma list of addresses are read, other keys passed over."""
    pod, addresses = parse_cni_args(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=p;K8S_POD_UID=u;IP=192.168.0.1/18,fd00::1/64"
    )
    assert (pod.namespace, pod.name, pod.uid) == ("ns", "p", "u")
    assert addresses == (ip_interface("192.168.0.1/18"), ip_interface("fd00::1/64"))


def test_bad_cni_args_are_all_told():
    """A part without = and an address that is none are two problems."""
    with pytest.raises(ConfigError) as refused:
        parse_cni_args("nonsense;IP=300.1.1.1/8")
    assert len(refused.value.problems) == 2


@pytest.mark.parametrize("version", SUPPORTED_VERSIONS)
def test_result_has_the_shape_of_its_version(version):
    """0.x tells the address family, 1.1.0 tells mtu and PCI address, every version names the sandbox."""
    document = RESULT.to_json(version)
    assert document["cniVersion"] == version
    assert [ip.get("version") for ip in document["ips"]] == (["4", "6"] if version[0] == "0" else [None, None])
    assert document["interfaces"][0]["sandbox"] == "/run/netns/c1"
    assert ("mtu" in document["interfaces"][0]) == ("pciID" in document["interfaces"][0]) == (version == "1.1.0")
    assert document["ips"][0]["interface"] == 0


@pytest.mark.parametrize("version", SUPPORTED_VERSIONS)
def test_result_survives_a_round_trip(version):
    """What is printed for one version is read back as the same addresses, interfaces and routes."""
    again = parse_result(RESULT.to_json(version))
    assert again.ips == RESULT.ips
    assert again.routes == RESULT.routes
    assert [i.name for i in again.interfaces] == ["net1-0"]


def test_a_result_that_is_none_is_refused():
    """A prevResult with a broken address is a decode failure."""
    with pytest.raises(DecodeError, match="prevResult"):
        parse_result({"ips": [{"address": "nowhere"}]})


def test_error_json_carries_code_and_message():
    """The error document is what a runtime expects."""
    error = PoolExhaustedError("pool 'p' is full", details="14 are held")
    assert error_json(error, "1.0.0") == {
        "cniVersion": "1.0.0",
        "code": 102,
        "msg": "pool 'p' is full",
        "details": "14 are held",
    }
