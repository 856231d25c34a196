"""The attach engine: from one CNI call to links in a pod, and back.

ADD goes validate → choose NICs → allocate → plan → journal ``pending`` → apply → journal ``ready`` → answer.
Everything up to the journal is pure and happens in one turn of the event loop, so no two calls see the same address
free; everything after it is undone when anything fails.
"""

from multinic_daemon.engine.context import Engine
from multinic_daemon.engine.dispatch import handler, serve_request

__all__ = ["Engine", "handler", "serve_request"]
