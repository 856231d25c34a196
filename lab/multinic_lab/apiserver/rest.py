"""The verbs: what create, update, patch and delete mean for any kind, with no HTTP in sight.

A write runs through the same steps for every kind: shape (prune, default, check), system metadata, subresource split,
generation, field ownership, then one change in the store. Nothing awaits, so each verb is one atomic step. After each
write the controllers (garbage collection, namespaces, definitions) are let run until nothing is left to do.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from . import apply, errors, metadata, patch, pruning, shaping
from .conversion import convert
from .crds import CLEANUP
from .errors import FieldError, Json
from .scheme import Scheme
from .store import Place, Record, Store, clone
from .target import Options, Target

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
_ALLOW_CREATE_ON_UPDATE = frozenset({("", "events"), ("coordination.k8s.io", "leases"), ("", "services")})


class Rest:
    """The verbs over one store and scheme."""

    def __init__(self, store: Store, scheme: Scheme) -> None:
        self.store = store
        self.scheme = scheme
        self.settle: Callable[[], None] = lambda: None
        """Runs the controllers; set by whoever makes them."""

    # Reading

    def get(self, target: Target) -> Record:
        """Raises: ApiError 404."""
        if (record := self.store.get(target.place)) is None:
            raise target.not_found()
        return record

    # Create

    def create(self, target: Target, obj: Json, options: Options, *, applied_by: apply.Manager | None = None) -> Record:
        """Store a new object; ``obj`` is taken over.

        Args:
            applied_by: the manager, fields included, when the object comes from server-side apply.

        Raises:
            ApiError: 400 body does not fit the path, 403 namespace is going away, 404 no such namespace, 409 name is
                taken, 422 fields are not as they must be.
        """
        resource = target.resource
        meta = shaping.envelope(target, obj, creating=True)
        name, prefix = meta.get("name"), meta.get("generateName")
        generated = not name and bool(prefix)
        if meta.get("resourceVersion"):
            raise errors.bad_request("resourceVersion should not be set on objects to be created")
        if resource.namespaced:
            self._check_namespace(target, str(name or prefix or ""))
        if generated:
            while True:
                meta["name"] = metadata.generated_name(str(prefix))
                if self.store.get((*target.place[:3], meta["name"])) is None:
                    break
        place = (*target.place[:3], str(meta.get("name") or ""))
        if self.store.get(place) is not None:
            raise errors.already_exists(resource.plural, resource.group, place[3])
        meta.pop("managedFields", None)
        metadata.stamp(meta)
        shaping.shape(target, obj, options, born=True)
        if target.has_generation:
            meta["generation"] = 1
        if resource.plural == "customresourcedefinitions":
            meta["finalizers"] = [*(f for f in meta.get("finalizers") or () if f != CLEANUP), CLEANUP]
        metadata.carry_over(meta, meta)
        shaping.check(target, None, obj, self.store.revision)
        if applied_by is None:
            apply.record_update(None, obj, target.schema, self._who(target, options, "Update"))
        else:
            apply.write_managers(meta, [applied_by])
        obj = convert(obj, resource.storage_api_version)
        if options.dry_run:
            return Record(obj, self.store.revision)
        record = self.store.put(*resource.collection, obj)
        self.settle()
        return record

    def _check_namespace(self, target: Target, name: str) -> None:
        namespace = self.store.get(("", "namespaces", "", target.namespace))
        if namespace is None:
            raise errors.not_found("namespaces", "", target.namespace)
        if "deletionTimestamp" in namespace.obj["metadata"]:
            words = f"namespace {target.namespace} is being terminated"
            why = f"unable to create new content in namespace {target.namespace} because it is being terminated"
            cause = {"reason": "NamespaceTerminating", "message": words, "field": "metadata.namespace"}
            raise errors.forbidden(target.resource.plural, target.resource.group, name, why, [cause])

    def _who(self, target: Target, options: Options, operation: str) -> apply.Manager:
        return apply.Manager(options.manager, operation, target.api_version, target.subresource, metadata.now())

    # Update

    def update(self, target: Target, obj: Json, options: Options) -> tuple[Record, bool]:
        """Replace an object; ``obj`` is taken over. Returns the stored record and whether it was created."""
        record = self.store.get(target.place)
        if record is None:
            if target.subresource or target.place[:2] not in _ALLOW_CREATE_ON_UPDATE:
                raise target.not_found()
            shaping.envelope(target, obj)["name"] = target.name
            return self.create(target, obj, options), True
        if isinstance(sent := obj.get("metadata"), dict):
            self._preconditions(target, record, {"uid": sent.get("uid")})
        return self._write(target, record, obj, options), False

    def _write(self, target: Target, record: Record, obj: Json, options: Options, *, applied: bool = False) -> Record:
        resource = target.resource
        old = record.view(target.api_version)
        meta = shaping.envelope(target, obj)
        self._preconditions(target, record, {"resourceVersion": meta.get("resourceVersion")})
        if meta.get("uid") and meta["uid"] != old["metadata"]["uid"]:
            error = FieldError("metadata.uid", "Invalid value", meta["uid"], "field is immutable")
            raise errors.invalid(resource.kind, resource.group, target.name, [error])
        given = meta.get("managedFields")
        metadata.carry_over(old["metadata"], meta)
        obj = shaping.split(target, old, obj)
        meta = obj["metadata"]
        shaping.shape(target, obj, options)
        shaping.check(target, old, obj, self.store.revision)
        if target.has_generation:
            changed = shaping.desired(target, old) != shaping.desired(target, obj)
            meta["generation"] = old["metadata"].get("generation", 1) + changed
        if not applied:
            base = self._base_managers(old, given)
            apply.record_update(old, obj, target.schema, self._who(target, options, "Update"), base)
        if obj == old:
            return record
        obj = convert(obj, resource.storage_api_version)
        return self._commit(target.place, obj, options.dry_run)

    def _preconditions(self, target: Target, record: Record, meta: Mapping[str, Any]) -> None:
        group, plural, _, name = target.place
        uid = record.obj["metadata"]["uid"]
        if meta.get("uid") and meta["uid"] != uid:
            why = f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {uid}"
            raise errors.conflict(plural, group, name, why)
        wanted = meta.get("resourceVersion")
        if wanted and wanted != str(record.revision):
            raise errors.conflict(plural, group, name)

    @staticmethod
    def _base_managers(old: Json, given: Any) -> list[apply.Manager]:
        if given is None or given == old["metadata"].get("managedFields"):
            return apply.read_managers(old["metadata"])
        return apply.read_managers({"managedFields": given})

    def _commit(self, place: Place, obj: Json, dry_run: bool = False) -> Record:
        """Put a changed object, or take it out when nothing holds it any longer."""
        if dry_run:
            return Record(obj, self.store.revision)
        meta = obj["metadata"]
        waits = meta.get("finalizers") or meta.get("deletionGracePeriodSeconds")
        if place[:2] == ("", "namespaces"):
            waits = waits or (obj.get("spec") or {}).get("finalizers")
        record = self.store.put(place[0], place[1], obj)
        if "deletionTimestamp" in meta and not waits:
            record = self.store.remove(place)
        self.settle()
        return record

    def edit(self, place: Place, change: Callable[[Json], None]) -> Record | None:
        """A change by the server itself, past all checks; None when the object is gone."""
        record = self.store.get(place)
        if record is None:
            return None
        obj = clone(record.obj)
        change(obj)
        return record if obj == record.obj else self._commit(place, obj)

    # Patch

    def patch(self, target: Target, content_type: str, body: Any, options: Options) -> tuple[Record, bool]:
        """Apply a patch of any format. Returns the stored record and whether it was created.

        Raises:
            ApiError: as update and create do; 409 also when an applied field belongs to another manager; 415 unknown
                format.
        """
        record = self.store.get(target.place)
        if content_type in (patch.APPLY_PATCH, patch.APPLY_CBOR):
            return self._apply(target, record, body, options)
        if record is None:
            raise target.not_found()
        obj = self.patched(clone(record.view(target.api_version)), content_type, body, target)
        return self._write(target, record, obj, options), False

    def patched(self, document: Json, content_type: str, body: Any, target: Target) -> Json:
        """A document after a JSON, merge or strategic merge patch."""
        if content_type == patch.JSON_PATCH:
            return patch.json_patch(document, body)
        if not isinstance(body, dict):
            raise errors.bad_request(f"a patch of type {content_type} must be an object")
        if content_type == patch.MERGE_PATCH:
            return clone(patch.merge_patch(document, body))  # type: ignore[no-any-return]
        accepted = [patch.JSON_PATCH, patch.MERGE_PATCH, patch.APPLY_PATCH]
        if content_type == patch.STRATEGIC_PATCH and target.builtin:
            return clone(patch.strategic_patch(document, body, target.schema))  # type: ignore[no-any-return]
        raise errors.unsupported_media_type(content_type, accepted)

    def _apply(self, target: Target, record: Record | None, body: Any, options: Options) -> tuple[Record, bool]:
        if not isinstance(body, dict):
            raise errors.bad_request("an applied configuration must be an object")
        if shaping.envelope(target, body).get("managedFields"):
            raise errors.bad_request("metadata.managedFields must be nil")
        who = self._who(target, options, "Apply")
        if target.subresource == "status":
            named = {k: v for k, v in body["metadata"].items() if k in ("name", "namespace", "resourceVersion")}
            body = {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": named} | (
                {"status": body["status"]} if "status" in body else {}
            )
        elif target.version.status:
            body.pop("status", None)
        wanted_revision = body["metadata"].pop("resourceVersion", None)
        unknown = pruning.prune(body, target.schema)
        if unknown:
            words = [f'field not declared in schema: "{path}"' for path in unknown]
            if options.validation == "Strict":
                kind = f"{target.resource.kind}.{target.version.name}.{target.resource.group}"
                raise errors.ApiError(
                    400, "BadRequest", f"failed to create typed patch object ({kind}): {', '.join(words)}"
                )
            options.warnings += [f'unknown field "{path}"' for path in unknown]
        if record is None:
            if target.subresource:
                raise target.not_found()
            empty: Json = {"apiVersion": target.api_version, "kind": target.resource.kind, "metadata": {}}
            obj = apply.apply_config(empty, body, target.schema, who, force=True)
            return self.create(target, clone(obj), options, applied_by=who), True
        live = record.view(target.api_version)
        obj = clone(apply.apply_config(live, body, target.schema, who, force=options.force))
        if wanted_revision:
            obj["metadata"]["resourceVersion"] = wanted_revision
        return self._write(target, record, obj, options, applied=True), False

    # Delete

    def delete(self, target: Target, wish: Json, options: Options) -> tuple[Record, bool]:
        """Delete an object, or begin to. Returns its last version and whether it is gone.

        Args:
            wish: DeleteOptions (preconditions, gracePeriodSeconds, propagationPolicy).
        """
        record = self.get(target)
        preconditions = wish.get("preconditions") or {}
        self._preconditions(target, record, {k: v for k, v in preconditions.items() if v})
        obj = clone(record.obj)
        meta = obj["metadata"]
        finalizers = [f for f in meta.get("finalizers") or () if f not in (FOREGROUND, ORPHAN)]
        policy = wish.get("propagationPolicy") or ("Orphan" if wish.get("orphanDependents") else "Background")
        if policy not in ("Background", "Foreground", "Orphan"):
            words = 'supported values: "Background", "Foreground", "Orphan"'
            error = FieldError("propagationPolicy", "Unsupported value", policy, words)
            raise errors.invalid("DeleteOptions", "meta.k8s.io", "", [error])
        if "deletionTimestamp" in meta and policy == "Background":
            finalizers = list(meta.get("finalizers") or ())
        elif policy == "Foreground":
            finalizers.append(FOREGROUND)
        elif policy == "Orphan":
            finalizers.append(ORPHAN)
        if finalizers:
            meta["finalizers"] = finalizers
        else:
            meta.pop("finalizers", None)
        grace = self._grace(target, obj, wish)
        terminating = target.place[:2] == ("", "namespaces")
        if terminating:
            obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
        if not finalizers and not grace and not terminating:
            last = record if options.dry_run else self.store.remove(target.place)
            if not options.dry_run:
                self.settle()
            return last, True
        if "deletionTimestamp" not in meta or grace < meta.get("deletionGracePeriodSeconds", 0):
            if "deletionTimestamp" not in meta and "generation" in meta:
                meta["generation"] += 1
            at = datetime.now(UTC) + timedelta(seconds=grace)
            meta["deletionTimestamp"] = at.strftime("%Y-%m-%dT%H:%M:%SZ")
            meta["deletionGracePeriodSeconds"] = grace
        if obj == record.obj:
            return record, False
        last = self._commit(target.place, obj, options.dry_run)
        return last, not options.dry_run and self.store.get(target.place) is None

    @staticmethod
    def _grace(target: Target, obj: Json, wish: Json) -> int:
        """Seconds a deletion waits for the object's keeper: only pods bound to a node have one."""
        if target.place[:2] != ("", "pods"):
            return 0
        if not obj["spec"].get("nodeName") or (obj.get("status") or {}).get("phase") in (
            "Succeeded",
            "Failed",
        ):
            return 0
        wanted = wish.get("gracePeriodSeconds")
        if wanted is None:
            wanted = obj["spec"].get("terminationGracePeriodSeconds", 30)
        return max(int(wanted), 0)
