"""Attachment strategies: which of a node's NICs a pod gets, and why. One module per strategy."""

from __future__ import annotations

from collections.abc import Sequence

from multinic_core import AttachmentStrategy, hookimpl
from multinic_plugin_policies.costopt import CostOpt
from multinic_plugin_policies.devclass import DeviceClassOnly
from multinic_plugin_policies.none import NoPreference
from multinic_plugin_policies.perfopt import PerfOpt
from multinic_plugin_policies.rail import Rail
from multinic_plugin_policies.topology import Topology


@hookimpl
def multinic_register_strategies() -> Sequence[AttachmentStrategy]:
    return [NoPreference(), DeviceClassOnly(), Topology(), CostOpt(), PerfOpt(), Rail()]
