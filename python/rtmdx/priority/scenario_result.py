"""What ranks over scenarios come to: by cell or place, by scenario, and between scenarios."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.priority.saving import save_units
from rtmdx.priority.scenario_choices import Agreement, Choice, ScenarioFigures
from rtmdx.space.values import number

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from rtmdx.space.grid import Grid

__all__ = ["RankStability"]

Float = NDArray[np.float64]
SURE = 1e-9  # a probability is a sum of shares
_MAPS = {
    "p_lowest": "share of scenarios in which it is among the first k however ties break",
    "p_top": "share of scenarios in which it is among the first k, over ties",
    "p_highest": "share of scenarios in which it may be among the first k",
    "rank_lowest": "smallest rank over scenarios, 1 the highest score",
    "rank_median": "median rank over scenarios",
    "rank_highest": "largest rank over scenarios",
    "rank_mean": "mean rank over scenarios",
    "rank_sd": "standard deviation of the rank over scenarios",
}


@dataclass(frozen=True, eq=False)
class RankStability:
    """Ranks of cells or places over scenarios; 1 is the highest score, ties have their mean rank.

    Attributes
    ----------
    unit : {"cell", "place"}
    by : str
        What was ranked.
    k : int or None
        How many are the top; None where `share` says so.
    share : float or None
    n_scenarios : int
        That were ranked.
    left_out : dict of str to int
        Scenarios that were not, by reason: failed, pending, of another grid, without any score.
    robust : float
        Share of scenarios from which on a cell or place is in the core.
    ranked : int32 array, shape (n,)
        Scenarios in which it has a score.
    p_lowest, p_top, p_highest : float64 arrays, shape (n,)
        Share of all scenarios in which it is among the first k: for certain; with the share of a tie at the edge that
        fits; possibly. Where it has no score, it is not.
    rank_lowest, rank_median, rank_highest, rank_mean, rank_sd : float64 arrays, shape (n,)
        Over the scenarios in which it has a rank; NaN without any. The standard deviation has divisor n - 1.
    quantiles : dict of float to float64 array
        Further quantiles of the rank, by linear interpolation.
    choice : Choice
        The k most often among the first, ties by mean rank.
    core : int array
        Positions with `p_top` of at least `robust`.
    scenarios : ScenarioFigures
        What the choice and the core hold in each scenario.
    agreement : Agreement
        Scenarios pair by pair.
    sample : int
        Cells or places on which tau-b was computed; it is exact where that is all of them.
    notes : tuple of str
    """

    unit: Literal["cell", "place"]
    by: str
    k: int | None
    share: float | None
    n_scenarios: int
    left_out: Mapping[str, int]
    robust: float
    ranked: NDArray[np.int32] = field(repr=False)
    p_lowest: Float = field(repr=False)
    p_top: Float = field(repr=False)
    p_highest: Float = field(repr=False)
    rank_lowest: Float = field(repr=False)
    rank_median: Float = field(repr=False)
    rank_highest: Float = field(repr=False)
    rank_mean: Float = field(repr=False)
    rank_sd: Float = field(repr=False)
    quantiles: Mapping[float, Float] = field(repr=False)
    choice: Choice = field(repr=False)
    core: NDArray[np.intp] = field(repr=False)
    scenarios: ScenarioFigures = field(repr=False)
    agreement: Agreement = field(repr=False)
    sample: int
    notes: tuple[str, ...] = ()
    grid: Grid | None = field(default=None, repr=False)
    shapes: Any = field(default=None, repr=False)

    def core_at(self, share: float) -> NDArray[np.intp]:
        """Return the positions that are among the first k in at least a share of the scenarios; 1 is in every one."""
        if not 0 < number(share, "share") <= 1:
            raise InputError(f"share: found {share:g}, expected a number above 0, at most 1.")
        return np.flatnonzero(self.p_top >= share - SURE)

    def _columns(self) -> pd.DataFrame:
        import pandas as pd

        chosen = np.zeros(self.p_top.size)
        chosen[self.choice.cells] = self.choice.share
        core = np.zeros(self.p_top.size, dtype=np.bool_)
        core[self.core] = True
        columns: dict[str, Any] = {name: getattr(self, name) for name in _MAPS}
        columns |= {f"rank_q{100 * q:g}".replace(".", "_"): v for q, v in self.quantiles.items()}
        columns |= {"ranked": self.ranked, "chosen": chosen, "core": core}
        return pd.DataFrame(columns, index=None if self.shapes is None else self.shapes.index)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per cell or place, the one most often among the first k first."""
        order = np.lexsort((np.arange(self.p_top.size), np.nan_to_num(self.rank_mean, nan=np.inf), -self.p_top))
        return self._columns().iloc[order]

    def to_dataset(self) -> xr.Dataset:
        """Return the maps, dims (y, x), NaN outside the study area.

        Raises
        ------
        InputError
            Places were ranked, or it is not known where the cells lie.
        """
        import xarray as xr

        if self.grid is None:
            raise InputError(
                f"maps: the {self.unit}s have no grid.", hint="Give stability(..., grid=...), or use to_frame()."
            )
        maps = {
            name: self.grid.dataarray(self.grid.to_raster(getattr(self, name)), name, {"long_name": text, "units": "1"})
            for name, text in _MAPS.items()
        }
        return xr.Dataset(maps, attrs={"n_scenarios": self.n_scenarios, "by": self.by})

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the cells or places as ``.csv``, or as ``.gpkg`` with their shapes, the scenarios and their agreement.

        Raises
        ------
        InputError
            `path` ends in neither, or it is not known where the cells lie.
        OutputError
            `path` exists (and not `overwrite`), or cannot be written.
        """
        more = {"scenarios": self.scenarios.to_frame().reset_index(), "agreement": self.agreement.to_frame()}
        return save_units(
            path, self.unit, self._columns(), grid=self.grid, shapes=self.shapes, more=more,
            title="Stability of priorities over scenarios", overwrite=overwrite,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return everything but cells and pairs as plain data."""

        def spread(values: Float) -> dict[str, float | None]:
            some = values[np.isfinite(values)]
            if not some.size:
                return {"lowest": None, "median": None, "highest": None}
            return {"lowest": float(some.min()), "median": float(np.median(some)), "highest": float(some.max())}

        m = len(self.agreement.number)
        apart = ~np.eye(m, dtype=np.bool_)
        return {
            "unit": self.unit,
            "by": self.by,
            "n": int(self.p_top.size),
            "k": self.k,
            "share": self.share,
            "scenarios": self.n_scenarios,
            "left_out": dict(self.left_out),
            "robust": self.robust,
            "core": int(self.core.size),
            "in_every_scenario": int(self.core_at(1.0).size),
            "ever_in_top": int(np.count_nonzero(self.p_highest > 0)),
            "regret": spread(self.scenarios.regret),
            "core_regret": spread(self.scenarios.core_regret),
            "jaccard": spread(self.scenarios.jaccard),
            "tau": spread(self.scenarios.tau),
            "between": {
                "scenarios": m,
                **{name: spread(getattr(self.agreement, name)[apart]) for name in ("tau", "jaccard", "regret")},
            },
            "tau_sample": self.sample,
            "notes": list(self.notes),
            "sentence": self.sentence(),
        }

    def sentence(self) -> str:
        """Say it in a few plain sentences."""
        units = f"{self.unit}s"
        top = f"{self.k:,}" if self.k is not None else f"{100 * (self.share or 0):g} %"
        every, ever = self.core_at(1.0).size, int(np.count_nonzero(self.p_highest > 0))
        left = ", ".join(f"{n:,} {why}" for why, n in self.left_out.items())
        out = (
            f"Over {self.n_scenarios:,} scenarios{f' ({left} left out)' if left else ''}, {every:,} {units} are in the "
            f"top {top} in every one, {self.core.size:,} in at least {100 * self.robust:g} % of them, and {ever:,} in "
            f"some."
        )
        regret = self.scenarios.regret
        if np.isfinite(regret).any():
            less = "less score" if self.by == "score" else "fewer expected events"
            out += (
                f" The {units} most often in the top hold, at worst, {100 * np.nanmax(regret):.3g} % {less} than a "
                f"scenario's own choice (median {100 * np.nanmedian(regret):.3g} %)."
            )
        return out

    def __repr__(self) -> str:
        return (
            f"RankStability({self.n_scenarios:,} scenarios, {self.p_top.size:,} {self.unit}s, core {self.core.size:,})"
        )
