"""On an instance of EC2 nothing needs to be set: its metadata service, version 2, tells region and credentials."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from multinic_lab.ec2 import Ec2StandIn
from multinic_plugin_aws_ipvlan.action import PrivateAddress

TOKEN = "token-of-version-2"
ROLES = "/latest/meta-data/iam/security-credentials/"
CREDENTIALS = {
    "Code": "Success",
    "Type": "AWS-HMAC",
    "AccessKeyId": "of-the-instance",
    "SecretAccessKey": "secret",
    "Token": "session",
    "Expiration": "2126-01-01T00:00:00Z",
}
ANSWERS = {
    "/latest/meta-data/placement/availability-zone/": "eu-central-1b",
    ROLES: "node-role",
    ROLES + "node-role": json.dumps(CREDENTIALS),
}


class Metadata(BaseHTTPRequestHandler):
    """The metadata service, which answers nobody without a token."""

    def do_PUT(self) -> None:
        known = self.path == "/latest/api/token" and "X-aws-ec2-metadata-token-ttl-seconds" in self.headers
        self._answer(TOKEN if known else None)

    def do_GET(self) -> None:
        self._answer(ANSWERS.get(self.path) if self.headers.get("x-aws-ec2-metadata-token") == TOKEN else None)

    def _answer(self, text: str | None) -> None:
        body = (text or "").encode()
        self.send_response(200 if text else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture
def metadata(ec2: Ec2StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An instance whose environment says nothing of AWS but where its services are."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.delenv(name)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("AWS_METADATA_SERVICE_TIMEOUT", "60")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield
    server.shutdown()
    thread.join()
    server.server_close()


def test_region_and_credentials_are_the_instances(metadata: None, ec2: Ec2StandIn, eni: str, arguments: Any) -> None:
    """Calls are signed with the role of the instance, for the region that it is in."""
    asked_by: list[str] = []

    def before(operation: str, fields: dict[str, str]) -> None:
        asked_by.append(ec2.credential)

    ec2.before = before
    PrivateAddress().do(arguments())
    assert ec2.addresses(eni) == ["10.0.1.40"]
    assert {each.split("/")[0] for each in asked_by} == {"of-the-instance"}
    assert {each.split("/")[2] for each in asked_by} == {"eu-central-1"}
