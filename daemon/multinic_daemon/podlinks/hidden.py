"""Addresses of network namespaces that may not be entered.

The namespace of a process with more rights than ours cannot be opened, but its routing tables can be read as text under
``/proc/<pid>/net``. That is enough to say whether it has an address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv6Address, ip_interface
from pathlib import Path

from multinic_core.errors import KernelError
from multinic_core.plan import IPInterface
from multinic_daemon.podlinks.kernel import Sandbox, SandboxLink

_LOCAL = re.compile(r"\|-- (\S+)\s+(?:/\d+ (?!host LOCAL)\S+ \S+\s+)*/32 host LOCAL")
"""Of ``fib_trie``: an address, and below it the entries for it. Source: linux/net/ipv4/fib_trie.c."""


def read_hidden(pid: str, proc: Path = Path("/proc")) -> Sandbox | None:
    """The namespace of a process by its addresses alone, on one link without a name; None when the process is gone.

    Raises:
        KernelError: not even that can be read.
    """
    folder = proc / pid / "net"
    try:
        found = [*_ipv4((folder / "fib_trie").read_text()), *_ipv6(folder / "if_inet6")]
    except (FileNotFoundError, ProcessLookupError, NotADirectoryError):
        return None
    except OSError as error:
        raise KernelError(f"addresses of process {pid} cannot be read in {str(folder)!r}", error.errno or 0) from error
    link = SandboxLink("", 0, "", 0, "", 0, False, {}, tuple(dict.fromkeys(found)))
    return Sandbox(str(folder), (0, int(pid)), (link,))


def _ipv4(fib_trie: str) -> Iterator[IPInterface]:
    for match in _LOCAL.finditer(fib_trie):
        address = IPv4Interface(match[1])
        if not address.ip.is_loopback and not address.ip.is_link_local:
            yield address


def _ipv6(if_inet6: Path) -> Iterator[IPInterface]:
    if not if_inet6.exists():
        return  # a kernel without IPv6
    for line in if_inet6.read_text().splitlines():
        digits, _, length, *_ = line.split()
        address = ip_interface(f"{IPv6Address(int(digits, 16))}/{int(length, 16)}")
        if not address.ip.is_loopback and not address.ip.is_link_local:
            yield address
