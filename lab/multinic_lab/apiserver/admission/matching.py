"""Which webhooks a write concerns: rules, selectors and match conditions of the stored configurations."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..cel.evaluate import evaluate
from ..cel.functions import CelError
from ..cel.syntax import CelSyntaxError, parse
from ..errors import Json
from ..store import Store
from ..target import Target

_CONFIGURATIONS = ("admissionregistration.k8s.io", "validatingwebhookconfigurations")


@dataclass(frozen=True, slots=True)
class Write:
    """A write that is about to happen."""

    target: Target
    operation: str
    """``CREATE``, ``UPDATE`` or ``DELETE``."""
    new: Json | None
    """The object as it would be stored; None for a deletion."""
    old: Json | None
    dry_run: bool


def _in(wanted: str, listed: Any) -> bool:
    return wanted in (listed or ()) or "*" in (listed or ())


def _resource_in(target: Target, listed: Any) -> bool:
    plural, sub = target.resource.plural, target.subresource
    names = {f"{plural}/{sub}", f"{plural}/*", f"*/{sub}", "*/*"} if sub else {plural, "*", "*/*"}
    return not names.isdisjoint(listed or ())


def _rule_fits(rule: Json, target: Target, operation: str) -> bool:
    scope = rule.get("scope") or "*"
    return (
        _in(operation, rule.get("operations"))
        and _in(target.resource.group, rule.get("apiGroups"))
        and _in(target.version.name, rule.get("apiVersions"))
        and _resource_in(target, rule.get("resources"))
        and scope in ("*", "Namespaced" if target.resource.namespaced else "Cluster")
    )


def _selected(selector: Json | None, labels: Json) -> bool:
    for name, value in ((selector or {}).get("matchLabels") or {}).items():
        if labels.get(name) != value:
            return False
    for part in (selector or {}).get("matchExpressions") or ():
        name, values = part["key"], part.get("values") or ()
        fits = {
            "In": labels.get(name) in values,
            "NotIn": labels.get(name) not in values,
            "Exists": name in labels,
            "DoesNotExist": name not in labels,
        }[part["operator"]]
        if not fits:
            return False
    return True


def _labels(obj: Json | None) -> Json:
    return ((obj or {}).get("metadata") or {}).get("labels") or {}


def concerned(store: Store, target: Target, operation: str) -> bool:
    """Whether any webhook has a rule for such a write, whatever the object."""
    return any(True for _ in _by_rule(store, target, operation))


def _by_rule(store: Store, target: Target, operation: str) -> Iterator[Json]:
    if target.resource.group == _CONFIGURATIONS[0]:
        return  # so that a wrong configuration can always be corrected
    configurations = store.collection(*_CONFIGURATIONS)
    for key in configurations.keys():  # noqa: SIM118  a method that sorts, not that of a mapping
        for webhook in configurations.records[key].obj.get("webhooks") or ():
            if any(_rule_fits(rule, target, operation) for rule in webhook.get("rules") or ()):
                yield webhook


def webhooks_for(store: Store, write: Write) -> list[Json]:
    """The webhooks to ask about this write, in the order of their configurations' names.

    Raises:
        CelError: a match condition cannot be evaluated.
    """
    found = []
    for webhook in _by_rule(store, write.target, write.operation):
        if not any(_selected(webhook.get("objectSelector"), _labels(obj)) for obj in (write.new, write.old) if obj):
            continue
        if write.target.namespace:
            namespace = store.get(("", "namespaces", "", write.target.namespace))
            if not _selected(webhook.get("namespaceSelector"), _labels(namespace.obj if namespace else None)):
                continue
        if all(_holds(condition["expression"], write) for condition in webhook.get("matchConditions") or ()):
            found.append(webhook)
    return found


def _holds(expression: str, write: Write) -> bool:
    variables = {"object": write.new, "oldObject": write.old, "request": {"operation": write.operation}}
    try:
        return evaluate(parse(expression), variables) is True
    except CelSyntaxError as error:
        raise CelError(f"match condition {expression!r}: {error}") from error
