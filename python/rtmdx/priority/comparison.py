"""Two terrains side by side: what changed in the model, which cells entered and left the top, and where risk moved."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from rtmdx.errors import InputError
from rtmdx.model.design import Variable
from rtmdx.model.families import fit_count_model
from rtmdx.model.terrain import RiskTerrain
from rtmdx.model.validity import Bounds
from rtmdx.priority.comparison_result import FactorChange, Status, TerrainComparison
from rtmdx.priority.inputs import one_top
from rtmdx.priority.places import PlaceScores
from rtmdx.priority.ties import Ranks, common, jaccard_of, ranks_of, tau_of
from rtmdx.space.arguments import thread_count
from rtmdx.space.values import choice, flag, named, number
from rtmdx.sweep.terrain import ScenarioTerrain

__all__ = ["compare"]

Float = NDArray[np.float64]
Terrain = RiskTerrain | ScenarioTerrain


def compare(
    a: Terrain,
    b: Terrain,
    *,
    k: int | None = None,
    share: float | None = None,
    by: Literal["score", "expected"] = "score",
    places: Any = None,
    statistic: Literal["mean", "max", "sum"] = "mean",
    names: tuple[str, str] | None = None,
    level: float = 0.95,
    robust: bool = False,
    variables: Literal["own", "a", "b"] = "own",
    threads: int | None = None,
) -> TerrainComparison:
    """Set two terrains side by side: of two periods, two outcomes, or two ways to model one.

    Parameters
    ----------
    a, b : RiskTerrain or ScenarioTerrain
        On one grid, unless places are compared.
    k : int, optional
        How many are the top. Either this or `share` is given.
    share : float, optional
        Their share of the cells or places, rounded, at least one.
    by : {"score", "expected"}
        Which figure is ranked.
    places : GeoSeries, GeoDataFrame or geometries, optional
        Compare these polygons or lines, as `rank` ranks them, by the `statistic` of their cells. The grids may differ.
    statistic : {"mean", "max", "sum"}
    names : tuple of two str, optional
        By default the terrains' titles.
    level : float
        Probability of the intervals.
    robust : bool
        Take the district-robust standard errors.
    variables : {"own", "a", "b"}
        Whose variables the factors are compared by. "own": each model as it was selected, so that a ratio is given
        where both happen to have the same variable. "a": b's events are fitted anew with a's variables ("b": likewise),
        so that all relative risk values are of one kind; but the variables were chosen on the one and not on the
        other, which flatters it. Cells are compared by the terrains as they are.
    threads : int, optional
        The result does not depend on it.

    Returns
    -------
    TerrainComparison

    Raises
    ------
    InputError
        An argument is out of range, the terrains lie on different grids (and no places are given), there are no robust
        standard errors, or a terrain's design lacks a variable of the other's model.
    FitError
        The one's events cannot be fitted with the other's variables.
    CRSError
        The places are in another CRS than a grid.

    Notes
    -----
    The ratio of two relative risk values has limits exp(d -+ z se), d the difference of the coefficients and
    ``se**2 = se_a**2 + se_b**2``: that is right for *independent* fits, of different events. Where both were fitted to
    the same events, or overlapping ones, their errors go together and the interval is as a rule too wide; a note says
    so where it can be told. Both models were selected, which no standard error knows of.
    """
    for name, t in (("a", a), ("b", b)):
        if not isinstance(t, (RiskTerrain, ScenarioTerrain)):
            raise InputError(f"{name}: found {named(t)}, expected a RiskTerrain or a scenario's terrain.")
    choice(by, "by", ("score", "expected"))
    choice(variables, "variables", ("own", "a", "b"))
    k, share = one_top(k, share)
    level, robust = number(level, "level"), flag(robust, "robust")
    if not 0 < level < 1:
        raise InputError(f"level: found {level:g}, expected a probability between 0 and 1.")
    told = (a.title, b.title) if names is None else tuple(str(v) for v in names)
    if len(told) != 2:
        raise InputError(f"names: found {len(told)}, expected two.")
    if told[0] == told[1]:
        told = (f"{told[0]} (a)", f"{told[1]} (b)")
    if places is None and a.grid.digest != b.grid.digest:
        raise InputError(
            f"a, b: lie on different grids ({a.grid.n_cells:,} cells of {a.grid.cell_size:g} and {b.grid.n_cells:,} of "
            f"{b.grid.cell_size:g}), whose cells cannot be compared.",
            hint="Run both on one grid, or compare places (places=...), which both have.",
        )
    one, two = _cells(a, by), _cells(b, by)
    notes: tuple[str, ...] = ()
    shapes = None
    if places is not None:
        of_a, of_b = PlaceScores(a.grid, places, statistic), PlaceScores(b.grid, places, statistic)
        one, two = of_a(one), of_b(two)
        notes, shapes = of_a.notes, of_a.shapes
        either = np.isnan(one) | np.isnan(two)
        one, two = np.where(either, np.nan, one), np.where(either, np.nan, two)
        if either.all():
            raise InputError("places: none has a cell with a score in both.", hint="Do they lie in the study area?")
    n_threads = thread_count(threads)
    ranks_a, ranks_b = ranks_of(one, n_threads), ranks_of(two, n_threads)
    n = ranks_a.n
    top = k if k is not None else max(1, round((share or 0) * n))
    if top > n:
        raise InputError(f"k: found {top:,}, but there are only {n:,} to rank.")
    overlap = common(ranks_a, ranks_b, top, top)
    new = Bounds(top - overlap.highest, top - overlap.expected, top - overlap.lowest)
    fitted: tuple[Terrain, Terrain] = (a, b)
    if variables == "a":
        fitted = (a, _refitted(b, a, "b", robust))
    elif variables == "b":
        fitted = (_refitted(a, b, "a", robust), b)
    factors = _factors(*fitted, level, robust)
    anew = {"own": "", "a": ", b fitted anew with a's variables", "b": ", a fitted anew with b's variables"}[variables]
    errors = "district-robust" if robust else "model"
    return TerrainComparison(
        unit="cell" if places is None else "place",
        names=(told[0], told[1]),
        by=by,
        k=top,
        level=level,
        method=f"independent fits{anew}, normal on the log scale, {errors} standard errors",
        factors=factors,
        overlap=overlap,
        entered=new,
        left=new,
        jaccard=jaccard_of(overlap, top, top),
        tau=tau_of(ranks_a, ranks_b, n_threads),
        spearman=_spearman(ranks_a, ranks_b),
        total_a=float(_cells(a, by).sum()) if by == "expected" else math.nan,
        total_b=float(_cells(b, by).sum()) if by == "expected" else math.nan,
        score_a=one,
        score_b=two,
        rank_a=ranks_a.mean,
        rank_b=ranks_b.mean,
        in_top_a=ranks_a.inside(top),
        in_top_b=ranks_b.inside(top),
        notes=(*notes, *_caveats(a, b, factors)),
        grid=a.grid if places is None else None,
        shapes=shapes,
    )


def _cells(t: Terrain, by: str) -> Float:
    if isinstance(t, RiskTerrain):
        return t.score_cells if by == "score" else t.expected_cells
    return np.asarray(getattr(t, by).values[t.grid.mask], dtype=np.float64)


def _refitted(t: Terrain, like: Terrain, name: str, robust: bool) -> RiskTerrain:
    """Return a terrain whose model has the other's variables, fitted to its own events."""
    if not isinstance(t, RiskTerrain) or not isinstance(like, RiskTerrain):
        raise InputError("variables: scenarios of a store cannot be fitted anew.", hint='Use variables="own".')
    if robust:
        raise InputError("robust: a model that is fitted anew has no districts.", hint='Use variables="own".')
    place = {_identity(v): j for j, v in enumerate(t.design.variables)}
    missing = [v.name for v in like.model.variables if _identity(v) not in place]
    if missing:
        raise InputError(
            f"variables: the design of terrain {name} lacks {', '.join(missing)}.",
            hint='Run both studies with the same factors and distances, or use variables="own".',
        )
    columns = [place[_identity(v)] for v in like.model.variables]
    exposure = None if t.exposure is None else t.exposure.cells
    model = fit_count_model(t.design, t.counts, columns, family=t.model.family, exposure=exposure)
    return replace(t, selection=replace(t.selection, model=model))


def _identity(v: Variable) -> tuple[str, str, float, float]:
    return v.factor_name, v.operationalization, v.distance, v.sign


def _factors(a: Terrain, b: Terrain, level: float, robust: bool) -> tuple[FactorChange, ...]:
    """Set the models' factors side by side, in the order of a, then b."""
    one, two = _model(a, "a", robust), _model(b, "b", robust)
    z = float(ndtri(0.5 + level / 2))
    out = []
    for factor in dict.fromkeys([*one, *two]):
        va, la, ea = one.get(factor, ("", math.nan, math.nan))
        vb, lb, eb = two.get(factor, ("", math.nan, math.nan))
        status: Status = "only in a" if not vb else "only in b" if not va else "other variable"
        ratio = low = high = score = p = math.nan
        if va == vb:
            status = "same variable"
            d, se = lb - la, math.hypot(ea, eb)
            ratio, low, high = math.exp(d), math.exp(d - z * se), math.exp(d + z * se)
            if se > 0:
                score = d / se
                p = 2 * float(ndtr(-abs(score)))
        out.append(FactorChange(factor, status, va, vb, math.exp(la), math.exp(lb), ratio, low, high, score, p))
    return tuple(out)


def _model(t: Terrain, name: str, robust: bool) -> dict[str, tuple[str, float, float]]:
    """Return variable, log relative risk value and its standard error of each factor."""
    column = "robust_std_error" if robust else "std_error"
    table = t.table
    if robust and len(table) and column not in table.columns:
        raise InputError(
            f"robust: terrain {name} has no robust standard errors.",
            hint="Name districts in the study, or leave it out.",
        )
    out = {}
    for row in table.to_dict("records"):
        variable = str(row.get("variable", ""))
        if "operationalization" in row:
            variable = f"{row['operationalization']} {row['influence']:g}"
            if row.get("effect") == "protective":
                variable += ", protective"  # its value is that of absence
        out[str(row["factor"])] = (variable, math.log(float(row["rrv"])), float(row[column]))
    return out


def _spearman(a: Ranks, b: Ranks) -> float:
    some = (a.best > 0) & (b.best > 0)
    x, y = a.mean[some], b.mean[some]
    x, y = x - x.mean(), y - y.mean()
    scale = math.sqrt(float((x * x).sum()) * float((y * y).sum()))
    return float((x * y).sum()) / scale if scale > 0 else math.nan


def _caveats(a: Terrain, b: Terrain, factors: tuple[FactorChange, ...]) -> tuple[str, ...]:
    notes = []
    if isinstance(a, RiskTerrain) and isinstance(b, RiskTerrain):
        shared = 0
        if _same_source(a, b):
            theirs = set(b.events.keys())
            shared = sum(key in theirs for key in a.events.keys())  # noqa: SIM118
        if shared:
            notes.append(
                f"{shared:,} of {len(a.events):,} events of a have the place and date of one of b, in the same file: "
                "the fits are not independent, and the intervals of the ratios are as a rule too wide."
            )
    else:
        notes.append(
            "Scenarios of a sweep are as a rule fitted to the same events: then the fits are not independent, and the "
            "intervals of the ratios are too wide."
        )
    other = [f.factor for f in factors if f.status == "other variable"]
    if other:
        notes.append(
            f"{', '.join(other)}: the models have different variables of the factor, whose relative risk values are "
            "not of one kind; no ratio is given."
        )
    return tuple(notes)


def _same_source(a: RiskTerrain, b: RiskTerrain) -> bool:
    """Whether both have events of one file, in periods that overlap or are not known."""
    one, two = a.events, b.events
    if one.cleaning.digest and two.cleaning.digest and one.cleaning.digest != two.cleaning.digest:
        return False
    first, second = one.selection, two.selection
    if first.start and first.end and second.start and second.end:
        return bool(first.start <= second.end and second.start <= first.end)
    return True
