"""What the request log says of requests: the words that RBAC uses."""

import pytest
from multinic_lab.apiserver.http import Request
from multinic_lab.apiserver.requestlog import RequestLog

GROUP = "/apis/multinic.fms.io/v1"
CASES = [
    ("GET", "/api/v1/nodes", {}, ("list", "", "nodes", "", "")),
    ("GET", "/api/v1/nodes", {"watch": "1"}, ("watch", "", "nodes", "", "")),
    ("GET", "/api/v1/nodes/n1", {}, ("get", "", "nodes", "", "n1")),
    ("GET", "/api/v1/namespaces/blue", {}, ("get", "", "namespaces", "", "blue")),
    ("POST", "/api/v1/namespaces/blue/events", {}, ("create", "", "events", "blue", "")),
    ("PATCH", f"{GROUP}/configs/c/status", {}, ("patch", "multinic.fms.io", "configs/status", "", "c")),
    ("PUT", f"{GROUP}/cidrs/c", {}, ("update", "multinic.fms.io", "cidrs", "", "c")),
    ("DELETE", f"{GROUP}/cidrs/c", {}, ("delete", "multinic.fms.io", "cidrs", "", "c")),
    ("DELETE", f"{GROUP}/cidrs", {}, ("deletecollection", "multinic.fms.io", "cidrs", "", "")),
]


@pytest.mark.parametrize(("method", "path", "query", "expected"), CASES)
def test_requests_in_the_words_of_rbac(method, path, query, expected):
    """Verb, group, resource with subresource, namespace and name, and who asked."""
    log = RequestLog()
    log.note(Request(method, path, query, {"user-agent": "someone/1.0 (linux)"}), 1.0)
    (entry,) = log.entries
    assert (entry.verb, entry.group, entry.resource, entry.namespace, entry.name) == expected
    assert entry.agent == "someone"
    assert entry.writes == (method != "GET")


@pytest.mark.parametrize("path", ["/healthz", "/apis", "/api/v1", "/openapi/v3"])
def test_what_is_about_no_object_is_left_out(path):
    """Discovery and health are nobody's objects."""
    log = RequestLog()
    log.note(Request("GET", path, {}, {}), 1.0)
    assert log.entries == []
