"""Numbers, lengths and shares as people read them."""

from __future__ import annotations

import math

__all__ = ["bounds", "count", "length", "number", "p_value", "percent", "plural", "span", "tidy"]

_NBSP = "\u00a0"


def number(value: float | None, digits: int = 3) -> str:
    """Return `value` to `digits` significant digits, thousands separated: 0.0123, 4.57, 1,190."""
    if value is None or not math.isfinite(value):
        return "∞" if value == math.inf else "–"
    if value == 0:
        return "0"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, decimals)
    if rounded and math.floor(math.log10(abs(rounded))) > math.floor(math.log10(abs(value))):
        decimals -= 1  # 9.999 became 10.0
    if abs(rounded) < 1e-4:
        return f"{value:.{digits - 1}e}".replace("-", "−")
    return f"{rounded:,.{max(0, decimals)}f}".replace("-", "−")


def tidy(value: float) -> str:
    """Return a round number without idle zeros: 0.5, 30, 1,000."""
    return f"{value:,.6g}".replace("-", "−")


def count(value: float) -> str:
    """Return a whole number with thousands separated."""
    return f"{round(value):,}" if math.isfinite(value) else "–"


def plural(n: int, one: str, many: str | None = None) -> str:
    """Return "1 event", "1,234 events"."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def percent(share: float) -> str:
    """Return a share as per cent: 0.42 %, 5.3 %, 42 %."""
    if not math.isfinite(share):
        return "–"
    value = 100 * share
    if 0 < value < 0.001:
        return f"<{_NBSP}0.001{_NBSP}%"
    if 0 < value < 0.1:
        return f"{number(value, 2)}{_NBSP}%"
    return f"{value:.1f}{_NBSP}%" if value < 99.95 else f"100{_NBSP}%"


def length(value: float, unit: str) -> str:
    """Return a length with its unit: "136.5 m", "2,640 ft"."""
    return f"{value:,.10g}{_NBSP}{unit}"


def span(low: float, high: float, digits: int = 3) -> str:
    """Return an interval: "1.23 to 4.56"."""
    return f"{number(low, digits)} to {number(high, digits)}"


def bounds(low: float, expected: float, high: float, *, whole: bool = False) -> str:
    """Return expected figure with the limits over the ties, or one figure where ties change nothing."""
    if not all(map(math.isfinite, (low, expected, high))):
        return "–"
    show = count if whole else number
    middle = f"{expected:,.1f}".removesuffix(".0") if whole else number(expected)
    if math.isclose(low, high, rel_tol=1e-9):
        return show(expected)
    return f"{middle} ({show(low)} to {show(high)})"


def p_value(p: float) -> str:
    """Return a p value: "0.012", or "< 0.001"."""
    if not math.isfinite(p):
        return "–"
    return f"<{_NBSP}0.001" if p < 0.001 else f"{p:.3f}"
