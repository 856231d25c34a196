"""The real kubectl against the server: what a person types."""

import json
import subprocess
import sys
import time

import pytest
import trio


@pytest.fixture
async def widgets(kubectl, widget_crd):
    """Widgets are served."""
    await kubectl("apply", "-f", "-", stdin=widget_crd)
    return kubectl


async def test_a_definition_is_applied_and_its_kind_listed(kubectl, widget_crd, widget):
    """Applied, established, found by short name and category, printed in its own columns."""
    assert "created" in await kubectl("apply", "-f", "-", stdin=widget_crd)
    assert "unchanged" in await kubectl("apply", "-f", "-", stdin=widget_crd)
    await kubectl("wait", "--for=condition=Established", "crd/widgets.example.io", "--timeout=60s")
    await kubectl("apply", "-f", "-", stdin=widget())
    lines = (await kubectl("get", "wd")).splitlines()
    assert lines[0].split() == ["NAME", "SIZE", "MODE", "READY"]
    assert lines[1].split() == ["a", "3", "small"]
    assert "widget.example.io/a" in await kubectl("get", "all")
    assert "widgets" in await kubectl("api-resources", "--api-group=example.io")


async def test_apply_twice_and_apply_a_change(widgets, widget):
    """The second apply changes nothing, the third what differs and removes what is gone."""
    assert "created" in await widgets("apply", "-f", "-", stdin=widget(name="x"))
    assert "unchanged" in await widgets("apply", "-f", "-", stdin=widget(name="x"))
    assert "configured" in await widgets("apply", "-f", "-", stdin=widget(size=5))
    spec = json.loads(await widgets("get", "wd", "a", "-o", "json"))["spec"]
    assert spec == {"size": 5, "mode": "small"}


async def test_server_side_apply_and_its_conflict(widgets, widget):
    """--server-side works, meets another manager's field, and wins by force."""
    assert "serverside-applied" in await widgets("apply", "--server-side", "-f", "-", stdin=widget())
    await widgets("patch", "wd", "a", "--type=merge", "-p", '{"spec":{"size":7}}')
    refused = await widgets("apply", "--server-side", "-f", "-", stdin=widget(), fails=True)
    assert "conflict" in refused
    assert ".spec.size" in refused
    await widgets("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=widget())
    assert await widgets("get", "wd", "a", "-o", "jsonpath={.spec.size}") == "3"


async def test_client_side_apply_moves_over_to_server_side(widgets, widget):
    """An object applied the old way is taken over by --server-side without a conflict."""
    await widgets("apply", "-f", "-", stdin=widget(name="x"))
    await widgets("apply", "--server-side", "-f", "-", stdin=widget(size=4))
    assert json.loads(await widgets("get", "wd", "a", "-o", "json"))["spec"] == {"size": 4, "mode": "small"}


async def test_bad_objects_are_refused_in_kubernetes_words(widgets, widget):
    """Unknown fields, enums, minima and missing fields are refused by apply with their path."""
    assert 'unknown field "spec.bogus"' in await widgets("apply", "-f", "-", stdin=widget(bogus=1), fails=True)
    refused = await widgets("apply", "-f", "-", stdin=widget(mode="mid", size=0), fails=True)
    assert 'spec.mode: Unsupported value: "mid": supported values: "small", "large"' in refused
    assert "spec.size: Invalid value: 0" in refused
    body = widget()
    del body["spec"]["size"]
    assert "spec.size: Required value" in await widgets("create", "-f", "-", stdin=body, fails=True)
    warned = await widgets("apply", "--validate=warn", "-f", "-", stdin=widget(bogus=1))
    assert "created" in warned
    assert "bogus" not in await widgets("get", "wd", "a", "-o", "jsonpath={.spec}")


async def test_labels_annotations_and_patches(widgets, widget):
    """label, annotate and patch of every type, and selection by what they set."""
    await widgets("create", "-f", "-", stdin=widget())
    await widgets("label", "wd", "a", "l=x")
    await widgets("annotate", "wd", "a", "n=y")
    await widgets("patch", "wd", "a", "--type=json", "-p", '[{"op":"add","path":"/spec/name","value":"n"}]')
    await widgets("patch", "wd", "a", "--subresource=status", "--type=merge", "-p", '{"status":{"phase":"Up"}}')
    found = json.loads(await widgets("get", "wd", "-l", "l=x", "-o", "json"))["items"]
    assert found[0]["metadata"]["annotations"] == {"n": "y"}
    assert found[0]["spec"]["name"] == "n"
    assert found[0]["status"] == {"phase": "Up"}
    await widgets("wait", "wd/a", "--for=jsonpath={.status.phase}=Up", "--timeout=60s")
    await widgets("scale", "wd", "a", "--replicas=6")
    assert await widgets("get", "wd", "a", "-o", "jsonpath={.spec.size}") == "6"


async def test_edit_saves_what_the_editor_leaves(widgets, widget, kubectl_environment):
    """edit opens the object and patches what was changed."""
    await widgets("create", "-f", "-", stdin=widget(size=3))
    kubectl_environment["KUBE_EDITOR"] = "sed -i 's/size: 3/size: 33/'"
    assert "edited" in await widgets("edit", "wd", "a")
    assert await widgets("get", "wd", "a", "-o", "jsonpath={.spec.size}") == "33"


async def test_wait_for_deletion_and_conditions(widgets, widget):
    """wait returns when the condition comes and when the object goes."""
    await widgets("create", "-f", "-", stdin=widget())
    done = []

    async def wait(*words):
        await widgets("wait", "wd/a", "--timeout=60s", *words)
        done.append(words[0])

    async with trio.open_nursery() as waiting:
        waiting.start_soon(wait, "--for=condition=Ready")
        ready = '{"status":{"conditions":[{"type":"Ready","status":"True"}]}}'
        await widgets("patch", "wd", "a", "--subresource=status", "--type=merge", "-p", ready)
    async with trio.open_nursery() as waiting:
        waiting.start_soon(wait, "--for=delete")
        await widgets("delete", "wd", "a")
    assert done == ["--for=condition=Ready", "--for=delete"]
    assert "No resources found" in await widgets("get", "wd")


async def test_get_watch_prints_changes(widgets, widget, kubectl_path, kubectl_environment):
    """get -w prints the table and then a row per change."""
    await widgets("create", "-f", "-", stdin=widget())
    process = await trio.lowlevel.open_process(
        [kubectl_path, "get", "wd", "-w"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=kubectl_environment
    )
    seen = b""
    try:
        with trio.fail_after(60):
            while b" 3 " not in seen:
                seen += await process.stdout.receive_some()
            await widgets("patch", "wd", "a", "--type=merge", "-p", '{"spec":{"size":44}}')
            while b" 44 " not in seen:
                seen += await process.stdout.receive_some()
    finally:
        process.kill()
        await process.wait()
        await process.stdout.aclose()
        await process.stderr.aclose()
    assert seen.count(b"NAME") == 1


async def test_describe_shows_an_object_and_its_events(widgets, widget):
    """describe prints the object and the events about it; get events lists them."""
    await widgets("create", "-f", "-", stdin=widget())
    uid = await widgets("get", "wd", "a", "-o", "jsonpath={.metadata.uid}")
    about = {"apiVersion": "example.io/v1", "kind": "Widget", "name": "a", "namespace": "default", "uid": uid}
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    event = {"apiVersion": "v1", "kind": "Event", "metadata": {"generateName": "a-"}, "involvedObject": about}
    event |= {"reason": "Made", "message": "it is made", "type": "Normal", "firstTimestamp": now, "lastTimestamp": now}
    await widgets("create", "-f", "-", stdin=event)
    text = await widgets("describe", "wd", "a")
    assert "Size:" in text
    assert "it is made" in text
    assert "widget/a" in await widgets("get", "events")
    assert "it is made" in await widgets("events", "--for=widgets.example.io/a")


async def test_explain_reads_the_schemas(widgets):
    """explain works for a kind of a definition and for a built-in one."""
    text = await widgets("explain", "widget.spec")
    assert "How big." in text
    assert "enum: small, large" in text
    assert "nodeName" in await widgets("explain", "pod.spec")
    assert "<PodSpec>" in await widgets("explain", "pod")


async def test_typed_commands_send_protobuf_and_are_understood(kubectl):
    """create namespace, configmap, secret, roles, deployment … work, though kubectl sends them as protobuf."""
    await kubectl("create", "namespace", "foo")
    await kubectl("create", "configmap", "c", "-n", "foo", "--from-literal=a=b")
    await kubectl("create", "secret", "generic", "s", "-n", "foo", "--from-literal=k=v")
    await kubectl("create", "serviceaccount", "sa", "-n", "foo")
    await kubectl("create", "role", "r", "-n", "foo", "--verb=get", "--resource=pods")
    await kubectl("create", "rolebinding", "b", "-n", "foo", "--role=r", "--serviceaccount=foo:sa")
    await kubectl("create", "deployment", "d", "-n", "foo", "--image=x:1", "--replicas=2")
    assert await kubectl("get", "cm", "c", "-n", "foo", "-o", "jsonpath={.data.a}") == "b"
    assert await kubectl("get", "secret", "s", "-n", "foo", "-o", "jsonpath={.data.k}") == "dg=="
    assert await kubectl("get", "deploy", "d", "-n", "foo", "-o", "jsonpath={.spec.replicas}") == "2"
    assert await kubectl("auth", "can-i", "create", "pods") == "yes\n"
    assert "Terminating" not in await kubectl("get", "ns")
    await kubectl("delete", "namespace", "foo")
    assert "NotFound" in await kubectl("get", "ns", "foo", fails=True)


async def test_pods_and_nodes(kubectl, pod):
    """Tables, description, cordon, drain and deletion of pods and nodes."""
    await kubectl("create", "-f", "-", stdin={"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})
    await kubectl("create", "-f", "-", stdin=pod("p"))
    line = (await kubectl("get", "pods", "-o", "wide")).splitlines()[1].split()
    assert line[:4] == ["p", "0/1", "Pending", "0"]
    assert "Pending" in await kubectl("describe", "pod", "p")
    await kubectl("cordon", "n1")
    assert "SchedulingDisabled" in await kubectl("get", "nodes")
    assert "Non-terminated Pods" in await kubectl("describe", "node", "n1")
    await kubectl("drain", "n1")
    await kubectl("delete", "pod", "p")
    assert "No resources found" in await kubectl("get", "pods")


async def test_the_rest_of_daily_life(kubectl):
    """version, cluster-info, replace, edit's patch, dry runs, diff and built-in apply."""
    assert "Server Version: v1.37" in await kubectl("version")
    assert "is running at" in await kubectl("cluster-info")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1", "b": "1"}}
    await kubectl("apply", "-f", "-", stdin=body)
    body["data"] = {"a": "2"}
    assert "configured" in await kubectl("apply", "-f", "-", "--dry-run=server", stdin=body)
    assert await kubectl("get", "cm", "c", "-o", "jsonpath={.data}") == '{"a":"1","b":"1"}'
    assert "+  a: " in await kubectl("diff", "-f", "-", stdin=body, fails=True)
    await kubectl("apply", "-f", "-", stdin=body)
    assert await kubectl("get", "cm", "c", "-o", "jsonpath={.data}") == '{"a":"2"}'
    body["data"] = {"z": "1"}
    await kubectl("replace", "-f", "-", stdin=body)
    assert await kubectl("get", "cm", "c", "-o", "jsonpath={.data}") == '{"z":"1"}'
    assert await kubectl("get", "--raw", "/readyz") == "ok"


async def test_the_server_runs_by_itself(tmp_path, kubectl_path):
    """python -m multinic_lab.apiserver prints its URL, writes a kubeconfig that works, and ends on SIGTERM."""
    config = tmp_path / "kc"
    words = [sys.executable, "-m", "multinic_lab.apiserver", "--kubeconfig", str(config)]
    process = await trio.lowlevel.open_process(words, stdout=subprocess.PIPE)
    try:
        with trio.fail_after(60):
            assert (await process.stdout.receive_some()).startswith(b"http://127.0.0.1:")
            assert config.stat().st_mode & 0o777 == 0o600
            environment = {"KUBECONFIG": str(config), "HOME": str(tmp_path)}
            done = await trio.run_process([kubectl_path, "get", "ns", "default"], capture_stdout=True, env=environment)
            assert b"Active" in done.stdout
            process.terminate()
            assert await process.wait() == 0
    finally:
        process.kill()
        await process.wait()
        await process.stdout.aclose()
