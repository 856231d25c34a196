"""Calls to EC2 in the time that an action has, and what EC2 refuses in the project's words.

Region, credentials, endpoint and retries are the AWS SDK's own: settings in the environment and in files, a web
identity, at last the instance's metadata by version 2 of its service. The SDK is imported, and a client for a region
made, when the first call needs it, in the thread that makes the call.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Any

from multinic_core.errors import ActionError, DaemonUnavailableError, MultinicError

ATTEMPTS = 5
"""Of one call. The SDK's mode ``standard`` waits up to 1, 2, 4 and 8 seconds between them."""
CONNECT_SECONDS = 2.0
READ_SECONDS = 4.0
BEGIN_SECONDS = 12.0
"""No attempt begins later after the start of an action, so that the action ends within the daemon's 20 seconds."""
CONNECTIONS = 16
"""As many as the daemon has workers for what others do."""
MESSAGE_LENGTH = 200
"""Characters of EC2's own words: those on missing permissions go on with kilobytes of an encoded message."""

LATER = frozenset(
    {
        "RequestLimitExceeded",
        "Throttling",
        "ThrottlingException",
        "InternalError",
        "InternalFailure",
        "ServiceUnavailable",
        "Unavailable",
        "RequestTimeout",
    }
)
"""Codes after which the same call may succeed. Source: AWS, Amazon EC2 API Reference, error codes."""
FORBIDDEN = frozenset({"UnauthorizedOperation", "AccessDenied", "AccessDeniedException"})
UNKNOWN_CALLER = frozenset({"AuthFailure", "ExpiredToken", "RequestExpired", "InvalidClientTokenId"})

_begun: ContextVar[float] = ContextVar("begun")


class RefusedError(ActionError):
    """EC2 answered with an error.

    Attributes:
        code: EC2's.
    """

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class _TooLateError(Exception):
    """An attempt would begin after ``BEGIN_SECONDS``."""


@contextmanager
def in_time() -> Iterator[None]:
    """One action: its calls to EC2 share ``BEGIN_SECONDS``."""
    token = _begun.set(time.monotonic())
    try:
        yield
    finally:
        _begun.reset(token)


def _not_too_late(request: Any, **_: Any) -> None:
    if time.monotonic() - _begun.get() > BEGIN_SECONDS:
        raise _TooLateError


class Ec2:
    """EC2 in every region that is asked for, with one client for each. Used from many threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._clients: dict[str, Any] = {}

    def call(self, region: str, operation: str, subject: str, **parameters: Any) -> dict[str, Any]:
        """What EC2 answers to one call, tried again by the SDK where that may help. Blocks; within :func:`in_time`.

        Args:
            region: "" for the one that the SDK finds.
            operation: as EC2 names it, such as ``DescribeNetworkInterfaces``.
            subject: what it is about, as errors name it.

        Raises:
            DaemonUnavailableError: EC2 cannot be reached, or is too busy for longer than an action has.
            RefusedError: EC2 refuses.
            ActionError: the SDK is not installed, or has no credentials.
        """
        subject = f"{subject}: EC2 {operation}"
        client = self._client(region, subject)
        from botocore import xform_name
        from botocore.exceptions import ClientError, NoCredentialsError

        try:
            answer: dict[str, Any] = getattr(client, xform_name(operation))(**parameters)
        except ClientError as error:
            raise _translated(error.response.get("Error", {}), operation, subject) from error
        except NoCredentialsError as error:
            self._forget(region, client)
            raise _not_asked(error, subject) from error
        except Exception as error:
            raise _not_asked(error, subject) from error
        return answer

    def _client(self, region: str, subject: str) -> Any:
        with self._lock:
            if region not in self._clients:
                try:
                    self._clients[region] = _new_client(region)
                except ImportError as error:
                    raise ActionError(
                        f"{subject}: the AWS SDK is not installed where the daemon runs ({error});"
                        " pip install multinic-plugin-aws-ipvlan[aws]"
                    ) from error
                except MultinicError:
                    raise
                except Exception as error:
                    raise _not_asked(error, subject) from error
            return self._clients[region]

    def _forget(self, region: str, client: Any) -> None:
        """A client looks for credentials when it is made, and never again where it finds none."""
        with self._lock:
            if self._clients.get(region) is client:
                del self._clients[region]


def _new_client(region: str) -> Any:
    import boto3.session
    import botocore.session
    from botocore.config import Config
    from botocore.utils import IMDSRegionProvider

    found = botocore.session.get_session()
    session = boto3.session.Session(botocore_session=found)
    region = region or session.region_name or os.environ.get("AWS_REGION", "")
    region = region or IMDSRegionProvider(found).provide() or ""
    if not region:
        raise DaemonUnavailableError(
            "aws-ipvlan: found no AWS region, expected spec.plugin.args.region, AWS_REGION in the daemon's environment,"
            " or an answer of the instance's metadata service, whose hop limit must reach the daemon"
        )
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=CONNECTIONS,
    )
    client = session.client("ec2", region_name=region, config=config)
    client.meta.events.register("before-send.ec2", _not_too_late)
    return client


def _translated(found: dict[str, Any], operation: str, subject: str) -> MultinicError:
    """EC2's error as ours, with the way out where there is one."""
    code, words = str(found.get("Code", "")), str(found.get("Message", ""))[:MESSAGE_LENGTH]
    text = f"{subject}: {code}: {words}"
    if code in LATER:
        return DaemonUnavailableError(f"{text}; tried up to {ATTEMPTS} times, may succeed later")
    if code in FORBIDDEN:
        text += f"; the role or user that the daemon has in AWS needs the permission ec2:{operation}"
    if code in UNKNOWN_CALLER:
        text += "; expected credentials of the node's instance profile or of the daemon's service account"
    return RefusedError(text, code)


def _not_asked(error: Exception, subject: str) -> MultinicError:
    """What the SDK raises when there is no answer."""
    from botocore.exceptions import (
        BotoCoreError,
        NoCredentialsError,
        PartialCredentialsError,
    )

    if isinstance(error, _TooLateError):
        return DaemonUnavailableError(f"{subject}: not done within {BEGIN_SECONDS:g} seconds, may succeed later")
    if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
        return ActionError(
            f"{subject}: no AWS credentials: {error}; expected those of the node's instance profile, by its metadata"
            " service, or of the daemon's service account"
        )
    if isinstance(error, BotoCoreError):
        return DaemonUnavailableError(f"{subject}: {error}; may succeed later")
    return ActionError(f"{subject}: {error!r}")
