r"""Count models on a design: Poisson and the two negative binomials.

With :math:`\log\mu_i = \log e_i + \beta_0 + \sum_j s_j x_{ij}\beta_j`, where :math:`e_i` is the cell's
exposure (street length, population, area, time; 1 unless given):

- Poisson: :math:`\log f = y\eta - \mu - \log y!`.
- NBII, linear variance :math:`\mathrm{Var} = \mu(1+s)` with one s for all cells; gamlss calls it NBII,
  econometrics NB1, and RTMDx uses it. With r = mu/s,
  :math:`\log f = \log\Gamma(y+r) - \log\Gamma(r) - \log y! + y\log\frac{s}{1+s} - r\log(1+s)`.
  At its maximum the expected counts sum to the events.
- NB2, quadratic variance :math:`\mathrm{Var} = \mu + \alpha\mu^2` (MASS, statsmodels). With r = 1/alpha,
  :math:`\log f = \log\Gamma(y+r) - \log\Gamma(r) - \log y! + y\log\frac{\alpha\mu}{1+\alpha\mu}
  - r\log(1+\alpha\mu)`. Its expected counts need not sum to the events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx.errors import FitError, InputError
from rtmdx.model.count_model import CountModel
from rtmdx.model.design import Design
from rtmdx.model.likelihood import DISTINCT, FAMILIES, Family, TableFit, covariance_of, fit_table
from rtmdx.model.outcome import check_counts, check_exposure
from rtmdx.model.robust import clustered_covariance
from rtmdx.model.tables import CellTable, CountTable

__all__ = [
    "CountModel",
    "Family",
    "check_columns",
    "fit_count_model",
    "with_clusters",
]

Float = NDArray[np.float64]


def check_columns(design: Design, columns: Sequence[int]) -> tuple[int, ...]:
    """Return the columns as ints, each in the design and none twice."""
    p = len(design.variables)
    out = tuple(int(j) for j in columns)
    bad = [j for j in out if not 0 <= j < p]
    if bad:
        raise InputError(f"column {bad[0]} is not in the design, which has columns 0 .. {p - 1}.")
    if len(set(out)) < len(out):
        raise InputError(f"columns {out} name a column twice.")
    return out


def unusable(somewhere: bool, elsewhere: bool, events: float, n_events: float) -> str | None:
    """Say why an indicator cannot be estimated, if so.

    Parameters
    ----------
    somewhere, elsewhere : bool
        Whether a cell with exposure has it 1; whether one has it 0.
    events, n_events : float
        Events where it is 1, and in all.
    """
    if not (somewhere and elsewhere):
        return "constant"
    if events == 0:
        return "separation: no events where it is 1"
    if events == n_events:
        return "separation: no events where it is 0"
    return None


def as_model(
    fit: TableFit, family: Family, table: CountTable, design: Design, columns: tuple[int, ...], *, has_exposure: bool
) -> CountModel:
    """Dress a fit of a table as a `CountModel`."""
    k = len(columns)
    return CountModel(
        family=family,
        variables=tuple(design.variables[j] for j in columns),
        columns=columns,
        intercept=float(fit.parameters[0]) - table.log_unit,
        coefficients=fit.parameters[1 : 1 + k].copy(),
        log_dispersion=None if family == "poisson" else float(fit.parameters[1 + k]),
        covariance=covariance_of(fit),
        log_likelihood=fit.log_likelihood,
        n_cells=table.n_cells,
        n_events=int(table.n_events),
        at_boundary=fit.at_boundary,
        converged=True,
        n_iterations=fit.n_iterations,
        has_exposure=has_exposure,
        table=table,
    )


def fit_count_model(
    design: Design,
    counts: ArrayLike,
    columns: Sequence[int],
    *,
    family: Family = "nbii",
    exposure: ArrayLike | None = None,
    cluster: ArrayLike | None = None,
) -> CountModel:
    """Fit one count model by maximum likelihood.

    Parameters
    ----------
    design : Design
    counts : array of whole numbers, shape (n_cells,)
        Events per kept cell.
    columns : sequence of int
        Columns of the design that enter; may be empty (the null model).
    family : {"poisson", "nbii", "nb2"}
    exposure : array, shape (n_cells,), optional
        Street length, population, area or time of each cell: mu = exposure * exp(x beta). Cells of exposure 0
        take no part. Under NB2 every distinct exposure is a row of the table: exact, but about as slow as a fit to
        cells; NBII adds up the exposure of the cells without events, Poisson all.
    cluster : array, shape (n_cells,), optional
        District of each cell, whole numbers or names: adds the cluster-robust covariance.

    Returns
    -------
    CountModel
        Coefficients may be negative here: only `stepwise` holds them positive.

    Raises
    ------
    InputError
        If the counts, columns, family, exposure or clusters are not usable.
    FitError
        If there are no events, a column is constant, events are separated by a variable (its
        coefficient would be infinite), columns are collinear, or the fit does not converge.
    """
    if family not in FAMILIES:
        raise InputError(f"family is {family!r}, expected one of {', '.join(FAMILIES)}.")
    columns = check_columns(design, columns)
    y = check_counts(design.n_cells, counts)
    weight = check_exposure(design.n_cells, exposure, y)
    cells = CellTable.from_design(design, y, weight, columns, distinct=DISTINCT[family])
    if cells.n_events == 0:
        raise FitError("There are no events in the study area: nothing can be estimated.")
    for j in columns:
        reason = unusable(*cells.support(cells.node(()), j), cells.n_events)
        if reason:
            raise FitError(f"{design.variables[j].name} cannot be estimated: {reason}.", hint="Leave the variable out.")
    table = cells.table(cells.node(columns))
    model = as_model(fit_table(table, family), family, table, design, columns, has_exposure=weight is not None)
    return model if cluster is None else with_clusters(model, design, y, cluster, exposure=weight)


def with_clusters(
    model: CountModel, design: Design, counts: ArrayLike, cluster: ArrayLike, *, exposure: ArrayLike | None = None
) -> CountModel:
    """Return a model with its cluster-robust covariance.

    Parameters
    ----------
    model : CountModel
    design, counts, exposure
        What it was fitted to.
    cluster : array, shape (n_cells,)
        District of each cell, whole numbers or names.

    Returns
    -------
    CountModel

    Raises
    ------
    InputError
        If the clusters do not fit the design, or are fewer than two.
    """
    y = check_counts(design.n_cells, counts)
    weight = check_exposure(design.n_cells, exposure, y)
    covariance, n_clusters = clustered_covariance(model, design, y, weight, cluster)
    return replace(model, robust_covariance=covariance, n_clusters=n_clusters)
