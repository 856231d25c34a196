"""Lists and watches: selection, paging, resuming, bookmarks, history that ends."""

import json

import pytest
from multinic_lab.apiserver import Api, Faults, Store


async def _labelled(client, widget, *pairs):
    for name, label in pairs:
        body = widget(name)
        body["metadata"]["labels"] = {"l": label}
        await client.ok("POST", client.widgets, body)


async def test_events_are_one_set_under_two_groups(client):
    """An event posted to events.k8s.io is read as a core event, and the reverse, with each group's field names."""
    new = "/apis/events.k8s.io/v1/namespaces/default/events"
    about = {"kind": "Widget", "name": "a", "namespace": "default"}
    body = {"metadata": {"name": "e"}, "regarding": about, "note": "hello", "eventTime": "2026-01-01T00:00:00.000000Z"}
    body |= {"reason": "Made", "type": "Normal", "action": "Make", "reportingController": "me"}
    made = await client.ok("POST", new, body)
    assert made["apiVersion"] == "events.k8s.io/v1"
    core = await client.ok("GET", "/api/v1/namespaces/default/events", fieldSelector="involvedObject.name=a")
    assert core["items"][0]["message"] == "hello"
    assert core["items"][0]["reportingComponent"] == "me"
    (same,) = (await client.ok("GET", new, fieldSelector="regarding.name=a"))["items"]
    assert same["note"] == "hello"
    assert same["metadata"]["uid"] == made["metadata"]["uid"]


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("l=x", ["a", "c"]),
        ("l==x", ["a", "c"]),
        ("l!=x", ["b"]),
        ("l in (x,y)", ["a", "b", "c"]),
        ("l notin (x)", ["b"]),
        ("l", ["a", "b", "c"]),
        ("!l", []),
        ("l=x,l!=y", ["a", "c"]),
    ],
)
async def test_label_selectors(client, widget, selector, names):
    """Every form of label selector selects what it says."""
    await _labelled(client, widget, ("a", "x"), ("b", "y"), ("c", "x"))
    found = await client.ok("GET", client.widgets, labelSelector=selector)
    assert [w["metadata"]["name"] for w in found["items"]] == names


async def test_field_selectors(client, pod):
    """Pods are selected by name, node and phase; a field that cannot be selected on is refused."""
    await client.ok("POST", client.pods, pod("p"))
    await client.ok("POST", client.pods, pod("q", node="n1"))
    for selector, names in (
        ("metadata.name=p", ["p"]),
        ("spec.nodeName=n1", ["q"]),
        ("spec.nodeName!=n1", ["p"]),
        ("spec.nodeName=,status.phase=Pending", ["p"]),
        ("metadata.namespace=other", []),
    ):
        found = await client.ok("GET", "/api/v1/pods", fieldSelector=selector)
        assert [p["metadata"]["name"] for p in found["items"]] == names
    status = await client.refused(400, "GET", client.pods, fieldSelector="spec.bogus=1")
    assert status["message"] == "field label not supported: spec.bogus"


async def test_events_are_selected_by_what_they_are_about(client):
    """involvedObject fields find the events of one object."""
    for name in ("a", "b"):
        about = {"kind": "Widget", "name": name, "namespace": "default"}
        body = {"metadata": {"generateName": "e-"}, "involvedObject": about, "reason": "Made", "type": "Normal"}
        await client.ok("POST", "/api/v1/namespaces/default/events", body)
    selector = "involvedObject.name=a,involvedObject.kind=Widget"
    found = await client.ok("GET", "/api/v1/namespaces/default/events", fieldSelector=selector)
    assert [e["involvedObject"]["name"] for e in found["items"]] == ["a"]


async def test_pages_show_one_moment(client, widget):
    """A list in pages gives what was there at its first page, whatever is written in between."""
    for name in "abcde":
        await client.ok("POST", client.widgets, widget(name))
    first = await client.ok("GET", client.widgets, limit=2)
    assert first["metadata"]["remainingItemCount"] == 3
    await client.ok("DELETE", f"{client.widgets}/d")
    await client.ok("POST", client.widgets, widget("cc"))
    await client.merge(f"{client.widgets}/e", {"spec": {"size": 50}})
    second = await client.ok("GET", client.widgets, limit=2, **{"continue": first["metadata"]["continue"]})
    third = await client.ok("GET", client.widgets, limit=2, **{"continue": second["metadata"]["continue"]})
    items = first["items"] + second["items"] + third["items"]
    assert [(w["metadata"]["name"], w["spec"]["size"]) for w in items] == [(n, 3) for n in "abcde"]
    assert "continue" not in third["metadata"]
    assert third["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    await client.refused(400, "GET", client.widgets, **{"continue": "nonsense"})


async def test_a_watch_resumes_where_it_left(client, widget):
    """From a resourceVersion on, every later change comes once and in order, and nothing earlier."""
    await client.ok("POST", client.widgets, widget("a"))
    listed = await client.ok("GET", client.widgets)
    await client.ok("POST", client.widgets, widget("b"))
    await client.merge(f"{client.widgets}/b", {"spec": {"size": 9}})
    async with await client.watch(client.widgets, resourceVersion=listed["metadata"]["resourceVersion"]) as watching:
        first, second = await watching.next(), await watching.next()
        await client.ok("DELETE", f"{client.widgets}/a")
        third = await watching.next()
    seen = [(e["type"], e["object"]["metadata"]["name"]) for e in (first, second, third)]
    assert seen == [("ADDED", "b"), ("MODIFIED", "b"), ("DELETED", "a")]
    revisions = [int(e["object"]["metadata"]["resourceVersion"]) for e in (first, second, third)]
    assert revisions == sorted(set(revisions))


async def test_a_watch_without_revision_begins_with_what_is_there(client, widget):
    """Without a resourceVersion the present objects come first, as ADDED."""
    await client.ok("POST", client.widgets, widget("a"))
    async with await client.watch(client.widgets) as watching:
        assert (await watching.next())["type"] == "ADDED"


async def test_a_selecting_watch_sees_objects_come_and_go(client, widget):
    """An object that begins to match is ADDED, one that ceases to is DELETED, others are not seen."""
    revision = (await client.ok("GET", client.widgets))["metadata"]["resourceVersion"]
    async with await client.watch(client.widgets, labelSelector="l=x", resourceVersion=revision) as watching:
        await _labelled(client, widget, ("a", "y"))
        await client.merge(f"{client.widgets}/a", {"metadata": {"labels": {"l": "x"}}})
        await client.merge(f"{client.widgets}/a", {"spec": {"size": 5}})
        await client.merge(f"{client.widgets}/a", {"metadata": {"labels": {"l": "y"}}})
        assert [(await watching.next())["type"] for _ in range(3)] == ["ADDED", "MODIFIED", "DELETED"]


async def test_bookmarks_tell_how_far_an_idle_watch_is(client, widget):
    """A watcher that asks for bookmarks learns the newest revision although nothing of its kind changed."""
    revision = (await client.ok("GET", client.widgets))["metadata"]["resourceVersion"]
    async with await client.watch(client.widgets, resourceVersion=revision, allowWatchBookmarks="true") as watching:
        await client.ok("POST", client.configmaps, {"metadata": {"name": "c"}})
        while int((event := await watching.next())["object"]["metadata"]["resourceVersion"]) <= int(revision):
            assert event["type"] == "BOOKMARK"
    assert event["type"] == "BOOKMARK"
    assert event["object"]["kind"] == "Widget"


async def test_a_streaming_list_marks_its_end(client, widget):
    """sendInitialEvents gives the present objects and then a bookmark that says so."""
    await client.ok("POST", client.widgets, widget("a"))
    query = {"sendInitialEvents": "true", "allowWatchBookmarks": "true", "resourceVersionMatch": "NotOlderThan"}
    async with await client.watch(client.widgets, **query) as watching:
        assert (await watching.next())["object"]["metadata"]["name"] == "a"
        mark = await watching.next()
    assert mark["type"] == "BOOKMARK"
    assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_a_revision_too_old_is_gone():
    """Once changes have left the window, a watch from before them is refused with 410, a later one is not."""
    api = Api(Store(window=4), Faults())
    for index in range(8):
        api.ensure({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{index}", "namespace": "default"}})
    from multinic_lab.apiserver.http import Request, Response, Stream

    async def watch(revision):
        query = {"watch": "1", "resourceVersion": str(revision)}
        return await api.handle(Request("GET", "/api/v1/configmaps", query, {}))

    compacted = api.store.collection("", "configmaps").compacted
    refused = await watch(compacted - 1)
    assert isinstance(refused, Response)
    assert refused.status == 410
    assert b'"reason":"Expired"' in refused.body
    assert isinstance(await watch(compacted), Stream)


async def test_a_watch_ends_with_its_time_and_with_its_kind(client):
    """timeoutSeconds ends a watch in order; so does the removal of the kind."""
    async with await client.watch(client.widgets, timeoutSeconds=1) as watching:
        await watching.ended()
    async with await client.watch(client.widgets) as watching:
        await client.ok("DELETE", f"{client.crds}/widgets.example.io")
        await watching.ended()


async def test_a_list_in_the_future_is_refused(client):
    """A revision that does not exist yet is a Timeout that says so, not an empty answer."""
    status = await client.refused(504, "GET", client.widgets, resourceVersion="999999")
    assert "Too large resource version" in status["message"]


async def test_events_are_encoded_once_for_all_watchers(client, widget):
    """Two watchers of the same form share one encoded line."""
    async with await client.watch(client.widgets) as one, await client.watch(client.widgets) as two:
        await client.ok("POST", client.widgets, widget("a"))
        assert await one.next() == await two.next()
    (change,) = client.api.store.collection("example.io", "widgets").history
    assert len(change.cache) == 1


async def test_bytes_to_watchers_are_counted_by_who_watches_what(client, widget):
    """What a watch was sent counts for its user agent and kind; one that selects nothing is sent nothing."""
    sent = client.api.reads.sent
    async with await client.watch(client.widgets) as watching, await client.watch(client.pods):
        await client.ok("POST", client.widgets, widget("a"))
        event = await watching.next()
        assert sent == {("", "widgets"): len(json.dumps(event, separators=(",", ":"))) + 1}
