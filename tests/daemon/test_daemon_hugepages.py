"""Large pages: which memory is asked for, and that asking does no harm."""

import mmap
import subprocess
import sys

from multinic_daemon.memory.hugepages import LARGE, large_ranges, use_large_pages

MAPS = """\
00400000-00c00000 r-xp 00000000 fe:00 17 /usr/bin/python3.11
00e00000-01200000 rw-p 00545000 fe:00 17 /usr/bin/python3.11
01234000-01a34000 rw-p 00000000 00:00 0 [heap]
7f0000100000-7f0000500000 rw-p 00000000 00:00 0
7f0000600000-7f0000a00000 ---p 00000000 00:00 0
7f0001000000-7f00011fffff rw-p 00000000 00:00 0
7f0002000000-7f0002400000 rw-p 00000000 00:01 9 /memfd:a name (deleted)
7ffd00000000-7ffd00800000 rw-p 00000000 00:00 0 [stack]
"""


def test_only_whole_large_pages_of_anonymous_memory_are_asked_for():
    """Neither files, nor the stack, nor what cannot be written, nor a range that is too short or not aligned."""
    assert [hex(address) for address in large_ranges(MAPS.splitlines())] == [
        "0x1400000",
        "0x1600000",
        "0x1800000",
        "0x7f0000200000",
    ]


def test_memory_keeps_its_content():
    """It is advice: what was written stays, however many large pages the kernel gave."""
    with mmap.mmap(-1, 3 * LARGE) as memory:
        memory[:] = bytes(range(256)) * (3 * LARGE // 256)
        given = use_large_pages()
        assert given >= 0
        assert memory[:] == bytes(range(256)) * (3 * LARGE // 256)


def test_a_kernel_that_refuses_is_no_failure():
    """With large pages forbidden to the process, none are given and nothing is raised."""
    program = (
        "import ctypes; from multinic_daemon.memory.hugepages import use_large_pages\n"
        "assert ctypes.CDLL(None).prctl(41, 1, 0, 0, 0) == 0\n"  # PR_SET_THP_DISABLE
        "print(use_large_pages())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"
