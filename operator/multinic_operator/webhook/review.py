"""The API server's question and our answer, as JSON. Pure.

Source: Kubernetes documentation, "Dynamic Admission Control": AdmissionReview of admission.k8s.io/v1.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from multinic_core.errors import ConfigError
from multinic_core.model import GROUP, MultiNicNetwork

API_VERSION = "admission.k8s.io/v1"
WARNING_LENGTH = 256
"""Most characters of one warning; API servers cut long ones when there are many."""
WARNINGS = 8


@dataclass(frozen=True, slots=True)
class Question:
    """A network that somebody wants to store."""

    network: MultiNicNetwork
    old: MultiNicNetwork | None
    """As it is stored; None when it is to be created."""


Judge = Callable[[Question], Sequence[str]]
"""Gives the warnings for a network that may be stored; raises ConfigError for one that may not."""


def answer(body: bytes, judge: Judge) -> dict[str, Any]:
    """The AdmissionReview to send back.

    Raises:
        ValueError: the body is no AdmissionReview that we speak; says what was found.
    """
    review = json.loads(body)
    request = review.get("request") if isinstance(review, dict) else None
    if not isinstance(request, dict) or review.get("apiVersion") != API_VERSION or not request.get("uid"):
        raise ValueError(f"expected an AdmissionReview of {API_VERSION} with a request")
    response: dict[str, Any] = {"uid": request["uid"], "allowed": True}
    try:
        question = _question(request)
        warnings = judge(question) if question is not None else ()
    except ConfigError as error:
        response |= {"allowed": False, "status": _refusal(request, error.problems)}
    else:
        if warnings:
            response["warnings"] = [_shortened(f"multinic: {warning}") for warning in warnings[:WARNINGS]]
    return {"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response}


def _question(request: dict[str, Any]) -> Question | None:
    """What is asked; None when there is nothing to judge: only metadata differ, or the network is on its way out."""
    new, old = request.get("object"), request.get("oldObject")
    if request.get("operation") not in ("CREATE", "UPDATE") or not isinstance(new, dict):
        return None
    if (new.get("metadata") or {}).get("deletionTimestamp"):
        return None
    if isinstance(old, dict) and new.get("spec") == old.get("spec"):
        return None
    return Question(_read(new), _read(old) if isinstance(old, dict) and _readable(old) else None)


def _read(body: dict[str, Any]) -> MultiNicNetwork:
    try:
        return MultiNicNetwork.model_validate(body)
    except ValidationError as error:
        raise ConfigError(
            *(f"{'.'.join(map(str, f['loc']))}: found {f['input']!r}: {f['msg']}" for f in error.errors())
        ) from error


def _readable(body: dict[str, Any]) -> bool:
    try:
        _read(body)
    except ConfigError:
        return False
    return True


def _refusal(request: dict[str, Any], problems: Sequence[str]) -> dict[str, Any]:
    causes = [
        {"reason": "FieldValueInvalid", "field": path, "message": rest.strip()}
        for path, _, rest in (problem.partition(":") for problem in problems)
    ]
    name = request.get("name") or ""
    details = {"name": name, "group": GROUP, "kind": "MultiNicNetwork"}
    return {
        "status": "Failure",
        "code": 422,
        "reason": "Invalid",
        "message": f'MultiNicNetwork.{GROUP} "{name}" is invalid: {"; ".join(problems)}',
        "details": {**details, "causes": causes},
    }


def _shortened(text: str) -> str:
    return text if len(text) <= WARNING_LENGTH else text[: WARNING_LENGTH - 1] + "…"
