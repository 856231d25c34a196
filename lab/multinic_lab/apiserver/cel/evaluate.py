"""The value of a CEL tree under given variables.

``&&`` and ``||`` are as forgiving as CEL wants: an error on one side does not matter when the other side decides.
Source: cel-spec, langdef, "Evaluation".
"""

import operator
from collections.abc import Iterator, Mapping
from typing import Any

from .functions import FUNCTIONS, CelError, same
from .syntax import Node

_RESERVED = frozenset(
    [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ]
)
_ESCAPES = (("__underscores__", "__"), ("__dot__", "."), ("__dash__", "-"), ("__slash__", "/"))
_ORDER = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def field_name(name: str) -> str:
    """The property a CEL field name stands for (``__namespace__``, ``a__dash__b``)."""
    if name.startswith("__") and name.endswith("__") and name[2:-2] in _RESERVED:
        return name[2:-2]
    for escape, plain in _ESCAPES:
        name = name.replace(escape, plain)
    return name


def unsupported(node: Node) -> list[str]:
    """Names of the functions in a tree that this evaluator does not have."""
    found: list[str] = []
    for part in parts_of(node):
        if part[0] == "call":
            _, name, receiver, arguments = part
            if (name, len(arguments) + (receiver is not None)) not in FUNCTIONS:
                found.append(name)
    return found


def names(node: Node) -> set[str]:
    """All identifiers in a tree."""
    return {part[1] for part in parts_of(node) if part[0] == "name"}


def parts_of(value: Any) -> Iterator[Node]:
    """Every node of a tree, from the outside in."""
    if isinstance(value, tuple) and value and isinstance(value[0], str):
        yield value
    if isinstance(value, (tuple, list)):
        for child in value:
            yield from parts_of(child)


def evaluate(node: Node, variables: Mapping[str, Any]) -> Any:
    """The value of ``node``.

    Raises:
        CelError: a field is absent, or an operation does not fit its values.
    """
    match node:
        case ("literal", value):
            return value
        case ("name", name):
            if name not in variables:
                raise CelError(f"undeclared reference to {name!r}")
            return variables[name]
        case ("select", inner, name):
            return _field(evaluate(inner, variables), field_name(name))
        case ("has", inner, name):
            value = evaluate(inner, variables)
            return isinstance(value, dict) and field_name(name) in value
        case ("index", inner, key):
            return _index(evaluate(inner, variables), evaluate(key, variables))
        case ("list", items):
            return [evaluate(item, variables) for item in items]
        case ("map", pairs):
            return {evaluate(k, variables): evaluate(v, variables) for k, v in pairs}
        case ("not", inner):
            return not _truth(evaluate(inner, variables))
        case ("negate", inner):
            return -_number(evaluate(inner, variables))
        case ("choice", test, yes, no):
            return evaluate(yes if _truth(evaluate(test, variables)) else no, variables)
        case ("binary", ("&&" | "||") as sign, left, right):
            return _logic(sign == "||", left, right, variables)
        case ("binary", sign, left, right):
            return _binary(sign, evaluate(left, variables), evaluate(right, variables))
        case ("macro", name, inner, variable_names, bodies):
            return _macro(name, evaluate(inner, variables), variable_names, bodies, variables)
        case ("call", name, receiver, arguments):
            given = [evaluate(a, variables) for a in ([receiver] if receiver is not None else []) + list(arguments)]
            function = FUNCTIONS.get((name, len(given)))
            if function is None:
                raise CelError(f"unknown function {name!r} of {len(given)} arguments")
            try:
                return function(*given)
            except (TypeError, ValueError, AttributeError) as error:
                raise CelError(f"{name}: no such overload") from error
    raise CelError(f"cannot evaluate {node[0]!r}")


def _field(value: Any, name: str) -> Any:
    if not isinstance(value, dict) or name not in value:
        raise CelError(f"no such key: {name}")
    return value[name]


def _index(value: Any, key: Any) -> Any:
    if isinstance(value, dict):
        return _field(value, key)
    if isinstance(value, list) and isinstance(key, int) and 0 <= key < len(value):
        return value[key]
    raise CelError(f"index out of bounds: {key!r}")


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise CelError("expected a boolean")
    return value


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise CelError("expected a number")
    return value


def _logic(decisive: bool, left: Node, right: Node, variables: Mapping[str, Any]) -> bool:
    """``||`` when True decides, ``&&`` when False does."""
    try:
        if _truth(evaluate(left, variables)) is decisive:
            return decisive
    except CelError:
        if _truth(evaluate(right, variables)) is decisive:
            return decisive
        raise
    return _truth(evaluate(right, variables))


def _binary(sign: str, left: Any, right: Any) -> Any:
    match sign:
        case "==":
            return same(left, right)
        case "!=":
            return not same(left, right)
        case "in":
            if isinstance(right, dict):
                return left in right
            if isinstance(right, list):
                return any(same(left, item) for item in right)
            raise CelError("'in' needs a list or a map")
        case "+" if isinstance(left, str) and isinstance(right, str):
            return left + right
        case "+" if isinstance(left, list) and isinstance(right, list):
            return left + right
    if sign in _ORDER:
        if isinstance(left, str) is not isinstance(right, str):
            raise CelError("no such overload for a comparison")
        try:
            return _ORDER[sign](left, right)
        except TypeError as error:
            raise CelError("no such overload for a comparison") from error
    first, second = _number(left), _number(right)
    match sign:
        case "+":
            return first + second
        case "-":
            return first - second
        case "*":
            return first * second
    if second == 0 and isinstance(first, int):
        raise CelError("division by zero")
    whole = isinstance(first, int) and isinstance(second, int)
    if sign == "/":
        # CEL divides integers towards zero.
        return (abs(first) // abs(second)) * (1 if (first < 0) is (second < 0) else -1) if whole else first / second
    return first - second * int(first / second) if whole else first % second


def _macro(name: str, value: Any, names: tuple[str, ...], bodies: list[Node], outer: Mapping[str, Any]) -> Any:
    if not isinstance(value, (list, dict)):
        raise CelError(f"{name}: expected a list or a map")
    if len(names) == 2:
        pairs = list(value.items() if isinstance(value, dict) else enumerate(value))
        scopes = [{**outer, names[0]: k, names[1]: v} for k, v in pairs]
    else:
        pairs = [(item, item) for item in value]
        scopes = [{**outer, names[0]: item} for item in value]
    match name:
        case "all" | "exists":
            return _quantified(name == "exists", bodies[0], scopes)
        case "exists_one":
            return sum(_truth(evaluate(bodies[0], scope)) for scope in scopes) == 1
        case "filter":
            return [i for (_, i), scope in zip(pairs, scopes, strict=True) if _truth(evaluate(bodies[0], scope))]
        case "map" if len(bodies) == 2:
            return [evaluate(bodies[1], scope) for scope in scopes if _truth(evaluate(bodies[0], scope))]
    return [evaluate(bodies[0], scope) for scope in scopes]


def _quantified(decisive: bool, body: Node, scopes: list[dict[str, Any]]) -> bool:
    failed: CelError | None = None
    for scope in scopes:
        try:
            if _truth(evaluate(body, scope)) is decisive:
                return decisive
        except CelError as error:
            failed = error
    if failed is not None:
        raise failed
    return not decisive
