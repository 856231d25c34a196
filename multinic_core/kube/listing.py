"""A complete list, page by page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from multinic_core.errors import ApiError
from multinic_core.kube.calls import Request
from multinic_core.kube.feed import Page, read_page
from multinic_core.kube.objects import Seen
from multinic_core.kube.paths import View
from multinic_core.model.base import KubeObject

M = TypeVar("M", bound=KubeObject)

PAGE = 500
"""Objects per page."""

Send = Callable[[Request, Callable[[bytes], Page[Any]]], Awaitable[Page[Any]]]
"""``Caller.once`` or ``Caller.call``."""


async def list_all(view: View, send: Send) -> tuple[list[Seen[Any]], str]:
    """All objects of a view and the resourceVersion at which they were so.

    A continue token that has grown too old (410) makes the list start again in one piece, which cannot expire.

    Raises:
        ApiError: a page was refused or did not come.
    """
    subject = f"list {view}"
    decode = partial(read_page, view.resource, subject)

    async def page(query: dict[str, str]) -> Page[Any]:
        return await send(Request("GET", view.path, subject, query={**view.query, **query}), decode)

    items: list[Seen[Any]] = []
    answer = await page({"limit": str(PAGE)})
    while answer.next:
        items += answer.items
        try:
            answer = await page({"limit": str(PAGE), "continue": answer.next})
        except ApiError as error:
            if error.status != 410:
                raise
            items, answer = [], await page({})
    return items + answer.items, answer.version
