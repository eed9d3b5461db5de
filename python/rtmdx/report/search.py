"""How the model was searched for, and how sure its values are: exchanges left, intervals by other ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rtmdx.errors import FitError, InputError
from rtmdx.report.numbers import length, number, span

if TYPE_CHECKING:
    from rtmdx.model.design import Variable
    from rtmdx.model.search import Attempt
    from rtmdx.model.terrain import RiskTerrain

__all__ = ["exchange_sentences", "interval_rows", "next_best"]


def _reach(terrain: RiskTerrain, v: Variable) -> str:
    return f"{v.operationalization} {length(v.distance, terrain.grid.symbol)}"


def exchange_sentences(terrain: RiskTerrain) -> list[str]:
    """Say which exchange of a factor's variable would lower the chosen model's BIC, and by how much."""
    found = {v.name: v for v in terrain.design.variables}
    out = []
    for a in terrain.selection.exchanges.get(terrain.model.family, ()):
        if a.bic is None or a.replaced not in found or a.variable not in found:
            continue
        old, new = found[a.replaced], found[a.variable]
        gain = terrain.model.bic - a.bic
        label = terrain.factors[new.factor].label
        out.append(f"{label}: {_reach(terrain, new)} in place of {_reach(terrain, old)}, BIC {gain:,.1f} lower")
    return out


def interval_rows(terrain: RiskTerrain) -> dict[str, Any] | None:
    """Return the 95 % limits of each relative risk value three ways; None where there is only one."""
    model = terrain.model
    if not model.variables:
        return None
    try:
        profile = model.profile_interval(0.95)
    except (InputError, FitError):  # made without its table, or a limit that cannot be found: shown as missing
        profile = None
    robust = None if model.robust_covariance is None else model.rrv_interval(0.95, robust=True)
    if profile is None and robust is None:
        return None
    wald, errors = model.rrv_interval(0.95), model.robust_standard_errors
    rows = [
        {
            "label": terrain.factors[v.factor].label,
            "rrv": number(float(model.rrv[i])),
            "wald": span(*wald[i].tolist()),
            "profile": "" if profile is None else span(*profile[i].tolist()),
            "robust": "" if robust is None else span(*robust[i].tolist()),
            "ratio": "" if errors is None else number(float(errors[1 + i] / model.standard_errors[1 + i])),
        }
        for i, v in sorted(enumerate(model.variables), key=lambda pair: -float(model.rrv[pair[0]]))
    ]
    return {"rows": rows, "profile": profile is not None, "districts": model.n_clusters if robust is not None else None}


def next_best(alternatives: tuple[Attempt, ...], bic_after: float, *, stopped: bool) -> str:
    """Name the best move not taken, and what it falls short by (at a stop: what it would cost)."""
    rest = [a for a in (alternatives if stopped else alternatives[1:]) if a.bic is not None]
    if not rest:
        return ""
    a = rest[0]
    name = a.variable if a.replaced is None else f"{a.variable} for {a.replaced}"
    return f"{a.action} {name} ({(a.bic or 0.0) - bic_after:+,.1f})".replace("(-", "(−")
