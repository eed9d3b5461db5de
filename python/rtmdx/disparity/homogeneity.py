"""Is there one ratio, common to all strata? Tests beside Mantel-Haenszel.

Sources: Breslow & Day 1987, Statistical Methods in Cancer Research II, 3.6 (rate ratios, given the events of each
stratum); Tarone 1985 (correction where the common ratio is not the most likely one); Cochran 1954 (Q); Higgins &
Thompson 2002 (I2).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from rtmdx.disparity.intervals import checked_counts, one_of
from rtmdx.disparity.results import _number, _plain
from rtmdx.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Heterogeneity", "heterogeneity"]

Float = NDArray[np.float64]
Method = Literal["breslow-day", "likelihood-ratio", "cochran-q"]
_NAMES = {
    "breslow-day": "Breslow-Day test for rate ratios with Tarone's correction",
    "likelihood-ratio": "likelihood-ratio test, Poisson counts",
    "cochran-q": "Cochran's Q of the strata's log ratios",
}


@dataclass(frozen=True, kw_only=True)
class Heterogeneity:
    """A test of whether the strata share one ratio.

    Attributes
    ----------
    statistic : float
        Chi-squared with `df` degrees of freedom where they do.
    df : int
    p_value : float
    i_squared : float
        Share of the strata's scatter beyond chance, max(0, 1 - df / statistic).
    common : float
        The ratio they would share: Mantel-Haenszel's, the most likely one, or the one weighted by inverse variances.
    lowest, highest : float
        Ratio of a stratum, over those that have events of both; NaN where none has.
    n_strata : int
        Strata compared.
    left_out : int
        Strata that cannot take part: no events, no exposure of one group; for Q, no events of one group.
    events, reference_events : float
        In the strata compared.
    group, reference : str
    method : str
    """

    statistic: float
    df: int
    p_value: float
    i_squared: float
    common: float
    lowest: float
    highest: float
    n_strata: int
    left_out: int
    events: float
    reference_events: float
    group: str
    reference: str
    method: str

    def sentence(self) -> str:
        """Say it in one sentence."""
        p = "below 0.001" if self.p_value < 0.001 else f"{self.p_value:.3f}"
        verdict = (
            "the strata do not share one ratio, so that any single one hides how they differ"
            if self.p_value < 0.05
            else "the strata may share one ratio; with few events a difference can go unseen"
        )
        out = f"; {self.left_out} strata without events or exposure are left out" if self.left_out else ""
        return (
            f"{self.group} beside {self.reference}, {self.n_strata} strata with ratios from {_number(self.lowest)} to "
            f"{_number(self.highest)} ({self.events:,.0f} and {self.reference_events:,.0f} events): p {p} (chi-squared "
            f"{self.statistic:,.1f} on {self.df}, {self.method}), {100 * self.i_squared:.0f} % of their scatter is "
            f"beyond chance; {verdict}{out}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; what is not finite is None."""
        return {"type": type(self).__name__, **{f.name: _plain(getattr(self, f.name)) for f in fields(self)}}

    def to_frame(self) -> pd.DataFrame:
        """Return one row."""
        import pandas as pd

        return pd.DataFrame([{f.name: getattr(self, f.name) for f in fields(self)}])


def heterogeneity(
    a: ArrayLike,
    na: ArrayLike,
    b: ArrayLike,
    nb: ArrayLike,
    *,
    method: Method = "breslow-day",
    group: str = "the group",
    reference: str = "the reference",
) -> Heterogeneity:
    """Test whether the ratio of two rates is the same in all strata.

    Parameters
    ----------
    a, b : arrays of whole numbers, shape (n_strata,)
        Events of the group and of the reference.
    na, nb : arrays of numbers >= 0, shape (n_strata,)
        Exposures.
    method : {"breslow-day", "likelihood-ratio", "cochran-q"}
        Breslow and Day's test and the likelihood ratio take strata with no events of one group; Cochran's Q leaves them
        out. All three are large-sample tests: with fewer than about five events a stratum they are rough. They take
        events for independent: where these come in clusters, p values are too small.
    group, reference : str
        For the sentence.

    Returns
    -------
    Heterogeneity

    Raises
    ------
    InputError
        If an argument is out of its range, events lack exposure, or fewer than two strata can be compared.
    """
    one_of("method", method, tuple(_NAMES))
    x, y = checked_counts("a", a), checked_counts("b", b)
    nx, ny = _exposures("na", na), _exposures("nb", nb)
    shapes = {v.shape for v in (x, y, nx, ny)}
    if len(shapes) > 1 or x.ndim != 1:
        raise InputError(f"expected one value per stratum of each, found shapes {sorted(shapes)}.")
    for name, events, exposure in (("a", x, nx), ("b", y, ny)):
        lost = (events > 0) & (exposure <= 0)
        if lost.any():
            i = int(np.argmax(lost))
            raise InputError(
                f"{name}, stratum {i}: {events[i]:.0f} events without exposure.", hint="Use larger strata."
            )
    use = (x + y > 0) & (nx > 0) & (ny > 0)
    if method == "cochran-q":
        use &= (x > 0) & (y > 0)
    left_out = int((~use).sum())
    x, y, nx, ny = x[use], y[use], nx[use], ny[use]
    if len(x) < 2:
        raise InputError(
            f"heterogeneity: {len(x)} of {len(use)} strata can be compared, expected at least 2.",
            hint="Use larger strata.",
        )
    if x.sum() == 0 or y.sum() == 0:
        raise InputError(f"heterogeneity: found {x.sum():.0f} and {y.sum():.0f} events, expected some of both.")
    if method == "cochran-q":
        statistic, common = _cochran(x, nx, y, ny)
    elif method == "breslow-day":
        statistic, common = _breslow_day(x, nx, y, ny)
    else:
        statistic, common = _likelihood_ratio(x, nx, y, ny)
    both = (x > 0) & (y > 0)
    each = x[both] / nx[both] / (y[both] / ny[both])
    df = len(x) - 1
    return Heterogeneity(
        statistic=statistic,
        df=df,
        p_value=float(special.chdtrc(df, statistic)),
        i_squared=max(0.0, 1.0 - df / statistic) if statistic > 0 else 0.0,
        common=common,
        lowest=float(each.min()) if each.size else float("nan"),
        highest=float(each.max()) if each.size else float("nan"),
        n_strata=len(x),
        left_out=left_out,
        events=float(x.sum()),
        reference_events=float(y.sum()),
        group=group,
        reference=reference,
        method=_NAMES[method],
    )


def _exposures(name: str, values: ArrayLike) -> Float:
    try:
        out = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name}: expected numbers.") from None
    bad = ~(np.isfinite(out) & (out >= 0))
    if bad.any():
        i = int(np.argmax(bad))
        raise InputError(f"{name}, stratum {i}: found {out.ravel()[i]:g}, expected a number >= 0.")
    return out


def _chance(ratio: float, nx: Float, ny: Float) -> Float:
    """Probability that an event of a stratum is the group's."""
    return np.asarray(ratio * nx / (ratio * nx + ny))


def _breslow_day(x: Float, nx: Float, y: Float, ny: Float) -> tuple[float, float]:
    total = nx + ny
    common = float((x * ny / total).sum() / (y * nx / total).sum())
    t, p = x + y, _chance(common, nx, ny)
    rest, variance = x - t * p, t * p * (1.0 - p)
    return float((rest**2 / variance).sum() - rest.sum() ** 2 / variance.sum()), common


def _most_likely(x: Float, nx: Float, y: Float, ny: Float) -> float:
    """The common ratio at which the group's events are as many as expected, given each stratum's."""
    each = np.log(np.array([1e-12, 1e12]) * (x.sum() / nx.sum()) / (y.sum() / ny.sum()))

    def excess(log_ratio: float) -> float:
        return float(((x + y) * _chance(float(np.exp(log_ratio)), nx, ny)).sum() - x.sum())

    return float(np.exp(optimize.brentq(excess, each[0], each[1], xtol=1e-14, rtol=8.9e-16)))


def _likelihood_ratio(x: Float, nx: Float, y: Float, ny: Float) -> tuple[float, float]:
    common = _most_likely(x, nx, y, ny)
    t, p = x + y, _chance(common, nx, ny)
    deviance = special.xlogy(x, x / (t * p)) + special.xlogy(y, y / (t * (1.0 - p)))
    return max(0.0, 2.0 * float(deviance.sum())), common


def _cochran(x: Float, nx: Float, y: Float, ny: Float) -> tuple[float, float]:
    log_ratio = np.log(x / nx) - np.log(y / ny)
    weight = x * y / (x + y)
    mean = float((weight * log_ratio).sum() / weight.sum())
    return float((weight * (log_ratio - mean) ** 2).sum()), float(np.exp(mean))
