"""The same ratio in many ways: each is what `compare` gives, what is not defined is said, and the chart shows all."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from rtmdx.disparity.comparison import compare
from rtmdx.disparity.results import PlaceRatio
from rtmdx.disparity.robustness import Sensitivity, sensitivity
from rtmdx.errors import InputError


def table(seed: int = 0, empty: bool = False) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [
        (g, f"t{a}", f"d{a % 3}", year, int(rng.poisson(20 * r)) + 1, *map(int, rng.integers((500, 50), (2000, 90))))
        for g, r in (("Black", 3.0), ("Latino", 1.0), ("White", 1.0))
        for a in range(9)
        for year in (2016, 2017)
    ]  # fmt: skip
    out = pd.DataFrame(rows, columns=["group", "tract", "district", "year", "events", "residents", "stops"])
    if empty:
        out.loc[(out["group"] == "White") & (out["tract"] == "t4"), "events"] = 0
    return out


def run(t: object, **options: object) -> Sensitivity:
    units = ["tract", ("district", "year")]
    base = {"group": "Black", "reference": "White", "benchmarks": ["residents", "stops"], "units": units}
    return sensitivity(t, **{**base, **options})  # type: ignore[arg-type]


def test_every_case_is_what_compare_gives() -> None:
    t = table()
    found = run(t)
    assert len(found.cases) == 2 * (1 + 3 * 2)
    for c in found.cases:
        strata = c.unit.split(" x ") if c.unit else []
        sums = t.groupby(["group", *strata], as_index=False)[["events", c.benchmark]].sum()
        expected = compare(sums, reference="White", benchmark=c.benchmark, pooling=c.pooling, strata=strata)  # type: ignore[arg-type]
        assert c.ratio == expected.ratios[0]
    estimates = [c.ratio.estimate for c in found.cases if c.ratio]
    assert found.spread == (min(estimates), max(estimates))
    assert f"{min(estimates):.2f}" in found.sentence()
    assert "in 14 ways" in found.sentence()


def test_what_is_not_defined_is_said() -> None:
    found = run(table(empty=True))
    lost = [c for c in found.cases if c.ratio is None]
    assert [(c.pooling, c.unit) for c in lost] == [("mean_of_ratios", "tract")] * 2
    assert "is not defined" in lost[0].why
    assert "2 more are not defined" in found.sentence()
    assert found.chart().count("not defined") == 4  # the marks, and what is read aloud
    assert found.to_frame()["estimate"].isna().sum() == 2


def test_several_tables_and_cases_added() -> None:
    found = run({"100 m": table(1), "200 m": table(2)}, poolings=["pooled"])
    assert [c.table for c in found.cases] == ["100 m", "100 m", "200 m", "200 m"]
    ratio = found.cases[0].ratio
    assert ratio is not None
    more = found.add(replace(ratio, adjusted="poverty", pooling="regression"))
    assert more.cases[-1].label == "adjusted for poverty, per residents, regression"
    with pytest.raises(InputError, match="of Black to Latino does not belong"):
        found.add(replace(ratio, reference="Latino"))
    place = PlaceRatio(**vars(ratio))
    with pytest.raises(InputError, match="of places does not belong with those of persons"):
        found.add(place)


def test_chart_and_plain_data() -> None:
    found = run(table(), outcome="stops")
    svg = ElementTree.fromstring(found.chart())
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(svg.findall("{*}circle")) == len(found.cases)
    assert "enforcement" in found.to_frame()["flags"][0]
    assert len(json.loads(json.dumps(found.to_dict()))["cases"]) == 14
    both = compare(table(), reference="White")
    for drawn, n in ((both.ratios.chart(), 2), (both.ratios[0].chart(), 1), (both.rates.chart(), 3)):
        assert len(ElementTree.fromstring(drawn).findall("{*}circle")) == n


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"benchmarks": ["calls"]}, "no column 'calls'"),
        ({"units": ["ward"]}, "no column 'ward'"),
        ({"group": "Martian"}, "found no 'Martian', expected one of 'Black'"),
        ({"group": "White"}, "found 'White' twice"),
        ({"poolings": ["median"]}, "poolings: found 'median'"),
        ({"benchmarks": []}, "at least one table"),
    ],
)
def test_bad_input(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(table(), **change)
    with pytest.raises(InputError, match="table 'a'" if "column" in message or "found no" in message else message):
        run({"a": table()}, **change)
