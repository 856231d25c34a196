"""From a client's body to an object that may be stored: envelope, shape, checks, and which half a write reaches.

Every function takes the object in the version of its path and changes it in place or refuses it.
"""

from . import cel, errors, metadata, pruning, schema, strategy
from .errors import FieldError, Json
from .marks import has_within
from .store import clone
from .target import Options, Target

UNCHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete"
    " validation"
)


def envelope(target: Target, obj: Json, *, creating: bool = False) -> Json:
    """Check that a body belongs to the path; returns its metadata, made if absent."""
    resource = target.resource
    for key, wanted in (("apiVersion", target.api_version), ("kind", resource.kind)):
        if key not in obj and target.builtin:
            obj[key] = wanted
        elif obj.get(key) != wanted:
            what = "API version" if key == "apiVersion" else "Kind"
            found = obj.get(key, "")
            raise errors.bad_request(f"the {what} in the data ({found}) does not match the expected {what} ({wanted})")
    meta = obj.setdefault("metadata", {})
    if not isinstance(meta, dict):
        raise errors.bad_request(f"metadata: expected an object, found {meta!r}")
    for empty in [k for k, v in meta.items() if v is None]:
        del meta[empty]
    if resource.namespaced:
        if meta.setdefault("namespace", target.namespace) != target.namespace:
            raise errors.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
    elif meta.pop("namespace", None):
        raise errors.bad_request("namespace is not allowed on this kind")
    if not creating and meta.setdefault("name", target.name) != target.name:
        raise errors.bad_request(
            f"the name of the object ({meta['name']}) does not match the name on the URL ({target.name})"
        )
    return meta


def shape(target: Target, obj: Json, options: Options, *, born: bool = False) -> None:
    """Prune, default and check the form of an object in its own version."""
    unknown = pruning.prune(obj, target.schema)
    if unknown:
        words = [f'unknown field "{path}"' for path in unknown]
        if options.validation == "Strict":
            raise errors.bad_request(_handled(target) + f"strict decoding error: {', '.join(words)}")
        if options.validation == "Warn":
            options.warnings += words
    if not target.builtin:
        if born and target.version.status:
            obj.pop("status", None)
        pruning.drop_unwanted_nulls(obj, target.schema)
        pruning.apply_defaults(obj, target.schema)
        return
    pruning.drop_nulls(obj, target.schema)
    if born:
        group, plural = target.place[:2]
        if "status" in obj and (group, plural) != ("", "nodes"):
            del obj["status"]
    found = [e for e in schema.validate(obj, target.schema) if e.words == "Invalid value"]
    if found:
        raise errors.bad_request(_handled(target) + ", ".join(f"{e.field}: {e.detail}" for e in found))


def _handled(target: Target) -> str:
    kind = target.resource.kind
    return f'{kind} in version "{target.version.name}" cannot be handled as a {kind}: '


def check(target: Target, old: Json | None, obj: Json, revision: int) -> None:
    """Fill in a built-in kind's defaults, and refuse an object whose fields are not as they must be.

    Args:
        old: the object before an update; None for a new one.
        revision: the store's, from which a new object's generated values are taken.

    Raises:
        ApiError: 422 with every error found.
    """
    group, plural = target.place[:2]
    found = metadata.check_name(obj["metadata"].get("name"), plural) if old is None else []
    found += metadata.check_metadata(obj["metadata"])
    formal = schema.validate(obj, target.schema)
    if target.builtin:
        formal = [e for e in formal if not e.field.startswith("status")]
    found += formal
    if not found and target.builtin:
        strategy.fill(group, plural, obj)
        found += strategy.check(group, plural, obj)
        if not found and old is not None:
            found += strategy.check_update(group, plural, old, obj)
        elif not found:
            strategy.born(group, plural, obj, revision)
    if not target.builtin and has_within(target.schema, cel.KEYWORD):
        blocked = any(map(schema.stops_rules, formal))
        unchecked = FieldError("<nil>", "Invalid value", None, UNCHECKED)
        found += [unchecked] if blocked else cel.check(obj, old, target.schema)
    if old is not None and "deletionTimestamp" in old["metadata"]:
        before = old["metadata"].get("finalizers") or []
        fresh = [f for f in obj["metadata"].get("finalizers") or () if f not in before]
        if fresh:
            words = f"no new finalizers can be added if the object is being deleted, found new finalizers {fresh}"
            found.append(FieldError("metadata.finalizers", "Forbidden", detail=words))
    if found:
        name = obj["metadata"].get("name") or obj["metadata"].get("generateName") or ""
        raise errors.invalid(target.resource.kind, group, str(name), found)


def split(target: Target, old: Json, new: Json) -> Json:
    """Let a write reach only its own half: status through ``status``, everything else through the main path."""
    if target.subresource == "status":
        kept = {k: v for k, v in clone(old).items() if k != "status"}
        if target.builtin:
            for name in ("labels", "annotations"):
                kept["metadata"].pop(name, None)
                if name in new["metadata"]:
                    kept["metadata"][name] = new["metadata"][name]
        if "managedFields" in new["metadata"]:
            kept["metadata"]["managedFields"] = new["metadata"]["managedFields"]
        if "status" in new:
            kept["status"] = new["status"]
        return kept
    if target.place[:2] == ("", "namespaces") and target.subresource != "finalize":
        new["spec"] = clone(old["spec"])
    if target.version.status and target.subresource != "finalize":
        new.pop("status", None)
        if "status" in old:
            new["status"] = clone(old["status"])
    return new


def desired(target: Target, obj: Json) -> Json:
    """The part of an object whose change makes a new generation."""
    if target.builtin:
        return {k: v for k, v in obj.items() if k in ("spec", "webhooks")}
    left_out = {"metadata", "apiVersion", "kind"} | ({"status"} if target.version.status else set())
    return {k: v for k, v in obj.items() if k not in left_out}
