"""What diagnostics mean, in plain sentences, and what to do about them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rtmdx.model.diagnostics import Comparison, Diagnostics

__all__ = ["Statement", "statements"]

_ALIKE_P = 0.001  # neighbours' residuals are called alike below this p
_ALIKE_I = 0.01  # and from this I: with a million cells anything is different from zero
_INFLATED = 5.0
_SCATTER = 1.5
_WEAK_SLOPE = 0.8
_FAR_OFF = 1.5  # observed over expected, or the other way round


@dataclass(frozen=True, slots=True)
class Statement:
    """One sentence or two about one figure.

    Attributes
    ----------
    code : str
        Stable name, for programs.
    where : str
        What it is about.
    text : str
    warns : bool
        It deserves a second look before the result is used.
    """

    code: str
    where: str
    text: str
    warns: bool = False


def statements(d: Diagnostics) -> tuple[Statement, ...]:
    """Return the statements, in the order of the report."""
    parts = [_neighbours(d), *_collinearity(d), *_dispersion(d), *_calibration(d), *_regions(d)]
    return (*parts, *(s for c in d.comparisons for s in _comparison(c)))


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %" if math.isfinite(share) else "n/a"


def _count(n: float, noun: str) -> str:
    return f"{n:,.0f} {noun}{'' if round(n) == 1 else 's'}"


def _length(distance: float) -> str:
    return f"{float(f'{distance:.3g}'):,.6g}"


def _neighbours(d: Diagnostics) -> Statement:
    m, where = d.moran, "residuals"
    if not math.isfinite(m.i):
        return Statement("residuals-undefined", where, f"Moran's I of the residuals is undefined: {m.note}")
    figures = f"Moran's I {m.i:.2g}, " + (f"z {m.z:.3g}" if math.isfinite(m.z) else "every order of the cells gives it")
    if m.i > _ALIKE_I and m.p < _ALIKE_P:
        text = (
            f"Residuals of neighbouring cells are alike ({figures}): something that spreads over neighbours is not in "
            "the model, and the standard errors are too small. "
        )
        c = d.correlogram
        if c is not None and c.half_range is not None:
            text += f"The likeness is halved at {_length(c.half_range)} {d.unit}"
            text += f" and gone at {_length(c.range)} {d.unit}. " if c.range is not None else ". "
        elif c is not None and c.range is not None:
            text += f"The likeness is gone at {_length(c.range)} {d.unit}. "
        text += "Use spatial folds with blocks as wide as that, and standard errors clustered by district."
        return Statement("residual-autocorrelation", where, text, True)
    if m.p < 0.05 and m.i > m.expected:
        return Statement(
            "residuals-faint",
            where,
            f"Residuals of neighbouring cells are a little alike ({figures}): more than chance would make them, too "
            "little to matter much for standard errors.",
        )
    if m.p < 0.05:
        return Statement(
            "residuals-opposed",
            where,
            f"Residuals of neighbouring cells differ more than chance would make them ({figures}).",
        )
    return Statement("residuals-unrelated", where, f"Residuals of neighbouring cells are not alike ({figures}).")


def _collinearity(d: Diagnostics) -> list[Statement]:
    c, out = d.collinearity, []
    worst = c.worst
    if worst is not None and len(c.inflation) > 1:
        name = d.labels.get(worst.variable, worst.variable)
        if worst.vif_weighted >= _INFLATED:
            size = f"{worst.vif_weighted:.3g}" if math.isfinite(worst.vif_weighted) else "without limit"
            out.append(
                Statement(
                    "variance-inflation",
                    "model",
                    f"{name} says nearly the same as the model's other variables (variance "
                    f"inflation {size}): its relative "
                    "risk value is uncertain and depends on what else is in the model. Read the values of such "
                    "factors together, or leave one out.",
                    True,
                )
            )
        else:
            out.append(
                Statement(
                    "variance-inflation-low",
                    "model",
                    "The model's variables can be told apart (highest variance inflation "
                    f"{worst.vif_weighted:.2f}, {name}).",
                )
            )
    for g in c.groups:
        names = [d.labels.get(n, n) for n in g.names]
        chosen = [d.labels.get(n, n) for n in g.in_model]
        if chosen:
            taken = f"In the model: {', '.join(chosen)}. "
            advice = "which of them entered is partly chance, and one that is left out is not thereby shown harmless."
            advice = taken + advice[:1].upper() + advice[1:]
        else:
            advice = "None is in the model."
        out.append(
            Statement(
                "correlated-factors",
                "factors " + ", ".join(repr(n) for n in g.names),
                f"{' and '.join(names)} lie in nearly the same places (phi {g.phi:.2f} between "
                f"{d.labels.get(g.strongest[0], g.strongest[0])} and {d.labels.get(g.strongest[1], g.strongest[1])}). "
                + advice,
                bool(chosen),
            )
        )
    return out


def _dispersion(d: Diagnostics) -> list[Statement]:
    p = d.dispersion
    out: list[Statement] = []
    law = "Poisson" if p.family == "poisson" else "negative binomial"
    if not math.isfinite(p.pearson):
        return out
    if p.pearson > _SCATTER:
        more = (
            "Let the search try the negative binomials."
            if p.family == "poisson"
            else "A few places hold far more than their landscape explains: look at them, and at the other negative "
            "binomial."
        )
        out.append(
            Statement(
                "overdispersed",
                "model",
                f"Counts scatter {p.pearson:.3g} times as much as the {law} model says (Pearson "
                "chi2/df): standard errors "
                f"are too small by a factor of about {math.sqrt(p.pearson):.2g}. {more}",
                True,
            )
        )
    else:
        out.append(
            Statement(
                "dispersion-fits",
                "model",
                f"Counts scatter about as the {law} model says (Pearson chi2/df {p.pearson:.3g}; against a Poisson "
                f"{p.pearson_poisson:.3g}).",
            )
        )
    off = p.zeros_observed - p.zeros_expected
    if abs(off) > 3 * p.zeros_sd and abs(p.zeros_ratio - 1) > 0.01:
        kind = "more" if off > 0 else "fewer"
        out.append(
            Statement(
                "zeros",
                "model",
                f"{p.zeros_observed:,} cells have no event, {p.zeros_expected:,.0f} are expected "
                f"to have none: {kind} than "
                "the model explains"
                + (
                    ". Places where an event cannot happen, or is never recorded, may be among the cells."
                    if off > 0
                    else "."
                ),
                True,
            )
        )
    else:
        out.append(
            Statement(
                "zeros-fit",
                "model",
                f"Cells without events are as many as expected ({p.zeros_observed:,}; expected "
                f"{p.zeros_expected:,.0f}).",
            )
        )
    return out


def _calibration(d: Diagnostics) -> list[Statement]:
    out = []
    c = d.calibration
    outside = [g for g in c.groups if not g.inside]
    if len(c.groups) > 1:
        text = (
            f"{len(c.groups) - len(outside)} of {len(c.groups)} groups of cells, from lowest to highest "
            f"expected count, have as many fitted events as expected, within {_percent(c.level)} limits."
        )
        warns = False
        if outside:
            worst = max(outside, key=lambda g: abs(g.observed - g.expected) / math.sqrt(max(g.expected, 1.0)))
            low, high = f"{worst.mean_low:.2g}", f"{worst.mean_high:.2g}"
            text += (
                f" The farthest off: cells that expect {low if low == high else f'{low} to {high}'} events each have "
                f"{worst.observed:,.0f}, expected {worst.expected:,.0f}."
            )
            warns = any(not 1 / _FAR_OFF < g.ratio < _FAR_OFF for g in outside)
            if warns:
                text += " A factor that sets such places apart may be missing."
        out.append(Statement("calibration", "calibration", text, warns))
    h = d.holdout_calibration
    if h is not None and math.isfinite(h.slope):
        out.append(_slope("holdout-slope", "held-out period", h.slope, h.slope_se, "the later period"))
    if d.regions is not None and d.regions.calibration is not None and math.isfinite(d.regions.calibration.slope):
        r = d.regions.calibration
        out.append(_slope("region-slope", "held-out regions", r.slope, r.slope_se, "regions the fit has not seen"))
    return out


def _slope(code: str, where: str, slope: float, error: float, what: str) -> Statement:
    figures = f"calibration slope {slope:.2f}, standard error {error:.2g}"
    if slope + 2 * error < 1:
        strong = slope < _WEAK_SLOPE
        return Statement(
            code,
            where,
            f"Contrasts between places are {'much ' if strong else 'a little '}weaker in {what} than the model says "
            f"({figures}): its relative risk values are too far from 1.",
            strong,
        )
    if slope - 2 * error > 1:
        return Statement(
            code, where, f"Contrasts between places are stronger in {what} than the model says ({figures})."
        )
    return Statement(code, where, f"Contrasts between places carry over to {what} ({figures}).")


def _regions(d: Diagnostics) -> list[Statement]:
    held = d.regions
    if held is None:
        return []
    out = []
    failed = [r for r in held.regions if r.reason]
    done = [r for r in held.regions if not r.reason]
    if failed:
        first = failed[0]
        out.append(
            Statement(
                "region-not-fitted",
                "held-out regions",
                f"Without {'region' if len(failed) == 1 else 'each of the regions'} "
                f"{', '.join(str(r.number) for r in failed)} the model cannot be fitted "
                f"({first.reason.rstrip('.')}): a "
                "variable rests on one region alone.",
                True,
            )
        )
    if done and math.isfinite(held.explained):
        k = min(range(len(held.shares)), key=lambda i: abs(held.shares[i] - 0.1)) if held.shares else None
        text = (
            f"Fitted without each of {_count(len(held.regions), 'region')} in turn, the model explains "
            f"{_percent(held.explained)} of the deviance in the region left out"
        )
        if held.pooled is not None and k is not None and held.pooled.n_events:
            top = held.pooled.top[k]
            text += (
                f"; its top {100 * top.share:g} % of cells hold {_percent(top.hit_rate.expected)} of the events"
                if math.isfinite(top.hit_rate.expected)
                else ""
            )
        text += ". The variables themselves were chosen with all regions in view."
        out.append(Statement("regions", "held-out regions", text))
    lost = [r for r in done if r.explained < 0]
    if lost:
        out.append(
            Statement(
                "region-not-explained",
                "held-out regions",
                f"In region{'s' if len(lost) > 1 else ''} "
                f"{', '.join(str(r.number) for r in lost)} the other regions' model "
                "does worse than their mean: what goes with risk elsewhere does not go with it there. Model such a "
                "region on its own.",
                True,
            )
        )
    return out


def _comparison(c: Comparison) -> list[Statement]:
    terrain = c.scores[0]
    if not terrain.validity.n_events or not terrain.validity.top:
        return []
    where = "held out in space" if c.kind == "space" else "held out in time"
    k = min(range(len(terrain.validity.top)), key=lambda i: abs(terrain.validity.top[i].share - 0.1))
    share = f"{100 * terrain.validity.top[k].share:g} %"

    def said(i: int) -> str:
        s = c.scores[i]
        deviance = f"deviance {s.deviance:,.0f}" if math.isfinite(s.deviance) else "events where it has 0"
        return f"{s.name} {_percent(s.validity.top[k].hit_rate.expected)} ({deviance})"

    text = f"Of the events {where}, the top {share} of cells hold: " + ", ".join(map(said, range(len(c.scores)))) + "."
    names = [s.name for s in c.scores]
    if "Gradient boosting" in names:
        other = c.scores[names.index("Gradient boosting")]
        gain = 1.0 - other.deviance / terrain.deviance if terrain.deviance > 0 else math.nan
        if math.isfinite(gain):
            text += (
                f" Gradient boosting on the same layers lowers the deviance by {_percent(gain)}: "
                "that is what interactions "
                "and shapes the terrain does not have would add to prediction."
                if gain > 0
                else " Gradient boosting on the same layers does no better than the terrain."
            )
    return [Statement(f"comparison-{c.kind}", where, text)]
