"""Planted risks of the demo city are recovered by the whole pipeline.

One seed runs always; twenty run by `pytest -m long tests/test_demo_recovery.py -s`, which prints the counts.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rtmdx.demo import City, make_city, recovery
from rtmdx.model.terrain import RiskTerrain
from rtmdx.runs.run import run
from rtmdx.runs.study import Study


def model(seed: int) -> tuple[City, RiskTerrain, pd.DataFrame]:
    city = make_city(seed)
    study = Study.from_dict(city.study())
    layers = {"area": city.area, "outcome": city.events, **{f.name: city.layers[f.name] for f in study.factors}}
    terrain = run(study, layers=layers)
    return city, terrain, recovery(city, terrain)


def test_default_city_is_recovered() -> None:
    city, terrain, found = model(0)
    assert set(found["verdict"]) == {"recovered", "left out"}
    assert len(found) == len(city.planted) + len(city.unplanted)
    assert terrain.model.family == "nbii"
    assert terrain.expected_cells.sum() == pytest.approx(terrain.counts.sum(), rel=1e-6)
    np.testing.assert_allclose(terrain.model.log_dispersion, 0.0, atol=0.25)  # s = 1 was planted
    held = {v.name: v.auc for v in terrain.holdout}
    assert held["Risk terrain"] > 0.65


@pytest.mark.long
def test_twenty_cities_are_recovered() -> None:
    tables = []
    for seed in range(20):
        tables.append(model(seed)[2].assign(seed=seed))
        bad = tables[-1][~tables[-1]["verdict"].isin(["recovered", "left out"])]
        print(seed, "recovered" if bad.empty else bad[["factor", "verdict"]].to_dict("records"))
    found = pd.concat(tables)
    planted = found[found["planted"]]
    assert planted["selected"].all()
    assert (planted["operationalization"] == planted["planted_operationalization"]).all()
    off = (planted["blocks"] - planted["planted_blocks"]).abs()
    assert (off <= 0.5 + 1e-9).all()
    exact = planted[off < 1e-9]
    inside = exact["planted_rrv"].between(exact["rrv_low"], exact["rrv_high"])
    clean = found[~found["planted"]].groupby("seed")["selected"].any()
    whole = found.groupby("seed")["verdict"].agg(lambda v: v.isin(["recovered", "left out"]).all())
    print(
        f"seeds recovered whole: {whole.sum()} of 20; reach exact: {len(exact)} of {len(planted)}; "
        f"RRV inside its 99 % interval: {inside.sum()} of {len(exact)}; "
        f"seeds without an unplanted factor: {(~clean).sum()}"
    )
    assert whole.sum() >= 17
