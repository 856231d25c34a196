"""Arguments of aws-ipvlan: those of ipvlan that have a meaning in EC2, and where EC2 is asked."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from multinic_core.args import PluginArgs, shaped


class AwsIpvlanArgs(PluginArgs):
    """Arguments of aws-ipvlan."""

    mode: Literal["l2", "l3", "l3s"] = "l2"
    """``ip link add … type ipvlan mode MODE``."""
    mtu: int | None = Field(default=None, ge=0, le=65535)
    """Bytes, at most the parent's; 0 or absent: the parent's. ``ip link add … mtu MTU``."""
    source_routing: bool = Field(default=False, alias="sourceRouting")
    """Replies leave through the NIC that was asked: ``ip rule add from ADDRESS lookup TABLE`` for each link."""
    rate_limit: bool = Field(default=False, alias="rateLimit")
    """A pod sends no more over a NIC than its policy promised: ``tc qdisc replace dev LINK root tbf rate RATE``."""
    region: Annotated[str, shaped(r"[a-z]{2,}(-[a-z]+)+-[0-9]+", "an AWS region such as 'eu-central-1'")] | None = None
    """Of the NICs; absent: as the AWS SDK finds it, at last in the instance's metadata."""
    master: str | None = None
    """Accepted for old manifests; the attachment policy chooses the NICs."""
    primary_ip: dict[str, Any] | str | None = Field(default=None, alias="primaryIP")
    """Accepted for old manifests; the NIC's own address is looked up."""
    pod_ip: str | None = Field(default=None, alias="podIP")
    """Accepted for old manifests; the IPAM gives the address."""
