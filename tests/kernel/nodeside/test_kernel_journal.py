"""The journal on a file system that is full."""

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from multinic_daemon.journal.journal import Journal, JournalError
from multinic_lab.provision import tools

pytestmark = pytest.mark.needs_root


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 512 KiB."""
    environment = tools.environment()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(tmp_path)]
    subprocess.run(mount, env=environment, check=True, timeout=60)
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], env=environment, check=True, timeout=60)


def test_full_file_system_is_noticed_before_an_attachment_is(small: Path) -> None:
    """As STATUS asks; when there is room again, nothing is left of it."""
    journal = Journal.open(small)
    try:
        journal.require_writable()
        filler = small / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        with pytest.raises(JournalError, match=r"journal\.db.*(full|disk I/O error)"):
            journal.require_writable()
        filler.unlink()
        journal.require_writable()
    finally:
        journal.close()
