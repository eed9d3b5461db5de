"""Small designs and slow, obvious oracles for the statistical tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rtmdx.model.design import Block, Design, Variable

Float = NDArray[np.float64]


def variable(factor: int, kind: str, band: int, sign: int, support: int, distance: float | None = None) -> Variable:
    distance = 100.0 * band if distance is None else distance
    return Variable(
        name=f"r{factor + 1:02d}{kind[0]}{band:02d}_layer{factor}_{kind}_{distance:.0f}",
        factor=factor,
        factor_name=f"layer{factor}",
        operationalization=kind,  # type: ignore[arg-type]
        band=band,
        distance=distance,
        threshold=1.0 if kind == "density" else None,
        sign=sign,
        support=support,
    )


def proximity_block(code: NDArray[np.integer], bands: int, factor: int, sign: int = 1) -> Block:
    """Code c: variables c, c + 1, ... are 1 (nested bands)."""
    code = code.astype(np.uint8)
    decode = np.array([[c <= k for k in range(bands)] for c in range(bands + 1)], dtype=np.uint8)
    support = decode[code].sum(axis=0)
    names = tuple(variable(factor, "proximity", k + 1, sign, int(support[k])) for k in range(bands))
    return Block(code, decode, names)


def bits_block(columns: NDArray[np.integer], factor: int, sign: int = 1, kind: str = "density") -> Block:
    """One bit per variable."""
    n_bits = columns.shape[1]
    code = (columns.astype(np.int64) << np.arange(n_bits)).sum(axis=1).astype(np.uint8)
    decode = np.array([[c >> k & 1 for k in range(n_bits)] for c in range(2**n_bits)], dtype=np.uint8)
    names = tuple(variable(factor, kind, k + 1, sign, int(columns[:, k].sum())) for k in range(n_bits))
    return Block(code, decode, names)


def binary_design(columns: NDArray[np.integer], signs: Sequence[int] | None = None) -> Design:
    """One single-variable block, and factor, per column."""
    p = columns.shape[1]
    signs = [1] * p if signs is None else signs
    blocks = tuple(bits_block(columns[:, [j]], j, signs[j]) for j in range(p))
    return Design(blocks, len(columns))


def random_design(rng: np.random.Generator, n: int, factors: int, bands: int = 3) -> Design:
    """Each factor: a nested proximity block and a density block of independent-ish bits."""
    blocks = []
    for f in range(factors):
        sign = -1 if f % 4 == 3 else 1
        depth = rng.beta(2, 1, n) * (bands + 1)
        blocks.append(proximity_block(np.minimum(depth.astype(int), bands), bands, f, sign))
        base = rng.random(n)
        bits = np.column_stack([base + 0.3 * rng.random(n) > 1.0 - 0.15 * (k + 1) for k in range(bands)])
        blocks.append(bits_block(bits.astype(int), f, sign))
    return Design(tuple(blocks), n)


def dense(design: Design, columns: Sequence[int] | None = None) -> Float:
    """The signed design matrix, cells x columns."""
    columns = range(len(design.variables)) if columns is None else columns
    x = np.empty((design.n_cells, len(columns)))
    for a, j in enumerate(columns):
        x[:, a] = design.variables[j].sign * design.indicator(j).astype(np.float64)
    return x


def simulate(
    rng: np.random.Generator,
    design: Design,
    effects: dict[int, float],
    base: float = 0.3,
    dispersion: float = 0.0,
) -> NDArray[np.int64]:
    """Counts with the given coefficients of signed columns: Poisson, or NBII of that dispersion."""
    eta = np.full(design.n_cells, np.log(base))
    if effects:
        eta += dense(design, list(effects)) @ np.array(list(effects.values()))
    mu = np.exp(eta)
    if dispersion > 0.0:
        mu = rng.gamma(mu / dispersion, dispersion)
    return rng.poisson(mu)


def objective(x: Float, y: NDArray[np.integer], b0: float, beta: Float, l1: float, l2: float) -> float:
    """The culling objective, written out."""
    eta = b0 + x @ beta
    return float(np.mean(np.exp(eta) - y * eta) + l1 * np.abs(beta).sum() + 0.5 * l2 * (beta @ beta))
