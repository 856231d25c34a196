"""What host routes cost a node in a large cluster: all of them for the first time, one node's, and none.

A network whose CIDR lists no nodes spans thousands of them with eight NICs each. Timed are the daemon's own parts on a
node made of network namespaces: computing what is wanted from every node's HostInterface, and bringing the kernel to
it. What a node that joins costs is both together, from the object being there to the kernel's last answer.
"""

import argparse
import resource
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

import trio
from harness.namespaces import node_with_nics
from harness.report import BenchError, Report, Target, carry_out
from multinic_daemon.hostroutes.desired import NetworkRoutes
from multinic_daemon.hostroutes.keeper import RouteKeeper
from multinic_daemon.hostroutes.wishes import Step, Wishes
from rich.table import Table

from multinic_core.model import CIDRS, HOST_INTERFACES
from multinic_core.testing.kube import FakeKubernetes

NICS = 8
JOINS = 10
JOIN_LIMIT = 0.5
"""Seconds that a node which joins may cost each other one."""
OWN = "node-00000"


def host(number: int) -> dict[str, Any]:
    """A node; more of them than a NIC's network has addresses share those."""
    interfaces = [
        {
            "interfaceName": f"eth{nic + 1}",
            "netAddress": f"192.168.{100 + nic}.0/24",
            "hostIP": f"192.168.{100 + nic}.{1 + number % 250}",
        }
        for nic in range(NICS)
    ]
    name = f"node-{number:05d}"
    spec = {"hostName": name, "interfaces": interfaces}
    return {"metadata": {"name": name}, "spec": spec, "status": {"hostIndex": number}}


def cidr() -> dict[str, Any]:
    """A network of 2^13 nodes that lists none of them."""
    config = {
        "name": "bench",
        "type": "ipvlan",
        "subnet": "100.64.0.0/10",
        "masterNets": [],
        "hostBlock": 13,
        "interfaceBlock": 4,
        "vlanMode": "l3",
    }
    entries = [
        {"netAddress": f"192.168.{100 + nic}.0/24", "interfaceIndex": nic, "vlanCIDR": f"100.{64 + 4 * nic}.0.0/14"}
        for nic in range(NICS)
    ]
    return {"metadata": {"name": "bench"}, "spec": {"config": config, "cidr": entries, "compact": True}}


def timed(do: Callable[[], Any]) -> tuple[Any, float]:
    """The result, and the seconds it took."""
    start = time.perf_counter()
    return do(), time.perf_counter() - start


def compare(keeper: RouteKeeper, wishes: Wishes) -> list[NetworkRoutes]:
    """Bring the kernel to all that is wanted, reading all there is."""
    wanted = [sort() for sort in wishes.whole()]
    if problems := keeper.reconcile(wanted):
        raise BenchError(f"the kernel refused routes: {problems}")
    return wanted


async def step(wishes: Wishes) -> Step:
    await wishes.refresh()
    return wishes.take()


def join(kubernetes: FakeKubernetes, wishes: Wishes, keeper: RouteKeeper, number: int) -> None:
    """One node joins: its routes, on top of what is there."""
    kubernetes.seed(HOST_INTERFACES, host(number))
    deltas = trio.run(step, wishes).deltas
    if deltas is None or keeper.follow(deltas) != {} or len(deltas["bench"]) != NICS:
        raise BenchError("a node that joined did not become its own routes alone")


def measure(nodes: int) -> dict[str, float]:
    """Seconds of each part, MiB of this process, and how many routes there were at the end."""
    kubernetes = FakeKubernetes()
    kubernetes.seed(HOST_INTERFACES, *map(host, range(nodes)))
    kubernetes.seed(CIDRS, cidr())
    wishes = Wishes(OWN, kubernetes, lambda: None)
    _, computed = timed(lambda: trio.run(step, wishes))
    keeper = RouteKeeper()
    _, filled = timed(lambda: compare(keeper, wishes))
    joins = [timed(partial(join, kubernetes, wishes, keeper, nodes + n))[1] for n in range(JOINS)]
    keeper.close()
    keeper = RouteKeeper()
    ((wanted,), restarted) = timed(lambda: compare(keeper, wishes))
    keeper.close()
    return {
        "nodes": nodes,
        "routes": len(wanted.routes),
        "compute_s": round(computed, 3),
        "first_fill_s": round(filled, 3),
        "join_ms": round(1e3 * median(joins), 2),
        "restart_s": round(restarted, 3),
        "resident_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def bench(sizes: Sequence[int]) -> Report:
    """Measure clusters of these sizes, the smallest first.

    Raises:
        BenchError: no network namespaces, or a wrong number of nodes.
    """
    if not sizes or min(sizes) < 2 or max(sizes) + JOINS > 1 << 13:
        raise BenchError(f"--nodes: found {list(sizes)}, expected numbers from 2 to {(1 << 13) - JOINS}")
    with node_with_nics(NICS):
        found = [measure(nodes) for nodes in sorted(sizes)]
    table = Table("nodes", "routes", "compute all, s", "first fill, s", "one joins, ms", "restart, s", "MiB")
    for each in found:
        table.add_row(*map(str, each.values()))
    target = Target(f"a node joins {found[-1]['nodes']}, seconds", found[-1]["join_ms"] / 1e3, JOIN_LIMIT)
    return Report("routes", {str(each["nodes"]): each for each in found}, [target], [table])


def main() -> int:
    """Print what was found; the exit status says whether it could be carried out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=[100, 1000, 5000], help="nodes of the clusters")
    parser.add_argument("--json", action="store_true", help="print one JSON object for programs")
    arguments = parser.parse_args()
    return carry_out(lambda: bench(arguments.nodes), as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
