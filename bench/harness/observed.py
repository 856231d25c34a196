"""The daemon, telling a file how long it took for each call: OBSERVATIONS and then the daemon's own arguments.

Of all that it could say at level debug only this is asked for, and it is said when the caller has its answer. So
nothing is measured but what a daemon does anyway, and no line of a log is in it. One line for each call: command,
container id, milliseconds from the end of the request to the end of the answer.
"""

import logging
import os
import sys

from multinic_daemon.__main__ import main
from multinic_daemon.calls import server


class Observer(logging.Filter):
    """Takes what the server says about a call's time, and lets everything else pass."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def filter(self, record: logging.LogRecord) -> bool:
        if record.msg == "answered":
            told = vars(record)
            os.write(self._file, f"{told['command']} {told['container_id']} {told['milliseconds']}\n".encode())
        return record.levelno > logging.DEBUG


if __name__ == "__main__":
    server.log.addFilter(Observer(sys.argv.pop(1)))
    server.log.setLevel(logging.DEBUG)
    main()
