"""Create, read, update, delete: what every kind does alike."""

from base64 import b64decode


async def test_a_new_object_gets_what_only_the_server_sets(client, widget):
    """uid, creationTimestamp, resourceVersion and generation are the server's, whatever the client sent."""
    body = widget()
    body["metadata"] |= {"uid": "mine", "creationTimestamp": "2000-01-01T00:00:00Z", "generation": 7}
    made = await client.ok("POST", client.widgets, body)
    assert made["metadata"]["uid"] != "mine"
    assert made["metadata"]["creationTimestamp"] > "2001"
    assert made["metadata"]["generation"] == 1
    assert made["metadata"]["namespace"] == "default"


async def test_generate_name_gives_names_that_differ(client, widget):
    """An object with generateName and no name is named by the server, each time anew."""
    body = widget()
    body["metadata"] = {"generateName": "w-"}
    names = {(await client.ok("POST", client.widgets, body))["metadata"]["name"] for _ in range(20)}
    assert len(names) == 20
    assert all(name.startswith("w-") and len(name) == 7 for name in names)


async def test_a_taken_name_is_refused(client, widget):
    """Creating what exists is AlreadyExists, and changes nothing."""
    await client.ok("POST", client.widgets, widget(size=1))
    status = await client.refused(409, "POST", client.widgets, widget(size=2))
    assert status["reason"] == "AlreadyExists"
    assert status["message"] == 'widgets.example.io "a" already exists'
    assert (await client.ok("GET", f"{client.widgets}/a"))["spec"]["size"] == 1


async def test_a_stale_resource_version_is_a_conflict(client, widget):
    """An update based on an older version is refused; one based on the newest is not."""
    old = await client.ok("POST", client.widgets, widget())
    await client.merge(f"{client.widgets}/a", {"spec": {"size": 4}})
    status = await client.refused(409, "PUT", f"{client.widgets}/a", old)
    assert status["reason"] == "Conflict"
    assert "the object has been modified" in status["message"]
    new = await client.ok("GET", f"{client.widgets}/a")
    new["spec"]["size"] = 5
    assert (await client.ok("PUT", f"{client.widgets}/a", new))["spec"]["size"] == 5


async def test_an_update_that_changes_nothing_is_no_write(client, widget):
    """Writing the same object again keeps its resourceVersion."""
    made = await client.ok("POST", client.widgets, widget())
    again = await client.ok("PUT", f"{client.widgets}/a", made)
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def test_generation_rises_with_the_spec_only(client, widget):
    """Labels and status leave the generation as it is."""
    await client.ok("POST", client.widgets, widget())
    path = f"{client.widgets}/a"
    assert (await client.merge(path, {"metadata": {"labels": {"a": "b"}}}))["metadata"]["generation"] == 1
    assert (await client.merge(f"{path}/status", {"status": {"phase": "x"}}))["metadata"]["generation"] == 1
    assert (await client.merge(path, {"spec": {"size": 9}}))["metadata"]["generation"] == 2


async def test_status_and_the_rest_are_written_apart(client, widget):
    """Status comes only through its subresource, and through it nothing else does."""
    body = widget()
    body["status"] = {"phase": "early"}
    assert "status" not in await client.ok("POST", client.widgets, body)
    path = f"{client.widgets}/a"
    both = {"spec": {"size": 8}, "status": {"phase": "x"}, "metadata": {"labels": {"l": "1"}}}
    after = await client.merge(f"{path}/status", both)
    assert after["spec"]["size"] == 3
    assert after["status"] == {"phase": "x"}
    assert "labels" not in after["metadata"]
    after = await client.merge(path, {"spec": {"size": 8}, "status": {"phase": "y"}})
    assert after["spec"]["size"] == 8
    assert after["status"] == {"phase": "x"}


async def test_a_dry_run_changes_nothing(client, widget):
    """dryRun=All answers as the write would, and writes nothing."""
    made = await client.ok("POST", client.widgets, widget(), dryRun="All")
    assert made["spec"]["mode"] == "small"
    await client.refused(404, "GET", f"{client.widgets}/a")
    await client.ok("POST", client.widgets, widget())
    assert (await client.merge(f"{client.widgets}/a", {"spec": {"size": 9}}, dryRun="All"))["spec"]["size"] == 9
    await client.ok("DELETE", f"{client.widgets}/a", dryRun="All")
    await client.ok("DELETE", f"{client.widgets}/a", {"dryRun": ["All"]})
    assert (await client.ok("GET", f"{client.widgets}/a"))["spec"]["size"] == 3


async def test_an_unknown_namespace_takes_no_objects(client, widget):
    """Objects live only in namespaces that exist."""
    status = await client.refused(404, "POST", "/apis/example.io/v1/namespaces/nowhere/widgets", widget())
    assert status["message"] == 'namespaces "nowhere" not found'


async def test_body_and_path_must_agree(client, widget):
    """Kind, apiVersion, name and namespace of a body are those of its path."""
    for change in ({"kind": "Gadget"}, {"apiVersion": "example.io/v2"}, {"metadata": {"name": "a", "namespace": "x"}}):
        await client.refused(400, "POST", client.widgets, {**widget(), **change})
    await client.ok("POST", client.widgets, widget())
    await client.refused(400, "PUT", f"{client.widgets}/a", widget("b"))


async def test_names_labels_and_owners_are_checked(client, widget):
    """Names and labels that Kubernetes refuses are refused here, with the field path."""
    status = await client.refused(422, "POST", client.widgets, widget("Not_A_Name"))
    assert status["details"]["causes"][0]["field"] == "metadata.name"
    body = widget()
    body["metadata"]["labels"] = {"ok": "not ok"}
    body["metadata"]["ownerReferences"] = [{"kind": "X", "name": "x"}]
    status = await client.refused(422, "POST", client.widgets, body)
    fields = [c["field"] for c in status["details"]["causes"]]
    assert "metadata.labels" in fields
    assert "metadata.ownerReferences[0].uid" in fields


async def test_preconditions_guard_a_delete(client, widget):
    """A delete that names another uid or an older version is refused."""
    made = await client.ok("POST", client.widgets, widget())
    path = f"{client.widgets}/a"
    await client.refused(409, "DELETE", path, {"preconditions": {"uid": "other"}})
    await client.refused(409, "DELETE", path, {"preconditions": {"resourceVersion": "1"}})
    await client.ok("DELETE", path, {"preconditions": {"uid": made["metadata"]["uid"]}})
    await client.refused(404, "GET", path)


async def test_delete_collection_takes_what_is_selected(client, widget):
    """deletecollection with a selector leaves the others."""
    for name, label in (("a", "x"), ("b", "y"), ("c", "x")):
        body = widget(name)
        body["metadata"]["labels"] = {"l": label}
        await client.ok("POST", client.widgets, body)
    await client.ok("DELETE", client.widgets, labelSelector="l=x")
    left = await client.ok("GET", client.widgets)
    assert [w["metadata"]["name"] for w in left["items"]] == ["b"]


async def test_a_lease_is_made_by_an_update(client):
    """Leases may be created by PUT, as a node's heartbeat does."""
    path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1"
    reply = await client("PUT", path, {"metadata": {"name": "n1"}, "spec": {"holderIdentity": "n1"}})
    assert reply.status == 201
    assert reply.body["kind"] == "Lease"


async def test_secrets_take_plain_text(client):
    """stringData is stored as base64 under data."""
    body = {"metadata": {"name": "s"}, "stringData": {"a": "b"}}
    made = await client.ok("POST", "/api/v1/namespaces/default/secrets", body)
    assert b64decode(made["data"]["a"]) == b"b"
    assert made["type"] == "Opaque"


async def test_scale_reads_and_writes_its_paths(client, widget):
    """The scale subresource shows and sets the field that the definition names."""
    await client.ok("POST", client.widgets, widget(size=2))
    path = f"{client.widgets}/a/scale"
    assert (await client.ok("GET", path))["spec"]["replicas"] == 2
    await client.merge(path, {"spec": {"replicas": 6}})
    assert (await client.ok("GET", f"{client.widgets}/a"))["spec"]["size"] == 6
    await client.refused(422, "PATCH", path, {"spec": {"replicas": -1}}, kind="application/merge-patch+json")


async def test_unknown_paths_and_methods_are_refused(client):
    """What is not served is 404, what cannot be done 405, what cannot be read 400 or 415."""
    await client.refused(404, "GET", "/apis/nothing.io/v1/things")
    await client.refused(404, "GET", "/nothing")
    await client.refused(405, "POST", "/version")
    await client.refused(405, "PUT", client.widgets, {})
    await client.refused(400, "POST", client.widgets, b"{nonsense")
    await client.refused(415, "POST", client.widgets, b"x", kind="application/cbor")
    await client.refused(406, "GET", client.widgets, accept="application/cbor")
