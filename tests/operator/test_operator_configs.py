"""Config: which one counts, what is made of it, what its deletion takes down, and what is said about it."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from multinic_operator.config.reconcile import FINALIZER
from multinic_operator.config.unwind import PODS_SECONDS, ROUTES_SECONDS
from multinic_operator.world import DAEMON_IMAGE

from multinic_core.errors import ApiError
from multinic_core.model import (
    ATTACHMENT_DEFINITIONS,
    CIDRS,
    CONFIGS,
    DAEMONSETS,
    EVENTS,
    IPPOOLS,
    NETWORKS,
    PODS,
    SYSTEM_NAMESPACE,
    DaemonReport,
)

ORIGINALS_SPEC = {
    "cniType": "multi-nic",
    "ipamType": "multi-nic-ipam",
    "joinPath": "/join",
    "getInterfacePath": "/interface",
    "addRoutePath": "/addl3",
    "deleteRoutePath": "/deletel3",
    "daemon": {
        "image": "registry.example/foundation-model-stack/multi-nic-cni-daemon:v1.3.2",
        "port": 11000,
        "env": [{"name": "DAEMON_PORT", "value": "11000"}, {"name": "RT_TABLE_PATH", "value": "/opt/rt_tables"}],
        "resources": {"requests": {"cpu": "100m", "memory": "50Mi"}},
        "securityContext": {"privileged": True},
        "mounts": [
            {"name": "cnibin", "podpath": "/host/opt/cni/bin", "hostpath": "/var/lib/cni/bin"},
            {"name": "rt-tables", "podpath": "/opt/rt_tables", "hostpath": "/etc/iproute2/rt_tables"},
            {"name": "hwdata", "podpath": "/usr/share/hwdata", "hostpath": "/usr/share/hwdata"},
        ],
    },
}


def config(cluster: Any, name: str = "multi-nicd", **spec: Any) -> None:
    cluster.kube.seed(CONFIGS, {"metadata": {"name": name}, "spec": spec})


def pod_of(daemonset: Any) -> Any:
    return daemonset.spec["template"]["spec"]


async def daemonset(cluster: Any, name: str = "multi-nicd") -> Any:
    return await cluster.kube.get(DAEMONSETS, name, SYSTEM_NAMESPACE)


async def condition(cluster: Any, kind: str, name: str = "multi-nicd") -> Any:
    found = (await cluster.kube.get(CONFIGS, name)).status.conditions
    return next((c for c in found if c.type == kind), None)


async def hold_address(cluster: Any) -> None:
    pool = (await cluster.kube.list(IPPOOLS))[0]
    held = {"pod": "web", "namespace": "blue", "index": 1, "address": "192.168.0.1"}
    await cluster.kube.patch(IPPOOLS, pool.name, {"spec": {"allocations": [held]}})


async def test_without_a_config_the_default_one_is_made(bare_cluster: Any, autojump_clock: Any) -> None:
    """A new cluster gets ``multi-nicd`` and its DaemonSet; the runtime's folder is that of Multus."""
    volumes = [{"name": "cnibin", "hostPath": {"path": "/var/lib/cni/bin"}}]
    body = {"metadata": {"name": "m", "namespace": "kube-system", "labels": {"app": "multus"}}}
    bare_cluster.kube.seed(PODS, body | {"spec": {"containers": [], "volumes": volumes}})
    await bare_cluster.settle()
    made = await bare_cluster.kube.get(CONFIGS, "multi-nicd")
    assert made.metadata.finalizers == [FINALIZER]
    found = await daemonset(bare_cluster)
    (install,) = pod_of(found)["initContainers"]
    assert install["image"] == DAEMON_IMAGE
    assert "--bin-dir=/var/lib/cni/bin" in install["command"]
    assert (await condition(bare_cluster, "Accepted")).status == "True"


async def test_without_multus_the_usual_folder_is_taken(bare_cluster: Any, autojump_clock: Any) -> None:
    """Nothing is known about the runtime's folder, so it is the one that runtimes have by default."""
    await bare_cluster.settle()
    (install,) = pod_of(await daemonset(bare_cluster))["initContainers"]
    assert "--bin-dir=/opt/cni/bin" in install["command"]


async def test_a_default_config_that_was_deleted_stays_deleted(bare_cluster: Any, autojump_clock: Any) -> None:
    """What somebody deleted is not made again by the next leader."""
    await bare_cluster.settle()
    async with bare_cluster.running():
        await bare_cluster.kube.delete(CONFIGS, "multi-nicd")
        await bare_cluster.quiet(60)
    await bare_cluster.settle()
    assert await bare_cluster.kube.list(CONFIGS) == []
    assert await bare_cluster.kube.list(DAEMONSETS) == []


async def test_the_originals_config_is_taken_as_it_is(bare_cluster: Any, autojump_clock: Any) -> None:
    """What drove the HTTP protocol is told once; its image is replaced by ours; its folder of executables is used."""
    config(bare_cluster, **ORIGINALS_SPEC)
    await bare_cluster.settle()
    await bare_cluster.settle()
    used = await condition(bare_cluster, "FieldsUsed")
    assert (used.status, used.reason) == ("False", "FieldsWithoutEffect")
    for path in (
        "spec.joinPath",
        "spec.getInterfacePath",
        "spec.addRoutePath",
        "spec.daemon.port",
        "spec.daemon.image",
    ):
        assert path in used.message
    told = [event for event in await bare_cluster.kube.list(EVENTS) if event.reason == "FieldsWithoutEffect"]
    assert len(told) == 1
    pod = pod_of(await daemonset(bare_cluster))
    assert pod["containers"][0]["image"] == DAEMON_IMAGE
    assert {v["hostPath"]["path"] for v in pod["volumes"]} >= {"/var/lib/cni/bin", "/usr/share/hwdata"}
    assert "/etc/iproute2/rt_tables" not in {v["hostPath"]["path"] for v in pod["volumes"]}


async def test_of_several_configs_the_named_one_counts(bare_cluster: Any, autojump_clock: Any) -> None:
    """``multi-nicd`` wins over any other; the others are told so; when it goes, the next takes over."""
    config(bare_cluster, "another", daemon={"image": "example/a:1"})
    config(bare_cluster, daemon={"image": "example/b:1"})
    async with bare_cluster.running():
        assert [d.name for d in await bare_cluster.kube.list(DAEMONSETS)] == ["multi-nicd"]
        refused = await condition(bare_cluster, "Accepted", "another")
        assert (refused.status, refused.reason) == ("False", "NotInUse")
        assert "'multi-nicd'" in refused.message
        await bare_cluster.kube.delete(CONFIGS, "multi-nicd")
        await bare_cluster.quiet()
        assert [d.name for d in await bare_cluster.kube.list(DAEMONSETS)] == ["another"]
        assert [c.name for c in await bare_cluster.kube.list(CONFIGS)] == ["another"]
        assert (await condition(bare_cluster, "Accepted", "another")).status == "True"


async def test_settings_of_the_config_take_effect(cluster: Any, autojump_clock: Any) -> None:
    """``cniType`` reaches the attachment definitions, timing the queues, both without a restart."""
    cluster.node("node-1", {"eth1": "10.0.1.1/24"})
    cluster.network()
    async with cluster.running() as operator:
        spec = {"cniType": "my-multi-nic", "urgentReconcileSeconds": 7, "normalReconcileMinutes": 3}
        spec |= {"longReconcileMinutes": 30, "contextTimeoutMinutes": 4}
        await cluster.kube.patch(CONFIGS, "multi-nicd", {"spec": spec})
        await cluster.quiet()
        (definition,) = await cluster.kube.list(ATTACHMENT_DEFINITIONS)
        assert '"type":"my-multi-nic"' in definition.spec.config
        timing = operator.controllers[0].timing
        assert (timing.first_retry, timing.last_retry, timing.resync, timing.limit) == (7, 180, 1800, 240)


async def test_deletion_takes_down_blocks_and_daemons_and_leaves_networks(cluster: Any, autojump_clock: Any) -> None:
    """Without pods all goes at once; networks and definitions are the users' and stay, and say what they wait for."""
    cluster.node("node-1", {"eth1": "10.0.1.1/24"})
    cluster.network()
    async with cluster.running():
        await cluster.kube.delete(CONFIGS, "multi-nicd")
        await cluster.quiet()
        for resource in (CONFIGS, DAEMONSETS, CIDRS, IPPOOLS):
            assert await cluster.kube.list(resource) == []
        assert len(await cluster.kube.list(NETWORKS)) == len(await cluster.kube.list(ATTACHMENT_DEFINITIONS)) == 1
        status = await cluster.status()
        assert status.config_status == "WaitForConfig"
        assert "there is no Config" in status.message
        await cluster.quiet(3600)
        assert await cluster.kube.list(CIDRS) == []
        config(cluster)
        await cluster.quiet()
        assert len(await cluster.kube.list(CIDRS)) == 1
        assert await daemonset(cluster)


async def test_deletion_waits_for_pods_a_bounded_time(cluster: Any, autojump_clock: Any) -> None:
    """It names the pods it waits for; after five minutes it ends all the same, leaving their pool."""
    cluster.node("node-1", {"eth1": "10.0.1.1/24"})
    cluster.network()
    async with cluster.running():
        await hold_address(cluster)
        await cluster.kube.delete(CONFIGS, "multi-nicd")
        begun = trio.current_time()
        await cluster.quiet(PODS_SECONDS / 2)
        waiting = await condition(cluster, "Unwound")
        assert "blue/web" in waiting.message
        assert waiting.reason in {event.reason for event in await cluster.kube.list(EVENTS)}
        assert await daemonset(cluster)
        assert len(await cluster.kube.list(CIDRS)) == 1
        await cluster.quiet(begun + PODS_SECONDS + ROUTES_SECONDS + 10 - trio.current_time())
        for resource in (CONFIGS, DAEMONSETS, CIDRS):
            assert await cluster.kube.list(resource) == []
        assert len(await cluster.kube.list(IPPOOLS)) == 1


async def test_daemons_get_time_to_drop_their_host_routes(cluster: Any, autojump_clock: Any) -> None:
    """The DaemonSet goes when no daemon reports host routes any more, or half a minute later."""
    cluster.node("node-1", {"eth1": "10.0.1.1/24"})
    cluster.network()
    async with cluster.running():
        await cluster.report("node-1")
        await cluster.kube.delete(CONFIGS, "multi-nicd")
        await cluster.quiet()
        assert await cluster.kube.list(CIDRS) == []
        assert await daemonset(cluster)
        await cluster.quiet(ROUTES_SECONDS + 5)
        assert await cluster.kube.list(DAEMONSETS) == []


@pytest.mark.parametrize("resource", [IPPOOLS, CONFIGS, CIDRS], ids=lambda r: r.plural)
async def test_an_error_while_unwinding_is_no_answer(cluster: Any, autojump_clock: Any, resource: Any) -> None:
    """A list that fails does not say that nobody holds an address."""
    cluster.node("node-1", {"eth1": "10.0.1.1/24"})
    cluster.network()
    async with cluster.running():
        await hold_address(cluster)
        cluster.kube.fail(ApiError("no", status=500), verb="list", resource=resource, times=4)
        await cluster.kube.delete(CONFIGS, "multi-nicd")
        await cluster.quiet(30)
        assert await daemonset(cluster)
        assert len(cluster.kube.store(CIDRS).list()) == 1


async def test_an_unreadable_pool_does_not_make_the_deletion_endless(cluster: Any, autojump_clock: Any) -> None:
    """It might hold addresses, so it is waited for as pods are; after that it is left where it is."""
    cluster.node("node-1", {"eth1": "10.0.1.1/24"})
    cluster.network()
    async with cluster.running():
        cluster.kube.seed_invalid(IPPOOLS, {"metadata": {"name": "odd"}, "spec": {"podCIDR": 7}})
        await cluster.kube.delete(CONFIGS, "multi-nicd")
        await cluster.quiet(PODS_SECONDS / 2)
        assert len(await cluster.kube.list(CIDRS)) == 1
        await cluster.quiet(PODS_SECONDS)
        assert await cluster.kube.list(CONFIGS) == await cluster.kube.list(DAEMONSETS) == []
        assert cluster.kube.raw(IPPOOLS, "odd")


async def test_an_unreadable_config_changes_nothing(cluster: Any, autojump_clock: Any) -> None:
    """A Config that does not fit its model leaves daemons and blocks as they are."""
    cluster.node("node-1", {"eth1": "10.0.1.1/24"})
    cluster.network()
    await cluster.settle()
    before, daemons = cluster.state(), await daemonset(cluster)
    cluster.kube.seed_invalid(CONFIGS, {"metadata": {"name": "multi-nicd"}, "spec": {"logLevel": "loud"}})
    await cluster.settle()
    assert cluster.state() == before
    assert await daemonset(cluster) == daemons


async def test_what_a_daemon_says_of_its_node_is_told(cluster: Any, autojump_clock: Any) -> None:
    """A node that cannot serve is named with the reason in the Config's conditions and in an Event."""
    async with cluster.running():
        daemons = {"desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 2}
        daemons["observedGeneration"] = (await daemonset(cluster)).metadata.generation or 1
        await cluster.kube.patch(
            DAEMONSETS, "multi-nicd", {"status": daemons}, namespace=SYSTEM_NAMESPACE, subresource="status"
        )
        await cluster.quiet()
        assert (await condition(cluster, "DaemonsReady")).message == "2 of 2 run as this Config says"
        await cluster.renew("node-1", DaemonReport(version="1", error="journal refused: version 99"))
        await cluster.quiet()
        ready = await condition(cluster, "DaemonsReady")
        assert (ready.status, ready.reason) == ("False", "DaemonProblem")
        assert "node-1: journal refused: version 99" in ready.message
        assert "DaemonProblem" in {event.reason for event in await cluster.kube.list(EVENTS)}
