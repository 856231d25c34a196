"""Deletion and what follows from it: finalizers, owners, namespaces, definitions, pods."""


async def _config(client, name, *owners, block=False, finalizers=()):
    refs = [
        {
            "apiVersion": o["apiVersion"],
            "kind": o["kind"],
            "name": o["metadata"]["name"],
            "uid": o["metadata"]["uid"],
            **({"blockOwnerDeletion": True} if block else {}),
        }
        for o in owners
    ]
    meta = {"name": name, "ownerReferences": refs, "finalizers": list(finalizers)}
    return await client.ok("POST", client.configmaps, {"metadata": meta})


async def test_finalizers_hold_an_object_until_they_are_taken_off(client, widget):
    """A deleted object with finalizers stays, marked; new finalizers are refused; without any it goes."""
    body = widget()
    body["metadata"]["finalizers"] = ["example.io/hold"]
    await client.ok("POST", client.widgets, body)
    path = f"{client.widgets}/a"
    held = await client.ok("DELETE", path)
    assert held["metadata"]["deletionTimestamp"]
    assert held["metadata"]["deletionGracePeriodSeconds"] == 0
    patch = {"metadata": {"finalizers": ["example.io/hold", "example.io/more"]}}
    status = await client.refused(422, "PATCH", path, patch, kind="application/merge-patch+json")
    assert "no new finalizers can be added" in status["message"]
    await client.merge(path, {"metadata": {"finalizers": None}})
    await client.refused(404, "GET", path)


async def test_a_held_object_is_seen_deleted_only_at_the_end(client, widget):
    """A watcher sees the mark as MODIFIED and the end as DELETED."""
    body = widget()
    body["metadata"]["finalizers"] = ["example.io/hold"]
    made = await client.ok("POST", client.widgets, body)
    async with await client.watch(client.widgets, resourceVersion=made["metadata"]["resourceVersion"]) as watching:
        await client.ok("DELETE", f"{client.widgets}/a")
        assert (await watching.next())["type"] == "MODIFIED"
        await client.merge(f"{client.widgets}/a", {"metadata": {"finalizers": []}})
        kinds = [(await watching.next())["type"], (await watching.next())["type"]]
    assert kinds[-1] == "DELETED"


async def test_background_deletion_takes_dependents_after_their_owner(client, widget):
    """An object whose only owner is gone goes too, and its own dependents with it."""
    owner = await client.ok("POST", client.widgets, widget())
    child = await _config(client, "child", owner)
    await _config(client, "grandchild", child)
    await client.ok("DELETE", f"{client.widgets}/a")
    assert (await client.ok("GET", client.configmaps))["items"] == []


async def test_an_object_with_another_owner_stays(client, widget):
    """A dependent of two owners outlives one of them and forgets it."""
    one, two = [await client.ok("POST", client.widgets, widget(n)) for n in ("a", "b")]
    await _config(client, "child", one, two)
    await client.ok("DELETE", f"{client.widgets}/a")
    child = await client.ok("GET", f"{client.configmaps}/child")
    assert [o["name"] for o in child["metadata"]["ownerReferences"]] == ["b"]


async def test_an_owner_that_never_was_takes_its_dependent_along(client, widget):
    """A reference to a uid that no object has is as good as a deleted owner."""
    owner = widget("ghost")
    owner["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"
    await _config(client, "child", owner)
    await client.refused(404, "GET", f"{client.configmaps}/child")


async def test_foreground_deletion_waits_for_blocking_dependents(client, widget):
    """The owner stays, marked, until dependents that block it are gone."""
    owner = await client.ok("POST", client.widgets, widget())
    await _config(client, "child", owner, block=True, finalizers=["example.io/hold"])
    await client.ok("DELETE", f"{client.widgets}/a", propagationPolicy="Foreground")
    held = await client.ok("GET", f"{client.widgets}/a")
    assert held["metadata"]["finalizers"] == ["foregroundDeletion"]
    await client.merge(f"{client.configmaps}/child", {"metadata": {"finalizers": []}})
    await client.refused(404, "GET", f"{client.widgets}/a")
    await client.refused(404, "GET", f"{client.configmaps}/child")


async def test_orphaning_leaves_dependents_without_their_owner(client, widget):
    """propagationPolicy=Orphan deletes the owner alone and takes its references away."""
    owner = await client.ok("POST", client.widgets, widget())
    await _config(client, "child", owner)
    await client.ok("DELETE", f"{client.widgets}/a", {"propagationPolicy": "Orphan"})
    await client.refused(404, "GET", f"{client.widgets}/a")
    assert "ownerReferences" not in (await client.ok("GET", f"{client.configmaps}/child"))["metadata"]


async def test_a_deleted_namespace_is_emptied_and_goes(client, widget):
    """Everything in a namespace goes with it; while something is held it is Terminating and takes nothing new."""
    await client.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "x"}})
    body = widget()
    body["metadata"]["finalizers"] = ["example.io/hold"]
    inside = "/apis/example.io/v1/namespaces/x/widgets"
    await client.ok("POST", inside, body)
    await client.ok("POST", "/api/v1/namespaces/x/configmaps", {"metadata": {"name": "c"}})
    await client.ok("DELETE", "/api/v1/namespaces/x")
    assert (await client.ok("GET", "/api/v1/namespaces/x"))["status"]["phase"] == "Terminating"
    assert (await client.ok("GET", "/api/v1/namespaces/x/configmaps"))["items"] == []
    status = await client.refused(403, "POST", inside, widget("b"))
    assert status["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    await client.merge(f"{inside}/a", {"metadata": {"finalizers": []}})
    await client.refused(404, "GET", "/api/v1/namespaces/x")


async def test_a_definition_is_served_at_once_and_goes_with_its_objects(client, widget):
    """Established on creation; deleted with all objects of its kind, and waits for those that are held."""
    crd = await client.ok("GET", f"{client.crds}/widgets.example.io")
    conditions = {c["type"]: c["status"] for c in crd["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}
    body = widget()
    body["metadata"]["finalizers"] = ["example.io/hold"]
    await client.ok("POST", client.widgets, body)
    await client.ok("POST", client.widgets, widget("b"))
    await client.ok("DELETE", f"{client.crds}/widgets.example.io")
    assert [w["metadata"]["name"] for w in (await client.ok("GET", client.widgets))["items"]] == ["a"]
    await client.merge(f"{client.widgets}/a", {"metadata": {"finalizers": []}})
    await client.refused(404, "GET", client.widgets)
    await client.refused(404, "GET", f"{client.crds}/widgets.example.io")


async def test_a_changed_definition_takes_effect(client, widget, widget_crd):
    """Objects are held to the schema of the moment."""
    await client.refused(422, "POST", client.widgets, widget(mode="huge"))
    mode = widget_crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["mode"]
    mode["enum"].append("huge")
    await client.merge(f"{client.crds}/widgets.example.io", {"spec": {"versions": widget_crd["spec"]["versions"]}})
    await client.ok("POST", client.widgets, widget(mode="huge"))


async def test_an_object_is_read_in_every_served_version(client, widget, widget_crd):
    """Versions of a definition differ in name alone; each object is readable and watchable in all of them."""
    versions = widget_crd["spec"]["versions"]
    versions.append({**versions[0], "name": "v1beta1", "storage": False, "deprecated": True})
    await client.merge(f"{client.crds}/widgets.example.io", {"spec": {"versions": versions}})
    await client.ok("POST", client.widgets, widget())
    old = client.widgets.replace("/v1/", "/v1beta1/")
    reply = await client("GET", f"{old}/a")
    assert reply.body["apiVersion"] == "example.io/v1beta1"
    assert "deprecated" in reply.headers["Warning"][0]
    assert (await client.ok("GET", old))["items"][0]["apiVersion"] == "example.io/v1beta1"
    async with await client.watch(old) as watching:
        assert (await watching.next())["object"]["apiVersion"] == "example.io/v1beta1"
    changed = {**reply.body, "spec": {"size": 8}}
    await client.ok("PUT", f"{old}/a", changed)
    assert (await client.ok("GET", f"{client.widgets}/a"))["spec"]["size"] == 8


async def test_names_in_use_are_not_taken_over(client, widget_crd):
    """A definition whose kind another one holds is not established and serves nothing."""
    widget_crd["metadata"]["name"] = "gizmos.example.io"
    widget_crd["spec"]["names"]["plural"] = "gizmos"
    await client.ok("POST", client.crds, widget_crd)
    crd = await client.ok("GET", f"{client.crds}/gizmos.example.io")
    assert {c["type"]: c["status"] for c in crd["status"]["conditions"]}["Established"] == "False"
    await client.refused(404, "GET", client.widgets.replace("widgets", "gizmos"))
    await client.ok("DELETE", f"{client.crds}/gizmos.example.io")
    await client.refused(404, "GET", f"{client.crds}/gizmos.example.io")


async def test_an_unbound_pod_goes_at_once_a_bound_one_waits_for_its_kubelet(client, pod):
    """A bound pod gets its grace period and goes when its kubelet deletes it with grace 0."""
    made = await client.ok("POST", client.pods, pod("p"))
    assert made["status"]["phase"] == "Pending"
    await client.ok("DELETE", f"{client.pods}/p")
    await client.refused(404, "GET", f"{client.pods}/p")
    await client.ok("POST", client.pods, pod("q"))
    binding = {"metadata": {"name": "q"}, "target": {"kind": "Node", "name": "n1"}}
    await client.ok("POST", f"{client.pods}/q/binding", binding)
    await client.refused(409, "POST", f"{client.pods}/q/binding", binding)
    await client.ok("DELETE", f"{client.pods}/q")
    held = await client.ok("GET", f"{client.pods}/q")
    assert held["spec"]["nodeName"] == "n1"
    assert held["metadata"]["deletionGracePeriodSeconds"] == 30
    await client.ok("DELETE", f"{client.pods}/q", {"gracePeriodSeconds": 0})
    await client.refused(404, "GET", f"{client.pods}/q")


async def test_a_pod_spec_stands_but_its_status_moves(client, pod):
    """Only the few mutable fields of a pod's spec change; its kubelet writes its status."""
    await client.ok("POST", client.pods, pod("p", node="n1"))
    patch = {"spec": {"containers": [{"name": "c", "image": "x:2"}]}}
    await client.ok("PATCH", f"{client.pods}/p", patch, kind="application/strategic-merge-patch+json")
    status = await client.refused(
        422, "PATCH", f"{client.pods}/p", {"spec": {"hostNetwork": True}}, kind="application/merge-patch+json"
    )
    assert "pod updates may not change fields other than" in status["message"]
    running = {"status": {"phase": "Running", "podIP": "10.0.0.1"}}
    assert (await client.merge(f"{client.pods}/p/status", running))["status"]["podIP"] == "10.0.0.1"


async def test_an_eviction_deletes(client, pod):
    """Posting an Eviction begins the pod's deletion."""
    await client.ok("POST", client.pods, pod("p", node="n1"))
    await client.ok("POST", f"{client.pods}/p/eviction", {"metadata": {"name": "p"}})
    assert "deletionTimestamp" in (await client.ok("GET", f"{client.pods}/p"))["metadata"]


async def test_logs_come_from_the_embedding_program(client, pod):
    """Without a provider a pod's log is 404; with one, its text."""
    await client.ok("POST", client.pods, pod("p"))
    status = await client.refused(404, "GET", f"{client.pods}/p/log")
    assert "no log is kept" in status["message"]

    async def logs(obj, query):
        return f"{obj['metadata']['name']} {query.get('container')}\n".encode()

    client.api.logs = logs
    reply = await client("GET", f"{client.pods}/p/log", container="c")
    assert reply.body == b"p c\n"
