"""Objects held against structural schemas: every error with its field path.

One walker over plain JSON schema mappings, for CRD schemas and built-in ones alike. Paths are written as
Kubernetes users know them (``spec.masterNets[0]``, ``metadata.labels[a.b/c]``). CRD messages keep Kubernetes' wording
("in body must be of type …"), since people search for it.
Source: Kubernetes documentation, "Specifying a structural schema", and the error texts of a running API server.
"""

import ipaddress
import json
import re
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from .builtin_schemas import deref
from .errors import FieldError, Json


def child(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def validate(obj: Any, schema: Json, path: str = "") -> list[FieldError]:
    """Everything in which ``obj`` breaks the schema, in document order; empty when it holds."""
    errors: list[FieldError] = []
    _validate(obj, deref(schema), path, errors, root=not path)
    return errors


def type_name(value: Any) -> str:
    """The type of a value in the words of a schema."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"


def stops_rules(error: FieldError) -> bool:
    """Whether an object with such an error is too unlike its schema for validation rules to be run on it."""
    wrong_type = error.words == "Invalid value" and error.detail.startswith(f"{error.field} in body must be of type ")
    return wrong_type or error.words in ("Unsupported value", "Required value", "Too long", "Too many")


def _is_type(value: Any, wanted: str) -> bool:
    found = type_name(value)
    if wanted == "number":
        return found in ("integer", "number")
    if wanted == "integer":
        return found == "integer" or (isinstance(value, float) and value.is_integer())
    return found == wanted


def _validate(value: Any, schema: Json, path: str, errors: list[FieldError], *, root: bool = False) -> None:
    if value is None and schema.get("nullable"):
        return
    if schema.get("x-kubernetes-int-or-string"):
        if isinstance(value, bool) or not isinstance(value, (int, str, float)):
            found = type_name(value)
            detail = f'{path} in body must be of type integer,string: "{found}"'
            errors.append(FieldError(path, "Invalid value", found, detail))
            return
    elif (wanted := schema.get("type")) and not _is_type(value, wanted):
        found = type_name(value)
        errors.append(FieldError(path, "Invalid value", found, f'{path} in body must be of type {wanted}: "{found}"'))
        return
    if (allowed := schema.get("enum")) is not None and value not in allowed:
        listed = ", ".join(json.dumps(v) for v in allowed)
        errors.append(FieldError(path, "Unsupported value", value, f"supported values: {listed}"))
    match value:
        case str():
            _string(value, schema, path, errors)
        case bool():
            pass
        case int() | float():
            _number(value, schema, path, errors)
        case list():
            _array(value, schema, path, errors)
        case dict():
            _object(value, schema, path, errors, root=root)
    _combined(value, schema, path, errors)


def _bad(path: str, value: Any, should: str) -> FieldError:
    return FieldError(path, "Invalid value", value, f"{path} in body should {should}")


@lru_cache(maxsize=512)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text.replace("[[:alnum:]]", "[A-Za-z0-9]").replace(r"\z", r"\Z"))


def _string(value: str, schema: Json, path: str, errors: list[FieldError]) -> None:
    """Length and pattern, of which the first that fails is told, and format."""
    most, least, pattern = (schema.get(key) for key in ("maxLength", "minLength", "pattern"))
    if most is not None and len(value) > most:
        errors.append(FieldError(path, "Too long", value, f"may not be more than {most} bytes"))
    elif least is not None and len(value) < least:
        errors.append(_bad(path, value, f"be at least {least} chars long"))
    elif pattern and not _pattern(pattern).search(value):
        errors.append(_bad(path, value, f"match '{pattern}'"))
    if (name := schema.get("format")) and not _has_format(value, name):
        errors.append(
            FieldError(path, "Invalid value", value, f"{path} in body must be of type {name}: {json.dumps(value)}")
        )


def _has_format(value: str, name: str) -> bool:
    """Whether a string is of a format; formats not known here hold for any string, as in Kubernetes."""
    try:
        match name:
            case "date-time":
                datetime.fromisoformat(value)
                return "T" in value.upper()
            case "date":
                datetime.strptime(value, "%Y-%m-%d")
            case "ipv4":
                ipaddress.IPv4Address(value)
            case "ipv6":
                ipaddress.IPv6Address(value)
            case "cidr":
                ipaddress.ip_interface(value)
                return "/" in value
            case "mac":
                return re.fullmatch(r"[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}", value) is not None
            case "uuid":
                return re.fullmatch(r"(?i)[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}", value) is not None
    except ValueError:
        return False
    return True


def _number(value: float, schema: Json, path: str, errors: list[FieldError]) -> None:
    if (least := schema.get("minimum")) is not None:
        if schema.get("exclusiveMinimum") and value <= least:
            errors.append(_bad(path, value, f"be greater than {least}"))
        elif value < least:
            errors.append(_bad(path, value, f"be greater than or equal to {least}"))
    if (most := schema.get("maximum")) is not None:
        if schema.get("exclusiveMaximum") and value >= most:
            errors.append(_bad(path, value, f"be less than {most}"))
        elif value > most:
            errors.append(_bad(path, value, f"be less than or equal to {most}"))
    if (step := schema.get("multipleOf")) and value % step:
        errors.append(_bad(path, value, f"be a multiple of {step}"))
    bits = {"int32": 31, "int64": 63}.get(schema.get("format", ""))
    if bits and isinstance(value, int) and not -(1 << bits) <= value < 1 << bits:
        errors.append(
            FieldError(path, "Invalid value", value, f"{path} in body must be of type {schema['format']}: {value}")
        )


def _array(value: list[Any], schema: Json, path: str, errors: list[FieldError]) -> None:
    if (least := schema.get("minItems")) is not None and len(value) < least:
        errors.append(_bad(path, len(value), f"have at least {least} items"))
    if (most := schema.get("maxItems")) is not None and len(value) > most:
        errors.append(FieldError(path, "Too many", len(value), f"must have at most {most} items"))
    items = schema.get("items")
    if isinstance(items, dict):
        items = deref(items)
        for index, item in enumerate(value):
            _validate(item, items, f"{path}[{index}]", errors)
    list_type = schema.get("x-kubernetes-list-type")
    keys: Sequence[str] = schema.get("x-kubernetes-list-map-keys") or ()
    if list_type not in ("set", "map") or "x-kubernetes-patch-strategy" in schema:
        return
    seen: set[str] = set()
    for index, item in enumerate(value):
        if list_type == "map":
            if not isinstance(item, dict):
                continue
            shown: Any = {k: item.get(k) for k in keys}
        else:
            shown = item
        mark = json.dumps(shown, sort_keys=True)
        if mark in seen:
            errors.append(FieldError(f"{path}[{index}]", "Duplicate value", shown))
        seen.add(mark)


def _object(value: Json, schema: Json, path: str, errors: list[FieldError], *, root: bool) -> None:
    errors += [
        FieldError(child(path, name), "Required value")
        for name in schema.get("required") or ()
        if name not in value or (root and name == "metadata" and not value[name])
    ]
    properties = schema.get("properties") or {}
    additional = schema.get("additionalProperties")
    for name, item in value.items():
        if root and name in ("apiVersion", "kind", "metadata"):
            if name == "metadata" and isinstance(item, dict):
                rules = (deref(properties.get("metadata") or {}).get("properties") or {}).get("name")
                if rules and isinstance(item.get("name"), str):
                    _validate(item["name"], deref(rules), "metadata.name", errors)
            continue
        if name in properties:
            _validate(item, deref(properties[name]), child(path, name), errors)
        elif isinstance(additional, dict):
            _validate(item, deref(additional), child(path, name), errors)
    if (least := schema.get("minProperties")) is not None and len(value) < least:
        errors.append(_bad(path, len(value), f"have at least {least} properties"))
    if (most := schema.get("maxProperties")) is not None and len(value) > most:
        errors.append(FieldError(path, "Too many", len(value), f"must have at most {most} items"))


def _combined(value: Any, schema: Json, path: str, errors: list[FieldError]) -> None:
    if "$ref" not in schema:
        for part in schema.get("allOf") or ():
            errors.extend(validate(value, part, path))
    if (parts := schema.get("anyOf")) and not schema.get("x-kubernetes-int-or-string"):
        tried = [validate(value, part, path) for part in parts]
        if all(tried):
            errors.append(
                FieldError(path, "Invalid value", "", f"{path} in body must validate at least one schema (anyOf)")
            )
            errors.extend(sorted(tried, key=len)[0])
    if parts := schema.get("oneOf"):
        fitting = sum(not validate(value, part, path) for part in parts)
        if fitting != 1:
            found = "Found none valid" if not fitting else f"Found {fitting} valid alternatives"
            errors.append(
                FieldError(
                    path,
                    "Invalid value",
                    "",
                    f"{path} in body must validate one and only one schema (oneOf). {found}",
                )
            )
    if (part := schema.get("not")) is not None and not validate(value, part, path):
        errors.append(FieldError(path, "Invalid value", "", f"{path} in body must not validate the schema (not)"))
