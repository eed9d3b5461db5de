"""What a result keeps of its cross-validation: the kind of folds, their sizes, and one sentence for people."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from rtmdx.errors import InputError
from rtmdx.model.folds import OUTSIDE, BlockSize, Folds, TimeFolds

__all__ = ["FoldKind", "FoldPart", "FoldPlan", "describe_folds"]

FoldKind = Literal["stratified", "spatial", "district", "time"]


@dataclass(frozen=True, slots=True)
class FoldPart:
    """One fold of one repeat.

    Attributes
    ----------
    repeat, fold : int
        From 0.
    cells, events : int
        What is left out; in time all cells, with the events of the part.
    share : float
        Share of the exposure left out: of the cells, or of the days.
    label : str
        The district(s) or the part of the period; "" otherwise.
    """

    repeat: int
    fold: int
    cells: int
    events: int
    share: float
    label: str = ""


@dataclass(frozen=True, slots=True)
class FoldPlan:
    """How the penalty was cross-validated.

    Attributes
    ----------
    kind : {"stratified", "spatial", "district", "time"}
    k : int
        Folds per repeat.
    repeats : int
    seed : int or None
        None where nothing is random.
    block : BlockSize or None
        Spatial blocks.
    offset : bool
        Whether the lattice of blocks was shifted at random.
    parts : tuple of FoldPart
        Every fold of every repeat.
    sentence : str
        All of it in a sentence.
    """

    kind: FoldKind
    k: int
    repeats: int
    seed: int | None
    block: BlockSize | None
    offset: bool
    parts: tuple[FoldPart, ...]
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-compatible data."""
        return asdict(self)


def describe_folds(
    folds: Folds,
    counts: ArrayLike,
    kind: FoldKind,
    *,
    seed: int | None = None,
    block: BlockSize | None = None,
    offset: bool = False,
    districts: tuple[tuple[str, ...], ...] = (),
    unit: str = "",
) -> FoldPlan:
    """Describe folds, and refuse those that cannot be scored.

    Parameters
    ----------
    folds : int32 array, shape (n_cells,) or (repeats, n_cells), or TimeFolds
    counts : array of numbers, shape (n_cells,)
        Events per kept cell.
    kind : {"stratified", "spatial", "district", "time"}
    seed, block, offset
        What the folds were made with.
    districts : tuple of tuple of str
        Districts of each fold, as `district_folds` returns them.
    unit : str
        Short form of the CRS's length unit, for the sentence.

    Raises
    ------
    InputError
        If a fold has no events, or the shapes disagree.
    """
    y = np.asarray(counts, dtype=np.float64)
    if isinstance(folds, TimeFolds):
        if folds.n_cells != y.size or not np.array_equal(folds.total, y):
            raise InputError("the counts of the folds in time do not add up to the counts given.")
        events = folds.counts.sum(axis=1, dtype=np.int64)[None]
        cells = np.full_like(events, folds.n_cells)
        shares, labels = folds.share[None], folds.periods
    else:
        assigned = np.atleast_2d(folds)
        if assigned.shape[1:] != y.shape:
            raise InputError(f"folds of shape {folds.shape} do not fit {y.size} counts.")
        k = int(assigned.max()) + 1
        cells = np.stack([np.bincount(a, minlength=k) for a in assigned])
        events = np.stack([np.bincount(a, weights=y, minlength=k) for a in assigned]).astype(np.int64)
        shares = cells / y.size
        labels = tuple(_listed(d) for d in districts) or ("",) * k
    repeats, k = cells.shape
    parts = tuple(
        FoldPart(r, f, int(cells[r, f]), int(events[r, f]), float(shares[r, f]), labels[f])
        for r in range(repeats)
        for f in range(k)
    )
    _require_events(parts, kind)
    said = _sentence(kind, folds, k, block, offset, districts, unit)
    again = f" It was repeated with {repeats} independent assignments." if repeats > 1 else ""
    return FoldPlan(kind, k, repeats, seed, block, offset, parts, said + again)


def _require_events(parts: tuple[FoldPart, ...], kind: FoldKind) -> None:
    for part in parts:
        if part.events == 0:
            fix = {
                "stratified": "Use fewer folds, a longer period or a broader outcome.",
                "spatial": "Use smaller blocks, fewer folds or another seed.",
                "district": "Use larger districts or fewer folds.",
                "time": "Use fewer folds, or a period that the data cover throughout.",
            }
            of = f" of repeat {part.repeat + 1}" if part.repeat else ""
            raise InputError(
                f"{kind} folds: fold {part.fold + 1}{of} ({part.cells:,} cells) has no events to be scored on.",
                hint=fix[kind],
            )


def _sentence(
    kind: FoldKind,
    folds: Folds,
    k: int,
    block: BlockSize | None,
    offset: bool,
    districts: tuple[tuple[str, ...], ...],
    unit: str,
) -> str:
    if isinstance(folds, TimeFolds):
        days = np.unique(np.diff(folds.edges).astype(np.int64))
        length = f"{days[0]}" if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
        last = folds.edges[-1] - np.timedelta64(1, "D")
        return (
            f"Cross-validation in time: the period {folds.edges[0]} to {last} in {k} consecutive parts of {length} "
            "days, each predicted from the rest."
        )
    if kind == "spatial":
        size = f" of {block.describe(unit)}" if block is not None else ""
        moved = ", their lattice shifted at random" if offset else ""
        return f"{k}-fold cross-validation by spatial blocks{size}{moved}."
    if kind == "district":
        names = [name for group in districts for name in group]
        n = len(names) - (OUTSIDE in names)
        if all(len(group) == 1 for group in districts):
            last = ", the cells outside all of them being one" if OUTSIDE in names else ""
            return f"Leave-one-district-out cross-validation: {k} folds, a district each{last}."
        rest = ", and the cells outside all of them," if OUTSIDE in names else ""
        return f"Cross-validation by whole districts: {n} districts{rest} in {k} folds of similar size."
    return f"{k}-fold cross-validation, cells dealt evenly by their count of events (stratified), wherever they lie."


def _listed(names: tuple[str, ...], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
