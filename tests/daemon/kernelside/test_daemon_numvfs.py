"""The number of VFs, written as the kernel takes it."""

import errno
from pathlib import Path

import pytest
from multinic_daemon.podlinks.numvfs import make_vfs

from multinic_core.errors import KernelError

ADDRESS = "0000:01:00.0"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """``sriov_numvfs`` of a NIC."""
    made = tmp_path / "bus/pci/devices" / ADDRESS / "sriov_numvfs"
    made.parent.mkdir(parents=True)
    made.write_text("0\n")
    return made


def test_vfs_are_made_and_a_right_number_is_left_alone(tmp_path: Path, file: Path):
    """From none to some, and no write at all where there are as many."""
    make_vfs(ADDRESS, 4, tmp_path)
    assert file.read_text() == "4"
    file.write_text("4\n")
    make_vfs(ADDRESS, 4, tmp_path)
    assert file.read_text() == "4\n"


def test_another_number_goes_by_way_of_none(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch):
    """The kernel refuses to change one number to another."""
    file.write_text("2\n")
    written: list[str] = []
    monkeypatch.setattr(Path, "write_text", lambda path, text: written.append(text))
    make_vfs(ADDRESS, 4, tmp_path)
    assert written == ["0", "4"]


def test_what_cannot_be_is_named(tmp_path: Path, file: Path):
    """A NIC that is gone, and a kernel that refuses."""
    with pytest.raises(KernelError, match=r"4 VFs of NIC 0000:09:00\.0: no such NIC") as gone:
        make_vfs("0000:09:00.0", 4, tmp_path)
    assert gone.value.errno == errno.ENODEV
    file.unlink()
    file.mkdir()
    with pytest.raises(KernelError, match=r"4 VFs of NIC 0000:01:00\.0: EISDIR") as refused:
        make_vfs(ADDRESS, 4, tmp_path)
    assert "leave out manageVfs" in refused.value.details
