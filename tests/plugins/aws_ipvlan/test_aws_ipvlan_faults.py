"""What can go wrong on the way to EC2: each failure says which NIC and call, the code, and what would do."""

import subprocess
import sys
import threading
from typing import Any

import pytest
from multinic_lab.ec2 import Ec2StandIn, Fault
from multinic_plugin_aws_ipvlan import ec2 as calls
from multinic_plugin_aws_ipvlan.action import PrivateAddress

from multinic_core.errors import ActionError, DaemonUnavailableError

BUSY = Fault("RequestLimitExceeded", "Request limit exceeded.", 503)
SUBJECT = "NIC 'eth1' with address 10.0.1.10, pod's address 10.0.1.40"
LOOK, ASSIGN, UNASSIGN = "DescribeNetworkInterfaces", "AssignPrivateIpAddresses", "UnassignPrivateIpAddresses"


def failing(operation: str, fault: Fault, times: int = 1000) -> Any:
    """Answers this operation so often with a fault."""
    left = [times]

    def before(asked: str, fields: dict[str, str]) -> Fault | None:
        if asked != operation or left[0] == 0:
            return None
        left[0] -= 1
        return fault

    return before


@pytest.mark.parametrize("operation", [LOOK, ASSIGN])
def test_busy_ec2_is_asked_again(
    ec2: Ec2StandIn, eni: str, action: PrivateAddress, arguments: Any, operation: str
) -> None:
    """The SDK's own retries get over a limit of requests."""
    ec2.before = failing(operation, BUSY, times=calls.ATTEMPTS - 1)
    action.do(arguments())
    assert ec2.addresses(eni) == ["10.0.1.40"]
    assert ec2.calls.count(operation) == calls.ATTEMPTS


def test_ec2_that_stays_busy_is_given_up(ec2: Ec2StandIn, eni: str, action: PrivateAddress, arguments: Any) -> None:
    """After so many attempts the runtime is told to try again later."""
    ec2.before = failing(ASSIGN, BUSY)
    with pytest.raises(DaemonUnavailableError) as refusal:
        action.do(arguments())
    text = f"{SUBJECT}, {eni}: EC2 {ASSIGN}: RequestLimitExceeded: Request limit exceeded."
    assert str(refusal.value).startswith(text)
    assert ec2.calls.count(ASSIGN) == calls.ATTEMPTS


def test_no_attempt_begins_when_the_time_is_up(
    ec2: Ec2StandIn, eni: str, action: PrivateAddress, arguments: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many retries are left, an action ends."""
    monkeypatch.setattr(calls, "BEGIN_SECONDS", 1e6)

    def before(operation: str, fields: dict[str, str]) -> Fault:
        calls.BEGIN_SECONDS = -1.0
        return BUSY

    ec2.before = before
    with pytest.raises(DaemonUnavailableError, match=f"EC2 {LOOK}: not done within -1 seconds"):
        action.do(arguments())
    assert ec2.calls == [LOOK]


def test_ec2_that_does_not_answer(ec2: Ec2StandIn, eni: str, arguments: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt has its time, and then the runtime is told to try again later."""
    monkeypatch.setattr(calls, "READ_SECONDS", 0.05)
    monkeypatch.setattr(calls, "BEGIN_SECONDS", 1e6)
    go_on = threading.Event()

    def before(operation: str, fields: dict[str, str]) -> None:
        assert go_on.wait(120)

    ec2.before = before
    with pytest.raises(DaemonUnavailableError) as refusal:
        PrivateAddress().do(arguments())
    go_on.set()
    assert f"{SUBJECT}: EC2 {LOOK}: Read timeout" in str(refusal.value)


def test_endpoint_that_is_not_there(eni: str, arguments: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A VPC without a way to EC2 is told, and may get one."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(DaemonUnavailableError, match=f"EC2 {LOOK}: Could not connect"):
        PrivateAddress().do(arguments())


@pytest.mark.parametrize("operation", [LOOK, ASSIGN, UNASSIGN])
def test_missing_permission_is_named(
    ec2: Ec2StandIn, eni: str, action: PrivateAddress, arguments: Any, operation: str
) -> None:
    """Which action the policy must allow; EC2's encoded kilobytes are left out."""
    words = "You are not authorized to perform this operation. Encoded authorization failure message: " + "x" * 2000
    ec2.before = failing(operation, Fault("UnauthorizedOperation", words, 403))
    with pytest.raises(ActionError) as refusal:
        action.undo(arguments()) if operation == UNASSIGN else action.do(arguments())
    assert f"EC2 {operation}: UnauthorizedOperation: You are not" in str(refusal.value)
    assert str(refusal.value).endswith(f"needs the permission ec2:{operation}")
    assert len(str(refusal.value)) < 600
    assert ec2.addresses(eni) == []


def test_unknown_credentials_are_told(ec2: Ec2StandIn, eni: str, action: PrivateAddress, arguments: Any) -> None:
    """AuthFailure is about who asks, not about what."""
    ec2.before = failing(LOOK, Fault("AuthFailure", "AWS was not able to validate the credentials", 401))
    with pytest.raises(ActionError, match=r"AuthFailure: .*; expected credentials of the node's instance profile"):
        action.do(arguments())


def test_missing_credentials_are_told(eni: str, arguments: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the SDK finds none; found later, as when the instance gets its profile, they are used."""
    action = PrivateAddress()
    with monkeypatch.context() as without:
        without.delenv("AWS_ACCESS_KEY_ID")
        without.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(ActionError, match=r"no AWS credentials: .* instance profile"):
            action.do(arguments())
    action.do(arguments())


def test_missing_region_is_told(eni: str, arguments: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where neither argument nor environment nor metadata name one; found later, it is used."""
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    action = PrivateAddress()
    with pytest.raises(DaemonUnavailableError, match=r"no AWS region, expected spec\.plugin\.args\.region, AWS_REGION"):
        action.do(arguments())
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    action.do(arguments())


def test_missing_sdk_is_told(eni: str, arguments: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra that brings it is named."""
    monkeypatch.setitem(sys.modules, "boto3.session", None)
    with pytest.raises(ActionError, match=r"pip install multinic-plugin-aws-ipvlan\[aws\]"):
        PrivateAddress().do(arguments())


def test_sdk_is_loaded_by_the_first_call() -> None:
    """A node outside AWS pays nothing for it: neither plugin nor action import the SDK."""
    code = "import sys; from multinic_core import load_plugins; load_plugins().actions['aws-private-address']"
    code += "; print([name for name in ('boto3', 'botocore') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_refusal_that_nobody_knows_is_passed_on(
    ec2: Ec2StandIn, eni: str, action: PrivateAddress, arguments: Any
) -> None:
    """An address outside the subnet, for one: EC2's code and words, with NIC, interface and address."""
    with pytest.raises(ActionError) as refusal:
        action.do(arguments(address="10.0.2.40"))
    assert f"pod's address 10.0.2.40, {eni}: EC2 {ASSIGN}: InvalidParameterValue: 10.0.2.40 does not" in str(
        refusal.value
    )
