"""A choice as a table for people, or as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from multinic_core.bandwidth import show
from multinic_core.cli.terminal import table
from multinic_core.selection import Figure
from multinic_daemon.explain.choices import Choice
from multinic_daemon.explain.plan import Answer

COLUMNS = ("NIC", "TAKEN", "REASON", "PROMISED", "FIGURES")
RATE = "_bit_per_s"
"""Figures whose name ends so are bandwidths."""


def choice_table(choice: Choice) -> Table:
    """One line for each NIC of the node."""
    rows = (
        (
            line.ifname,
            line.link or "left",
            line.reason,
            "" if line.promised is None else show(line.promised),
            _figures(line.figures),
        )
        for line in choice.lines
    )
    answer = table(_title(choice), COLUMNS, rows)
    answer.columns[0].no_wrap = answer.columns[1].no_wrap = True
    if choice.decision and choice.decision.warning:
        answer.caption, answer.caption_justify = f"warning: {choice.decision.warning}", "left"
    return answer


def _title(choice: Choice) -> str:
    subject = f"{choice.ifname} on network {choice.network} ({choice.state})"
    if choice.decision is None:
        return f"{subject}: chosen by a daemon that kept no reasons"
    asked = ", ".join(f"{name} {_word(value)}" for name, value in choice.decision.asked.items())
    return f"{subject}: strategy {choice.decision.strategy}{f', asked for {asked}' if asked else ''}"


def _word(value: Any) -> str:
    return ",".join(value) if isinstance(value, (list, tuple)) else str(value)


def _figures(figures: Mapping[str, Figure]) -> str:
    return ", ".join(
        f"{name.removesuffix(RATE)} {show(value) if name.endswith(RATE) and isinstance(value, (int, float)) else value}"
        for name, value in figures.items()
        if value not in (None, "")
    )


def choice_json(choice: Choice) -> dict[str, Any]:
    """Everything that is known of a choice."""
    decision = choice.decision
    return {
        "network": choice.network,
        "ifname": choice.ifname,
        "state": choice.state,
        "strategy": decision.strategy if decision else None,
        "asked": dict(decision.asked) if decision else {},
        "warning": decision.warning if decision else "",
        "nics": [
            {
                "nic": line.ifname,
                "taken": bool(line.link),
                "link": line.link or None,
                "reason": line.reason,
                "promisedBitPerSecond": line.promised,
                "figures": dict(line.figures),
            }
            for line in choice.lines
        ],
    }


def link_lines(answer: Answer) -> Iterator[str]:
    """The links that a pod would get, or why it would get none."""
    if answer.refusal:
        yield f"{answer.ifname} on network {answer.network}: refused: {answer.refusal}"
    for link in answer.document.get("links", ()):
        addresses = ", ".join(link["addresses"]) or "addresses not known before its IPAM runs"
        yield f"{link['ifname']} on {link['nic']}: {addresses}"


def answer_json(answer: Answer) -> dict[str, Any]:
    """Everything that is known of a planned attachment."""
    choice = answer.choice
    return {
        "network": answer.network,
        "ifname": answer.ifname,
        "refusal": answer.refusal or None,
        **({} if choice is None else choice_json(choice)),
        "links": answer.document.get("links", []),
        "steps": answer.document.get("steps"),
    }
