"""All webhooks of a write asked at once: what they refuse is refused, what they warn of is passed on."""

import logging
import uuid
from typing import Any

import trio

from ..cel.functions import CelError
from ..errors import ApiError, Json
from ..store import Store
from ..target import Target
from .calls import CallError, post
from .matching import Write, concerned, webhooks_for

log = logging.getLogger(__name__)

VERSION = "admission.k8s.io/v1"
DEFAULT_SECONDS = 10


class Admission:
    """Asks the webhooks that are configured in this store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def concerns(self, target: Target, operation: str) -> bool:
        """Whether anybody may have to be asked about such a write."""
        return concerned(self._store, target, operation)

    async def ask(self, write: Write) -> list[str]:
        """The warnings for a write that all webhooks allow.

        Raises:
            ApiError: one refused it, or failed and says that this refuses it.
        """
        try:
            webhooks = webhooks_for(self._store, write)
        except CelError as error:
            raise ApiError(500, "InternalError", f"Internal error occurred: {error}") from error
        answers: list[tuple[list[str], ApiError | None]] = [([], None)] * len(webhooks)

        async def one(position: int) -> None:
            answers[position] = await self._one(webhooks[position], write)

        async with trio.open_nursery() as nursery:
            for position in range(len(webhooks)):
                nursery.start_soon(one, position)
        for _, refusal in answers:
            if refusal is not None:
                raise refusal
        return [warning for warnings, _ in answers for warning in warnings]

    async def _one(self, webhook: Json, write: Write) -> tuple[list[str], ApiError | None]:
        """Warnings, and the refusal if there is one."""
        name = webhook.get("name", "")
        request = _request(write)
        body = {"apiVersion": VERSION, "kind": "AdmissionReview", "request": request}
        seconds = float(webhook.get("timeoutSeconds") or DEFAULT_SECONDS)
        try:
            response = _checked(await post(self._store, webhook.get("clientConfig") or {}, body, seconds), request)
        except CallError as error:
            if (webhook.get("failurePolicy") or "Fail") == "Ignore":
                log.warning("webhook.failed", extra={"webhook": name, "error": str(error)})
                return [], None
            words = f'Internal error occurred: failed calling webhook "{name}": {error}'
            return [], ApiError(500, "InternalError", words)
        warnings = [str(text) for text in response.get("warnings") or ()]
        return warnings, None if response["allowed"] else _refusal(name, response.get("status") or {})


def _request(write: Write) -> Json:
    target = write.target
    group, version = target.resource.group, target.version.name
    kind: dict[str, Any] = {"group": group, "version": version, "kind": target.resource.kind}
    resource: dict[str, Any] = {"group": group, "version": version, "resource": target.resource.plural}
    return {
        "uid": str(uuid.uuid4()),
        "kind": kind,
        "resource": resource,
        "requestKind": kind,
        "requestResource": resource,
        "subResource": target.subresource,
        "name": target.name or ((write.new or {}).get("metadata") or {}).get("name", ""),
        "namespace": target.namespace,
        "operation": write.operation,
        "userInfo": {"username": "system:admin", "groups": ["system:masters"]},
        "object": write.new,
        "oldObject": write.old,
        "dryRun": write.dry_run,
    }


def _checked(review: Json, request: Json) -> Json:
    response = review.get("response")
    if review.get("apiVersion") != VERSION or not isinstance(response, dict):
        raise CallError(f"expected an AdmissionReview of {VERSION} with a response")
    if response.get("uid") != request["uid"] or not isinstance(response.get("allowed"), bool):
        raise CallError("expected a response with the uid of the request and the field 'allowed'")
    return response


def _refusal(name: str, status: Json) -> ApiError:
    code = status.get("code")
    code = code if isinstance(code, int) and code >= 400 else 403
    reason = f": {status['message']}" if status.get("message") else " without explanation"
    words = f'admission webhook "{name}" denied the request{reason}'
    return ApiError(code, str(status.get("reason") or "Forbidden"), words, details=status.get("details"))
