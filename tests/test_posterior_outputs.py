"""The posterior in a study, a run, its outputs and its report."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr

import small_city
from rtmdx.errors import InputError, StudyError
from rtmdx.model import export
from rtmdx.model.terrain import RiskTerrain
from rtmdx.report import write_report
from rtmdx.runs.findings import enforcement_findings
from rtmdx.runs.outputs import summary, write_outputs
from rtmdx.runs.run import run
from rtmdx.runs.study import PosteriorSpec, Study
from rtmdx.space.layers import Finding
from terrain_fixture import make_terrain

pytest.importorskip("jinja2", reason="Jinja (the report extra) is not installed")
COLUMNS = ["posterior", "posterior_lower", "posterior_upper"]


@pytest.fixture(scope="module")
def terrain() -> RiskTerrain:
    return make_terrain(posterior=True)


def ran(threads: int = 1, **posterior: Any) -> RiskTerrain:
    frames = small_city.frames()
    names = {"area": "boundary", "outcome": "events"}
    layers = {key: frames[names.get(key, key)] for key in ("area", "outcome", "bars", "roads", "parks")}
    study = small_city.study(posterior=posterior, model={"n_penalties": 30, "families": ["nbii"]})
    return run(Study.from_dict(study), layers=layers, threads=threads)


def said(page: str) -> str:
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", body))).replace("\u00a0", " ")


def test_every_output_holds_the_same_posterior(terrain: RiskTerrain, tmp_path: Path) -> None:
    risk = terrain.posterior_risk
    assert risk is not None
    write_outputs(terrain, tmp_path)
    with xr.open_zarr(tmp_path / "terrain.zarr") as store:
        for name in COLUMNS:
            cells = terrain.grid.to_cells(store[name].values)
            np.testing.assert_array_equal(cells, terrain.posterior_columns[name])
            assert np.isnan(store[name].values[~terrain.grid.mask]).all()
        assert "90 % credible limit" in store["posterior_lower"].attrs["long_name"]
        assert json.loads(store.attrs["posterior"])["dispersion"] == risk.dispersion
    with rasterio.open(tmp_path / "posterior.tif") as file:
        np.testing.assert_array_equal(terrain.grid.to_cells(file.read(1)), risk.expected_cells)
        assert "terrain and history" in file.descriptions[0]
        assert file.units[0] == "events per cell"
    cells = gpd.read_file(tmp_path / "terrain.gpkg", layer="cells")
    table = pd.read_csv(tmp_path / "tables" / "cells.csv")
    for name in COLUMNS:
        np.testing.assert_array_equal(cells[name], terrain.posterior_columns[name])
        np.testing.assert_array_equal(table[name], terrain.posterior_columns[name])
    provenance = gpd.read_file(tmp_path / "terrain.gpkg", layer="provenance").set_index("key")["value"]
    assert json.loads(provenance["posterior"]) == json.loads((tmp_path / "run.json").read_text())["posterior"]


def test_without_a_posterior_no_output_speaks_of_it(tmp_path: Path) -> None:
    plain = make_terrain()
    written = write_outputs(plain, tmp_path)
    assert "posterior.tif" not in written
    assert not (tmp_path / "posterior.tif").exists()
    assert not set(COLUMNS) & set(plain.cells.columns)
    assert summary(plain)["posterior"] is None
    assert 'id="posterior"' not in (tmp_path / "report.html").read_text(encoding="utf-8")
    with pytest.raises(InputError, match="holds no posterior"):
        export.write_geotiff(plain, tmp_path / "a.tif", "posterior")


def test_the_report_says_what_each_map_is_for(terrain: RiskTerrain, tmp_path: Path) -> None:
    risk = terrain.posterior_risk
    assert risk is not None
    write_report(terrain, tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    section = page[page.index('<section id="posterior">') : page.index('<section id="validity">')]
    text = said(section)
    for wanted in (
        "Where the landscape is risky, and why",
        "Where events were",
        "What to expect",
        "never people",
        "90 % of counts lie in",
        risk.method.split(") combined. ")[1],
        f"{terrain.counts.max():,}",
    ):
        assert wanted in text, wanted
    assert section.count("<image") == 3
    assert "send police" not in text
    again = tmp_path / "b.html"
    write_report(terrain, again)
    assert again.read_bytes() == (tmp_path / "a.html").read_bytes()


@pytest.mark.parametrize(
    "options",
    [{"family": "poisson"}, {"family": "nb2"}, {"selected": False}, {"rows": 1, "cols": 40}, {"holdout": False}],
)
def test_odd_terrains_have_a_section(options: dict[str, Any], tmp_path: Path) -> None:
    terrain = make_terrain(posterior=True, **options)
    write_report(terrain, tmp_path / "a.html")
    text = said((tmp_path / "a.html").read_text(encoding="utf-8"))
    assert ("the history updates nothing" in text) == (options.get("family") == "poisson")
    assert " nan" not in text.lower()


def test_enforcement_outcomes_warn_against_sending_police(tmp_path: Path) -> None:
    finding = Finding("enforcement", "outcome", "made by enforcement itself")
    write_report(make_terrain(posterior=True, findings=(finding,)), tmp_path / "a.html")
    text = said((tmp_path / "a.html").read_text(encoding="utf-8"))
    assert "Do not use this posterior to send police" in text
    assert "history of patrols" in text


@pytest.mark.parametrize(
    ("name", "enforced"),
    [
        ("Weapons violations", True),
        ("Unlawful use of a weapon", True),
        ("drug possession", True),
        ("Marijuana", True),
        ("Soliciting", True),
        ("Traffic stops", True),
        ("Prostitution", True),
        ("Robbery with a firearm", False),
        ("Assault, deadly weapon", False),
        ("Burglary", False),
        ("Vehicle theft", False),
        ("Drugstore robbery", False),
    ],
)
def test_names_that_speak_of_enforcement(name: str, enforced: bool) -> None:
    study = small_city.study()
    study["outcome"] |= {"name": name}
    assert bool(enforcement_findings(Study.from_dict(study))) == enforced


def test_a_run_judges_the_posterior_beside_terrain_and_history() -> None:
    terrain = ran()
    risk = terrain.posterior_risk
    assert risk is not None
    assert risk.history.lengths.size == 8
    assert risk.history.total.sum() == terrain.counts.sum()
    judged = {v.name: v for v in terrain.holdout}
    assert judged["Posterior risk"].n_events == judged["Risk terrain"].n_events
    other = ran(threads=3).posterior_risk
    assert other is not None
    assert other.expected_cells.tobytes() == risk.expected_cells.tobytes()
    plain = ran(smooth="none", decay="none", dispersion="model", level=0.5, horizon=0.5).posterior_risk
    assert plain is not None
    s = terrain.model.dispersion
    assert s is not None
    expected = 0.5 * (terrain.expected_cells + s * terrain.counts) / (1 + s)
    np.testing.assert_allclose(plain.expected_cells, expected, rtol=1e-12)
    blocks = ran(smooth=1.5, parts=4).posterior_risk
    assert blocks is not None
    assert blocks.bandwidth in (None, pytest.approx(1.5 * small_city.BLOCK))
    off = ran(enabled=False)
    assert off.posterior_risk is None
    assert "Posterior risk" not in {v.name for v in off.holdout}


def test_study_options() -> None:
    plain = Study.from_dict(small_city.study())
    assert plain.posterior == PosteriorSpec()
    named = Study.from_dict(small_city.study(posterior={"smooth": "auto"}))
    assert named.id == plain.id
    assert Study.from_dict(small_city.study(posterior={"smooth": 2})).id != plain.id
    assert Study.from_dict(plain.to_dict()) == plain
    for bad in ({"smooth": "much"}, {"decay": -1}, {"level": 1}, {"horizon": 0}, {"parts": 0}, {"dispersion": -1}):
        with pytest.raises(StudyError, match=f"posterior.{next(iter(bad))}"):
            Study.from_dict(small_city.study(posterior=bad))
