"""The daemons' DaemonSet: what it asks for, how it is kept, and how one of the original is taken over."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from multinic_operator.config.daemonset import contains, desired_daemonset, image_of
from multinic_operator.world import DAEMON_IMAGE

from multinic_core.errors import ApiError
from multinic_core.model import CONFIGS, DAEMONSETS, PODS, SYSTEM_NAMESPACE, Config

EVERYTHING = {
    "metadata": {"name": "multi-nicd"},
    "spec": {
        "logLevel": 7,
        "daemon": {
            "image": "example/daemon:1",
            "imagePullPolicy": "Always",
            "imagePullSecretName": "pull",
            "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}, {"name": "K8S_NODENAME", "value": "x"}],
            "envFrom": [{"configMapRef": {"name": "more"}}],
            "nodeSelector": {"fast": "yes"},
            "tolerations": [{"operator": "Exists"}],
            "resources": {"limits": {"memory": "1Gi"}},
            "securityContext": {"privileged": False, "capabilities": {"add": ["NET_ADMIN"]}},
            "mounts": [
                {"name": "cnibin", "podpath": "/host/opt/cni/bin/", "hostpath": "/usr/libexec/cni"},
                {"name": "hwdata", "podpath": "/usr/share/hwdata", "hostpath": "/usr/share/hwdata"},
                {"name": "mine", "podpath": "/run/netns", "hostpath": "/elsewhere"},
            ],
        },
    },
}


def desired(raw: dict[str, Any]) -> Any:
    return desired_daemonset(Config.model_validate(raw), "ns", DAEMON_IMAGE)


def test_every_field_reaches_the_pods() -> None:
    """Whatever a Config says of the daemon stands in the DaemonSet; what is ours wins over a like name."""
    spec = desired(EVERYTHING)["spec"]["template"]["spec"]
    (container,), (install,) = spec["containers"], spec["initContainers"]
    for each in (container, install):
        assert (each["image"], each["imagePullPolicy"]) == ("example/daemon:1", "Always")
        assert each["resources"] == {"limits": {"memory": "1Gi"}}
        assert each["securityContext"] == {"privileged": False, "capabilities": {"add": ["NET_ADMIN"]}}
    assert container["args"] == ["--log-level=debug"]
    assert [entry["name"] for entry in container["env"]] == [
        "A", "K8S_NODENAME", "OPERATOR_NAMESPACE", "MULTINIC_IPROUTE2_DIR", "MULTINIC_CNI_BIN",
    ]  # fmt: skip
    assert container["env"][0]["value"] == "2"
    assert container["env"][1]["valueFrom"]["fieldRef"]["fieldPath"] == "spec.nodeName"
    assert container["envFrom"] == [{"configMapRef": {"name": "more"}}]
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    assert spec["nodeSelector"] == {"fast": "yes"}
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert "--bin-dir=/usr/libexec/cni" in install["command"]
    assert install["volumeMounts"] == [{"name": "cni-bin", "mountPath": "/host/usr/libexec/cni"}]
    paths = {volume["name"]: volume["hostPath"]["path"] for volume in spec["volumes"]}
    assert paths["config-hwdata"] == "/usr/share/hwdata"
    assert "/elsewhere" not in paths.values()
    assert container["env"][4]["value"] == "/usr/libexec/cni"
    assert {"name": "cni-bin", "mountPath": "/usr/libexec/cni", "readOnly": True} in container["volumeMounts"]
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert len(mounts) == len(set(mounts))
    assert {mount["name"] for mount in container["volumeMounts"]} | {"cni-bin"} == set(paths)


def test_an_empty_config_gives_daemons_that_can_work() -> None:
    """Host network and processes, privileges, namespaces of pods as they appear, and the journal's folder."""
    whole = desired({"metadata": {"name": "multi-nicd"}, "spec": {}})["spec"]
    spec = whole["template"]["spec"]
    (container,) = spec["containers"]
    assert (spec["hostNetwork"], spec["hostPID"]) == (True, True)
    assert container["securityContext"] == {"privileged": True}
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert mounts["/run/netns"]["mountPropagation"] == "HostToContainer"
    assert {"/opt/cni/bin", "/etc/cni", "/run/cni", "/var/lib/cni"} <= set(mounts)  # for executables that it runs
    assert {"/run/multinic", "/sys", "/var/lib/kubelet/pod-resources"} <= set(mounts)
    assert whole["selector"] == {"matchLabels": {"app": "multi-nicd"}}
    assert "maxSurge" not in whole["updateStrategy"]["rollingUpdate"]


@pytest.mark.parametrize(
    ("image", "runs"),
    [
        (None, DAEMON_IMAGE),
        ("example/multi-nic-cni-daemon:v1.3.2", DAEMON_IMAGE),
        ("registry:5000/x/multi-nic-cni-daemon@sha256:0", DAEMON_IMAGE),
        ("registry:5000/multinic-daemon", "registry:5000/multinic-daemon"),
    ],
)
def test_the_originals_image_is_not_run(image: str | None, runs: str) -> None:
    """It has none of our commands, so ours runs in its place."""
    config = Config.model_validate({"spec": {"daemon": {"image": image} if image else {}}})
    assert image_of(config, DAEMON_IMAGE) == runs


def test_what_others_add_is_no_difference() -> None:
    """Fields beside ours, defaults of the server and further items of keyed lists do not count; ours missing does."""
    wanted = desired(EVERYTHING)["spec"]
    found = copy.deepcopy(wanted)
    found["revisionHistoryLimit"] = 10
    pod = found["template"]["spec"]
    pod["containers"][0]["terminationMessagePath"] = "/dev/termination-log"
    pod["containers"].append({"name": "sidecar"})
    pod["containers"].reverse()
    assert contains(found, wanted)
    del pod["containers"][1]["command"]
    assert not contains(found, wanted)


async def settled(cluster: Any) -> Any:
    await cluster.settle()
    return await cluster.kube.get(DAEMONSETS, "multi-nicd", SYSTEM_NAMESPACE)


async def patch(cluster: Any, body: dict[str, Any]) -> None:
    await cluster.kube.patch(DAEMONSETS, "multi-nicd", body, namespace=SYSTEM_NAMESPACE)


async def test_a_second_look_writes_nothing(bare_cluster: Any, autojump_clock: Any) -> None:
    """A new operator leaves a DaemonSet as it should be alone."""
    await bare_cluster.settle()
    before = bare_cluster.kube.count("patch", DAEMONSETS)
    await bare_cluster.settle()
    assert bare_cluster.kube.count("patch", DAEMONSETS) == before


async def test_drift_is_mended_and_a_persons_fields_stay(bare_cluster: Any, autojump_clock: Any) -> None:
    """An edit of our fields is taken back; an annotation and a field of somebody else are not."""
    good = await settled(bare_cluster)
    async with bare_cluster.running():
        await patch(
            bare_cluster,
            {
                "metadata": {"annotations": {"mine": "too"}},
                "spec": {"minReadySeconds": 99, "revisionHistoryLimit": 3, "template": {"spec": {"hostPID": False}}},
            },
        )
        await bare_cluster.quiet()
    found = await bare_cluster.kube.get(DAEMONSETS, "multi-nicd", SYSTEM_NAMESPACE)
    assert found.spec == good.spec | {"revisionHistoryLimit": 3}
    assert found.metadata.annotations["mine"] == "too"


async def test_one_that_was_deleted_comes_back(bare_cluster: Any, autojump_clock: Any) -> None:
    """The DaemonSet is there for as long as the Config is."""
    await bare_cluster.settle()
    async with bare_cluster.running():
        await bare_cluster.kube.delete(DAEMONSETS, "multi-nicd", SYSTEM_NAMESPACE)
        await bare_cluster.quiet()
        assert [item.name for item in await bare_cluster.kube.list(DAEMONSETS)] == ["multi-nicd"]


async def test_a_change_of_the_config_reaches_it_and_a_field_taken_back_goes(
    bare_cluster: Any, autojump_clock: Any
) -> None:
    """What the Config stops saying is withdrawn, not left behind."""
    await bare_cluster.settle()
    async with bare_cluster.running():
        daemon = {"nodeSelector": {"fast": "yes"}, "image": "example/d:2"}
        await bare_cluster.kube.patch(CONFIGS, "multi-nicd", {"spec": {"daemon": daemon}})
        await bare_cluster.quiet()
        found = await bare_cluster.kube.get(DAEMONSETS, "multi-nicd", SYSTEM_NAMESPACE)
        assert found.spec["template"]["spec"]["nodeSelector"] == {"fast": "yes"}
        await bare_cluster.kube.patch(CONFIGS, "multi-nicd", {"spec": {"daemon": None}})
        await bare_cluster.quiet()
        found = await bare_cluster.kube.get(DAEMONSETS, "multi-nicd", SYSTEM_NAMESPACE)
        assert "nodeSelector" not in found.spec["template"]["spec"]
        assert found.spec["template"]["spec"]["containers"][0]["image"] == DAEMON_IMAGE


def originals(selector: dict[str, str], labels: dict[str, str]) -> dict[str, Any]:
    container = {"name": "multi-nicd", "image": "old", "env": [{"name": "RT_TABLE_PATH", "value": "/opt/rt_tables"}]}
    return {
        "metadata": {"name": "multi-nicd", "namespace": SYSTEM_NAMESPACE},
        "spec": {
            "selector": {"matchLabels": selector},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def running_pod(cluster: Any, owner: Any) -> None:
    reference = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": owner.name, "uid": owner.metadata.uid}
    metadata = {"name": "multi-nicd-x", "namespace": SYSTEM_NAMESPACE, "labels": {"app": "multi-nicd"}}
    cluster.kube.seed(PODS, {"metadata": metadata | {"ownerReferences": [reference | {"controller": True}]}})


async def test_the_originals_daemonset_is_replaced_and_its_pods_stay(bare_cluster: Any, autojump_clock: Any) -> None:
    """Nothing of the old template is left; the running pods lose their owner, not their life, and are adopted."""
    app = {"app": "multi-nicd"}
    (old,) = bare_cluster.kube.seed(DAEMONSETS, originals(app, app))
    running_pod(bare_cluster, old)
    found = await settled(bare_cluster)
    assert found.metadata.uid != old.metadata.uid
    (container,) = found.spec["template"]["spec"]["containers"]
    assert "RT_TABLE_PATH" not in {entry["name"] for entry in container["env"]}
    (pod,) = await bare_cluster.kube.list(PODS)
    assert not pod.metadata.owner_references


async def test_one_with_another_selector_goes_with_its_pods(bare_cluster: Any, autojump_clock: Any) -> None:
    """A new one would not adopt them, and two daemons cannot serve one node."""
    (old,) = bare_cluster.kube.seed(DAEMONSETS, originals({"name": "x"}, {"app": "multi-nicd", "name": "x"}))
    running_pod(bare_cluster, old)
    found = await settled(bare_cluster)
    assert found.spec["selector"] == {"matchLabels": {"app": "multi-nicd"}}
    assert await bare_cluster.kube.list(PODS) == []


@pytest.mark.parametrize("verb", ["get", "delete", "patch"])
async def test_a_takeover_that_is_interrupted_goes_on(bare_cluster: Any, autojump_clock: Any, verb: str) -> None:
    """Whichever step fails, the next look finishes it."""
    app = {"app": "multi-nicd"}
    bare_cluster.kube.seed(DAEMONSETS, originals(app, app))
    bare_cluster.kube.fail(ApiError("no", status=500), verb=verb, resource=DAEMONSETS, times=2)
    found = await settled(bare_cluster)
    assert found.metadata.labels["app.kubernetes.io/managed-by"] == "multinic-operator"


async def test_a_stranger_of_that_name_is_left_alone(bare_cluster: Any, autojump_clock: Any) -> None:
    """A DaemonSet that runs no daemons is not ours to replace; the Config says what to do."""
    bare_cluster.kube.seed(DAEMONSETS, originals({"app": "web"}, {"app": "web"}))
    found = await settled(bare_cluster)
    assert found.spec["selector"] == {"matchLabels": {"app": "web"}}
    conditions = (await bare_cluster.kube.get(CONFIGS, "multi-nicd")).status.conditions
    (ready,) = [c for c in conditions if c.type == "DaemonsReady"]
    assert (ready.status, ready.reason) == ("False", "NameTaken")
    assert "give the Config another name" in ready.message
