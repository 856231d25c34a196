"""The guest's side: process 1 of the emulated PC, which runs the one command it is told to and ends with it.

When it ends, however, the kernel panics and the PC goes off; so nothing keeps a PC running whose command is over.
Standard library only: it starts in a second where a full environment takes many.
"""

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..kernel.furnish import furnish
from ..kernel.rtnetlink import set_up

PORTS = Path("/sys/class/virtio-ports")
POWER_OFF = 0x4321FEDC
"""Source: linux/reboot.h, LINUX_REBOOT_CMD_POWER_OFF."""


def main() -> None:
    """Entry of the guest; messages go to its console, which the host keeps for diagnosis."""
    order: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    furnish(order["folder"], order["keep"], order["modules"])
    set_up("lo")
    ports = {(path / "name").read_text().strip(): Path("/dev", path.name) for path in PORTS.iterdir()}
    with ports[order["output"]].open("wb", buffering=0) as output:
        status = _run(order, output.fileno())
    with ports[order["status"]].open("wb", buffering=0) as port:
        port.write(f"{status}\n".encode())
    ctypes.CDLL(None).reboot(POWER_OFF)


def _run(order: dict[str, Any], output: int) -> int:
    """The command's exit status, 128 + number for a signal; its children that lost their parent are reaped."""
    try:
        command = subprocess.Popen(
            order["argv"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=order["cwd"],
            env=order["env"],
            start_new_session=True,
        )
    except OSError as error:
        os.write(output, f"emulated PC: cannot start {order['argv'][0]!r}: {error}\n".encode())
        return 127
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == command.pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
