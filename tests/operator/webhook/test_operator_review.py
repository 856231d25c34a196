"""The API server's question and the webhook's answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from multinic_operator.webhook.review import WARNING_LENGTH, Question, answer

from multinic_core.errors import ConfigError


def review(operation: str = "CREATE", new: Any = None, old: Any = None, **request: Any) -> bytes:
    fields = {"uid": "u-1", "name": "net", "operation": operation, "object": new, "oldObject": old}
    return json.dumps(
        {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": fields | request}
    ).encode()


def refuse(question: Question) -> Any:
    raise ConfigError("spec.subnet: found 'x', expected y", "spec.ipam: found 'z', expected w")


def test_a_network_that_may_be_stored_is_allowed(make_network: Any) -> None:
    """The answer carries the question's uid, and no status."""
    answered = answer(review(new=make_network()), lambda question: [])
    assert answered["response"] == {"uid": "u-1", "allowed": True}
    assert (answered["apiVersion"], answered["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")


def test_a_refusal_names_every_problem_and_its_field(make_network: Any) -> None:
    """In the message for people, and as causes for programs."""
    response = answer(review(new=make_network()), refuse)["response"]
    assert response["allowed"] is False
    status = response["status"]
    assert (status["code"], status["reason"]) == (422, "Invalid")
    assert status["message"] == (
        "MultiNicNetwork.multinic.fms.io \"net\" is invalid: spec.subnet: found 'x', expected y;"
        " spec.ipam: found 'z', expected w"
    )
    assert [cause["field"] for cause in status["details"]["causes"]] == ["spec.subnet", "spec.ipam"]


def test_warnings_are_marked_and_short(make_network: Any) -> None:
    """Each says who warns, and none is longer than what API servers pass on."""
    warnings = answer(review(new=make_network()), lambda question: ["low", "x" * 999])["response"]["warnings"]
    assert warnings[0] == "multinic: low"
    assert len(warnings[1]) == WARNING_LENGTH


@pytest.mark.parametrize("operation", ["DELETE", "CONNECT"])
def test_other_operations_are_let_through(make_network: Any, operation: str) -> None:
    """Nobody is kept from deleting what cannot work."""
    assert answer(review(operation, old=make_network()), refuse)["response"]["allowed"] is True


def test_what_changes_no_spec_is_let_through(make_network: Any) -> None:
    """Labels, finalizers and a network on its way out, however wrong the spec that is stored."""
    body = make_network()
    labelled = {**body, "metadata": {"name": "net", "labels": {"a": "b"}}}
    assert answer(review("UPDATE", labelled, body), refuse)["response"]["allowed"] is True
    leaving = {
        **make_network(subnet="10.0.0.0/8"),
        "metadata": {"name": "net", "deletionTimestamp": "2026-01-01T00:00:00Z"},
    }
    assert answer(review("UPDATE", leaving, body), refuse)["response"]["allowed"] is True
    assert answer(review("UPDATE", make_network(subnet="10.0.0.0/8"), body), refuse)["response"]["allowed"] is False


def test_a_network_that_cannot_be_read_is_refused_with_its_path(make_network: Any) -> None:
    """Where the schema of an older CRD let it through."""
    body = make_network()
    body["spec"]["plugin"] = {"type": "ipvlan"}
    status = answer(review(new=body), lambda question: [])["response"]["status"]
    assert "spec.plugin.cniVersion: found" in status["message"]


def test_an_old_network_that_cannot_be_read_does_not_stop_its_correction(make_network: Any) -> None:
    """The new one alone is judged."""
    old = make_network()
    del old["spec"]["ipam"]
    seen: list[Question] = []

    def judge(question: Question) -> list[str]:
        seen.append(question)
        return []

    assert answer(review("UPDATE", make_network(), old), judge)["response"]["allowed"] is True
    assert seen[0].old is None


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"apiVersion": "admission.k8s.io/v1beta1", "request": {"uid": "u"}}']
)
def test_what_is_no_question_is_told(body: bytes) -> None:
    """A ValueError, which becomes status 400."""
    with pytest.raises(ValueError, match=r"AdmissionReview|Expecting value"):
        answer(body, refuse)
