"""Terrains drawn anew from a model's own uncertainty: coefficients normal about the fitted ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.model.scores import relative_risk_score

if TYPE_CHECKING:
    from rtmdx.model.families import CountModel
    from rtmdx.model.terrain import RiskTerrain

__all__ = ["covariance_root", "risk_draws"]

Float = NDArray[np.float64]


def covariance_root(model: CountModel, robust: bool) -> Float:
    """Return R with R R' the covariance of intercept and coefficients, shape (1 + k, 1 + k).

    Raises
    ------
    InputError
        `robust`, and the model has no robust covariance.
    """
    if robust and model.robust_covariance is None:
        raise InputError(
            "robust: the model has no robust covariance.", hint="Name districts in the study, or leave robust out."
        )
    size = 1 + len(model.coefficients)
    covariance = (model.robust_covariance if robust else model.covariance)[:size, :size]  # type: ignore[index]
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def risk_draws(terrain: RiskTerrain, measure: str, robust: bool) -> Callable[[np.random.Generator], Float]:
    """Return a function that draws the terrain anew, from intercept and coefficients with the model's covariance.

    Parameters
    ----------
    terrain : RiskTerrain
    measure : {"score", "expected"}
        What a draw gives: relative risk scores (lowest cell 1), or expected counts.
    robust : bool
        Use the district-robust covariance.

    Returns
    -------
    callable
        ``draw(rng)`` returns a float64 array, shape (n_cells,). The variables are those of the model: their selection
        is taken as given.

    Raises
    ------
    InputError
        `robust`, and the model has no robust covariance.
    """
    model, design = terrain.model, terrain.design
    root = covariance_root(model, robust)
    size = len(root)
    centre = model.parameters[:size]
    fitted = np.asarray(model.linear_predictor(design), dtype=np.float64)

    def draw(rng: np.random.Generator) -> Float:
        b = centre + root @ rng.standard_normal(size)
        drawn = replace(model, intercept=float(b[0]), coefficients=b[1:])
        if measure == "score":
            return relative_risk_score(drawn, design)
        eta = np.asarray(drawn.linear_predictor(design), dtype=np.float64)
        return np.asarray(terrain.expected_cells * np.exp(eta - fitted))

    return draw
