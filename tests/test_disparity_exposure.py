"""Exposure of groups beside the same by hand, by pandas and NumPy, and by simulation."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtmdx.disparity.exposure_results import ExposureIndex, ExposureRatio, ExposureResult, TopShare
from rtmdx.disparity.group_exposure import exposure
from rtmdx.errors import Cancelled, InputError, MemoryLimitError
from worked_examples import example


def slow(risk: np.ndarray, people: np.ndarray, g: int, k: int) -> dict[str, float]:
    """All figures of group g the obvious way; k cells are the top."""
    keep = ~np.isnan(risk)
    r, p, everyone = risk[keep], people[g][keep], people[:, keep].sum(axis=0)
    mean = float((p * r).sum() / p.sum())
    rest = everyone - p
    table = pd.DataFrame({"r": r, "p": p, "y": p * r, "all": everyone}).groupby("r").sum()  # equal risks together
    x = np.concatenate([[0], np.cumsum(table["p"])]) / p.sum()
    y = np.concatenate([[0], np.cumsum(table["y"])]) / table["y"].sum()
    z = np.concatenate([[0], np.cumsum(table["all"])]) / everyone.sum()
    border = np.sort(r)[-k]
    equal = np.sort(p[r == border])
    room = k - int((r > border).sum())
    sure = p[r > border].sum()
    return {
        "mean": mean,
        "ratio": mean / float((rest * r).sum() / rest.sum()),
        "gini": 1 - 2 * float(np.trapezoid(y, x)),
        "concentration": 1 - 2 * float(np.trapezoid(x, z)),
        "dissimilarity": 0.5 * float(np.abs(p / p.sum() - rest / rest.sum()).sum()),
        "top": float((sure + equal.sum() * room / len(equal)) / p.sum()),
        "least": float((sure + equal[:room].sum()) / p.sum()),
        "most": float((sure + equal[::-1][:room].sum()) / p.sum()),
    }


def index(found: ExposureResult, name: str, group: str = "", reference: str | None = None) -> float:
    for e in found.indices:
        assert isinstance(e, ExposureIndex)
        if (e.index, e.group) == (name, group) and reference in (None, e.reference):
            return e.estimate
    raise KeyError(name)


def close(found: ExposureResult, risk: np.ndarray, people: np.ndarray, k: int) -> None:
    for g, name in enumerate(found.groups):
        expected = slow(risk, people, g, k)
        top = found.top[g]
        assert isinstance(top, TopShare)
        got = {
            "mean": found.means[g].estimate,
            "ratio": found.ratio(name).estimate,
            "gini": index(found, "gini", name),
            "concentration": index(found, "concentration", name),
            "dissimilarity": index(found, "dissimilarity", name),
            "top": top.estimate,
            "least": top.least,
            "most": top.most,
        }
        for key, value in expected.items():
            assert got[key] == pytest.approx(value, rel=1e-10, abs=1e-10), key


def test_x1_by_hand() -> None:
    e = example("X1")
    i, expected = e["inputs"], e["expected"]
    found = exposure(i["risk"], {"B": i["B"], "W": i["W"]}, reference="W", top=(0.25,))
    assert [m.estimate for m in found.means] == pytest.approx(expected["mean"], abs=e["tolerance"])
    assert found.ratio("B").estimate == pytest.approx(expected["ratio"], abs=e["tolerance"])
    assert found.ratio("B", "W").estimate == pytest.approx(expected["ratio"], abs=e["tolerance"])
    assert index(found, "dissimilarity", "B", "W") == pytest.approx(expected["dissimilarity"], abs=e["tolerance"])
    assert [t.estimate for t in found.top] == pytest.approx(expected["share_top_cell"], abs=e["tolerance"])


@pytest.mark.parametrize(("levels", "n_groups"), [(None, 2), (None, 5), (None, 17), (1, 2), (3, 9), (40, 3)])
def test_many_cells_beside_pandas(levels: int | None, n_groups: int) -> None:
    rng = np.random.default_rng(n_groups)
    n = 70_000
    risk = rng.gamma(2.0, size=n) if levels is None else rng.integers(1, levels + 1, n).astype(float)
    risk[rng.random(n) < 0.01] = np.nan
    people = rng.gamma(0.3, size=(n_groups, n)) * (rng.random((n_groups, n)) < 0.7)
    found = exposure(risk, {f"g{g}": p for g, p in enumerate(people)}, top=(0.03,), threads=2)
    k = round(0.03 * found.n_cells)
    close(found, risk, people, k)


@pytest.mark.parametrize("levels", [4090, 4097, 5000])
def test_as_many_risks_as_a_table_takes_and_more(levels: int) -> None:
    rng = np.random.default_rng(levels)
    risk = rng.permutation(np.resize(np.arange(1.0, levels + 1), 30_000))
    people = rng.gamma(0.3, size=(3, risk.size))
    for top in (0.001, 0.25):
        found = exposure(risk, dict(zip("abc", people, strict=True)), top=(top,), threads=2)
        close(found, risk, people, round(top * found.n_cells))


def test_memory_is_asked_for_before_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    risk, people = rng.random(400_000), {f"g{i}": rng.random(400_000) for i in range(20)}
    monkeypatch.setattr("rtmdx.disparity.exposure_figures.available_memory", lambda: 1e6)
    told = "exposure of 20 groups over 400000 cells needs 68 MB; 1 MB may be used"
    with pytest.raises(MemoryLimitError, match=told):
        exposure(risk, people)
    assert exposure(np.round(risk, 1), people, top=()).n_cells == 400_000  # few risks need no list to sort
    with pytest.raises(MemoryLimitError, match="may be used"):
        exposure(np.round(risk, 1), people)  # but the cells among which the top has to choose


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_few_cells_beside_pandas(data: Any) -> None:
    n = data.draw(st.integers(1, 12))
    numbers = st.sampled_from([0.5, 1.0, 1.5, 2.0, 7.0])
    risk = np.array(data.draw(st.lists(numbers, min_size=n, max_size=n)))
    counts = st.lists(st.integers(0, 5), min_size=n, max_size=n)
    people = np.array([data.draw(counts), data.draw(counts)], dtype=float)
    people[:, 0] += 1
    k = data.draw(st.integers(1, n))
    found = exposure(risk, {"a": people[0], "b": people[1]}, top=(k / n,))
    close(found, risk, people, k)


def test_same_bits_for_any_threads() -> None:
    rng = np.random.default_rng(3)
    risk, people = np.round(rng.gamma(2.0, size=300_000), 3), rng.random((4, 300_000))
    found = [exposure(risk, dict(zip("abcd", people, strict=True)), threads=t) for t in (1, 2, 7)]
    said = [json.dumps(f.to_dict()) for f in found]
    assert said[0] == said[1] == said[2]
    for f in found[1:]:
        for name in ("curve_risk", "curve_cells", "curve_residents", "curve_burden"):
            assert np.array_equal(getattr(f, name), getattr(found[0], name))


def test_order_of_cells_and_units_change_nothing_much() -> None:
    rng = np.random.default_rng(4)
    risk, people = np.round(rng.gamma(2.0, size=5000), 2) + 0.01, rng.random((3, 5000))
    turn = rng.permutation(5000)
    a = exposure(risk, dict(zip("abc", people, strict=True)))
    b = exposure(3.0 * risk[turn], dict(zip("abc", people[:, turn], strict=True)))
    for x, y in zip([*a.ratios, *a.top, *a.indices], [*b.ratios, *b.top, *b.indices], strict=True):
        assert x.estimate == pytest.approx(y.estimate, rel=1e-10, abs=1e-12)
    for x, y in zip(a.means, b.means, strict=True):
        assert 3.0 * x.estimate == pytest.approx(y.estimate, rel=1e-12)


def test_theil_splits_exactly() -> None:
    rng = np.random.default_rng(5)
    risk, people = rng.gamma(2.0, size=4000), rng.random((3, 4000)) * np.array([[1.0], [5.0], [0.2]])
    found = exposure(risk, dict(zip("abc", people, strict=True)))
    p, r = people.ravel(), np.tile(risk, 3)
    m = (p * r).sum() / p.sum()
    assert index(found, "theil") == pytest.approx((p * r / m * np.log(r / m)).sum() / p.sum(), rel=1e-11)
    means = np.array([e.estimate for e in found.means])
    s = people.sum(axis=1) * means / (p * r).sum()
    between = (s * np.log(means / m)).sum()
    within = sum(
        s[g] * (people[g] * risk / means[g] * np.log(risk / means[g])).sum() / people[g].sum() for g in range(3)
    )
    assert index(found, "theil-between-groups") == pytest.approx(between, rel=1e-10)
    assert index(found, "theil-within-groups") == pytest.approx(within, rel=1e-10)


def test_curves_are_shares_and_areas() -> None:
    rng = np.random.default_rng(6)
    risk, people = rng.gamma(2.0, size=2000), rng.random((2, 2000))
    found = exposure(risk, {"a": people[0], "b": people[1]}, points=5000)
    table = found.curve()
    for name in "ab":
        rows = table[table["group"] == name]
        assert rows[["share_of_all", "share_of_group", "share_of_burden"]].iloc[[0, -1]].to_numpy().tolist() == [
            [0.0] * 3,
            [1.0] * 3,
        ]
        area = np.trapezoid(rows["share_of_group"], rows["share_of_all"])
        assert 1 - 2 * area == pytest.approx(index(found, "concentration", name), abs=1e-12)
        area = np.trapezoid(rows["share_of_burden"], rows["share_of_group"])
        assert 1 - 2 * area == pytest.approx(index(found, "gini", name), abs=1e-12)


def test_cells_without_risk_are_told() -> None:
    found = exposure([1.0, np.nan, 3.0], {"a": [1, 1, 1], "b": [2, 0, 0]})
    assert found.n_cells == 2
    assert found.means[0].missing == 1
    assert found.means[0].estimate == 2.0
    assert "no-risk" in found.means[0].flags
    assert "no-risk" not in found.means[1].flags


def test_a_group_without_residents_is_flagged_not_hidden() -> None:
    found = exposure([1.0, 2.0], {"a": [1, 1], "nobody": [0, 0]}, reference="nobody")
    assert np.isnan(found.means[1].estimate)
    assert "no-residents" in found.means[1].flags
    assert np.isnan(found.ratio("a").estimate)
    assert "no-residents" in found.ratio("a", "nobody").flags
    assert all(np.isfinite(e.estimate) or e.flags for e in [*found.indices, *found.top])


def test_negative_risk_has_means_but_no_theil() -> None:
    found = exposure([-1.0, 2.0], {"a": [1, 2], "b": [1, 1]})
    assert found.means[0].estimate == 1.0
    assert np.isnan(index(found, "theil"))
    assert all("negative-risk" in e.flags for e in found.indices if np.isnan(e.estimate))


def test_types_are_of_places_and_say_so_in_a_sentence() -> None:
    found = exposure([1.0, 2.0], {"a": [1, 2], "b": [3, 1]}, reference="b")
    ratio = found.ratio("a", "b")
    assert isinstance(ratio, ExposureRatio)
    assert ratio.kind == "place"
    assert "no interval" in ratio.sentence()
    assert "1.33 times that of b" in ratio.sentence()
    assert json.loads(ratio.to_json())["low"] is None
    assert len(found.sentences()) == len(found.means) + len(found.ratios) + len(found.top) + len(found.indices)
    assert found.plot().get_xlabel()
    with pytest.raises(KeyError):
        found.ratio("a", "c")


@pytest.mark.parametrize(
    ("risk", "people", "options", "message"),
    [
        ([1, 2], {"a": [1, -1]}, {}, "a, cell 1: found -1"),
        ([1, 2], {"a": [1, np.nan]}, {}, "a, cell 1: found nan"),
        ([1, np.inf], {"a": [1, 1]}, {}, "risk, cell 1: is infinite"),
        ([1, 2, 3], {"a": [1, 1]}, {}, "3 cells, the population 2"),
        ([1, 2], {"a": [1, 1], "b": [1]}, {}, "different numbers of cells"),
        ([1, 2], {"a": [1, 1]}, {"reference": "c"}, "found 'c', expected one of 'a'"),
        ([1, 2], {"a": [1, 1]}, {"top": (0.0,)}, "expected shares above 0"),
        ([1, 2], {"a": [1, 1]}, {"margins": "delta"}, "the population has none"),
        ([1, 2], {"a": [1, 1]}, {"margins": "guess"}, "margins"),
        ([1, 2], {"a": [1, 1]}, {"model_draws": True}, "no terrain"),
        ([1, 2], {"a": [0, 0]}, {}, "no residents in any cell"),
        ([np.nan, np.nan], {"a": [1, 1]}, {}, "every cell is NaN"),
        ([1, 2], {}, {}, "expected a Population"),
        ([1, 2], {str(g): [1, 1] for g in range(32)}, {}, "at most 31"),
    ],
)
def test_bad_input(risk: Any, people: Any, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        exposure(risk, people, **options)


def test_cancelled() -> None:
    with pytest.raises(Cancelled):
        exposure(np.ones(200_000), {"a": np.ones(200_000)}, cancel=lambda: True)
