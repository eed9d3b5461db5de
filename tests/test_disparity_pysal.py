"""Indices of exposure beside PySAL's: Theil and Gini of `inequality`, dissimilarity of `segregation`."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from rtmdx.disparity.exposure_results import ExposureIndex, ExposureResult
from rtmdx.disparity.group_exposure import exposure

GROUPS = ("a", "b", "c")


def problem(levels: int | None) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(7)
    risk = rng.gamma(2.0, size=400) + 0.05 if levels is None else rng.integers(1, levels + 1, 400) / 2
    return risk, {g: rng.poisson(3.0 * (i + 1) * rng.random(400)).astype(float) for i, g in enumerate(GROUPS)}


def index(found: ExposureResult, name: str, group: str = "") -> float:
    return next(
        e.estimate
        for e in found.indices
        if isinstance(e, ExposureIndex) and (e.index, e.group) == (name, group) and e.reference in ("", "everyone else")
    )


@pytest.mark.parametrize("levels", [None, 9])
def test_theil_and_gini_are_those_of_inequality(levels: int | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theil = pytest.importorskip("inequality.theil")
        gini = pytest.importorskip("inequality.gini")
    risk, people = problem(levels)
    found = exposure(risk, people)
    lived = [np.repeat(risk, people[g].astype(int)) for g in GROUPS]  # a resident each
    of = np.repeat(np.arange(3), [len(v) for v in lived])
    parts = theil.TheilD(np.concatenate(lived), of)
    assert index(found, "theil") == pytest.approx(parts.T, rel=1e-9)
    assert index(found, "theil-between-groups") == pytest.approx(np.ravel(parts.bg)[0], rel=1e-9)
    assert index(found, "theil-within-groups") == pytest.approx(np.ravel(parts.wg)[0], rel=1e-9)
    for g, values in zip(GROUPS, lived, strict=True):
        assert index(found, "gini", g) == pytest.approx(gini.Gini(values).g, rel=1e-9)


def test_dissimilarity_is_that_of_segregation() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        single = pytest.importorskip("segregation.singlegroup")
        risk, people = problem(9)
        table = pd.DataFrame(people)
        table["all"] = table.sum(axis=1)
        found = exposure(risk, people)
        for g in GROUPS:
            other = single.Dissim(table, group_pop_var=g, total_pop_var="all").statistic
            assert index(found, "dissimilarity", g) == pytest.approx(other, rel=1e-10)
