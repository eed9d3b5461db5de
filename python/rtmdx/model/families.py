r"""Count models on a design: Poisson and the two negative binomials.

With :math:`\log\mu_i = \eta_i = \beta_0 + \sum_j s_j x_{ij}\beta_j`:

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
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri
from scipy.stats import norm

from rtmdx.errors import FitError, InputError
from rtmdx.model.design import Design, Variable
from rtmdx.model.likelihood import FAMILIES, Family, TableFit, fit_table
from rtmdx.model.tables import CellTable

__all__ = ["CountModel", "Family", "check_columns", "check_counts", "fit_count_model"]

Float = NDArray[np.float64]


@dataclass(frozen=True)
class CountModel:
    """A fitted count model.

    Standard errors, t and p are those of a model fixed beforehand: after a search over variables they
    are too optimistic, and they ignore that neighbouring cells resemble each other.

    Attributes
    ----------
    family : {"poisson", "nbii", "nb2"}
    variables : tuple of Variable
    columns : tuple of int
        Columns of the variables in the design that was fitted.
    intercept : float
    coefficients : float64 array, shape (k,)
        Of the signed columns ``sign * indicator``: positive where the factor acts as declared.
    log_dispersion : float or None
        log s (NBII) or log alpha (NB2), natural; -inf at the boundary; None for Poisson.
    covariance : float64 array, shape (1 + k, 1 + k) or (2 + k, 2 + k)
        Inverse observed information of (intercept, coefficients, log dispersion). At the boundary the
        dispersion's row and column are NaN.
    log_likelihood : float
        With all constants, y! too.
    n_cells, n_events : int
    at_boundary : bool
        A negative binomial whose dispersion is estimated as 0 (no more variance than Poisson): its
        log likelihood and coefficients are the Poisson's, its `df` still counts the dispersion.
    converged : bool
    n_iterations : int
        Newton steps.
    """

    family: Family
    variables: tuple[Variable, ...]
    columns: tuple[int, ...]
    intercept: float
    coefficients: Float
    log_dispersion: float | None
    covariance: Float
    log_likelihood: float
    n_cells: int
    n_events: int
    at_boundary: bool
    converged: bool
    n_iterations: int

    @property
    def df(self) -> int:
        """Number of parameters; the dispersion counts."""
        return 1 + len(self.coefficients) + (self.family != "poisson")

    @property
    def deviance(self) -> float:
        """-2 log L: gamlss's global deviance, which RTMDx reports as deviance."""
        return -2.0 * self.log_likelihood

    @property
    def aic(self) -> float:
        """-2 log L + 2 df."""
        return self.deviance + 2.0 * self.df

    @property
    def bic(self) -> float:
        """-2 log L + df ln(cells); RTMDx's SBC."""
        return self.deviance + self.df * float(np.log(self.n_cells))

    @property
    def dispersion(self) -> float | None:
        """The dispersion s (NBII) or alpha (NB2); None for Poisson."""
        return None if self.log_dispersion is None else float(np.exp(self.log_dispersion))

    @property
    def standard_errors(self) -> Float:
        """Of intercept, coefficients and, except for Poisson, log dispersion."""
        errors: Float = np.sqrt(np.diag(self.covariance))
        return errors

    @property
    def parameters(self) -> Float:
        """Intercept, coefficients and, except for Poisson, log dispersion."""
        last = [] if self.log_dispersion is None else [self.log_dispersion]
        return np.concatenate([[self.intercept], self.coefficients, last])

    @property
    def t_values(self) -> Float:
        """Estimate / standard error, of intercept and coefficients."""
        k = 1 + len(self.coefficients)
        return self.parameters[:k] / self.standard_errors[:k]

    @property
    def p_values(self) -> Float:
        """Two-sided normal p-values of `t_values`."""
        p: Float = 2.0 * norm.sf(np.abs(self.t_values))
        return p

    @property
    def rrv(self) -> Float:
        """Relative risk values, exp(coefficient)."""
        values: Float = np.exp(self.coefficients)
        return values

    def rrv_interval(self, level: float = 0.95) -> Float:
        """Wald limits of the relative risk values, shape (k, 2): exp(coefficient -+ z SE)."""
        if not 0.0 < level < 1.0:
            raise InputError(f"level is {level}, expected between 0 and 1, such as 0.95.")
        margin = ndtri(0.5 + level / 2.0) * self.standard_errors[1 : 1 + len(self.coefficients)]
        limits: Float = np.exp(np.column_stack([self.coefficients - margin, self.coefficients + margin]))
        return limits

    def linear_predictor(self, design: Design) -> Float:
        """Return log mu per cell, shape (n_cells,).

        Raises
        ------
        InputError
            If the design lacks a variable of the model.
        """
        place = {
            v.name: (b, k) for b, block in enumerate(design.blocks) for k, v in enumerate(block.variables)
        }
        missing = [v.name for v in self.variables if v.name not in place]
        if missing:
            raise InputError(
                f"The design lacks {', '.join(missing)}.",
                hint="Score with the design the model was fitted to, or one of the same factors.",
            )
        tables: dict[int, Float] = {}
        for variable, coefficient in zip(self.variables, self.coefficients, strict=True):
            b, k = place[variable.name]
            decode = design.blocks[b].decode
            tables.setdefault(b, np.zeros(len(decode)))
            tables[b] += variable.sign * coefficient * decode[:, k]
        eta = np.full(design.n_cells, self.intercept)
        for b, table in tables.items():
            eta += table[design.blocks[b].codes]
        return eta

    def expected(self, design: Design) -> Float:
        """Return the expected count mu per cell, shape (n_cells,)."""
        mu: Float = np.exp(self.linear_predictor(design))
        return mu


def check_counts(design: Design, counts: ArrayLike) -> Float:
    """Return the counts as float64, one whole number >= 0 per kept cell.

    Raises
    ------
    InputError
        If they are anything else.
    """
    y = np.asarray(counts, dtype=np.float64)
    if y.shape != (design.n_cells,):
        raise InputError(f"counts have shape {y.shape}, expected ({design.n_cells},): one per kept cell.")
    good = np.isfinite(y) & (y >= 0) & (y == np.floor(y))
    if not good.all():
        i = int(np.argmin(good))
        raise InputError(f"count {y[i]} of cell {i} is not a whole number >= 0.")
    return y


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


def unusable(cells: float, events: float, n_cells: float, n_events: float) -> str | None:
    """Say why an indicator with so many cells and events where it is 1 cannot be estimated, if so."""
    if cells == 0 or cells == n_cells:
        return "constant"
    if events == 0:
        return "separation: no events where it is 1"
    if events == n_events:
        return "separation: no events where it is 0"
    return None


def as_model(
    fit: TableFit, family: Family, design: Design, columns: tuple[int, ...], n_events: float
) -> CountModel:
    """Dress a fit of a table as a `CountModel`."""
    k = len(columns)
    return CountModel(
        family=family,
        variables=tuple(design.variables[j] for j in columns),
        columns=columns,
        intercept=float(fit.parameters[0]),
        coefficients=fit.parameters[1 : 1 + k].copy(),
        log_dispersion=None if family == "poisson" else float(fit.parameters[1 + k]),
        covariance=fit.covariance,
        log_likelihood=fit.log_likelihood,
        n_cells=design.n_cells,
        n_events=int(n_events),
        at_boundary=fit.at_boundary,
        converged=True,
        n_iterations=fit.n_iterations,
    )


def fit_count_model(
    design: Design, counts: ArrayLike, columns: Sequence[int], *, family: Family = "nbii"
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

    Returns
    -------
    CountModel
        Coefficients may be negative here: only `stepwise` holds them positive.

    Raises
    ------
    InputError
        If the counts, columns or family are not usable.
    FitError
        If there are no events, a column is constant, events are separated by a variable (its
        coefficient would be infinite), columns are collinear, or the fit does not converge.
    """
    if family not in FAMILIES:
        raise InputError(f"family is {family!r}, expected one of {', '.join(FAMILIES)}.")
    columns = check_columns(design, columns)
    cells = CellTable(design, check_counts(design, counts))
    cells.move_to(list(columns))
    table = cells.table()
    n_events = table.n_events
    if n_events == 0:
        raise FitError("There are no events in the study area: nothing can be estimated.")
    for a, j in enumerate(columns):
        on = table.x[table.pattern, 1 + a] != 0
        inside, events = table.cells[on].sum(), (table.cells * table.y)[on].sum()
        reason = unusable(inside, events, table.n_cells, n_events)
        if reason:
            raise FitError(
                f"{design.variables[j].name} cannot be estimated: {reason}.", hint="Leave the variable out."
            )
    return as_model(fit_table(table, family), family, design, columns, n_events)
