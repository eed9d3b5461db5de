"""What NumPy makes no array or dtype of is an error of ours, whatever NumPy or the value itself raises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from rtmdx.errors import InputError
from rtmdx.space.grid import Grid
from rtmdx.space.rasters import values_in
from rtmdx.space.values import array_in, as_array, as_dtype, reals, whole_numbers


class Pending:
    """As a symbolic tensor: an array whose values are not there yet."""

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError("no values yet")


class Endless:
    """An array that tells a length beyond the machine's."""

    __array_interface__ = {"shape": (10**30,), "typestr": "<f8", "version": 3}  # noqa: RUF012


NO_ARRAYS = {
    "ragged": [[1], [2, 3]],
    "bytes beside text": ["a", b"\xff"],
    "Dataset": xr.Dataset({"a": 1}),
    "pending": Pending(),
    "endless": Endless(),
}
GRID = Grid("EPSG:32615", 0.0, 2.0, 1.0, np.ones((2, 2), dtype=bool))


@pytest.mark.parametrize("value", NO_ARRAYS.values(), ids=NO_ARRAYS)
def test_what_is_no_array_is_named(value: Any) -> None:
    assert as_array(value) is None
    for take in (
        lambda: array_in(value, "x", "numbers"),
        lambda: reals(value, "x", "numbers"),
        lambda: whole_numbers(value, "x", "numbers"),
        lambda: values_in(value, "x"),
        lambda: GRID.to_cells(value),
    ):
        with pytest.raises(InputError, match="found .*expected an array|found .*expected numbers"):
            take()


def test_a_number_beyond_double_precision_is_no_real() -> None:
    with pytest.raises(InputError, match="beyond double precision"):
        reals([1.0, 10**400], "x", "numbers")


@pytest.mark.parametrize(
    "value",
    [None, "float33", "f4,,", [("a", "f4"), ("a", "f4")], object()],
    ids=["None", "name", "syntax", "twice", "object"],
)
def test_what_is_no_dtype(value: Any) -> None:
    assert as_dtype(value) is None


def test_arrays_and_dtypes_pass() -> None:
    array = np.arange(3)
    assert as_array(array) is array
    assert as_dtype("f4") == np.float32
