"""Injected faults, and the HTTP connection itself."""

import http.client
import json
import socket
from functools import partial

import pytest
import trio
import trio.testing
from multinic_lab.apiserver import Store, serve_api


async def _ask(server, method, path, body=None, timeout=60.0):
    """(status, headers, decoded body) over a real connection."""

    def ask():
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            return answer.status, answer.headers, json.loads(answer.read())
        finally:
            connection.close()

    return await trio.to_thread.run_sync(ask)


async def test_the_next_matching_requests_fail(server):
    """A fault hits as many matching requests as it was given, and no others."""
    fault = server.faults.fail(429, method="GET", path=r"/namespaces/default$|default\?", count=2, retry_after=3)
    assert (await _ask(server, "GET", "/api/v1/namespaces/kube-system"))[0] == 200
    for _ in range(2):
        status, headers, body = await _ask(server, "GET", "/api/v1/namespaces/default")
        assert status == 429
        assert headers["Retry-After"] == "3"
        assert body["reason"] == "TooManyRequests"
    assert (await _ask(server, "GET", "/api/v1/namespaces/default"))[0] == 200
    assert fault.hits == 2


@pytest.mark.parametrize(("status", "reason"), [(409, "Conflict"), (410, "Expired"), (500, "InternalError")])
async def test_faults_carry_the_usual_reason(server, status, reason):
    """Each status comes with the reason clients switch on."""
    server.faults.fail(status)
    assert (await _ask(server, "GET", "/version"))[2]["reason"] == reason
    assert (await _ask(server, "GET", "/version"))[0] == 200


async def test_an_answer_can_be_lost_after_the_work(server):
    """after=True carries the request out and answers with the failure."""
    server.faults.fail(500, method="POST", after=True)
    path = "/api/v1/namespaces/default/configmaps"
    assert (await _ask(server, "POST", path, {"metadata": {"name": "c"}}))[0] == 500
    assert (await _ask(server, "GET", f"{path}/c"))[0] == 200


async def test_a_hanging_request_gets_no_answer(server):
    """A held request times out at its client; releasing it cuts the connection."""
    fault = server.faults.hang(path="/version")
    with pytest.raises(TimeoutError):
        await _ask(server, "GET", "/version", timeout=0.2)
    fault = server.faults.hang(path="/version")
    async with trio.open_nursery() as nursery:

        async def cut():
            with pytest.raises(http.client.RemoteDisconnected):
                await _ask(server, "GET", "/version")

        nursery.start_soon(cut)
        with trio.fail_after(60):
            while not fault.hits:
                await trio.testing.wait_all_tasks_blocked(0.01)
        fault.cancel()


async def test_watches_can_be_cut(server):
    """drop_watches ends open watches of a path: the stream breaks, or ends in order."""
    for orderly in (False, True):
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        await stream.send_all(b"GET /api/v1/pods?watch=1&resourceVersion=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        with trio.fail_after(60):
            head = await stream.receive_some()
            assert b"200" in head.split(b"\r\n")[0]
            while not server.faults.drop_watches(path="/pods", orderly=orderly):
                await trio.testing.wait_all_tasks_blocked(0.01)
            rest = b""
            while chunk := await stream.receive_some():
                rest += chunk
                if orderly:
                    break
        assert rest.endswith(b"0\r\n\r\n") is orderly
        await stream.aclose()
    assert server.faults.drop_watches() == 0


async def test_a_connection_is_kept_for_many_requests(server):
    """One connection answers requests in turn, also after a refusal, and closes when asked to."""
    stream = await trio.open_tcp_stream("127.0.0.1", server.port)
    with trio.fail_after(60):
        for path, status in (("/version", b"200"), ("/nothing", b"404"), ("/healthz", b"200")):
            await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert status in (await stream.receive_some()).split(b"\r\n")[0]
        await stream.send_all(b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        data = b""
        while chunk := await stream.receive_some():
            data += chunk
    assert b"gitVersion" in data
    await stream.aclose()


async def test_nonsense_and_oversize_are_refused(server):
    """A request that is no HTTP gets 400, a body above the limit 413."""
    for sent, status in (
        (b"nonsense\r\n\r\n", b" 400 "),
        (b"POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n" + b"x" * 4_000_000, b" 413 "),
    ):
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:

                async def send(data=sent, stream=stream):
                    try:
                        await stream.send_all(data)
                    except trio.BrokenResourceError:
                        return

                nursery.start_soon(send)
                assert status in (await stream.receive_some()).split(b"\r\n")[0]
                nursery.cancel_scope.cancel()
        await stream.aclose()


async def test_a_server_comes_back_with_its_store(nursery):
    """After an end and a new start on the same port and store, objects, revisions and watches go on."""
    store = Store()
    port = 0
    revisions = []
    for name in ("a", "b"):
        async with trio.open_nursery() as life:
            server = await life.start(partial(serve_api, port=port, store=store))
            port = port or server.port
            assert server.port == port
            path = "/api/v1/namespaces/default/configmaps"
            status, _, body = await _ask(server, "POST", path, {"metadata": {"name": name}})
            assert status == 201
            revisions.append(int(body["metadata"]["resourceVersion"]))
            found = (await _ask(server, "GET", path))[2]["items"]
            life.cancel_scope.cancel()
    assert [c["metadata"]["name"] for c in found] == ["a", "b"]
    assert revisions[1] == revisions[0] + 1
    assert store.observers == []


async def test_sockets_made_elsewhere_are_served_too(nursery):
    """extra_sockets answer as the server's own port does."""
    extra = socket.create_server(("127.0.0.1", 0))
    port = extra.getsockname()[1]
    server = await nursery.start(partial(serve_api, extra_sockets=[extra]))
    assert port != server.port
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    await stream.send_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
    with trio.fail_after(60):
        assert (await stream.receive_some()).endswith(b"ok")
    await stream.aclose()
