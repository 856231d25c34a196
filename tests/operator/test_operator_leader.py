"""Who leads: one at a time, for as long as it renews, and nobody writes after its time."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from multinic_operator.leading.leader import LEASE_NAME, Election, Fence, NotLeadingError, Terms, serve_elected

from multinic_core.errors import ApiError
from multinic_core.model import LEASES, NAMESPACES, SYSTEM_NAMESPACE
from multinic_core.testing.kube import FakeKubernetes

TERMS = Terms()


class Candidate:
    """An election with a fence of its own, both on the virtual clock."""

    def __init__(self, kube: FakeKubernetes, name: str) -> None:
        self.fence = Fence(trio.current_time)
        self.election = Election(kube, SYSTEM_NAMESPACE, name, self.fence, clock=trio.current_time)
        self.times: list[tuple[float, float]] = []

    async def work(self) -> None:
        begun = trio.current_time()
        try:
            await trio.sleep_forever()
        finally:
            self.times.append((begun, trio.current_time()))

    async def serve(self) -> None:
        await serve_elected(self.election, self.work)


@pytest.fixture
def kube() -> FakeKubernetes:
    kube = FakeKubernetes()
    kube.seed(NAMESPACES, {"metadata": {"name": SYSTEM_NAMESPACE}})
    return kube


async def holder(kube: FakeKubernetes) -> str | None:
    return (await kube.get(LEASES, LEASE_NAME, SYSTEM_NAMESPACE)).spec.holder_identity


async def test_the_first_leads_and_the_second_waits(kube: Any, autojump_clock: Any) -> None:
    """Of two candidates one works; the other does not for as long as the first renews."""
    one, two = Candidate(kube, "one"), Candidate(kube, "two")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.serve)
        await trio.sleep(1)
        nursery.start_soon(two.serve)
        await trio.sleep(300)
        assert await holder(kube) == "one"
        assert one.fence.seconds_left > 0 >= two.fence.seconds_left
        with pytest.raises(NotLeadingError), two.fence.writing():
            pass
        nursery.cancel_scope.cancel()


async def test_one_that_ends_in_order_hands_over_at_once(kube: Any, autojump_clock: Any) -> None:
    """A cancelled leader ends its work, then empties the Lease, so the next one starts within a look."""
    one, two = Candidate(kube, "one"), Candidate(kube, "two")
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def first() -> None:
            with scope:
                await one.serve()

        nursery.start_soon(first)
        await trio.sleep(1)
        nursery.start_soon(two.serve)
        await trio.sleep(10)
        note = {"metadata": {"annotations": {"a": "b"}}}
        await kube.patch(LEASES, LEASE_NAME, note, namespace=SYSTEM_NAMESPACE)
        scope.cancel()
        ended = trio.current_time()
        await trio.sleep(TERMS.retry + 0.1)
        assert await holder(kube) == "two"
        assert one.times == [(pytest.approx(0), pytest.approx(ended))]
        assert (await kube.get(LEASES, LEASE_NAME, SYSTEM_NAMESPACE)).spec.lease_transitions == 1
        nursery.cancel_scope.cancel()


async def test_one_that_cannot_renew_stops_before_another_begins(kube: Any, autojump_clock: Any) -> None:
    """While the API fails for the leader alone its work ends in time, and another begins only after that."""
    one, two = Candidate(kube, "one"), Candidate(kube, "two")

    class Cut(FakeKubernetes):
        """The leader's way to the API, which breaks."""

        broken = False

        async def patch(self, *args: Any, **kwargs: Any) -> Any:
            if Cut.broken:
                raise ApiError("no answer")
            return await kube.patch(*args, **kwargs)

        async def get(self, *args: Any, **kwargs: Any) -> Any:
            if Cut.broken:
                raise ApiError("no answer")
            return await kube.get(*args, **kwargs)

        async def create(self, *args: Any, **kwargs: Any) -> Any:
            return await kube.create(*args, **kwargs)

    one.election = Election(Cut(), SYSTEM_NAMESPACE, "one", one.fence, clock=trio.current_time)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.serve)
        await trio.sleep(1)
        nursery.start_soon(two.serve)
        await trio.sleep(30)
        Cut.broken = True
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    ((_, stopped),), ((begun, _),) = one.times, two.times
    assert stopped - 31 <= TERMS.renew
    assert stopped + TERMS.lease - TERMS.renew - TERMS.retry <= begun
    assert begun - 31 <= TERMS.lease + TERMS.retry


async def test_the_time_of_others_is_not_believed(kube: Any, autojump_clock: Any) -> None:
    """A Lease counts from when it was seen to change, whatever time stands in it and however old it looks."""
    spec = {"holderIdentity": "other", "leaseDurationSeconds": 15, "renewTime": "1999-01-01T00:00:00.000000Z"}
    kube.seed(LEASES, {"metadata": {"name": LEASE_NAME, "namespace": SYSTEM_NAMESPACE}, "spec": spec})
    one = Candidate(kube, "one")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.serve)
        await trio.sleep(14.9)
        assert await holder(kube) == "other"
        await trio.sleep(TERMS.retry + 0.2)
        assert await holder(kube) == "one"
        nursery.cancel_scope.cancel()


async def test_a_longer_lease_of_the_original_is_respected(kube: Any, autojump_clock: Any) -> None:
    """The original asks for 30 seconds; as long as it holds the same Lease, nothing of ours works."""
    spec = {"holderIdentity": "original", "leaseDurationSeconds": 30, "renewTime": "2026-01-01T00:00:00.000000Z"}
    kube.seed(LEASES, {"metadata": {"name": LEASE_NAME, "namespace": SYSTEM_NAMESPACE}, "spec": spec})
    one = Candidate(kube, "one")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.serve)
        await trio.sleep(29)
        assert await holder(kube) == "original"
        await trio.sleep(4)
        assert await holder(kube) == "one"
        nursery.cancel_scope.cancel()


async def test_somebody_elses_annotation_costs_nothing(kube: Any, autojump_clock: Any) -> None:
    """A Lease that was changed beside our fields is read again and renewed."""
    one = Candidate(kube, "one")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.serve)
        await trio.sleep(5)
        note = {"metadata": {"annotations": {"a": "b"}}}
        await kube.patch(LEASES, LEASE_NAME, note, namespace=SYSTEM_NAMESPACE)
        await trio.sleep(30)
        assert one.times == []
        assert (await kube.get(LEASES, LEASE_NAME, SYSTEM_NAMESPACE)).metadata.annotations == {"a": "b"}
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("status", [0, 409, 429, 500])
async def test_single_failures_do_not_cost_the_leadership(kube: Any, autojump_clock: Any, status: int) -> None:
    """One renewal that fails is repeated in time."""
    one = Candidate(kube, "one")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.serve)
        for _ in range(5):
            await trio.sleep(20)
            kube.fail(ApiError("no", status=status), verb="patch", resource=LEASES)
        assert one.times == []
        nursery.cancel_scope.cancel()


async def test_a_lease_that_somebody_took_ends_the_work_at_once(kube: Any, autojump_clock: Any) -> None:
    """Whoever finds another holder in the Lease stops, and does not write it again."""
    one = Candidate(kube, "one")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.serve)
        await trio.sleep(5)
        await kube.patch(LEASES, LEASE_NAME, {"spec": {"holderIdentity": "x"}}, namespace=SYSTEM_NAMESPACE)
        await trio.sleep(TERMS.retry + 0.1)
    assert len(one.times) == 1
    assert await holder(kube) == "x"


async def test_the_namespace_is_made_when_it_is_missing(autojump_clock: Any, kube: Any) -> None:
    """The operator of a new cluster needs no namespace to be there."""

    def missing() -> ApiError:
        return ApiError("namespaces not found", status=404, api_reason="NotFound")

    empty = FakeKubernetes()
    empty.fail(missing(), verb="create", resource=LEASES)
    one = Candidate(empty, "one")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.serve)
        await trio.sleep(TERMS.retry + 0.1)
        assert [item.name for item in await empty.list(NAMESPACES)] == [SYSTEM_NAMESPACE]
        assert await holder(empty) == "one"
        nursery.cancel_scope.cancel()


async def test_it_does_not_hand_over_while_a_request_is_on_its_way(kube: Any, autojump_clock: Any) -> None:
    """With an unanswered write somewhere the Lease is left to run out, so nobody begins beside it."""
    one = Candidate(kube, "one")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.serve)
        await trio.sleep(5)
        with one.fence.writing():
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await trio.sleep(3)
    assert await holder(kube) == "one"
    with pytest.raises(NotLeadingError), one.fence.writing():
        pass
