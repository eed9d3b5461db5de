"""Intervals and tests of rates and of ratios of two rates, vectorised.

Sources: Garwood 1936 (exact limits of a Poisson count); Breslow & Day 1987, eq. 2.13 (Byar); Clopper & Pearson 1934 on
the conditional binomial (ratio); Lancaster 1961 (mid-P); Fay 2010 (minlike); Gu, Ng, Tang & Schucany 2008 (Wald, score,
square root); Krishnamoorthy & Thomson 2004 (E test).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from rtmdx import _rates
from rtmdx.errors import InputError

__all__ = ["RATE_METHODS", "RATIO_METHODS", "TEST_METHODS", "rate_interval", "ratio_interval", "ratio_test"]

Float = NDArray[np.float64]
RateMethod = Literal["exact", "byar", "phe"]
RatioMethod = Literal["midp", "exact", "minlike", "score", "wald-log"]
TestMethod = Literal["midp", "exact", "minlike", "minlike-midp", "score", "wald", "wald-log", "sqrt", "etest"]
Alternative = Literal["two-sided", "larger", "smaller"]

RATE_METHODS = ("exact", "byar", "phe")
RATIO_METHODS = ("midp", "exact", "minlike", "score", "wald-log")
TEST_METHODS = ("midp", "exact", "minlike", "minlike-midp", "score", "wald", "wald-log", "sqrt", "etest")

_CHUNK = 4096
_E_TABLE = 20_000_000  # entries of the E test's table; more would take seconds a test
_MOST = 2.0**50  # counts above it have no exact neighbours to speak of


def rate_interval(
    events: ArrayLike, exposure: ArrayLike, *, level: float = 0.95, method: RateMethod = "exact"
) -> tuple[Float, Float]:
    """Limits of a rate.

    Parameters
    ----------
    events : array of whole numbers >= 0
    exposure : array of numbers > 0
        Broadcast against `events`. The limits are per unit of it.
    level : float
        Probability of the interval.
    method : {"exact", "byar", "phe"}
        Exact Poisson limits; Byar's approximation; or, as Public Health England does, exact below 10 events and Byar
        from there.

    Returns
    -------
    low, high : float64 arrays
        Without events the lower limit is 0.

    Raises
    ------
    InputError
        If an argument is out of its range, naming the place.
    """
    x, n = checked_counts("events", events), checked_exposures("exposure", exposure)
    alpha = tail_of(level)
    one_of("method", method, RATE_METHODS)
    x, n = np.broadcast_arrays(x, n)
    exact = (special.gammaincinv(np.maximum(x, 1e-300), alpha) * (x > 0), special.gammainccinv(x + 1.0, alpha))
    if method == "exact":
        return exact[0] / n, exact[1] / n
    z = float(special.ndtri(1.0 - alpha))
    with np.errstate(divide="ignore", invalid="ignore"):
        low = np.where(x > 0, x * (1.0 - 1.0 / (9.0 * x) - z / (3.0 * np.sqrt(x))) ** 3, 0.0)
    y = x + 1.0
    high = y * (1.0 - 1.0 / (9.0 * y) + z / (3.0 * np.sqrt(y))) ** 3
    if method == "phe":
        low, high = np.where(x < 10, exact[0], low), np.where(x < 10, exact[1], high)
    return low / n, high / n


def ratio_interval(
    a: ArrayLike,
    na: ArrayLike,
    b: ArrayLike,
    nb: ArrayLike,
    *,
    level: float = 0.95,
    method: RatioMethod = "midp",
    threads: int = 1,
) -> tuple[Float, Float]:
    """Limits of the ratio of two rates, (a / na) / (b / nb).

    Parameters
    ----------
    a, b : arrays of whole numbers >= 0
        Events of the group, and of the reference.
    na, nb : arrays of numbers > 0
        Their exposures. All four are broadcast.
    level : float
        Probability of the interval.
    method : {"midp", "exact", "minlike", "score", "wald-log"}
        "exact" is central (Clopper-Pearson on a given a + b), "minlike" inverts the exact test that counts all
        outcomes at most as likely, "midp" is central with half of the observed outcome's probability.
    threads : int
        The result has the same bits for any number.

    Returns
    -------
    low, high : float64 arrays
        Where a is 0 the lower limit is 0, where b is 0 the upper one is infinite; where both are, 0 and infinity.

    Raises
    ------
    InputError
        If an argument is out of its range, or "wald-log" meets a count of 0: it names the place.
    """
    x, nx, y, ny = _four(a, na, b, nb)
    alpha = tail_of(level)
    one_of("method", method, RATIO_METHODS)
    ratio = ny / nx
    if method == "wald-log":
        _need_events(x, y, method)
        z = float(special.ndtri(1.0 - alpha))
        spread = np.exp(z * np.sqrt(1.0 / x + 1.0 / y))
        return x / y * ratio / spread, x / y * ratio * spread
    if method == "score":
        return _score_limits(x, y, float(special.ndtri(1.0 - alpha)), ratio)
    low, high = np.empty(x.size), np.empty(x.size)

    def part(s: slice) -> None:
        if method == "minlike":
            _rates.minlike_limits(xs[s], ys[s], 2.0 * alpha, low[s], high[s])
        else:
            _rates.conditional_limits(xs[s], ys[s], alpha, 1.0 if method == "exact" else 0.5, low[s], high[s])

    xs, ys = x.ravel(), y.ravel()
    _in_parts(part, x.size, threads)
    with np.errstate(over="ignore"):
        return np.exp(low).reshape(x.shape) * ratio, np.exp(high).reshape(x.shape) * ratio


def ratio_test(
    a: ArrayLike,
    na: ArrayLike,
    b: ArrayLike,
    nb: ArrayLike,
    *,
    value: ArrayLike = 1.0,
    alternative: Alternative = "two-sided",
    method: TestMethod = "midp",
    threads: int = 1,
) -> Float:
    """P values of the hypothesis that the ratio of two rates, (a / na) / (b / nb), is `value`.

    Parameters
    ----------
    a, na, b, nb, threads
        As for `ratio_interval`.
    value : array of numbers > 0
    alternative : {"two-sided", "larger", "smaller"}
        Two-sided exact and mid-P tests double the smaller tail; "minlike" ones add up what is at most as likely.
    method : {"midp", "exact", "minlike", "minlike-midp", "score", "wald", "wald-log", "sqrt", "etest"}

    Returns
    -------
    float64 array

    Raises
    ------
    InputError
        If an argument is out of its range, a "minlike" test is asked for one side, "wald" or "wald-log" meets a count
        of 0, or counts are too large for "etest".
    """
    x, nx, y, ny = _four(a, na, b, nb)
    r = checked_exposures("value", value)
    one_of("method", method, TEST_METHODS)
    one_of("alternative", alternative, ("two-sided", "larger", "smaller"))
    x, nx, y, ny, r = (np.array(v, order="C") for v in np.broadcast_arrays(x, nx, y, ny, r))
    if method in ("score", "wald", "wald-log", "sqrt"):
        return _normal_test(x, nx, y, ny, r, alternative, method)
    if method.startswith("minlike") and alternative != "two-sided":
        raise InputError(f"method {method!r} has two sides; found alternative {alternative!r}.", hint="Use 'exact'.")
    flat = [v.ravel() for v in (x, nx, y, ny, r)]
    theta = np.log(flat[4] * flat[1] / flat[3])
    out, other = np.empty(x.size), np.empty(x.size)
    side = {"two-sided": 0, "larger": 1, "smaller": -1}[alternative]

    def part(s: slice) -> None:
        if method == "etest":
            _rates.e_tests(flat[0][s], flat[1][s], flat[2][s], flat[3][s], flat[4][s], side, _E_TABLE, out[s])
        elif method.startswith("minlike"):
            weight = 1.0 if method == "minlike" else 0.5
            _rates.likelihood_tests(flat[0][s], flat[2][s], theta[s], weight, out[s])
        else:
            weight = 1.0 if method == "exact" else 0.5
            _rates.conditional_tails(flat[0][s], flat[2][s], theta[s], weight, out[s], other[s])

    _in_parts(part, x.size, threads)
    if method == "etest":
        if (out < 0).any():
            i = int(np.argmax(out < 0))
            raise InputError(
                f"the E test of {flat[0][i]:.0f} and {flat[2][i]:.0f} events is too large.", hint="Use midp."
            )
    elif method in ("exact", "midp"):
        if side < 0:
            out = other
        elif side == 0:
            out = np.minimum(1.0, 2.0 * np.minimum(out, other))
    return out.reshape(x.shape)


def _normal_test(x: Float, nx: Float, y: Float, ny: Float, r: Float, alternative: Alternative, method: str) -> Float:
    p, q = x / nx, y / ny
    if method == "score":
        with np.errstate(invalid="ignore"):
            z = np.where(x + y > 0, (p - r * q) / np.sqrt((x + y) * r / (nx * ny)), 0.0)
    elif method == "sqrt":
        d = r * nx / ny
        z = 2.0 * (np.sqrt(x + 0.375) - np.sqrt(d * (y + 0.375))) / np.sqrt(1.0 + d)
    else:
        _need_events(x, y, method)
        if method == "wald":
            z = (p - r * q) / np.sqrt(p / nx + r * r * q / ny)
        else:
            z = np.log(p / (r * q)) / np.sqrt(1.0 / x + 1.0 / y)
    if alternative == "two-sided":
        return np.asarray(2.0 * special.ndtr(-np.abs(z)))
    return np.asarray(special.ndtr(-z if alternative == "larger" else z))


def _score_limits(x: Float, y: Float, z: float, ratio: Float) -> tuple[Float, Float]:
    """Roots R of (x - R y)^2 = z^2 (x + y) R, times the ratio of the exposures."""
    middle = 2.0 * x * y + z * z * (x + y)
    root = np.sqrt(z * z * (x + y) * (z * z * (x + y) + 4.0 * x * y))
    with np.errstate(divide="ignore", invalid="ignore"):
        high = np.where(y > 0, (middle + root) / (2.0 * y * y), np.inf)
        low = np.where(middle + root > 0, 2.0 * x * x / (middle + root), 0.0)  # without cancellation
    return low * ratio, high * ratio


def _in_parts(work: Callable[[slice], None], n: int, threads: int) -> None:
    """Call `work` with slices of n, in threads."""
    if threads < 1:
        raise InputError(f"threads is {threads}, expected at least 1.")
    slices = [slice(i, min(i + _CHUNK, n)) for i in range(0, n, _CHUNK)]
    if threads == 1 or len(slices) < 2:
        for s in slices:
            work(s)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="rtmdx-rates") as pool:
        list(pool.map(work, slices))


def place_of(bad: NDArray[np.bool_]) -> str:
    index = np.argwhere(bad)[0].tolist() if bad.ndim else []
    return "" if not index else f" at {index[0] if len(index) == 1 else tuple(index)}"


def checked_counts(name: str, values: ArrayLike) -> Float:
    try:
        x = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name}: found {type(values).__name__}, expected whole numbers >= 0.") from None
    bad = ~(np.isfinite(x) & (x >= 0) & (x == np.rint(x)) & (x <= _MOST))
    if bad.any():
        raise InputError(f"{name}{place_of(bad)}: found {float(x[bad].flat[0]):g}, expected a whole number >= 0.")
    return x


def checked_exposures(name: str, values: ArrayLike) -> Float:
    try:
        x = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name}: found {type(values).__name__}, expected numbers > 0.") from None
    bad = ~(np.isfinite(x) & (x > 0))
    if bad.any():
        raise InputError(
            f"{name}{place_of(bad)}: found {float(x[bad].flat[0]):g}, expected a number > 0.",
            hint="A rate needs an exposure; leave out, or merge, groups without one." if name != "value" else None,
        )
    return x


def _four(a: ArrayLike, na: ArrayLike, b: ArrayLike, nb: ArrayLike) -> tuple[Float, Float, Float, Float]:
    parts = checked_counts("a", a), checked_exposures("na", na), checked_counts("b", b), checked_exposures("nb", nb)
    try:
        x, nx, y, ny = np.broadcast_arrays(*parts)
    except ValueError:
        raise InputError(f"shapes {[p.shape for p in parts]} of a, na, b and nb do not fit together.") from None
    return np.array(x, order="C"), nx, np.array(y, order="C"), ny


def _need_events(x: Float, y: Float, method: str) -> None:
    bad = (x == 0) | (y == 0)
    if bad.any():
        raise InputError(
            f"method {method!r}{place_of(bad)}: found no events; it is not defined there.",
            hint="Use midp, exact, minlike or score.",
        )


def tail_of(level: float) -> float:
    if not 0.0 < level < 1.0:
        raise InputError(f"level: found {level}, expected a probability such as 0.95.")
    return 0.5 * (1.0 - level)


def one_of(name: str, found: str, allowed: tuple[str, ...]) -> None:
    if found not in allowed:
        raise InputError(f"{name}: found {found!r}, expected one of {', '.join(allowed)}.")
