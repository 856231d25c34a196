"""VLAN links that we made on NICs of the node against the rows that need them. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from multinic_daemon.audit.findings import Finding, Kind, Verdict
from multinic_daemon.audit.world import World
from multinic_daemon.podlinks.vlans import made_for_pods, vlan_links


def judge_vlans(world: World) -> Iterator[Finding]:
    """One finding for each that no row is on; one that is missing is told of with its row."""
    links = world.kernel.routing.links.values()
    names = {link.ifindex: link.ifname for link in links}
    needed = {parent for row in world.rows for parent in row.record.vlans}
    for parent, link in sorted(vlan_links(links).items()):
        if made_for_pods(link) and parent not in needed:
            yield Finding(
                Kind.VLAN_WITHOUT_ROW,
                link.ifname,
                Verdict.DIFFERENCE,
                journal="no row",
                kernel=f"VLAN {parent.vlan} of NIC {names.get(parent.ifindex, parent.ifindex)}",
            )
