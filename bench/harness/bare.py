"""A program that makes and removes the links of many pods with nothing around it: what the kernel itself needs.

Usage: bare.py WORKERS NIC,NIC… NETNS…; for each line ``attach`` or ``detach`` on standard input one JSON line
``{"seconds": of all pods, "taken": [seconds of each], "used": seconds of processors}``. Sockets are open and messages
are made before the clock runs. Attaching is two sendmsg per pod (all links, then all addresses and ups), detaching one
(all links of a group); of each, WORKERS threads have one in the kernel at a time.
"""

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_interface

from multinic_daemon.netlink import requests as rq
from multinic_daemon.netlink import wire
from multinic_daemon.netlink.conversation import Request
from multinic_daemon.netlink.netns import open_netns, open_socket

GROUP = 0x4E000001
FIRST_INDEX = 1000
"""Indexes that the links of pods get, so that they are known beforehand."""


def encode(requests: Sequence[Request]) -> bytes:
    """All of them in one piece, the last to be acknowledged; each that is refused is answered anyway."""
    flags = [wire.NLM_F_REQUEST] * (len(requests) - 1) + [wire.NLM_F_REQUEST | wire.NLM_F_ACK]
    pairs = zip(requests, flags, strict=True)
    return b"".join(wire.message(r.type, r.flags | extra, n, r.body) for n, (r, extra) in enumerate(pairs, 1))


def exchange(sock: socket.socket, data: bytes) -> None:
    """Send, and wait for the one acknowledgement; the first refusal ends the program."""
    sock.send(data)
    while True:
        for message in wire.messages(sock.recv(1 << 16)):
            if message.type == wire.NLMSG_ERROR:
                if number := wire.i32(message.body):
                    sys.exit(f"the kernel refused a message: {number}")
                return


class Pod:
    """One namespace with the messages for it."""

    def __init__(self, number: int, netns: str, nics: Sequence[str]) -> None:
        self._node = open_socket()
        with open_netns(netns) as file:
            self._inside = open_socket(file)
        self._file = open(netns, "rb")  # noqa: PTH123, SIM115 -- named by its descriptor as long as the program lives
        links, inside = [], []
        for position, nic in enumerate(nics):
            index = FIRST_INDEX + position
            request = rq.create_link(
                f"net1-{position}",
                "macvlan",
                socket.if_nametoindex(nic),
                rq.NetnsFile(self._file.fileno()),
                GROUP,
                attributes={"IFLA_MACVLAN_MODE": 4},
                subject="",
            )
            header = rq.IFINFO.pack(rq.AF_UNSPEC, 0, index, 0, 0)
            links.append(request._replace(body=header + request.body[len(header) :]))
            address = ip_interface(f"10.{64 + position}.{number >> 8}.{number & 255}/16")
            inside.append(rq.add_address(index, address, ""))
            inside.append(rq.set_up(index, subject=""))
        inside = inside[::2] + inside[1::2]
        self._create, self._configure = encode(links), encode(inside)
        self._remove = encode([rq.delete_group(GROUP, "")])

    def attach(self) -> None:
        exchange(self._node, self._create)
        exchange(self._inside, self._configure)

    def detach(self) -> None:
        exchange(self._inside, self._remove)

    def close(self) -> None:
        """Let go of the namespace."""
        for held in (self._node, self._inside, self._file):
            held.close()


def timed(workers: int, pods: Sequence[Pod], work: Callable[[Pod], None]) -> dict[str, object]:
    """Do it for all pods."""
    turn, taken = iter(range(len(pods))), [0.0] * len(pods)

    def serve() -> None:
        for number in turn:
            begin = time.perf_counter()
            work(pods[number])
            taken[number] = time.perf_counter() - begin

    threads = [threading.Thread(target=serve) for _ in range(workers)]
    begin, used = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"seconds": time.perf_counter() - begin, "taken": taken, "used": time.process_time() - used}


def main() -> None:
    workers, nics, *paths = sys.argv[1:]
    pods = [Pod(number, path, nics.split(",")) for number, path in enumerate(paths, 1)]
    work = {"attach": Pod.attach, "detach": Pod.detach}
    for line in sys.stdin:
        print(json.dumps(timed(int(workers), pods, work[line.strip()])), flush=True)


if __name__ == "__main__":
    main()
