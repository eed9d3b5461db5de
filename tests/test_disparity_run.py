"""A study's [disparity] in its run: report, run.json, terminal, and the findings it makes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from typer.testing import CliRunner

import rtmdx
import small_city
from conftest import CRS, ORIGIN
from rtmdx.cli import app
from rtmdx.disparity.assessment import Assessment, assess, begin
from rtmdx.disparity.exposure_chart import fifths
from rtmdx.disparity.group_exposure import exposure
from rtmdx.disparity.population import allocate
from rtmdx.errors import InputError
from rtmdx.model.terrain import RiskTerrain
from rtmdx.runs.findings import enforcement_findings
from rtmdx.runs.study import Study
from rtmdx.space.layers import Finding

EXPOSURE = {
    "layer": "tracts",
    "key": "tract",
    "groups": {"<Black>": "black", "White": "white"},
    "reference": "White",
    "margins": {"<Black>": "black_m", "White": "white_m"},
    "top": [0.05, 0.2],
}
TABLE = {"path": "force.csv", "reference": "White", "strata": ["year"], "outcome": "use of force"}


def tracts() -> gpd.GeoDataFrame:
    rng = np.random.default_rng(2)
    step = small_city.SIDE / 6
    boxes = [
        shapely.box(ORIGIN[0] + step * i, ORIGIN[1] + step * j, ORIGIN[0] + step * (i + 1), ORIGIN[1] + step * (j + 1))
        for i in range(6)
        for j in range(6)
    ]
    black, white = rng.integers(0, 900, 36), rng.integers(20, 900, 36)
    return gpd.GeoDataFrame(
        {"tract": np.arange(36), "black": black, "white": white, "black_m": 40.0, "white_m": 55.0},
        geometry=boxes, crs=CRS,
    )  # fmt: skip


def write(folder: Path, section: dict[str, Any], **changes: Any) -> Path:
    small_city.write(folder, {**small_city.frames(), "tracts": tracts()})
    rows = [(g, y, n, m) for g, n, m in (("Black", 90, 5000), ("White", 40, 6000)) for y in (2018, 2019)]
    pd.DataFrame(rows, columns=["group", "year", "events", "residents"]).to_csv(folder / "force.csv", index=False)
    head = {k: v for k, v in section.items() if k != "exposure"}
    exposed = section.get("exposure")
    text = small_city.toml(small_city.study(**changes)) + "\n[disparity]\n"
    text += "\n".join(f"{k} = {json.dumps(v)}" for k, v in head.items())
    if exposed is not None:
        text += "\n[disparity.exposure]\n"
        for k, v in exposed.items():
            pairs = ", ".join(f"{json.dumps(a)} = {json.dumps(b)}" for a, b in v.items()) if isinstance(v, dict) else ""
            text += f"{k} = {{ {pairs} }}\n" if pairs else f"{k} = {json.dumps(v)}\n"
    (folder / "study.toml").write_text(text, encoding="utf-8")
    return folder / "study.toml"


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "160"})


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, in ``out`` beside its study."""
    folder = tmp_path_factory.mktemp("run")
    study = write(folder, {**TABLE, "exposure": EXPOSURE})
    done = invoke("run", str(study), "--out", str(folder / "out"))
    assert done.exit_code == 0, done.output
    (folder / "said.txt").write_text(done.stdout, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def terrain(city: Path) -> RiskTerrain:
    return rtmdx.run(Study.from_toml(city / "study.toml"), data=city)


@pytest.fixture(scope="module")
def found(city: Path, terrain: RiskTerrain) -> Assessment:
    return assess(Study.from_toml(city / "study.toml"), data=city, terrain=terrain)


def test_run_json_holds_what_the_functions_give(city: Path, terrain: RiskTerrain, found: Assessment) -> None:
    held = json.loads((city / "out" / "run.json").read_text(encoding="utf-8"))["disparity"]
    assert held == json.loads(json.dumps(found.section().data))
    people = allocate(
        tracts(), EXPOSURE["groups"], terrain.grid, key="tract", margins=EXPOSURE["margins"]
    )  # fmt: skip
    expected = exposure(terrain, people, reference="White", top=EXPOSURE["top"])
    assert held["exposure"] == {**json.loads(json.dumps(expected.to_dict())), "curve": held["exposure"]["curve"]}
    curve = held["exposure"]["curve"]
    assert [c["group"] for c in curve] == ["<Black>", "White"]
    assert curve[0]["share_of_group"][-1] == 1.0
    assert held["rates"]
    assert len(held["heterogeneity"]) == 1


def test_the_report_has_the_section_once_and_escaped(city: Path, found: Assessment) -> None:
    page = (city / "out" / "report.html").read_text(encoding="utf-8")
    assert page.count('<section id="disparity">') == 1
    assert page.count('href="#disparity"') == 1
    own = page.split('<section id="disparity">')[1].split("</section>")[0]
    assert found.section().markup in own
    assert "<Black>" not in own
    assert "&lt;Black&gt;" in own
    for part in own.split("<svg")[1:]:
        ElementTree.fromstring("<svg" + part.split("</svg>")[0] + "</svg>")
    for said in (
        "Who bears the burden",
        "Rates",
        "Do the strata agree?",
        "Which denominator?",
        "In the top 5 % of cells",
    ):
        assert said in own, said
    tables = [ElementTree.fromstring("<table>" + t.split("</table>")[0] + "</table>") for t in own.split("<table>")[1:]]
    cells = [[["".join(c.itertext()) for c in row] for row in t.iter("tr")] for t in tables]
    assert [len(rows) for rows in cells] == [3, 2, 3]  # a row a group under the head; the reference has no ratio
    assert cells[0][0][:4] == ["Group", "Events", "Residents", "Rate per 1,000 residents"]
    assert [row[:3] for row in cells[0][1:]] == [["Black", "180", "10,000"], ["White", "80", "12,000"]]
    assert cells[1][0][:2] == ["Ratio to White", "Pooled"]
    assert cells[1][1][:2] == ["Black", "2.70"]
    assert "<h2>" not in own.split("</h2>", 1)[1]
    # the page of `rtmdx disparity` is the same content, a heading higher
    assert found.section().markup.replace("h3>", "h2>") in found.to_html()


def test_the_terminal_tells_it_and_inspect_repeats_it(city: Path, found: Assessment) -> None:
    said = (city / "said.txt").read_text(encoding="utf-8")
    for part in ("Rate per 1,000 residents", "Who lives where the landscape is risky", "Top 5 %", "80 to 100 %",
                 "disparity, outcome 'use of force'", "delta method"):  # fmt: skip
        assert part in said, part
    told = invoke("inspect", str(city / "out"))
    assert told.exit_code == 0, told.output
    flat = " ".join(told.stdout.split())
    for sentence in found.sentences():
        assert " ".join(sentence.split()) in flat, sentence


def test_fifths_are_rises_of_the_curve(found: Assessment) -> None:
    assert found.exposure is not None
    shares = fifths(found.exposure)
    assert list(shares) == ["<Black>", "White"]
    means: Any = found.exposure.means
    residents = {m.group: m.residents for m in means}
    for values in shares.values():
        assert sum(values) == pytest.approx(1.0)
    everyone = sum(np.array(v) * residents[g] for g, v in shares.items()) / sum(residents.values())
    np.testing.assert_allclose(everyone, 0.2)


def test_exposure_alone_by_its_own_command(city: Path, tmp_path: Path) -> None:
    study = write(tmp_path, {"exposure": EXPOSURE})
    done = invoke("disparity", str(study), "--out", str(tmp_path / "out"), "--quiet")
    assert done.exit_code == 0, done.output
    held = json.loads((tmp_path / "out" / "disparity.json").read_text(encoding="utf-8"))
    assert (
        held["exposure"] == json.loads((city / "out" / "run.json").read_text(encoding="utf-8"))["disparity"]["exposure"]
    )
    assert held["rates"] == []
    page = (tmp_path / "out" / "disparity.html").read_text(encoding="utf-8")
    assert "Small city: exposure by group" in page
    assert page.count("<svg") == 1
    shown = invoke("disparity", str(study))
    assert "Residents by risk" in shown.stdout
    assert "Rate per" not in shown.stdout


def test_without_a_terrain_it_says_what_to_do(city: Path) -> None:
    begun = begin(Study.from_toml(city / "study.toml"), data=city)
    assert begun.found.comparison is not None
    with pytest.raises(InputError, match=r"needs its terrain\. Give terrain="):
        begun.finish()


@pytest.mark.parametrize("command", ["run", "check", "disparity"])
def test_mistakes_are_told_before_anything_is_computed(tmp_path: Path, command: str) -> None:
    study = write(tmp_path, {"exposure": {**EXPOSURE, "groups": {"<Black>": "blacks", "White": "white"}}})
    out = [] if command == "check" else ["--out", str(tmp_path / "out")]
    done = invoke(command, str(study), *out)
    assert done.exit_code == 2
    assert "disparity.exposure: no column 'blacks'" in " ".join(done.stderr.split())
    assert "Culling" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_section_changes_neither_model_nor_id(city: Path, tmp_path: Path) -> None:
    plain = Study.from_dict(small_city.study())
    assert Study.from_toml(city / "study.toml").id == plain.id
    small_city.write(tmp_path)
    (tmp_path / "study.toml").write_text(small_city.toml(small_city.study()))
    done = invoke("run", str(tmp_path / "study.toml"), "--out", str(tmp_path / "out"), "--json")
    assert done.exit_code == 0, done.output
    alone, held = json.loads(done.stdout), json.loads((city / "out" / "run.json").read_text(encoding="utf-8"))
    assert "disparity" not in alone
    assert alone["model"] == held["model"]
    assert 'id="disparity"' not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_simulation_and_dasymetric_allocation_by_option(tmp_path: Path, terrain: RiskTerrain) -> None:
    section = {**EXPOSURE, "allocation": "dasymetric", "mask": {"layer": "parks"}, "model_draws": True, "draws": 20}
    write(tmp_path, {"exposure": section})
    study = Study.from_toml(tmp_path / "study.toml")
    found = assess(study, data=tmp_path, terrain=terrain)
    assert found.exposure is not None
    mean: Any = found.exposure.means[0]
    assert mean.method == "census margins and model coefficients, 20 simulations"
    assert mean.allocation == "dasymetric"
    assert mean.low < mean.estimate < mean.high


def test_exposure_to_a_terrain_of_police_activity_says_so(city: Path, terrain: RiskTerrain, found: Assessment) -> None:
    said = "exposure to it is exposure to where police acted"
    assert not any(said in s for s in found.sentences())
    made = replace(terrain, findings=(Finding("enforcement", "outcome 'stops'", "made by enforcement"),))
    told = assess(Study.from_toml(city / "study.toml"), data=city, terrain=made)
    assert sum(said in s for s in told.sentences()) == 1
    assert said in told.to_html()


@pytest.mark.parametrize(
    ("change", "made"),
    [
        ({"outcome": "use of force"}, True),
        ({"events": "vehicle_stops"}, True),
        ({"outcome": "Drug arrests"}, True),
        ({"outcome": "force"}, True),
        ({"outcome": "deaths"}, False),
        ({"outcome": "workforce injuries"}, False),
        ({"outcome": "deaths", "enforcement": True}, True),
        ({"outcome": "bus stops", "enforcement": False}, False),
    ],
)
def test_a_compared_outcome_made_by_enforcement_is_a_finding(change: dict[str, Any], made: bool) -> None:
    section = {"path": "force.csv", "reference": "White", **change}
    found = enforcement_findings(Study.from_dict(small_city.study(disparity=section)))
    assert [f.code for f in found] == (["disparity-enforcement"] if made else [])
    if made:
        assert "rates of offending" in found[0].message
        assert "disparity" in found[0].where


def test_the_modelled_outcome_can_be_told_to_be_none() -> None:
    outcome = small_city.study()["outcome"]
    named = Study.from_dict(small_city.study(outcome={**outcome, "name": "Drug deaths"}))
    assert [f.code for f in enforcement_findings(named)] == ["enforcement"]
    told = Study.from_dict(small_city.study(outcome={**outcome, "name": "Drug deaths", "enforcement": False}))
    assert enforcement_findings(told) == []
    assert told.id == named.id
    exposed = {"exposure": {**EXPOSURE, "path": "city.gpkg"}}  # no table: nothing is compared
    assert enforcement_findings(Study.from_dict(small_city.study(disparity=exposed))) == []
