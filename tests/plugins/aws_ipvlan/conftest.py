"""EC2 to call: the lab's stand-in behind HTTP on the loopback, with one network interface for the NIC ``eth1``."""

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from shutil import rmtree
from types import SimpleNamespace
from typing import Any

import pytest
from multinic_lab.ec2 import Ec2StandIn, sdk_environment, serving_ec2
from multinic_lab.machine.api import listen
from multinic_plugin_aws_ipvlan.action import PrivateAddress

SUBNET = "10.0.1.0/24"
PRIMARY, ADDRESS, MAC = "10.0.1.10", "10.0.1.40", "02:00:00:00:00:01"


@pytest.fixture(scope="session")
def ec2_server() -> Iterator[tuple[Ec2StandIn, dict[str, str]]]:
    """One server for all tests, as moto takes seconds to start."""
    listener = listen(IPv4Address("127.0.0.1"), 0)
    with listener, serving_ec2(listener) as ec2:
        yield ec2, sdk_environment(*listener.getsockname())


@pytest.fixture
def ec2(ec2_server: tuple[Ec2StandIn, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Ec2StandIn:
    """An empty region that the SDK finds, and whose retries wait for nothing."""
    found, environment = ec2_server
    for name in ("AWS_REGION", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda seconds: None))
    found.reset()
    found.calls.clear()
    found.limit = 50
    found.before = lambda operation, fields: None
    return found


@pytest.fixture(scope="session")
def nics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The node's network interfaces as files; none to begin with."""
    return tmp_path_factory.mktemp("nics")


@pytest.fixture(scope="session")
def shared_action(nics: Path) -> PrivateAddress:
    """One for all tests that leave settings alone, as the SDK takes a second to make a client."""
    return PrivateAddress(nics)


@pytest.fixture
def action(ec2: Ec2StandIn, shared_action: PrivateAddress) -> PrivateAddress:
    """The action, as a daemon that runs has it."""
    return shared_action


@pytest.fixture
def on_the_node(nics: Path) -> Iterator[None]:
    """The node still has the NIC, beside one that is just going."""
    (nics / "gone").mkdir()
    (nics / "gone" / "address").symlink_to("nowhere")
    (nics / "eth1").mkdir()
    (nics / "eth1" / "address").write_text(f"{MAC}\n")
    yield
    rmtree(nics / "eth1")
    rmtree(nics / "gone")


@pytest.fixture
def eni(ec2: Ec2StandIn) -> str:
    """The network interface of ``eth1``."""
    return ec2.interface(ec2.subnet(SUBNET), PRIMARY, MAC, description="of the test's node")


@pytest.fixture
def arguments() -> Callable[..., dict[str, Any]]:
    """Makes arguments of the action."""

    def make(**fields: str) -> dict[str, Any]:
        return {"nic": "eth1", "mac": MAC, "primary": PRIMARY, "address": ADDRESS, "region": ""} | fields

    return make
