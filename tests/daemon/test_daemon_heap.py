"""All threads of the daemon take memory from one heap."""

import subprocess
import sys

COUNT = """
import ctypes, re, threading
from pathlib import Path
from multinic_daemon.memory.heap import use_one_heap

{call}
taken, ready, done = [], threading.Barrier(5), threading.Event()

def take():
    taken.append([bytearray(40_000) for _ in range(10)])
    ready.wait()
    done.wait()

threads = [threading.Thread(target=take) for _ in range(4)]
for thread in threads:
    thread.start()
ready.wait()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
libc.malloc_info.argtypes = (ctypes.c_int, ctypes.c_void_p)
libc.fclose.argtypes = (ctypes.c_void_p,)
file = libc.fopen({path!r}.encode(), b"w")
libc.malloc_info(0, file)
libc.fclose(file)
print(Path({path!r}).read_text().count("<heap nr="))
done.set()
"""


def heaps(call: str, path: str) -> int:
    """How many heaps the C library has for a process with four busy threads."""
    program = COUNT.format(call=call, path=path)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return int(done.stdout)


def test_busy_threads_share_one_heap(tmp_path):
    """With the setting there is one, and without it there would be several."""
    path = str(tmp_path / "heaps")
    assert heaps("assert use_one_heap()", path) == 1
    assert heaps("", path) > 1
