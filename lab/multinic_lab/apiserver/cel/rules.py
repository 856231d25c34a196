"""Rules found in a schema: checked when the schema is made, and run on objects.

A rule that names ``oldSelf`` runs only on updates, where there is an old value at the same place: the same field, the
same map key, or the item with the same keys of a keyed list.
Source: Kubernetes documentation, "Validation rules", "Transition rules".
"""

from collections.abc import Iterator
from typing import Any

from ..errors import FieldError, Json
from ..fieldset import item_schema, key_element, list_keys, sub_schema
from ..marks import has_within
from ..schema import type_name
from .bounds import costs_without_end
from .evaluate import evaluate, names, unsupported
from .functions import CelError
from .syntax import CelSyntaxError, parse

KEYWORD = "x-kubernetes-validations"
MOST_BYTES = 5 * 1024
"""Of an evaluated message; one that is longer, empty or of several lines gives way to the rule's fixed one."""
_ABSENT = object()
_REMEDY = (
    "try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are"
    " declared"
)
_WORDS = {
    "FieldValueInvalid": "Invalid value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueRequired": "Required value",
    "FieldValueDuplicate": "Duplicate value",
}


def check_rules(schema: Any, path: str) -> list[FieldError]:
    """Rules of a schema that cannot be carried out, by their place in the definition."""
    errors: list[FieldError] = []
    for index, rule in enumerate(schema.get(KEYWORD) or ()):
        for key in ("rule", "messageExpression"):
            text = rule.get(key)
            if text is None:
                continue
            where = f"{path}.x-kubernetes-validations[{index}].{key}"
            try:
                node = parse(text)
            except CelSyntaxError as error:
                errors.append(FieldError(where, "Invalid value", text, f"compilation failed: {error}"))
                continue
            if missing := unsupported(node):
                listed = ", ".join(missing)
                errors.append(FieldError(where, "Invalid value", text, f"compilation failed: no function {listed}"))
            elif costs_without_end(node):
                detail = f"estimated {key} cost exceeds budget by factor of more than 100x ({_REMEDY})"
                errors.append(FieldError(where, "Forbidden", None, detail))
    return errors


def check(obj: Json, old: Json | None, schema: Json) -> list[FieldError]:
    """Every rule of the schema that ``obj`` breaks. ``old`` is the object before an update, None on create."""
    return list(_check(obj, _ABSENT if old is None else old, schema, ""))


def _check(value: Any, old: Any, schema: Json | None, path: str) -> Iterator[FieldError]:
    if schema is None or value is None or not has_within(schema, KEYWORD):
        return
    for rule in schema.get(KEYWORD) or ():
        if (error := _run(rule, value, old, path)) is not None:
            yield error
    if isinstance(value, dict):
        before = old if isinstance(old, dict) else {}
        for name, item in value.items():
            sub = sub_schema(schema, name)
            where = f"{path}.{name}" if path else name
            yield from _check(item, before.get(name, _ABSENT), sub, where)
    elif isinstance(value, list):
        items = item_schema(schema)
        kind, keys = list_keys(schema)
        before = {}
        if kind == "map" and isinstance(old, list):
            before = {key_element(item, keys, items): item for item in old}
        for index, item in enumerate(value):
            earlier = before.get(key_element(item, keys, items), _ABSENT) if before else _ABSENT
            yield from _check(item, earlier, items, f"{path}[{index}]")


def _run(rule: Json, value: Any, old: Any, path: str) -> FieldError | None:
    text = str(rule["rule"])
    node = parse(text)
    variables = {"self": value}
    if "oldSelf" in names(node):
        if old is _ABSENT or old is None:
            return None
        variables["oldSelf"] = old
    try:
        if evaluate(node, variables) is True:
            return None
        detail = _message(rule, variables)
    except CelError as error:
        detail = f"rule evaluation error: {text}: {error}"
    where = path + str(rule.get("fieldPath") or "") or "<nil>"
    words = _WORDS.get(rule.get("reason") or "FieldValueInvalid", "Invalid value")
    return FieldError(where.lstrip("."), words, type_name(value), detail)


def _message(rule: Json, variables: dict[str, Any]) -> str:
    if expression := rule.get("messageExpression"):
        try:
            found = evaluate(parse(expression), variables)
            if isinstance(found, str) and found.strip() and "\n" not in found and len(found.encode()) <= MOST_BYTES:
                return found
        except CelError:
            pass
    return str(rule.get("message") or f"failed rule: {rule['rule']}")
