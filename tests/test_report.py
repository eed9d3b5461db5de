"""The report: one file, loads nothing, holds every figure, and copes with odd terrains."""

from __future__ import annotations

import builtins
import html
import io
import re
import struct
import zlib
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtmdx.errors import MissingDependencyError, OutputError
from rtmdx.model.terrain import RiskTerrain
from rtmdx.report import maps, numbers, write_report
from rtmdx.space.layers import Finding
from terrain_fixture import make_terrain, nothing_found, with_findings

pytest.importorskip("jinja2", reason="Jinja (the report extra) is not installed")


@pytest.fixture(scope="module")
def terrain() -> RiskTerrain:
    return make_terrain()


@pytest.fixture(scope="module")
def page(terrain: RiskTerrain, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(terrain, path)
    return path.read_text(encoding="utf-8")


def written(terrain: RiskTerrain, folder: Path) -> str:
    write_report(terrain, folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


def said(page: str) -> str:
    """The text a reader sees, spaces joined."""
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", body))).replace("\u00a0", " ")


class Tree(HTMLParser):
    """Checks that tags close in order; collects tags with attributes."""

    VOID = frozenset({"meta", "br", "hr", "img", "input", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


def tree(page: str) -> Tree:
    parser = Tree()
    parser.feed(page)
    parser.close()
    assert not parser.open
    return parser


def test_loads_nothing_and_runs_nothing(page: str) -> None:
    assert not re.search(r"(https?:)?//[a-z0-9-]+\.[a-z]", page.replace("application/", ""), re.IGNORECASE)
    assert "<script" not in page
    assert "url(" not in page
    assert "@import" not in page
    for tag, attrs in tree(page).seen:
        for key in ("src", "href", "xlink:href", "action", "data"):
            value = attrs.get(key)
            assert value is None or value.startswith(("#", "data:image/png;base64,")), (tag, value)
        assert not any(key.startswith("on") for key in attrs), (tag, attrs)
    assert "default-src 'none'" in page


def test_is_well_formed_and_accessible(page: str) -> None:
    seen = tree(page).seen
    assert ("html", {"lang": "en"}) in seen
    assert any(tag == "meta" and a.get("name") == "viewport" for tag, a in seen)
    assert [tag for tag, _ in seen if tag == "h1"] == ["h1"]
    for tag, attrs in seen:
        if tag == "svg":
            assert attrs.get("aria-hidden") == "true" or (attrs.get("role") == "img" and attrs.get("aria-label"))
        if tag == "th":
            assert attrs.get("scope"), attrs
    ids = [a["id"] for _, a in seen if "id" in a]
    assert len(ids) == len(set(ids))
    links = [a.get("href") or "" for _, a in seen]
    targets = {href[1:] for href in links if href.startswith("#")}
    assert targets <= set(ids)


def test_holds_the_figures(page: str, terrain: RiskTerrain) -> None:
    text = said(page)
    n = int(terrain.counts.sum())
    for wanted in (
        terrain.title,
        f"{n:,} events of “Street robbery”",
        f"{n + 14:,} events read, {n:,} kept, 14 left out (11 outside the study area; 3 no date)",
        f"{terrain.grid.n_cells:,} of 100 m × 100 m",
        "NAD83 / UTM zone 15N (EPSG:26915)",
        "Mean block length 200 m",
        "EPSG:26915",
        "1 no geometry; 1 mended",
        "100 to 400 m in 4 steps (2 blocks)",
        "half block",
        "at least 20 needed",
        "Negative binomial (NBII)",
        "log s",
        "95 % interval",
        "neighbouring cells resemble each other",
        "Exp(",
        "What it is not for",
        "0123456789abcdef",
        "2026-01-02T03:04:05+00:00",
        "gcc 12.2.0",
    ):
        assert wanted in text, wanted
    for row in terrain.table.itertuples():
        assert numbers.number(row.rrv) in text
        assert numbers.span(row.rrv_low, row.rrv_high) in text
    for m in terrain.selection.models.values():
        assert f"{m.bic:,.1f}" in text
    for v in terrain.design.variables:
        assert v.name in text
    for digest in (f.cleaning.digest for f in terrain.factors):
        assert digest in text


def test_ties_and_baselines_stand_side_by_side(page: str, terrain: RiskTerrain) -> None:
    text = said(page)
    for v in (*terrain.holdout, *terrain.fitted):
        assert f"AUC {numbers.number(v.auc)}" in text
        for t in v.top:
            assert numbers.bounds(t.events.lowest, t.events.expected, t.events.highest, whole=True) in text
            assert numbers.bounds(t.pai.lowest, t.pai.expected, t.pai.highest) in text


def test_says_plainly_when_a_baseline_wins(tmp_path: Path, terrain: RiskTerrain) -> None:
    from dataclasses import replace

    worse, better = terrain.holdout[1], terrain.holdout[0]
    swapped = replace(terrain, holdout=(replace(worse, name="Risk terrain"), replace(better, name="Past counts")))
    text = said(written(swapped, tmp_path))
    assert "A simpler score captures more of the held-out events" in text
    t, b = worse.top[1].events.expected, better.top[1].events.expected
    assert f"{round(b):,} against {round(t):,} in the top 5 %" in text
    assert "not as the sharpest forecast" in text


def test_a_protective_factor_is_explained(page: str, terrain: RiskTerrain) -> None:
    text = said(page)
    parks = terrain.table.set_index("factor").loc["parks"]
    assert "Reading a protective factor" in text
    assert f"{numbers.number(parks.presence_ratio)} times" in text
    assert numbers.span(1 / parks.rrv_high, 1 / parks.rrv_low) in text


def test_no_word_of_protection_without_a_protective_factor(tmp_path: Path) -> None:
    text = said(written(make_terrain(effect="aggravating"), tmp_path))
    assert "protective" not in text


def test_findings_and_enforcement_stand_at_the_top(tmp_path: Path, terrain: RiskTerrain) -> None:
    enforcement = Finding("enforcement", "outcome", "This outcome is made <i>partly</i> by & through enforcement.")
    other = Finding("one-coordinate", "outcome 'robbery'", "120 of 900 events share the coordinate (1.0, 2.0).")
    page = written(with_findings(terrain, enforcement, other), tmp_path)
    text = said(page)
    assert enforcement.message in text
    assert "<i>partly" not in page
    assert text.index(enforcement.message) < text.index(other.message) < text.index("Classes of the score")
    assert text.count(other.message) == 1


def test_text_from_the_study_is_escaped(tmp_path: Path) -> None:
    page = written(make_terrain(title='<script>alert("x")</script> & "co"'), tmp_path)
    assert "<script" not in page
    assert '<script>alert("x")</script> & "co"' in html.unescape(page)
    tree(page)


@pytest.mark.parametrize(
    "options",
    [
        {"rows": 1, "cols": 40},
        {"rows": 40, "cols": 1},
        {"rows": 1, "cols": 1},
        {"selected": False},
        {"selected": False, "holdout": False, "family": "poisson"},
        {"holdout": False},
        {"holdout_events": False},
        {"family": "poisson"},
        {"family": "nb2"},
        {"crs": "EPSG:2276", "cell": 330.0},
    ],
    ids=str,
)
def test_odd_terrains(options: dict[str, Any], tmp_path: Path) -> None:
    page = written(make_terrain(**options), tmp_path)
    tree(page)
    text = said(page)
    for nonsense in ("nan", "None(?! of)", "inf", "Infinity"):
        assert not re.search(rf"\b{nonsense}\b(?!:)", text), nonsense
    if not options.get("selected", True):
        assert "No variable entered the model" in text
        assert "This is a result, not an error" in text
    if not options.get("holdout", True):
        assert "No events were held out" in text
    if not options.get("holdout_events", True):
        assert "No event of this period" in text
    if options.get("crs"):
        assert "ft" in text
        assert "sq mi" in text


def test_nothing_found_has_no_bands(tmp_path: Path) -> None:
    text = said(written(nothing_found(), tmp_path))
    assert "Here every cell has the same score" in text
    assert "Risk bands" not in text


def test_a_large_grid_is_thinned_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "_IMAGE_SIDE", 30)
    page = written(make_terrain(), tmp_path)
    assert "Each spot of the map is the mean of 3 × 3 cells" in said(page)
    assert "Each spot of the map is the highest of 3 × 3 cells" in said(page)


def test_a_large_city_is_a_small_file(page: str) -> None:
    assert len(page) < 400_000


def test_the_same_terrain_gives_the_same_bytes(terrain: RiskTerrain, page: str, tmp_path: Path) -> None:
    assert written(terrain, tmp_path) == page


def test_refuses_to_overwrite_unless_told(terrain: RiskTerrain, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        write_report(terrain, path)
    assert path.read_text() == "mine"
    terrain.report(path, overwrite=True)
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    with pytest.raises(OutputError, match="does not exist"):
        write_report(terrain, tmp_path / "nowhere" / "report.html")


def test_a_failed_write_leaves_nothing(terrain: RiskTerrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(self: Path, text: str, **_: Any) -> None:
        self.write_bytes(text[:100].encode())
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OutputError, match="No space left"):
        write_report(terrain, tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def test_missing_jinja_names_the_extra(terrain: RiskTerrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "jinja2":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match=r"pip install 'rtmdx\[report\]'"):
        write_report(terrain, tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------- parts


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1.0, "1.00"), (9.999, "10.0"), (1189.4, "1,190"), (12345678.0, "12,300,000"), (-2.5, "−2.50"),
     (0.012345, "0.0123"), (1.234e-7, "1.23e−07"), (float("nan"), "–"), (float("inf"), "∞"), (None, "–")],
)  # fmt: skip
def test_number(value: float | None, text: str) -> None:
    assert numbers.number(value) == text


def test_percent_and_bounds() -> None:
    assert numbers.percent(0.4217).replace("\u00a0", " ") == "42.2 %"
    assert numbers.percent(0.00042).replace("\u00a0", " ") == "0.042 %"
    assert numbers.percent(1e-7).replace("\u00a0", " ") == "< 0.001 %"
    assert numbers.percent(1.0).replace("\u00a0", " ") == "100 %"
    assert numbers.percent(float("nan")) == "–"
    assert numbers.bounds(1, 2.5, 4, whole=True) == "2.5 (1 to 4)"
    assert numbers.bounds(3, 3, 3, whole=True) == "3"
    assert numbers.bounds(float("nan"), 1, 2) == "–"


def _luminance(color: str) -> float:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colors", [maps.RISK, maps.COUNTS])
def test_colours_can_be_ordered_without_seeing_colour(colors: tuple[str, ...]) -> None:
    for n in (len(colors), 10):
        light = [_luminance(c) + 0.05 for c in maps.ramp(colors, n)]
        assert all(a / b > 1.1 for a, b in pairwise(light))


def test_class_breaks() -> None:
    few, exact = maps.class_breaks(np.array([1.0, 2.2, 2.2, 4.84]))
    assert exact
    np.testing.assert_array_equal(few, [1, 2.2, 4.84])
    rng = np.random.default_rng(0)
    for top in (1.5, 3.0, 14.0, 190.0, 1200.0, 1e6, 1e12):
        values = np.concatenate([[1.0, top], np.exp(rng.uniform(0, np.log(top), 500))])
        lower, exact = maps.class_breaks(values)
        assert not exact
        assert lower[0] == 1.0
        assert 3 <= len(lower) <= 7
        assert (np.diff(lower) > 0).all()
        filled = np.histogram(values, [*lower, np.inf])[0]
        assert (filled > 0).all()


@pytest.mark.parametrize(
    ("width", "unit", "label"),
    [
        (8000.0, "m", "2 km"),
        (900.0, "m", "200 m"),
        (40000.0, "ft", "2 mi"),
        (9000.0, "ft", "2000 ft"),
        (77.0, "furlong", "20 furlong"),
    ],
)
def test_scale_bar(width: float, unit: str, label: str) -> None:
    bar = maps.nice_scale(width, unit)
    assert bar.label == label
    value, name = label.split()
    per = {"km": 1000.0, "mi": 5280.0}.get(name, 1.0)
    assert bar.share * width == pytest.approx(float(value) * per)


@pytest.mark.parametrize("n_colors", [3, 20])
def test_png_pixels(n_colors: int) -> None:
    index = np.arange(15, dtype=np.uint8).reshape(3, 5) % n_colors
    colors = [None, *maps.ramp(maps.RISK, n_colors - 1)]
    data = maps.palette_png(index, colors, 3)
    image = pytest.importorskip("PIL.Image").open(io.BytesIO(data))
    pixels = np.asarray(image.convert("RGBA"))
    assert pixels.shape == (9, 15, 4)
    for r, c in np.ndindex(3, 5):
        block = pixels[3 * r : 3 * r + 3, 3 * c : 3 * c + 3].reshape(-1, 4)
        assert len(np.unique(block, axis=0)) == 1
        color = colors[index[r, c]]
        assert block[0, 3] == (0 if color is None else 255)
        if color is not None:
            assert "#" + "".join(f"{v:02x}" for v in block[0, :3]) == color
    assert b"tIME" not in data
    assert struct.unpack(">I", data[8:12])[0] == 13
    assert zlib.crc32(data[12:29]) == struct.unpack(">I", data[29:33])[0]


def test_outline_follows_the_cell_edges(terrain: RiskTerrain) -> None:
    canvas = maps.Canvas(terrain.grid)
    total = sum(float(v) for v in re.findall(r"[hv]([\d.]+)", canvas.outline)) / canvas.unit
    mask = np.pad(terrain.grid.mask, 1).astype(int)
    edges = np.abs(np.diff(mask, axis=0)).sum() + np.abs(np.diff(mask, axis=1)).sum()
    assert total == pytest.approx(edges, rel=0.01)


def test_features_are_drawn_where_they_are(terrain: RiskTerrain) -> None:
    canvas = maps.Canvas(terrain.grid)
    kinds = [set(canvas.features(f.geometries)) for f in terrain.factors]
    assert kinds == [{"points"}, {"points"}, {"lines"}, {"polygons"}]
    drawn = canvas.features(terrain.factors[0].geometries)["points"]
    xy = np.array(re.findall(r"M(\d+) (\d+)h0", drawn), dtype=float)
    assert xy[:, 0].max() <= canvas.width + 1
    west, _, _, north = terrain.grid.bounds
    back = np.column_stack(
        [west + xy[:, 0] / canvas.unit * terrain.grid.dx, north - xy[:, 1] / canvas.unit * terrain.grid.dx]
    )
    real = np.array([(g.x, g.y) for g in terrain.factors[0].geometries])
    away = np.hypot(back[:, None, 0] - real[:, 0], back[:, None, 1] - real[:, 1]).min(axis=1)
    assert away.max() < 3 * terrain.grid.dx / canvas.unit
