"""What a model is fitted to: counts, and exposures, one per kept cell, checked once."""

from __future__ import annotations

from decimal import Decimal
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx.errors import InputError
from rtmdx.space.values import reals

__all__ = ["check_counts", "check_exposure"]

Float = NDArray[np.float64]

MOST = 2.0**53  # beyond it doubles no longer hold every whole number


def check_counts(n_cells: int, counts: ArrayLike) -> Float:
    """Return the counts as float64, one whole number >= 0 per kept cell.

    Raises
    ------
    InputError
        If they are anything else, missing or beyond 2^53, naming the cell.
    """
    y = _numbers(counts, "counts", "count", "a whole number >= 0")
    if y.shape != (n_cells,):
        raise InputError(f"counts have shape {y.shape}, expected ({n_cells},): one per kept cell.")
    good = np.isfinite(y) & (y >= 0) & (y == np.floor(y))
    if not good.all():
        i = int(np.argmin(good))
        raise InputError(f"count {y[i]} of cell {i} is not a whole number >= 0.")
    if y.max(initial=0.0) > MOST:
        i = int(np.argmax(y))
        raise InputError(f"count {y[i]:g} of cell {i} is beyond 2^53, up to which doubles hold every whole number.")
    return y


def check_exposure(n_cells: int, exposure: ArrayLike | None, counts: Float | None = None) -> Float | None:
    """Return the exposure as float64, one finite number >= 0 per kept cell; None stays None.

    Raises
    ------
    InputError
        If it is anything else or missing, 0 in every cell, or 0 in a cell with events; it names the cell.
    """
    if exposure is None:
        return None
    e = np.ascontiguousarray(_numbers(exposure, "exposure", "exposure", "a finite number >= 0"))
    if e.shape != (n_cells,):
        raise InputError(f"exposure has shape {e.shape}, expected ({n_cells},): one number per kept cell.")
    good = np.isfinite(e) & (e >= 0)
    if not good.all():
        i = int(np.argmin(good))
        raise InputError(f"exposure {e[i]} of cell {i} is not a finite number >= 0.")
    if counts is not None and ((counts > 0) & (e == 0)).any():
        i = int(np.argmax((counts > 0) & (e == 0)))
        raise InputError(
            f"cell {i} has {counts[i]:g} events but exposure 0 (offset -inf): they would be impossible.",
            hint="Give every cell with events an exposure, or move events to the nearest cell that has one.",
        )
    if not (e > 0).any():
        raise InputError("exposure is 0 in every cell: there is nothing to fit.")
    return e


def _numbers(values: ArrayLike, names: str, name: str, expected: str) -> Float:
    """Return float64; a value that is masked or no number is named with its cell."""
    if np.ma.is_masked(values):
        cell = int(np.argmax(np.ma.getmaskarray(np.ma.asarray(values)).ravel()))
        raise InputError(f"{name} of cell {cell} is masked, expected {expected}.")
    try:
        return reals(values, names, f"{expected} per kept cell")
    except InputError:
        array = np.asarray(values, dtype=object)
        for cell, value in enumerate(array.tolist() if array.ndim == 1 else []):
            if not isinstance(value, (Real, Decimal)):
                raise InputError(f"{name} {value!r} of cell {cell} is not {expected}.") from None
        raise
