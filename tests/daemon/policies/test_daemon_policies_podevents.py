"""Events on pods: written beside the answer, never in its way, and no flood of them."""

import logging
from typing import Any

import pytest
import trio
from multinic_daemon.report import podevents
from multinic_daemon.report.podevents import PodEvent, PodEvents
from trio.testing import wait_all_tasks_blocked

from multinic_core.errors import ApiError
from multinic_core.model import EVENTS, Event
from multinic_core.plan import PodReference
from multinic_core.testing.kube import FakeKubernetes

POD = PodReference("team-a", "train-0", "uid-0")
NOON = 1_700_000_100.0


class Desk:
    """Events at a time that the test tells, and the API that they go to."""

    def __init__(self) -> None:
        self.now = NOON
        self.kubernetes = FakeKubernetes()
        self.events = PodEvents(self.kubernetes, "node-1", clock=lambda: self.now)

    async def tell(self, *messages: str, pod: PodReference = POD) -> list[Event]:
        """All Events that there are once these are told."""
        for message in messages:
            self.events.tell(PodEvent(pod, "PolicyNotMet", message))
        await wait_all_tasks_blocked()
        return self.kubernetes.store(EVENTS).list()


@pytest.fixture
async def desk(nursery: trio.Nursery) -> Desk:
    made = Desk()
    await nursery.start(made.events.serve)
    return made


async def test_an_event_is_about_its_pod_and_from_its_node(desk: Desk) -> None:
    """Where ``kubectl describe pod`` finds it: by namespace, name and UID."""
    (event,) = await desk.tell("network 'a': found 2 Gbit/s")
    assert event.metadata.namespace == "team-a"
    assert event.involved_object == {
        "apiVersion": "v1",
        "kind": "Pod",
        "namespace": "team-a",
        "name": "train-0",
        "uid": "uid-0",
    }
    assert (event.type, event.reason, event.message) == ("Warning", "PolicyNotMet", "network 'a': found 2 Gbit/s")
    assert event.source == {"component": "multinic-daemon", "host": "node-1"}
    assert event.first_timestamp == event.last_timestamp == "2023-11-14T22:15:00Z"


async def test_other_figures_make_no_other_event_for_a_while(desk: Desk) -> None:
    """A runtime tries every few seconds, and the traffic is another each time; later the new figures are told."""
    first = await desk.tell(
        "network 'a': found 2 Gbit/s, load 1.5e+02 bit/s",
        "network 'a': found 500 Mbit/s, load 31 bit/s",
        "network 'a': found 500 Mbit/s, load 3.1 Kbit/s",
    )
    assert [event.message for event in first] == ["network 'a': found 2 Gbit/s, load 1.5e+02 bit/s"]
    assert len(await desk.tell("network 'a2': found 2 Gbit/s, load 150 bit/s")) == 2
    assert len(await desk.tell("network 'a3': found 2 Gbit/s", "network '4': found 1", "network '5': found 1")) == 5
    desk.now += podevents.REPEAT_SECONDS
    later = await desk.tell("network 'a': found 1 Gbit/s, load 150 bit/s")
    assert "network 'a': found 1 Gbit/s, load 150 bit/s" in {event.message for event in later}
    assert len(later) == 6


async def test_another_pod_of_the_name_has_its_own(desk: Desk) -> None:
    """By its UID; a pod that nobody names has none."""
    await desk.tell("x")
    assert len(await desk.tell("x", pod=PodReference("team-a", "train-0", "uid-1"))) == 2
    assert len(await desk.tell("x", pod=PodReference("", "", ""))) == 2


async def test_long_names_and_messages_fit_the_api(desk: Desk) -> None:
    """Messages of at most 1,024 characters; a name that is cut does not end in what a name may not end in."""
    (event,) = await desk.tell("y" * 5000, pod=PodReference("team-a", "a" * 199 + "-" + "b" * 40, "u"))
    assert len(event.message or "") == 1024
    assert event.metadata.name.startswith("a" * 199 + ".")
    assert len(event.metadata.name) <= 253


async def test_an_api_that_refuses_is_said_once_in_the_log(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """And the next Event is written all the same; that one is there already is nothing to say."""
    desk.kubernetes.fail(ApiError("events: forbidden", status=403, api_reason="Forbidden"), verb="create")
    with caplog.at_level(logging.WARNING):
        events = await desk.tell("first", "second", "second")
    assert [event.message for event in events] == ["second"]
    assert [(record.message, record.cause) for record in caplog.records] == [  # type: ignore[attr-defined]
        ("event not written", "events: forbidden")
    ]


async def test_telling_never_waits(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody writes, as while the API is away: so many wait, of more the log tells, and none is waited for."""
    desk: Any = Desk()
    with caplog.at_level(logging.WARNING):
        for number in range(podevents.WAITING + 3):
            desk.events.tell(PodEvent(POD, "PolicyNotMet", f"message {number}"))
    assert [record.message for record in caplog.records] == ["event not written, too many wait"] * 3
