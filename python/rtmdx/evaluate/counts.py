"""What a displacement difference takes: counts before and after, weights of time and area; checked once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.space.values import named, reals

__all__ = [
    "ROLES",
    "areas_in",
    "counts_in",
    "dispersion_in",
    "divisors",
    "positive",
    "require_both",
    "stacked_counts",
    "times_in",
]

Float = NDArray[np.float64]
ROLES = ("control", "treated", "displacement control", "displacement treated")


def stacked_counts(control: Any, treated: Any, d_control: Any, d_treated: Any, shape: tuple[int | None, ...]) -> Float:
    """Return the counts by role, stacked."""
    require_both(d_control, d_treated)
    made = [counts_in(control, "control", shape), counts_in(treated, "treated", shape)]
    if d_control is not None:
        made += [
            counts_in(d_control, "displacement_control", shape),
            counts_in(d_treated, "displacement_treated", shape),
        ]
    if len({m.shape for m in made}) > 1 or not made[0].size:
        raise InputError(
            f"counts: found shapes {', '.join(str(m.shape) for m in made)}, expected one row per type in each."
        )
    return np.stack(made)


def require_both(d_control: Any, d_treated: Any) -> None:
    """Refuse half a displacement pair."""
    if (d_control is None) != (d_treated is None):
        have, lack = ("control", "treated") if d_treated is None else ("treated", "control")
        raise InputError(
            f"displacement_{have} was given without displacement_{lack}; a displacement area needs its own control.",
            hint="Give both, or neither.",
        )


def counts_in(value: Any, name: str, shape: tuple[int | None, ...]) -> Float:
    """Return whole counts of a shape; None in it is any length."""
    expected = {
        (2,): "two counts, before and after",
        (None, 2): "rows of two counts, before and after, one row per type",
        (None,): "a series of counts",
    }[shape]
    array = reals(value, name, expected)
    if array.ndim != len(shape) or any(s is not None and s != n for s, n in zip(shape, array.shape, strict=True)):
        raise InputError(f"{name}: found an array of shape {array.shape}, expected {expected}.")
    bad = ~(np.isfinite(array) & (array >= 0) & (array == np.floor(array)))
    if bad.any():
        i = int(np.flatnonzero(bad.ravel())[0])
        raise InputError(
            f"{name}: found {array.ravel()[i]:g} at {i}, expected whole counts from 0.",
            hint="Give counts; weights of harm go to wdd_harm, of time and area to times and areas.",
        )
    return array


def times_in(times: Any) -> tuple[float, float]:
    """Return the weights of before and after."""
    if times is None:
        return 1.0, 1.0
    array = positive(times, "times", (2,), "two positive numbers: lengths of before and after")
    return float(array[0]), float(array[1])


def areas_in(areas: Any, n: int) -> tuple[float, ...]:
    """Return the weights of n roles."""
    if areas is None:
        return (1.0,) * n
    return tuple(positive(areas, "areas", (n,), f"{n} positive numbers: {', '.join(ROLES[:n])}").tolist())


def divisors(times: Any, areas: Any, n: int) -> Float:
    """Return what each count is divided by, shape (n_roles, 2)."""
    return np.outer(areas_in(areas, n), times_in(times))


def positive(value: Any, name: str, shape: tuple[int, ...], expected: str) -> Float:
    """Return positive numbers of a shape."""
    array = reals(value, name, expected)
    if array.shape != shape or not np.isfinite(array).all() or (array <= 0).any():
        raise InputError(f"{name}: found {named(value)}, expected {expected}.")
    return array


def dispersion_in(value: Any) -> float:
    """Return the factor of the variance."""
    return float(positive(value, "dispersion", (), "a positive number; 1 for Poisson counts"))
