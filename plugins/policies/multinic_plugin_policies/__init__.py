"""Attachment strategies: which of a node's NICs a pod gets, and why. One module per strategy."""

from __future__ import annotations

from collections.abc import Sequence

from multinic_core import AttachmentStrategy, hookimpl
from multinic_plugin_policies.none import NoPreference


@hookimpl
def multinic_register_strategies() -> Sequence[AttachmentStrategy]:
    return [NoPreference()]
