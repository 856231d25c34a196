"""The wire's language: nothing is lost, nothing overtakes, no window is exceeded, damage is loud."""

import contextlib
import os
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multinic_lab.kernel.mux import DATA, HEADER, LINK_WINDOW, Link, LinkError, Record
from multinic_lab.kernel.relay import Relay
from multinic_lab.kernel.wire import Wire

RECORDS = st.builds(Record, st.just(DATA), st.integers(0, 2**32 - 1), st.binary(max_size=40))


@given(st.lists(RECORDS, max_size=200), st.lists(st.integers(0, 80), min_size=1, max_size=20))
def test_records_arrive_once_in_order_and_within_the_window(records: list[Record], pauses: list[int]):
    """Whatever the rhythm of acknowledgements, what was queued arrives unchanged and at most a window is on
    the way."""
    sender, receiver = Link(), Link()
    for record in records:
        sender.queue(*record)
    arrived: list[Record] = []
    for turn in range(10 * len(records) + 10):
        on_the_way = []
        while len(on_the_way) <= pauses[turn % len(pauses)] and (frame := sender.next_frame()) is not None:
            on_the_way.append(frame)
        assert len(on_the_way) <= LINK_WINDOW
        arrived += filter(None, map(receiver.receive, on_the_way))
        while (answer := receiver.next_frame()) is not None:
            assert sender.receive(answer) is None
        if sender.idle:
            break
    assert arrived == records


def test_an_unacknowledged_window_holds_the_sender_back():
    """With no answer, exactly a window of frames leaves."""
    link = Link()
    for _ in range(LINK_WINDOW + 1):
        link.queue(DATA, 1, b"x")
    assert all(link.next_frame() for _ in range(LINK_WINDOW))
    assert link.next_frame() is None
    assert not link.idle


def test_a_lost_frame_is_an_error():
    """A gap in the numbers raises instead of passing on damaged streams."""
    sender, receiver = Link(), Link()
    sender.queue(DATA, 1, b"lost")
    sender.queue(DATA, 1, b"late")
    sender.next_frame()
    late = sender.next_frame()
    assert late is not None
    with pytest.raises(LinkError, match="frame 1 arrived where 0 was expected"):
        receiver.receive(late)


@pytest.mark.parametrize("cut", [1, HEADER.size, HEADER.size + 2])
def test_a_short_frame_is_an_error(cut: int):
    """A frame shorter than its header says raises."""
    sender = Link()
    sender.queue(DATA, 1, b"abcd")
    frame = sender.next_frame()
    assert frame is not None
    with pytest.raises(LinkError, match="bytes"):
        Link().receive(frame[:cut])


class Pair:
    """Two relays joined by a socket pair, stepped in turn; `far` connects every target to a fresh socket pair
    kept in `ends`."""

    def __init__(self) -> None:
        self.wires = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ends: list[socket.socket] = []
        self.near = Relay(Wire(self.wires[0]), 1, self._connect, print)
        self.far = Relay(Wire(self.wires[1]), 2, self._connect, print)

    def _connect(self, target: str) -> socket.socket:
        if target == "nowhere":
            raise ConnectionRefusedError
        mine, theirs = socket.socketpair()
        self.ends.append(mine)
        mine.setblocking(False)
        return theirs

    def settle(self, turns: int = 20) -> None:
        for _ in range(turns):
            self.near.step(0)
            self.far.step(0)

    def open(self, target: str = "somewhere") -> tuple[socket.socket, socket.socket | None]:
        """A joined pair: the near application's end and the far one's."""
        local, handed = socket.socketpair()
        local.setblocking(False)
        count = len(self.ends)
        self.near.open(target, handed)
        self.settle()
        return local, self.ends[-1] if len(self.ends) > count else None


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    for relay in (made.near, made.far):
        relay.close()
    for sock in [*made.wires, *made.ends]:
        sock.close()


def test_half_close_leaves_the_other_direction_open(pair: Pair):
    """After one side's end of file, the other may still send; then both ends close and no channel is left."""
    local, remote = pair.open()
    assert remote is not None
    with local:
        local.send(b"question")
        local.shutdown(socket.SHUT_WR)
        pair.settle()
        assert (remote.recv(100), remote.recv(100)) == (b"question", b"")
        remote.send(b"answer")
        remote.shutdown(socket.SHUT_WR)
        pair.settle()
        assert (local.recv(100), local.recv(100)) == (b"answer", b"")
    assert not pair.near.channels
    assert not pair.far.channels


def test_a_reader_that_stalls_does_not_stop_the_others(pair: Pair):
    """One stream that nobody reads holds a bounded amount, and another stream still carries everything."""
    stalled, _ = pair.open()
    moving, remote = pair.open()
    assert remote is not None
    with stalled, moving:
        sent = 0
        for _ in range(200):
            try:
                sent += stalled.send(bytes(65_536))
            except BlockingIOError:
                pair.settle(1)
        assert sent < 4 << 20
        message, got = os.urandom(1 << 20), b""
        rest = memoryview(message)
        for _ in range(2000):
            with contextlib.suppress(BlockingIOError):
                rest = rest[moving.send(rest[:65_536]) :]
            pair.settle(1)
            try:
                got += remote.recv(1 << 20)
            except BlockingIOError:
                continue
            if len(got) == len(message):
                break
        assert got == message


def test_a_refused_connection_is_reset_on_the_asking_side(pair: Pair):
    """A target that cannot be connected ends the local connection at once."""
    local, remote = pair.open("nowhere")
    assert remote is None
    with local:
        assert local.recv(1) == b""
    assert not pair.near.channels


def test_nothing_is_sent_while_the_relay_holds(pair: Pair):
    """What is queued before the other side listens goes out only afterwards, complete."""
    pair.near.hold = True
    local, remote = pair.open()
    assert remote is None
    with local:
        pair.near.hold = False
        pair.settle()
        assert len(pair.ends) == 1
