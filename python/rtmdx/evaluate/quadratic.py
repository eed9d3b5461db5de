"""The two quadratic programs of control areas: calibration weights from zero, and weights on a simplex.

Calibration: minimise sum (w - d)^2 / 2d subject to X'w = t and w >= 0 (Deville & Saerndal 1992, truncated linear). Its
solution is w = d max(0, 1 + X lambda), so that lambda has as many entries as there are constraints, and maximises a
concave, piecewise quadratic function: Newton's method with a line search. A constraint may be given slack: a penalty
(x'w - t)^2 / 2e, which adds e lambda^2 / 2 to the dual (ridge calibration).

Simplex: minimise |A w - b|^2 with w >= 0 and sum w = 1: the point of least norm in a polytope, through NNLS.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

__all__ = ["calibrate", "least_misses", "simplex_weights"]

Float = NDArray[np.float64]
_STEPS = 400


def calibrate(x: Float, target: Float, base: Float, slack: Float, *, tolerance: float = 1e-10) -> Float | None:
    """Return weights, or None where the constraints without slack cannot be met (or only beyond rounding).

    Parameters
    ----------
    x : float64 array, shape (n_controls, n_constraints)
    target : float64 array, shape (n_constraints,)
    base : float64 array, shape (n_controls,)
        Weights to stay close to, positive.
    slack : float64 array, shape (n_constraints,)
        0 for an exact constraint; else the penalty's e, in units of the scaled constraint.
    """
    scale = np.maximum(np.sqrt((base[:, None] * x * x).sum(axis=0) * base.sum()), np.abs(target))
    scale = np.where(scale > 0, scale, 1.0)
    z, goal = x / scale, target / scale
    unit = 1.0 / base.sum()  # lambda and the objective in sizes of about 1
    d = base * unit
    z = z * base.sum()
    k = z.shape[1]

    def state(lam: Float) -> tuple[float, Float, NDArray[np.bool_]]:
        inner = 1.0 + z @ lam
        active = inner > 0
        u = np.where(active, inner, 0.0)
        value = float(goal @ lam) - 0.5 * float(d @ (u * u)) - 0.5 * float(slack @ (lam * lam))
        return value, goal - z.T @ (d * u) - slack * lam, active

    lam = np.zeros(k)
    value, gradient, active = state(lam)
    for _ in range(_STEPS):
        if np.abs(gradient).max() <= tolerance:
            break
        half = z[active] * np.sqrt(d[active])[:, None]
        curve = half.T @ half + np.diag(slack)
        ridge = 1e-13 * max(float(np.trace(curve)), 1e-300) / k
        step = np.linalg.lstsq(curve + ridge * np.eye(k), gradient, rcond=1e-14)[0]
        slope = float(gradient @ step)
        if not (np.isfinite(step).all() and slope > 0):
            return None
        size = 1.0
        while size > 1e-12:
            new = state(lam + size * step)
            if new[0] >= value + 1e-4 * size * slope - 1e-15 * abs(value):
                break
            size *= 0.5
        else:
            break
        lam = lam + size * step
        value, gradient, active = new
        if value > 1e12:  # unbounded: no weights meet the constraints
            return None
    w = base * np.maximum(0.0, 1.0 + z @ lam)
    exact = slack == 0
    miss = np.abs(x.T @ w - target) / scale
    return w if not exact.any() or miss[exact].max() <= 1e-7 else None


def least_misses(x: Float, target: Float) -> Float:
    """Return by how much the totals of the best weights from zero exceed the targets: least sum of |miss| / scale."""
    n, k = x.shape
    scale = np.where(np.abs(target) > 0, np.abs(target), np.maximum(np.abs(x).sum(axis=0), 1.0))
    z = (x / scale).T
    found = optimize.linprog(
        np.concatenate([np.zeros(n), np.ones(2 * k)]),
        A_eq=np.hstack([z, -np.eye(k), np.eye(k)]),
        b_eq=target / scale,
        bounds=(0, None),
        method="highs",
    )
    miss: Float = (found.x[n : n + k] - found.x[n + k :]) * scale
    return np.where(np.abs(miss) > 1e-7 * scale, miss, 0.0)


def simplex_weights(a: Float, b: Float) -> Float:
    """Return w >= 0 with sum 1 that minimises |a w - b|^2; shape (n_columns,)."""
    residual = a - b[:, None]
    scale = float(np.abs(residual).max()) or 1.0
    stacked = np.vstack([residual / scale, np.ones(a.shape[1])])
    goal = np.zeros(len(stacked))
    goal[-1] = 1.0
    u = optimize.nnls(stacked, goal, maxiter=50 * a.shape[1] + 200)[0]
    return np.asarray(u / u.sum())
