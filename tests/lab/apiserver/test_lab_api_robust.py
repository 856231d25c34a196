"""Whatever a client sends, the server refuses it in order or takes it; it never fails inside."""

import json
import logging

import hypothesis
import trio
from hypothesis import strategies as st
from multinic_lab.apiserver import Api, Faults, Store
from multinic_lab.apiserver.http import Request, Response

_LEAVES = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "v1", "Pod", "x/y", "$patch"])
# fmt: off
_KEYS = st.sampled_from([
    "apiVersion", "kind", "metadata", "name", "namespace", "labels", "annotations", "finalizers", "ownerReferences",
    "uid", "managedFields", "spec", "status", "containers", "template", "selector", "matchLabels", "data", "names",
    "versions", "group", "scope", "schema", "ports", "stringData", "$patch", "op", "path", "resourceVersion",
    "generateName", "deletionTimestamp", "preconditions", "propagationPolicy", "gracePeriodSeconds", "replicas",
    "target", "involvedObject", "regarding", "source", "conditions", "phase", "ephemeralContainers", "env", "dryRun",
])
# fmt: on
_VALUES = st.recursive(_LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=5))
_PATHS = st.sampled_from(
    [
        "/api/v1/namespaces",
        "/api/v1/namespaces/default",
        "/api/v1/namespaces/default/pods",
        "/api/v1/namespaces/default/pods/p",
        "/api/v1/namespaces/default/pods/p/status",
        "/api/v1/namespaces/default/pods/p/binding",
        "/api/v1/namespaces/default/pods/p/eviction",
        "/api/v1/namespaces/default/services",
        "/api/v1/namespaces/default/secrets",
        "/api/v1/namespaces/default/events",
        "/apis/events.k8s.io/v1/namespaces/default/events",
        "/apis/apps/v1/namespaces/default/deployments",
        "/apis/apps/v1/namespaces/default/deployments/d/scale",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    ]
)
_TYPES = st.sampled_from(
    [
        "application/json",
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
        "application/apply-patch+yaml",
        "application/vnd.kubernetes.protobuf",
    ]
)
_REQUIRED = {
    "pods": {"spec": {"containers": [{"name": "c", "image": "x:1"}]}},
    "deployments": {"spec": {"selector": {"matchLabels": {}}, "template": {"spec": {"containers": [{"name": "c"}]}}}},
}


async def _furnished() -> Api:
    api = Api(Store(), Faults())
    for kind, group in (("pods", "api/v1"), ("deployments", "apis/apps/v1")):
        body = json.dumps({"metadata": {"name": kind[0]}, **_REQUIRED[kind]}).encode()
        answer = await api.handle(Request("POST", f"/{group}/namespaces/default/{kind}", {}, {}, body))
        assert isinstance(answer, Response)
        assert answer.status == 201, answer.body
    return api


@hypothesis.settings(max_examples=150, deadline=None, derandomize=True)
@hypothesis.given(
    st.sampled_from(["POST", "PUT", "PATCH", "DELETE"]),
    _PATHS,
    _TYPES,
    st.lists(_VALUES, max_size=1) | st.dictionaries(_KEYS, _VALUES, max_size=5),
    st.booleans(),
)
def test_no_body_makes_the_server_fail(method, path, kind, value, merged):
    """Any JSON at any path is answered with something other than 500, and the objects stay readable."""
    logging.disable(logging.CRITICAL)

    async def run():
        api = await _furnished()
        body = value
        if merged and isinstance(value, dict):
            plural = next((k for k in _REQUIRED if k in path), "")
            body = {"metadata": {"name": "q"}, **_REQUIRED.get(plural, {}), **value}
        headers = {"content-type": kind, "accept": "application/json"}
        request = Request(method, path, {"fieldManager": "m"}, headers, json.dumps(body).encode())
        answer = await api.handle(request)
        assert isinstance(answer, Response)
        assert answer.status != 500, answer.body
        for listed in ("/api/v1/pods", "/api/v1/namespaces"):
            for accept in ("application/json", "application/json;as=Table;v=v1;g=meta.k8s.io"):
                found = await api.handle(Request("GET", listed, {}, {"accept": accept}))
                assert isinstance(found, Response)
                assert found.status == 200, found.body

    try:
        trio.run(run)
    finally:
        logging.disable(logging.NOTSET)


@hypothesis.settings(max_examples=100, deadline=None, derandomize=True)
@hypothesis.given(st.binary(max_size=60))
def test_no_bytes_make_the_protobuf_reader_fail(data):
    """Any bytes after the magic are read or refused."""

    async def run():
        api = Api(Store(), Faults())
        headers = {"content-type": "application/vnd.kubernetes.protobuf"}
        body = b"k8s\x00\n\x0f\n\x02v1\x12\tNamespace\x12" + bytes([len(data)]) + data
        answer = await api.handle(Request("POST", "/api/v1/namespaces", {}, headers, body))
        assert isinstance(answer, Response)
        assert answer.status != 500, answer.body

    trio.run(run)
