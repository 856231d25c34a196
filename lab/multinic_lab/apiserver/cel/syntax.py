"""CEL text to a tree: a scanner and a precedence-climbing parser.

Nodes are tuples whose first item names the kind; the rest are children: ``("literal", value)``, ``("name", text)``,
``("select", node, field)``, ``("has", node, field)``, ``("index", node, key)``, ``("call", name, receiver or None,
arguments)``, ``("list", items)``, ``("map", pairs)``, ``("macro", name, range, variables, bodies)``,
``("not", node)``, ``("negate", node)``, ``("binary", operator, left, right)``, ``("choice", test, yes, no)``.
Source: cel-spec, langdef, "Syntax".
"""

import re
from functools import lru_cache
from typing import Any

Node = tuple[Any, ...]

_SCAN = re.compile(
    r"""\s+|//[^\n]*
    |(?P<float>\d+\.\d+(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+)
    |(?P<int>0[xX][0-9a-fA-F]+|\d+)[uU]?
    |(?P<raw>[rR](?:'''[\s\S]*?'''|\"\"\"[\s\S]*?\"\"\"|'[^'\n]*'|"[^"\n]*"))
    |(?P<text>'''(?:\\.|[\s\S])*?'''|\"\"\"(?:\\.|[\s\S])*?\"\"\"|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*")
    |(?P<name>[A-Za-z_]\w*)
    |(?P<sign>&&|\|\||==|!=|<=|>=|[-+*/%!<>?:.,()\[\]{}])""",
    re.VERBOSE,
)
_LEVELS: dict[str, int] = {
    "||": 1,
    "&&": 2,
    "==": 3,
    "!=": 3,
    "<": 3,
    "<=": 3,
    ">": 3,
    ">=": 3,
    "in": 3,
    "+": 4,
    "-": 4,
    "*": 5,
    "/": 5,
    "%": 5,
}
_MACROS = {"all": (2, 3), "exists": (2, 3), "exists_one": (2, 3), "map": (2, 3), "filter": (2,)}
"""Macro to the numbers of arguments it may have, variables included."""
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None}


class CelSyntaxError(ValueError):
    """A rule that cannot be read."""


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        match = _SCAN.match(text, position)
        if match is None:
            raise CelSyntaxError(f"cannot read {text[position : position + 20]!r}")
        if match.lastgroup is not None:
            found.append((match.lastgroup, match.group(match.lastgroup)))
        position = match.end()
    return [*found, ("end", "")]


def _unquoted(text: str) -> str:
    size = 3 if text[:3] in ("'''", '"""') else 1
    inner = text[size:-size]
    escapes = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}

    def plain(match: re.Match[str]) -> str:
        code = match.group(1)
        if code[0] in "xuU":
            return chr(int(code[1:], 16))
        return chr(int(code, 8)) if code[0] in "0123" else escapes.get(code, code)

    return re.sub(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2}|.)", plain, inner, flags=re.S)


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._at = 0

    def whole(self) -> Node:
        node = self.expression()
        if self._tokens[self._at][0] != "end":
            raise CelSyntaxError(f"unexpected {self._tokens[self._at][1]!r}")
        return node

    def _take(self, *signs: str) -> str | None:
        kind, text = self._tokens[self._at]
        if kind in ("sign", "name") and text in signs:
            self._at += 1
            return text
        return None

    def _need(self, sign: str) -> None:
        if self._take(sign) is None:
            raise CelSyntaxError(f"expected {sign!r}, found {self._tokens[self._at][1] or 'the end'!r}")

    def expression(self) -> Node:
        node = self._binary(1)
        if self._take("?"):
            yes = self._binary(1)
            self._need(":")
            return ("choice", node, yes, self.expression())
        return node

    def _binary(self, level: int) -> Node:
        node = self._unary()
        while (own := _LEVELS.get(self._tokens[self._at][1], 0)) >= level and self._tokens[self._at][0] != "text":
            operator = self._tokens[self._at][1]
            self._at += 1
            node = ("binary", operator, node, self._binary(own + 1))
        return node

    def _unary(self) -> Node:
        if self._take("!"):
            return ("not", self._unary())
        if self._take("-"):
            return ("negate", self._unary())
        return self._member()

    def _member(self) -> Node:
        node = self._primary()
        while True:
            if self._take("."):
                kind, name = self._tokens[self._at]
                if kind != "name":
                    raise CelSyntaxError(f"expected a field name, found {name!r}")
                self._at += 1
                node = self._method(node, name) if self._take("(") else ("select", node, name)
            elif self._take("["):
                node = ("index", node, self.expression())
                self._need("]")
            else:
                return node

    def _method(self, receiver: Node, name: str) -> Node:
        arguments = self._list(")")
        if name in _MACROS:
            if len(arguments) not in _MACROS[name]:
                raise CelSyntaxError(f"macro {name!r} has {len(arguments)} arguments")
            # A third argument is a second variable for all/exists, and a filter for map.
            variables = 1 if name in ("map", "filter") or len(arguments) == 2 else 2
            if any(a[0] != "name" for a in arguments[:variables]):
                raise CelSyntaxError(f"macro {name!r} needs a variable name first")
            names = tuple(a[1] for a in arguments[:variables])
            return ("macro", name, receiver, names, arguments[variables:])
        return ("call", name, receiver, arguments)

    def _list(self, end: str) -> list[Node]:
        found: list[Node] = []
        while not self._take(end):
            found.append(self.expression())
            if not self._take(","):
                self._need(end)
                break
        return found

    def _primary(self) -> Node:
        kind, text = self._tokens[self._at]
        self._at += 1
        match kind:
            case "int":
                return ("literal", int(text, 0) if text[:2] in ("0x", "0X") else int(text))
            case "float":
                return ("literal", float(text))
            case "raw":
                size = 3 if text[1:4] in ("'''", '"""') else 1
                return ("literal", text[1 + size : -size])
            case "text":
                return ("literal", _unquoted(text))
            case "name":
                if text in _WORDS:
                    return ("literal", _WORDS[text])
                if self._take("("):
                    return self._function(text)
                return ("name", text)
            case "sign" if text == "(":
                node = self.expression()
                self._need(")")
                return node
            case "sign" if text == "[":
                return ("list", self._list("]"))
            case "sign" if text == "{":
                return ("map", self._pairs())
        raise CelSyntaxError(f"unexpected {text or 'end'!r}")

    def _function(self, name: str) -> Node:
        arguments = self._list(")")
        if name == "has":
            if len(arguments) != 1 or arguments[0][0] != "select":
                raise CelSyntaxError("has() needs one field, like has(self.a)")
            return ("has", *arguments[0][1:])
        return ("call", name, None, arguments)

    def _pairs(self) -> list[tuple[Node, Node]]:
        found: list[tuple[Node, Node]] = []
        while not self._take("}"):
            key = self.expression()
            self._need(":")
            found.append((key, self.expression()))
            if not self._take(","):
                self._need("}")
                break
        return found


@lru_cache(maxsize=2048)
def parse(text: str) -> Node:
    """The tree of an expression.

    Raises:
        CelSyntaxError: it cannot be read.
    """
    return _Parser(text).whole()
