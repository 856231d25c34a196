"""CNI types: network configuration, results of every version from 0.3.0 to 1.1.0, and error JSON."""

from multinic_core.cni.netconf import (
    SUPPORTED_VERSIONS,
    CniArgs,
    NetConf,
    parse_cni_args,
    parse_netconf,
)
from multinic_core.cni.results import (
    Interface,
    IPConfig,
    Result,
    RouteConfig,
    error_json,
    parse_result,
    version_json,
)

__all__ = [
    "SUPPORTED_VERSIONS",
    "CniArgs",
    "IPConfig",
    "Interface",
    "NetConf",
    "Result",
    "RouteConfig",
    "error_json",
    "parse_cni_args",
    "parse_netconf",
    "parse_result",
    "version_json",
]
