"""The API over HTTP: paths and methods to verbs, objects to answers.

Every answer of the server is made here; ``handle`` is the handler that ``http`` calls. An ``ApiError`` becomes a
Status, anything else unexpected a 500 that is logged once.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import trio

from . import discovery, documents, errors, listing, negotiation, subresources, table
from .admission import Admission
from .admission.matching import Write
from .controllers import Controllers
from .errors import ApiError, Json
from .faults import Faults
from .http import Answer, Request, Response
from .reads import Reads
from .requestlog import RequestListener
from .rest import Rest
from .scheme import Scheme
from .store import Record, Store, encode
from .target import Options, Target

log = logging.getLogger(__name__)

LogProvider = Callable[[Json, Mapping[str, str]], Awaitable[bytes | None]]
"""Given a pod and the query (``container``, ``tailLines`` …), its log; None when there is none."""
_RETURN_DELETED = frozenset({("", "pods"), ("", "services"), ("", "serviceaccounts")})
"""Kinds whose deletion answers with the object itself; the others answer with a Status."""
_ADMISSION_ATTEMPTS = 5
"""How often webhooks are asked again because the object changed while they were asked."""
_HEALTH = frozenset({"/healthz", "/readyz", "/livez"})


class Api:
    """One API server, without its sockets."""

    def __init__(self, store: Store, faults: Faults, *, bookmark_seconds: float = 30.0) -> None:
        self.store = store
        self.scheme = Scheme()
        self.faults = faults
        self.rest = Rest(store, self.scheme)
        self.admission = Admission(store)
        self.controllers = Controllers(self.rest)
        self.logs: LogProvider | None = None
        """Set by the embedding program to answer ``kubectl logs``."""
        self.requests: RequestListener | None = None
        """Set by the embedding program to hear of requests."""
        self.reads = Reads(store, bookmark_seconds)
        faults.on_drop(self.reads.drop_watches)
        self._furnish()

    def _furnish(self) -> None:
        """What every cluster has from the start; a store that has it already is left alone."""
        for resource in list(self.scheme.resources.values()):
            self.store.collection(*resource.collection)
        for name in ("default", "kube-system", "kube-public", "kube-node-lease"):
            self.ensure({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        ports = [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}]
        labels = {"component": "apiserver", "provider": "kubernetes"}
        service: Json = {
            "apiVersion": "v1",
            "kind": "Service",
            "spec": {"clusterIP": "10.96.0.1", "ports": ports},
        }
        service["metadata"] = {"name": "kubernetes", "namespace": "default", "labels": labels}
        self.ensure(service)
        self.controllers.serve_definitions()

    def ensure(self, obj: Json) -> Record:
        """Create an object in this very process unless one of its name exists."""
        group, _, version = obj["apiVersion"].rpartition("/")
        resource = self.scheme.by_kind(group, obj["kind"])
        served = resource.version(version) if resource else None
        if resource is None or served is None:
            raise errors.no_such_path()
        meta = obj["metadata"]
        target = Target(resource, served, meta.get("namespace", ""), meta["name"])
        return self.store.get(target.place) or self.rest.create(target, obj, Options("apiserver"))

    # One request

    async def handle(self, request: Request) -> Answer:
        """The answer to one request; never raises for what a client sent."""
        if self.requests is not None:
            self.requests.note(request, trio.current_time())
        fault = self.faults.take(request)
        try:
            if fault is not None:
                if fault.after:
                    await self._route(request)
                made = fault.make(request)
                return _refused(made) if isinstance(made, ApiError) else made
            return await self._route(request)
        except ApiError as error:
            return _refused(error)
        except Exception as error:
            log.exception("request.failed", extra={"method": request.method, "path": request.path})
            return _refused(ApiError(500, "InternalError", f"Internal error occurred: {error!r}"))

    async def _route(self, request: Request) -> Answer:
        parts = [p for p in request.path.split("/") if p]
        match parts:
            case [] | ["api" | "apis", *_] | ["openapi", *_] | ["version"]:
                pass
            case _ if request.path.rstrip("/") in _HEALTH or parts[0] in ("healthz", "readyz", "livez"):
                return Response(200, b"ok", "text/plain")
            case _:
                raise errors.no_such_path()
        match parts:
            case ["api", version, *rest] if rest:
                return await self._resource(request, "", version, rest)
            case ["apis", group, version, *rest] if rest:
                return await self._resource(request, group, version, rest)
        if request.method not in ("GET", "HEAD"):
            raise errors.method_not_allowed("the server does not allow this method on the requested resource")
        if (found := documents.document(self.scheme, request, parts)) is None:
            raise errors.no_such_path()
        return found

    # Resources

    async def _resource(self, request: Request, group: str, version: str, rest: list[str]) -> Answer:
        review = next((k for g, k, p in discovery.REVIEWS if [p] == rest and (g, "v1") == (group, version)), None)
        if review is not None and request.method == "POST":
            return Response(201, encode(subresources.review(review, negotiation.object_body(request))))
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
            namespace, rest = rest[1], rest[2:]
        found = self.scheme.find(group, version, rest[0])
        if found is None or len(rest) > 3:
            raise errors.no_such_path()
        resource, served = found
        if namespace and not resource.namespaced:
            raise errors.no_such_path()
        name, subresource = (*rest[1:], "", "")[:2]
        if name and resource.namespaced and not namespace:
            raise errors.no_such_path()
        target = Target(resource, served, namespace, name, subresource)
        answer = await (self._named(request, target) if name else self._collection(request, target))
        if served.deprecated and isinstance(answer, Response):
            answer = _warned(answer, [served.deprecated])
        return answer

    async def _collection(self, request: Request, target: Target) -> Answer:
        match request.method:
            case "GET" | "HEAD" if request.flag("watch"):
                return self.reads.watch(request, target)
            case "GET" | "HEAD":
                return self.reads.list(request, target)
            case "POST":
                if target.resource.namespaced and not target.namespace:
                    raise errors.method_not_allowed("a namespace is needed to create an object of this kind")
                options = self._options(request)
                record, _ = await self._admitted(
                    target,
                    "CREATE",
                    options,
                    lambda how: (self.rest.create(target, negotiation.object_body(request), how), True),
                )
                return self._object(request, target, record, options, status=201)
            case "DELETE":
                return self._delete_collection(request, target)
        raise errors.method_not_allowed("the server does not allow this method on the requested resource")

    async def _named(self, request: Request, target: Target) -> Answer:
        sub = target.subresource
        if sub == "scale" and target.version.scale:
            return self._scale(request, target)
        if sub in target.resource.subresources and sub != "finalize":
            return await self._pod_subresource(request, target)
        if sub and not (sub == "status" and target.version.status) and sub not in target.resource.subresources:
            raise errors.no_such_path()
        options = self._options(request)
        match request.method:
            case "GET" | "HEAD" if request.flag("watch"):
                return self.reads.watch(request, target)
            case "GET" | "HEAD":
                return self._object(request, target, self.rest.get(target), options)
            case "PUT":
                record, created = await self._admitted(
                    target,
                    "UPDATE",
                    options,
                    lambda how: self.rest.update(target, negotiation.object_body(request), how),
                )
                return self._object(request, target, record, options, status=201 if created else 200)
            case "PATCH":
                kind = negotiation.content_type(request)
                record, created = await self._admitted(
                    target,
                    "UPDATE",
                    options,
                    lambda how: self.rest.patch(target, kind, negotiation.body(request), how),
                )
                return self._object(request, target, record, options, status=201 if created else 200)
            case "DELETE" if not sub:
                wish = self._delete_wish(request, options)
                record, gone = await self._admitted(
                    target, "DELETE", options, lambda how: self.rest.delete(target, wish, how)
                )
                if gone and target.place[:2] not in _RETURN_DELETED:
                    return Response(200, encode(self._deleted(target, record)))
                return self._object(request, target, record, options)
        raise errors.method_not_allowed("the server does not allow this method on the requested resource")

    async def _admitted(
        self, target: Target, operation: str, options: Options, write: Callable[[Options], tuple[Record, bool]]
    ) -> tuple[Record, bool]:
        """Carry out a write that no webhook refuses.

        Webhooks are asked about the outcome of a dry run. When the object has changed meanwhile they are asked again,
        so that what is stored is what they were asked about.
        """
        for _ in range(_ADMISSION_ATTEMPTS):
            old = self.store.get(target.place) if target.name else None
            doing = "CREATE" if operation == "UPDATE" and old is None else operation
            if not self.admission.concerns(target, doing):
                return write(options)
            trial, _ = write(replace(options, dry_run=True, warnings=[]))
            question = Write(
                target,
                doing,
                None if doing == "DELETE" else trial.view(target.api_version),
                old.view(target.api_version) if old is not None else None,
                options.dry_run,
            )
            warnings = await self.admission.ask(question)
            now = self.store.get(target.place) if target.name else None
            if (now.revision if now else 0) != (old.revision if old else 0):
                continue
            done = write(options)
            options.warnings += warnings
            return done
        raise errors.conflict(target.resource.plural, target.resource.group, target.name)

    def _deleted(self, target: Target, record: Record) -> Json:
        details: Json = {
            "name": target.name,
            "kind": target.resource.plural,
            "uid": record.obj["metadata"]["uid"],
        }
        if target.resource.group:
            details["group"] = target.resource.group
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}

    def _options(self, request: Request) -> Options:
        query = request.query
        dry = query.get("dryRun", "")
        if dry not in ("", "All"):
            error = errors.FieldError("dryRun", "Unsupported value", dry, 'supported values: "All"')
            raise errors.invalid("CreateOptions", "meta.k8s.io", "", [error])
        agent = request.headers.get("user-agent", "").partition("/")[0] or "unknown"
        validation = query.get("fieldValidation") or "Warn"
        if validation not in ("Ignore", "Warn", "Strict"):
            raise errors.bad_request(f"fieldValidation: {validation!r} is not one of Ignore, Strict, Warn")
        if "apply-patch" in negotiation.content_type(request) and not query.get("fieldManager"):
            raise errors.bad_request(
                'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
            )
        return Options(query.get("fieldManager") or agent, dry == "All", validation, request.flag("force"))

    def _delete_wish(self, request: Request, options: Options) -> Json:
        """DeleteOptions from body and query; a dry run asked for in the body goes to ``options``."""
        wish = negotiation.object_body(request)
        for name in ("gracePeriodSeconds", "propagationPolicy", "orphanDependents"):
            if name in request.query and name not in wish:
                text = request.query[name]
                wish[name] = (
                    int(text) if text.lstrip("-").isdigit() else text == "true" if text in ("true", "false") else text
                )
        options.dry_run = options.dry_run or wish.get("dryRun") == ["All"]
        return wish

    def _object(
        self, request: Request, target: Target, record: Record, options: Options, *, status: int = 200
    ) -> Response:
        form = negotiation.form(request)
        if form == "object":
            answer = Response(status, record.json(target.api_version))
        else:
            obj = record.view(target.api_version)
            meta = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
            include = request.query.get("includeObject", "Metadata")
            made = table.partial(obj) if form != "Table" else table.table(target, [obj], include, meta)
            answer = Response(status, encode(made))
        return _warned(answer, options.warnings)

    def _delete_collection(self, request: Request, target: Target) -> Response:
        options = self._options(request)
        wish = self._delete_wish(request, options)
        collection = self.store.collection(*target.resource.collection)
        predicate = self.reads.predicate(request, target)
        page = listing.page(collection, target.namespace or None, predicate, self.store.revision)
        for record in page.records:
            meta = record.obj["metadata"]
            one = Target(target.resource, target.version, meta.get("namespace", ""), meta["name"])
            if self.store.get(one.place) is not None:
                self.rest.delete(one, {k: v for k, v in wish.items() if k != "preconditions"}, options)
        head: Json = {"kind": target.resource.list_kind, "apiVersion": target.api_version}
        head["metadata"] = {"resourceVersion": str(self.store.revision)}
        return Response(200, encode({**head, "items": [r.view(target.api_version) for r in page.records]}))

    def _scale(self, request: Request, target: Target) -> Response:
        main = Target(target.resource, target.version, target.namespace, target.name)
        now = subresources.scale_of(main, self.rest.get(main))
        options = self._options(request)
        match request.method:
            case "GET" | "HEAD":
                return Response(200, encode(now))
            case "PUT":
                wanted: Any = negotiation.object_body(request)
            case "PATCH":
                kind = negotiation.content_type(request)
                kind = "application/merge-patch+json" if "strategic" in kind else kind
                wanted = self.rest.patched(now, kind, negotiation.body(request), target)
            case _:
                raise errors.method_not_allowed("scale can be read, updated and patched")
        return _warned(
            Response(200, encode(subresources.rescale(self.rest, target, wanted, options))), options.warnings
        )

    async def _pod_subresource(self, request: Request, target: Target) -> Response:
        match request.method, target.subresource:
            case "POST", "binding":
                body = negotiation.object_body(request)
                return Response(201, encode(subresources.bind(self.rest, target, body, self._options(request))))
            case "POST", "eviction":
                body = negotiation.object_body(request)
                return Response(201, encode(subresources.evict(self.rest, target, body, self._options(request))))
            case "GET", "log":
                pod = self.rest.get(target).obj
                text = await self.logs(pod, request.query) if self.logs is not None else None
                if text is None:
                    words = f"no log is kept for pod {target.name!r} in namespace {target.namespace!r}"
                    raise ApiError(404, "NotFound", words)
                return Response(200, text, "text/plain")
        raise errors.method_not_allowed("the server does not allow this method on the requested resource")


def _refused(error: ApiError) -> Response:
    return Response(error.code, encode(error.status()), headers=error.headers)


def _warned(answer: Response, warnings: list[str]) -> Response:
    """The answer with one Warning header per warning."""
    if not warnings:
        return answer
    quoted = (w.replace("\\", "\\\\").replace('"', '\\"') for w in dict.fromkeys(warnings))
    headers = [*answer.headers, *(("Warning", f'299 - "{w}"') for w in quoted)]
    return Response(answer.status, answer.body, answer.content_type, headers)
