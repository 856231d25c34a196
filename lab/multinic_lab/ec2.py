"""An EC2 to call over HTTP: moto, with the refusals of the real one that moto lacks, and faults at a test's word.

Real are the protocol, the SDK and its retries; the network interfaces are moto's. It needs moto with its server, which
only the development environment has.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import parse_qsl, urlencode

from moto.ec2.models import ec2_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

ACCOUNT, REGION = "123456789012", "eu-central-1"
BY_ADDRESS = "addresses.private-ip-address"
"""Filter that moto compares with primary addresses only."""
BY_MAC = "mac-address"
"""Filter that moto lacks."""
NO_INTERFACE = "eni-00000000000000000"

Fields = dict[str, str]
"""Parameters of one call, as the query protocol writes them."""


@dataclass(frozen=True, slots=True)
class Fault:
    """An error that EC2 answers with."""

    code: str
    message: str = "as told"
    status: int = 400


class _Silent(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        """Says nothing."""


@dataclass(slots=True)
class Ec2StandIn:
    """One region of EC2."""

    calls: list[str] = field(default_factory=list)
    """Operation of each call so far, those included that were answered with a fault."""
    before: Callable[[str, Fields], Fault | None] = lambda operation, fields: None
    """Asked before each call is carried out; may wait."""
    limit: int = 50
    """Addresses that a network interface may have."""
    credential: str = ""
    """Of the last call: ``KEY/DATE/REGION/SERVICE/aws4_request``."""
    _app: Any = field(default_factory=lambda: DomainDispatcherApplication(create_backend_app))
    _lock: Any = field(default_factory=threading.RLock)

    @property
    def backend(self) -> Any:
        return ec2_backends[ACCOUNT][REGION]

    def reset(self) -> None:
        """Forget every network interface, subnet and VPC."""
        self.backend.reset()

    def subnet(self, network: str, vpc: str = "") -> str:
        """A subnet, in a VPC of this id or in one of its own; its id."""
        vpc = vpc or self.backend.create_vpc(network).id
        return str(self.backend.create_subnet(vpc, network).id)

    def interface(self, subnet: str, primary: str, mac: str = "", *secondary: str, description: str = "") -> str:
        """A network interface; its id."""
        addresses = [{"PrivateIpAddress": primary, "Primary": True}]
        addresses += [{"PrivateIpAddress": each, "Primary": False} for each in secondary]
        where = self.backend.get_subnet(subnet)
        made = self.backend.create_network_interface(where, primary, addresses, description=description)
        made.mac_address = mac or made.mac_address
        return str(made.id)

    def remove(self, interface: str) -> None:
        self.backend.enis.pop(interface)

    def addresses(self, interface: str) -> list[str]:
        """Secondary addresses that a network interface has, in order."""
        found = self.backend.enis[interface].private_ip_addresses
        return sorted((each["PrivateIpAddress"] for each in found if not each["Primary"]), key=ip_address)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """The WSGI application."""
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        fields = dict(parse_qsl(body.decode(), keep_blank_values=True))
        operation = fields.get("Action", "")
        self.credential = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].partition(",")[0]
        self.calls.append(operation)
        fault = self.before(operation, fields)
        with self._lock:
            fault = fault or self._refusal(operation, fields)
            if fault is not None:
                text = f"<Code>{fault.code}</Code><Message>{fault.message}</Message>"
                start_response(f"{fault.status} Refused", [("Content-Type", "text/xml")])
                return [f"<Response><Errors><Error>{text}</Error></Errors><RequestID>1</RequestID></Response>".encode()]
            passed_on = urlencode(self._by_id(fields)).encode()
            environ |= {"wsgi.input": BytesIO(passed_on), "CONTENT_LENGTH": str(len(passed_on))}
            answer: Iterable[bytes] = list(self._app(environ, start_response))
            return answer

    def _by_id(self, fields: Fields) -> Fields:
        """The call with its filter by any address, or by MAC address, written as one by ids."""
        by = fields.get("Filter.1.Name")
        if by not in (BY_ADDRESS, BY_MAC):
            return fields
        wanted = set(_listed(fields, "Filter.1.Value"))
        enis = self.backend.enis.values()
        ids = [eni.id for eni in enis if wanted & (_held(eni) if by == BY_ADDRESS else {eni.mac_address})]
        ids = ids or [NO_INTERFACE]
        kept = {key: value for key, value in fields.items() if not key.startswith("Filter.1.")}
        values = {f"Filter.1.Value.{number}": value for number, value in enumerate(ids, 1)}
        return kept | {"Filter.1.Name": "network-interface-id"} | values

    def _refusal(self, operation: str, fields: Fields) -> Fault | None:
        """What EC2 refuses and moto does not. Source: Amazon EC2 API Reference, the operations and error codes."""
        own = self.backend.enis.get(fields.get("NetworkInterfaceId", ""))
        if own is None:
            return None
        asked = _listed(fields, "PrivateIpAddress")
        if operation == "UnassignPrivateIpAddresses":
            secondary = set(self.addresses(own.id))
            missing = [each for each in asked if each not in secondary]
            words = f"Some of {missing} are not assigned to interface {own.id} as secondary addresses"
            return Fault("InvalidParameterValue", words) if missing else None
        if operation != "AssignPrivateIpAddresses":
            return None
        for address in asked:
            if ip_address(address) not in ip_network(own.subnet.cidr_block):
                return Fault("InvalidParameterValue", f"{address} does not fall within the subnet's address range")
            holders = [eni for eni in self.backend.enis.values() if address in _held(eni)]
            if fields.get("AllowReassignment") != "true" and any(eni.subnet.id == own.subnet.id for eni in holders):
                return Fault("InvalidParameterValue", f"{address} is already assigned, but move is not allowed")
        if len(own.private_ip_addresses) + len(asked) > self.limit:
            return Fault("PrivateIpAddressLimitExceeded", f"Number of private addresses will exceed limit of {own.id}")
        return None


def _listed(fields: Mapping[str, str], name: str) -> list[str]:
    return [value for key, value in fields.items() if key.startswith(f"{name}.")]


def _held(eni: Any) -> set[str]:
    return {each["PrivateIpAddress"] for each in eni.private_ip_addresses}


def sdk_environment(host: str, port: int) -> dict[str, str]:
    """The environment in which the AWS SDK finds a stand-in that listens there, and nothing else of AWS."""
    return {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "stand-in",
        "AWS_SECRET_ACCESS_KEY": "stand-in",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        "NO_PROXY": "*",
    }


@contextmanager
def serving_ec2(listener: socket.socket) -> Iterator[Ec2StandIn]:
    """A stand-in behind a listening socket."""
    ec2 = Ec2StandIn()
    ec2.reset()
    host, port = listener.getsockname()[:2]
    server = make_server(host, port, ec2, threaded=True, request_handler=_Silent, fd=listener.fileno())
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield ec2
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        ec2.reset()
