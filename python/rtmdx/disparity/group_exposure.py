"""How much of a risk surface each group of residents lives with.

The mean of the risk over a group's residents and its ratio to others' (population-weighted exposure, as in
environmental justice); shares of each group in the riskiest cells; the concentration index and curve (Wagstaff, Paci &
van Doorslaer 1991) with residents ranked by risk; Theil's index (1967), split between and within groups and zones; the
dissimilarity index (Duncan & Duncan 1955). All of them are about places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from rtmdx.disparity.exposure_figures import Figures, delta_spread, one_pass, simulate
from rtmdx.disparity.exposure_results import ExposureIndex, ExposureRatio, ExposureResult, GroupExposure, TopShare
from rtmdx.disparity.intervals import one_of, tail_of
from rtmdx.disparity.population import Population
from rtmdx.disparity.results import ResultTable, flags_of
from rtmdx.errors import InputError
from rtmdx.model.draws import risk_draws
from rtmdx.space.arguments import Cancel, thread_count
from rtmdx.space.rasters import raster_in
from rtmdx.space.values import whole

if TYPE_CHECKING:
    from rtmdx.model.terrain import RiskTerrain

__all__ = ["exposure"]

Float = NDArray[np.float64]
Rows = list[Float]
Margins = Literal["auto", "delta", "simulation"]

_MOST_GROUPS = 31
REST = "everyone else"


def exposure(
    risk: RiskTerrain | ArrayLike,
    population: Population | Mapping[str, ArrayLike],
    *,
    reference: str | None = None,
    top: Sequence[float] = (0.01, 0.05, 0.1),
    measure: Literal["score", "expected"] = "score",
    name: str | None = None,
    margins: Margins | None = "auto",
    model_draws: bool = False,
    robust: bool = False,
    draws: int = 500,
    level: float = 0.95,
    seed: int = 0,
    points: int = 1000,
    threads: int | None = None,
    cancel: Cancel | None = None,
) -> ExposureResult:
    """Measure the exposure of groups of residents to a risk surface.

    Parameters
    ----------
    risk : RiskTerrain, DataArray or array
        A raster on the population's frame, or one number per cell; NaN where there is none.
    population : Population, or mapping of group to array
        Of `rtmdx.disparity.allocate`, or residents per cell as they are.
    reference : str, optional
        A group the others are compared with, besides everyone else.
    top : sequence of float
        Shares of the cells, above 0, at most 1.
    measure : {"score", "expected"}
        What of a terrain.
    name : str, optional
        What the risk is called.
    margins : {"auto", "delta", "simulation"} or None
        Intervals from the census's margins of error: by the delta method (means and ratios), or by drawing populations
        (every figure). "auto" is the delta method where there are margins, and simulation if the model is drawn too.
    model_draws : bool
        Intervals from the uncertainty of a terrain's coefficients: normal, with the model's covariance. Those of a
        model chosen by a search are too narrow.
    robust : bool
        Draw with the covariance that allows for clusters.
    draws : int
        Simulations.
    level : float
        Probability of the intervals.
    seed : int
    points : int
        Points of the curves, at least, where there are so many different risks.
    threads : int, optional
        The result has the same bits for any number.
    cancel : callable, optional
        Asked often; true stops.

    Returns
    -------
    ExposureResult
        Cells of equal risk come together: in the curves as one step, in shares of the top as least, expected and most.

    Raises
    ------
    InputError
        Shapes or frames do not match, residents are negative, a risk is infinite, a group is unknown.
    Cancelled
        `cancel` returned true.
    """
    one_of("measure", measure, ("score", "expected"))
    if margins is not None:
        one_of("margins", margins, ("auto", "delta", "simulation"))
    tail = tail_of(level)
    whole(draws, "draws", least=2)
    whole(points, "points", least=1)
    for t in top:
        if not 0.0 < t <= 1.0:
            raise InputError(f"top: found {t}, expected shares above 0, at most 1.")
    terrain: Any = risk if hasattr(risk, "score_cells") else None
    groups, cells, census = _residents_in(population)
    values = _risk_in(risk, terrain, measure, census, cells[0].size)
    if reference is not None and reference not in groups:
        raise InputError(f"reference: found {reference!r}, expected one of {', '.join(map(repr, groups))}.")
    if model_draws and terrain is None:
        raise InputError("model_draws: the risk is no terrain, so there is no model to draw from.")
    has_margins = census is not None and census.margins is not None
    if margins in ("delta", "simulation") and not has_margins:
        raise InputError("margins: the population has none.", hint="Give margins=... to allocate.")
    if margins == "auto":
        margins = ("simulation" if model_draws else "delta") if has_margins else None
    if margins == "delta" and model_draws:
        raise InputError('margins: "delta" does not go with model_draws.', hint='Use margins="simulation".')

    r = 0 if reference is None else groups.index(reference)
    n_threads = thread_count(threads)
    zones = None if census is None else (census.counts.sum(axis=0), census.shares())
    if cells[0].size == 0:
        raise InputError("risk: there are no cells.")
    point = one_pass(values, cells, top, r, names=groups, zones=zones, points=points, threads=n_threads, cancel=cancel)
    if not point.raw["with_risk"]:
        raise InputError("risk: every cell is NaN.")
    if not point.raw["residents"][-1] + point.raw["missing"][-1] > 0:
        raise InputError("population: no residents in any cell.", hint="Check that the zones lie on the frame.")
    low = high = point.like(np.full(point.flat().size, np.nan))
    method = "none"
    if margins == "delta" and census is not None:
        method = "census margins, delta method"
        low, high = _delta_limits(point, low, delta_spread(values, census, r), float(special.ndtri(1.0 - tail)))
    elif margins == "simulation" or model_draws:
        sources = (["census margins"] if margins else []) + (["model coefficients"] if model_draws else [])
        method = f"{' and '.join(sources)}, {draws:,} simulations"
        low, high = simulate(
            values, cells, point, population=census, margins=margins is not None, top=top, reference=r, draws=draws,
            risks=risk_draws(terrain, measure, robust) if model_draws else None, level=level, seed=seed,
            threads=n_threads, cancel=cancel,
        )  # fmt: skip
    what = name or ("risk" if terrain is None else "relative risk score" if measure == "score" else "expected count")
    teller = _Teller(groups, reference, point, low, high, level, method, what, census.method if census else None)
    raw = point.raw
    return ExposureResult(
        means=teller.means(),
        ratios=teller.ratios(),
        top=teller.top(top),
        indices=teller.indices(),
        groups=groups,
        n_cells=int(raw["with_risk"]),
        curve_risk=raw["curve_risk"],
        curve_cells=raw["curve_cells"],
        curve_residents=raw["curve_residents"],
        curve_burden=raw["curve_burden"],
        notes=tuple(census.notes() if census else ()),
    )


def _residents_in(population: Any) -> tuple[tuple[str, ...], Rows, Population | None]:
    if isinstance(population, Population):
        groups, census = population.groups, population
        cells = [np.ascontiguousarray(row) for row in population.cells]
    elif isinstance(population, Mapping) and population:
        groups, census = tuple(map(str, population)), None
        try:
            cells = [np.ascontiguousarray(v, dtype=np.float64).ravel() for v in population.values()]
        except (TypeError, ValueError):
            raise InputError("population: expected numbers of residents per cell.") from None
        if len({row.size for row in cells}) > 1:
            sizes = ", ".join(f"{g} {row.size:,}" for g, row in zip(groups, cells, strict=True))
            raise InputError(f"population: the groups have different numbers of cells: {sizes}.")
    else:
        raise InputError("population: expected a Population, or a mapping of groups to residents per cell.")
    if len(groups) > _MOST_GROUPS:
        raise InputError(f"population: found {len(groups)} groups, expected at most {_MOST_GROUPS}.")
    return groups, cells, census


def _risk_in(risk: Any, terrain: Any, measure: str, census: Population | None, n_cells: int) -> Float:
    if terrain is not None:
        if census is not None and getattr(census.frame, "digest", None) != terrain.grid.digest:
            raise InputError(
                "population: its cells are not the terrain's.", hint="Allocate it with frame=terrain.grid."
            )
        values = terrain.score_cells if measure == "score" else terrain.expected_cells
    elif np.ndim(risk) == 2 and census is not None:
        raster, _ = raster_in(risk, census.frame, "risk")
        mask = getattr(census.frame, "mask", None)
        values = raster.ravel() if mask is None else raster[mask]
    else:
        try:
            values = np.asarray(risk, dtype=np.float64).ravel()
        except (TypeError, ValueError):
            raise InputError("risk: expected a terrain, a raster or numbers per cell.") from None
    values = np.ascontiguousarray(values, dtype=np.float64)
    if values.size != n_cells:
        raise InputError(f"risk: has {values.size:,} cells, the population {n_cells:,}.")
    return values


def _delta_limits(
    point: Figures, empty: Figures, spread: tuple[Float, Float, Float], z: float
) -> tuple[Figures, Figures]:
    """Normal limits of the means, and of the logs of the ratios."""
    out = []
    for side in (-z, z):
        out.append(
            Figures(
                **{
                    **empty.__dict__,
                    "mean": point.mean + side * spread[0],
                    "rest_ratio": point.rest_ratio * np.exp(side * spread[1]),
                    "reference_ratio": point.reference_ratio * np.exp(side * spread[2]),
                }
            )
        )
    return out[0], out[1]


class _Teller:
    """Makes the typed results of the figures."""

    def __init__(
        self, groups: tuple[str, ...], reference: str | None, point: Figures, low: Figures, high: Figures,
        level: float, method: str, risk: str, allocation: str | None,
    ) -> None:  # fmt: skip
        self.groups, self.reference = groups, reference
        self.point, self.low, self.high = point, low, high
        self.level, self.method = level, method
        self.told = {"risk": risk, "allocation": allocation or "as given"}
        self.zoned = allocation is not None
        self.residents, self.missing = point.raw["residents"], point.raw["missing"]
        self.negative = point.raw["lowest"] < 0

    def _common(self, value: Any, low: Any, high: Any, missing: float, *, positive: bool = True) -> dict[str, Any]:
        flags: list[str] = []
        known = bool(np.isfinite(low) and np.isfinite(high))
        if not np.isfinite(value):
            flags.append("negative-risk" if self.negative else "no-residents")
        elif not known:
            flags.append("no-interval")
        elif positive:
            flags += [f for f in flags_of(float(value), float(low), float(high), np.inf) if f == "wide-interval"]
        if missing > 0:
            flags.append("no-risk")
        return {
            "estimate": float(value),
            "low": float(low),
            "high": float(high),
            "level": self.level,
            "method": self.method if known else "none",
            "flags": tuple(flags),
            **self.told,
        }

    def means(self) -> ResultTable:
        return ResultTable(
            [
                GroupExposure(
                    **self._common(self.point.mean[g], self.low.mean[g], self.high.mean[g], self.missing[g]),
                    group=name,
                    residents=float(self.residents[g]),
                    missing=float(self.missing[g]),
                )
                for g, name in enumerate(self.groups)
            ]
        )

    def _ratio(self, g: int, key: str, reference: str, mean: float, residents: float) -> ExposureRatio:
        value, low, high = (getattr(f, key)[g] for f in (self.point, self.low, self.high))
        return ExposureRatio(
            **self._common(value, low, high, self.missing[-1]),
            group=self.groups[g],
            reference=reference,
            mean=float(self.point.mean[g]),
            reference_mean=float(mean),
            residents=float(self.residents[g]),
            reference_residents=float(residents),
        )

    def ratios(self) -> ResultTable:
        p, n = self.point, self.residents
        out = []
        if len(self.groups) > 1:
            out = [self._ratio(g, "rest_ratio", REST, p.rest_mean[g], n[-1] - n[g]) for g in range(len(self.groups))]
        if self.reference is not None:
            r = self.groups.index(self.reference)
            others = [g for g in range(len(self.groups)) if g != r]
            out += [self._ratio(g, "reference_ratio", self.reference, p.mean[r], n[r]) for g in others]
        return ResultTable(out)

    def top(self, top: Sequence[float]) -> ResultTable:
        raw, out = self.point.raw, []
        for t, share in enumerate(top):
            above, tied = int(raw["top_above"][t]), int(raw["top_tied"][t])
            n = int(raw["top_cells"][t])
            for g, name in enumerate(self.groups):
                least, most = float(raw["top_least"][t, g]), float(raw["top_most"][t, g])
                people = float(self.residents[g])
                out.append(
                    TopShare(
                        **self._common(self.point.top[t, g], self.low.top[t, g], self.high.top[t, g], self.missing[g]),
                        group=name,
                        top=float(share),
                        cells=n,
                        tied=tied,
                        taken=n - above,
                        threshold=float(raw["top_threshold"][t]),
                        least=least / people if people > 0 else np.nan,
                        most=most / people if people > 0 else np.nan,
                        residents=people,
                    )
                )
        return ResultTable(out)

    def indices(self) -> ResultTable:
        out = []

        def tell(index: str, key: str, i: int, group: str, reference: str, residents: float) -> None:
            value, low, high = (getattr(f, key)[i] for f in (self.point, self.low, self.high))
            common = self._common(value, low, high, self.missing[-1], positive=False)
            out.append(ExposureIndex(**common, index=index, group=group, reference=reference, residents=residents))

        for g, name in enumerate(self.groups):
            people = float(self.residents[g])
            tell("concentration", "concentration", g, name, "", people)
            tell("gini", "gini", g, name, "", people)
            if len(self.groups) > 1:
                tell("dissimilarity", "unlike_rest", g, name, REST, people)
            if self.reference is not None and name != self.reference:
                tell("dissimilarity", "unlike_reference", g, name, self.reference, people)
        names = ("theil", "theil-between-groups", "theil-within-groups", "theil-between-places", "theil-within-places")
        for i, index in enumerate(names):
            if i < 3 or self.zoned:
                tell(index, "theil", i, "", "", float(self.residents[-1]))
        return ResultTable(out)
