"""multinic_core: the models, the planning values and the plugin interface of multinic.

What is exported here is public and stays; other modules may move. The Kubernetes port is
:mod:`multinic_core.kube`, imported by the processes that need it.
"""

from multinic_core.clusterfacts import NO_FACTS, ClusterFacts, ClusterPlugin, ForeignObject, KeptKind
from multinic_core.devices import ConfigureVf, TakeDevice, Vf, VfSettings
from multinic_core.errors import (
    AddressInUseError,
    ApiError,
    ConfigError,
    KernelError,
    MultinicError,
    PoolExhaustedError,
    SelectionError,
    UnsupportedFieldError,
)
from multinic_core.hookspecs import Action, AttachmentStrategy, Ipam, MainPlugin, NetworkConfig, hookimpl
from multinic_core.outside import Act, RunIpam, RunPlugin
from multinic_core.plan import (
    AddAddress,
    AddRoute,
    AddRule,
    Allocation,
    AllocationRequest,
    AttachmentRequest,
    CreateLink,
    LinkRequest,
    NextHop,
    Nic,
    NodeView,
    Plan,
    PodReference,
    SetSysctl,
)
from multinic_core.pools import HeldIndexes, Pool
from multinic_core.registry import Registry, load_plugins
from multinic_core.selection import ClassId, NicUse, PodDevice, Selection, SelectionRequest

__all__ = [
    "NO_FACTS",
    "Act",
    "Action",
    "AddAddress",
    "AddRoute",
    "AddRule",
    "AddressInUseError",
    "Allocation",
    "AllocationRequest",
    "ApiError",
    "AttachmentRequest",
    "AttachmentStrategy",
    "ClassId",
    "ClusterFacts",
    "ClusterPlugin",
    "ConfigError",
    "ConfigureVf",
    "CreateLink",
    "ForeignObject",
    "HeldIndexes",
    "Ipam",
    "KeptKind",
    "KernelError",
    "LinkRequest",
    "MainPlugin",
    "MultinicError",
    "NetworkConfig",
    "NextHop",
    "Nic",
    "NicUse",
    "NodeView",
    "Plan",
    "PodDevice",
    "PodReference",
    "Pool",
    "PoolExhaustedError",
    "Registry",
    "RunIpam",
    "RunPlugin",
    "Selection",
    "SelectionError",
    "SelectionRequest",
    "SetSysctl",
    "TakeDevice",
    "UnsupportedFieldError",
    "Vf",
    "VfSettings",
    "hookimpl",
    "load_plugins",
]
