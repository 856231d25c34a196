"""What every plugin of a register must keep, as functions that raise AssertionError.

They call the plugin the way operator and daemon do: with frozen values, twice with equal values, and with more and
fewer NICs than it may expect.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import BaseModel

from multinic_core.devices import TakeDevice
from multinic_core.errors import ConfigError, MultinicError, PoolExhaustedError, SelectionError
from multinic_core.hookspecs import AttachmentStrategy, Ipam, MainPlugin, NetworkConfig
from multinic_core.outside import RunPlugin
from multinic_core.plan import AddAddress, AllocationRequest, AttachmentRequest, CreateLink, NodeView, PodReference
from multinic_core.pools import HeldIndexes
from multinic_core.selection import SelectionRequest
from multinic_core.testing.clusterside import check_cluster_side
from multinic_core.testing.examples import (
    example_network,
    example_nic,
    example_node,
    example_pool,
    example_request,
)

IFNAME_LIMIT = 15
"""Bytes. Source: linux/if.h, IFNAMSIZ less the closing zero."""


def _refusal(error: type[MultinicError], call: Callable[..., object], *values: object) -> str:
    """The message with which the call refuses, or "" when it does not."""
    try:
        call(*values)
    except error as refused:
        return str(refused) or repr(refused)
    return ""


def _check_name(plugin: Any) -> None:
    name = getattr(plugin, "name", None)
    assert isinstance(name, str), f"name: found {name!r}, expected a string"
    assert name, "name: found an empty string"


def check_main_plugin(plugin: MainPlugin, args: Mapping[str, str] | None = None, **spec: Any) -> None:
    """Hold a main plugin to its contract.

    Args:
        args: valid ``spec.plugin.args`` for it.
        spec: other fields of ``spec`` that its networks have otherwise than ``example_network``.
    """
    _check_name(plugin)
    kinds = plugin.link_kinds
    assert isinstance(kinds, frozenset), f"link_kinds: found {kinds!r}, expected a frozenset of link kinds"
    assert issubclass(plugin.args_model, BaseModel), (
        f"args_model: found {plugin.args_model!r}, expected a pydantic model"
    )
    network = example_network(plugin.name, args, **spec)
    config = plugin.network_config(network, [])
    assert isinstance(config, NetworkConfig), f"network_config: found {config!r}, expected a NetworkConfig"
    assert json.loads(json.dumps(config.plugin)) == config.plugin, "network_config: the plugin block is not plain JSON"
    assert plugin.network_config(network, []) == config, "network_config: differs when asked again"
    unknown = example_network(plugin.name, {"noSuchArgument": "1"}, **spec)
    refusal = _refusal(ConfigError, plugin.network_config, unknown, [])
    assert refusal, "network_config: an unknown argument is accepted in silence"
    assert "noSuchArgument" in refusal, f"network_config: the refusal {refusal!r} does not name the argument"
    check_cluster_side(plugin, network)
    for count in (1, 2, 16):
        node = example_node(count)
        request = example_request(config.plugin, tuple(node.nics))
        plan = plugin.plan(request, node)
        _check_plan(plugin, plan.steps, request.links)
        assert plugin.plan(request, node) == plan, "plan: differs when asked again"
        _check_mac_addresses(plugin, request, node)
    refusal = _refusal(MultinicError, plugin.plan, example_request(config.plugin, ("nosuchnic",)), example_node(1))
    assert refusal, "plan: a parent that the node does not have is accepted in silence"
    assert "nosuchnic" in refusal, f"plan: the refusal {refusal!r} does not name the NIC"


def _check_mac_addresses(plugin: MainPlugin, request: AttachmentRequest, node: NodeView) -> None:
    """Links that it makes have the MAC addresses that are asked for, or it says of them that they cannot."""
    macs = [f"02:00:5e:10:00:{number:02x}" for number, _ in enumerate(request.links)]
    links = tuple(replace(link, mac_address=mac) for link, mac in zip(request.links, macs, strict=True))
    asked = replace(request, links=links)
    if refusal := _refusal(MultinicError, plugin.plan, asked, node):
        assert macs[0] in refusal, f"plan: the refusal {refusal!r} does not name the MAC address asked for"
        return
    wanted = {link.ifname: link.mac_address for link in links}
    for step in plugin.plan(asked, node).links:
        given, due = step.mac_address, wanted[step.ifname]
        assert given == due, f"plan: gives {step.ifname!r} MAC address {given!r}, expected {due!r} or a refusal"


def _check_plan(plugin: MainPlugin, steps: tuple[Any, ...], links: tuple[Any, ...]) -> None:
    made = [step for step in steps if isinstance(step, (CreateLink, TakeDevice, RunPlugin))]
    names = [step.ifname for step in made]
    wanted = [link.ifname for link in links]
    assert names == wanted, f"plan: makes {names}, expected {wanted}"
    created = [step for step in made if isinstance(step, CreateLink)]
    for step in created:
        assert step.link_kind in plugin.link_kinds, f"plan: makes {step.link_kind!r}, which link_kinds does not name"
        assert len(step.ifname.encode()) <= IFNAME_LIMIT, f"plan: {step.ifname!r} is longer than {IFNAME_LIMIT} bytes"
        assert step.mtu > 0, f"plan: mtu {step.mtu} of {step.ifname!r}"
    given = {(step.ifname, step.address) for step in steps if isinstance(step, AddAddress)}
    by_others = {step.ifname for step in made if isinstance(step, RunPlugin)}
    by_others |= {step.ifname for step in made if isinstance(step, TakeDevice) and not step.device}
    expected = {(link.ifname, address) for link in links for address in link.addresses if link.ifname not in by_others}
    assert given == expected, f"plan: gives {given}, expected {expected}"


def check_strategy(strategy: AttachmentStrategy, request: SelectionRequest | None = None) -> None:
    """Hold an attachment strategy to its contract.

    Args:
        request: one that a node with four example NICs satisfies; None asks for nothing in particular.
    """
    _check_name(strategy)
    request = request or SelectionRequest("example", PodReference("default", "pod-1", "uid-1"))
    candidates = [example_nic(number) for number in range(1, 5)]
    names = [nic.ifname for nic in candidates]
    selection = strategy.select(request, candidates)
    chosen = selection.chosen
    assert isinstance(chosen, tuple), f"select: chosen is {chosen!r}, expected a tuple"
    assert chosen, "select: nothing chosen, expected a NIC or a SelectionError"
    assert len(set(chosen)) == len(chosen), f"select: {chosen} repeats a NIC"
    assert set(chosen) <= set(names), f"select: {chosen} are not all among the candidates {names}"
    assert set(selection.reasons) == set(names), f"select: reasons for {set(selection.reasons)}, expected for {names}"
    assert all(selection.reasons.values()), f"select: an empty reason in {dict(selection.reasons)}"
    assert strategy.select(request, list(candidates)) == selection, "select: differs when asked again"
    refusal = _refusal(SelectionError, strategy.select, request, [])
    assert refusal, "select: a choice on a node without NICs, expected a SelectionError"


def check_ipam(ipam: Ipam, block: Mapping[str, Any] | None = None) -> None:
    """Hold an IPAM to its contract: distinct free addresses inside the pools, all or nothing.

    Args:
        block: keys of its own in the network's ipam block; with these it must be able to give every address of a pool.
    """
    _check_name(ipam)
    own = {"type": ipam.name, "hostBlock": 6, "interfaceBlock": 2, **(block or {})}
    pools = [example_pool(0), example_pool(1)]
    request = AllocationRequest(("eth1", "eth2"), ipam=own)
    given = ipam.allocate(request, pools)
    assert [allocation.parent for allocation in given] == ["eth1", "eth2"], (
        f"allocate: {given}, expected one per parent"
    )
    assert ipam.allocate(request, pools) == given, "allocate: differs when asked again"
    small = "192.168.0.0/28"
    held = HeldIndexes()
    for _ in range(14):
        (allocation,) = ipam.allocate(AllocationRequest(("eth1",), ipam=own), [example_pool(network=small, held=held)])
        assert allocation.index not in held, f"allocate: gives index {allocation.index} twice"
        assert 0 < allocation.index < 15, f"allocate: index {allocation.index} is not for hosts"
        held.add(allocation.index)
    full = [example_pool(network=small, held=held), example_pool(1)]
    assert _refusal(PoolExhaustedError, ipam.allocate, request, full), "allocate: gives out of a full pool"
