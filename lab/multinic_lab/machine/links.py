"""The few rtnetlink requests of the lab, and what links, routes and rules there are. Synchronous, in the calling
thread's namespace.

Called through :func:`multinic_lab.machine.netns.run_in`. Listings are JSON-ready and named as ``ip -j`` names
things where it has a name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Interface, IPv6Interface, ip_address
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from multinic_core.errors import KernelError

IPInterface = IPv4Interface | IPv6Interface
IFA_F_NODAD = 2
"""Use an IPv6 address at once. Source: linux/if_addr.h."""
_ROUTE_TYPES = {
    1: "unicast",
    2: "local",
    3: "broadcast",
    4: "anycast",
    5: "multicast",
    6: "blackhole",
    7: "unreachable",
}
_SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
_FAMILIES = {2: "inet", 10: "inet6"}


@contextmanager
def conversation(what: str) -> Iterator[Any]:
    """An rtnetlink socket of the calling thread's namespace. Raises KernelError naming ``what``."""
    try:
        with IPRoute() as ipr:
            yield ipr
    except NetlinkError as error:
        raise KernelError(what, error.code) from error


def _index(ipr: Any, ifname: str) -> int:
    found = ipr.link_lookup(ifname=ifname)
    if not found:
        raise KernelError(f"link {ifname!r} does not exist", 19)
    return int(found[0])


def loopback_up() -> None:
    """Set ``lo`` up, as every namespace of a pod or a node has it."""
    with conversation("set lo up") as ipr:
        ipr.link("set", index=1, state="up")


def add_bridge(ifname: str, addresses: Iterable[IPInterface]) -> None:
    """Add a bridge that forwards at once (no spanning tree), with addresses of the fabric itself."""
    with conversation(f"add bridge {ifname}") as ipr:
        ipr.link("add", ifname=ifname, kind="bridge", br_stp_state=0, br_forward_delay=0, br_mcast_snooping=0)
        index = _index(ipr, ifname)
        ipr.link("set", index=index, state="up")
        _add_addresses(ipr, index, addresses)


def add_nic(port: str, bridge: str, node: str, ifname: str, mtu: int) -> None:
    """Add a NIC: a port of ``bridge`` here, and ``ifname`` directly in the namespace named or at path ``node``."""
    with conversation(f"add NIC {ifname} of {node}") as ipr:
        peer = {"ifname": ifname, "net_ns_fd": node, "mtu": mtu}
        ipr.link("add", ifname=port, kind="veth", peer=peer, mtu=mtu, master=_index(ipr, bridge), state="up")


def _add_addresses(ipr: Any, index: int, addresses: Iterable[IPInterface]) -> None:
    for address in addresses:
        arguments: dict[str, Any] = {"index": index, "address": str(address.ip), "prefixlen": address.network.prefixlen}
        if address.version == 6:
            arguments["flags"] = IFA_F_NODAD
        elif address.network.prefixlen < 31:
            arguments["broadcast"] = str(address.network.broadcast_address)
        ipr.addr("add", **arguments)


def configure(ifname: str, addresses: Iterable[IPInterface], gateways: Iterable[str] = ()) -> None:
    """Set a link up, give it addresses, and default routes over it."""
    with conversation(f"configure {ifname}") as ipr:
        index = _index(ipr, ifname)
        ipr.link("set", index=index, state="up")
        _add_addresses(ipr, index, addresses)
        for gateway in gateways:
            default = "0.0.0.0/0" if ip_address(gateway).version == 4 else "::/0"
            ipr.route("add", dst=default, gateway=gateway, oif=index)


def readdress(ifname: str, addresses: Iterable[IPInterface]) -> None:
    """Replace all global addresses of a link."""
    with conversation(f"readdress {ifname}") as ipr:
        index = _index(ipr, ifname)
        for message in [m for m in ipr.get_addr(index=index) if m["index"] == index and m["scope"] == 0]:
            ipr.addr("del", index=index, address=message.get("address"), prefixlen=message["prefixlen"])
        _add_addresses(ipr, index, addresses)


def set_state(ifname: str, state: str) -> None:
    """``state`` is "up" or "down"."""
    with conversation(f"set {ifname} {state}") as ipr:
        ipr.link("set", index=_index(ipr, ifname), state=state)


def set_mtu(ifname: str, mtu: int) -> None:
    with conversation(f"set the MTU of {ifname}") as ipr:
        ipr.link("set", index=_index(ipr, ifname), mtu=mtu)


def rename(ifname: str, new: str) -> None:
    """Rename a link, which older kernels allow only while it is down; it is up afterwards with its IPv4 addresses."""
    with conversation(f"rename {ifname} to {new}") as ipr:
        index = _index(ipr, ifname)
        ipr.link("set", index=index, state="down")
        ipr.link("set", index=index, ifname=new)
        ipr.link("set", index=index, state="up")


def remove(ifname: str) -> None:
    """Remove a link, for a NIC together with its port; what is gone is no error."""
    with conversation(f"remove {ifname}") as ipr:
        for index in ipr.link_lookup(ifname=ifname):
            ipr.link("del", index=index)


def list_links() -> list[dict[str, Any]]:
    """Links with their addresses, sorted by ifindex."""
    with conversation("list links") as ipr:
        addresses: dict[int, list[dict[str, Any]]] = {}
        for message in ipr.get_addr():
            addresses.setdefault(message["index"], []).append(
                {
                    "family": _FAMILIES.get(message["family"], str(message["family"])),
                    "local": message.get("local") or message.get("address"),
                    "prefixlen": message["prefixlen"],
                    "scope": _SCOPES.get(message["scope"], str(message["scope"])),
                }
            )
        return [_link(message, addresses) for message in sorted(ipr.get_links(), key=lambda m: m["index"])]


def _link(message: Any, addresses: dict[int, list[dict[str, Any]]]) -> dict[str, Any]:
    info = message.get("linkinfo")
    return {
        "ifindex": message["index"],
        "ifname": message.get("ifname"),
        "link_kind": (info.get("kind") if info else None) or "",
        "link_index": message.get("link"),
        "group": message.get("group") or 0,
        "mtu": message.get("mtu"),
        "address": message.get("address") or "",
        "operstate": message.get("operstate") or "",
        "up": bool(message["flags"] & 1),
        "addr_info": addresses.get(message["index"], []),
    }


def list_routes() -> list[dict[str, Any]]:
    """Routes of every table but ``local``, sorted by (table, dst)."""
    with conversation("list routes") as ipr:
        names = {message["index"]: message.get("ifname") for message in ipr.get_links()}
        routes = [_route(m, names) for family in _FAMILIES for m in ipr.get_routes(family=family)]
    return sorted((route for route in routes if route["table"] != 255), key=lambda r: (r["table"], r["dst"]))


def _route(message: Any, names: dict[int, str]) -> dict[str, Any]:
    destination = message.get("dst")
    return {
        "dst": f"{destination}/{message['dst_len']}" if destination else "default",
        "family": _FAMILIES.get(message["family"], str(message["family"])),
        "gateway": message.get("gateway") or "",
        "ifname": names.get(message.get("oif") or 0) or "",
        "table": message.get("table") or message["table"],
        "protocol": message["proto"],
        "type": _ROUTE_TYPES.get(message["type"], str(message["type"])),
        "scope": _SCOPES.get(message["scope"], str(message["scope"])),
        "priority": message.get("priority") or 0,
    }


def list_rules() -> list[dict[str, Any]]:
    """Policy rules of both families, sorted by (family, priority)."""
    with conversation("list rules") as ipr:
        rules = [_rule(message) for family in _FAMILIES for message in ipr.get_rules(family=family)]
    return sorted(rules, key=lambda rule: (rule["family"], rule["priority"]))


def list_routing() -> dict[str, Any]:
    """Both lists: ``routes`` and ``rules``."""
    return {"routes": list_routes(), "rules": list_rules()}


def _rule(message: Any) -> dict[str, Any]:
    source, destination = message.get("src"), message.get("dst")
    return {
        "family": _FAMILIES.get(message["family"], str(message["family"])),
        "priority": message.get("priority") or 0,
        "src": f"{source}/{message['src_len']}" if source else "all",
        "dst": f"{destination}/{message['dst_len']}" if destination else "all",
        "table": message.get("table") or message["table"],
        "protocol": message.get("protocol") or 0,
    }
