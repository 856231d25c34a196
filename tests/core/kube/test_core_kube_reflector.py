"""Stores stay current through everything an API server and a network do to a watch."""

import json
import logging
from itertools import pairwise

import pytest
import trio

from multinic_core.model import DEVICE_CLASSES, PODS
from multinic_core.ports import Key


def device_class(name, version, vendor="15b3"):
    return {
        "metadata": {"name": name, "resourceVersion": str(version)},
        "spec": {"ids": [{"vendor": vendor, "products": []}]},
    }


def listing(version, *items, next_page=""):
    async def step(exchange):
        assert exchange.path == "/apis/multinic.fms.io/v1/deviceclasses"
        assert "watch" not in exchange.query
        await exchange.answer(
            200, {"metadata": {"resourceVersion": str(version), "continue": next_page}, "items": items}
        )

    return step


def watching(version, *events, end="hold", close_announced=False):
    """A watch that must ask for ``version``; ends by ``hold`` (until the client goes), ``close`` or ``drop``."""

    async def step(exchange):
        assert exchange.query["watch"] == "1"
        assert exchange.query["allowWatchBookmarks"] == "true"
        assert int(exchange.query["timeoutSeconds"]) > 0
        assert exchange.query["resourceVersion"] == str(version)
        await exchange.start_watch(close_announced)
        for kind, item in events:
            await exchange.event(kind, item)
        if end == "hold":
            await exchange.wait_gone()
        elif end == "close":
            await exchange.end_watch()

    return step


def refusing(status, reason, headers=None, **details):
    async def step(exchange):
        await exchange.refuse(status, reason, headers, **details)

    return step


def bookmark(version):
    return "BOOKMARK", {"kind": "DeviceClass", "metadata": {"resourceVersion": str(version)}}


def follow(kube):
    store = kube.store(DEVICE_CLASSES)
    announced = []
    store.subscribe(lambda key: announced.append(key.name))
    return store, announced


async def test_list_then_watch(server, kube, nursery, eventually):
    """A store shows the list, then each change, and announces every key once it shows it."""
    changes = [
        ("ADDED", device_class("b", 11)),
        ("MODIFIED", device_class("a", 12, vendor="8086")),
        ("DELETED", device_class("b", 13)),
    ]
    server.plan(listing(10, device_class("a", 5)), watching(10, *changes))
    store, announced = follow(kube)
    assert not store.synced
    await nursery.start(kube.serve)
    await eventually(lambda: len(announced) == 4)
    assert store.synced
    assert announced == ["a", "b", "a", "b"]
    assert [item.name for item in store.list()] == ["a"]
    assert store.get("a").spec.ids[0].vendor == "8086"
    assert store.get("a").kind == "DeviceClass"


async def test_the_token_of_the_kubeconfig_is_sent(server, kube, nursery, eventually):
    """Every request carries the credentials of the kubeconfig, the watch too."""
    server.plan(listing(10), watching(10))
    follow(kube)
    await nursery.start(kube.serve)
    await eventually(lambda: len(server.seen) == 2)
    assert [exchange.headers["authorization"] for exchange in server.seen] == ["Bearer secret"] * 2


async def test_pages_are_joined(server, kube, nursery):
    """A list in pages is one list: nothing is announced before its last page."""
    store, announced = follow(kube)

    async def last_page(exchange):
        assert exchange.query["continue"] == "token"
        assert announced == []
        await listing(10, device_class("b", 6))(exchange)

    server.plan(listing(10, device_class("a", 5), next_page="token"), last_page, watching(10))
    await nursery.start(kube.serve)
    with trio.fail_after(60):
        await store.wait_synced()
    assert announced == ["a", "b"]
    assert int(server.seen[0].query["limit"]) > 0


async def test_an_expired_page_starts_the_list_again_whole(server, kube, nursery):
    """When the continue token is too old, everything is listed anew without a limit."""
    server.plan(
        listing(10, device_class("old", 5), next_page="token"),
        refusing(410, "Expired"),
        listing(20, device_class("new", 15)),
        watching(20),
    )
    store, announced = follow(kube)
    await nursery.start(kube.serve)
    with trio.fail_after(60):
        await store.wait_synced()
    assert announced == ["new"]
    assert "limit" not in server.seen[2].query


async def test_a_dropped_watch_goes_on_where_it_was(server, kube, nursery, eventually):
    """After a cut connection the watch starts at the last version seen; nothing is listed or announced again."""
    server.plan(
        listing(10, device_class("a", 5)),
        watching(10, ("ADDED", device_class("b", 11)), end="drop"),
        watching(11, ("ADDED", device_class("c", 12)), end="close"),
        watching(12, ("ADDED", device_class("d", 13))),
    )
    _, announced = follow(kube)
    await nursery.start(kube.serve)
    await eventually(lambda: len(announced) == 4)
    assert announced == ["a", "b", "c", "d"]


async def test_bookmarks_advance_the_version(server, kube, nursery, eventually):
    """A bookmark changes nothing but where the next watch starts."""
    server.plan(
        listing(10, device_class("a", 5)),
        watching(10, bookmark(90), end="close"),
        watching(90, ("ADDED", device_class("b", 91))),
    )
    _, announced = follow(kube)
    await nursery.start(kube.serve)
    await eventually(lambda: len(announced) == 2)
    assert announced == ["a", "b"]


async def expired_then_listed(server, kube, nursery, eventually, *expiry):
    server.plan(
        listing(10, device_class("same", 5), device_class("edited", 6), device_class("gone", 7)),
        *expiry,
    )
    store, announced = follow(kube)
    during = []

    async def second_list(exchange):
        during.extend(item.name for item in store.list())
        items = [device_class("same", 5), device_class("edited", 31), device_class("new", 32)]
        await listing(40, *items)(exchange)

    server.plan(second_list, watching(40))
    await nursery.start(kube.serve)
    await eventually(lambda: store.get("new") and len(server.seen) == 3 + len(expiry))
    assert during == ["edited", "gone", "same"], "the store was emptied while the list was fetched"
    assert sorted(announced[:3]) == ["edited", "gone", "same"]
    assert sorted(announced[3:]) == ["edited", "gone", "new"]
    assert [item.name for item in store.list()] == ["edited", "new", "same"]


async def test_410_as_an_answer_announces_only_differences(server, kube, nursery, eventually):
    """A refused version means a new list, of which only the differences are announced."""
    await expired_then_listed(server, kube, nursery, eventually, refusing(410, "Expired"))


async def test_410_as_an_event_announces_only_differences(server, kube, nursery, eventually):
    """The same when the refusal comes as an ERROR event inside the watch."""
    status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
    await expired_then_listed(server, kube, nursery, eventually, watching(10, ("ERROR", status), end="close"))


async def test_a_version_from_the_future_is_listed_again(server, kube, nursery, eventually):
    """A server that was restored from a backup does not know our version yet; waiting for it would never end."""
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    await expired_then_listed(server, kube, nursery, eventually, refusing(504, "Timeout", causes=causes))


async def test_other_error_events_keep_the_version(server, kube, nursery, eventually):
    """An internal error within a watch is no reason to list everything."""
    status = {"kind": "Status", "code": 500, "reason": "InternalError", "message": "etcd is away"}
    server.plan(
        listing(10, device_class("a", 5)),
        watching(10, ("ADDED", device_class("b", 11)), ("ERROR", status), end="close"),
        watching(11, ("ADDED", device_class("c", 12))),
    )
    _, announced = follow(kube)
    await nursery.start(kube.serve)
    await eventually(lambda: len(announced) == 3)
    assert announced == ["a", "b", "c"]


async def test_failed_lists_are_retried(server, kube, nursery):
    """Refused, dropped and unreadable lists are tried again, and Retry-After is kept to."""
    times = []

    async def overloaded(exchange):
        times.append(trio.current_time())
        await exchange.refuse(429, "TooManyRequests", {"Retry-After": "1"})

    async def nothing(exchange):
        times.append(trio.current_time())

    async def error_page(exchange):
        await exchange.answer(200, b"<html>not an API</html>")

    server.plan(overloaded, nothing, error_page, refusing(403, "Forbidden"), listing(10), watching(10))
    store, _ = follow(kube)
    await nursery.start(kube.serve)
    with trio.fail_after(60):
        await store.wait_synced()
    assert times[1] - times[0] >= 1


async def test_an_outage_is_one_warning(server, kube, nursery, eventually, caplog):
    """The same failure many times over is one line in the log, and the recovery another."""
    caplog.set_level(logging.INFO, "multinic_core.kube")
    server.plan(*[refusing(503, "ServiceUnavailable")] * 4, listing(10), watching(10, ("ADDED", device_class("a", 11))))
    store, announced = follow(kube)
    await nursery.start(kube.serve)
    await eventually(lambda: announced)
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "ServiceUnavailable" in warnings[0].problem
    assert store.synced


async def test_a_server_that_ends_each_watch_at_once_is_not_flooded(server, kube, nursery, eventually):
    """Empty watches that end immediately count as failures, so the pauses between them grow."""
    times = []

    async def ending(exchange):
        times.append(trio.current_time())
        await watching(10, end="close")(exchange)

    server.plan(listing(10), *[ending] * 5, watching(10))
    follow(kube)
    await nursery.start(kube.serve)
    await eventually(lambda: len(server.seen) == 7)
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert pauses[-1] > pauses[0]
    assert pauses[-1] > 0.3


async def test_misfits_are_named_and_warned_about_once(server, kube, nursery, eventually, caplog):
    """An object that does not fit its model is in ``invalid`` alone, announced, and warned about once."""
    broken = [device_class("x", version, vendor="not hex") for version in (6, 11, 12)]
    server.plan(
        listing(10, device_class("a", 5), broken[0]),
        watching(10, ("MODIFIED", broken[1]), ("MODIFIED", broken[2]), ("MODIFIED", device_class("x", 13))),
    )
    store, announced = follow(kube)
    problems = []
    store.subscribe(lambda key: problems.append(store.invalid.get(key, "")))
    await nursery.start(kube.serve)
    await eventually(lambda: store.get("x"))
    assert announced == ["a", "x", "x", "x", "x"]
    assert "spec.ids.0.vendor" in problems[1]
    assert "not hex" in problems[1]
    assert store.invalid == {}
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "deviceclasses x" in warnings[0].object


async def test_a_valid_object_that_turns_bad_leaves_the_store(server, kube, nursery, eventually):
    """Nobody goes on working with the last good version of an object that is bad now."""
    server.plan(listing(10, device_class("a", 5)), watching(10, ("MODIFIED", device_class("a", 11, vendor="?"))))
    store, _ = follow(kube)
    await nursery.start(kube.serve)
    await eventually(lambda: store.invalid)
    assert store.get("a") is None
    assert store.list() == []
    assert list(store.invalid) == [Key("", "a")]


async def test_a_half_received_event_is_not_taken(server, kube, nursery, eventually):
    """A line cut off by a lost connection is dropped; the watch gets it again, whole."""

    async def cut(exchange):
        await exchange.start_watch()
        await exchange.raw(b'{"type":"ADDED","object":{"metadata":{"name":"b"')

    server.plan(listing(10, device_class("a", 5)), cut, watching(10, ("ADDED", device_class("b", 11))))
    store, announced = follow(kube)
    await nursery.start(kube.serve)
    await eventually(lambda: store.get("b"))
    assert announced == ["a", "b"]


async def test_events_split_and_joined_anywhere(server, kube, nursery, eventually):
    """Events arrive as lines, however the network cuts them."""
    lines = b"".join(
        json.dumps({"type": "ADDED", "object": device_class(name, version)}).encode() + b"\n"
        for version, name in enumerate("bcd", 11)
    )

    async def crumbs(exchange):
        await exchange.start_watch()
        for at in range(0, len(lines), 37):
            await exchange.raw(lines[at : at + 37])
        await exchange.wait_gone()

    server.plan(listing(10), crumbs)
    _, announced = follow(kube)
    await nursery.start(kube.serve)
    await eventually(lambda: len(announced) == 3)
    assert announced == ["b", "c", "d"]


async def test_a_server_that_announces_to_close_is_watched_too(server, kube, nursery, eventually):
    """A watch without chunks, ended by closing the connection, works as any other."""
    server.plan(
        listing(10),
        watching(10, ("ADDED", device_class("a", 11)), end="close", close_announced=True),
        watching(11, ("ADDED", device_class("b", 12)), close_announced=True),
    )
    _, announced = follow(kube)
    await nursery.start(kube.serve)
    await eventually(lambda: len(announced) == 2)


@pytest.mark.parametrize("close_announced", [False, True])
async def test_a_cancelled_watch_closes_its_connection_and_ends_its_thread(server, kube, eventually, close_announced):
    """Cancelling ``serve`` during a silent watch frees thread and connection at once, not at the next event."""
    gone = trio.Event()

    async def silent(exchange):
        await watching(10, close_announced=close_announced)(exchange)
        gone.set()

    server.plan(listing(10), silent)
    follow(kube)
    threads = kube._caller._streams
    async with trio.open_nursery() as inner:
        await inner.start(kube.serve)
        await eventually(lambda: len(server.seen) == 2 and threads.borrowed_tokens)
        inner.cancel_scope.cancel()
    with trio.fail_after(60):
        await gone.wait()
        await eventually(lambda: not threads.borrowed_tokens)


async def test_stores_asked_for_while_serving_are_filled(server, kube, nursery):
    """A store asked for late is served as well, and the same arguments give the same store."""
    await nursery.start(kube.serve)

    async def pods(exchange):
        assert exchange.path == "/api/v1/namespaces/default/pods"
        assert exchange.query["fieldSelector"] == "spec.nodeName=n1"
        assert exchange.query["labelSelector"] == "a=b"
        await exchange.answer(200, {"metadata": {"resourceVersion": "7"}, "items": []})

    async def watch(exchange):
        assert exchange.query["fieldSelector"] == "spec.nodeName=n1"
        await exchange.start_watch()
        await exchange.wait_gone()

    server.plan(pods, watch)
    asked = {"namespace": "default", "label_selector": "a=b", "field_selector": "spec.nodeName=n1"}
    store = kube.store(PODS, **asked)
    with trio.fail_after(60):
        await store.wait_synced()
    assert kube.store(PODS, **asked) is store


async def test_a_list_from_before_is_not_taken(server, kube, nursery, eventually):
    """A server that lags behind makes nothing seem gone: the store waits for a list of its own time or later."""
    store, announced = follow(kube)
    server.plan(
        listing(10, device_class("a", 9)),
        watching(10, ("ADDED", device_class("b", 12)), end="close"),
        refusing(410, "Expired"),
        listing(7),
        listing(12, device_class("a", 9), device_class("b", 12)),
        watching(12),
    )
    await nursery.start(kube.serve)
    await eventually(lambda: len(server.seen) == 6)
    assert announced == ["a", "b"]
    assert [item.name for item in store.list()] == ["a", "b"]


async def test_a_history_that_was_set_back_is_taken_in_the_end(server, kube, nursery, eventually, monkeypatch):
    """After a restored backup all lists are older, and the store follows them after a while."""
    monkeypatch.setattr("multinic_core.kube.reflector.OLD_LIST_SECONDS", 0.0)
    store, _ = follow(kube)
    server.plan(
        listing(10, device_class("a", 9)),
        refusing(410, "Expired"),
        listing(7, device_class("old", 6)),
        listing(7, device_class("old", 6)),
        watching(7),
    )
    await nursery.start(kube.serve)
    await eventually(lambda: len(server.seen) == 5)
    assert [item.name for item in store.list()] == ["old"]
