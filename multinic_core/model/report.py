"""What a daemon tells the operator about itself, carried by annotations of the node's own Lease.

The Lease is renewed anyway and watched by the operator alone, so a report costs no other node anything.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from multinic_core.model.base import JsonModel
from multinic_core.model.foreign import Lease

SYSTEM_NAMESPACE = "multi-nic-cni-operator"
"""Namespace of the operator, the daemons and the Leases unless ``OPERATOR_NAMESPACE`` says otherwise."""
LEASE_PREFIX = "multi-nicd-"
"""A node's Lease is named ``multi-nicd-<node>``."""
NODE_LABEL = "multinic.fms.io/node"
REPORT_ANNOTATION = "multinic.fms.io/report"
LEASE_SECONDS = 90
"""A daemon that has not renewed for so long is silent: two renewals may fail."""
RENEW_SECONDS = 30
"""Between renewals, on average: 5,000 daemons make 167 writes a second."""


class RouteReport(JsonModel):
    """How one network's host routes stand on one node."""

    status: Literal["Success", "Failed"]
    resource_version: str
    """resourceVersion of the CIDR that was applied."""
    generation: int | None = None
    """Its generation."""
    message: str = ""


class DaemonReport(JsonModel):
    version: str = ""
    """Version of the daemon's distribution."""
    error: str = ""
    """What keeps this node from serving pods, or ""."""
    routes: dict[str, RouteReport] = Field(default_factory=dict)
    """Network name to the state of its host routes; networks without host routes are absent."""


def read_report(lease: Lease) -> DaemonReport | None:
    """The report on a Lease, or None when there is none or it cannot be read."""
    text = (lease.metadata.annotations or {}).get(REPORT_ANNOTATION)
    if text is None:
        return None
    try:
        return DaemonReport.model_validate_json(text)
    except ValueError:
        return None
