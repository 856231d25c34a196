"""How something grows with the cluster. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from math import log


def exponent(values: Mapping[int, float]) -> float | None:
    """The slope of the straight line through log(value) over log(size), by least squares: 1 is linear growth.

    None when that says nothing: fewer than two sizes, or a value that is not above 0.
    """
    if len(values) < 2 or min(values.values()) <= 0:
        return None
    points = [(log(size), log(value)) for size, value in values.items()]
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    across = sum((x - mean_x) * (y - mean_y) for x, y in points)
    return across / sum((x - mean_x) ** 2 for x, _ in points)
