"""Functions that CEL rules may call, by name and number of arguments (the receiver counts as the first).

Source: cel-spec, "Standard definitions"; Kubernetes documentation, CEL libraries: strings, lists, regex, IP, CIDR.
"""

import ipaddress
import itertools
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface


class CelError(Exception):
    """A rule that cannot be evaluated on this value."""


def same(left: Any, right: Any) -> bool:
    """CEL equality: numbers by value, booleans only with booleans, lists and maps by their parts."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(v, right[k]) for k, v in left.items())
    return bool(left == right)


@lru_cache(maxsize=512)
def _regex(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern.replace(r"\z", r"\Z"), re.ASCII)
    except re.error as error:
        raise CelError(f"invalid pattern {pattern!r}: {error}") from error


def _want(value: Any, *types: type) -> Any:
    if (isinstance(value, bool) and bool not in types) or not isinstance(value, types):
        raise CelError(f"no such overload for {type(value).__name__}")
    return value


def _size(value: Any) -> int:
    return len(_want(value, str, list, dict))


def _int(value: Any) -> int:
    try:
        return int(_want(value, int, float, str))
    except ValueError as error:
        raise CelError(f"cannot convert {value!r} to int") from error


def _double(value: Any) -> float:
    try:
        return float(_want(value, int, float, str))
    except ValueError as error:
        raise CelError(f"cannot convert {value!r} to double") from error


def _string(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(_want(value, str, int, float, ipaddress.IPv4Address, ipaddress.IPv6Address, *_INTERFACES))


def _ip(text: Any) -> Address:
    try:
        return _plain(ipaddress.ip_address(_want(text, str)))
    except ValueError as error:
        raise CelError(f"IP Address {text!r} parse error: {error}") from error


def _plain(address: Address) -> Address:
    """The address itself, unless it is IPv4 dressed as IPv6 or names a zone."""
    if isinstance(address, ipaddress.IPv6Address) and (address.ipv4_mapped or address.scope_id):
        raise ValueError("an IPv4-mapped address or one with a zone")
    return address


def _cidr(text: Any) -> Interface:
    if not _PREFIX.search(_want(text, str)):
        raise CelError(f"network address parse error: {text!r} has no prefix length")
    try:
        found = ipaddress.ip_interface(text)
        _plain(found)
    except ValueError as error:
        raise CelError(f"network address parse error: {text!r}: {error}") from error
    return found


_INTERFACES = (ipaddress.IPv4Interface, ipaddress.IPv6Interface)
_PREFIX = re.compile(r"/(0|[1-9][0-9]*)\Z")


def _holds(function: Callable[[Any], Any]) -> Callable[[Any], bool]:
    def test(value: Any) -> bool:
        try:
            function(_want(value, str))
        except CelError:
            return False
        return True

    return test


def _contains_cidr(outer: Any, inner: Any) -> bool:
    first = _want(outer, *_INTERFACES).network
    second = (_cidr(inner) if isinstance(inner, str) else _want(inner, *_INTERFACES)).network
    return bool(first.version == second.version and second.subnet_of(first))


def _contains_ip(outer: Any, inner: Any) -> bool:
    address = _ip(inner) if isinstance(inner, str) else inner
    return bool(address in _want(outer, *_INTERFACES).network)


def _masked(value: Any) -> Interface:
    return ipaddress.ip_interface(str(_want(value, *_INTERFACES).network))


def _substring(text: Any, start: int, end: int | None = None) -> str:
    end = len(text) if end is None else end
    if not 0 <= start <= end <= len(text):
        raise CelError(f"index out of range: {start}, {end}")
    return str(text[start:end])


def _index_of(value: Any, wanted: Any) -> int:
    if isinstance(value, str):
        return value.find(_want(wanted, str))
    return next((i for i, v in enumerate(_want(value, list)) if same(v, wanted)), -1)


def _distinct(values: Any) -> list[Any]:
    found: list[Any] = []
    for value in _want(values, list):
        if not any(same(value, other) for other in found):
            found.append(value)
    return found


def _extreme(pick: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def run(values: Any) -> Any:
        if not _want(values, list):
            raise CelError("min or max of an empty list")
        return pick(values)

    return run


_VERB = re.compile(r"%(%|[sd])")


def _format(template: Any, values: Any) -> str:
    """``%s`` and ``%d`` in a text replaced by the values in their order."""
    left = list(_want(values, list))

    def fill(match: re.Match[str]) -> str:
        if match[1] == "%":
            return "%"
        if not left:
            raise CelError("format: fewer values than places")
        value = left.pop(0)
        return _string(_want(value, int) if match[1] == "d" else value)

    return _VERB.sub(fill, _want(template, str))


FUNCTIONS: dict[tuple[str, int], Callable[..., Any]] = {
    ("size", 1): _size,
    ("int", 1): _int,
    ("uint", 1): _int,
    ("double", 1): _double,
    ("string", 1): _string,
    ("bool", 1): lambda v: v if isinstance(v, bool) else _want(v, str) == "true",
    ("dyn", 1): lambda v: v,
    ("startsWith", 2): lambda s, p: _want(s, str).startswith(_want(p, str)),
    ("endsWith", 2): lambda s, p: _want(s, str).endswith(_want(p, str)),
    ("contains", 2): lambda s, p: _want(p, str) in _want(s, str),
    ("matches", 2): lambda s, p: _regex(_want(p, str)).search(_want(s, str)) is not None,
    ("find", 2): lambda s, p: m.group(0) if (m := _regex(p).search(_want(s, str))) else "",
    ("findAll", 2): lambda s, p: [m.group(0) for m in _regex(p).finditer(_want(s, str))],
    ("lowerAscii", 1): lambda s: _want(s, str).lower(),
    ("upperAscii", 1): lambda s: _want(s, str).upper(),
    ("trim", 1): lambda s: _want(s, str).strip(),
    ("split", 2): lambda s, d: _want(s, str).split(d) if d else list(_want(s, str)),
    ("split", 3): lambda s, d, n: [] if n == 0 else _want(s, str).split(d, n - 1 if n > 0 else -1),
    ("join", 1): lambda v: "".join(_want(v, list)),
    ("join", 2): lambda v, d: _want(d, str).join(_want(v, list)),
    ("format", 2): _format,
    ("replace", 3): lambda s, a, b: _want(s, str).replace(a, b),
    ("charAt", 2): lambda s, i: _substring(s, i, min(i + 1, len(s))),
    ("substring", 2): _substring,
    ("substring", 3): _substring,
    ("indexOf", 2): _index_of,
    ("lastIndexOf", 2): lambda s, p: _want(s, str).rfind(p),
    ("isSorted", 1): lambda v: all(a <= b for a, b in itertools.pairwise(v)),
    ("sum", 1): lambda v: sum(_want(v, list)),
    ("min", 1): _extreme(min),
    ("max", 1): _extreme(max),
    ("distinct", 1): _distinct,
    ("isIP", 1): _holds(_ip),
    ("ip", 1): lambda v: v.ip if isinstance(v, _INTERFACES) else _ip(v),
    ("family", 1): lambda v: v.version,
    ("isUnspecified", 1): lambda v: v.is_unspecified,
    ("isLoopback", 1): lambda v: v.is_loopback,
    ("isLinkLocalMulticast", 1): lambda v: v.is_multicast,
    ("isCIDR", 1): _holds(_cidr),
    ("cidr", 1): _cidr,
    ("containsIP", 2): _contains_ip,
    ("containsCIDR", 2): _contains_cidr,
    ("prefixLength", 1): lambda v: _want(v, *_INTERFACES).network.prefixlen,
    ("masked", 1): _masked,
}
"""(name, number of arguments with the receiver) to what it does."""
