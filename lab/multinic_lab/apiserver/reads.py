"""Lists and watches over HTTP: query parameters in, pages and streams out."""

import re
from collections import Counter

from . import errors, listing, negotiation, selectors, table
from .errors import ApiError, Json
from .http import Request, Response, Send, Stream
from .store import Store, encode
from .target import Target
from .watch import DEFAULT_TIMEOUT_SECONDS, Watcher, Wish


class Reads:
    """Everything that reads many objects, and the watches now open."""

    def __init__(self, store: Store, bookmark_seconds: float) -> None:
        self._store = store
        self._bookmark_seconds = bookmark_seconds
        self._watchers: set[Watcher] = set()
        self.sent: Counter[tuple[str, str]] = Counter()
        """User agent up to the first ``/`` and plural, to the bytes that its watches of that kind were sent."""

    def drop_watches(self, path: str, orderly: bool) -> int:
        found = [w for w in self._watchers if re.search(path, w.path)]
        for watcher in found:
            watcher.drop(orderly=orderly)
        return len(found)

    def predicate(self, request: Request, target: Target) -> selectors.Predicate | None:
        labels = selectors.parse_labels(request.query.get("labelSelector", ""))
        fields = selectors.parse_fields(
            request.query.get("fieldSelector", ""),
            target.resource.group,
            target.resource.plural,
            target.version.selectable,
        )
        found = selectors.both(labels, fields)
        if target.name:
            name = target.name
            found = selectors.both(found, lambda obj: obj["metadata"]["name"] == name)
        return found

    def list(self, request: Request, target: Target) -> Response:
        query = request.query
        revision, after = self._store.revision, None
        if token := query.get("continue"):
            revision, after = listing.parse_token(token)
        elif (wanted := query.get("resourceVersion")) and wanted != "0":
            revision = self._asked_revision(wanted, exact=query.get("resourceVersionMatch") == "Exact")
        collection = self._store.collection(*target.resource.collection)
        page = listing.page(
            collection,
            target.namespace or None,
            self.predicate(request, target),
            revision,
            after=after,
            limit=number(query.get("limit", "")),
        )
        meta: Json = {"resourceVersion": str(page.revision)}
        if page.token:
            meta["continue"] = page.token
        if page.remaining:
            meta["remainingItemCount"] = page.remaining
        form = negotiation.form(request)
        if form == "Table":
            objects = [r.view(target.api_version) for r in page.records]
            include = query.get("includeObject", "Metadata")
            return Response(200, encode(table.table(target, objects, include, meta)))
        if form == "PartialObjectMetadata":
            items = [table.partial(r.obj) for r in page.records]
            head = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
            return Response(200, encode({**head, "items": items}))
        head = {"kind": target.resource.list_kind, "apiVersion": target.api_version, "metadata": meta}
        joined = b",".join(r.json(target.api_version) for r in page.records)
        return Response(200, encode(head)[:-1] + b',"items":[' + joined + b"]}")

    def _asked_revision(self, text: str, *, exact: bool) -> int:
        if not text.isdigit():
            raise errors.bad_request(f"resourceVersion: Invalid value: {text!r}: must be a number")
        if int(text) > self._store.revision:
            message = f"Too large resource version: {text}, current: {self._store.revision}"
            cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
            raise ApiError(504, "Timeout", message, details={"causes": [cause], "retryAfterSeconds": 1})
        return int(text) if exact else self._store.revision

    def watch(self, request: Request, target: Target) -> Stream:
        query = request.query
        wanted = query.get("resourceVersion", "")
        initial = request.flag("sendInitialEvents")
        fresh = initial or wanted in ("", "0")
        revision = None if fresh else self._asked_revision(wanted, exact=True)
        timeout = query.get("timeoutSeconds", "")
        bookmarks = request.flag("allowWatchBookmarks")
        wish = Wish(
            target,
            target.namespace or None,
            self.predicate(request, target),
            negotiation.form(request),
            query.get("includeObject", "Metadata"),
            revision,
            bookmarks,
            initial and bookmarks,
            float(number(timeout)) or DEFAULT_TIMEOUT_SECONDS,
        )
        collection = self._store.collection(*target.resource.collection)
        watcher = Watcher(self._store, collection, wish, self._bookmark_seconds)
        watcher.prepare()

        receiver = request.headers.get("user-agent", "").partition("/")[0], target.resource.plural

        async def produce(send: Send) -> None:
            async def counted(data: bytes) -> None:
                self.sent[receiver] += len(data)
                await send(data)

            self._watchers.add(watcher)
            try:
                await watcher.run(counted)
            finally:
                self._watchers.discard(watcher)

        return Stream(produce)


def number(text: str) -> int:
    if text and not text.isdigit():
        raise errors.bad_request(f"expected a number, found {text!r}")
    return int(text or 0)
