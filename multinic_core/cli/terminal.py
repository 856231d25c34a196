"""The one module that knows about colour and table style."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

PIPE_WIDTH = 160
"""Columns where nobody says how wide the reader is: a file, a pipe, a log."""


def console(*, stderr: bool = False) -> Console:
    """Where people read: colour only on a terminal, ``NO_COLOR`` and ``COLUMNS`` honoured."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return Console(stderr=stderr, highlight=False, soft_wrap=True, width=width)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A plain table for people."""
    answer = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, title_style="bold")
    for column in columns:
        answer.add_column(column, overflow="fold")
    for row in rows:
        answer.add_row(*row)
    return answer


def print_json(value: Any) -> None:
    """One complete JSON document for programs, on stdout."""
    json.dump(value, sys.stdout, indent=2)
    sys.stdout.write("\n")
