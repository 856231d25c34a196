"""Values whose size the API server cannot bound before it has the object, and which a rule may not join or compare.

A rule's cost is estimated when its definition is made, and joining texts costs what they are long. The text of a
number or an address (``string``) and a formatted text (``format``) count as endless, so a join of one makes the whole
definition invalid. ``format`` itself costs its template only. A comparison costs the smaller side; where both are
endless, as two addresses or networks are to Kubernetes 1.31, it is refused too. Lengths of fields, and all other costs,
are not looked at.
Source: cel-go, cost estimation of string concatenation and of ``format``; Kubernetes documentation, "Validation rules",
"Resource use by validation functions".
"""

from .evaluate import parts_of
from .syntax import Node

ENDLESS = frozenset({"string", "format", "cidr", "masked", "ip"})
KEEPING = frozenset({"lowerAscii", "upperAscii", "substring", "trim", "replace", "find", "charAt"})
"""What is no shorter, by the estimate, than the text that it is called on."""


def costs_without_end(node: Node) -> bool:
    """Whether some ``+`` in an expression has a side without known bound, or some ``==`` or ``!=`` has two."""
    return any(
        (sign == "+" and any(map(_endless, sides))) or (sign in ("==", "!=") and all(map(_endless, sides)))
        for _, sign, *sides in (part for part in parts_of(node) if part[0] == "binary")
    )


def _endless(node: Node) -> bool:
    match node:
        case ("call", name, receiver, _):
            return name in ENDLESS or (name in KEEPING and receiver is not None and _endless(receiver))
        case ("binary", "+", left, right):
            return _endless(left) or _endless(right)
        case ("choice", _, yes, no):
            return _endless(yes) or _endless(no)
    return False
