"""An embedded Kubernetes API server: pure Python, in memory, good enough for kubectl and the official clients.

``serve_api`` runs it inside a trio program, ``python -m multinic_lab.apiserver`` by itself. Nothing here knows
multinic: kinds beyond the built-in ones come as CustomResourceDefinitions, as on any cluster.

How a request runs: ``http`` reads it, ``api`` finds verb and kind (``scheme``), ``rest`` carries it out on the
``store`` (``schema``, ``strategy``, ``metadata``, ``apply`` and ``patch`` decide what an object becomes),
``controllers`` do what the write set off, and ``table``, ``listing`` and ``watch`` shape what is read. ``faults`` lets
a test break any of it, ``requestlog`` tells it who asked for what, ``rights`` whether they may.
"""

from .api import Api, LogProvider
from .errors import ApiError
from .faults import Fault, Faults
from .http import Request
from .requestlog import Entry, RequestListener, RequestLog, read_entry
from .rights import Rights
from .server import ApiServer, serve_api, write_kubeconfig
from .store import Change, Place, Store

__all__ = [
    "Api",
    "ApiError",
    "ApiServer",
    "Change",
    "Entry",
    "Fault",
    "Faults",
    "LogProvider",
    "Place",
    "Request",
    "RequestListener",
    "RequestLog",
    "Rights",
    "Store",
    "read_entry",
    "serve_api",
    "write_kubeconfig",
]
