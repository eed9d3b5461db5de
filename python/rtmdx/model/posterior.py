"""Posterior risk: what to expect of each cell, from the terrain and the cell's own history together.

The terrain says where the landscape is risky and why; past counts say where events were. A negative
binomial terrain is a gamma-mixed Poisson, so the two combine exactly (`rtmdx.model.gamma`). By option
the terrain is first moved to the level of the cells around (`rtmdx.model.level`), and the history
discounted by age and by what does not last (`rtmdx.model.persistence`). Everything chosen is chosen
on the history alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx.errors import InputError
from rtmdx.model.gamma import RateDistribution, check_level, discounted, posterior_rate, update
from rtmdx.model.history import History, history_of_counts, history_of_events
from rtmdx.model.level import BANDWIDTHS, STRENGTHS, Level, Leveler, choose_level, fit_dispersion
from rtmdx.model.likelihood import Family
from rtmdx.model.persistence import HALF_LIVES, Persistence, choose_persistence, period_weights
from rtmdx.model.terrain_tables import place_columns
from rtmdx.space.grid import Grid
from rtmdx.space.layers import Events
from rtmdx.space.values import named, number, reals, whole

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from rtmdx.model.terrain import RiskTerrain

__all__ = ["PosteriorRisk", "RateDistribution", "posterior_rate", "posterior_risk"]

Float = NDArray[np.float64]
Auto = Literal["auto"]


@dataclass(frozen=True, eq=False)
class PosteriorRisk:
    """Expected counts of a next period, with intervals.

    Attributes
    ----------
    grid : Grid
    rate : RateDistribution
        Of each cell, per fitted period.
    terrain_cells : float64 array, shape (n_cells,)
        Expected by the terrain alone, per fitted period.
    level_cells : float64 array, shape (n_cells,)
        Expected by the terrain moved to the level around, before the cell's own counts; per fitted period.
    history : History
    horizon : float
        Length of the period forecast, in fitted periods.
    level : float
        Probability of the intervals.
    family : {"poisson", "nbii", "nb2"}
    dispersion : float
        Weight of a cell's own counts: the lasting dispersion. 0 is none, and the posterior is the prior.
    dispersion_total : float
        Dispersion of one period's counts around `level_cells` (or, without smoothing, the model's).
    bandwidth : float or None
        Standard deviation of the smoothing's Gaussian in CRS units; None without smoothing.
    strength : float or None
        Prior events that hold the local level to 1.
    half_life : float
        Of the history, in fitted periods; inf is no decay.
    level_tried, persistence_tried : tuples
        (bandwidth in cells, strength, log likelihood) and (half-life, dispersion, deviance), all of them.
    notes : tuple of str
        What a reader must know: why nothing was updated, or could not be chosen.
    """

    grid: Grid
    rate: RateDistribution
    terrain_cells: Float
    level_cells: Float
    history: History
    horizon: float
    level: float
    family: Family
    dispersion: float
    dispersion_total: float
    bandwidth: float | None = None
    strength: float | None = None
    half_life: float = math.inf
    level_tried: tuple[tuple[float, float, float], ...] = field(default=(), repr=False)
    persistence_tried: tuple[tuple[float, float, float], ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()

    @property
    def expected_cells(self) -> Float:
        """Expected count of each cell over the horizon, shape (n_cells,)."""
        return self.rate.mean * self.horizon

    @cached_property
    def _limits(self) -> tuple[Float, Float]:
        low, high = self.rate.interval(self.level)
        return low * self.horizon, high * self.horizon

    @property
    def lower_cells(self) -> Float:
        """Lower credible limit of the expected count, shape (n_cells,)."""
        return self._limits[0]

    @property
    def upper_cells(self) -> Float:
        """Upper credible limit of the expected count, shape (n_cells,)."""
        return self._limits[1]

    def interval(self, level: float | None = None) -> tuple[Float, Float]:
        """Credible limits of the expected count over the horizon: where the cell's own rate lies."""
        if level is None:
            return self._limits
        low, high = self.rate.interval(level)
        return low * self.horizon, high * self.horizon

    def prediction_interval(self, level: float | None = None) -> tuple[Float, Float]:
        """Prediction limits of the count over the horizon: wider, as counts vary at any rate."""
        return self.rate.count_interval(self.level if level is None else level, horizon=self.horizon)

    def rank(self) -> NDArray[np.int64]:
        """Return each cell's rank by expected count, 1 the highest; equal cells share the better rank."""
        ordered = np.sort(self.rate.mean)
        better = self.rate.mean.size - np.searchsorted(ordered, self.rate.mean, side="right")
        return (better + 1).astype(np.int64)

    def to_frame(self) -> pd.DataFrame:
        """One row per kept cell.

        Columns: cell, row, col, x, y, history (events), observed (periods), terrain, local_level, posterior,
        lower, upper (credible), count_lower, count_upper (prediction), rank. All but the history are
        of the horizon.
        """
        import pandas as pd

        low, high = self.prediction_interval()
        return pd.DataFrame(
            {
                **place_columns(self.grid),
                "history": self.history.total.astype(np.int64),
                "observed": self.history.length,
                "terrain": self.terrain_cells * self.horizon,
                "local_level": self.level_cells * self.horizon,
                "posterior": self.expected_cells,
                "lower": self.lower_cells,
                "upper": self.upper_cells,
                "count_lower": low.astype(np.int64),
                "count_upper": high.astype(np.int64),
                "rank": self.rank(),
            }
        )

    def _array(self, values: Float, name: str, long_name: str) -> xr.DataArray:
        attrs = {"long_name": long_name, "units": "1", "horizon": self.horizon, "comment": self.method}
        return self.grid.dataarray(self.grid.to_raster(values), name, attrs)

    @property
    def expected(self) -> xr.DataArray:
        """Expected events per cell over the horizon, dims (y, x), NaN outside the study area."""
        return self._array(self.expected_cells, "posterior", f"expected events per cell, {self._horizon_text}")

    @property
    def lower(self) -> xr.DataArray:
        """Lower credible limit of `expected`, dims (y, x)."""
        text = f"lower {100 * self.level:g} % credible limit of the expected events per cell"
        return self._array(self.lower_cells, "posterior_lower", text)

    @property
    def upper(self) -> xr.DataArray:
        """Upper credible limit of `expected`, dims (y, x)."""
        text = f"upper {100 * self.level:g} % credible limit of the expected events per cell"
        return self._array(self.upper_cells, "posterior_upper", text)

    @property
    def updated(self) -> bool:
        """Whether the cells' own counts, or the level around them, moved the terrain at all."""
        return self.dispersion > 0.0 or self.bandwidth is not None

    @property
    def _horizon_text(self) -> str:
        same = math.isclose(self.horizon, 1.0)
        return f"next period of {'the fitted length' if same else f'{self.horizon:g} times the fitted length'}"

    @property
    def method(self) -> str:
        """What was done, in sentences."""
        if not self.updated:
            parts = ["Posterior risk = terrain: the history updates nothing."]
        else:
            symbol = "s" if self.family == "nbii" else "alpha"
            parts = [f"Terrain ({self.family}) and history ({self.history.period}; {self.history.note}) combined."]
            if self.bandwidth is not None:
                parts.append(
                    f"The terrain was moved to the level of the cells around: Gaussian of {self.bandwidth:g} "
                    f"{self.grid.symbol}, held by {self.strength:g} prior event{'' if self.strength == 1 else 's'}, "
                    "the cell's own count left out."
                )
            if self.dispersion > 0.0:
                what = f"a lasting dispersion {symbol}" if self.persistence_tried else f"the dispersion {symbol}"
                parts.append(
                    f"Own counts weigh by {what} = {self.dispersion:.4g} (one period's: {self.dispersion_total:.4g})"
                    + (f", half-life {self.half_life:.4g} fitted periods." if math.isfinite(self.half_life) else ".")
                )
            if self.rate.scale > 1.0:
                parts.append(f"Events come in bursts: intervals allow for {self.rate.scale:.3g} times the variance.")
        return " ".join([*parts, *self.notes])

    def to_dict(self) -> dict[str, Any]:
        """Return what was chosen and how, without the cells, as plain data."""
        return {
            "family": self.family,
            "updated": self.updated,
            "dispersion": self.dispersion,
            "dispersion_total": self.dispersion_total,
            "scale": self.rate.scale,
            "bandwidth": self.bandwidth,
            "strength": self.strength,
            "half_life": self.half_life if math.isfinite(self.half_life) else None,
            "horizon": self.horizon,
            "level": self.level,
            "history": {
                "period": self.history.period,
                "note": self.history.note,
                "periods": int(self.history.lengths.size),
                "length": self.history.length,
                "events": float(self.history.total.sum()),
            },
            "expected_total": float(self.expected_cells.sum()),
            "method": self.method,
        }

    def __repr__(self) -> str:
        return (
            f"PosteriorRisk({self.expected_cells.sum():,.6g} events expected in {self.grid.n_cells:,} cells, "
            f"{self._horizon_text})"
        )


def posterior_risk(
    terrain: RiskTerrain,
    history: Events | ArrayLike | None = None,
    *,
    lengths: ArrayLike | None = None,
    smooth: Auto | float | None = "auto",
    decay: Auto | float | None = "auto",
    dispersion: Literal["auto", "model"] | float = "auto",
    horizon: float = 1.0,
    level: float = 0.9,
    parts: int = 8,
    check: Callable[[], None] | None = None,
) -> PosteriorRisk:
    """Combine a terrain with a history; see `RiskTerrain.posterior`."""
    grid, model = terrain.grid, terrain.model
    mu = np.asarray(terrain.expected_cells, dtype=np.float64)
    horizon = _positive(horizon, "horizon", "the length of the next period, in fitted periods")
    level = check_level(level)
    bandwidths = _choice(smooth, "smooth", tuple(BANDWIDTHS), grid.cell_size)
    parts = whole(parts, "parts", least=1)
    past = _history(terrain, history, lengths, parts)
    half_lives = _choice(decay, "decay", tuple(h * past.length for h in HALF_LIVES), 1.0) or (math.inf,)
    family: Family = model.family
    # a dispersion of 0 is stored as its logarithm, -inf
    fitted = 0.0 if family == "poisson" or model.dispersion is None else float(model.dispersion)
    total, t = past.total, past.length
    posterior_rate(mu, total, family, fitted, periods=t)  # what cannot be combined is said here
    given = _given(dispersion, fitted)
    if family == "poisson" or (fitted == 0.0 and not given):
        why = (
            "The model is a Poisson: it takes each cell's rate as known."
            if family == "poisson"
            else "The model's dispersion is 0: it takes each cell's rate as known."
        )
        rate = update(mu, total, t, "poisson", 0.0)
        return PosteriorRisk(grid, rate, mu, mu, past, horizon, level, family, 0.0, 0.0, notes=(why,))

    notes: list[str] = []
    found: Level | None = None
    level_tried: tuple[tuple[float, float, float], ...] = ()
    one_period = fitted  # dispersion of one period
    over = t if family == "nbii" else 1.0  # NBII's dispersion of a count over t periods is s t
    if bandwidths and not total.any():
        notes.append("The history has no events, so there was no level around to learn.")
    elif bandwidths and fitted > 0.0:
        found, level_tried = choose_level(
            grid, total, mu * t, family, fitted * over, bandwidths=bandwidths, strengths=STRENGTHS, check=check
        )
        if found is None:
            notes.append("No smoothing of the surroundings made the counts likelier, so none was used.")
    leveler = Leveler(grid, mu, found)
    if found is not None:
        one_period = fit_dispersion(total, leveler(total, t) * t, family) / over
    persistence: Persistence | None = None
    choose = dispersion == "auto"
    if choose or decay == "auto":
        if past.lengths.size > 1:
            persistence = choose_persistence(
                leveler, past, family, half_lives=half_lives, dispersion=None if choose else given, check=check
            )
        if persistence is None and choose:
            notes.append("The history could not be split in time, so all of one period's dispersion is taken to last.")
    half_life = half_lives[-1] if persistence is None else persistence.half_life
    lasting = (one_period if persistence is None else persistence.dispersion) if choose else given
    scale = 1.0 if persistence is None else persistence.scale
    weights = period_weights(past.lengths, half_life)
    y, observed = discounted(past.counts, weights), float(weights @ past.lengths)
    base = leveler(y, observed)
    return PosteriorRisk(
        grid=grid,
        rate=update(base, y, observed, family, lasting, scale),
        terrain_cells=mu,
        level_cells=base,
        history=past,
        horizon=horizon,
        level=level,
        family=family,
        dispersion=lasting,
        dispersion_total=one_period,
        bandwidth=None if found is None else found.bandwidth * grid.cell_size,
        strength=None if found is None else found.strength,
        half_life=half_life,
        level_tried=level_tried,
        persistence_tried=() if persistence is None else persistence.tried,
        notes=tuple(notes),
    )


def _history(terrain: RiskTerrain, history: Any, lengths: ArrayLike | None, parts: int) -> History:
    grid = terrain.grid
    if history is None:
        if lengths is not None:
            raise InputError("lengths were given without a history.", hint="Leave them out: the fitted period is 1.")
        if terrain.events.stamps is None or not len(terrain.events):
            y, t = np.asarray(terrain.counts, dtype=np.float64)[None, :], np.ones(1)
            return History(y, t, terrain.events.period, "one period: the events are not dated")
        own = history_of_events(terrain.events, grid, parts=parts)
        if not np.array_equal(own.total, terrain.counts):
            raise InputError("the terrain's counts are not those of its events.", hint="Give the history's counts.")
        return own
    if isinstance(history, Events):
        length = None if lengths is None else float(reals(lengths, "lengths", "positive lengths").sum())
        return history_of_events(history, grid, parts=parts, fitted=terrain.events, length=length)
    return history_of_counts(history, lengths, grid.n_cells)


def _positive(value: Any, name: str, what: str) -> float:
    plain = number(value, name)
    if not 0.0 < plain < math.inf:
        raise InputError(f"{name} is {plain}, expected a positive number: {what}.")
    return plain


def _choice(value: Any, name: str, auto: tuple[float, ...], unit: float) -> tuple[float, ...]:
    """Return what to try: everything, one value, or nothing."""
    if value is None:
        return ()
    if isinstance(value, str):
        if value != "auto":
            raise InputError(f'{name}: found {named(value)}, expected "auto", a positive number or None.')
        return auto
    what = "a bandwidth in CRS units" if name == "smooth" else "a half-life in fitted periods"
    return (_positive(value, name, what) / unit,)


def _given(dispersion: Any, fitted: float) -> float:
    """Return the dispersion kept as it is; 0 when it is to be chosen."""
    if isinstance(dispersion, str):
        if dispersion not in ("auto", "model"):
            raise InputError(f'dispersion: found {named(dispersion)}, expected "auto", "model" or a number >= 0.')
        return fitted if dispersion == "model" else 0.0
    value = number(dispersion, "dispersion")
    if not 0.0 <= value < math.inf:
        raise InputError(f'dispersion is {value}, expected "auto", "model" or a number >= 0.')
    return value
