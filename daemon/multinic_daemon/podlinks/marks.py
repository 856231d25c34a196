"""By what links in pods are known to be ours, also to a daemon that has lost its journal."""

from __future__ import annotations

from multinic_daemon.journal.journal import GROUP_BASE, GROUP_COUNT

GROUPS = range(GROUP_BASE, GROUP_BASE + GROUP_COUNT)
"""Link groups of attachments."""
_MARK = "multinic:"


def mark_text(device: str) -> str:
    """The alias of a device on its way: its name on the node."""
    return f"{_MARK}{device}"


def without_mark(group: int, alias: str) -> tuple[int, str]:
    """Link group and alias that a device has from the node's owner: none while it has ours."""
    return (0, "") if group in GROUPS or alias.startswith(_MARK) else (group, alias)


def marked_name(alias: str) -> str:
    """The name on the node that an alias tells; "" for somebody else's alias."""
    return alias.removeprefix(_MARK) if alias.startswith(_MARK) else ""
