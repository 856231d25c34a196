"""Which network namespaces there are, told from a folder of mounts and one of processes."""

from pathlib import Path
from typing import Any

import pytest
from multinic_daemon.podlinks import namespaces
from multinic_daemon.podlinks.namespaces import find_namespaces

from multinic_core.errors import KernelError


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Processes 1 to 4, of which 2 is in the mounted namespace ``a`` and 3 has ended; 4 may not be looked into."""
    proc, mounts = tmp_path / "proc", tmp_path / "netns"
    for process in ("self", "1", "2", "3", "4", "sys"):
        (proc / process / "ns").mkdir(parents=True)
    for name in ("self", "1", "4"):
        (proc / name / "ns/net").touch()
    mounts.mkdir()
    (mounts / "a").touch()
    (proc / "2/ns/net").hardlink_to(mounts / "a")
    monkeypatch.setattr(namespaces, "PROC", proc)
    monkeypatch.setattr(namespaces, "FOLDERS", (mounts, tmp_path / "no"))
    refuse(monkeypatch, proc / "4/ns/net", PermissionError(13, "no"))
    return proc


def refuse(monkeypatch: pytest.MonkeyPatch, path: Path, error: OSError) -> None:
    """Let ``stat`` of one path fail."""
    stat = Path.stat

    def check(asked: Path, **options: Any) -> Any:
        if asked == path:
            raise error
        return stat(asked, **options)

    monkeypatch.setattr(Path, "stat", check)


def test_each_is_found_once_with_all_its_paths(proc: Path) -> None:
    """By mount and process, a path that was named first; a process that may not be looked into is told apart."""
    named, mounted, member = str(proc / "1/ns/net"), str(proc.parent / "netns/a"), str(proc / "2/ns/net")
    found = find_namespaces([named, "/no/such/path"])
    assert sorted(found.paths.values()) == sorted([(mounted, member), (named,)])
    assert found.hidden == ("4",)


def test_process_that_ended_while_it_was_looked_at_hides_nothing(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel refuses to show the namespace of a process that ends, too."""
    refuse(monkeypatch, proc / "5/ns/net", PermissionError(13, "no"))
    (proc / "5").mkdir()
    assert find_namespaces().hidden == ("4",)


def test_plain_file_in_place_of_a_mount_is_no_namespace(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an unmounted one leaves is on another file system."""
    monkeypatch.setattr(namespaces, "namespace_device", lambda: -1)
    assert find_namespaces().paths == {}


def test_mount_that_cannot_be_told_is_an_error(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A namespace that nobody saw must not count as one that holds nothing."""
    refuse(monkeypatch, proc.parent / "netns/a", OSError(5, "input/output error"))
    with pytest.raises(KernelError, match="netns/a' cannot be looked into"):
        find_namespaces()
