"""What the control plane does by itself: owner-reference collection, emptying namespaces, serving definitions.

Store changes only name keys; each key is then looked at afresh (``settle``), so the order and number of changes do not
matter. Everything runs inside the write that caused it: when a request is answered, its consequences are in the store.
Source: Kubernetes documentation, "Garbage Collection", "Owners and Dependents".
"""

from collections import deque
from itertools import islice

from . import crds
from .errors import ApiError, Json
from .rest import FOREGROUND, ORPHAN, Rest
from .scheme import Resource
from .store import Change, Place
from .target import Options, Target

_CRD = ("apiextensions.k8s.io", "customresourcedefinitions")
Task = tuple[str, Place]


class Controllers:
    """All controllers over one ``Rest``."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self._store = rest.store
        self._scheme = rest.scheme
        self._queue: deque[Task] = deque()
        self._queued: set[Task] = set()
        self._running = False
        rest.store.observers.append(self._observe)
        rest.settle = self.settle

    def close(self) -> None:
        """Look at the store no more, so that another server may take it over."""
        self._store.observers.remove(self._observe)

    def settle(self) -> None:
        """Work until nothing is left; calls from within are no-ops, the outermost one does it all."""
        if self._running:
            return
        self._running = True
        try:
            while self._queue:
                task = self._queue.popleft()
                self._queued.discard(task)
                kind, place = task
                getattr(self, f"_{kind}")(place)
        finally:
            self._running = False

    def _add(self, kind: str, place: Place) -> None:
        task = (kind, place)
        if task not in self._queued:
            self._queued.add(task)
            self._queue.append(task)

    def _observe(self, place: Place, change: Change) -> None:
        meta = change.record.obj["metadata"]
        if place[:2] == _CRD:
            self._add("definition", place)
        elif place[:2] == ("", "namespaces"):
            self._add("namespace", place)
        owners = meta.get("ownerReferences") or ()
        if change.type == "DELETED":
            if uid := meta["uid"]:
                for dependent in self._store.dependents.get(uid, ()):
                    self._add("dependent", dependent)
            for owner in owners:
                if (found := self._store.by_uid.get(owner.get("uid", ""))) is not None:
                    self._add("owner", found)
            if place[2]:
                self._add("namespace", ("", "namespaces", "", place[2]))
            resource = self._scheme.resources.get(place[:2])
            if resource is not None and resource.crd:
                self._add("definition", (*_CRD, "", resource.crd))
            return
        if owners and (change.previous is None or change.previous.obj["metadata"].get("ownerReferences") != owners):
            self._add("dependent", place)
        if "deletionTimestamp" in meta and {FOREGROUND, ORPHAN} & set(meta.get("finalizers") or ()):
            self._add("owner", place)

    # Garbage collection

    def _exists(self, owner: Json, namespace: str) -> bool:
        found = self._store.by_uid.get(owner.get("uid", ""))
        if found is None or found[3] != owner.get("name") or found[2] not in ("", namespace):
            return False
        record = self._store.get(found)
        return record is not None and record.obj["kind"] == owner.get("kind")

    def _dependent(self, place: Place) -> None:
        """Delete an object none of whose owners exist; drop single references that lead nowhere."""
        record = self._store.get(place)
        if record is None:
            return
        owners = record.obj["metadata"].get("ownerReferences") or []
        solid = [o for o in owners if self._exists(o, place[2])]
        if not owners or len(solid) == len(owners):
            return
        if solid:
            self._rest.edit(place, lambda obj: obj["metadata"].update(ownerReferences=solid))
        else:
            self._delete(place, "Background")

    def _owner(self, place: Place) -> None:
        """Go on with the deletion of an owner that waits for its dependents."""
        record = self._store.get(place)
        if record is None or "deletionTimestamp" not in record.obj["metadata"]:
            return
        uid = record.obj["metadata"]["uid"]
        finalizers = record.obj["metadata"].get("finalizers") or []
        dependents = sorted(self._store.dependents.get(uid, ()))
        if ORPHAN in finalizers:
            for dependent in dependents:
                self._rest.edit(dependent, lambda obj: _drop_owner(obj, uid))
            self._rest.edit(place, lambda obj: _drop_finalizer(obj, ORPHAN))
        elif FOREGROUND in finalizers:
            for dependent in dependents:
                found = self._store.get(dependent)
                if found is not None and "deletionTimestamp" not in found.obj["metadata"]:
                    owners = found.obj["metadata"].get("ownerReferences") or []
                    if any(o.get("uid") != uid and self._exists(o, dependent[2]) for o in owners):
                        self._rest.edit(dependent, lambda obj: _drop_owner(obj, uid))
                    else:
                        self._delete(dependent, "Foreground")
            if not any(self._blocks(d, uid) for d in self._store.dependents.get(uid, ())):
                self._rest.edit(place, lambda obj: _drop_finalizer(obj, FOREGROUND))

    def _blocks(self, dependent: Place, uid: str) -> bool:
        record = self._store.get(dependent)
        owners = record.obj["metadata"].get("ownerReferences") or () if record else ()
        return any(o.get("uid") == uid and o.get("blockOwnerDeletion") for o in owners)

    def _delete(self, place: Place, policy: str) -> None:
        resource = self._scheme.resources.get(place[:2])
        if resource is None or not resource.versions:
            return
        try:
            self._rest.delete(
                Target(resource, resource.versions[0], place[2], place[3]),
                {"propagationPolicy": policy},
                Options(),
            )
        except ApiError as error:
            if error.code != 404:
                raise

    # Namespaces

    def _namespace(self, place: Place) -> None:
        """Empty a namespace that is going away, and let it go once it is empty."""
        record = self._store.get(place)
        if record is None or "deletionTimestamp" not in record.obj["metadata"]:
            return
        left = False
        for (group, plural), collection in list(self._store.collections.items()):
            resource = self._scheme.resources.get((group, plural))
            if resource is None or not resource.namespaced:
                continue
            for key in list(collection.keys(place[3])):
                if "deletionTimestamp" not in collection.records[key].obj["metadata"]:
                    self._delete((group, plural, *key), "Background")
            left = left or next(iter(islice(collection.keys(place[3]), 1)), None) is not None
        if not left:
            self._rest.edit(place, lambda obj: obj.update(spec={"finalizers": []}))

    # Definitions

    def _definition(self, place: Place) -> None:
        """Serve the kind of a definition, or stop serving it once its objects are gone."""
        name = place[3]
        served = next((r for r in self._scheme.resources.values() if r.crd == name), None)
        record = self._store.get(place)
        if record is None:
            if served is not None:
                self._scheme.drop(served.group, served.plural)
                self._store.drop_collection(served.group, served.plural)
            return
        crd = record.obj
        wanted = crds.resource_of(crd)
        if (why := self._clash(wanted)) is not None:
            self._rest.edit(place, lambda obj: obj.update(status=crds.refused_status(crd, why)))
            if "deletionTimestamp" in crd["metadata"]:
                self._rest.edit(place, lambda obj: _drop_finalizer(obj, crds.CLEANUP))
            return
        if served != wanted:
            self._scheme.add(wanted)
        self._rest.edit(place, lambda obj: obj.update(status=crds.established_status(crd)))
        if "deletionTimestamp" in crd["metadata"]:
            collection = self._store.collection(wanted.group, wanted.plural)
            for key in list(collection.keys()):
                if "deletionTimestamp" not in collection.records[key].obj["metadata"]:
                    self._delete((wanted.group, wanted.plural, *key), "Background")
            if not collection.records:
                self._rest.edit(place, lambda obj: _drop_finalizer(obj, crds.CLEANUP))

    def serve_definitions(self) -> None:
        """Serve the kinds of all definitions that a store brought with it."""
        for key in list(self._store.collection(*_CRD).keys()):
            self._add("definition", (*_CRD, *key))
        self.settle()

    def _clash(self, wanted: Resource) -> str | None:
        for other in self._scheme.resources.values():
            if other.group == wanted.group and other.crd != wanted.crd:
                if other.plural == wanted.plural:
                    return f'"{wanted.plural}" is already in use'
                if other.kind == wanted.kind:
                    return f'"{wanted.kind}" is already in use'
        return None


def _drop_finalizer(obj: Json, name: str) -> None:
    obj["metadata"]["finalizers"] = [f for f in obj["metadata"].get("finalizers") or () if f != name]


def _drop_owner(obj: Json, uid: str) -> None:
    owners = [o for o in obj["metadata"].get("ownerReferences") or () if o.get("uid") != uid]
    if owners:
        obj["metadata"]["ownerReferences"] = owners
    else:
        obj["metadata"].pop("ownerReferences", None)
