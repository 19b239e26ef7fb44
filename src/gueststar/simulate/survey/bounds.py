"""Ranges (low, high) as options, checked to be ordered and inside their bounds."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Pair", "within"]

Pair = tuple[float, float]


def within(lowest: float, highest: float) -> Callable[[Pair], Pair]:
    """Check of a range (low, high): ordered, and inside the bounds."""

    def check(value: Pair) -> Pair:
        low, high = value
        if not lowest <= low <= high <= highest:
            raise ValueError(f"a range (low, high) with {lowest:g} <= low <= high <= {highest:g} is needed")
        return value

    return check
