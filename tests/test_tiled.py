"""Runs by tiles: model, scores and expected counts of the whole, to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import small_city
from rtmdx.errors import Cancelled, InputError, OutputError
from rtmdx.model.columns import block_moments, density_threshold
from rtmdx.model.folds import BlockFolds, spatial_folds
from rtmdx.model.terrain import RiskTerrain
from rtmdx.runs.run import fit, load
from rtmdx.runs.study import Study
from rtmdx.sweep.tiled import TiledTerrain, run_tiled

SPATIAL = {"n_penalties": 20, "folds": "spatial"}


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("city")
    small_city.write(folder)
    return folder


def study(cell: float, **changes: Any) -> Study:
    return Study.from_dict(
        small_city.study(**{"grid": {"block_length": 100.0, "cell_size": cell}, "model": SPATIAL, **changes})
    )


def whole(s: Study, city: Path) -> RiskTerrain:
    inputs, _ = load(s, data=city)
    return fit(s, inputs, threads=2)


def same(tiled: TiledTerrain, terrain: RiskTerrain) -> bool:
    data = tiled.open()
    model, other = tiled.selection.model, terrain.selection.model
    outside = ~terrain.grid.mask
    return (
        tiled.variables == tuple(v.name for v in terrain.design.variables)
        and tiled.culling.coefficients.tobytes() == terrain.culling.coefficients.tobytes()
        and [p.cv_deviance.tobytes() for p in tiled.culling.paths]
        == [p.cv_deviance.tobytes() for p in terrain.culling.paths]
        and tiled.selection.trace == terrain.selection.trace
        and model.parameters.tobytes() == other.parameters.tobytes()
        and data.score.values[terrain.grid.mask].tobytes() == terrain.score_cells.tobytes()
        and data.expected.values[terrain.grid.mask].tobytes() == terrain.expected_cells.tobytes()
        and bool(np.isnan(data.score.values[outside]).all())
        and (tiled.n_cells, tiled.n_events) == (terrain.grid.n_cells, int(terrain.counts.sum()))
    )


def small_blocks(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Blocks of so many cells, so that a small city has many tiles."""
    monkeypatch.setattr("rtmdx.model.columns.BLOCK", size)
    monkeypatch.setattr("rtmdx.sweep.tiled.BLOCK", size)
    monkeypatch.setattr("rtmdx.space.zarr_store.CHUNK", size)


@pytest.mark.parametrize("tile", [16, 48, 4096])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model": {**SPATIAL, "fold_offset": True, "exchange": True, "families": ["poisson", "nbii", "nb2"]}},
        {"factors": [{"name": "bars", "max_influence": 5, "force": True}, {"name": "parks", "effect": "protective"}]},
    ],
)
def test_any_tiles_give_the_bits_of_the_whole(
    city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tile: int, changes: dict[str, Any]
) -> None:
    small_blocks(monkeypatch, 16)
    s = study(25.0, **changes)
    terrain = whole(s, city)
    told: list[tuple[str, int, int]] = []
    tiled = run_tiled(s, tmp_path / "out.zarr", data=city, tile=tile, workers=2, progress=lambda *a: told.append(a))
    assert same(tiled, terrain)
    assert {t[0] for t in told} == {"layers", "thresholds", "codes", "culling", "stepwise", "scores"}
    assert all(done <= total for _, done, total in told)


def test_tiles_of_whole_blocks_of_the_real_size(city: Path, tmp_path: Path) -> None:
    """More than one block of 1024 cells each way, two workers."""
    s = study(2.0)
    tiled = run_tiled(s, tmp_path / "out.zarr", data=city, tile=1024, workers=2)
    assert tiled.n_tiles == 4
    inputs, _ = load(s, data=city)
    assert same(tiled, fit(s, inputs, threads=2, model_only=True))


def test_tiles_without_kept_cells_are_left_out(city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_blocks(monkeypatch, 16)
    layers = small_city.frames()
    layers["boundary"] = layers["boundary"].set_geometry(layers["boundary"].buffer(-200).difference(
        layers["parks"].union_all().buffer(500)))  # fmt: skip
    given = {"area": layers["boundary"]}
    s = study(25.0)
    inputs, _ = load(s, data=city, layers=given)
    tiled = run_tiled(s, tmp_path / "out.zarr", data=city, layers=given, tile=16, workers=3)
    rows, cols = inputs.grid.shape
    assert tiled.n_tiles < -(-rows // 16) * -(-cols // 16)
    assert same(tiled, fit(s, inputs, threads=2, model_only=True))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 9), st.integers(2, 4), st.booleans())
def test_folds_by_block_are_those_by_cell(seed: int, block: int, k: int, offset: bool) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random(tuple(rng.integers(8, 40, 2))) < rng.choice([0.05, 0.5, 1.0])
    rows, cols = np.nonzero(mask)
    try:
        expected = spatial_folds(rows, cols, block, k, seed=seed, offset=offset)
    except InputError:
        with pytest.raises(InputError):
            BlockFolds.deal(mask, block, k, seed=seed, offset=offset)
        return
    assert np.array_equal(BlockFolds.deal(mask, block, k, seed=seed, offset=offset).of(rows, cols), expected)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.floats(-6, 6))
def test_moments_by_block_are_those_of_all_values(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    raster = rng.gamma(0.5, 10.0**scale, tuple(rng.integers(1, 1300, 2)))
    mask = rng.random(raster.shape) < 0.7
    values = raster[mask]
    if values.size < 2:
        return
    found = density_threshold(block_moments(raster, mask))
    assert found == pytest.approx(values.mean() + 2 * values.std(ddof=1), rel=1e-12)


def test_the_index_of_a_cell_by_counting_is_that_of_the_raster(monkeypatch: pytest.MonkeyPatch, city: Path) -> None:
    inputs, _ = load(study(25.0), data=city)
    grid, rng = inputs.grid, np.random.default_rng(0)
    west, south, east, north = grid.bounds
    x, y = rng.uniform(west - 50, east + 50, 4000), rng.uniform(south - 50, north + 50, 4000)
    expected = grid.cell_of(x, y)
    monkeypatch.setattr("rtmdx.space.grid._INDEXED", 0)
    assert np.array_equal(grid.cell_of(x, y), expected)
    assert (expected < 0).any()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": {"n_penalties": 20}}, "model.folds is 'stratified'"),
        ({"model": {**SPATIAL, "fold_repeats": 2}}, "fold_repeats is 2"),
        ({"exposure": {"path": "city.gpkg", "layer": "roads", "measure": "length"}}, "has an exposure"),
    ],
)
def test_what_needs_all_cells_is_refused(city: Path, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        run_tiled(study(25.0, **changes), tmp_path / "out.zarr", data=city)
    assert not (tmp_path / "out.zarr").exists()


def test_bad_arguments_and_places(city: Path, tmp_path: Path) -> None:
    for name in ("workers", "tile"):
        for wrong in (0, -1, 1.5, "many"):
            with pytest.raises(InputError, match=name):
                run_tiled(study(25.0), tmp_path / "out.zarr", data=city, **{name: wrong})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="expected a Study"):
        run_tiled("study.toml", tmp_path / "out.zarr")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="layers: found int"):
        run_tiled(study(25.0), tmp_path / "out.zarr", layers=3)  # type: ignore[arg-type]
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "letter.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputError):
            run_tiled(study(25.0), tmp_path / "taken", data=city, overwrite=overwrite)
    assert (tmp_path / "taken" / "letter.txt").read_text() == "mine"


@pytest.mark.parametrize("stage", ["layers", "thresholds", "codes", "culling", "stepwise", "scores"])
def test_a_cancel_in_any_stage_leaves_nothing(city: Path, tmp_path: Path, stage: str) -> None:
    reached: list[str] = []
    with pytest.raises(Cancelled):
        run_tiled(
            study(25.0), tmp_path / "out.zarr", data=city, workers=2,
            progress=lambda name, *_: reached.append(name), cancel=lambda: stage in reached,
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_the_store_says_what_it_holds(city: Path, tmp_path: Path) -> None:
    s = study(25.0)
    tiled = run_tiled(s, tmp_path / "out.zarr", data=city)
    about = zarr.open_group(tmp_path / "out.zarr", mode="r").attrs["rtmdx"]
    assert about["n_cells"] == tiled.n_cells
    assert [v["variable"] for v in about["variables"]] == [v.name for v in tiled.selection.model.variables]
    assert about["study"]["name"] == "Small city"
    data = tiled.open()
    assert data.score.dtype == np.float64
    assert float(data.score.min()) == 1.0
    run_tiled(s, tmp_path / "out.zarr", data=city, overwrite=True)
