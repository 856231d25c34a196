"""The devices and processors of one pod, as frozen values, whoever told them."""

from __future__ import annotations

from dataclasses import dataclass, field

from multinic_core.plan import PodReference


class ServiceError(Exception):
    """The podresources service did not answer; the text says how. Here, as the client's module imports grpcio."""


@dataclass(frozen=True, slots=True)
class GivenDevice:
    """One device that a container of a pod was given."""

    resource: str
    """Such as ``nvidia.com/gpu``."""
    id: str
    """As its device plugin calls it: a PCI address, a UUID or anything else."""
    container: str = ""
    numa_nodes: tuple[int, ...] = ()
    """Ascending; () where the device plugin did not say."""


@dataclass(frozen=True, slots=True)
class PodDevices:
    """What the kubelet gave one pod; nothing for a pod that asked for nothing, and for one that it does not know."""

    pod: PodReference = field(default_factory=PodReference)
    """As the source knows it: namespace and name from the service, the UID alone from the file."""
    devices: tuple[GivenDevice, ...] = ()
    """In the order of the containers, each id of a resource once."""
    cpus: frozenset[int] = frozenset()
    """Processors that are the pod's alone; none for pods that share."""

    def ids(self, resource: str) -> tuple[str, ...]:
        """Ids of the devices of one resource, of all containers, in their order; () for none."""
        return tuple(device.id for device in self.devices if device.resource == resource)


def merged(pod: PodReference, parts: list[GivenDevice], cpus: frozenset[int] = frozenset()) -> PodDevices:
    """One pod's devices from parts that may name a device several times, once for each of its NUMA nodes."""
    nodes: dict[tuple[str, str], set[int]] = {}
    first: dict[tuple[str, str], GivenDevice] = {}
    for part in parts:
        key = (part.resource, part.id)
        first.setdefault(key, part)
        nodes.setdefault(key, set()).update(part.numa_nodes)
    devices = (
        GivenDevice(part.resource, part.id, part.container, tuple(sorted(nodes[key]))) for key, part in first.items()
    )
    return PodDevices(pod, tuple(devices), cpus)
