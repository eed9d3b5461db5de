"""Stability: would the same factors be chosen, and the same places be called risky, from other data like these?

A stepwise search answers with one model, however close the race was, and its standard errors know nothing of that.
Here whole neighbourhoods are drawn anew, with replacement, and the selection (culling, then stepwise) is repeated on
each replicate: how often a factor, an operationalization and a reach is chosen; how far its relative risk
value varies; between which ranks each cell moves.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx.errors import Cancelled, FitError, InputError
from rtmdx.model.folds import BlockSize, Seed, repeated_folds, spatial_folds, stratified_folds, suggest_block
from rtmdx.model.frequencies import FactorFrequency, Frequencies, frequencies
from rtmdx.model.ranks import ScoreModel, rank_summary
from rtmdx.model.refit import Penalty, Refit, Refitter, SearchOptions
from rtmdx.model.replicates import CullOptions, reculled, refits
from rtmdx.model.resampling import Scheme, check_draw, draw_blocks, spatial_blocks
from rtmdx.model.tabulate import tabulate

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from rtmdx.model.terrain import RiskTerrain
    from rtmdx.space.grid import Grid

__all__ = ["SHARES", "Stability", "assess_stability", "cull_options", "search_options"]

Float = NDArray[np.float64]

SHARES = (0.01, 0.05, 0.1)
"""Shares of the cells that count as the top."""

SHOWN = 3  # reasons named where no replicate could be fitted


@dataclass(frozen=True, eq=False)
class Stability:
    """How the selection and the ranks vary over replicates of the data.

    Attributes
    ----------
    replicates, n_failed : int
        Replicates asked for, and those without a model, which count nowhere.
    failures : dict of int
        Why, and how many.
    block : BlockSize
    n_blocks : int
    scheme : {"bootstrap", "half"}
    seed : int
    recull : bool
        Whether the penalty was cross-validated anew in every replicate; else it is the whole's.
    level : float
        Probability of the intervals.
    found : Frequencies
        By factor and variable.
    rank_low, rank_median, rank_high : float64 arrays, shape (n_cells,)
        Percentiles of each cell's rank among all cells by its relative risk score; 1 is the riskiest, ties have
        their mean rank.
    shares : tuple of float
    p_top : float64 array, shape (n_shares, n_cells)
        Probability of being in the top share of the cells; where a tie straddles the border, the share that fits.
    refits : tuple of Refit
        Every replicate's model.
    grid : Grid
    labels : dict of str
        Names of the factors for people.
    """

    replicates: int
    n_failed: int
    failures: dict[str, int]
    block: BlockSize
    n_blocks: int
    scheme: Scheme
    seed: int
    recull: bool
    level: float
    found: Frequencies
    rank_low: Float
    rank_median: Float
    rank_high: Float
    shares: tuple[float, ...]
    p_top: Float
    refits: tuple[Refit, ...]
    grid: Grid
    labels: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def table(self) -> pd.DataFrame:
        """One row per factor, the most frequent first.

        Columns: factor, label, in_model, frequency, usual (the variable chosen most often), usual_frequency, rrv (of
        the whole's model), rrv_low, rrv_median, rrv_high (over the refits that chose the factor).
        """
        import pandas as pd

        rows = [
            {
                "factor": f.factor,
                "label": self.labels.get(f.factor, f.factor),
                "in_model": f.in_model,
                "frequency": f.frequency,
                "usual": f.usual,
                "usual_frequency": f.usual_frequency,
                "rrv": f.rrv,
                "rrv_low": f.rrv_low,
                "rrv_median": f.rrv_median,
                "rrv_high": f.rrv_high,
            }
            for f in self.found.factors
        ]
        return pd.DataFrame(rows)

    @property
    def variables(self) -> pd.DataFrame:
        """One row per variable of the design: the fields of `VariableFrequency`."""
        import pandas as pd

        return pd.DataFrame([{k: getattr(v, k) for k in v.__slots__} for v in self.found.variables])

    @property
    def reaches(self) -> pd.DataFrame:
        """One row per factor, operationalization and influence: the share of the refits that chose it."""
        table = self.variables
        keys = ["factor", "operationalization", "influence"]
        out: pd.DataFrame = table.groupby(keys, sort=False, as_index=False)["frequency"].sum()
        return out

    @property
    def columns(self) -> dict[str, Float]:
        """The ranks by cell as they stand in every table."""
        tops = {f"p_top_{100 * s:g}".replace(".", "_"): p for s, p in zip(self.shares, self.p_top, strict=True)}
        return {"rank_low": self.rank_low, "rank_median": self.rank_median, "rank_high": self.rank_high, **tops}

    def probability(self, share: float) -> xr.DataArray:
        """Probability of a cell to be in the top `share` (one of ``shares``), dims (y, x)."""
        if share not in self.shares:
            raise InputError(f"share is {share!r}, expected one of {', '.join(f'{s:g}' for s in self.shares)}.")
        values = self.grid.to_raster(self.p_top[self.shares.index(share)])
        attrs = {"long_name": f"probability to be in the top {100 * share:g} % of cells", "units": "1"}
        return self.grid.dataarray(values, f"p_top_{100 * share:g}", attrs)

    @property
    def sure(self) -> tuple[FactorFrequency, ...]:
        """The factors of the model that at least 80 % of the refits chose too."""
        return tuple(f for f in self.found.factors if f.in_model and f.frequency >= 0.8)

    @property
    def doubtful(self) -> tuple[FactorFrequency, ...]:
        """The factors of the model that fewer than half of the refits chose."""
        return tuple(f for f in self.found.factors if f.in_model and f.frequency < 0.5)

    @property
    def sentence(self) -> str:
        """What it means, in plain words."""
        n = sum(f.in_model for f in self.found.factors)
        good = self.replicates - self.n_failed
        way = (
            f"The selection was repeated on {good} sets of neighbourhoods drawn anew ({self.n_blocks} blocks of "
            f"{self.block.describe(self.grid.symbol)})."
        )
        if n == 0:
            most = self.found.factors[0] if self.found.factors else None
            if most is None or most.frequency == 0:
                return f"{way} No repetition chose any factor, as the model did not."
            return (
                f"{way} The model has no factor; the repetitions chose {self._label(most)} most often "
                f"({most.frequency:.0%})."
            )
        sure = len(self.sure)
        said = f"{way} {sure} of the model's {n} factors {'is' if sure == 1 else 'are'} chosen in at least 80 % of them"
        if self.doubtful:
            names = _and([f"{self._label(f)} ({f.frequency:.0%})" for f in self.doubtful])
            said += f"; fewer than half chose {names}: other data like these could well have left "
            said += "it out." if len(self.doubtful) == 1 else "them out."
        else:
            said += ", and none of them in fewer than half."
        others = [f for f in self.found.factors if not f.in_model and f.frequency >= 0.5]
        if others:
            names = _and([f"{self._label(f)} ({f.frequency:.0%})" for f in others])
            said += f" Most repetitions chose {names} too, which the model does not have."
        return said

    def _label(self, f: FactorFrequency) -> str:
        return self.labels.get(f.factor, f.factor)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but cells and single refits as plain data."""
        return {
            "replicates": self.replicates,
            "failed": self.n_failed,
            "failures": dict(self.failures),
            "block": {"cells": self.block.cells, "length": self.block.length, "blocks": self.n_blocks},
            "scheme": self.scheme,
            "seed": self.seed,
            "recull": self.recull,
            "level": self.level,
            "factors": [f.to_dict() for f in self.found.factors],
            "variables": [
                {"variable": v.name, "culled": v.culled, "frequency": v.frequency}
                for v in self.found.variables
                if v.culled or v.frequency
            ],
            "families": dict(self.found.families),
            "n_variables": dict(zip(("fewest", "median", "most"), self.found.n_variables, strict=True)),
            "same_factors": self.found.same_factors,
            "same_model": self.found.same_model,
            "surely_top": [
                {"share": s, "cells": int((p >= 0.9).sum())} for s, p in zip(self.shares, self.p_top, strict=True)
            ],
            "sentence": self.sentence,
        }

    def __repr__(self) -> str:
        return f"Stability({self.replicates} replicates of {self.n_blocks} blocks, {self.n_failed} without a model)"


def assess_stability(
    terrain: RiskTerrain,
    *,
    replicates: int = 100,
    block: float | None = None,
    scheme: Scheme = "bootstrap",
    seed: int = 0,
    recull: bool = False,
    folds: ArrayLike | None = None,
    level: float = 0.9,
    shares: Sequence[float] = SHARES,
    threads: int = 1,
    progress: Callable[[str, int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Stability:
    """Repeat a terrain's selection on resampled blocks; parameters and errors as `RiskTerrain.stability`."""
    _check(replicates, level, shares, threads)
    check_draw(seed, scheme)
    grid, design = terrain.grid, terrain.design
    exposure = None if terrain.exposure is None else terrain.exposure.cells
    size = _block(terrain, block)
    lattice = spatial_blocks(*grid.rows_cols, size.cells)
    stop = threading.Event()

    def poll() -> None:
        if stop.is_set():
            raise Cancelled("The replicates were cancelled.")

    def done(n: int) -> None:
        if progress is not None:
            progress("stability", n, replicates)

    dealt = _folds(terrain, folds) if recull else None
    done(0)
    refitter = Refitter(
        design, terrain.counts, lattice.block, search_options(terrain), exposure=exposure, poll=poll
    )  # fmt: skip
    culling = terrain.culling

    def draw(r: int) -> NDArray[np.int64]:
        return draw_blocks(lattice.n_blocks, r, seed, scheme)

    if dealt is not None:
        all_refits = reculled(
            refitter, terrain.counts, lattice.block, dealt, draw, replicates, cull_options(terrain),
            exposure=exposure, threads=threads, stop=stop, done=done, cancel=cancel,
        )  # fmt: skip
    else:
        start = Penalty(culling.penalty, culling.ridge, culling.lambda_max, culling.coefficients)
        all_refits = refits(
            refitter, draw, replicates, start, threads=threads, stop=stop, done=done, cancel=cancel
        )  # fmt: skip
    good = [r for r in all_refits if r.error is None]
    failures = Counter(r.error.rstrip(".") for r in all_refits if r.error is not None)
    if not good:
        said = [f"{reason} ({times} times)" for reason, times in failures.most_common()]
        if len(said) > SHOWN:
            others = sum(failures.values()) - sum(times for _, times in failures.most_common(SHOWN))
            said = [*said[:SHOWN], f"other reasons ({others} times)"]
        raise FitError(
            f"None of {replicates} replicates could be fitted: {'; '.join(said)}.",
            hint="Use smaller blocks, so that every replicate has events, or a longer period.",
        )
    model = dict(zip(terrain.model.columns, terrain.model.coefficients.tolist(), strict=True))
    found = frequencies(design, good, [f.name for f in terrain.factors], model, level)

    def asked() -> None:
        if cancel is not None and cancel():
            raise Cancelled("The replicates were cancelled.")

    ranks = rank_summary(
        refitter.table if exposure is None else tabulate(design, terrain.counts.astype(np.float64)),
        [ScoreModel(r.columns, r.coefficients) for r in good],
        level=level,
        shares=shares,
        threads=threads,
        poll=asked,
    )
    done(replicates)
    return Stability(
        replicates=replicates,
        n_failed=len(all_refits) - len(good),
        failures=dict(failures.most_common()),
        block=size,
        n_blocks=lattice.n_blocks,
        scheme=scheme,
        seed=seed,
        recull=recull,
        level=level,
        found=found,
        rank_low=ranks.low,
        rank_median=ranks.median,
        rank_high=ranks.high,
        shares=tuple(shares),
        p_top=ranks.top,
        refits=tuple(all_refits),
        grid=grid,
        labels={f.name: f.label for f in terrain.factors},
    )


def search_options(terrain: RiskTerrain) -> SearchOptions:
    """The stepwise options a terrain was made with, from its study."""
    spec = dict(terrain.config).get("model") or {}
    factors = dict(terrain.config).get("factors") or ()
    forced = tuple(i for i, f in enumerate(factors) if dict(f).get("force"))
    return SearchOptions(tuple(terrain.selection.models), forced, bool(dict(spec).get("exchange", False)))


def cull_options(terrain: RiskTerrain) -> CullOptions:
    """The culling options a terrain was made with, from its study."""
    spec = dict(dict(terrain.config).get("model") or {})
    names = ("ridge", "mixing", "n_penalties", "rule")
    return {name: spec[name] for name in names if spec.get(name) is not None}


def _check(replicates: int, level: float, shares: Sequence[float], threads: int) -> None:
    if not isinstance(replicates, int | np.integer) or replicates < 2:
        raise InputError(f"replicates is {replicates}, expected at least 2; 100 or more give useful intervals.")
    if not 0.0 < level < 1.0:
        raise InputError(f"level is {level}, expected between 0 and 1, such as 0.9.")
    if not len(shares) or not all(0.0 < s < 1.0 for s in shares):
        raise InputError(f"shares is {tuple(shares)}, expected numbers between 0 and 1.")
    if threads < 1:
        raise InputError(f"threads is {threads}, expected at least 1.")


def _block(terrain: RiskTerrain, block: float | None) -> BlockSize:
    cell = terrain.grid.cell_size
    influence = max((d for f in terrain.factors for d in f.distances), default=cell)
    if block is None:
        return suggest_block(influence, cell)
    if not (np.isfinite(block) and block > 0):
        raise InputError(f"block is {block!r}, expected a positive length in CRS units.")
    cells = max(1, round(block / cell))
    return BlockSize(cells, cells * cell, influence)


def _folds(terrain: RiskTerrain, folds: ArrayLike | None) -> NDArray[np.int32]:
    """The folds of the cells: those given, or those of the run made again."""
    if folds is not None:
        given, n = np.asarray(folds), terrain.grid.n_cells
        if given.dtype.kind not in "iu" or given.ndim not in (1, 2) or given.shape[-1] != n or not given.size:
            raise InputError(
                f"folds are {given.dtype} of shape {given.shape}, expected whole numbers of shape ({n},) or "
                f"(repeats, {n})."
            )
        if given.min() < 0 or (np.ptp(given, axis=-1) == 0).any():
            raise InputError("folds must be numbered from 0, at least two of them.")
        return given.astype(np.int32)
    plan = terrain.fold_plan
    if plan is None:
        return stratified_folds(terrain.counts, 5, seed=0)
    if plan.seed is not None and (plan.kind == "stratified" or (plan.kind == "spatial" and plan.block is not None)):

        def assign(seed: Seed) -> NDArray[np.int32]:
            if plan.block is None:
                return stratified_folds(terrain.counts, plan.k, seed=seed)
            return spatial_folds(*terrain.grid.rows_cols, plan.block.cells, plan.k, seed=seed, offset=plan.offset)

        return repeated_folds(assign, plan.repeats, seed=plan.seed)
    raise InputError(
        f"the run's folds ({plan.kind}) cannot be made again from the terrain alone.",
        hint="Give the fold of each cell as `folds`, or leave the penalty as it is (recull=False).",
    )


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
