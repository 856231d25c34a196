"""The official Python client against the server, as controllers use it."""

import threading

import pytest
import trio
from kubernetes import client as k8s
from kubernetes import watch as k8s_watch
from kubernetes.client.exceptions import ApiException


@pytest.fixture
def connection(server):
    """A client connected to the server, with no other configuration."""
    configuration = k8s.Configuration()
    configuration.host = server.url
    api = k8s.ApiClient(configuration)
    yield api
    api.rest_client.pool_manager.clear()
    api.close()


async def in_thread(function, *args, **kwargs):
    with trio.fail_after(60):
        return await trio.to_thread.run_sync(lambda: function(*args, **kwargs))


async def test_typed_objects_go_and_come_back(connection):
    """A typed ConfigMap and Pod are written and read as such; conflicts raise with their status."""
    core = k8s.CoreV1Api(connection)
    body = k8s.V1ConfigMap(metadata=k8s.V1ObjectMeta(name="c"), data={"a": "b"})
    made = await in_thread(core.create_namespaced_config_map, "default", body)
    assert made.metadata.uid
    made.data = {"a": "c"}
    await in_thread(core.replace_namespaced_config_map, "c", "default", made)
    with pytest.raises(ApiException) as error:
        await in_thread(core.replace_namespaced_config_map, "c", "default", made)
    assert error.value.status == 409
    container = k8s.V1Container(name="c", image="x:1")
    pod = k8s.V1Pod(metadata=k8s.V1ObjectMeta(name="p"), spec=k8s.V1PodSpec(containers=[container]))
    await in_thread(core.create_namespaced_pod, "default", pod)
    found = await in_thread(core.list_pod_for_all_namespaces, field_selector="status.phase=Pending")
    assert [p.metadata.name for p in found.items] == ["p"]
    await in_thread(core.delete_namespaced_pod, "p", "default")


async def test_workloads_and_leases_parse(connection):
    """DaemonSets, Leases, Nodes and definitions come back in the form that the client's models want."""
    apps, leases = k8s.AppsV1Api(connection), k8s.CoordinationV1Api(connection)
    labels = {"a": "b"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "x:1"}]}}
    body = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": labels}, "template": template}}
    made = await in_thread(apps.create_namespaced_daemon_set, "default", body)
    assert made.status.number_ready == 0
    lease = {"metadata": {"name": "l"}, "spec": {"holderIdentity": "me", "renewTime": "2026-01-01T00:00:00.000000Z"}}
    assert (await in_thread(leases.create_namespaced_lease, "default", lease)).spec.holder_identity == "me"
    core = k8s.CoreV1Api(connection)
    await in_thread(core.create_node, {"metadata": {"name": "n"}})
    assert [n.metadata.name for n in (await in_thread(core.list_node)).items] == ["n"]
    assert (await in_thread(core.read_namespace, "default")).status.phase == "Active"


async def test_definitions_and_custom_objects(connection, widget_crd, widget):
    """The custom-objects API creates, patches, reads status apart, and pages."""
    crds, custom = k8s.ApiextensionsV1Api(connection), k8s.CustomObjectsApi(connection)
    await in_thread(crds.create_custom_resource_definition, widget_crd)
    crd = await in_thread(crds.read_custom_resource_definition, "widgets.example.io")
    assert {c.type for c in crd.status.conditions} == {"NamesAccepted", "Established"}
    place = ("example.io", "v1", "default", "widgets")
    for name in "abc":
        await in_thread(custom.create_namespaced_custom_object, *place, widget(name))
    patched = await in_thread(custom.patch_namespaced_custom_object, *place, "a", {"spec": {"size": 9}})
    assert patched["spec"]["size"] == 9
    status = {"status": {"phase": "x"}}
    await in_thread(custom.patch_namespaced_custom_object_status, *place, "a", status)
    page = await in_thread(custom.list_namespaced_custom_object, *place, limit=2)
    rest = await in_thread(custom.list_namespaced_custom_object, *place, _continue=page["metadata"]["continue"])
    assert [w["metadata"]["name"] for w in page["items"] + rest["items"]] == ["a", "b", "c"]
    with pytest.raises(ApiException) as error:
        await in_thread(custom.create_namespaced_custom_object, *place, widget("d", mode="no"))
    assert error.value.status == 422
    assert "spec.mode" in error.value.body


async def test_the_clients_watch_resumes(connection, server):
    """The client's own Watch streams from a revision and gives each later change once."""
    core = k8s.CoreV1Api(connection)
    start = (await in_thread(core.list_namespaced_config_map, "default")).metadata.resource_version
    seen = []
    two_seen = threading.Event()

    def follow():
        stream = k8s_watch.Watch().stream(
            core.list_namespaced_config_map, "default", resource_version=start, timeout_seconds=10
        )
        for event in stream:
            seen.append((event["type"], event["object"].metadata.name))
            if len(seen) == 2:
                two_seen.set()
            if len(seen) == 3:
                return

    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_thread, follow)
        for name in "ab":
            await in_thread(core.create_namespaced_config_map, "default", {"metadata": {"name": name}})
        assert await in_thread(two_seen.wait, 10)
        await in_thread(core.delete_namespaced_config_map, "a", "default")
    assert seen == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a")]
