"""Patches of every format, and who owns which field."""

import pytest
from multinic_lab.apiserver import fieldset, patch

JSON, MERGE, STRATEGIC = patch.JSON_PATCH, patch.MERGE_PATCH, patch.STRATEGIC_PATCH


def _managers(obj):
    return {m["manager"]: m["operation"] for m in obj["metadata"].get("managedFields", [])}


async def test_json_patch(client, widget):
    """Operations apply in order; a failed test or a missing path refuses the whole patch."""
    await client.ok("POST", client.widgets, widget())
    path = f"{client.widgets}/a"
    body = [{"op": "test", "path": "/spec/size", "value": 3}, {"op": "replace", "path": "/spec/size", "value": 4}]
    assert (await client.ok("PATCH", path, body, kind=JSON))["spec"]["size"] == 4
    await client.refused(422, "PATCH", path, body, kind=JSON)
    await client.refused(422, "PATCH", path, [{"op": "remove", "path": "/spec/nothing"}], kind=JSON)
    await client.refused(400, "PATCH", path, {"spec": {}}, kind=JSON)


async def test_merge_patch_replaces_lists_and_deletes_nulls(client, widget):
    """A merge patch merges maps, replaces lists and removes what is null."""
    await client.ok("POST", client.widgets, widget(tags=["a"], name="x"))
    after = await client.merge(f"{client.widgets}/a", {"spec": {"tags": ["b"], "name": None}})
    assert after["spec"]["tags"] == ["b"]
    assert "name" not in after["spec"]


async def test_a_patch_with_a_resource_version_is_a_compare_and_set(client, widget):
    """A patch that carries an older resourceVersion is a conflict."""
    made = await client.ok("POST", client.widgets, widget())
    await client.merge(f"{client.widgets}/a", {"spec": {"size": 4}})
    late = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "spec": {"size": 5}}
    await client.refused(409, "PATCH", f"{client.widgets}/a", late, kind=MERGE)


async def test_strategic_patch_is_for_built_in_kinds(client, widget):
    """Kinds of definitions refuse strategic merge patches with 415, as on any cluster."""
    await client.ok("POST", client.widgets, widget())
    await client.refused(415, "PATCH", f"{client.widgets}/a", {"spec": {"size": 4}}, kind=STRATEGIC)


async def test_strategic_patch_merges_keyed_lists(client):
    """Conditions merge by type, with deletion and order directives obeyed."""
    await client.ok("POST", "/api/v1/nodes", {"metadata": {"name": "n"}})
    path = "/api/v1/nodes/n/status"

    def condition(kind, status):
        now = "2026-01-01T00:00:00Z"
        return {"type": kind, "status": status, "lastHeartbeatTime": now, "lastTransitionTime": now}

    for kind, status in (("Ready", "False"), ("Disk", "True"), ("Ready", "True")):
        body = {"status": {"conditions": [condition(kind, status)]}}
        node = await client.ok("PATCH", path, body, kind=STRATEGIC)
    assert [(c["type"], c["status"]) for c in node["status"]["conditions"]] == [("Ready", "True"), ("Disk", "True")]
    body = {
        "status": {
            "$setElementOrder/conditions": [{"type": "Memory"}, {"type": "Ready"}],
            "conditions": [{"$patch": "delete", "type": "Disk"}, condition("Memory", "True")],
        }
    }
    node = await client.ok("PATCH", path, body, kind=STRATEGIC)
    assert [c["type"] for c in node["status"]["conditions"]] == ["Memory", "Ready"]


@pytest.mark.parametrize(
    ("change", "after"),
    [
        ({"$deleteFromPrimitiveList/finalizers": ["a"]}, {"finalizers": ["b"], "labels": {"x": "1"}}),
        ({"finalizers": ["c"]}, {"finalizers": ["a", "b", "c"], "labels": {"x": "1"}}),
        ({"labels": {"$patch": "replace", "y": "2"}}, {"finalizers": ["a", "b"], "labels": {"y": "2"}}),
        ({"labels": {"x": None}}, {"finalizers": ["a", "b"], "labels": {}}),
        ({"$retainKeys": ["labels"]}, {"labels": {"x": "1"}}),
    ],
)
def test_strategic_directives(change, after):
    """Each directive of a strategic merge patch does what it says."""
    schema = {
        "properties": {
            "finalizers": {"type": "array", "x-kubernetes-patch-strategy": "merge"},
            "labels": {"type": "object"},
        }
    }
    document = {"finalizers": ["a", "b"], "labels": {"x": "1"}}
    assert patch.strategic_patch(document, change, schema) == after
    assert document == {"finalizers": ["a", "b"], "labels": {"x": "1"}}


async def test_apply_creates_and_is_idempotent(client, widget):
    """Applying makes the object, and applying the same again writes nothing."""
    path = f"{client.widgets}/a"
    made = await client.apply(path, widget(), "me")
    assert _managers(made) == {"me": "Apply"}
    again = await client.apply(path, widget(), "me")
    assert again == made


async def test_apply_removes_what_its_manager_no_longer_wants(client, widget):
    """A field left out of the next configuration goes, unless another manager owns it too."""
    path = f"{client.widgets}/a"
    await client.apply(path, widget(name="x", tags=["t"]), "one")
    await client.apply(path, {**widget(), "spec": {"size": 3, "name": "x"}}, "two")
    after = await client.apply(path, widget(), "one")
    assert after["spec"]["name"] == "x"
    assert "tags" not in after["spec"]
    after = await client.apply(path, widget(), "two")
    assert "name" not in after["spec"]


async def test_apply_conflicts_name_manager_and_field(client, widget):
    """Another manager's value is not overwritten unless forced; the refusal names both."""
    path = f"{client.widgets}/a"
    await client.apply(path, widget(size=3), "one")
    status = await client.refused(409, "PATCH", path, widget(size=4), kind=patch.APPLY_PATCH, fieldManager="two")
    (cause,) = status["details"]["causes"]
    assert cause["field"] == ".spec.size"
    assert cause["reason"] == "FieldManagerConflict"
    assert 'conflict with "one"' in cause["message"]
    forced = await client.apply(path, widget(size=4), "two", force="true")
    assert forced["spec"]["size"] == 4
    assert _managers(forced) == {"two": "Apply"}
    assert (await client.apply(path, widget(size=4), "one"))["spec"]["size"] == 4


async def test_apply_merges_keyed_lists_by_key(client, widget):
    """Two managers own items of one list; each removes only its own."""
    path = f"{client.widgets}/a"
    await client.apply(path, widget(parts=[{"name": "x", "count": 1}]), "one")
    both = await client.apply(path, widget(parts=[{"name": "y", "count": 2}]), "two")
    assert [p["name"] for p in both["spec"]["parts"]] == ["x", "y"]
    left = await client.apply(path, widget(), "one")
    assert left["spec"]["parts"] == [{"name": "y", "count": 2}]


async def test_ordinary_writes_take_over_the_fields_they_change(client, widget):
    """An update is noted under its manager and takes changed fields from others; status apart."""
    path = f"{client.widgets}/a"
    await client.apply(path, widget(size=3), "one")
    await client.merge(path, {"spec": {"size": 4}}, fieldManager="two")
    after = await client.merge(f"{path}/status", {"status": {"phase": "x"}}, fieldManager="three")
    owned = {m["manager"]: m for m in after["metadata"]["managedFields"]}
    assert owned["two"]["fieldsV1"] == {"f:spec": {"f:size": {}}}
    assert owned["three"]["subresource"] == "status"
    assert "one" not in owned
    await client.refused(409, "PATCH", path, widget(size=3), kind=patch.APPLY_PATCH, fieldManager="one")


async def test_status_is_applied_apart(client, widget):
    """Applying to the status subresource sets and owns status alone."""
    path = f"{client.widgets}/a"
    await client.apply(path, widget(), "one")
    after = await client.apply(f"{path}/status", {**widget(size=9), "status": {"phase": "x"}}, "two")
    assert after["spec"]["size"] == 3
    assert after["status"] == {"phase": "x"}
    owned = {m["manager"]: m for m in after["metadata"]["managedFields"]}
    assert owned["two"]["fieldsV1"] == {"f:status": {"f:phase": {}}}


async def test_apply_needs_a_manager(client, widget):
    """Server-side apply without fieldManager is refused."""
    await client.refused(400, "PATCH", f"{client.widgets}/a", widget(), kind=patch.APPLY_PATCH)


def test_field_sets_survive_their_written_form():
    """FieldsV1 read back is the set that was written, items and nested fields alike."""
    schema = {
        "properties": {
            "spec": {
                "properties": {
                    "parts": {
                        "type": "array",
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["name"],
                        "items": {"type": "object"},
                    }
                }
            }
        }
    }
    obj = {"spec": {"parts": [{"name": "a", "deep": {"er": 1}}, {"name": "b"}], "empty": {}, "list": [1, 2]}}
    paths = set(fieldset.leaves(obj, schema))
    assert ("f:spec", "f:parts", 'k:{"name":"a"}', "f:deep", "f:er") in paths
    assert fieldset.from_v1(fieldset.to_v1(paths)) == paths
    assert fieldset.shown(("f:spec", "f:parts", 'k:{"name":"a"}', "f:x")) == '.spec.parts[name="a"].x'
