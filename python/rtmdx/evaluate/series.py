"""Interrupted series: did a series of counts change its level or its slope when something began?

    log E[y_t] = log exposure_t + a + b t + c after_t + d after_t (t - start) + season_t

(segmented regression: Wagner et al. 2002; Bernal, Cummins & Gasparrini 2017), by a Poisson, a negative binomial or an
ordinary least squares law (the last without the log, per unit of exposure); statsmodels fits. Errors are robust to
overdispersion and, with lags, to correlation in time (Newey & West 1987). What would have happened without the change
is the same law with c = d = 0.

A control series has all terms of its own, and the treated one differs from it in each: c and d are then by how much
more the treated series changed, and what would have happened has the control's change (a comparative series).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from rtmdx.errors import FitError, InputError, MissingDependencyError
from rtmdx.evaluate.periods import exposure_in, series_in, start_in
from rtmdx.evaluate.results import level_in, normal_interval
from rtmdx.evaluate.series_results import InterruptedSeries, SeriesChecks, SeriesTerm
from rtmdx.space.values import choice, flag, whole

__all__ = ["interrupted_series"]

Float = NDArray[np.float64]
Family = Literal["poisson", "negative-binomial", "ols"]
FEW_PERIODS = 8
_LAWS = {"poisson": "Poisson", "negative-binomial": "negative binomial", "ols": "least squares"}


def interrupted_series(
    counts: ArrayLike,
    start: Any,
    *,
    periods: Sequence[Any] | None = None,
    family: Family = "poisson",
    exposure: ArrayLike | None = None,
    control: ArrayLike | None = None,
    control_exposure: ArrayLike | None = None,
    level_change: bool = True,
    slope_change: bool = True,
    trend: bool = True,
    season: int | None = None,
    harmonics: int = 1,
    transition: int = 0,
    lags: int | None = None,
    level: float = 0.95,
) -> InterruptedSeries:
    """Fit a segmented regression to a series and compare it with what would have gone on.

    Parameters
    ----------
    counts : array or Series, shape (n,)
        One count per period of equal length; the index of a Series labels the periods.
    start : label or int
        First period after: a label where there are labels, else an index from 0.
    periods : sequence, optional
        Labels, ascending.
    family : {"poisson", "negative-binomial", "ols"}
    exposure : array, shape (n,), optional
        Population or days of each period.
    control : array, shape (n,), optional
        Counts of a series where nothing began. Count laws compare proportional changes, so its size does not matter;
        least squares compares changes per unit of exposure.
    control_exposure : array, shape (n,), optional
    level_change, slope_change, trend : bool
        Whether the model has a step at the start, another slope after it, and a slope before.
    season : int, optional
        Periods in a season (12 for months of a year), modelled by `harmonics` pairs of sine and cosine.
    harmonics : int
    transition : int
        Periods from the start on that belong to neither side.
    lags : int, optional
        Of HAC errors; floor(4 (n/100)^(2/9)) by default, 0 for errors robust to heteroscedasticity only.
    level : float

    Returns
    -------
    InterruptedSeries
        Intervals are normal; those of sums follow from the coefficients by the delta method. Estimate and interval are
        of expected events, with and without the change.

    Raises
    ------
    InputError
        Counts that are not whole or negative, a start outside, too few periods for the model.
    FitError
        No finite optimum, as where a side has no events.
    MissingDependencyError
        statsmodels is not installed.
    """
    level = level_in(level)
    choice(family, "family", ("poisson", "negative-binomial", "ols"))
    for value, name in ((level_change, "level_change"), (slope_change, "slope_change"), (trend, "trend")):
        flag(value, name)
    if not (level_change or slope_change):
        raise InputError("level_change and slope_change are both False: there is nothing to estimate.")
    y, labels = series_in(counts, periods)
    n = y.size
    first = start_in(start, labels, n)
    size = exposure_in(exposure, n)
    other_y = None if control is None else series_in(control, labels)[0]
    used = np.ones(n, dtype=np.bool_)
    used[first : first + whole(transition, "transition", least=0, most=n - first - 1)] = False
    names, x = _design(n, first, level_change, slope_change, trend, season, harmonics)
    after = np.arange(n) >= first
    if int(used.sum()) < x.shape[1] + 2 or (used & after).sum() < 1 + slope_change:
        raise InputError(
            f"counts: found {int(used.sum())} usable periods ({int((used & after).sum())} after the start) for "
            f"{x.shape[1]} coefficients, expected at least {x.shape[1] + 2} ({1 + slope_change} after).",
            hint="Use slope_change=False, fewer harmonics, or shorter periods.",
        )
    sides = [s[used & part].sum() for s in (y, other_y) if s is not None for part in (after, ~after)]
    if family != "ols" and min(sides) == 0:
        raise FitError("interrupted series: one side of the start has no events; a ratio has no finite estimate.",
                       hint="Use longer periods, or family='ols'.")  # fmt: skip
    m = int(used.sum())
    lag = min(math.floor(4 * (m / 100) ** (2 / 9)), m - 1) if lags is None else whole(lags, "lags", least=0, most=m - 1)
    if other_y is None:
        beta, covariance, alpha = _fit(y[used], x[used], size[used], family, lag, 1)
    else:
        both = np.concatenate([y[used], other_y[used]])
        sizes = np.concatenate([size[used], exposure_in(control_exposure, n)[used]])
        beta, covariance, alpha = _fit(both, np.vstack([np.hstack([x, x])[used], np.hstack([x, 0 * x])[used]]), sizes,
                                       family, lag, 2)  # fmt: skip
        x, names = np.hstack([x, x]), [*(f"control {name}" for name in names), *names]
    without = x.copy()
    without[:, [i for i, name in enumerate(names) if name in ("level", "slope")]] = 0.0
    if family == "ols":
        fitted, other = size * (x @ beta), size * (without @ beta)
        slopes, other_slopes = size[:, None] * x, size[:, None] * without
    else:
        fitted, other = size * np.exp(x @ beta), size * np.exp(without @ beta)
        slopes, other_slopes = fitted[:, None] * x, other[:, None] * without
    z = float(special.ndtri(0.5 + level / 2))
    inside = used & after
    gradient = (other_slopes - slopes)[inside].sum(axis=0)
    averted, expected = float((other - fitted)[inside].sum()), float(other[inside].sum())
    low, high, p = normal_interval(averted, math.sqrt(max(0.0, float(gradient @ covariance @ gradient))), level)
    bottom, top = _limits_of_mean(x=without, beta=beta, covariance=covariance, size=size, z=z, family=family)
    for array in (other, bottom, top):
        array[~after] = np.nan
    k = x.shape[1] if other_y is None else x.shape[1] // 2
    checks = _checks(y[used], fitted[used], size[used], family, alpha, k, season)
    flags = list(checks.flags)
    if min(int((used & after).sum()), int((~after).sum())) < FEW_PERIODS:
        flags.append("few-periods")
    if season is not None and first < season:
        flags.append("short-season")
    return InterruptedSeries(
        estimate=averted, low=low, high=high, level=level, p=p,
        method=f"{_LAWS[family]} segmented regression, HAC errors of {lag} lags"
        + (", beside a control series" if other_y is not None else ""),
        terms=_terms(names, beta, covariance, family, level), checks=checks, counts=y, fitted=fitted,
        counterfactual=other, counterfactual_low=bottom, counterfactual_high=top, periods=labels, start=first,
        used=used, observed=float(y[inside].sum()), expected=expected,
        share=_share(averted, expected, gradient, other_slopes[inside].sum(axis=0), covariance, z),
        family=family, alpha=alpha, lags=lag, control=other_y, flags=(*flags, "association"),
    )  # fmt: skip


def _fit(y: Float, x: Float, size: Float, family: str, lag: int, n_series: int) -> tuple[Float, Float, float | None]:
    try:
        import statsmodels.api as sm
        from statsmodels.tools.sm_exceptions import ModelWarning
    except ImportError:
        raise MissingDependencyError(
            "Interrupted series need statsmodels.", hint="Install the extra: pip install 'rtmdx[evaluate]'."
        ) from None
    hac: dict[str, Any] = {"cov_type": "HAC", "cov_kwds": {"maxlags": lag}}
    if n_series > 1:  # no correlation from the end of one to the beginning of the next
        groups = np.repeat(np.arange(n_series), y.size // n_series)
        hac = {"cov_type": "hac-panel", "cov_kwds": {"groups": groups, "maxlags": lag, "use_correction": False}}
    alpha = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", (ModelWarning, RuntimeWarning))  # what matters of them is checked below
        if family == "ols":
            found = sm.OLS(y / size, x).fit(**hac)
        else:
            start = sm.GLM(y, x, family=sm.families.Poisson(), offset=np.log(size)).fit(maxiter=200)
            law: Any = sm.families.Poisson()
            if family == "negative-binomial":
                joint = sm.NegativeBinomial(y, x, offset=np.log(size)).fit(
                    start_params=np.append(start.params, 0.1), method="bfgs", maxiter=1000, disp=0
                )
                alpha = float(joint.params[-1])
                if not math.isfinite(alpha):
                    raise FitError("interrupted series: the negative binomial law does not converge.",
                                   hint="Use family='poisson', whose errors are robust.")  # fmt: skip
                alpha = max(alpha, 1e-8)
                law = sm.families.NegativeBinomial(alpha=alpha)
            found = sm.GLM(y, x, family=law, offset=np.log(size)).fit(start_params=start.params, maxiter=200, **hac)
    beta, covariance = np.asarray(found.params), np.asarray(found.cov_params())
    if not (np.isfinite(beta).all() and np.isfinite(covariance).all()) or np.abs(beta).max() > 1e8:
        raise FitError("interrupted series: the regression has no finite optimum.", hint="Use fewer terms.")
    return beta, covariance, alpha


def _design(
    n: int, first: int, level: bool, slope: bool, trend: bool, season: int | None, harmonics: int
) -> tuple[list[str], Float]:
    t = np.arange(n, dtype=np.float64)
    after = (t >= first).astype(np.float64)
    columns = {"intercept": np.ones(n)}
    if trend:
        columns["trend"] = t - first
    if level:
        columns["level"] = after
    if slope:
        columns["slope"] = after * (t - first)
    if season is not None:
        s = whole(season, "season", least=2)
        k = whole(harmonics, "harmonics", least=1)
        if 2 * k > s:
            raise InputError(f"harmonics: found {k}, expected at most {s // 2} in a season of {s} periods.")
        for h in range(1, k + 1):
            columns[f"cos {h}"] = np.cos(2 * np.pi * h * t / s)
            if 2 * h < s:
                columns[f"sin {h}"] = np.sin(2 * np.pi * h * t / s)
    return list(columns), np.stack(list(columns.values()), axis=1)


def _limits_of_mean(*, x: Float, beta: Float, covariance: Float, size: Float, z: float, family: str) -> Any:
    middle = x @ beta
    spread = z * np.sqrt(np.maximum(0.0, np.einsum("ij,jk,ik->i", x, covariance, x)))
    if family == "ols":
        return size * (middle - spread), size * (middle + spread)
    return size * np.exp(middle - spread), size * np.exp(middle + spread)


def _share(
    averted: float, expected: float, gradient: Float, slope: Float, covariance: Float, z: float
) -> tuple[float, float, float]:
    if expected <= 0:
        return math.nan, math.nan, math.nan
    value = averted / expected
    g = (gradient - value * slope) / expected
    se = math.sqrt(max(0.0, float(g @ covariance @ g)))
    return value, value - z * se, value + z * se


def _terms(names: list[str], beta: Float, covariance: Float, family: str, level: float) -> tuple[SeriesTerm, ...]:
    out = []
    for i, name in enumerate(names):
        if name.removeprefix("control ") not in ("trend", "level", "slope"):
            continue
        b = float(beta[i])
        low, high, p = normal_interval(b, math.sqrt(max(0.0, float(covariance[i, i]))), level)
        ends = (b, low, high) if family == "ols" else (math.exp(b), math.exp(low), math.exp(high))
        out.append(
            SeriesTerm(
                estimate=ends[0], low=ends[1], high=ends[2], level=level, p=p, method="normal, HAC errors", name=name,
                scale="change" if family == "ols" else "ratio", beside_control=f"control {name}" in names,
            )
        )  # fmt: skip
    return tuple(out)


def _checks(
    y: Float, fitted: Float, size: Float, family: str, alpha: float | None, k: int, season: int | None
) -> SeriesChecks:
    n = y.size
    if family == "ols":
        residual, dispersion = (y - fitted) / size, math.nan
    else:
        residual = (y - fitted) / np.sqrt(fitted + (alpha or 0.0) * fitted**2)
        dispersion = float((residual**2).sum() / (n - k))
    total = float((residual**2).sum())
    lags = max(1, min(10 if season is None else 2 * season, n // 5))
    if total <= 1e-20 * max(1.0, float((y**2).sum())):  # an exact fit leaves nothing to be correlated
        return SeriesChecks(durbin_watson=2.0, ljung_box_p=1.0, lags=lags, dispersion=dispersion, autocorrelation=0.0)
    centred = residual - residual.mean()
    r = np.array([float(centred[h:] @ centred[:-h]) for h in range(1, lags + 1)]) / float(centred @ centred)
    q = n * (n + 2) * float((r**2 / (n - np.arange(1, lags + 1))).sum())
    p = float(stats.chi2.sf(q, lags))
    flags: tuple[str, ...] = ("autocorrelation",) if p < 0.05 else ()
    if family == "poisson" and dispersion > 1.5:
        flags += ("dispersion",)
    return SeriesChecks(
        durbin_watson=float((np.diff(residual) ** 2).sum() / total), ljung_box_p=p, lags=lags, dispersion=dispersion,
        autocorrelation=float(r[0]), flags=flags,
    )  # fmt: skip
