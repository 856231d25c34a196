"""The node's Lease: there, renewed in no step with others, and carrying the report soon when it changes."""

import itertools
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import trio
import trio.testing
from multinic_daemon.report.lease import serve_lease
from multinic_daemon.report.report import Reporter, serve_errors

from multinic_core.errors import ApiError
from multinic_core.model import LEASE_SECONDS, LEASES, NODES, RENEW_SECONDS, RouteReport, read_report
from multinic_core.testing.kube import FakeKubernetes

NAMESPACE = "multi-nic-cni-operator"
START = datetime(2030, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


async def serve(
    nursery: trio.Nursery, kubernetes: FakeKubernetes, reporter: Reporter, chance: Callable[[], float] = lambda: 0.5
) -> None:
    """Start on a clock that advances a second each time it is read."""
    ticks = itertools.count()
    await nursery.start(
        lambda task_status: serve_lease(
            kubernetes,
            "node-1",
            reporter,
            now=lambda: START + timedelta(seconds=next(ticks)),
            chance=chance,
            task_status=task_status,
        )
    )


async def test_lease_says_that_the_daemon_lives(autojump_clock: trio.testing.MockClock) -> None:
    """Written at start and renewed every thirty seconds, owned by the Node."""
    kubernetes = FakeKubernetes()
    (node,) = kubernetes.seed(NODES, {"metadata": {"name": "node-1"}})
    async with trio.open_nursery() as nursery:
        await serve(nursery, kubernetes, Reporter())
        await trio.sleep(1)
        lease = await kubernetes.get(LEASES, "multi-nicd-node-1", NAMESPACE)
        assert lease.spec.holder_identity == "node-1"
        assert lease.spec.lease_duration_seconds == LEASE_SECONDS == 90
        assert lease.spec.acquire_time == "2030-01-02T03:04:05.000678Z"
        assert lease.metadata.labels == {"multinic.fms.io/node": "node-1"}
        assert [owner.uid for owner in lease.metadata.owner_references or ()] == [node.metadata.uid]
        before = kubernetes.count("patch", LEASES)
        await trio.sleep(3 * RENEW_SECONDS)
        assert kubernetes.count("patch", LEASES) == before + 3
        again = await kubernetes.get(LEASES, "multi-nicd-node-1", NAMESPACE)
        assert again.spec.renew_time is not None
        assert lease.spec.renew_time is not None
        assert again.spec.renew_time > lease.spec.renew_time
        assert again.spec.acquire_time == lease.spec.acquire_time
        nursery.cancel_scope.cancel()


async def test_report_goes_out_at_once_and_together(autojump_clock: trio.testing.MockClock) -> None:
    """Several changes within a tenth of a second are one write; a report that says the same again is none."""
    kubernetes, reporter = FakeKubernetes(), Reporter()
    async with trio.open_nursery() as nursery:
        await serve(nursery, kubernetes, reporter)
        await trio.sleep(1)
        before = kubernetes.count("patch", LEASES)
        for name in ("net-b", "net-a"):
            reporter.set_route(name, RouteReport(status="Success", resource_version="7"))
        await trio.sleep(0.2)
        assert kubernetes.count("patch", LEASES) == before + 1
        report = read_report(await kubernetes.get(LEASES, "multi-nicd-node-1", NAMESPACE))
        assert report is not None
        assert list(report.routes) == ["net-a", "net-b"]
        assert report.routes["net-a"].resource_version == "7"
        reporter.set_route("net-a", RouteReport(status="Success", resource_version="7"))
        await trio.sleep(0.2)
        assert kubernetes.count("patch", LEASES) == before + 1
        reporter.set_route("net-a", None)
        await trio.sleep(0.2)
        report = read_report(await kubernetes.get(LEASES, "multi-nicd-node-1", NAMESPACE))
        assert report is not None
        assert list(report.routes) == ["net-b"]
        nursery.cancel_scope.cancel()


async def test_nodes_renew_at_moments_of_their_own(autojump_clock: trio.testing.MockClock) -> None:
    """Fifty daemons that start together are spread within minutes, and cost a write each per thirty seconds."""
    cluster, chance = [FakeKubernetes() for _ in range(50)], random.Random(7).random
    async with trio.open_nursery() as nursery:
        for kubernetes in cluster:
            await serve(nursery, kubernetes, Reporter(), chance)
        await trio.sleep(20 * RENEW_SECONDS)
        before = [kubernetes.count("patch", LEASES) for kubernetes in cluster]
        busiest = 0
        for _ in range(10 * RENEW_SECONDS):
            earlier = sum(kubernetes.count("patch", LEASES) for kubernetes in cluster)
            await trio.sleep(1)
            busiest = max(busiest, sum(kubernetes.count("patch", LEASES) for kubernetes in cluster) - earlier)
        made = [kubernetes.count("patch", LEASES) - count for kubernetes, count in zip(cluster, before, strict=True)]
        nursery.cancel_scope.cancel()
    assert all(8 <= count <= 12 for count in made)
    assert busiest < 10


async def test_report_of_a_large_cluster_rides_on_the_renewal(autojump_clock: trio.testing.MockClock) -> None:
    """What 5,000 nodes say for the same cause takes as long as 200 writes a second do, and no write of its own when
    the renewal comes before."""
    kubernetes, reporter = FakeKubernetes(), Reporter()
    reporter.set_nodes(5000)
    assert reporter.spread_seconds == 25
    draws = itertools.cycle([0.5, 0.8])
    async with trio.open_nursery() as nursery:
        await serve(nursery, kubernetes, reporter, lambda: next(draws))
        await trio.sleep(1)
        before = kubernetes.count("patch", LEASES)
        reporter.set_route("net-a", RouteReport(status="Success", resource_version="7"))
        await trio.sleep(19)
        assert kubernetes.count("patch", LEASES) == before
        await trio.sleep(2)
        assert kubernetes.count("patch", LEASES) == before + 1
        report = read_report(await kubernetes.get(LEASES, "multi-nicd-node-1", NAMESPACE))
        assert report is not None
        assert list(report.routes) == ["net-a"]
        nursery.cancel_scope.cancel()


async def test_lease_returns_when_the_api_does(autojump_clock: trio.testing.MockClock) -> None:
    """A write that fails is tried again, with growing pauses, and what changed meanwhile is in it."""
    kubernetes, reporter = FakeKubernetes(), Reporter()
    kubernetes.fail(ApiError("away", status=503), verb="patch", resource=LEASES, times=4)
    async with trio.open_nursery() as nursery:
        await serve(nursery, kubernetes, reporter)
        await trio.sleep(3)
        assert kubernetes.count("patch", LEASES) == 0
        reporter.set_route("net-a", RouteReport(status="Failed", resource_version="7", message="EPERM"))
        await trio.sleep(10)
        report = read_report(await kubernetes.get(LEASES, "multi-nicd-node-1", NAMESPACE))
        assert report is not None
        assert report.routes["net-a"].message == "EPERM"
        nursery.cancel_scope.cancel()


async def test_a_node_that_joins_makes_no_other_write(autojump_clock: trio.testing.MockClock) -> None:
    """That the routes follow a newer CIDR rides on the next renewal; that they fail does not wait for it."""
    kubernetes, reporter = FakeKubernetes(), Reporter()
    async with trio.open_nursery() as nursery:
        await serve(nursery, kubernetes, reporter)
        reporter.set_route("net", RouteReport(status="Success", resource_version="7"))
        await trio.sleep(2 * RENEW_SECONDS + 1)
        before = kubernetes.count("patch", LEASES)
        reporter.set_route("net", RouteReport(status="Success", resource_version="8"))
        await trio.sleep(5)
        assert kubernetes.count("patch", LEASES) == before
        await trio.sleep(RENEW_SECONDS)
        assert kubernetes.count("patch", LEASES) == before + 1
        report = read_report(await kubernetes.get(LEASES, "multi-nicd-node-1", NAMESPACE))
        assert report is not None
        assert report.routes["net"].resource_version == "8"
        reporter.set_route("net", RouteReport(status="Failed", resource_version="8", message="EPERM"))
        await trio.sleep(1)
        assert kubernetes.count("patch", LEASES) == before + 2
        nursery.cancel_scope.cancel()


async def test_what_keeps_a_node_from_serving_is_reported_when_it_lasts(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A journal that was refused is told to the operator; the few seconds of every start are not."""
    kubernetes, reporter, reasons = FakeKubernetes(), Reporter(), ["starting"]
    async with trio.open_nursery() as nursery:
        await serve(nursery, kubernetes, reporter)
        await nursery.start(serve_errors, reporter, lambda: reasons[0])
        await trio.sleep(5)
        reasons[0] = ""
        await trio.sleep(60)
        assert kubernetes.count("patch", LEASES) <= 3
        reasons[0] = "journal refused"
        await trio.sleep(21)
        report = read_report(await kubernetes.get(LEASES, "multi-nicd-node-1", NAMESPACE))
        assert report is not None
        assert report.error == "journal refused"
        reasons[0] = ""
        await trio.sleep(11)
        report = read_report(await kubernetes.get(LEASES, "multi-nicd-node-1", NAMESPACE))
        assert report is not None
        assert report.error == ""
        nursery.cancel_scope.cancel()


async def test_route_problem_is_what_the_report_says() -> None:
    """For STATUS: "" unless the routes of that network failed."""
    reporter = Reporter()
    reporter.set_route("bad", RouteReport(status="Failed", resource_version="7", message="EPERM"))
    reporter.set_route("worse", RouteReport(status="Failed", resource_version="7"))
    reporter.set_route("good", RouteReport(status="Success", resource_version="7"))
    assert [reporter.route_problem(name) for name in ("bad", "worse", "good", "none")] == ["EPERM", "failed", "", ""]
