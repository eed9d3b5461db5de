"""Ratios adjusted for what places differ in, beside the crude ones, and how much of the difference that accounts for.

Counts of every group in every place are regressed on group and place, by a Poisson or negative binomial law with the
exposure as offset (statsmodels); errors are robust to whatever goes with a place (Liang & Zeger 1986). The difference
of the crude rates is then split (Das Gupta 1993) into what the covariates of the places account for and what they do
not. Adjusting answers "how large is it among places alike in these"; it says nothing of why, and a covariate that is
itself an outcome of unequal treatment hides part of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from rtmdx.disparity.comparison import compare
from rtmdx.disparity.decompose import Decomposition, das_gupta
from rtmdx.disparity.intervals import one_of, tail_of
from rtmdx.disparity.results import PersonRatio, PlaceRatio, ResultTable, enforcement_flags, flags_of
from rtmdx.errors import FitError, InputError, MissingDependencyError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FEW_CLUSTERS", "Adjusted", "adjusted"]

Float = NDArray[np.float64]
Family = Literal["poisson", "negative-binomial"]

FEW_CLUSTERS = 30
_SAME = ("level", "group", "reference", "events", "reference_events", "exposure", "reference_exposure", "benchmark")


@dataclass(frozen=True)
class Adjusted:
    """Crude and adjusted ratios of the same rows.

    Attributes
    ----------
    crude, adjusted : ResultTable of PersonRatio or PlaceRatio
        One row for every group but the reference. The crude one is pooled.
    decompositions : dict of Decomposition
        By group: the difference of its crude rate from the reference's. "place" is what the covariates account for,
        "group" what they do not, "fit" what the law misses of the totals (0 for a Poisson law up to rounding).
    covariates : dict of (float, float, float)
        Ratio of rates, with its interval, for one standard deviation more of a number, or beside the first level.
    family : str
    dispersion : float
        Pearson statistic over its degrees of freedom; about 1 if the law holds.
    alpha : float or None
        Dispersion parameter of a negative binomial law: variance = mean + alpha x mean^2.
    n_rows, n_clusters : int
    left_out : dict of int
        Events in places without exposure of their own group, by group; they are in neither ratio.
    """

    crude: ResultTable
    adjusted: ResultTable
    decompositions: dict[str, Decomposition]
    covariates: dict[str, tuple[float, float, float]]
    family: str
    dispersion: float
    alpha: float | None
    n_rows: int
    n_clusters: int
    left_out: dict[str, int]

    @property
    def explained(self) -> dict[str, float]:
        """Share of the difference of the crude rates that the covariates account for; it can exceed 1 or be below 0."""
        return {
            g: d.effects["place"] / d.difference if d.difference else float("nan")
            for g, d in self.decompositions.items()
        }

    def to_frame(self) -> pd.DataFrame:
        """Return crude and adjusted side by side, one row per group."""
        import pandas as pd

        rows = []
        pairs: list[tuple[Any, Any]] = list(zip(self.crude, self.adjusted, strict=True))
        for c, a in pairs:
            rows.append(
                {
                    "group": a.group,
                    "reference": a.reference,
                    "events": a.events,
                    "reference_events": a.reference_events,
                    **{f"crude{k}": v for k, v in _ends(c).items()},
                    **{f"adjusted{k}": v for k, v in _ends(a).items()},
                    "explained": self.explained[a.group],
                    "flags": ", ".join(a.flags),
                }
            )
        return pd.DataFrame(rows)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "crude": self.crude.to_dict(),
            "adjusted": self.adjusted.to_dict(),
            "explained": self.explained,
            "effects": {g: d.effects for g, d in self.decompositions.items()},
            "covariates": {k: list(v) for k, v in self.covariates.items()},
            "family": self.family,
            "dispersion": self.dispersion,
            "alpha": self.alpha,
            "n_rows": self.n_rows,
            "n_clusters": self.n_clusters,
            "left_out": self.left_out,
        }

    def sentences(self) -> list[str]:
        """Say all of it."""
        out = [*self.crude.sentences(), *self.adjusted.sentences()]
        for group, share in self.explained.items():
            out.append(f"The covariates account for {100 * share:.0f} % of the difference of {group}'s crude rate.")
        if any(self.left_out.values()):
            said = ", ".join(f"{n:,} of {g}" for g, n in self.left_out.items() if n)
            out.append(f"Left out, in places without residents of the group: {said} events.")
        return out


def adjusted(
    table: pd.DataFrame,
    *,
    reference: str,
    covariates: Sequence[str],
    cluster: str,
    by: str = "group",
    events: str = "events",
    benchmark: str = "residents",
    factors: Sequence[str] = (),
    family: Family = "poisson",
    kind: Literal["person", "place"] = "person",
    without_exposure: Literal["refuse", "drop"] = "refuse",
    level: float = 0.95,
    outcome: str | None = None,
    enforcement: bool | None = None,
) -> Adjusted:
    """Compare the rates of groups in places that are alike in the covariates.

    Parameters
    ----------
    table : DataFrame
        Long: one row per group and place (and period), with counts, exposures and the covariates of the place.
    reference, by, events, benchmark, kind, level, outcome, enforcement
        As for `rtmdx.disparity.compare`.
    covariates : sequence of str
        Columns: crime, poverty, composition. Numbers enter linearly in the log of the rate.
    factors : sequence of str
        Columns whose every value has its own level, such as the year; columns of text among the covariates too.
    cluster : str
        Column of the place: rows of one place are not taken for independent.
    family : {"poisson", "negative-binomial"}
    without_exposure : {"refuse", "drop"}
        Events in a place where nobody of their group lives have no rate there: refuse the table, or leave them out and
        say how many.

    Returns
    -------
    Adjusted
        Intervals of adjusted ratios have Student's t on one degree of freedom fewer than clusters; few clusters flag.

    Raises
    ------
    InputError
        As `compare` does; or a covariate is missing, not finite, constant or a combination of others.
    FitError
        The regression finds no finite optimum.
    MissingDependencyError
        statsmodels is not installed.
    """
    one_of("family", family, ("poisson", "negative-binomial"))
    one_of("without_exposure", without_exposure, ("refuse", "drop"))
    alpha = tail_of(level)
    names = list(dict.fromkeys([*covariates, *factors]))
    missing = [c for c in (by, events, benchmark, cluster, *names) if c not in table.columns]
    if missing:
        raise InputError(f"table: no column {missing[0]!r}; it has {', '.join(map(str, table.columns))}.")
    if not names:
        raise InputError("covariates: found none, expected at least one; compare() gives the crude ratio.")
    kept, left_out = _with_exposure(table, by, events, benchmark, without_exposure)
    crude = compare(
        kept, by=by, reference=reference, events=events, benchmark=benchmark, kind=kind, level=level,
        outcome=outcome, enforcement=enforcement,
    ).ratios  # fmt: skip
    bare: list[Any] = list(crude)
    groups = [r.group for r in bare]
    own = kept[by].astype(str).to_numpy()
    member = np.stack([own == g for g in groups], axis=1).astype(np.float64)
    place, labels = _design(kept, names, set(factors))
    x = np.hstack([np.ones((len(kept), 1)), member, place])
    _require_full_rank(x, ["intercept", *groups, *labels])
    y, n = kept[events].to_numpy(np.float64), kept[benchmark].to_numpy(np.float64)
    codes = np.unique(kept[cluster].astype(str).to_numpy(), return_inverse=True)[1]
    n_clusters = int(codes.max()) + 1
    if n_clusters < 2:
        raise InputError(f"cluster {cluster!r}: found 1 value, expected several places.")
    beta, covariance, over = _fit(x, y, n, codes, family)
    spread = np.sqrt(np.diag(covariance))
    t = float(special.stdtrit(n_clusters - 1, 1.0 - alpha))
    made = enforcement_flags(outcome or events, enforcement)
    few = ("few-clusters",) if n_clusters < FEW_CLUSTERS else ()
    ratios = []
    for i, c in enumerate(bare, start=1):
        value, low, high = (float(np.exp(beta[i] + s * t * spread[i])) for s in (0.0, -1.0, 1.0))
        common: dict[str, Any] = {
            **{k: getattr(c, k) for k in _SAME},
            "estimate": value,
            "low": low,
            "high": high,
            "method": f"{family} regression, robust by {cluster}",
            "flags": flags_of(value, low, high, c.events, c.reference_events) + few + made,
            "pooling": "regression",
            "adjusted": ", ".join(names),
        }
        ratios.append(PersonRatio(**common) if kind == "person" else PlaceRatio(**common))
    mean = n * np.exp(x @ beta)
    variance = mean if over is None else mean + over * mean**2
    first = 1 + len(groups)
    terms = {
        label: tuple(float(np.exp(beta[j] + s * t * spread[j])) for s in (0.0, -1.0, 1.0))
        for j, label in enumerate(labels, start=first)
    }
    return Adjusted(
        crude=crude,
        adjusted=ResultTable(ratios),
        decompositions=_split(y, n, own, reference, groups, beta, place),
        covariates=terms,  # type: ignore[arg-type]
        family=family,
        dispersion=float(((y - mean) ** 2 / variance).sum() / max(len(y) - x.shape[1], 1)),
        alpha=over,
        n_rows=len(kept),
        n_clusters=n_clusters,
        left_out=left_out,
    )


def _ends(r: Any) -> dict[str, float]:
    return {"": r.estimate, "_low": r.low, "_high": r.high}


def _with_exposure(
    table: pd.DataFrame, by: str, events: str, benchmark: str, rule: str
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Rows with exposure, and the events of the others by group."""
    try:
        empty = table[benchmark].to_numpy(np.float64) == 0
        lost = empty & (table[events].to_numpy(np.float64) != 0)
    except (TypeError, ValueError):
        raise InputError(f"table: expected numbers in columns {events!r} and {benchmark!r}.") from None
    if lost.any() and rule == "refuse":
        i = int(np.argmax(lost))
        raise InputError(
            f"table, row {i}: {table[events].iloc[i]} events of {table[by].iloc[i]} but no {benchmark}, as in "
            f"{int(lost.sum()) - 1} other rows.",
            hint="Use larger places, or without_exposure='drop', which leaves them out and says how many.",
        )
    counts = table[lost].groupby(table.loc[lost, by].astype(str).to_numpy())[events].sum()
    groups = sorted(set(table[by].astype(str)))
    return table[~empty].reset_index(drop=True), {g: int(counts.get(g, 0)) for g in groups}


def _design(table: pd.DataFrame, names: list[str], factors: set[str]) -> tuple[Float, list[str]]:
    """Columns of the covariates, numbers standardised, and their labels."""
    columns, labels = [], []
    for name in names:
        values = table[name]
        if values.isna().any():
            i = int(np.argmax(values.isna().to_numpy()))
            raise InputError(f"table, row {i}: no {name}.", hint="Fill it, or leave the place out for every group.")
        if name in factors or values.dtype.kind not in "biuf":
            levels = sorted(set(values), key=str) if values.dtype.kind not in "biuf" else sorted(set(values))
            if len(levels) < 2:
                raise InputError(f"covariate {name!r}: found {levels[0]!r} everywhere; it can adjust for nothing.")
            for v in levels[1:]:
                columns.append((values == v).to_numpy(np.float64))
                labels.append(f"{name} {v} (beside {levels[0]})")
            continue
        x = values.to_numpy(np.float64)
        if not np.isfinite(x).all():
            i = int(np.argmax(~np.isfinite(x)))
            raise InputError(f"table, row {i}, {name}: found {x[i]}, expected a finite number.")
        if x.std() == 0:
            raise InputError(f"covariate {name!r}: found {x[0]:g} everywhere; it can adjust for nothing.")
        columns.append((x - x.mean()) / x.std())
        labels.append(f"{name} (+{x.std():.3g})")
    return np.stack(columns, axis=1), labels


def _require_full_rank(x: Float, labels: list[str]) -> None:
    norm = np.linalg.norm(x, axis=0)
    for label, size in zip(labels, norm, strict=True):
        if size == 0:
            raise InputError(f"{label}: no rows.")
    r = np.abs(np.diag(np.linalg.qr(x / norm, mode="r")))
    if r.shape[0] < x.shape[1] or (r < 1e-9).any():
        j = int(np.argmax(r < 1e-9)) if (r < 1e-9).any() else r.shape[0]
        raise InputError(f"covariate {labels[j]!r} is a combination of those before it.", hint="Leave one out.")


def _fit(x: Float, y: Float, n: Float, codes: NDArray[np.int64], family: Family) -> tuple[Float, Float, float | None]:
    """Coefficients, their covariance robust to clusters, and the law's own dispersion."""
    try:
        from statsmodels.discrete.discrete_model import NegativeBinomial
        from statsmodels.genmod.families import Poisson
        from statsmodels.genmod.generalized_linear_model import GLM
        from statsmodels.tools.sm_exceptions import ModelWarning
    except ImportError:
        raise MissingDependencyError(
            "Adjusted ratios need statsmodels.", hint="Install the extra: pip install 'rtmdx[disparity]'."
        ) from None
    import warnings

    k = x.shape[1]
    for column in range(k):
        inside = x[:, column] == 1.0
        if set(np.unique(x[:, column])) <= {0.0, 1.0} and y[inside].sum() == 0:
            raise FitError(
                "adjusted: a group, or a level of a factor, has no events; its ratio has no finite estimate.",
                hint="Leave it out, merge it, or use compare(), which has exact limits for counts of 0.",
            )
    robust = {"cov_type": "cluster", "cov_kwds": {"groups": codes}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", (ModelWarning, RuntimeWarning))  # what matters of them is checked below
        first = GLM(y, x, family=Poisson(), exposure=n).fit(tol=1e-12, **robust)
        if family == "poisson":
            found, over = first, None
        else:
            moment = max(float((((y - first.mu) ** 2 - y) / first.mu**2).mean()), 0.01)
            model = NegativeBinomial(y, x, exposure=n)
            found = model.fit(
                start_params=np.r_[first.params, moment], method="bfgs", maxiter=500, gtol=1e-6, disp=0, **robust
            )
            found = model.fit(start_params=found.params, method="newton", maxiter=100, disp=0, **robust)
            over = float(found.params[-1])
    converged = bool(found.converged if family == "poisson" else found.mle_retvals["converged"])
    beta, covariance = np.asarray(found.params)[:k], np.asarray(found.cov_params())[:k, :k]
    if not (converged and np.isfinite(beta).all() and np.isfinite(covariance).all()) or (over is not None and over < 0):
        raise FitError(f"adjusted: the {family} regression found no finite optimum.", hint="Use fewer covariates.")
    return beta, covariance, over


def _split(
    y: Float, n: Float, own: NDArray[Any], reference: str, groups: list[str], beta: Float, place: Float
) -> dict[str, Decomposition]:
    """Each group's crude rate as a product of the group's level, the mean of its places, and what the law misses."""
    weight = np.exp(place @ beta[1 + len(groups) :])
    level = dict(zip(groups, beta[0] + beta[1 : 1 + len(groups)], strict=True)) | {reference: beta[0]}

    def parts(group: str) -> dict[str, float]:
        mine = own == group
        mean = float((n[mine] * weight[mine]).sum() / n[mine].sum())
        whole = float(np.exp(level[group])) * mean
        fit = float(y[mine].sum() / n[mine].sum()) / whole
        return {"place": mean, "group": float(np.exp(level[group])), "fit": fit}

    return {g: das_gupta(parts(reference), parts(g)) for g in groups}
