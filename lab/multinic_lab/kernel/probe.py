"""Which kinds of link this kernel makes for this caller: tried, not guessed.

A child process makes a network namespace of its own, tries every kind in it and prints the ones that worked;
the namespace goes with the child. The caller's namespace is never touched.
"""

import functools
import json
import struct
import subprocess
import sys
from pathlib import Path

from .rtnetlink import Attribute, make_link, unshare_network

_VLAN_ID: list[Attribute] = [(1, struct.pack("=H", 7))]
"""Source: linux/if_link.h, IFLA_VLAN_ID."""
_VRF_TABLE: list[Attribute] = [(1, struct.pack("=I", 77))]
"""Source: linux/if_link.h, IFLA_VRF_TABLE."""
_VXLAN: list[Attribute] = [(1, struct.pack("=I", 7)), (15, struct.pack(">H", 4789))]
"""Source: linux/if_link.h, IFLA_VXLAN_ID and IFLA_VXLAN_PORT."""

KINDS: dict[str, tuple[bool, list[Attribute] | None]] = {
    "bond": (False, None),
    "bridge": (False, None),
    "dummy": (False, None),
    "ifb": (False, None),
    "ipvlan": (True, None),
    "ipvtap": (True, None),
    "macvlan": (True, None),
    "macvtap": (True, None),
    "veth": (False, None),
    "vlan": (True, _VLAN_ID),
    "vrf": (False, _VRF_TABLE),
    "vxlan": (False, _VXLAN),
}
"""Link kind to (needs a parent link, its IFLA_INFO_DATA)."""


@functools.cache
def native_link_kinds() -> frozenset[str]:
    """The kinds of `KINDS` this kernel makes for this caller; empty when the caller cannot make network
    namespaces.

    The first call starts a child (some 50 ms); later ones are free.

    Raises:
        RuntimeError: the child failed in a way that says nothing about the kernel.
    """
    package = Path(__file__).resolve().parent
    code = f"import sys; sys.path.insert(0, {str(package.parent)!r}); from {package.name}.probe import main; main()"
    child = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
    )
    if child.returncode:
        raise RuntimeError(f"probing link kinds failed: {child.stderr.decode(errors='replace').strip()!r}")
    return frozenset(json.loads(child.stdout))


def main() -> None:
    """The child: prints a JSON list."""
    sys.stdout.write(json.dumps(_probe()))


def _probe() -> list[str]:
    try:
        unshare_network()
    except OSError:
        return []
    found = []
    for number, (kind, (needs_parent, data)) in enumerate(sorted(KINDS.items())):
        # One parent carries either ipvlan or macvlan links, so each kind that needs a parent is tried on a
        # fresh one.
        parent = f"p{number}" if needs_parent else None
        if parent and not (_makes("veth", parent) or _makes("dummy", parent)):
            continue
        if _makes(kind, f"try{number}", parent, data):
            found.append(kind)
    return found


def _makes(kind: str, ifname: str, parent: str | None = None, data: list[Attribute] | None = None) -> bool:
    try:
        make_link(kind, ifname, parent, data)
    except OSError:
        return False
    return True
