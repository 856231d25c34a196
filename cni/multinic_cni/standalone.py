"""``python -m multinic_cni.standalone PLUGIN``: serve one CNI call in this process, without a daemon.

What the executables become by exec when a network configuration says ``"standalone": true``; the call is as the runtime
made it, in the environment and on standard input. This is the one module here that needs more than the standard
library: the daemon's engine, and with it core and whatever plugins are installed beside it.
"""

import json
import os
import sys

VERSION = "1.0.0"
"""Of an error that is written before anything has been read."""


def main(arguments: list[str]) -> int:
    """Print the answer; the process's exit status."""
    (plugin,) = arguments
    try:
        from multinic_daemon.standalone import answer
    except ImportError as error:
        message = f"standalone: {sys.executable!r} cannot import what serves it: {error}; install multinic-daemon there"
        sys.stdout.write(json.dumps({"cniVersion": VERSION, "code": 5, "msg": message}) + "\n")
        return 1
    status, body = answer(plugin, os.environ, sys.stdin.buffer.read())
    sys.stdout.buffer.write(body)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
