"""STATUS: whether an ADD of this network could succeed on this node now."""

from __future__ import annotations

from multinic_core.errors import ConnectivityLimitedError, DaemonUnavailableError, MultinicError, NotReadyError
from multinic_core.model import MULTI_NIC_IPAM
from multinic_daemon.engine.context import Engine
from multinic_daemon.engine.invocation import Invocation
from multinic_daemon.engine.lookup import require_executables
from multinic_daemon.engine.planning import main_plugin
from multinic_daemon.engine.prepare import node_pools, require_pools
from multinic_daemon.engine.select import choose, find_members
from multinic_daemon.engine.sources import Asked, read_source


async def status(engine: Engine, call: Invocation) -> None:
    """Say nothing when the node can serve.

    Raises:
        NotReadyError: the API was never reached, the journal cannot be written, the network is unknown, a plugin or
            a pool is missing, or no NIC would do.
        ConnectivityLimitedError: host routes of the network are not in place, so pods may not reach other nodes.
    """
    netconf = call.netconf
    try:
        engine.gate.check()
        engine.journal.require_writable()
        if not engine.cluster.synced:
            raise DaemonUnavailableError("the Kubernetes API has not answered since the daemon started")
        if call.plugin == "multi-nic":
            network = await engine.cluster.network(netconf.name)
            main_plugin(engine.registry, netconf.plugin)
            require_executables(engine, call)
            pools = node_pools(engine, netconf.name)
            require_pools(engine, netconf.name, netconf.ipam.get("type"), (), pools)
            parents = {pool.parent for pool in pools}
            members = find_members(engine.registry, netconf, engine.view(), parents, engine.cluster.cidr(netconf.name))
            source = read_source(engine.registry, call)
            members = source.members(members) if isinstance(source, Asked) else members
            chosen = choose(engine.registry, netconf, network, call.pod, members, engine.view().name).chosen
            require_pools(engine, netconf.name, netconf.ipam.get("type"), chosen, pools)
        else:
            require_pools(engine, netconf.name, MULTI_NIC_IPAM, (), node_pools(engine, netconf.name))
    except MultinicError as error:
        raise NotReadyError(f"network {netconf.name!r}: {error}", details=error.details) from error
    if problem := engine.route_problem(netconf.name):
        raise ConnectivityLimitedError(f"network {netconf.name!r}: host routes: {problem}")
