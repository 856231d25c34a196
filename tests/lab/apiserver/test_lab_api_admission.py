"""Validating webhooks: who is asked, over verified TLS, and what each kind of answer or failure does to a write."""

import base64
import json
import logging
import re
from datetime import UTC, datetime

import pytest
import trio
from multinic_operator.webhook.certificates import renewed
from multinic_operator.webhook.server import PATH, serve_https, tls_context

HOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
WIDGETS = "/apis/example.io/v1/namespaces/default/widgets"
RULE = {"apiGroups": ["example.io"], "apiVersions": ["v1"], "resources": ["widgets"], "operations": ["*"]}


class Hook:
    """A webhook that remembers what it was asked and answers as it is told."""

    def __init__(self):
        self.bundle = renewed(None, ["127.0.0.1", "hook.default.svc"], datetime.now(UTC))
        self.asked = []
        self.answer = {"allowed": True}
        self.port = 0

    def __call__(self, body):
        request = json.loads(body)["request"]
        self.asked.append(request)
        answer = self.answer(request) if callable(self.answer) else self.answer
        return {"apiVersion": "admission.k8s.io/v1", "response": {"uid": request["uid"], **answer}}

    @property
    def trusted(self):
        return base64.b64encode(self.bundle.authorities[0].encode()).decode()

    def configuration(self, name="hooks", *, rules=(RULE,), **webhook):
        client = {"url": f"https://127.0.0.1:{self.port}{PATH}", "caBundle": self.trusted}
        client |= webhook.pop("client", {})
        fields = {"name": "widgets.example.io", "clientConfig": client, "rules": list(rules), "sideEffects": "None"}
        fields |= {"admissionReviewVersions": ["v1"], "timeoutSeconds": 3}
        head = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration"}
        return {**head, "metadata": {"name": name}, "webhooks": [fields | webhook]}


@pytest.fixture
async def hook(nursery):
    """A webhook on a loopback port."""
    made = Hook()
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    made.port = listeners[0].socket.getsockname()[1]
    nursery.start_soon(serve_https, listeners, lambda: tls_context(made.bundle), made)
    return made


async def test_a_write_is_asked_about_as_it_would_be_stored(client, hook, widget):
    """With defaults and metadata, the old object beside the new one, and the operation that it is."""
    await client.ok("POST", HOOKS, hook.configuration())
    await client.ok("POST", WIDGETS, widget("a"))
    await client.merge(f"{WIDGETS}/a", {"spec": {"size": 4}})
    await client.ok("DELETE", f"{WIDGETS}/a")
    created, updated, deleted = hook.asked
    assert [asked["operation"] for asked in hook.asked] == ["CREATE", "UPDATE", "DELETE"]
    assert created["object"]["metadata"]["uid"]
    assert (created["oldObject"], created["name"], created["dryRun"]) == (None, "a", False)
    assert (updated["oldObject"]["spec"]["size"], updated["object"]["spec"]["size"]) == (3, 4)
    assert (deleted["object"], deleted["oldObject"]["spec"]["size"]) == (None, 4)
    assert created["resource"] == {"group": "example.io", "version": "v1", "resource": "widgets"}


async def test_a_refusal_is_passed_on_with_its_code_and_nothing_is_stored(client, hook, widget):
    """The message names the webhook; a refusal without a code is a 403."""
    await client.ok("POST", HOOKS, hook.configuration())
    hook.answer = {"allowed": False, "status": {"code": 422, "reason": "Invalid", "message": "too small"}}
    status = await client.refused(422, "POST", WIDGETS, widget("a"))
    assert status["message"] == 'admission webhook "widgets.example.io" denied the request: too small'
    assert status["reason"] == "Invalid"
    hook.answer = {"allowed": False}
    status = await client.refused(403, "POST", WIDGETS, widget("a"))
    assert status["message"] == 'admission webhook "widgets.example.io" denied the request without explanation'
    assert (await client("GET", f"{WIDGETS}/a")).status == 404


async def test_warnings_reach_the_client_once(client, hook, widget):
    """Beside those of the server itself."""
    await client.ok("POST", HOOKS, hook.configuration())
    hook.answer = {"allowed": True, "warnings": ["nearly full"]}
    reply = await client("POST", WIDGETS, widget("a"))
    assert reply.headers["Warning"] == ['299 - "nearly full"']


async def test_a_dry_run_is_asked_about_and_stores_nothing(client, hook, widget):
    """The webhook is told that it is one."""
    await client.ok("POST", HOOKS, hook.configuration())
    await client.ok("POST", WIDGETS, widget("a"), dryRun="All")
    assert [asked["dryRun"] for asked in hook.asked] == [True]
    assert (await client("GET", f"{WIDGETS}/a")).status == 404


async def test_what_the_schema_refuses_is_not_asked_about(client, hook, widget):
    """The schema comes first."""
    await client.ok("POST", HOOKS, hook.configuration())
    await client.refused(422, "POST", WIDGETS, widget("a", size="big"))
    assert hook.asked == []


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({}, True),
        ({"rules": [RULE | {"operations": ["UPDATE"]}]}, False),
        ({"rules": [RULE | {"resources": ["widgets/status"]}]}, False),
        ({"rules": [RULE | {"apiGroups": ["*"], "resources": ["*"], "apiVersions": ["*"]}]}, True),
        ({"rules": [RULE | {"apiVersions": ["v2"]}]}, False),
        ({"rules": [RULE | {"scope": "Cluster"}]}, False),
        ({"rules": [RULE | {"scope": "Namespaced"}]}, True),
        ({"objectSelector": {"matchLabels": {"team": "red"}}}, True),
        ({"objectSelector": {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["red"]}]}}, False),
        ({"namespaceSelector": {"matchExpressions": [{"key": "closed", "operator": "Exists"}]}}, False),
        ({"matchConditions": [{"name": "large", "expression": "object.spec.size > 2"}]}, True),
        ({"matchConditions": [{"name": "large", "expression": "object.spec.size > 9"}]}, False),
    ],
)
async def test_rules_selectors_and_conditions_choose(client, hook, widget, fields, asked):
    """Only writes that all of them fit are asked about."""
    await client.ok("POST", HOOKS, hook.configuration(**fields))
    body = widget("a")
    body["metadata"]["labels"] = {"team": "red"}
    await client.ok("POST", WIDGETS, body)
    assert bool(hook.asked) is asked


@pytest.mark.parametrize(
    ("client_config", "why"),
    [
        ({"url": "https://127.0.0.1:1/x"}, "all attempts to connect"),
        ({"url": "http://127.0.0.1/x"}, "expected one of scheme https"),
        ({"caBundle": ""}, "self-signed certificate|unable to get local issuer"),
        ({"url": "wrong-path"}, "expected one of scheme https"),
    ],
)
async def test_a_webhook_that_cannot_be_asked_refuses_or_is_passed_over(
    client, hook, widget, caplog, client_config, why
):
    """By its failurePolicy; without one it refuses. What went wrong is told either way."""
    await client.ok("POST", HOOKS, hook.configuration(client=client_config))
    status = await client.refused(500, "POST", WIDGETS, widget("a"))
    assert 'failed calling webhook "widgets.example.io"' in status["message"]
    assert re.search(why, status["message"]), status["message"]
    await client.merge(
        f"{HOOKS}/hooks", {"webhooks": hook.configuration(client=client_config, failurePolicy="Ignore")["webhooks"]}
    )
    with caplog.at_level(logging.WARNING):
        await client.ok("POST", WIDGETS, widget("a"))
    assert "webhook.failed" in caplog.text


async def test_another_authority_is_not_trusted(client, hook, widget):
    """TLS is verified by the authority that the configuration names, not by any that signs."""
    other = renewed(None, ["127.0.0.1"], datetime.now(UTC)).authorities[0]
    bundle = base64.b64encode(other.encode()).decode()
    await client.ok("POST", HOOKS, hook.configuration(client={"caBundle": bundle}))
    status = await client.refused(500, "POST", WIDGETS, widget("a"))
    assert "certificate verify failed" in status["message"]
    assert hook.asked == []


async def test_an_answer_that_is_none_counts_as_failure(client, hook, widget):
    """Another uid, or no word about allowing."""
    await client.ok("POST", HOOKS, hook.configuration())
    for answer in ({"uid": "another", "allowed": True}, {"allowed": "yes"}):
        hook.answer = answer
        status = await client.refused(500, "POST", WIDGETS, widget("a"))
        assert "failed calling webhook" in status["message"]


async def test_a_service_is_reached_by_its_endpoints(client, hook, widget):
    """The certificate must speak for the Service's name."""
    service = {"name": "hook", "namespace": "default", "path": PATH}
    configuration = hook.configuration()
    configuration["webhooks"][0]["clientConfig"] = {"service": service, "caBundle": hook.trusted}
    await client.ok("POST", HOOKS, configuration)
    status = await client.refused(500, "POST", WIDGETS, widget("a"))
    assert 'service "hook" not found' in status["message"]
    head = {"metadata": {"name": "hook", "namespace": "default"}, "apiVersion": "v1"}
    body = {**head, "kind": "Service", "spec": {"clusterIP": "10.96.0.9", "ports": [{"name": "https", "port": 443}]}}
    await client.ok("POST", "/api/v1/namespaces/default/services", body)
    status = await client.refused(500, "POST", WIDGETS, widget("a"))
    assert 'no endpoints available for service "hook"' in status["message"]
    subset = {"addresses": [{"ip": "127.0.0.1"}], "ports": [{"name": "https", "port": hook.port}]}
    endpoints = {**head, "kind": "Endpoints", "subsets": [subset]}
    await client.ok("POST", "/api/v1/namespaces/default/endpoints", endpoints)
    await client.ok("POST", WIDGETS, widget("a"))
    assert len(hook.asked) == 1


async def test_an_object_that_changes_meanwhile_is_asked_about_again(client, hook, widget, api):
    """What is stored is what the webhook was asked about."""
    await client.ok("POST", WIDGETS, widget("a"))
    await client.ok("POST", HOOKS, hook.configuration())

    def answer(request):
        if len(hook.asked) == 1:
            api.rest.edit(("example.io", "widgets", "default", "a"), lambda obj: obj["spec"].update(size=5))
        return {"allowed": True}

    hook.answer = answer
    await client.merge(f"{WIDGETS}/a", {"metadata": {"labels": {"a": "b"}}})
    assert [asked["object"]["spec"]["size"] for asked in hook.asked] == [3, 5]


async def test_a_wrong_configuration_can_always_be_corrected(client, hook):
    """Configurations themselves are never asked about."""
    rule = {"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "operations": ["*"]}
    await client.ok("POST", HOOKS, hook.configuration(rules=[rule], client={"url": "https://127.0.0.1:1/x"}))
    await client.ok("DELETE", f"{HOOKS}/hooks")
