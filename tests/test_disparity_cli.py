"""`rtmdx disparity`: a study's section, from a table to the terminal, JSON and a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import small_city
from rtmdx.cli import app
from rtmdx.disparity.adjustment import adjusted
from rtmdx.disparity.comparison import compare
from rtmdx.errors import InputError, StudyError
from rtmdx.runs.study import Study

SECTION = {
    "path": "force.csv",
    "reference": "White",
    "strata": ["year"],
    "benchmarks": ["stops"],
    "outcome": "use of force",
}


def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    poverty = rng.uniform(0, 0.5, 40)
    rows = [
        (g, f"{i:03d}", year, poverty[i], int(rng.poisson(4 * r * np.exp(2 * poverty[i]))),
         int(rng.integers(300, 900)), int(rng.integers(20, 90)))
        for g, r in (("Black", 3.0), ("Latino", 1.2), ("White", 1.0))
        for i in range(40)
        for year in (2018, 2019)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["group", "tract", "year", "poverty", "events", "residents", "stops"])


def write(folder: Path, section: dict[str, Any] | None = None) -> Path:
    table().to_csv(folder / "force.csv", index=False)
    lines = [f"{k} = {json.dumps(v)}" for k, v in (SECTION if section is None else section).items()]
    text = small_city.toml(small_city.study())
    (folder / "study.toml").write_text(text + "\n[disparity]\n" + "\n".join(lines) + "\n")
    return folder / "study.toml"


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["disparity", *arguments])


def test_json_is_what_the_functions_give(tmp_path: Path) -> None:
    pytest.importorskip("statsmodels")
    study = write(tmp_path, SECTION | {"covariates": ["poverty"], "cluster": "tract"})
    result = invoke(str(study), "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    t = table().astype({"tract": "string"})
    expected = compare(t, reference="White", strata=["year"], outcome="use of force")
    assert found["rates"] == expected.rates.to_dict()
    assert found["ratios"] == expected.ratios.to_dict()
    fit = adjusted(t, reference="White", covariates=["poverty"], cluster="tract", outcome="use of force")
    assert found["adjusted"]["adjusted"] == fit.adjusted.to_dict()
    assert [len(s["cases"]) for s in found["sensitivity"]] == [2 * 4 + 1] * 2
    assert found["sensitivity"][0]["cases"][-1]["table"] == "adjusted for poverty"


def test_terminal_and_page(tmp_path: Path) -> None:
    study = write(tmp_path)
    result = invoke(str(study), "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    for said in (
        "use of force by group",
        "Rate per 1,000 residents",
        "Ratio to White",
        "enforcement",
        "disparity.html",
    ):
        assert said in result.stdout, said
    page = (tmp_path / "out" / "disparity.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 4
    for part in page.split("<svg")[1:]:
        ElementTree.fromstring("<svg" + part.split("</svg>")[0] + "</svg>")
    assert json.loads((tmp_path / "out" / "disparity.json").read_text())["status"] == "ok"
    again = invoke(str(study), "--out", str(tmp_path / "out"))
    assert again.exit_code == 2
    assert "exists" in again.stderr


def test_tables_of_other_files(tmp_path: Path) -> None:
    study = write(tmp_path)
    plain = json.loads(invoke(str(study), "--json").stdout)
    gpd.GeoDataFrame(table()).to_file(tmp_path / "force.gpkg", layer="force", driver="GPKG")
    other = write(tmp_path, SECTION | {"path": "force.gpkg", "layer": "force"})
    assert json.loads(invoke(str(other), "--json").stdout) == plain


def test_the_section_does_not_change_the_model(tmp_path: Path) -> None:
    study = Study.from_toml(write(tmp_path))
    assert study.disparity is not None
    assert study.id == Study.from_dict(small_city.study()).id


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"path": "none.csv", "reference": "White"}, "none.csv does not exist"),
        ({"path": "force.csv", "reference": "Martian"}, "reference: found 'Martian'"),
        ({"path": "force.csv", "reference": "White", "benchmark": "calls"}, "no column 'calls'"),
        ({"path": "study.toml", "reference": "White"}, "cannot be read as a table"),
    ],
)
def test_mistakes_are_one_message(tmp_path: Path, section: dict[str, Any], message: str) -> None:
    result = invoke(str(write(tmp_path, section)))
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pooling": "mean_of_ratios", "strata": []}, "needs strata"),
        ({"covariates": ["poverty"]}, "need cluster"),
        ({"cluster": "tract"}, "is for covariates"),
        ({"level": 2}, "disparity.level"),
    ],
)
def test_sections_that_do_not_fit(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        Study.from_toml(write(tmp_path, SECTION | change))


def test_a_study_without_the_section(tmp_path: Path) -> None:
    from rtmdx.disparity.assessment import assess

    with pytest.raises(InputError, match=r"no \[disparity\]"):
        assess(Study.from_dict(small_city.study()), data=tmp_path)
