"""Use of force in Dallas, where its layers are at hand: the crude ratio that is known, and the table made of it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from rtmdx.disparity.adjustment import adjusted
from rtmdx.disparity.comparison import compare

pytest.importorskip("statsmodels")
pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "dallas_disparity.py"
    spec = importlib.util.spec_from_file_location("dallas_disparity", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_crude_and_adjusted(script: ModuleType, cities: Path) -> None:
    table = script.dallas(cities)
    t = script._summed(table[table["year"] == 2013].assign(all=0), ("all",))  # residents once, not once a year
    whole = table.groupby("group")["events"].sum()
    t["events"] = t["group"].map(whole)
    black = compare(t, reference="White", outcome="use of force").ratios[0]
    assert (black.events, black.exposure) == (8632, 299152)
    assert (black.reference_events, black.reference_exposure) == (3317, 363092)
    assert round(black.estimate, 2) == 3.16
    assert "enforcement" in black.flags
    by_year = compare(script._summed(table, ("year",)), reference="White", pooling="mean_of_ratios", strata=["year"])
    assert by_year.n_strata == 6  # 2014 has no coordinates
    fit = adjusted(
        table, reference="White", covariates=["poverty"], factors=["year"], cluster="block_group",
        without_exposure="drop", outcome="use of force",
    )  # fmt: skip
    assert fit.n_clusters > 850
    assert fit.left_out == {"Black": 366, "Hispanic": 47, "White": 52}
    assert 1 < fit.adjusted[0].estimate < fit.crude[0].estimate < black.estimate
    assert sum(fit.decompositions["Black"].effects.values()) == pytest.approx(fit.decompositions["Black"].difference)
