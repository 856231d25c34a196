"""Every error multinic raises on purpose, with its CNI code and its condition reason.

A message has the shape: subject, what was found, what would be accepted; lower case, values by ``!r``. Foreign
exceptions are translated into these once, where they enter, and only the outermost handler of a process turns an
unknown exception into code 999.
"""

from __future__ import annotations

import errno as errno_names
from collections.abc import Sequence


class MultinicError(Exception):
    """The root of all errors of multinic.

    Attributes:
        cni_code: code in a CNI error. Source: CNI specification 1.1.0, section 5; 100 and up are ours.
        reason: CamelCase word for a Kubernetes condition or Event.
        details: one further paragraph for people, or "".
    """

    cni_code = 999
    reason = "InternalError"

    def __init__(self, message: str, *, details: str = "") -> None:
        super().__init__(message)
        self.details = details


class IncompatibleVersionError(MultinicError):
    """A ``cniVersion`` or a prevResult version that we do not speak."""

    cni_code = 1
    reason = "IncompatibleVersion"


class UnsupportedFieldError(MultinicError):
    """A configuration key that is known to CNI but not supported here; names key and value."""

    cni_code = 2
    reason = "UnsupportedField"


class ContainerGoneError(MultinicError):
    """The container's network namespace does not exist; the runtime need not DEL."""

    cni_code = 3
    reason = "ContainerGone"


class InvocationError(MultinicError):
    """The ``CNI_*`` environment is wrong; lists every fault at once."""

    cni_code = 4
    reason = "InvalidEnvironment"


class DecodeError(MultinicError):
    """The standard input is not the JSON that CNI asks for."""

    cni_code = 6
    reason = "DecodeFailure"


class ConfigError(MultinicError):
    """A configuration that can never work as written.

    Attributes:
        problems: one sentence per fault, each starting with its field path.
    """

    cni_code = 7
    reason = "InvalidConfiguration"

    def __init__(self, *problems: str, details: str = "") -> None:
        super().__init__("; ".join(problems), details=details)
        self.problems: Sequence[str] = problems


class DaemonUnavailableError(MultinicError):
    """The node cannot serve now and the same call may succeed later (STATUS answers 50 instead)."""

    cni_code = 11
    reason = "DaemonUnavailable"


class NotReadyError(MultinicError):
    """STATUS: the node cannot take new attachments."""

    cni_code = 50
    reason = "NotReady"


class ConnectivityLimitedError(MultinicError):
    """STATUS: no new attachments, and existing ones may have limited connectivity."""

    cni_code = 51
    reason = "ConnectivityLimited"


class CheckFailedError(MultinicError):
    """CHECK found the kernel to differ from the record; names each difference."""

    cni_code = 101
    reason = "CheckFailed"


class PoolExhaustedError(MultinicError):
    """No address is left in a pool; may succeed when another attachment is released."""

    cni_code = 102
    reason = "PoolExhausted"


class AddressInUseError(MultinicError):
    """A static address that another attachment holds, or that lies outside every pool of the node."""

    cni_code = 103
    reason = "AddressInUse"


class SelectionError(MultinicError):
    """An attachment strategy cannot satisfy the request on this node."""

    cni_code = 104
    reason = "SelectionFailed"


class AttachmentExistsError(MultinicError):
    """ADD for an interface name that this container already holds with another configuration."""

    cni_code = 105
    reason = "AttachmentExists"


class PluginError(MultinicError):
    """A plugin raised or answered against its contract; names the plugin and its distribution."""

    cni_code = 106
    reason = "PluginFailed"


class ExecutableError(MultinicError):
    """A CNI executable that does a part of an attachment is missing, failed or gave no answer that could be read.

    Attributes:
        cni_code: the code of its own error, where it gave one.
    """

    cni_code = 108
    reason = "ExecutableFailed"

    def __init__(self, message: str, *, code: int = 0, details: str = "") -> None:
        super().__init__(message, details=details)
        if code > 0:
            self.cni_code = code


class ActionError(MultinicError):
    """An action of a plugin could not be done or undone, or raised something else than it may."""

    cni_code = 109
    reason = "ActionFailed"


class KernelError(MultinicError):
    """The kernel refused a netlink request.

    Attributes:
        errno: positive error number as the kernel gave it.
    """

    cni_code = 107
    reason = "KernelRefused"

    def __init__(self, message: str, errno: int, *, details: str = "") -> None:
        name = errno_names.errorcode.get(errno, str(errno))
        super().__init__(f"{message}: {name}", details=details)
        self.errno = errno


class NicInUseError(MultinicError):
    """Others use the NIC in a way that the kernel does not let go together with the one asked for."""

    cni_code = 110
    reason = "NicInUse"


class ApiError(MultinicError):
    """The Kubernetes API answered with a failure.

    Attributes:
        status: HTTP status, 0 when no answer came.
        api_reason: ``reason`` of the Status object, such as ``NotFound`` or ``Conflict``; "" when there was none.
        retry_after_seconds: what the server asked for, or None.
    """

    cni_code = 11
    reason = "ApiFailure"

    def __init__(
        self, message: str, *, status: int = 0, api_reason: str = "", retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.api_reason = api_reason
        self.retry_after_seconds = retry_after_seconds
