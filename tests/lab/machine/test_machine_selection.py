"""The networks annotation and what the CNI executable gets for it."""

import json

import pytest
from multinic_lab.machine.delegate import allows_check, network_status

from multinic_core.cni.delegates import PodIdentity, make_delegate
from multinic_core.cni.podnetworks import NetworkSelection, parse_networks
from multinic_core.errors import ConfigError, DecodeError

POD = PodIdentity("team", "pod-1", "uid-1")
CONTAINER = "c" * 64


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ("", []),
        ("a", [("team", "a", "net1")]),
        (" a , b ", [("team", "a", "net1"), ("team", "b", "net2")]),
        ("other/a@fast0,b", [("other", "a", "fast0"), ("team", "b", "net2")]),
        ("a,a", [("team", "a", "net1"), ("team", "a", "net2")]),
        ('[{"name": "a"}, {"name": "b", "namespace": "other"}]', [("team", "a", "net1"), ("other", "b", "net2")]),
        ('[{"name": "a", "interface": "x0"}, {"name": "b"}]', [("team", "a", "x0"), ("team", "b", "net2")]),
        ('[{"name": "a", "interfaceRequest": "x0"}]', [("team", "a", "x0")]),
    ],
)
def test_both_forms_name_networks_in_order(annotation, expected):
    """Defaults are the pod's namespace and net<position>, counted over named ones too, as Multus counts."""
    assert [(s.namespace, s.name, s.ifname) for s in parse_networks(annotation, "team")] == expected


@pytest.mark.parametrize(
    ("annotation", "problem"),
    [
        ("a/b/c", "found 'a/b/c'"),
        ("a@b@c", "found 'a@b@c'"),
        ("Big", "found 'Big'"),
        ("a,", "found ''"),
        ("a@", "found 'a@'"),
        ("/a", "found '/a'"),
        ("a@with/slash", "expected"),
        ("a@a-name-of-16-chrs", "at most 15"),
        ("a@x,b@x", "'x' is asked for twice"),
        ('{"name": "a"}', "found dict"),
        ("[{", "not JSON"),
        ("[{}]", r"\[0\].name"),
        ('[{"name": "a", "mac": "zz"}]', r"\[0\].mac: found 'zz'"),
        ('[{"name": "a", "ips": ["10.0.0.300"]}]', r"\[0\].ips: found '10.0.0.300'"),
        ('[{"name": "a", "ips": "10.0.0.3"}]', r"\[0\].ips"),
    ],
)
def test_a_malformed_annotation_is_refused(annotation, problem):
    """The error names the element and what was found."""
    with pytest.raises(ConfigError, match=problem):
        parse_networks(annotation, "team")


def selection(**more):
    return NetworkSelection("team", "a", "net1", **more)


def delegate(definition, **more):
    return make_delegate(selection(**more), json.dumps(definition), POD, CONTAINER)


def test_the_configuration_is_the_definition():
    """Without wishes the netconf is the definition itself; a missing name is the definition's own."""
    definition = {"cniVersion": "0.4.0", "type": "multi-nic", "plugin": {"mode": "l3"}}
    assert delegate(definition).configs == (definition | {"name": "a"},)
    assert delegate(definition | {"name": "given"}).configs[0]["name"] == "given"


def test_cni_args_are_merged_into_args_cni():
    """``cni-args`` of the pod go over ``args.cni`` of the definition, key by key; other args stay."""
    definition = {"type": "x", "args": {"cni": {"nics": 1, "class": "fast"}, "other": 1}}
    (config,) = delegate(definition, cni_args={"nics": 2, "masters": ["eth1"]}).configs
    assert config["args"] == {"cni": {"nics": 2, "class": "fast", "masters": ["eth1"]}, "other": 1}


def test_cni_args_environment_names_the_pod():
    """CNI_ARGS carries the pod in a runtime's order, and the addresses asked for."""
    assert delegate({"type": "x"}).cni_args == (
        "IgnoreUnknown=1;K8S_POD_NAMESPACE=team;K8S_POD_NAME=pod-1;"
        f"K8S_POD_INFRA_CONTAINER_ID={CONTAINER};K8S_POD_UID=uid-1"
    )
    wishes = delegate({"type": "x"}, ips=("10.0.0.3/24", "10.0.1.3"), mac="02:00:00:00:00:01").cni_args
    assert wishes.endswith(";IP=10.0.0.3/24,10.0.1.3;MAC=02:00:00:00:00:01")


@pytest.mark.parametrize("declared", [True, False])
def test_runtime_config_needs_a_declared_capability(declared):
    """``runtimeConfig`` carries a wish only where the definition declares the capability, which is not passed on."""
    (config,) = delegate({"type": "x", "capabilities": {"ips": declared, "mac": True}}, ips=("10.0.0.3",)).configs
    assert config.get("runtimeConfig") == ({"ips": ["10.0.0.3"]} if declared else None)
    assert "capabilities" not in config


def test_a_list_gives_one_configuration_for_each_plugin():
    """Each plugin of a configuration list gets the list's name and version."""
    listed = {"cniVersion": "1.0.0", "name": "l", "plugins": [{"type": "x"}, {"type": "y", "name": "own"}]}
    assert delegate(listed).configs == (
        {"type": "x", "cniVersion": "1.0.0", "name": "l"},
        {"type": "y", "cniVersion": "1.0.0", "name": "l"},
    )


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"plugins": []}', '{"plugins": [{"name": "x"}]}'])
def test_what_is_no_configuration_is_refused(text):
    """The error names the definition."""
    with pytest.raises(ConfigError, match=r"NetworkAttachmentDefinition team/a spec\.config"):
        make_delegate(selection(), text, POD, CONTAINER)


@pytest.mark.parametrize(
    ("version", "allowed"), [("0.3.1", False), ("0.4.0", True), ("1.0.0", True), ("1.1.0", True), (None, False)]
)
def test_check_and_prev_result_on_del_come_with_version_0_4_0(version, allowed):
    """A runtime calls CHECK, and hands the result of ADD to DEL, only from specification 0.4.0."""
    assert allows_check({} if version is None else {"cniVersion": version}) is allowed


def test_network_status_has_an_entry_for_each_interface_of_the_pod():
    """Interfaces on the node are left out, and every address is with the interface it points at."""
    result = {
        "interfaces": [
            {"name": "eth1"},
            {"name": "net1-0", "mac": "02:00:00:00:00:01", "sandbox": "/run/netns/x"},
            {"name": "net1-1", "mtu": 9000, "sandbox": "/run/netns/x"},
        ],
        "ips": [{"address": "10.0.1.2/24", "interface": 2}, {"address": "10.0.0.2/24", "interface": 1}],
    }
    assert network_status(delegate({"type": "x"}), result) == [
        {"name": "team/a", "interface": "net1-0", "ips": ["10.0.0.2"], "mac": "02:00:00:00:00:01", "dns": {}},
        {"name": "team/a", "interface": "net1-1", "ips": ["10.0.1.2"], "mtu": 9000, "dns": {}},
    ]


def test_network_status_of_a_result_without_interfaces_names_the_interface_asked_for():
    """Addresses without an interface belong to the one asked for."""
    result = {"ips": [{"address": "fd00::2/64"}], "dns": {"nameservers": ["10.0.0.1"]}}
    assert network_status(delegate({"type": "x"}), result) == [
        {"name": "team/a", "interface": "net1", "ips": ["fd00::2"], "dns": {"nameservers": ["10.0.0.1"]}}
    ]


def test_a_result_that_is_none_is_refused():
    """A malformed result is an error of the network, not of the kubelet."""
    with pytest.raises(DecodeError, match="result of team/a"):
        network_status(delegate({"type": "x"}), {"interfaces": [{"sandbox": "/x"}]})
