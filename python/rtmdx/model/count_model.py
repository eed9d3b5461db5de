"""A fitted count model: its parameters, errors, intervals and predictions."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri
from scipy.stats import norm

from rtmdx.errors import InputError
from rtmdx.model.design import Design, Variable
from rtmdx.model.likelihood import Family
from rtmdx.model.outcome import check_exposure
from rtmdx.model.profile import profile_limits
from rtmdx.model.tables import CountTable

__all__ = ["CountModel"]

Float = NDArray[np.float64]


@dataclass(frozen=True)
class CountModel:
    """A fitted count model.

    Standard errors, t and p are those of a model fixed beforehand: after a search over variables they
    are too optimistic, and they ignore that neighbouring cells resemble each other; the robust ones, where
    there are any, allow for resemblance within clusters.

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
        Cells with exposure, and their events.
    at_boundary : bool
        A negative binomial whose dispersion is estimated as 0 (no more variance than Poisson): its
        log likelihood and coefficients are the Poisson's, its `df` still counts the dispersion.
    converged : bool
    n_iterations : int
        Newton steps.
    has_exposure : bool
        Fitted with an exposure: the intercept is the log rate per unit of it.
    robust_covariance : float64 array or None
        Sandwich covariance, scores summed by cluster, times G / (G - 1) for G clusters.
    n_clusters : int or None
        G.
    table : CountTable or None
        The collapsed cells it was fitted to; `profile_interval` needs it.
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
    has_exposure: bool = False
    robust_covariance: Float | None = None
    n_clusters: int | None = None
    table: CountTable | None = field(default=None, repr=False, compare=False)

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

    @property
    def robust_standard_errors(self) -> Float | None:
        """As `standard_errors`, from the cluster-robust covariance; None without clusters."""
        return None if self.robust_covariance is None else np.sqrt(np.diag(self.robust_covariance))

    @property
    def robust_p_values(self) -> Float | None:
        """Two-sided normal p-values of intercept and coefficients by their robust standard errors."""
        errors = self.robust_standard_errors
        if errors is None:
            return None
        k = 1 + len(self.coefficients)
        p: Float = 2.0 * norm.sf(np.abs(self.parameters[:k] / errors[:k]))
        return p

    def rrv_interval(self, level: float = 0.95, *, robust: bool = False) -> Float:
        """Wald limits of the relative risk values, shape (k, 2): exp(coefficient -+ z SE).

        Parameters
        ----------
        level : float
        robust : bool
            Use the cluster-robust standard errors.
        """
        _check_level(level)
        errors = self.robust_standard_errors if robust else self.standard_errors
        if errors is None:
            raise InputError("The model has no robust standard errors.", hint="Fit it with cluster=.")
        margin = ndtri(0.5 + level / 2.0) * errors[1 : 1 + len(self.coefficients)]
        limits: Float = np.exp(np.column_stack([self.coefficients - margin, self.coefficients + margin]))
        return limits

    def profile_interval(self, level: float = 0.95) -> Float:
        """Profile-likelihood limits of the relative risk values, shape (k, 2).

        The values at which twice the log likelihood, maximised over all other parameters, falls short of its
        maximum by the chi-squared quantile of `level` with one degree of freedom. A limit is 0 or infinite
        where the likelihood never falls so far.

        Raises
        ------
        InputError
            If `level` is out of range or the model was made without its table.
        FitError
            If a constrained fit fails.
        """
        _check_level(level)
        if self.table is None:
            raise InputError("The model does not hold its table.", hint="Fit it with fit_count_model or stepwise.")
        start = self.parameters
        start[0] += self.table.log_unit
        limits = [
            profile_limits(self.table, self.family, start, self.covariance, self.log_likelihood, i, level)
            for i in range(1, 1 + len(self.coefficients))
        ]
        interval: Float = np.exp(np.array(limits).reshape(-1, 2))
        return interval

    def linear_predictor(self, design: Design, exposure: ArrayLike | None = None) -> Float:
        """Return log mu per cell, shape (n_cells,).

        Parameters
        ----------
        design : Design
        exposure : array, shape (n_cells,), optional
            Exposure of each cell; without it the log of the rate per unit of exposure. -inf where it is 0.

        Raises
        ------
        InputError
            If the design lacks a variable of the model, or the exposure is not usable.
        """
        place = {v.name: (b, k) for b, block in enumerate(design.blocks) for k, v in enumerate(block.variables)}
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
        weight = check_exposure(design.n_cells, exposure)
        if weight is not None:
            with np.errstate(divide="ignore"):  # log 0 = -inf: nothing is expected where there is no exposure
                eta += np.log(weight)
        return eta

    def expected(self, design: Design, exposure: ArrayLike | None = None) -> Float:
        """Return the expected count mu per cell, shape (n_cells,).

        Raises
        ------
        InputError
            As `linear_predictor`; also if the model was fitted with an exposure and none is given.
        """
        if self.has_exposure and exposure is None:
            raise InputError(
                "The model was fitted with an exposure: expected counts need one.",
                hint="Pass exposure=, in the same unit; linear_predictor without it gives log rates.",
            )
        mu: Float = np.exp(self.linear_predictor(design, exposure))
        return mu


def _check_level(level: float) -> None:
    if not 0.0 < level < 1.0:
        raise InputError(f"level is {level}, expected between 0 and 1, such as 0.95.")
