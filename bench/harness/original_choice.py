"""How IBM's Multi-NIC CNI 1.3 chooses NICs, written anew from a description of its steps, to compare with.

Its daemon knows a NIC by its network address. A strategy gives a list of addresses, which is cut to ``nics`` before
anything is filtered but by class. ``costOpt`` and ``perfOpt`` choose as ``none`` does. The HTTP call around it, the
calls to the API server and the reading of the kubelet's file are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from multinic_core import Nic, PodDevice, SelectionRequest


def choose(strategy: str, request: SelectionRequest, nics: Sequence[Nic]) -> tuple[str, ...]:
    """ifnames in the order of the pod's links; () is an error there."""
    pool = {str(nic.network): nic.ifname for nic in nics}
    if strategy == "devClass" and request.class_ids is not None:
        wanted = {each.vendor: each.products for each in request.class_ids}
        pool = {str(nic.network): nic.ifname for nic in nics if nic.product in wanted.get(nic.vendor, ())}
    addresses = _by_numa(request, pool, nics) if strategy == "topology" else _first(request, pool)
    present = {nic.ifname for nic in nics}
    return tuple(pool[address] for address in addresses if pool.get(address) in present)


def _first(request: SelectionRequest, pool: Mapping[str, str]) -> list[str]:
    """Those that the pod names, else all by address; an unknown name counts for nothing."""
    address_of = {ifname: address for address, ifname in pool.items()}
    addresses = [address_of[master] for master in request.masters if master in address_of] or sorted(pool)
    return addresses[: request.nics] if request.nics else addresses


def _by_numa(request: SelectionRequest, pool: Mapping[str, str], nics: Sequence[Nic]) -> list[str]:
    """Those on NUMA nodes with most of the pod's GPUs; in any order where one cannot be placed."""
    addresses = list(pool)
    if not 0 < (request.nics or 0) < len(addresses):
        return addresses
    gpus = [device for device in request.devices if device.kind == "gpu"]
    numa_nodes = {nic.ifname: nic.numa_node for nic in nics}
    if gpus and None not in numa_nodes.values():
        score = {address: _gpus_on(gpus, numa_nodes[ifname]) for address, ifname in pool.items()}
        addresses.sort(key=lambda address: -score[address])
    return addresses[: request.nics]


def _gpus_on(gpus: Sequence[PodDevice], node: int | None) -> int:
    return sum(gpu.numa_node == node for gpu in gpus)
