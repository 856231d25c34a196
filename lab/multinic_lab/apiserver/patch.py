"""The patch formats that change a document: JSON patch, merge patch, strategic merge patch. All are pure.

Server-side apply is in ``apply``. Strategic merge reads its merge keys from the marks in the built-in schemas.
Source: RFC 6902, RFC 7386; Kubernetes documentation, "Update API Objects in Place Using kubectl patch".
"""

from typing import Any

import jsonpatch
import jsonpointer

from .builtin_schemas import deref
from .errors import ApiError, Json, bad_request
from .fieldset import sub_schema
from .store import clone

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
APPLY_CBOR = "application/apply-patch+cbor"


def json_patch(document: Json, operations: Any) -> Json:
    """The document after the operations.

    Raises:
        ApiError: 400 for what is no patch, 422 when an operation does not apply or a test fails.
    """
    if not isinstance(operations, list):
        raise bad_request("json patch: the body must be a list of operations")
    try:
        result = jsonpatch.JsonPatch(clone(operations)).apply(clone(document))
    except jsonpatch.InvalidJsonPatch as error:
        raise bad_request(f"json patch: {error}") from error
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError) as error:
        raise ApiError(
            422, "Invalid", f"the server rejected our request due to an error in our request: {error}"
        ) from (error)
    if not isinstance(result, dict):
        raise bad_request("json patch: the result is not an object")
    return result


def merge_patch(document: Any, patch: Any) -> Any:
    """The document after a merge patch: maps merge, null deletes, everything else replaces."""
    if not isinstance(patch, dict):
        return clone(patch)
    result = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge_patch(result.get(name), value)
    return result


def strategic_patch(document: Any, patch: Json, schema: Json | None) -> Any:
    """The document after a strategic merge patch.

    Raises:
        ApiError: 400 for an unknown directive or a list item without its merge key.
    """
    directive = patch.get("$patch")
    if directive == "replace":
        return {k: clone(v) for k, v in patch.items() if k != "$patch"}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise bad_request(f"strategic merge patch: unknown directive {directive!r}")
    result = dict(document) if isinstance(document, dict) else {}
    if (retain := patch.get("$retainKeys")) is not None:
        result = {k: v for k, v in result.items() if k in retain}
    for name, value in patch.items():
        if name.startswith("$deleteFromPrimitiveList/"):
            target = name.partition("/")[2]
            if isinstance(result.get(target), list):
                result[target] = [v for v in result[target] if v not in value]
        elif name in ("$patch", "$retainKeys") or name.startswith("$setElementOrder/"):
            continue
        elif value is None:
            result.pop(name, None)
        else:
            result[name] = _strategic_value(result.get(name), value, sub_schema(schema, name), name)
    for name, order in patch.items():
        if name.startswith("$setElementOrder/"):
            target = name.partition("/")[2]
            if isinstance(result.get(target), list):
                result[target] = _ordered(result[target], order, _merge_key(sub_schema(schema, target)))
    return result


def _merge_key(schema: Json | None) -> str | None:
    return schema.get("x-kubernetes-patch-merge-key") if schema else None


def _strategic_value(live: Any, value: Any, schema: Json | None, name: str) -> Any:
    if isinstance(value, dict):
        return strategic_patch(live, value, schema)
    if not isinstance(value, list):
        return value
    if (schema or {}).get("x-kubernetes-patch-strategy") != "merge":
        return [clone(v) for v in value]
    key = _merge_key(schema)
    present = list(live) if isinstance(live, list) else []
    if key is None:
        return [*present, *(v for v in value if v not in present)]
    if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in value):
        return [clone(item) for item in value if item.get("$patch") != "replace"]
    items = deref(schema["items"]) if schema and "items" in schema else None
    for item in value:
        if not isinstance(item, dict) or key not in item:
            raise bad_request(f"strategic merge patch: an item of {name!r} has no merge key {key!r}")
        place = next((i for i, old in enumerate(present) if old.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            if place is not None:
                del present[place]
        elif place is None:
            present.append(strategic_patch({}, item, items))
        else:
            present[place] = strategic_patch(present[place], item, items)
    return present


def _ordered(values: list[Any], order: list[Any], key: str | None) -> list[Any]:
    """Items named in ``order`` in that order, the others kept in place after what they followed."""

    def name(item: Any) -> Any:
        return item.get(key) if key and isinstance(item, dict) else item

    wanted = [name(item) for item in order]
    named = iter(sorted((v for v in values if name(v) in wanted), key=lambda v: wanted.index(name(v))))
    return [next(named) if name(v) in wanted else v for v in values]
