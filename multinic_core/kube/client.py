"""The official client: the only module that imports it.

Everything here blocks and is called in worker threads. Requests go through the client's authentication, TLS, proxy
and connection pool; its generated models are not used. The client's own retries are off, because they would sleep
where no cancellation reaches.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import urllib3
import yaml
from kubernetes.client.api_client import ApiClient
from kubernetes.client.configuration import Configuration
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config

from multinic_core.errors import ApiError, ConfigError
from multinic_core.kube.answers import Answer, refusal

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
"""Longest silence within an answer, and before the first byte of one."""
POOL_SIZE = 256
"""Idle connections kept at most: more than are ever in use at once, as all streams end together when a process does."""
LOOPBACK = "localhost,127.0.0.0/8,::1"
"""Never reached through a proxy, as kubectl does not either."""


class Client:
    """One API server and the identity to speak to it with."""

    def __init__(self, configuration: Configuration, agent: str = "multinic") -> None:
        configuration.retries = False
        configuration.keep_alive = True
        configuration.connection_pool_maxsize = POOL_SIZE
        configuration.no_proxy = ",".join(filter(None, [configuration.no_proxy, LOOPBACK]))
        self._api = ApiClient(configuration)
        self._api.user_agent = agent

    @classmethod
    def from_config(cls, kubeconfig: str | None, agent: str = "multinic") -> Client:
        """The client for a kubeconfig file, or for the pod's service account when None.

        Raises:
            ConfigError: the file or the service account is missing, unreadable or incomplete.
        """
        configuration = Configuration()
        try:
            if kubeconfig is None:
                load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            else:
                load_kube_config(  # type: ignore[no-untyped-call]
                    config_file=kubeconfig, client_configuration=configuration, persist_config=False
                )
        except (ConfigException, OSError, yaml.YAMLError) as error:
            source = "in-cluster configuration" if kubeconfig is None else f"kubeconfig {kubeconfig!r}"
            raise ConfigError(f"{source}: {error}") from error
        return cls(configuration, agent)

    def request(
        self, method: str, path: str, query: Mapping[str, str], body: Any = None, content_type: str = ""
    ) -> Answer:
        """Send one request and read its whole answer, whatever its status.

        Args:
            body: JSON-ready, or None.
            content_type: ``application/json`` when "".

        Raises:
            ApiError: no complete answer came; status 0.
        """
        try:
            response = self._send(method, path, query, READ_SECONDS, body, content_type)
            try:
                return Answer(response.status, response.headers, response.data)
            finally:
                response.release_conn()
        except (urllib3.exceptions.HTTPError, ApiException, OSError) as error:
            raise no_answer(f"{method} {path}", error) from error

    def lines(self, path: str, query: Mapping[str, str], silence_seconds: float) -> LineStream:
        """A GET whose answer is read line by line, not opened yet.

        Args:
            silence_seconds: longest silence between lines before the stream counts as broken.
        """
        return LineStream(f"GET {path}", lambda: self._send("GET", path, query, READ_SECONDS), silence_seconds)

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        read_seconds: float,
        body: Any = None,
        content_type: str = "",
    ) -> urllib3.BaseHTTPResponse:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = content_type or "application/json"
        _, url, headers, _, _ = self._api.param_serialize(
            method, path, query_params=list(query.items()), header_params=headers, auth_settings=["BearerToken"]
        )
        answer = self._api.rest_client.request(  # type: ignore[no-untyped-call]
            method, url, headers=headers, body=body, _request_timeout=(CONNECT_SECONDS, read_seconds)
        )
        response: urllib3.BaseHTTPResponse = answer.response
        return response


class LineStream:
    """An answer that comes line by line for minutes.

    ``open`` and ``read`` block and are called by one worker thread at a time. ``close`` may be called at any time by
    any thread, returns at once, and makes a blocked ``read`` end at once; a blocked ``open`` ends within
    ``READ_SECONDS`` and then closes its connection by itself.
    """

    def __init__(self, subject: str, send: Callable[[], urllib3.BaseHTTPResponse], silence_seconds: float) -> None:
        self._subject = subject
        self._send = send
        self._silence_seconds = silence_seconds
        self._response: urllib3.BaseHTTPResponse | None = None
        self._rest = b""
        self._closed = False
        self._reading = threading.Lock()
        """Held while a thread uses the connection, so that nobody else closes the file descriptor under it."""

    def open(self) -> None:
        """Send the request and read the head of its answer.

        Raises:
            ApiError: refused, or no answer.
        """
        with self._reading:
            try:
                response = self._send()
                if response.status >= 400:
                    raise refusal(self._subject, Answer(response.status, response.headers, response.data))
            except (urllib3.exceptions.HTTPError, ApiException, OSError) as error:
                raise no_answer(self._subject, error) from error
            self._response = response
            # The head came within READ_SECONDS; from here on silence is ordinary. A server that announced to close
            # the connection has taken the socket out of sight, and then silence ends the stream after READ_SECONDS.
            connection = getattr(response, "connection", None)
            if connection is not None and connection.sock is not None:
                connection.sock.settimeout(self._silence_seconds)
            self._finish_close()

    def read(self) -> list[bytes]:
        """The next complete lines, one at least; [] when the answer has ended (a last line without its end is dropped).

        Raises:
            ApiError: the connection broke, was silent too long, or was closed by ``close``; status 0.
        """
        with self._reading:
            try:
                while not self._closed and self._response is not None:
                    data = self._response.read1(1 << 18)
                    if not data:
                        return []
                    *complete, self._rest = (self._rest + data).split(b"\n")
                    if lines := [line for line in complete if line.strip()]:
                        return lines
                raise ApiError(f"{self._subject}: the stream is closed")
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise no_answer(self._subject, error) from error
            finally:
                self._finish_close()

    def close(self) -> None:
        self._closed = True
        response = self._response
        if response is not None:
            # Already ended or released: there is nothing left to wake up.
            with suppress(OSError, ValueError, RuntimeError):
                response.shutdown()
        if self._reading.acquire(blocking=False):
            try:
                self._finish_close()
            finally:
                self._reading.release()

    def _finish_close(self) -> None:
        if self._closed and self._response is not None:
            self._response.close()
            self._response = None


def no_answer(subject: str, error: Exception) -> ApiError:
    return ApiError(f"{subject}: no answer: {error or type(error).__name__}")
