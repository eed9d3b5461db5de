"""Hold-out in space: the model's coefficients fitted without one region at a time, and scored there.

The variables are those selected on all cells: what is tested is whether their effects carry over, not
the selection.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy

from rtmdx.errors import Cancelled, FitError, InputError
from rtmdx.model.calibration import Calibration, calibration
from rtmdx.model.design import Block, Design
from rtmdx.model.families import CountModel, fit_count_model
from rtmdx.model.laws import CountLaw
from rtmdx.model.outcome import check_counts, check_exposure
from rtmdx.model.validity import Validity, validity

__all__ = ["Region", "SpatialHoldout", "check_regions", "hold_out_regions", "poisson_deviance"]

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Region:
    """One region, scored by the model fitted without it.

    Attributes
    ----------
    number : int
    n_cells, n_events : int
    expected : float
        Events expected by the model of the other regions; NaN if that cannot be fitted.
    deviance, null_deviance : float
        Poisson deviance of the region's counts given those expectations, and given the other regions' mean count (per
        unit of exposure, where there is one).
    capture : tuple of float
        Share of the region's events in its highest-scored cells, at each of the hold-out's `shares` (mean over ties);
        NaN without events.
    coefficients : float64 array, shape (k,)
        Fitted without the region.
    reason : str
        Why it could not be fitted, if so.
    """

    number: int
    n_cells: int
    n_events: int
    expected: float
    deviance: float
    null_deviance: float
    capture: tuple[float, ...]
    coefficients: Float
    reason: str = ""

    @property
    def explained(self) -> float:
        """1 - deviance / null deviance; below 0 where the mean of the others does better."""
        return 1.0 - self.deviance / self.null_deviance if self.null_deviance > 0 else math.nan


@dataclass(frozen=True)
class SpatialHoldout:
    """Every region scored by a model that has not seen it.

    Attributes
    ----------
    regions : tuple of Region
    shares : tuple of float
        Shares of a region's cells at which capture is reported.
    pooled : Validity or None
        All regions' cells ranked together by their out-of-region expectation; None if a region failed.
    calibration : Calibration or None
        Of the out-of-region expectations; None if a region failed.
    expected_cells : float64 array, shape (n_cells,)
        Out-of-region expectations; NaN in a region that failed.
    """

    regions: tuple[Region, ...]
    shares: tuple[float, ...]
    pooled: Validity | None
    calibration: Calibration | None
    expected_cells: Float = field(repr=False)

    @property
    def explained(self) -> float:
        """1 - deviance / null deviance over the regions that could be fitted."""
        done = [r for r in self.regions if not r.reason]
        null = sum(r.null_deviance for r in done)
        return 1.0 - sum(r.deviance for r in done) / null if null > 0 else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain data; what is undefined is None."""

        def number(value: float) -> float | None:
            return float(value) if math.isfinite(value) else None

        return {
            "explained": number(self.explained),
            "shares": list(self.shares),
            "pooled": None if self.pooled is None else self.pooled.to_dict(),
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
            "regions": [
                {
                    "number": r.number,
                    "n_cells": r.n_cells,
                    "n_events": r.n_events,
                    "expected": number(r.expected),
                    "deviance": number(r.deviance),
                    "null_deviance": number(r.null_deviance),
                    "explained": number(r.explained),
                    "capture": [number(c) for c in r.capture],
                    "coefficients": [number(c) for c in r.coefficients],
                    "reason": r.reason or None,
                }
                for r in self.regions
            ],
        }


def poisson_deviance(counts: Float, expected: Float) -> float:
    """Return 2 sum (y log(y / mu) - (y - mu))."""
    with np.errstate(divide="ignore"):
        ratio = np.divide(counts, expected, out=np.full(len(counts), np.inf), where=expected > 0)
        return 2.0 * float((xlogy(counts, ratio) - (counts - expected)).sum())


def check_regions(regions: ArrayLike, n_cells: int) -> NDArray[np.int64]:
    """Return the region of each cell as whole numbers.

    Raises
    ------
    InputError
        Another shape, not whole numbers, or fewer than two regions.
    """
    r = np.asarray(regions)
    if r.shape != (n_cells,):
        raise InputError(f"regions have shape {r.shape}, expected ({n_cells},), one number per kept cell.")
    if r.dtype.kind not in "iu":
        bad = not np.isfinite(r).all() if r.dtype.kind == "f" else True
        if bad or (r != np.floor(r)).any():
            raise InputError("regions: expected whole numbers, such as fold numbers or district codes.")
    numbers = r.astype(np.int64)
    if (numbers == numbers[0]).all():
        raise InputError("regions: all cells are in one region; at least two are needed.")
    return numbers


def hold_out_regions(
    model: CountModel,
    design: Design,
    counts: ArrayLike,
    regions: ArrayLike,
    *,
    exposure: ArrayLike | None = None,
    shares: tuple[float, ...] = (0.01, 0.05, 0.1, 0.2),
    cancel: Callable[[], bool] | None = None,
) -> SpatialHoldout:
    """Refit a model's coefficients without each region in turn, and score it there.

    Parameters
    ----------
    model : CountModel
        Its variables and family are kept.
    design : Design
    counts : array of whole numbers, shape (n_cells,)
    regions : int array, shape (n_cells,)
        Region of each cell: fold numbers of `spatial_folds`, or districts.
    exposure : array, shape (n_cells,), optional
        As the model was fitted with; the null expectation of a region is then the other regions' rate times it.
    shares : tuple of float
        Shares of the cells at which capture is reported.
    cancel : callable, optional

    Returns
    -------
    SpatialHoldout

    Raises
    ------
    InputError
        Arguments that do not fit the design, or fewer than two regions.
    Cancelled
        `cancel` returned True.
    """
    y = check_counts(design.n_cells, counts)
    where = check_regions(regions, design.n_cells)
    weight = check_exposure(design.n_cells, exposure, y)
    if weight is None and model.has_exposure:
        raise InputError("The model was fitted with an exposure: its regions need one.", hint="Pass exposure=.")
    amount = np.ones(design.n_cells) if weight is None else weight
    blocks = _model_blocks(model, design)
    columns = range(sum(len(b.variables) for b in blocks))
    expected = np.full(design.n_cells, np.nan)
    found = []
    for number in np.unique(where):
        if cancel is not None and cancel():
            raise Cancelled("The hold-out in space was cancelled.")
        inside = where == number
        n, events = int(inside.sum()), int(y[inside].sum())
        exposed = float(amount[~inside].sum())
        rate = float(y[~inside].sum()) / exposed if exposed > 0 else math.nan
        null = poisson_deviance(y[inside], amount[inside] * rate)
        try:
            if exposed == 0:
                raise FitError("The other regions have no exposure.")
            fitted = fit_count_model(
                _cells(blocks, ~inside),
                y[~inside],
                columns,
                family=model.family,
                exposure=None if weight is None else weight[~inside],
            )
        except FitError as error:
            nan = math.nan
            found.append(
                Region(
                    int(number),
                    n,
                    events,
                    nan,
                    nan,
                    null,
                    (nan,) * len(shares),
                    np.full(len(columns), nan),
                    error.message,
                )
            )
            continue
        mu = amount[inside] * np.exp(fitted.linear_predictor(_cells(blocks, inside)))
        expected[inside] = mu
        capture = tuple(t.hit_rate.expected for t in validity(mu, y[inside], shares=shares).top)
        deviance = poisson_deviance(y[inside], mu)
        found.append(Region(int(number), n, events, float(mu.sum()), deviance, null, capture, fitted.coefficients))
    whole = bool(np.isfinite(expected).all())
    pooled = validity(expected, y, name="Risk terrain", period="held out in space", shares=shares) if whole else None
    law = CountLaw.of(model)
    return SpatialHoldout(tuple(found), shares, pooled, calibration(y, expected, law) if whole else None, expected)


def _model_blocks(model: CountModel, design: Design) -> tuple[Block, ...]:
    """One block per variable of the model, in its order."""
    place = {v.name: (block, k) for block in design.blocks for k, v in enumerate(block.variables)}
    missing = [v.name for v in model.variables if v.name not in place]
    if missing:
        raise InputError(f"The design lacks {', '.join(missing)}.", hint="Use the design the model was fitted to.")
    blocks = []
    for v in model.variables:
        block, k = place[v.name]
        blocks.append(Block(block.codes, np.ascontiguousarray(block.decode[:, [k]]), (v,)))
    return tuple(blocks)


def _cells(blocks: tuple[Block, ...], inside: NDArray[np.bool_]) -> Design:
    """The design of some of the cells."""
    return Design(tuple(Block(b.codes[inside], b.decode, b.variables) for b in blocks), int(inside.sum()))
