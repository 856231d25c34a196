"""Whether RBAC objects would allow a request, for tests that hold a process to its service account's rights.

Source: Kubernetes documentation, "Using RBAC Authorization".
"""

from collections.abc import Iterable
from dataclasses import dataclass

from .errors import Json
from .requestlog import Entry


@dataclass(frozen=True, slots=True)
class Rights:
    """What one service account may do."""

    rules: tuple[tuple[str, Json], ...]
    """Namespace in which a rule holds ("" everywhere), and the rule."""

    @classmethod
    def of(cls, account: str, objects: Iterable[Json]) -> "Rights":
        """The rights that bindings among these objects give to the account of this name."""
        every = list(objects)
        roles = {(o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]): o for o in every}
        rules: list[tuple[str, Json]] = []
        for binding in every:
            if binding["kind"] not in ("RoleBinding", "ClusterRoleBinding"):
                continue
            subjects = binding.get("subjects") or ()
            if not any(s["kind"] == "ServiceAccount" and s["name"] == account for s in subjects):
                continue
            namespace, role = binding["metadata"].get("namespace", ""), binding["roleRef"]
            home = namespace if role["kind"] == "Role" else ""
            rules += ((namespace, rule) for rule in roles[role["kind"], home, role["name"]]["rules"])
        return cls(tuple(rules))

    def allow(self, entry: Entry) -> bool:
        """Whether one of the rules covers this request."""
        return any(namespace in ("", entry.namespace) and _covers(rule, entry) for namespace, rule in self.rules)


def _covers(rule: Json, entry: Entry) -> bool:
    names = rule.get("resourceNames") or ()
    return (
        entry.group in rule["apiGroups"]
        and entry.resource in rule["resources"]
        and entry.verb in rule["verbs"]
        and (not names or entry.name in names)
    )
