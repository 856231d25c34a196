"""What the emulated PC boots holds the modules that reach its root, in an order that they load in."""

import lzma
import subprocess
from pathlib import Path

import pytest
from multinic_lab.emulator import initrd
from multinic_lab.provision import tools

DEPENDENCIES = """\
kernel/fs/netfs/netfs.ko.xz:
kernel/net/9p/9pnet.ko.xz: kernel/fs/netfs/netfs.ko.xz
kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz
kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz
kernel/fs/overlayfs/overlay.ko:
kernel/drivers/i2c/algos/i2c-algo-bit.ko.xz:
"""


def test_a_module_comes_after_all_that_it_needs():
    """What modules.dep names last is loaded first, and nothing twice."""
    names = [initrd.plain_name(path) for path in initrd.closure(DEPENDENCIES, ("9pnet_virtio", "9p", "i2c_algo_bit"))]
    assert names == ["netfs.ko", "9pnet.ko", "9pnet_virtio.ko", "9p.ko", "i2c-algo-bit.ko"]


def test_a_module_that_the_kernel_has_not_is_named():
    """It would be missed only when the PC does not come up."""
    with pytest.raises(ValueError, match="no module \\['squashfs'\\] among the 6"):
        list(initrd.closure(DEPENDENCIES, ("9p", "squashfs")))


def test_busybox_reads_the_archive_back(tmp_path: Path):
    """Packed and plain modules are in it as the kernel loads them; the script is executable and names its command."""
    modules = tmp_path / "modules"
    for line in DEPENDENCIES.splitlines():
        path = modules / line.partition(":")[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        content = f"content of {initrd.plain_name(path.name)}".encode()
        path.write_bytes(lzma.compress(content) if path.suffix == ".xz" else content)
    (modules / "modules.dep").write_text(DEPENDENCIES)
    busybox = tools.find("busybox")
    initrd.build(tmp_path / "initrd", busybox, modules, ["/a folder/start", "word"])
    (tmp_path / "out").mkdir()
    with (tmp_path / "initrd").open("rb") as archive:
        subprocess.run([busybox, "cpio", "-i", "-d"], stdin=archive, cwd=tmp_path / "out", check=True)
    unpacked = tmp_path / "out"
    assert sorted(path.name for path in (unpacked / "modules").iterdir()) == [
        "9p.ko",
        "9pnet.ko",
        "9pnet_virtio.ko",
        "netfs.ko",
        "overlay.ko",
    ]
    for path in (unpacked / "modules").iterdir():
        assert path.read_text() == f"content of {path.name}"
    assert (unpacked / "bin" / "busybox").read_bytes() == busybox.read_bytes()
    script = unpacked / "init"
    assert script.stat().st_mode & 0o111
    subprocess.run([busybox, "sh", "-n", script], check=True)
    assert script.read_text().endswith("exec /bin/busybox switch_root /root '/a folder/start' word\n")
    assert "for module in netfs.ko 9pnet.ko 9pnet_virtio.ko 9p.ko overlay.ko; do" in script.read_text()
