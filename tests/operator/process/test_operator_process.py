"""The operator as a process, against the lab's API server with the real client and schemas."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import trio

from multinic_core.model import ATTACHMENT_DEFINITIONS, CIDRS, EVENTS, IPPOOLS, NETWORKS

PATIENCE_SECONDS = 60


async def test_a_process_serves_a_network_and_ends_on_sigterm(lab: Any, populate: Any) -> None:
    """CIDR, pools, definition, status and Event are written; SIGTERM ends it with status 0; the log is key=value."""
    kube = lab.kube
    await populate(kube)
    process = await lab.start()
    await lab.until(lab.configured)
    cidr = await kube.get(CIDRS, "multi-nic-sample")
    assert [len(entry.hosts) for entry in cidr.spec.cidr] == [3, 3, 3]
    assert len(await kube.list(IPPOOLS)) == 9
    definition = await kube.get(ATTACHMENT_DEFINITIONS, "multi-nic-sample", "default")
    assert json.loads(definition.spec.config)["plugin"] == {"cniVersion": "0.3.0", "mode": "l3", "type": "ipvlan"}
    status = (await kube.get(NETWORKS, "multi-nic-sample")).status
    assert status.message == "some daemon cannot be connected: node-1, node-2, node-3"

    await kube.delete(NETWORKS, "multi-nic-sample")

    async def gone() -> bool:
        left = [await kube.list(r) for r in (NETWORKS, CIDRS, IPPOOLS, ATTACHMENT_DEFINITIONS)]
        return not any(left)

    await lab.until(gone)
    process.send_signal(signal.SIGTERM)
    with trio.fail_after(PATIENCE_SECONDS):
        assert await process.wait() == 0
    lines = lab.log.read_text().splitlines()
    assert all(line.startswith("time=") and " level=" in line and " msg=" in line for line in lines)
    assert not [line for line in lines if "level=error" in line]
    assert not [line for line in lines if "Connection pool is full" in line]


async def test_kill_nine_at_any_moment_changes_nothing_in_the_outcome(lab: Any, populate: Any) -> None:
    """Killed again and again while it writes, it ends with the same rows and pools, and then writes nothing more."""
    kube = lab.kube
    await populate(kube)
    for pools in (0, 1, 4, 8):
        process = await lab.start()

        async def far(least: int = pools) -> bool:
            cidrs = await kube.list(CIDRS)
            return bool(cidrs) and len(await kube.list(IPPOOLS)) >= least

        await lab.until(far)
        process.kill()
        await process.wait()
    await lab.start()
    await lab.until(lab.configured)
    cidr = await kube.get(CIDRS, "multi-nic-sample")
    rows = {(row.host_name, row.interface_name): row.pod_cidr for entry in cidr.spec.cidr for row in entry.hosts}
    assert rows == {
        (f"node-{host + 1}", f"eth{nic + 1}"): f"192.168.{64 * nic + host}.0/24"
        for host in range(3)
        for nic in range(3)
    }
    pools_now = {(p.spec.host_name, p.spec.interface_name): p.spec.pod_cidr for p in await kube.list(IPPOOLS)}
    assert pools_now == rows


async def test_a_wrong_text_is_told_with_an_event(lab: Any, populate: Any) -> None:
    """What the schema lets through and cannot work is said where ``kubectl describe`` shows it."""
    await populate(lab.kube)
    await lab.kube.patch(NETWORKS, "multi-nic-sample", {"spec": {"attachPolicy": {"strategy": "luck"}}})
    await lab.start()

    async def told() -> bool:
        return any("spec.attachPolicy.strategy: found 'luck'" in e.message for e in await lab.kube.list(EVENTS))

    await lab.until(told)
    assert await lab.kube.list(CIDRS) == []


def test_a_kubeconfig_that_is_missing_is_named(tmp_path: Path) -> None:
    """One line on stderr, status 1, no traceback."""
    absent = tmp_path / "absent"
    command = [sys.executable, "-m", "multinic_operator", "--kubeconfig", str(absent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert done.returncode == 1
    assert str(absent) in done.stderr
    assert "Traceback" not in done.stderr
