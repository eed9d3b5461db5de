"""The selection under other folds beside culling and stepwise by hand; a run's stability from its study."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely

import small_city
from conftest import CRS, ORIGIN
from plain_refit import assert_same, fitted_terrain, same_refits, searched
from rtmdx.errors import Cancelled, FitError, InputError
from rtmdx.model.culling import cull
from rtmdx.model.folds import spatial_folds, stratified_folds
from rtmdx.runs.run import run
from rtmdx.runs.study import Study


@pytest.fixture(scope="module")
def plain():
    return fitted_terrain()


@pytest.mark.parametrize("exposed", [False, True])
def test_each_selection_is_culling_and_stepwise_with_its_folds(exposed: bool, plain) -> None:
    t, e = plain, None
    if exposed:
        e = 80.0 * np.random.default_rng(2).gamma(2.0, 1.0, plain.grid.n_cells)
        e[(plain.counts == 0) & (np.arange(len(e)) % 9 == 0)] = 0.0
        t = fitted_terrain(exposure=e)
    found = t.fold_stability(seeds=(3, 0), k=4)
    side = round(2 * 400.0 / 100.0)
    for kind, refits in found.refits.items():
        for i, seed in enumerate((3, 0)):
            folds = stratified_folds(t.counts, 4, seed=seed)
            if kind == "spatial":
                folds = spatial_folds(*t.grid.rows_cols, side, 4, seed=seed, offset=True)
            culling = cull(t.design, t.counts, folds, exposure=e, n_penalties=15)
            assert_same(refits[i], culling.selected, searched(t.design, t.counts, culling.selected, e))
            assert found.penalties[kind][i] == refits[i].penalty == culling.penalty
    everything = [r for refits in found.refits.values() for r in refits]
    for v in found.overall.variables:
        assert v.frequency == sum(v.column in r.columns for r in everything) / 4
    assert list(found.table["frequency"]) == pytest.approx(
        list((found.table["stratified"] + found.table["spatial"]) / 2)
    )


def test_neither_threads_nor_the_order_of_seeds_matter(plain) -> None:
    one, *others = [plain.fold_stability(seeds=(0, 1), threads=n) for n in (1, 2, 7)]
    for other in others:
        assert other.to_dict() == one.to_dict()
        for kind, refits in one.refits.items():
            same_refits(other.refits[kind], refits)
    turned = plain.fold_stability(seeds=(1, 0), kinds=("spatial", "stratified"), threads=2)
    for kind, refits in one.refits.items():
        same_refits(turned.refits[kind], [refits[i] for i in (1, 0)])
        frequencies = [[v.frequency for v in found.by_kind[kind].variables] for found in (one, turned)]
        assert frequencies[0] == frequencies[1]
    told: list[tuple[str, int, int]] = []
    plain.fold_stability(seeds=(0,), progress=lambda *a: told.append(a))
    assert told[0] == ("stability", 0, 2)
    assert told[-1] == ("stability", 2, 2)
    with pytest.raises(Cancelled):
        plain.fold_stability(seeds=(0, 1), cancel=lambda: True)


def test_selections_that_fail_are_kept_with_their_reason(plain) -> None:
    """Events in one block: shifted spatial folds may have them all on one side; stratified folds never do."""
    rows, cols = plain.grid.rows_cols
    t = replace(plain, counts=np.where((rows // 8 == 1) & (cols // 8 == 1), plain.counts + 1, 0))
    found = t.fold_stability(seeds=tuple(range(8)), kinds=("spatial",), k=2)
    failed = [r.error is not None for r in found.refits["spatial"]]
    for seed, refit in enumerate(found.refits["spatial"]):
        folds = spatial_folds(rows, cols, 8, 2, seed=seed, offset=True)
        alone = len(np.unique(folds[t.counts > 0])) == 1
        assert (refit.error is not None) == alone
    assert 0 < sum(failed) < 8
    assert np.isnan(found.penalties["spatial"]).tolist() == failed
    assert [p is None for p in found.to_dict()["penalties"]["spatial"]] == failed
    seed = failed.index(True)
    with pytest.raises(FitError, match="None of 1 selections with spatial folds could be fitted: All .* lie in fold"):
        t.fold_stability(seeds=(seed,), k=2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seeds": ()}, "seeds is"),
        ({"seeds": (1, 1)}, "seeds is"),
        ({"seeds": (-1,)}, "seeds is"),
        ({"kinds": ()}, "kinds is"),
        ({"kinds": ("district",)}, "kinds is"),
        ({"threads": 0}, "threads is 0"),
        ({"k": 1}, "k is 1"),
        ({"k": 500, "kinds": ("spatial",)}, "k is 500 but there are only"),
    ],
)
def test_bad_options(options: dict[str, Any], said: str, plain) -> None:
    with pytest.raises(InputError, match=said):
        plain.fold_stability(**{"seeds": (0,), **options})


def streets() -> gpd.GeoDataFrame:
    """Streets through every cell but those of the east fifth."""
    (x, y), side = ORIGIN, small_city.SIDE
    lines = [shapely.LineString([(x, y + a), (x + 0.8 * side, y + a)]) for a in np.arange(25.0, side, 50.0)]
    return gpd.GeoDataFrame(geometry=lines, crs=CRS)


def test_a_study_s_stability_has_the_run_s_exposure_and_folds() -> None:
    """Penalties chosen anew over repeated, shifted blocks: the same from the study and from its terrain."""
    names = {"boundary": "area", "events": "outcome"}
    layers = {names.get(k, k): v for k, v in small_city.frames().items()} | {"exposure": streets()}
    data = small_city.study(
        exposure={"measure": "length", "name": "Street length", "zero": "drop"},
        model={"n_penalties": 15, "folds": "spatial", "n_folds": 3, "fold_repeats": 2, "fold_offset": True},
        stability={"replicates": 3, "block": 5, "scheme": "half", "recull": True},
    )
    study = Study.from_dict({**data, "seed": 6, "holdout": None})
    t = run(study, layers=layers)
    found = t.resampled
    assert found is not None
    assert (found.block.length, found.scheme, found.recull, found.seed) == (500.0, "half", True, 6)
    assert t.exposure is not None
    assert (t.exposure.cells == 0).any()
    assert t.fold_plan is not None
    assert t.fold_plan.repeats == 2
    again = t.stability(3, block=500.0, scheme="half", recull=True, seed=6, threads=2)
    same_refits(found.refits, again.refits)
    blind = replace(t, exposure=None).stability(3, block=500.0, scheme="half", recull=True, seed=6)
    assert any(
        a.columns != b.columns or not np.array_equal(a.coefficients, b.coefficients)
        for a, b in zip(found.refits, blind.refits, strict=True)
    )


def test_folds_in_time_leave_the_penalty_as_it_is() -> None:
    names = {"boundary": "area", "events": "outcome"}
    layers = {names.get(k, k): v for k, v in small_city.frames().items()}
    data = small_city.study(model={"n_penalties": 15, "folds": "time"}, stability={"replicates": 2})
    t = run(Study.from_dict({**data, "holdout": None}), layers=layers)
    assert t.resampled is not None
    assert t.resampled.n_failed == 0
    with pytest.raises(InputError, match="cannot be made again"):
        t.stability(2, recull=True)
