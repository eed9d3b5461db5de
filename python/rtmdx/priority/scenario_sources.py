"""Where scenarios' scores are read from, one or a few at a time: a sweep's store, or any array of scenarios."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError, StoreError
from rtmdx.priority.places import PlaceScores
from rtmdx.space.grid import Grid
from rtmdx.space.values import choice, named, whole
from rtmdx.sweep.results import SweepResults, open_sweep
from rtmdx.sweep.store import SweepStore, grid_of

if TYPE_CHECKING:
    from rtmdx.sweep.contract import GridEntry

__all__ = ["ScenarioScores", "scenario_scores"]

Real = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class ScenarioScores:
    """Scores of the same cells or places in one scenario after another.

    Attributes
    ----------
    unit : {"cell", "place"}
    n : int
        Cells or places.
    dtype : dtype
        float32 or float64.
    numbers : tuple of int
        Each scenario's place in its store or array.
    labels : tuple of str
    batches : tuple of (start, stop)
        Positions in `numbers` that are read at once.
    read : callable
        ``read(start, stop)`` returns the scores of a batch, shape (stop - start, n), NaN where there is none; from any
        thread.
    left_out : dict of str to int
        Scenarios that are not read: why, and how many.
    grid : Grid or None
        Of the cells.
    index, shapes : of the places, or None
    notes : tuple of str
    """

    unit: Literal["cell", "place"]
    n: int
    dtype: np.dtype[Any]
    numbers: tuple[int, ...]
    labels: tuple[str, ...]
    batches: tuple[tuple[int, int], ...]
    read: Callable[[int, int], Real]
    left_out: dict[str, int]
    grid: Grid | None = None
    index: Any = None
    shapes: Any = None
    notes: tuple[str, ...] = ()


def scenario_scores(
    store: Any,
    by: str,
    grid: Any,
    places: Any,
    statistic: str,
    scenarios: Sequence[int | str] | None,
    memory: float,
    scratch: str | os.PathLike[str] | None,
    held: ExitStack,
) -> ScenarioScores:
    """Return what `stability` ranks; parameters and errors as there. What is made for it is gone when `held` ends."""
    choice(statistic, "statistic", ("mean", "max", "sum"))
    if isinstance(store, (str, os.PathLike)):
        store = _opened(os.fspath(store))
    if isinstance(store, SweepResults):
        choice(by, "by", ("score", "expected"))
        return _of_sweep(store, by, grid, places, statistic, scenarios)
    if by != "score":
        raise InputError(f"by: {by!r} is of a sweep's store; store is {named(store)}, which is ranked as it stands.")
    if grid is not None and not isinstance(grid, Grid):
        raise InputError(f"grid: found {named(grid)}, expected the Grid the array's cells lie on.")
    found = _of_array(store, grid, scenarios, memory, scratch, held)
    if places is None:
        return found
    if grid is None:
        raise InputError("places: scores of cells need a grid.", hint="Give grid=..., the Grid of the array's cells.")
    score = PlaceScores(grid, places, statistic)

    def read(start: int, stop: int) -> Real:
        return np.stack([score(row) for row in found.read(start, stop)])

    return _by_place(found, score, read)


def _opened(url: str) -> Any:
    if SweepStore.exists(url):
        return open_sweep(url)
    import zarr

    try:
        array = zarr.open(url, mode="r")
    except Exception as error:
        raise StoreError(
            f"store {url}: is neither a sweep's store nor a Zarr array ({type(error).__name__}).",
            hint="Give the folder or URL that the sweep was written to.",
        ) from None
    if isinstance(array, zarr.Group):
        raise InputError(
            f"store {url}: is a Zarr group, expected a sweep's store or an array (scenario, y, x).",
            hint=f"Name one of its arrays: {', '.join(sorted(array.array_keys())) or 'it has none'}.",
        )
    return array


def _of_sweep(
    results: SweepResults, by: str, grid: Any, places: Any, statistic: str, scenarios: Sequence[int | str] | None
) -> ScenarioScores:
    entries = results.manifest.scenarios
    if grid is not None and not isinstance(grid, str):
        raise InputError(f"grid: found {named(grid)}, expected the key of one of the sweep's grids.")
    grids: dict[str, GridEntry] = {g.key: g for g in results.manifest.grids}
    if grid is not None and grid not in grids:
        raise InputError(f"grid: found {grid!r}, expected one of {', '.join(grids)}.")
    asked = _named_scenarios(results, scenarios)
    states = results.states()
    left: dict[str, int] = {}
    numbers: list[int] = []
    for i in asked:
        if grid is not None and entries[i].grid != grid:
            left["of another grid"] = left.get("of another grid", 0) + 1
        elif states[i] != "succeeded":
            left[states[i]] = left.get(states[i], 0) + 1
        else:
            numbers.append(i)
    if not numbers:
        raise InputError(
            f"store: none of {len(asked):,} scenarios is complete ({_counts(left)}).", hint="Resume the sweep."
        )
    used = list(dict.fromkeys(entries[i].grid for i in numbers))
    if len(used) > 1 and places is None:
        raise InputError(
            f"store: the scenarios lie on {len(used)} different grids ({', '.join(used)}), whose cells cannot be "
            "ranked against each other.",
            hint="Name one (grid=...), or rank places (places=...), which all of them have.",
        )
    labels = tuple(entries[i].label for i in numbers)
    batches = tuple((p, p + 1) for p in range(len(numbers)))
    readers = {key: results.cell_reader(by, key) for key in used}
    frames = {key: grid_of(grids[key]) for key in used}
    first = frames[used[0]]

    def read(start: int, stop: int) -> Real:
        assert stop == start + 1
        return readers[entries[numbers[start]].grid](numbers[start])[None]

    found = ScenarioScores(
        "cell", first.n_cells, np.dtype(np.float32), tuple(numbers), labels, batches, read, left, first
    )
    if places is None:
        return found
    scores = {key: PlaceScores(frame, places, statistic) for key, frame in frames.items()}

    def read_places(start: int, stop: int) -> Real:
        assert stop == start + 1
        key = entries[numbers[start]].grid
        return scores[key](readers[key](numbers[start]))[None]

    several = () if len(used) == 1 else (f"The scenarios lie on {len(used)} grids; places are compared across them.",)
    made = _by_place(found, scores[used[0]], read_places)
    return replace(made, notes=(*made.notes, *several))


def _named_scenarios(results: SweepResults, scenarios: Sequence[int | str] | None) -> list[int]:
    entries = results.manifest.scenarios
    if scenarios is None:
        return [e.index for e in entries]
    by_name: dict[int | str, int] = {e.id: e.index for e in entries}
    by_name.update({e.index: e.index for e in entries})
    if isinstance(scenarios, (str, int)) or not len(scenarios):
        raise InputError(f"scenarios: found {named(scenarios)}, expected a list of their places or ids.")
    for name in scenarios:
        if name not in by_name:
            raise InputError(
                f"scenarios: the sweep has no {named(name)}.", hint="`rtmdx.open_sweep(...).scenarios` lists them."
            )
    return sorted({by_name[s] for s in scenarios})


def _of_array(
    array: Any, grid: Grid | None, scenarios: Sequence[int | str] | None, memory: float,
    scratch: str | os.PathLike[str] | None, held: ExitStack,
) -> ScenarioScores:  # fmt: skip
    labels: NDArray[Any] | None = None
    if hasattr(array, "dims") and hasattr(array, "isel"):
        array, labels, chunks = _of_dataarray(array)
    else:
        if not (hasattr(array, "shape") and hasattr(array, "dtype") and hasattr(array, "__getitem__")):
            array = np.asarray(array)
        chunks = getattr(array, "shards", None) or getattr(array, "chunks", None)
    shape = tuple(int(v) for v in array.shape)
    if len(shape) not in (2, 3) or not all(shape):
        raise InputError(
            f"store: found an array of shape {shape}, expected (scenario, y, x), or (scenario, cell), none of them 0."
        )
    kind = np.dtype(array.dtype)
    if kind.kind not in "fiub" or kind.itemsize > 8:
        raise InputError(f"store: found values of type {kind}, expected numbers.")
    mask = None
    if grid is not None:
        if shape[1:] not in (grid.shape, (grid.n_cells,)):
            raise InputError(f"store: has cells of shape {shape[1:]}, the grid {grid.shape}.")
        mask = None if shape[1:] == (grid.n_cells,) and grid.shape != shape[1:] else grid.mask
        mask = None if mask is not None and mask.all() else mask
    real = np.dtype(np.float32) if kind == np.float32 else np.dtype(np.float64)
    numbers = tuple(range(shape[0]))
    if scenarios is not None:
        numbers = tuple(sorted({whole(s, "scenarios", least=0, most=shape[0] - 1) for s in scenarios}))
        if not numbers:
            raise InputError("scenarios: found none, expected a list of their places.")
    at_once = 1 if chunks is None else max(1, min(_longest(chunks[0]), shape[0]))
    if at_once > 1 and at_once * math.prod(shape[1:]) * kind.itemsize > memory:
        array = _one_by_one(array, shape, chunks, scratch, held)
        at_once = 1
    batches: list[tuple[int, int]] = []
    for p, number in enumerate(numbers):
        if batches and number // at_once == numbers[batches[-1][0]] // at_once:
            batches[-1] = (batches[-1][0], p + 1)
        else:
            batches.append((p, p + 1))

    def read(start: int, stop: int) -> Real:
        first, last = numbers[start], numbers[stop - 1] + 1
        block = np.asarray(array[first:last], dtype=real)
        block = block[[number - first for number in numbers[start:stop]]] if stop - start < last - first else block
        return np.ascontiguousarray(block.reshape(stop - start, -1) if mask is None else block[:, mask])

    n = math.prod(shape[1:]) if grid is None else grid.n_cells
    told = tuple(str(labels[i]) if labels is not None else str(i) for i in numbers)
    return ScenarioScores("cell", n, real, numbers, told, tuple(batches), read, {}, grid)


def _of_dataarray(array: Any) -> tuple[Any, NDArray[Any] | None, Any]:
    """Return the lazily indexed values of a DataArray, dims (scenario, y, x), its labels and chunks."""
    dims = list(array.dims)
    if len(dims) == 3 and {"y", "x"} <= set(dims):
        own = next(d for d in dims if d not in ("y", "x"))
        array = array.transpose(own, "y", "x")
    else:
        own = dims[0] if dims else ""
    labels = array.coords[own].values if own in array.coords else None
    chunks = array.chunks
    if chunks is None and list(array.dims) == dims:
        chunks = array.encoding.get("shards") or array.encoding.get("chunks")
    return _Lazy(array), labels, chunks


class _Lazy:
    """A DataArray that is indexed by scenario as an array is."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, key: Any) -> NDArray[Any]:
        values: NDArray[Any] = self._array[key].values
        return values


def _longest(chunk: Any) -> int:
    return int(max(chunk)) if isinstance(chunk, tuple) else int(chunk)


def _one_by_one(
    array: Any, shape: tuple[int, ...], chunks: Any, scratch: str | os.PathLike[str] | None, held: ExitStack
) -> Any:
    """Copy an array whose chunks hold many scenarios into one that is read a scenario at a time, chunk by chunk."""
    import tempfile

    import zarr

    folder = held.enter_context(tempfile.TemporaryDirectory(dir=scratch, prefix="rtmdx-scenarios-"))
    depth, rows = _longest(chunks[0]), _longest(chunks[1])
    copy = zarr.create_array(
        folder, shape=shape, dtype=array.dtype, chunks=(1, min(rows, shape[1]), *shape[2:]), compressors=None
    )
    for first in range(0, shape[0], depth):
        for row in range(0, shape[1], rows):
            part = (slice(first, first + depth), slice(row, row + rows))
            copy[part] = array[part]
    return copy


def _by_place(found: ScenarioScores, score: PlaceScores, read: Callable[[int, int], Real]) -> ScenarioScores:
    return replace(
        found, unit="place", n=len(score.index), dtype=np.dtype(np.float64), read=read, grid=None, index=score.index,
        shapes=score.shapes, notes=score.notes,
    )  # fmt: skip


def _counts(left: dict[str, int]) -> str:
    return ", ".join(f"{n:,} {why}" for why, n in left.items()) or "there are none"
