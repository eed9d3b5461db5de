"""What plain values must be: numbers, names, arrays of numbers, coordinate systems; no geometry and no grid here."""

from __future__ import annotations

import numbers
import operator
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import CRSError, InputError

if TYPE_CHECKING:
    import pyproj

__all__ = [
    "array_in",
    "as_array",
    "as_dtype",
    "choice",
    "crs_in",
    "crs_name",
    "flag",
    "kind_of",
    "named",
    "number",
    "reals",
    "text",
    "whole",
    "whole_numbers",
]

_SHOWN = 60
_PLAIN = (str, bytes, bool, int, float, complex, list, tuple, dict, set, np.generic)


def named(value: Any) -> str:
    """Name a value in a message: itself if it is short, else what it is."""
    if isinstance(value, np.ndarray) and value.ndim:
        return f"an array of {value.dtype} of shape {value.shape}"
    if isinstance(value, type):
        return f"the type {value.__name__}"
    if isinstance(value, (str, bytes, list, tuple, dict, set)) and len(value) > _SHOWN:  # a repr would take its time
        return f"a {type(value).__name__} of length {len(value):,}"
    try:
        shown = repr(value)
    except Exception:  # a value whose repr fails is still to be named
        shown = ""
    plain = value is None or isinstance(value, _PLAIN)
    if plain and shown and len(shown) <= _SHOWN and "\n" not in shown:
        return shown
    return f"a value of type {type(value).__name__}" if plain else type(value).__name__


def kind_of(dtype: np.dtype[Any]) -> str:
    """Name what an array of this dtype holds."""
    return {"U": "text", "S": "bytes", "c": "complex numbers", "M": "dates", "m": "spans of time"}.get(
        dtype.kind, f"values of type {dtype}"
    )


def number(value: Any, name: str) -> float:
    """Return a plain number; it may be infinite or NaN."""
    plain = value
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item") and not isinstance(value, np.ma.MaskedArray):
        plain = value.item()
    if not isinstance(plain, bool) and isinstance(plain, (numbers.Real, Decimal)):
        try:
            return float(plain)
        except (OverflowError, ValueError):
            raise InputError(f"{name}: found a number beyond double precision, expected one below 1e308.") from None
    raise InputError(f"{name}: found {named(value)}, expected a number.")


def whole(
    value: Any, name: str, *, least: int | None = None, most: int | None = None, what: str = "a whole number"
) -> int:
    """Return a whole number from `least` to `most`."""
    try:
        n = None if isinstance(value, (bool, np.bool_)) else operator.index(value)
    except TypeError:
        n = None
    if n is None or (least is not None and n < least) or (most is not None and n > most):
        low = "" if least is None else f", {least} or more"
        high = "" if most is None or n is None or n <= most else f", at most {most}"
        raise InputError(f"{name}: found {named(value)}, expected {what}{high or low}.")
    return n


def choice(value: Any, name: str, allowed: Sequence[str], *, optional: bool = False) -> str:
    """Return one of the names allowed."""
    if isinstance(value, str) and value in allowed:
        return value
    raise InputError(
        f"{name}: found {named(value)}, expected one of {', '.join(allowed)}{', or None' if optional else ''}."
    )


def flag(value: Any, name: str) -> bool:
    """Return True or False."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise InputError(f"{name}: found {named(value)}, expected True or False.")


def text(value: Any, name: str, what: str = "a name") -> str:
    """Return a string that is not empty."""
    if isinstance(value, str) and value:
        return value
    raise InputError(f"{name}: found {named(value)}, expected {what}, a string that is not empty.")


def as_array(value: Any, dtype: Any = None) -> NDArray[Any] | None:
    """Return a value as an array, or None where NumPy can make none of it."""
    try:
        return np.asarray(value, dtype=dtype)
    # ValueError: rows of unequal length, bytes that are no text beside text. TypeError: what refuses to be an array,
    # as an xarray.Dataset or a tensor in a GPU's memory. NotImplementedError: an array whose values are not there yet,
    # as a symbolic tensor. OverflowError: a whole number of more than 308 digits among floats, or a length, told by
    # __array_interface__, beyond the machine's. What else is raised is no property of the value, or a defect.
    except (ValueError, TypeError, NotImplementedError, OverflowError):
        return None


def array_in(value: Any, name: str, expected: str) -> NDArray[Any]:
    """Return an array of any dtype; `expected` says what it should be."""
    array = as_array(value)
    if array is None:
        raise InputError(f"{name}: found {named(value)}, expected {expected}.")
    return array


def as_dtype(value: Any) -> np.dtype[Any] | None:
    """Return a dtype, or None where NumPy knows none by this name, and for None, which it takes for float64."""
    try:
        return None if value is None else np.dtype(value)
    # TypeError: an unknown name or type. ValueError: two fields of one name. SyntaxError: "f4,,", which it parses.
    except (TypeError, ValueError, SyntaxError):
        return None


def reals(value: Any, name: str, expected: str) -> NDArray[np.float64]:
    """Return real numbers as a float64 array; `expected` says what they should be.

    Nothing is taken for a number that is none: no text, complex number, date or masked value.
    """
    array = array_in(value, name, expected)
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        n = int(np.count_nonzero(np.ma.getmaskarray(value)))
        raise InputError(f"{name}: found {n:,} masked values, expected {expected}.")
    if array.dtype == object and not all(isinstance(v, (numbers.Real, Decimal)) for v in array.flat):
        raise InputError(f"{name}: found {_odd(array)}, expected {expected}.")
    if array.dtype.kind not in "fiubO":
        raise InputError(f"{name}: found {kind_of(array.dtype)}, expected {expected}.")
    made = as_array(array, np.float64)
    if made is None:
        raise InputError(f"{name}: found a number beyond double precision, expected {expected}.")
    return made


def whole_numbers(value: Any, name: str, expected: str) -> NDArray[np.int64]:
    """Return whole numbers as an int64 array; floats that are whole pass."""
    array = array_in(value, name, expected)
    if array.dtype.kind not in "iuf" or isinstance(value, np.ma.MaskedArray):
        raise InputError(
            f"{name}: found {kind_of(array.dtype) if array.dtype != object else _odd(array)}, expected {expected}."
        )
    with np.errstate(invalid="ignore"):
        small = np.abs(array) < 2.0**53 if array.dtype.kind == "f" else array <= np.iinfo(np.int64).max
        fit = bool(small.all() and (array.dtype.kind != "f" or (array == np.floor(array)).all()))
    if not fit:
        raise InputError(f"{name}: found numbers that are not whole or too large, expected {expected}.")
    return np.asarray(array, dtype=np.int64)


def _odd(array: NDArray[Any]) -> str:
    first = next((v for v in array.flat if not isinstance(v, (numbers.Real, Decimal))), None)
    return named(first)


def crs_in(value: Any, what: str) -> pyproj.CRS:
    """Return a coordinate reference system from anything pyproj takes."""
    import pyproj

    try:
        return pyproj.CRS.from_user_input(value)
    except (pyproj.exceptions.CRSError, AttributeError, TypeError, ValueError) as error:
        shown = named(value) if not isinstance(value, str) else repr(value[:_SHOWN])
        reason = f" ({str(error)[:200]})" if isinstance(error, pyproj.exceptions.CRSError) else ""
        raise CRSError(
            f"{what}: {shown} is no coordinate reference system{reason}.",
            hint='Name it as "EPSG:....", with WKT or a pyproj.CRS.',
        ) from None


def crs_name(crs: Any) -> str:
    """Name a coordinate reference system in a message: its code if it has one, else its title."""
    return str(crs.to_string() if hasattr(crs, "to_string") and crs.to_epsg() else getattr(crs, "name", crs))
