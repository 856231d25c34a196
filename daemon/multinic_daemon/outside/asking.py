"""One step of an attachment as its executable sees it: which one it is, where, for whom, with what configuration."""

from __future__ import annotations

import stat
from pathlib import Path

from multinic_core.outside import RunIpam, RunPlugin
from multinic_core.plan import PodReference
from multinic_daemon.journal.records import Record
from multinic_daemon.outside.executables import Site, allows_check, find
from multinic_daemon.outside.orphans import mark_of
from multinic_daemon.outside.processes import is_older
from multinic_daemon.podlinks.namespaces import namespace_device


def type_of(step: RunIpam | RunPlugin) -> object:
    return step.config.get("ipam", {}).get("type") if isinstance(step, RunIpam) else step.config.get("type")


def find_for(step: RunIpam | RunPlugin, path: str, otherwise: str = "") -> Path:
    return find(type_of(step), path, "ipam.type" if isinstance(step, RunIpam) else "plugin.type", otherwise)


def subject_of(step: RunIpam | RunPlugin) -> str:
    return f"NIC {step.parent!r}, link {step.ifname!r}"


def config_of(step: RunIpam | RunPlugin) -> dict[str, object]:
    """As CHECK and DEL get it: with the executable's own answer, where its version knows of that."""
    known = step.result is not None and allows_check(step.config)
    return {**step.config, "prevResult": step.result} if known else dict(step.config)


def site_of(record: Record, step: RunIpam | RunPlugin, other: str = "", *, gone: bool = False) -> Site:
    """Args: ``gone``: the namespace may be, or its path may lead to another pod's by now; it is then left out."""
    netns = record.netns
    if gone:
        paths = (path for path in (record.netns, other) if _is_there(path))
        netns = next((path for path in paths if is_older(path, record.created)), "")
    mark = mark_of(record, step.ifname)
    return Site(record.key.container_id, netns, step.ifname, cni_args(record, step), subject_of(step), mark)


def _is_there(netns: str) -> bool:
    """Whether a path may lead to a namespace; what an unmounted one leaves is a plain file, or nothing."""
    try:
        found = Path(netns).stat()
    except OSError:
        return False
    return bool(netns) and (found.st_dev == namespace_device() or not stat.S_ISREG(found.st_mode))


def cni_args(record: Record, step: RunIpam | RunPlugin) -> str:
    """``CNI_ARGS`` as runtimes write them, the same for ADD, CHECK and DEL, with the addresses asked for this link."""
    pod: PodReference = record.pod
    asked = step.config.get("runtimeConfig", {}).get("ips", ())
    pairs = (
        ("IgnoreUnknown", "1"),
        ("K8S_POD_NAMESPACE", pod.namespace),
        ("K8S_POD_NAME", pod.name),
        ("K8S_POD_INFRA_CONTAINER_ID", record.key.container_id),
        ("K8S_POD_UID", pod.uid),
        ("IP", ",".join(asked)),
    )
    return ";".join(f"{key}={value}" for key, value in pairs if value)
