"""The bytes of netlink and the conversation over them, with a socket pair in the place of the kernel."""

import errno
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multinic_daemon.netlink import Conversation, Request, wire
from multinic_daemon.netlink.kinds import attribute_table, decode_attributes, encode_attributes

from multinic_core import ConfigError, KernelError

OBJECT = 16


class Kernel:
    """The far end: answers are laid ready before the question, since sequence numbers count from 1."""

    def __init__(self) -> None:
        self.socket, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, 20_000))
        self.conversation = Conversation()
        self.conversation._socket.close()
        self.conversation._socket = near

    def say(self, *messages: tuple[int, int, int, bytes]) -> None:
        """Send one datagram of (type, flags, sequence, body)."""
        self.socket.send(b"".join(wire.message(*message) for message in messages))

    def acknowledge(self, sequence: int, number: int = 0, text: str = "") -> None:
        explanation = wire.attribute_text(wire.NLMSGERR_ATTR_MSG, text) if text else b""
        flags = wire.NLM_F_CAPPED | (wire.NLM_F_ACK_TLVS if text else 0)
        echo = wire.HEADER.pack(16, OBJECT, 0, sequence, 0)
        self.say((wire.NLMSG_ERROR, flags, sequence, struct.pack("=i", -number) + echo + explanation))

    def close(self) -> None:
        self.conversation.close()
        self.socket.close()


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    made = Kernel()
    try:
        yield made
    finally:
        made.close()


def request(subject: str = "thing") -> Request:
    return Request(OBJECT, 0, b"", subject)


def test_each_refusal_belongs_to_its_request(kernel: Kernel):
    """Refusals are matched by sequence number, with the kernel's own words or else the system's; no word means done."""
    kernel.acknowledge(2, errno.EINVAL, "Invalid mode")
    kernel.acknowledge(3, errno.EEXIST)
    answers = kernel.conversation.ask([request() for _ in range(3)])
    assert answers == [None, (errno.EINVAL, "Invalid mode"), (errno.EEXIST, "File exists")]


def test_do_raises_for_the_first_refused_request(kernel: Kernel):
    """The error carries subject, explanation and number."""
    kernel.acknowledge(2, errno.EBUSY, "Device is in use")
    with pytest.raises(KernelError, match="second: Device is in use: EBUSY") as caught:
        kernel.conversation.do([request("first"), request("second")])
    assert caught.value.errno == errno.EBUSY


def test_all_requests_of_a_piece_leave_in_one_datagram(kernel: Kernel):
    """What costs is the conversation, so there is one send for many requests, and one answer when all are done."""
    kernel.acknowledge(5)
    kernel.conversation.ask([request() for _ in range(5)])
    sent = list(wire.messages(kernel.socket.recv(65536)))
    assert [message.sequence for message in sent] == [1, 2, 3, 4, 5]
    assert [bool(message.flags & wire.NLM_F_ACK) for message in sent] == [False] * 4 + [True]


def test_an_answer_that_is_late_is_nobodys(kernel: Kernel):
    """What an earlier talk did not wait for is not taken for the answer to this one."""
    kernel.acknowledge(2)
    kernel.conversation.ask([request(), request()])
    kernel.acknowledge(1, errno.EBUSY)
    kernel.acknowledge(4)
    assert kernel.conversation.ask([request(), request()]) == [None, None]


def test_a_dump_of_several_parts_is_one_list(kernel: Kernel):
    """Messages of all datagrams up to the end belong to the dump; strays of other sequences do not."""
    kernel.say((OBJECT, 2, 1, b"aaaa"), (OBJECT, 2, 1, b"bbbb"))
    kernel.say((OBJECT, 2, 99, b"xxxx"))
    kernel.say((OBJECT, 2, 1, b"cccc"))
    kernel.say((wire.NLMSG_DONE, 2, 1, b"\0\0\0\0"))
    assert [message.body for message in kernel.conversation.dump(request())] == [b"aaaa", b"bbbb", b"cccc"]


def test_an_interrupted_dump_is_read_again(kernel: Kernel):
    """A list that changed while it was read is not used."""
    kernel.say((OBJECT, 2, 1, b"old1"))
    kernel.say((OBJECT, 2 | wire.NLM_F_DUMP_INTR, 1, b"old2"), (wire.NLMSG_DONE, 2, 1, b"\0\0\0\0"))
    kernel.say((OBJECT, 2, 2, b"new1"), (wire.NLMSG_DONE, 2, 2, b"\0\0\0\0"))
    assert [message.body for message in kernel.conversation.dump(request())] == [b"new1"]


def test_a_dump_that_never_holds_still_is_an_error(kernel: Kernel):
    """There is a limit to reading again."""
    for sequence in range(1, 21):
        kernel.say((wire.NLMSG_DONE, 2 | wire.NLM_F_DUMP_INTR, sequence, b"\0\0\0\0"))
    with pytest.raises(KernelError) as caught:
        kernel.conversation.dump(request("list of links"))
    assert caught.value.errno == errno.EINTR


def test_a_refused_dump_raises(kernel: Kernel):
    """A dump may be refused like any request."""
    kernel.acknowledge(1, errno.ENOENT, "FIB table does not exist")
    with pytest.raises(KernelError, match="FIB table does not exist") as caught:
        kernel.conversation.dump(request())
    assert caught.value.errno == errno.ENOENT


def test_a_silent_kernel_is_waited_for_only_so_long(kernel: Kernel):
    """Every wait has a bound."""
    with pytest.raises(KernelError) as caught:
        kernel.conversation.ask([request()])
    assert caught.value.errno == errno.ETIMEDOUT


def test_an_object_asked_for_comes_before_its_acknowledgement(kernel: Kernel):
    """``get`` gives the object and leaves nothing behind for the next question."""
    kernel.say((OBJECT, 0, 1, b"aaaa"))
    kernel.acknowledge(1)
    kernel.acknowledge(2)
    assert kernel.conversation.get(request()).body == b"aaaa"
    assert kernel.conversation.ask([request()]) == [None]


@given(st.dictionaries(st.integers(1, 0x3FFF), st.binary(max_size=40), max_size=8))
def test_attributes_survive_the_wire(values: dict[int, bytes]):
    """Packing and unpacking gives the same numbers and payloads, whatever the padding."""
    data = b"".join(wire.attribute(number, payload) for number, payload in values.items())
    assert len(data) % 4 == 0
    assert wire.attributes(data) == values


@given(st.binary(max_size=64))
def test_no_bytes_break_the_walk(data: bytes):
    """Truncated or senseless lengths end the walk."""
    list(wire.messages(data))
    wire.attributes(data)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("ipvlan", {"IFLA_IPVLAN_MODE": 2, "IFLA_IPVLAN_FLAGS": 1}),
        ("macvlan", {"IFLA_MACVLAN_MODE": 4}),
        ("vxlan", {"IFLA_VXLAN_ID": 42, "IFLA_VXLAN_TTL": 9}),
    ],
)
def test_attributes_of_a_kind_are_known_by_name(kind: str, values: dict[str, int]):
    """Kinds of our own list and of pyroute2's are encoded and decoded by the kernel's names."""
    assert decode_attributes(kind, encode_attributes(kind, values)) == values


def test_the_numbers_of_our_own_list_agree_with_pyroute2s():
    """Where both know an attribute they mean the same."""
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

    for kind in ("ipvlan", "macvlan", "vlan"):
        theirs = [entry[0] for entry in ifinfmsg.ifinfo.data_map[kind].nla_map]
        for name, (number, _) in attribute_table(kind).items():
            if name in theirs:
                assert theirs[number] == name


def test_what_a_kind_does_not_have_or_hold_is_refused():
    """Unknown names and values out of range are the plan's fault, by name."""
    with pytest.raises(ConfigError, match="IFLA_IPVLAN_MOOD"):
        encode_attributes("ipvlan", {"IFLA_IPVLAN_MOOD": 1})
    with pytest.raises(ConfigError, match="expected 0 to 65535"):
        encode_attributes("ipvlan", {"IFLA_IPVLAN_MODE": 70000})
    with pytest.raises(ConfigError, match="not one of"):
        encode_attributes("unheard-of", {"IFLA_X": 1})
    assert encode_attributes("unheard-of", {}) == b""
