"""What two terrains side by side come to: their factors, their tops, and where risk moved."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.model.export import plain
from rtmdx.model.validity import Bounds
from rtmdx.priority.saving import save_units

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from rtmdx.space.grid import Grid

__all__ = ["FactorChange", "Status", "TerrainComparison"]

Float = NDArray[np.float64]
Status = Literal["same variable", "other variable", "only in a", "only in b"]
_MAPS = {
    "rank_change": "rank in a minus rank in b: above 0 the cell or place moved up",
    "log_ratio": "log of b's score over a's",
    "in_top_a": "share of a's top k that it is, over ties",
    "in_top_b": "share of b's top k that it is, over ties",
    "entered": "probability that it is in b's top k and not in a's, ties broken at random",
    "left": "probability that it is in a's top k and not in b's, ties broken at random",
}


@dataclass(frozen=True, slots=True)
class FactorChange:
    """A factor in the two models.

    Attributes
    ----------
    factor : str
    status : {"same variable", "other variable", "only in a", "only in b"}
    variable_a, variable_b : str
        Operationalization and influence; empty where the factor is not in the model.
    rrv_a, rrv_b : float
        Relative risk values, NaN likewise.
    ratio, low, high : float
        rrv_b / rrv_a with its limits; NaN unless both models have the same variable: relative risk values of different
        distances or operationalizations measure different things.
    z, p : float
        Of no change, two-sided, by a normal distribution of the difference of the coefficients.
    """

    factor: str
    status: Status
    variable_a: str
    variable_b: str
    rrv_a: float
    rrv_b: float
    ratio: float
    low: float
    high: float
    z: float
    p: float


@dataclass(frozen=True, eq=False)
class TerrainComparison:
    """Terrain b beside terrain a.

    Attributes
    ----------
    unit : {"cell", "place"}
    names : tuple of two str
    by : {"score", "expected"}
    k : int
        How many are the top.
    level : float
        Probability of the intervals.
    method : str
        Of the intervals.
    factors : tuple of FactorChange
    overlap, entered, left, jaccard : Bounds
        Cells or places in both tops; in b's only; in a's only; overlap over union. Over all ways to break ties: the
        lowest and highest are reached by some.
    tau, spearman : float
        Rank correlations, ties by their mean rank; NaN where one terrain does not vary.
    total_a, total_b : float
        Expected events of all cells; NaN for scores.
    score_a, score_b, rank_a, rank_b : float64 arrays, shape (n,)
        Ranks are mean ranks; NaN for a place without a score.
    in_top_a, in_top_b : float64 arrays, shape (n,)
        How far each is in the top k: 1, 0, or the share of a tie that fits.
    notes : tuple of str
        What a reader must know: data that both models have seen, variables that differ.
    """

    unit: Literal["cell", "place"]
    names: tuple[str, str]
    by: str
    k: int
    level: float
    method: str
    factors: tuple[FactorChange, ...]
    overlap: Bounds
    entered: Bounds
    left: Bounds
    jaccard: Bounds
    tau: float
    spearman: float
    total_a: float
    total_b: float
    score_a: Float = field(repr=False)
    score_b: Float = field(repr=False)
    rank_a: Float = field(repr=False)
    rank_b: Float = field(repr=False)
    in_top_a: Float = field(repr=False)
    in_top_b: Float = field(repr=False)
    notes: tuple[str, ...] = ()
    grid: Grid | None = field(default=None, repr=False)
    shapes: Any = field(default=None, repr=False)

    def _columns(self) -> pd.DataFrame:
        import pandas as pd

        with np.errstate(divide="ignore", invalid="ignore"):
            log_ratio = np.log(self.score_b / self.score_a)
        columns = {
            "score_a": self.score_a,
            "score_b": self.score_b,
            "rank_a": self.rank_a,
            "rank_b": self.rank_b,
            "rank_change": self.rank_a - self.rank_b,
            "log_ratio": log_ratio,
            "in_top_a": self.in_top_a,
            "in_top_b": self.in_top_b,
            "entered": self.in_top_b * (1.0 - self.in_top_a),
            "left": self.in_top_a * (1.0 - self.in_top_b),
        }
        return pd.DataFrame(columns, index=None if self.shapes is None else self.shapes.index)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per cell or place, the one that moved farthest first."""
        frame = self._columns()
        moved = np.nan_to_num(np.abs(frame["rank_change"].to_numpy()), nan=-1.0)
        return frame.iloc[np.argsort(-moved, kind="stable")]

    def factor_frame(self) -> pd.DataFrame:
        """Return one row per factor in either model: the fields of `FactorChange`."""
        import pandas as pd

        return pd.DataFrame([asdict(f) for f in self.factors], columns=list(FactorChange.__dataclass_fields__))

    def to_dataset(self) -> xr.Dataset:
        """Return maps of change, dims (y, x), NaN outside the study area; raises InputError for places."""
        import xarray as xr

        if self.grid is None:
            raise InputError("maps: places were compared, not cells.", hint="Use to_frame(), or save them as .gpkg.")
        frame = self._columns()
        maps = {
            name: self.grid.dataarray(
                self.grid.to_raster(frame[name].to_numpy()), name, {"long_name": text, "units": "1"}
            )
            for name, text in _MAPS.items()
        }
        return xr.Dataset(maps, attrs={"a": self.names[0], "b": self.names[1], "k": self.k, "by": self.by})

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the cells or places as ``.csv``, or as ``.gpkg`` with their shapes and the factors.

        Raises
        ------
        InputError
            `path` ends in neither.
        OutputError
            `path` exists (and not `overwrite`), or cannot be written.
        """
        return save_units(
            path, self.unit, self._columns(), grid=self.grid, shapes=self.shapes,
            more={"factors": self.factor_frame()} if self.factors else None, title="Two terrains compared",
            overwrite=overwrite,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return everything but cells as plain data."""
        return {
            "unit": self.unit,
            "a": self.names[0],
            "b": self.names[1],
            "by": self.by,
            "n": int(self.score_a.size),
            "k": self.k,
            "level": self.level,
            "method": self.method,
            "factors": [{k: plain(v) for k, v in asdict(f).items()} for f in self.factors],
            **{name: asdict(getattr(self, name)) for name in ("overlap", "entered", "left", "jaccard")},
            "tau": plain(self.tau),
            "spearman": plain(self.spearman),
            "total_a": plain(self.total_a),
            "total_b": plain(self.total_b),
            "notes": list(self.notes),
            "sentence": self.sentence(),
        }

    def sentence(self) -> str:
        """Say it in a few plain sentences."""
        e = self.entered
        new = f"{e.lowest:,g}"
        tied = ""
        if e.lowest != e.highest:
            new = f"{e.lowest:,g} to {e.highest:,g}"
            tied = f", as ties break ({e.expected:,.4g} where they break at random, in each by itself)"
        out = (
            f"{self.names[1]} beside {self.names[0]}: {new} of the top {self.k:,} {self.unit}s are new{tied}; rank "
            f"correlation (tau-b) {self.tau:.2f}."
        )
        changed = [f for f in self.factors if f.p < 1 - self.level]
        if changed:
            told = [
                f"{f.factor} ({f.rrv_a:.3g} to {f.rrv_b:.3g}, ratio {f.ratio:.3g}, {100 * self.level:g} % interval "
                f"{f.low:.3g} to {f.high:.3g})"
                for f in changed
            ]
            out += f" Relative risk values that differ: {', '.join(told)}."
        for status, text in (("only in a", self.names[0]), ("only in b", self.names[1])):
            own = [f.factor for f in self.factors if f.status == status]
            if own:
                out += f" Only in {text}: {', '.join(own)}."
        return out
