"""Answers of the API server and what they mean as errors.

A refusal is an HTTP status of 400 and up, or an ERROR event within a watch; both carry a Status object, of which
people get the message and programs get ``ApiError.status`` and ``ApiError.api_reason``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from multinic_core.errors import ApiError
from multinic_core.kube.objects import Json

TOO_LARGE = "ResourceVersionTooLarge"
"""Cause in a Status: the server has not reached that version yet. Source: k8s.io/apimachinery, pkg/apis/meta/v1."""


class Answer(NamedTuple):
    """One complete HTTP answer."""

    status: int
    headers: Mapping[str, str]
    """Looked up without regard to case."""
    body: bytes


def json_object(subject: str, body: bytes) -> Json:
    """The JSON object in a body.

    Raises:
        ApiError: the body is something else, as a proxy's error page is; status 200, reason ``UnexpectedAnswer``.
    """
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        start = body[:80].decode(errors="replace")
        raise ApiError(f"{subject}: found {start!r}, expected a JSON object", status=200, api_reason="UnexpectedAnswer")
    return value


def refusal(subject: str, answer: Answer) -> ApiError:
    """The error for an answer with status 400 or above."""
    try:
        status = json_object(subject, answer.body)
    except ApiError:
        status = {"message": answer.body[:200].decode(errors="replace")}
    return status_error(
        subject,
        {"code": answer.status} | {name: value for name, value in status.items() if name != "code"},
        retry_after_seconds(answer.headers),
    )


def status_error(subject: str, status: Mapping[str, Any], after_seconds: float | None = None) -> ApiError:
    """The error for a Status object; ``after_seconds`` is what a header asked for, if any."""
    details = status.get("details") or {}
    causes = {cause.get("reason") for cause in details.get("causes") or ()}
    api_reason = TOO_LARGE if TOO_LARGE in causes else str(status.get("reason") or "")
    if after_seconds is None and details.get("retryAfterSeconds"):
        after_seconds = float(details["retryAfterSeconds"])
    return ApiError(
        f"{subject}: {status.get('message') or api_reason or 'refused without a reason'}",
        status=int(status.get("code") or 0),
        api_reason=api_reason,
        retry_after_seconds=after_seconds,
    )


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Seconds a server asks to wait; None when it does not, or not readably. Source: RFC 9110, section 10.2.3."""
    text = headers.get("Retry-After")
    if text is None:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
