"""Routes inside the pod: what the network's ``ipam.routes`` and IPAM executables name, as steps of a plan.

A destination with one gateway is an ordinary route through the link on whose network the gateway lies. One with several
is one route with that many next hops, over which the kernel spreads the traffic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

from multinic_core.errors import ConfigError
from multinic_core.plan import MAIN_TABLE, AddRoute, IPAddress, IPNetwork, LinkRequest, NextHop

Way = tuple[IPNetwork, str, IPAddress | None]
"""(destination, link, gateway)"""


def pod_routes(ipam: Mapping[str, Any], links: Sequence[LinkRequest]) -> tuple[AddRoute, ...]:
    """``ipam.routes`` as routes inside the pod, each gateway through the first link on whose network it lies.

    Raises:
        ConfigError: an entry without network or gateway, or a gateway on no link's network; all at once.
    """
    return joined(configured_ways(ipam, links)) if ipam.get("routes") else ()


def configured_ways(ipam: Mapping[str, Any], links: Sequence[LinkRequest]) -> Sequence[Way]:
    """The entries of ``ipam.routes``, in order. Raises as ``pod_routes``."""
    entries = ipam.get("routes") or []
    if not isinstance(entries, list):
        raise ConfigError(f"ipam.routes: found {entries!r}, expected a list")
    networks = [(link.ifname, address.network) for link in links for address in link.addresses]
    ways: list[Way] = []
    problems: list[str] = []
    for position, entry in enumerate(entries):
        path = f"ipam.routes[{position}]"
        try:
            dst = ip_network(entry["dst"], strict=False)
            gateway = ip_address(entry["gw"])
        except (KeyError, TypeError, ValueError):
            problems.append(f"{path}: found {entry!r}, expected 'dst', a network, and 'gw', an address")
            continue
        ifname = next((name for name, network in networks if gateway in network), None)
        if dst.version != gateway.version:
            problems.append(f"{path}: found {entry!r}, expected dst and gw of one address family")
        elif ifname is None:
            found = sorted({str(network) for _, network in networks})
            problems.append(f"{path}.gw: found {str(gateway)!r}, expected an address of {found!r}")
        else:
            ways.append((dst, ifname, gateway))
    if problems:
        raise ConfigError(*problems)
    return ways


def joined(ways: Iterable[Way], table: int = MAIN_TABLE) -> tuple[AddRoute, ...]:
    """One route for each destination, with all its ways, each once, in the order in which they were named."""
    hops: dict[IPNetwork, dict[tuple[str, IPAddress | None], None]] = {}
    for dst, ifname, gateway in ways:
        hops.setdefault(dst, {})[ifname, gateway] = None
    routes = []
    for dst, found in hops.items():
        (ifname, gateway), *others = found
        routes.append(AddRoute(dst, ifname, gateway, table, tuple(NextHop(*other) for other in others)))
    return tuple(routes)


def ways_of(route: AddRoute) -> Iterator[Way]:
    """The single ways of a route."""
    yield route.dst, route.ifname, route.gateway
    for hop in route.others:
        yield route.dst, hop.ifname, hop.gateway


def in_tables(routes: Sequence[AddRoute], tables: Mapping[str, int]) -> Iterator[AddRoute]:
    """The same routes in the tables of their links, as far as those have one.

    Args:
        tables: ifname to table.
    """
    if tables and routes:
        ways = [way for route in routes for way in ways_of(route)]
        for table in dict.fromkeys(tables.values()):
            yield from joined((way for way in ways if tables.get(way[1]) == table), table)


def without_shared(ipam: Mapping[str, Any]) -> dict[str, Any]:
    """An ipam block for an executable, without the routes that have several gateways: those are ours to add."""
    entries = ipam.get("routes")
    if not isinstance(entries, list):
        return dict(ipam)
    gateways: dict[object, set[object]] = {}
    for entry in entries:
        if isinstance(entry, Mapping) and entry.get("gw"):
            gateways.setdefault(entry.get("dst"), set()).add(entry["gw"])
    kept = [entry for entry in entries if not isinstance(entry, Mapping) or len(gateways.get(entry.get("dst"), ())) < 2]
    return {**ipam, "routes": kept}
