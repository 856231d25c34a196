"""The first root file system of the emulated PC: busybox, the modules that reach the host's files, and one script.

The script lays a tmpfs over the host's file system and goes on there: what the guest writes stays in its memory, and
the host's files cannot be changed by anything that runs in it. It is made anew for each boot, in some 0.1 s.
"""

import lzma
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

TAG = "host"
"""Mount tag of the host's file system."""
MODULES = ("9pnet_virtio", "9p", "overlay")
"""Modules that are needed to mount the root; what they depend on comes along."""
MESSAGE_BYTES = 1 << 20
"""Of one message between the kernels: few of them make reading large files fast."""
SCRIPT = """#!/bin/busybox sh
must() {{ /bin/busybox "$@" || {{ echo "emulated PC: failed: $*"; /bin/busybox poweroff -f; }}; }}
must mkdir -p /dev /lower /layer /root
must mount -t devtmpfs devtmpfs /dev
for module in {modules}; do must insmod /modules/$module; done
must mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize={bytes} {tag} /lower
must mount -t tmpfs -o mode=0755 tmpfs /layer
must mkdir /layer/upper /layer/work
must mount -t overlay -o lowerdir=/lower,upperdir=/layer/upper,workdir=/layer/work overlay /root
must mount --move /dev /root/dev
exec /bin/busybox switch_root /root {command}
"""


def build(path: Path, busybox: Path, modules: Path, command: Sequence[str]) -> None:
    """Write the archive to `path`.

    Args:
        path: of the file to write.
        busybox: an executable without shared libraries.
        modules: folder of one kernel's modules, with what depmod writes there.
        command: what becomes process 1 of the guest, with its arguments, on the host's file system.

    Raises:
        ValueError: the kernel has no such module.
    """
    needed = list(closure((modules / "modules.dep").read_text(), MODULES))
    script = SCRIPT.format(
        modules=" ".join(plain_name(name) for name in needed), bytes=MESSAGE_BYTES, tag=TAG, command=shlex.join(command)
    )
    with path.open("wb") as archive:
        for folder in ("bin", "modules"):
            archive.write(_entry(folder, b"", 0o040755))
        archive.write(_entry("bin/busybox", busybox.read_bytes(), 0o100755))
        archive.write(_entry("init", script.encode(), 0o100755))
        for name in needed:
            archive.write(_entry(f"modules/{plain_name(name)}", _unpacked(modules / name), 0o100644))
        archive.write(_entry("TRAILER!!!", b"", 0))


def closure(dependencies: str, wanted: Sequence[str]) -> Iterator[str]:
    """Paths of the wanted modules and all they need, each after what it needs.

    Args:
        dependencies: text of modules.dep; a line names a module and what it needs, the last to load first.
        wanted: names of modules. One that is built into the kernel is not wanted.

    Raises:
        ValueError: no such module.
    """
    needs = {path: rest.split() for path, _, rest in (line.partition(":") for line in dependencies.splitlines())}
    by_name = {plain_name(path).removesuffix(".ko").replace("-", "_"): path for path in needs}
    if missing := [name for name in wanted if name not in by_name]:
        raise ValueError(f"modules.dep: no module {missing} among the {len(by_name)} of this kernel")
    paths = [path for name in wanted for path in (*reversed(needs[by_name[name]]), by_name[name])]
    yield from dict.fromkeys(paths)


def plain_name(path: str) -> str:
    """A module's file name as it is when unpacked."""
    return path.rpartition("/")[2].removesuffix(".xz")


def _unpacked(path: Path) -> bytes:
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def _entry(name: str, data: bytes, mode: int) -> bytes:
    """One file of the archive. Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst, "newc"."""
    encoded = name.encode() + b"\0"
    numbers = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % number for number in numbers) + encoded
    return _padded(head) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
