"""A risk terrain laid over hot spots: where the landscape is risky, where events were, and where both.

Sources: Kennedy, Caplan & Piza (2011) for hot spots within risky ground; Breitling et al. (2004) for rank products.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx.errors import InputError
from rtmdx.model.export import plain
from rtmdx.model.scores import risk_bands
from rtmdx.model.terrain import RiskTerrain
from rtmdx.priority.inputs import By, cell_values, values_in
from rtmdx.priority.saving import save_units
from rtmdx.priority.ties import Ranks, ranks_of, tau_of
from rtmdx.space.arguments import thread_count
from rtmdx.space.density import KernelName, density_array
from rtmdx.space.layers import Events
from rtmdx.space.values import choice, named, number

if TYPE_CHECKING:
    import pandas as pd

    from rtmdx.space.grid import Grid

__all__ = ["CombinedClass", "HotSpotOverlay", "combine"]

Float = NDArray[np.float64]
How = Literal["both", "either", "rank_product"]
CLASSES = ("both", "terrain only", "hot spot only", "neither")


@dataclass(frozen=True, slots=True)
class CombinedClass:
    """A class of cells, or the cells chosen.

    Attributes
    ----------
    name : str
    n : int
    area_share : float
        Share of the cells.
    events : float
    event_share : float
        Of all events; NaN without events.
    pai : float
        Predictive accuracy index: share of events over share of area; NaN for a class without cells.
    """

    name: str
    n: int
    area_share: float
    events: float
    event_share: float
    pai: float


@dataclass(frozen=True, eq=False)
class HotSpotOverlay:
    """A terrain and hot spots on one grid.

    Attributes
    ----------
    grid : Grid
    how : {"both", "either", "rank_product"}
    cut : str
        How the top of each was cut.
    bandwidth : float or None
        Of the density, CRS units; None where hot spots were given by cell.
    terrain, hot_spots : float64 arrays, shape (n,)
        The two scores by cell.
    index : uint8 array, shape (n,)
        Position in `classes` of each cell.
    classes : tuple of CombinedClass
        both, terrain only, hot spot only, neither.
    weight : float
        Of the terrain in the rank product; the hot spots have the rest.
    rank_product : float64 array, shape (n,)
        Weighted geometric mean of the two ranks, 1 being first in both; ties have their mean rank in each.
    chosen : bool array, shape (n,)
        What `how` chooses.
    choice : CombinedClass
        What it holds.
    in_both_by_chance : float
        Cells that would be in both classes if the two knew nothing of each other.
    tau : float
        Kendall's tau-b of the two.
    notes : tuple of str
        What a reader must know.
    """

    grid: Grid
    how: How
    cut: str
    bandwidth: float | None
    terrain: Float = field(repr=False)
    hot_spots: Float = field(repr=False)
    index: NDArray[np.uint8] = field(repr=False)
    classes: tuple[CombinedClass, ...]
    weight: float
    rank_product: Float = field(repr=False)
    chosen: NDArray[np.bool_] = field(repr=False)
    choice: CombinedClass
    in_both_by_chance: float
    tau: float
    notes: tuple[str, ...] = ()

    @property
    def score(self) -> Float:
        """1 - (rank product - 1) / n: what `rank` takes to rank by both; 1 is first in both."""
        return 1.0 - (self.rank_product - 1.0) / self.rank_product.size

    def _columns(self) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame(
            {
                "class": np.array(CLASSES, dtype=object)[self.index],
                "terrain": self.terrain,
                "hot_spots": self.hot_spots,
                "rank_product": self.rank_product,
                "chosen": self.chosen,
            }
        )

    def to_frame(self) -> pd.DataFrame:
        """Return one row per cell, the least rank product first."""
        return self._columns().iloc[np.argsort(self.rank_product, kind="stable")]

    def class_frame(self) -> pd.DataFrame:
        """Return one row per class, and one for what was chosen."""
        import pandas as pd

        return pd.DataFrame([asdict(c) for c in (*self.classes, self.choice)])

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the cells as ``.csv``, or as ``.gpkg`` with their squares and the classes.

        Raises
        ------
        InputError
            `path` ends in neither.
        OutputError
            `path` exists (and not `overwrite`), or cannot be written.
        """
        return save_units(
            path, "cell", self._columns(), grid=self.grid, more={"classes": self.class_frame()},
            title="Risk terrain and hot spots", overwrite=overwrite,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return everything but cells as plain data."""
        return {
            "how": self.how,
            "cut": self.cut,
            "bandwidth": self.bandwidth,
            "weight": self.weight,
            "cells": int(self.index.size),
            "classes": [plain(asdict(c)) for c in self.classes],
            "choice": plain(asdict(self.choice)),
            "in_both_by_chance": self.in_both_by_chance,
            "tau": None if np.isnan(self.tau) else self.tau,
            "notes": list(self.notes),
            "sentence": self.sentence(),
        }

    def sentence(self) -> str:
        """Say it in a few plain sentences."""

        def said(c: CombinedClass) -> str:
            held = "" if np.isnan(c.event_share) else f" with {c.events:,g} events ({100 * c.event_share:.3g} %)"
            return f"{c.n:,} cells ({100 * c.area_share:.3g} %){held}"

        both, terrain, spots, _ = self.classes
        return (
            f"Risky ground and hot spots (top of each: {self.cut}) meet in {said(both)}; by chance they would in "
            f"{self.in_both_by_chance:,.1f}. Risky ground alone: {said(terrain)}. Hot spots alone: {said(spots)}."
        )


def combine(
    terrain: Any,
    hot_spots: Any = None,
    *,
    how: How = "both",
    top: float | Sequence[float] | None = None,
    by: By = "score",
    grid: Grid | None = None,
    bandwidth: float | None = None,
    kernel: KernelName = "epanechnikov",
    weight: float = 0.5,
    events: ArrayLike | None = None,
    threads: int | None = None,
) -> HotSpotOverlay:
    """Lay a risk terrain over hot spots.

    Cells that are risky *and* hot have both reasons to come first; those that are risky only are where events may move
    or begin; those that are hot only have a cause the terrain does not know.

    Parameters
    ----------
    terrain : RiskTerrain, or float array of shape (n,) or (rows, cols)
        Higher is riskier; your own scores need `grid`.
    hot_spots : Events, points, raster or numbers by cell, optional
        Points are made a kernel density on the same grid; numbers (one per cell, or a raster) are taken as they stand,
        higher being hotter. By default the events the terrain was fitted to.
    how : {"both", "either", "rank_product"}
        What is chosen: cells in the top of both, in the top of either, or, by the least rank product, as many cells as
        the terrain's top has (with all that tie with the last one).
    top : float or pair of float, optional
        Share of the cells that is the top, of both or of each; what ties with the last cell belongs to it. By default
        cells of at least the mean + 2 standard deviations, as a terrain's highest class.
    by : {"score", "expected", "posterior"}
        Which figure of a terrain.
    grid : Grid, optional
        Where your own scores lie.
    bandwidth : float, optional
        Of the density, CRS units; by default the largest influence of the terrain's factors.
    kernel : str
        As in `rtmdx.density`.
    weight : float
        Of the terrain's rank in the rank product, 0 to 1; the hot spots' has the rest.
    events : array of numbers >= 0, shape (n,), optional
        Events of each cell to judge by; by default those the terrain was fitted to, which flatters.
    threads : int, optional
        The result does not depend on it.

    Returns
    -------
    HotSpotOverlay

    Raises
    ------
    InputError
        An argument is out of range, scores are not finite, or numbers of cells differ.
    CRSError
        The points are in another CRS than the grid.
    """
    choice(how, "how", ("both", "either", "rank_product"))
    weight = number(weight, "weight")
    if not 0 <= weight <= 1:
        raise InputError(f"weight: found {weight:g}, expected the terrain's share, from 0 to 1.")
    score, own = cell_values(terrain, by, grid, "terrain")
    grid = own if own is not None else grid
    if grid is None:
        raise InputError("terrain: your own scores need a grid.", hint="Give grid=..., the Grid of the cells.")
    n, n_threads = grid.n_cells, thread_count(threads)
    notes: list[str] = []
    fitted = terrain if isinstance(terrain, RiskTerrain) else None
    if hot_spots is None and fitted is None:
        raise InputError("hot_spots: found None, and the terrain is none of ours whose events could be taken.")
    source = fitted.events if hot_spots is None and fitted is not None else hot_spots
    spots, width = _density_of(source, fitted, grid, bandwidth, kernel, n_threads)
    held = None if events is None else values_in(events, "events", n, least=0.0)
    if held is None and fitted is not None:
        held = fitted.counts.astype(np.float64)
        notes.append(
            "The events counted are those the terrain was fitted to: both layers have seen them. Give those of a later "
            "period (events=...) to judge by."
        )
    shares = _tops(top)
    a, b = ranks_of(score, n_threads), ranks_of(spots, n_threads)
    in_a, cut_a = _top(score, a, shares[0])
    in_b, cut_b = _top(spots, b, shares[1])
    index = np.where(in_a, np.where(in_b, 0, 1), np.where(in_b, 2, 3)).astype(np.uint8)
    # equal products tie, whatever their rounding
    product = np.exp(np.round(weight * np.log(a.mean) + (1.0 - weight) * np.log(b.mean), 12))
    if how == "rank_product":
        k = int(np.count_nonzero(in_a))
        chosen = product <= np.partition(product, k - 1)[k - 1] if k else np.zeros(n, dtype=np.bool_)
    else:
        chosen = in_a & in_b if how == "both" else in_a | in_b
    return HotSpotOverlay(
        grid=grid,
        how=how,
        cut=cut_a if cut_a == cut_b else f"terrain {cut_a}, hot spots {cut_b}",
        bandwidth=width,
        terrain=score,
        hot_spots=spots,
        index=index,
        classes=tuple(_held(name, index == i, held) for i, name in enumerate(CLASSES)),
        weight=weight,
        rank_product=product,
        chosen=chosen,
        choice=_held(f"chosen ({how.replace('_', ' ')})", chosen, held),
        in_both_by_chance=float(np.count_nonzero(in_a)) * float(np.count_nonzero(in_b)) / n,
        tau=tau_of(a, b, n_threads),
        notes=tuple(notes),
    )


def _density_of(
    source: Any, terrain: RiskTerrain | None, grid: Grid, bandwidth: float | None, kernel: KernelName, threads: int
) -> tuple[Float, float | None]:
    """Return how hot each cell is, and the bandwidth where that is a density."""
    points = np.column_stack([source.x, source.y]) if isinstance(source, Events) else source
    if not hasattr(points, "geometry"):
        values = np.asarray(getattr(points, "values", points))
        if values.dtype.kind in "fiub" and values.shape in (grid.shape, (grid.n_cells,)) and points is source:
            if bandwidth is not None:
                raise InputError("bandwidth: hot_spots are numbers by cell, which are taken as they stand.")
            cells = grid.to_cells(values) if values.shape == grid.shape else values
            return values_in(cells, "hot_spots", grid.n_cells), None
    if bandwidth is None:
        if terrain is None or not terrain.factors:
            raise InputError("bandwidth: found None, expected a length in CRS units for the density of the points.")
        bandwidth = max(d for f in terrain.factors for d in f.distances)
    try:
        raster = density_array(points, grid, bandwidth=bandwidth, kernel=kernel, dtype="float64", threads=threads)
    except InputError as error:
        if hasattr(points, "geometry") or isinstance(source, Events):
            raise
        raise InputError(
            f"hot_spots: found {named(source)}, expected points, or one number per cell ({grid.n_cells:,}) or a raster "
            f"of shape {grid.shape}: {error.message}",
            hint=error.hint,
        ) from None
    return np.ascontiguousarray(grid.to_cells(raster)), float(bandwidth)


def _tops(top: float | Sequence[float] | None) -> tuple[float | None, float | None]:
    if top is None:
        return None, None
    given = list(top) if np.ndim(top) else [top, top]  # type: ignore[arg-type]
    if len(given) != 2:
        raise InputError(
            f"top: found {len(given)} shares, expected one, or one of the terrain and one of the hot spots."
        )
    shares = [number(v, "top") for v in given]
    for share in shares:
        if not 0 < share <= 1:
            raise InputError(f"top: found {share:g}, expected a share above 0, at most 1.")
    return shares[0], shares[1]


def _top(score: Float, ranks: Ranks, share: float | None) -> tuple[NDArray[np.bool_], str]:
    """Return what is in the top, with its ties, and how it was cut."""
    if share is not None:
        return ranks.best <= max(1, round(share * score.size)), f"{100 * share:g} % of the cells"
    with np.errstate(over="ignore", invalid="ignore"):
        bands, note = risk_bands(score, np.zeros(score.size, dtype=np.int8))
    inside = score >= bands[0].lower
    if "exceeds" in note:
        return inside, "5 % of the cells, as mean + 2 SD is above the maximum"
    return inside, "mean + 2 SD"


def _held(name: str, inside: NDArray[np.bool_], events: Float | None) -> CombinedClass:
    n = int(np.count_nonzero(inside))
    share = n / inside.size
    held = np.nan if events is None else float(events[inside].sum())
    total = np.nan if events is None else float(events.sum()) or np.nan
    return CombinedClass(name, n, share, held, held / total, held / total / share if n else np.nan)
