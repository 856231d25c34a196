"""Single requests: what is sent, what is repeated, and which error comes out in the end."""

from contextlib import contextmanager

import pytest
import trio

from multinic_core.errors import ApiError, ConfigError
from multinic_core.kube import connect
from multinic_core.model import DEVICE_CLASSES, LEASES, Lease, LeaseSpec, ObjectMeta

LEASE = {
    "apiVersion": "coordination.k8s.io/v1",
    "kind": "Lease",
    "metadata": {"name": "n1", "namespace": "s", "uid": "u1", "resourceVersion": "5"},
    "spec": {"holderIdentity": "n1", "strategy": "unknown to our model"},
}
PATH = "/apis/coordination.k8s.io/v1/namespaces/s/leases"


def answering(body, status=200):
    async def step(exchange):
        await exchange.answer(status, body)

    return step


def refusing(status, reason, headers=None, **details):
    async def step(exchange):
        await exchange.refuse(status, reason, headers, **details)

    return step


async def hanging(exchange):
    await exchange.wait_gone()


async def dropping(exchange):
    pass


async def test_create_posts_to_the_namespace(server, kube):
    """A model is sent as the API's JSON, with apiVersion and kind, and the answer is a model again."""
    server.plan(answering(LEASE, 201))
    made = await kube.create(LEASES, Lease(metadata=ObjectMeta(name="n1", namespace="s"), spec=LeaseSpec()))
    assert made.metadata.uid == "u1"
    (sent,) = server.seen
    assert (sent.method, sent.path, sent.query) == ("POST", PATH, {"fieldManager": "multinic"})
    assert sent.headers["content-type"] == "application/json"
    assert sent.json["kind"] == "Lease"
    assert sent.json["apiVersion"] == "coordination.k8s.io/v1"


@pytest.mark.parametrize(
    ("kind", "body", "content_type"),
    [
        ("merge", {"spec": {"holderIdentity": None}}, "application/merge-patch+json"),
        ("json", [{"op": "remove", "path": "/spec/holderIdentity"}], "application/json-patch+json"),
    ],
)
async def test_patches_have_their_content_type(server, kube, kind, body, content_type):
    """Merge and JSON patches arrive as they were given, as what they are."""
    server.plan(answering(LEASE))
    await kube.patch(LEASES, "n1", body, namespace="s", kind=kind)
    (sent,) = server.seen
    assert (sent.method, sent.path, sent.json) == ("PATCH", f"{PATH}/n1", body)
    assert sent.headers["content-type"] == content_type
    assert "force" not in sent.query


async def test_apply_is_forced_and_complete(server, kube):
    """Server-side apply sends a whole object under the manager's name."""
    server.plan(answering(LEASE))
    body = {"spec": {"holderIdentity": "n1"}}
    await kube.patch(LEASES, "n1", body, namespace="s", kind="apply", subresource="status", field_manager="m")
    (sent,) = server.seen
    assert sent.path == f"{PATH}/n1/status"
    assert sent.query == {"fieldManager": "m", "force": "true"}
    assert sent.headers["content-type"] == "application/apply-patch+yaml"
    assert sent.json["metadata"] == {"name": "n1", "namespace": "s"}
    assert sent.json["kind"] == "Lease"
    assert body == {"spec": {"holderIdentity": "n1"}}, "the argument was changed"


async def test_a_patch_of_the_wrong_shape_is_a_mistake(kube):
    """A merge patch is an object and a JSON patch a list; the mix-up never reaches the server."""
    with pytest.raises(ValueError, match="merge patch cannot be a list"):
        await kube.patch(LEASES, "n1", [{"op": "test"}], namespace="s")
    with pytest.raises(ValueError, match="a namespace is needed"):
        await kube.get(LEASES, "n1")


async def test_modify_keeps_what_the_model_does_not_know(server, kube):
    """The object goes back with the change, the version read, and every field that our model lacks."""
    server.plan(answering(LEASE), answering(LEASE))
    await kube.modify(LEASES, "n1", holder("n2"), namespace="s")
    read, written = server.seen
    assert (read.method, written.method, written.path) == ("GET", "PUT", f"{PATH}/n1")
    assert written.json == LEASE | {"spec": {"holderIdentity": "n2", "strategy": "unknown to our model"}}


def holder(name):
    def change(lease):
        return lease.model_copy(update={"spec": lease.spec.model_copy(update={"holder_identity": name})})

    return change


async def test_modify_without_a_difference_writes_nothing(server, kube):
    """Neither None nor an equal object causes a write."""
    server.plan(answering(LEASE), answering(LEASE))
    assert (await kube.modify(LEASES, "n1", lambda lease: None, namespace="s")).metadata.uid == "u1"
    await kube.modify(LEASES, "n1", holder("n1"), namespace="s")
    assert [exchange.method for exchange in server.seen] == ["GET", "GET"]


async def test_modify_reads_again_after_a_conflict(server, kube):
    """A conflict is answered by reading and changing anew, not by sending the same again."""
    newer = LEASE | {"metadata": LEASE["metadata"] | {"resourceVersion": "6"}}
    server.plan(answering(LEASE), refusing(409, "Conflict"), answering(newer), answering(newer))
    await kube.modify(LEASES, "n1", holder("n2"), namespace="s")
    assert [exchange.method for exchange in server.seen] == ["GET", "PUT"] * 2
    assert server.seen[-1].json["metadata"]["resourceVersion"] == "6"


async def test_modify_gives_up_after_a_named_number_of_conflicts(server, kube):
    """Endless conflicts end in the conflict itself."""
    server.plan(*[answering(LEASE), refusing(409, "Conflict")] * 20)
    with pytest.raises(ApiError) as caught:
        await kube.modify(LEASES, "n1", holder("n2"), namespace="s")
    assert caught.value.status == 409
    assert len(server.seen) == 2 * 8


@pytest.mark.parametrize(("status", "reason"), [(429, "TooManyRequests"), (500, "InternalError"), (503, "Away")])
async def test_overload_is_waited_out(server, kube, status, reason):
    """Answers that say "later" are followed by the same request, writes included."""
    server.plan(refusing(status, reason), refusing(status, reason), answering(LEASE, 201))
    await kube.create(LEASES, LEASE)
    assert [exchange.json for exchange in server.seen] == [server.seen[0].json] * 3


async def test_retry_after_is_kept_to(server, kube):
    """No attempt comes before the time that the server asked for."""
    server.plan(refusing(429, "TooManyRequests", {"Retry-After": "1"}), answering(LEASE))
    started = trio.current_time()
    await kube.get(LEASES, "n1", "s")
    assert trio.current_time() - started >= 1


async def test_a_retry_after_beyond_the_bound_is_an_error_at_once(server, kube):
    """Nobody waits a minute inside a call; the caller learns how long the server asked for."""
    server.plan(refusing(503, "ServiceUnavailable", {"Retry-After": "60"}))
    with trio.fail_after(30), pytest.raises(ApiError) as caught:
        await kube.get(LEASES, "n1", "s")
    assert (caught.value.status, caught.value.retry_after_seconds) == (503, 60)


async def test_retries_end(server, kube):
    """Five attempts, then the last error."""
    server.plan(*[refusing(500, "InternalError")] * 20)
    with pytest.raises(ApiError, match="get leases s/n1: scripted InternalError") as caught:
        await kube.get(LEASES, "n1", "s")
    assert caught.value.status == 500
    assert len(server.seen) == 5


@pytest.mark.parametrize(("status", "reason"), [(401, "Unauthorized"), (403, "Forbidden"), (422, "Invalid")])
async def test_refusals_are_not_repeated(server, kube, status, reason):
    """What can never succeed is asked once, and its status, reason and message reach the caller."""
    server.plan(refusing(status, reason))
    with pytest.raises(ApiError, match=f"create leases s/n1: scripted {reason}") as caught:
        await kube.create(LEASES, LEASE)
    assert (caught.value.status, caught.value.api_reason) == (status, reason)


async def test_not_found_can_be_told_apart(server, kube):
    """A missing object is status 404."""
    server.plan(refusing(404, "NotFound"))
    with pytest.raises(ApiError) as caught:
        await kube.get(LEASES, "n1", "s")
    assert caught.value.status == 404


async def test_a_lost_answer_is_asked_for_again(server, kube):
    """A connection that breaks before the answer is status 0 and repeated, as getting twice does no harm."""
    server.plan(dropping, answering(LEASE))
    assert (await kube.get(LEASES, "n1", "s")).metadata.uid == "u1"


async def test_a_create_is_not_sent_twice_after_a_lost_answer(server, kube):
    """The object may exist; the caller has to look."""
    server.plan(dropping)
    with pytest.raises(ApiError, match="no answer") as caught:
        await kube.create(LEASES, LEASE)
    assert caught.value.status == 0
    assert caught.value.__cause__ is not None


async def test_no_server_is_an_api_error(unused_tcp_url, kubeconfig):
    """A refused connection ends, after a few tries, in status 0."""
    kube = connect(kubeconfig(unused_tcp_url))
    with trio.fail_after(60), pytest.raises(ApiError) as caught:
        await kube.list(DEVICE_CLASSES)
    assert caught.value.status == 0


async def test_an_answer_that_is_no_object_is_an_api_error(server, kube):
    """A proxy's page with status 200, and an object that does not fit, are errors of the API, not of ours."""
    server.plan(answering(b"<html>welcome</html>"), answering(LEASE | {"spec": {"leaseDurationSeconds": "soon"}}))
    with pytest.raises(ApiError, match="<html>welcome"):
        await kube.get(LEASES, "n1", "s")
    with pytest.raises(ApiError, match=r"spec\.leaseDurationSeconds") as caught:
        await kube.get(LEASES, "n1", "s")
    assert (caught.value.status, caught.value.api_reason) == (200, "UnexpectedObject")


async def test_a_list_with_a_misfit_is_refused_whole(server, kube):
    """Whoever concludes from absence must not be given a shortened list."""
    items = [LEASE, LEASE | {"metadata": {"name": "n2", "namespace": "s"}, "spec": {"leaseDurationSeconds": "soon"}}]
    server.plan(answering({"metadata": {"resourceVersion": "9"}, "items": items}))
    with pytest.raises(ApiError, match="leases s/n2: does not fit Lease"):
        await kube.list(LEASES, namespace="s")


async def test_delete_names_the_uid(server, kube):
    """The precondition travels in the body, and dependents go in the background."""
    server.plan(answering({"kind": "Status", "status": "Success"}))
    await kube.delete(LEASES, "n1", "s", uid="u1")
    (sent,) = server.seen
    assert (sent.method, sent.path) == ("DELETE", f"{PATH}/n1")
    assert sent.json["preconditions"] == {"uid": "u1"}
    assert sent.json["propagationPolicy"] == "Background"


async def test_deleting_what_is_gone_is_no_error(server, kube):
    """Neither a missing object nor another one under its name is an error."""
    server.plan(refusing(404, "NotFound"))
    await kube.delete(LEASES, "n1", "s")
    server.plan(refusing(409, "Conflict"), answering(LEASE))
    await kube.delete(LEASES, "n1", "s", uid="an older one")


async def test_a_conflict_over_the_very_object_is_an_error(server, kube):
    """When the object with this uid is still there, the conflict was about something else."""
    server.plan(refusing(409, "Conflict"), answering(LEASE))
    with pytest.raises(ApiError) as caught:
        await kube.delete(LEASES, "n1", "s", uid="u1")
    assert caught.value.status == 409


async def test_a_cancelled_request_returns_at_once(server, kube):
    """A caller's deadline is kept although the server never answers."""
    server.plan(hanging)
    started = trio.current_time()
    with trio.move_on_after(0.2) as scope:
        await kube.get(LEASES, "n1", "s")
    assert scope.cancelled_caught
    assert trio.current_time() - started < 1


def test_configuration_faults_are_named(tmp_path, monkeypatch):
    """A missing or broken kubeconfig and a missing service account say so before anything is sent."""
    with pytest.raises(ConfigError, match="nowhere"):
        connect(str(tmp_path / "nowhere"))
    (tmp_path / "broken").write_text("clusters: [")
    with pytest.raises(ConfigError, match="broken"):
        connect(str(tmp_path / "broken"))
    (tmp_path / "empty").write_text("{}")
    with pytest.raises(ConfigError, match="empty"):
        connect(str(tmp_path / "empty"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigError, match="in-cluster"):
        connect()


async def test_loopback_is_reached_without_a_proxy(server, monkeypatch, kubeconfig):
    """A proxy in the environment is for the world outside, as kubectl has it."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    server.plan(answering(LEASE))
    kube = connect(kubeconfig(f"http://127.0.0.1:{server.port}"))
    assert (await kube.get(LEASES, "n1", "s")).name == "n1"


async def test_each_attempt_to_write_passes_the_guard(server, kubeconfig):
    """The guard is held around every attempt of a write and around no read; what it raises is the outcome."""
    held, refused = [], []

    @contextmanager
    def guard():
        if refused:
            raise ConfigError("not any more")
        held.append("in")
        yield
        held.append("out")

    server.plan(answering(LEASE), refusing(503, "ServiceUnavailable"), answering(LEASE, 201))
    kube = connect(kubeconfig(f"http://127.0.0.1:{server.port}"), agent="someone", writing=guard)
    await kube.get(LEASES, "n1", "s")
    assert held == []
    body = Lease(metadata=ObjectMeta(name="n1", namespace="s"), spec=LeaseSpec())
    await kube.create(LEASES, body)
    assert held == ["in", "out", "in", "out"]
    refused.append(True)
    with pytest.raises(ConfigError, match="not any more"):
        await kube.create(LEASES, body)
    assert [(sent.method, sent.headers["user-agent"]) for sent in server.seen] == [
        ("GET", "someone"),
        ("POST", "someone"),
        ("POST", "someone"),
    ]
