"""Small valid values: a node with some NICs, a network, a pool, a request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import ip_interface, ip_network
from typing import Any

from multinic_core.devices import Vf, VfSettings
from multinic_core.model import AttachPolicy, MultiNicNetwork, MultiNicNetworkSpec, ObjectMeta, PluginSpec
from multinic_core.plan import AttachmentRequest, LinkRequest, Nic, NodeView, PodReference
from multinic_core.pools import HeldIndexes, Pool


def example_nic(number: int = 1, *, mtu: int = 1500) -> Nic:
    """NIC ``eth<number>`` with address 10.0.<number>.1/24 and two virtual functions."""
    return Nic(
        ifname=f"eth{number}",
        ifindex=10 + number,
        mtu=mtu,
        mac_address=f"02:00:00:00:00:{number:02x}",
        addresses=(ip_interface(f"10.0.{number}.1/24"),),
        vendor="15b3",
        product="1019",
        pci_address=f"0000:{number:02x}:00.0",
        driver="mlx5_core",
        speed=25_000,
        vfs=tuple(example_vf(number, index, mtu=mtu) for index in range(2)),
        vfs_possible=8,
        own_addresses=(ip_interface(f"10.0.{number}.1/24"),),
    )


def example_vf(number: int = 1, index: int = 0, *, mtu: int = 1500) -> Vf:
    """A virtual function of NIC ``eth<number>`` that nobody has, ``eth<number>v<index>``."""
    return Vf(
        index=index,
        pci_address=f"0000:{number:02x}:10.{index}",
        driver="mlx5_core",
        ifname=f"eth{number}v{index}",
        ifindex=1000 + 10 * number + index,
        mac_address=f"02:00:00:01:{number:02x}:{index:02x}",
        mtu=mtu,
        rdma_devices=(f"mlx5_{10 * number + index}",),
        settings=VfSettings("00:00:00:00:00:00", 0, 0, True, False, "auto", 0, 0),
    )


def example_node(nics: int = 2, *, mtu: int = 1500) -> NodeView:
    """Node ``node-1`` with NICs ``eth1`` up to ``eth<nics>``."""
    members = (example_nic(number, mtu=mtu) for number in range(1, nics + 1))
    return NodeView("node-1", {nic.ifname: nic for nic in members})


def example_network(
    plugin: str, args: Mapping[str, str] | None = None, *, strategy: str = "none", **spec: Any
) -> MultiNicNetwork:
    """Network ``example`` on 192.168.0.0/16 with interfaceBlock 2 and hostBlock 6; ``spec`` overrides fields."""
    ipam = {"type": "multi-nic-ipam", "interfaceBlock": 2, "hostBlock": 6, "vlanMode": "l3"}
    fields: dict[str, Any] = {
        "subnet": "192.168.0.0/16",
        "ipam": json.dumps(ipam),
        "multi_nic_ipam": True,
        "plugin": PluginSpec(cni_version="0.3.0", type=plugin, args=dict(args or {})),
        "attach_policy": AttachPolicy(strategy=strategy),
    }
    return MultiNicNetwork(
        metadata=ObjectMeta(name="example", uid="0b1c", generation=1),
        spec=MultiNicNetworkSpec.model_validate(fields | spec),
    )


def example_request(plugin: Mapping[str, Any], parents: tuple[str, ...] = ("eth1", "eth2")) -> AttachmentRequest:
    """Attachment ``net1`` with one link and address per parent."""
    return AttachmentRequest(
        container_id="c1",
        ifname="net1",
        netns="/run/netns/c1",
        network="example",
        pod=PodReference("default", "pod-1", "uid-1"),
        config=plugin,
        links=tuple(
            LinkRequest(f"net1-{number}", parent, (ip_interface(f"192.168.{number}.1/24"),))
            for number, parent in enumerate(parents)
        ),
    )


def example_pool(number: int = 0, *, network: str = "", held: HeldIndexes | None = None, cursor: int = 0) -> Pool:
    """The pool of host 0 on interface ``number``, for NIC ``eth<number + 1>``."""
    block = ip_network(network or f"192.168.{64 * number}.0/24")
    return Pool(
        name=f"example-{block}".replace("/", "-"),
        network=block,
        prefix_length=max(0, block.prefixlen - 6),
        parent=f"eth{number + 1}",
        held=held or HeldIndexes(),
        cursor=cursor,
    )
