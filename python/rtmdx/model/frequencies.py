"""How often each factor and variable is chosen over refits, and how far its relative risk value varies."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.model.design import Design, Operationalization
from rtmdx.model.refit import Refit

__all__ = ["FactorFrequency", "Frequencies", "VariableFrequency", "frequencies"]

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class VariableFrequency:
    """How often a variable is kept by culling and chosen for the model.

    Attributes
    ----------
    column : int
    name, factor : str
    operationalization : {"proximity", "density", "cost"}
    influence : float
        Reach or bandwidth, CRS units.
    culled, frequency : float
        Shares of the refits in which culling kept it, and in which it is in the model.
    in_model : bool
        Whether it is in the model of the whole.
    rrv_low, rrv_median, rrv_high : float
        Percentiles of exp(coefficient) over the refits that chose it; NaN where none did.
    """

    column: int
    name: str
    factor: str
    operationalization: Operationalization
    influence: float
    culled: float
    frequency: float
    in_model: bool
    rrv_low: float
    rrv_median: float
    rrv_high: float


@dataclass(frozen=True, slots=True)
class FactorFrequency:
    """How often a factor is in the model, in whichever form.

    Attributes
    ----------
    factor : str
    in_model : bool
    frequency : float
        Share of the refits whose model has it.
    operationalizations : dict of float
        Share of the refits in which it is chosen with each operationalization; they sum to `frequency`.
    reaches : dict of float
        The same by influence (CRS units), whatever the operationalization.
    usual : str or None
        The variable chosen most often, and ...
    usual_frequency : float
        ... the share of the refits that chose it.
    rrv : float
        Of the whole's model; NaN where the factor is not in it.
    rrv_low, rrv_median, rrv_high : float
        Percentiles of the RRV over the refits that chose the factor, in whichever form; NaN where none did.
    """

    factor: str
    in_model: bool
    frequency: float
    operationalizations: dict[str, float]
    reaches: dict[float, float]
    usual: str | None
    usual_frequency: float
    rrv: float
    rrv_low: float
    rrv_median: float
    rrv_high: float

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data; what is undefined is None."""

        def known(value: float) -> float | None:
            return value if math.isfinite(value) else None

        return {
            "factor": self.factor,
            "in_model": self.in_model,
            "frequency": self.frequency,
            "operationalizations": dict(self.operationalizations),
            "reaches": [{"influence": d, "frequency": f} for d, f in self.reaches.items()],
            "usual": self.usual,
            "usual_frequency": self.usual_frequency,
            "rrv": known(self.rrv),
            "rrv_low": known(self.rrv_low),
            "rrv_median": known(self.rrv_median),
            "rrv_high": known(self.rrv_high),
        }


@dataclass(frozen=True, slots=True)
class Frequencies:
    """Frequencies over refits.

    Attributes
    ----------
    factors : tuple of FactorFrequency
        The most frequent first.
    variables : tuple of VariableFrequency
        All variables of the design, in column order.
    families : dict of float
        Share of the refits whose best model is of each family.
    n_variables : tuple of int
        Variables per model: fewest, median, most.
    same_factors, same_model : float
        Shares of the refits with the very factors, and the very variables, of the whole's model.
    """

    factors: tuple[FactorFrequency, ...]
    variables: tuple[VariableFrequency, ...]
    families: dict[str, float]
    n_variables: tuple[int, int, int]
    same_factors: float
    same_model: float


def frequencies(
    design: Design, refits: Sequence[Refit], names: Sequence[str], model: dict[int, float], level: float
) -> Frequencies:
    """Count over refits that have a model.

    Parameters
    ----------
    design : Design
    refits : sequence of Refit
        At least one, all with a model.
    names : sequence of str
        Of all factors, those without a variable too.
    model : dict of float by column
        Coefficients of the whole's model.
    level : float
        Probability of the percentile intervals.
    """
    n, p = len(refits), len(design.variables)
    culled, chosen = np.zeros(p), np.zeros(p)
    found: list[list[float]] = [[] for _ in range(p)]
    for refit in refits:
        culled[list(refit.culled)] += 1
        chosen[list(refit.columns)] += 1
        for j, b in zip(refit.columns, refit.coefficients.tolist(), strict=True):
            found[j].append(b)
    variables = tuple(
        VariableFrequency(
            j, v.name, v.factor_name, v.operationalization, v.distance, culled[j] / n, chosen[j] / n, j in model,
            *_percentiles(found[j], level),
        )
        for j, v in enumerate(design.variables)
    )  # fmt: skip
    factors = []
    for i, name in enumerate(names):
        own = [j for j, v in enumerate(design.variables) if v.factor == i]
        usual = max(own, key=lambda j: (chosen[j], -j), default=None)
        if usual is not None and chosen[usual] == 0:
            usual = None
        here = next((j for j in own if j in model), None)
        kinds = dict.fromkeys((design.variables[j].operationalization for j in own), 0.0)
        reaches = dict.fromkeys(sorted({design.variables[j].distance for j in own}), 0.0)
        for j in own:
            kinds[design.variables[j].operationalization] += chosen[j]
            reaches[design.variables[j].distance] += chosen[j]
        factors.append(
            FactorFrequency(
                name,
                here is not None,
                float(chosen[own].sum()) / n,
                {k: float(c) / n for k, c in kinds.items()},
                {d: float(c) / n for d, c in reaches.items()},
                None if usual is None else design.variables[usual].name,
                0.0 if usual is None else float(chosen[usual]) / n,
                math.nan if here is None else math.exp(model[here]),
                *_percentiles([b for j in own for b in found[j]], level),
            )
        )
    factor_of = [v.factor for v in design.variables]
    whole = sorted(model)
    held = {factor_of[j] for j in whole}
    sizes = np.array([len(r.columns) for r in refits])
    families = Counter(str(r.family) for r in refits)
    return Frequencies(
        tuple(sorted(factors, key=lambda f: -f.frequency)),
        variables,
        {f: c / n for f, c in sorted(families.items(), key=lambda item: (-item[1], item[0]))},
        (int(sizes.min()), int(np.median(sizes)), int(sizes.max())),
        sum({factor_of[j] for j in r.columns} == held for r in refits) / n,
        sum(list(r.columns) == whole for r in refits) / n,
    )


def _percentiles(coefficients: Sequence[float], level: float) -> tuple[float, float, float]:
    if not coefficients:
        return math.nan, math.nan, math.nan
    low, middle, high = np.exp(np.quantile(coefficients, (0.5 - level / 2, 0.5, 0.5 + level / 2))).tolist()
    return low, middle, high
