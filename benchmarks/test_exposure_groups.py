"""Exposure of 5 groups over 10 million cells, beside the same figures by pandas and NumPy.

    pytest benchmarks/test_exposure_groups.py --benchmark-only -s

Both find, per group: mean risk, ratio to everyone else, shares in the top 1, 5 and 10 % of cells with their ties,
Gini coefficient, concentration index, dissimilarity, and the parts of Theil's index. NumPy sorts once; pandas adds up
cells of equal risk. The answers are asserted equal to 1e-9. What pandas does not find are the bounds over ties of the
shares; the same work, without them, is measured beside.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rtmdx.disparity.exposure_figures import Figures, one_pass
from rtmdx.disparity.exposure_results import ExposureIndex, ExposureResult
from rtmdx.disparity.group_exposure import exposure

N, GROUPS, TOP = 10_000_000, ("a", "b", "c", "d", "e"), (0.01, 0.05, 0.1)
SECONDS: dict[str, float] = {}


@cache
def problem(kind: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    risk = rng.gamma(2.0, size=N)
    if kind == "few risks":
        risk = np.exp(np.round(2 * risk) / 4)
    return risk, {g: rng.gamma(0.3, size=N) for g in GROUPS}


def by_pandas(risk: np.ndarray, people: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    table = pd.DataFrame({"risk": risk, "cells": 1, **people})
    sums = table.groupby("risk", sort=True).sum()  # cells of equal risk together, lowest first
    r, n = sums.index.to_numpy(), sums["cells"].to_numpy()
    p = sums[list(GROUPS)].to_numpy()
    everyone = p.sum(axis=1)
    total, all_people = p.sum(axis=0), everyone.sum()
    burden = p * r[:, None]
    mean = burden.sum(axis=0) / total
    rest = (burden.sum() - burden.sum(axis=0)) / (all_people - total)
    before, borne = np.cumsum(p, axis=0), np.cumsum(burden, axis=0)
    rank = np.cumsum(everyone) - 0.5 * everyone
    share = np.array([table[g].to_numpy() / total[i] for i, g in enumerate(GROUPS)])
    cells = table[list(GROUPS)].sum(axis=1).to_numpy()
    apart = [
        0.5 * np.abs(share[i] - (cells - table[g].to_numpy()) / (all_people - total[i])).sum()
        for i, g in enumerate(GROUPS)
    ]
    from_top, top = np.cumsum(n[::-1])[::-1], []
    for t in TOP:
        k = round(t * N)
        i = int(np.searchsorted(-from_top, -k, side="right")) - 1
        above = total - before[i]
        top.append((above + p[i] * (k - (from_top[i] - n[i])) / n[i]) / total)
    level = burden.sum() / all_people
    s = burden.sum(axis=0) / burden.sum()
    return {
        "mean": mean,
        "ratio": mean / rest,
        "gini": 1 - 2 * (p * (borne - 0.5 * burden)).sum(axis=0) / (total * borne[-1]),
        "concentration": 2 * (p * rank[:, None]).sum(axis=0) / (total * all_people) - 1,
        "dissimilarity": np.array(apart),
        "top": np.array(top).ravel(),
        "theil": np.array(
            [(everyone * r / level * np.log(r / level)).sum() / all_people, (s * np.log(mean / level)).sum()]
        ),
    }


def told(found: ExposureResult) -> dict[str, np.ndarray]:
    indices: dict[str, list[float]] = {}
    for e in found.indices:
        assert isinstance(e, ExposureIndex)
        indices.setdefault(e.index, []).append(e.estimate)
    out = {name: np.array(indices[name]) for name in ("gini", "concentration", "dissimilarity")}
    return {
        **out,
        "mean": np.array([e.estimate for e in found.means]),
        "ratio": np.array([e.estimate for e in found.ratios]),
        "top": np.array([e.estimate for e in found.top]),
        "theil": np.array([*indices["theil"], *indices["theil-between-groups"]]),
    }


def without_bounds(risk: np.ndarray, people: dict[str, np.ndarray]) -> Figures:
    """The figures that pandas finds, and no more."""
    return one_pass(risk, list(people.values()), TOP, 0, names=GROUPS, ties=False, threads=2)


@pytest.mark.parametrize("kind", ["all different", "few risks"])
@pytest.mark.parametrize("who", ["rtmdx", "rtmdx without bounds", "pandas"])
def test_exposure(benchmark: Any, who: str, kind: str) -> None:
    benchmark.group = f"exposure of 5 groups, {N:,} cells, {kind}"
    risk, people = problem(kind)
    if who == "rtmdx":
        found = told(benchmark.pedantic(lambda: exposure(risk, people, top=TOP, threads=2), rounds=3))
    elif who == "rtmdx without bounds":
        figures = benchmark.pedantic(lambda: without_bounds(risk, people), rounds=3)
        whole = told(exposure(risk, people, top=TOP, threads=2))
        np.testing.assert_array_equal(figures.mean, whole["mean"])
        np.testing.assert_array_equal(np.ravel(figures.top), whole["top"])
    else:
        found = benchmark.pedantic(lambda: by_pandas(risk, people), rounds=3 if kind == "few risks" else 1)
        ours = told(exposure(risk, people, top=TOP, threads=2))
        for name, values in found.items():
            np.testing.assert_allclose(ours[name], values, rtol=1e-9, atol=1e-9, err_msg=name)
    SECONDS[f"{who} {kind}"] = benchmark.stats.stats.min
    if who == "pandas":
        for name in ("rtmdx", "rtmdx without bounds"):
            own = SECONDS.get(f"{name} {kind}", np.nan)
            print(f"\n{kind}: {name} {own:.3f} s, pandas {SECONDS[f'pandas {kind}'] / own:.1f} times that (target 10)")
