"""Frames, memory asked for before it is taken, progress, and rasters streamed window by window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import rtmdx
from rtmdx import Features, Frame, density_array, distance_array
from rtmdx.errors import Cancelled, CRSError, InputError, MemoryLimitError, OutputError
from rtmdx.space import memory
from rtmdx.space.grid import Grid

CRS = "EPSG:26915"
PLACES = np.random.default_rng(3).uniform(0, 26_000, (400, 2))


def frame(rows: int = 2100, cols: int = 1500, size: float = 10.0) -> Frame:
    return Frame(CRS, 1_000.0, 24_000.0, size, size, (rows, cols))


def test_a_frame_of_ten_thousand_million_cells_costs_nothing() -> None:
    huge = Frame(CRS, 0.0, 1e5, 1.0, 1.0, (100_000, 100_000))
    assert huge.size == 10**10
    assert sum(h * w for _, _, h, w in huge.windows(4096)) == huge.size
    assert len(list(huge.windows(4096))) == 25**2
    assert "100000 x 100000" in repr(huge)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"crs": None}, CRSError, "no coordinate reference system"),
        ({"crs": "EPSG:4326"}, CRSError, "geographic"),
        ({"crs": "nonsense"}, CRSError, "EPSG"),
        ({"dx": 0.0}, InputError, "dx is 0.0"),
        ({"dy": float("nan")}, InputError, "dy is nan"),
        ({"x_min": float("inf")}, InputError, "must be finite"),
        ({"shape": (-1, 5)}, InputError, "two whole numbers of 0 or more"),
    ],
)
def test_a_frame_that_cannot_be(change: dict[str, Any], error: type[Exception], said: str) -> None:
    good = {"crs": CRS, "x_min": 0.0, "y_max": 0.0, "dx": 1.0, "dy": 1.0, "shape": (2, 2)}
    with pytest.raises(error, match=said):
        Frame(**{**good, **change})


def test_a_frame_from_bounds_covers_them() -> None:
    f = Frame.from_bounds((0, 0, 105, 95), CRS, 10)
    assert f.shape == (10, 11)
    assert f.bounds == (0.0, -5.0, 110.0, 95.0)
    with pytest.raises(InputError, match="west < east"):
        Frame.from_bounds((5, 0, 5, 10), CRS, 10)


def test_a_grid_is_a_frame_with_a_mask() -> None:
    mask = np.ones((3, 4), dtype=bool)
    mask[0, 0] = False
    grid = Grid(CRS, 0.0, 30.0, 10.0, mask)
    assert isinstance(grid, Frame)
    assert (grid.dx, grid.dy, grid.cell_size, grid.shape) == (10.0, 10.0, 10.0, (3, 4))
    assert np.isnan(rtmdx.distance(PLACES, grid).values[0, 0])
    bare = Frame(CRS, 0.0, 30.0, 10.0, 10.0, (3, 4))
    whole = rtmdx.distance(PLACES, bare).values
    np.testing.assert_array_equal(whole[mask], rtmdx.distance(PLACES, grid).values[mask])
    assert np.isfinite(whole).all()


def test_a_window_has_the_coordinates_of_the_whole() -> None:
    f = frame(30, 40)
    whole = rtmdx.distance(PLACES, f)
    part = rtmdx.distance(PLACES, f, window=(5, 7, 10, 12))
    xr.testing.assert_identical(part.drop_vars("spatial_ref"), whole[5:15, 7:19].drop_vars("spatial_ref"))
    left, width, _, top, _, height = map(float, part.spatial_ref.attrs["GeoTransform"].split())
    assert (left, width, top, height) == (1_070.0, 10.0, 23_950.0, -10.0)


def test_an_array_that_memory_cannot_hold_is_refused_with_the_figure() -> None:
    huge = Frame(CRS, 0.0, 1e6, 1.0, 1.0, (1_000_000, 1_000_000))
    with pytest.raises(MemoryLimitError, match=r"1,000,000 x 1,000,000: needs 4,000\.0 GB") as caught:
        distance_array(PLACES, huge)
    assert "window" in str(caught.value.hint)
    with pytest.raises(MemoryLimitError, match=r"8,000\.0 GB"):
        density_array(PLACES, huge, bandwidth=10, dtype="float64")
    some = distance_array(PLACES, huge, window=(500_000, 500_000, 10, 10))  # a part is no trouble
    assert some.shape == (10, 10)


def test_the_memory_of_a_container_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_machine", lambda: 100e9)
    unlimited = memory.available_memory()
    assert unlimited <= 80e9
    monkeypatch.setattr(Path, "read_text", lambda self, **_: "2000000000" if self.name == "memory.max" else "500000000")
    assert memory.available_memory() == pytest.approx(0.8 * 1.5e9)


def test_progress_ends_with_everything_done() -> None:
    said: list[tuple[int, int]] = []
    f = frame(600, 700)
    distance_array(PLACES, f, threads=2, progress=lambda done, total: said.append((done, total)))
    density_array(PLACES, f, bandwidth=100, threads=2, progress=lambda done, total: said.append((done, total)))
    ends = [s for s in said if s[0] == s[1]]
    assert len(ends) >= 2
    assert all(0 <= done <= total for done, total in said)


def test_an_error_in_progress_reaches_the_caller() -> None:
    def broken(done: int, total: int) -> None:
        raise RuntimeError(f"{done} of {total}")

    with pytest.raises(RuntimeError, match="of"):
        distance_array(PLACES, frame(), progress=broken)
    with pytest.raises(InputError, match="progress: found 3"):
        distance_array(PLACES, frame(), progress=3)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------- streaming


def test_streamed_is_the_whole_bit_for_bit(tmp_path: Path) -> None:
    f, features = frame(), Features.of(PLACES)
    told: list[tuple[int, int]] = []
    path = rtmdx.stream_to_zarr(
        lambda window: distance_array(features, f, window=window),
        f,
        tmp_path / "far.zarr",
        name="distance",
        attrs={"long_name": "distance", "units": "m"},
        side=1000,  # whole chunks: 1024
        progress=lambda done, total: told.append((done, total)),
    )
    assert told[-1] == (6, 6)
    with xr.open_zarr(path) as store:
        np.testing.assert_array_equal(store["distance"].values, distance_array(features, f))
        np.testing.assert_array_equal(store.x, f.x)
        assert store["distance"].attrs["units"] == "m"
        assert np.isnan(store["distance"].encoding["_FillValue"])
        assert set(store.coords) == {"x", "y", "spatial_ref"}
        assert store.attrs["proj:code"] == CRS


def test_streamed_over_a_grid_is_nan_outside(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random((50, 60)) < 0.5
    grid = Grid(CRS, 0.0, 500.0, 10.0, mask)
    path = rtmdx.stream_to_zarr(lambda w: distance_array(PLACES, grid, window=w), grid, tmp_path / "s.zarr")
    with xr.open_zarr(path) as store:
        assert (np.isnan(store["surface"].values) == ~mask).all()


def test_a_stream_that_fails_or_stops_leaves_nothing(tmp_path: Path) -> None:
    f = frame()
    asked = iter([False, False, True])
    with pytest.raises(Cancelled):
        rtmdx.stream_to_zarr(lambda w: np.zeros(w[2:]), f, tmp_path / "a.zarr", side=1024, cancel=lambda: next(asked))
    with pytest.raises(InputError, match=r"returned the shape \(3, 3\)"):
        rtmdx.stream_to_zarr(lambda _: np.zeros((3, 3)), f, tmp_path / "a.zarr")
    with pytest.raises(InputError, match="side"):
        rtmdx.stream_to_zarr(lambda w: np.zeros(w[2:]), f, tmp_path / "a.zarr", side=0)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(OutputError):
        rtmdx.stream_to_zarr(lambda w: np.zeros(w[2:]), f, tmp_path / "a.zarr")


def test_a_compute_that_reuses_its_array_is_streamed_right(tmp_path: Path) -> None:
    f, buffer = frame(2100, 1500), np.empty((1024, 1024), dtype=np.float32)
    order: list[int] = []

    def compute(window: tuple[int, int, int, int]) -> Any:
        order.append(len(order))
        buffer[:] = order[-1]
        return np.broadcast_to(buffer[: window[2], : window[3]], window[2:])

    path = rtmdx.stream_to_zarr(compute, f, tmp_path / "s.zarr", side=1024)
    with xr.open_zarr(path) as store:
        found = store["surface"].values
    assert [found[r, c] for r in (0, 1024, 2048) for c in (0, 1024)] == [0, 1, 2, 3, 4, 5]


def test_a_window_of_a_huge_frame_makes_no_whole_axis() -> None:
    huge = Frame(CRS, 0.0, 2.0**31, 1.0, 1.0, (2**31, 2**31))
    some = rtmdx.distance(np.array([[2.5, 2.5]]), huge, window=(2**31 - 5, 0, 5, 5))
    assert some.values[2, 2] == 0
    assert some.y.values.tolist() == [4.5, 3.5, 2.5, 1.5, 0.5]
    assert "x" not in huge.__dict__


def test_features_do_not_change_with_the_array_they_came_from() -> None:
    xy, f = PLACES.copy(), frame(60, 60)
    features = Features.from_points(xy)
    want = distance_array(features, f)
    xy[:] = np.nan
    assert xy.flags.writeable
    np.testing.assert_array_equal(distance_array(features, Frame(CRS, 1_000.0, 24_000.0, 10.0, 10.0, (60, 60))), want)


def test_a_stray_coordinate_changes_nothing_and_an_absurd_one_is_refused() -> None:
    f = frame(300, 300)
    want = distance_array(PLACES, f)
    for far in (1e10, 1e99):
        np.testing.assert_array_equal(distance_array(np.vstack([PLACES, [[far, -far]]]), f), want)
    with pytest.raises(InputError, match=r"1\.4e\+154"):
        distance_array(np.array([[1.4e154, 0.0]]), f)


def test_masks_and_friction_of_no_rows() -> None:
    empty = Frame(CRS, 0.0, 0.0, 1.0, 1.0, (0, 5))
    assert rtmdx.mask_distance_array(np.zeros((0, 5), dtype=bool), empty).shape == (0, 5)
    assert rtmdx.cost_distance_array(np.ones((1, 2)), empty, friction=np.ones((0, 5))).shape == (0, 5)


def test_a_bandwidth_below_any_sense_is_refused() -> None:
    with pytest.raises(InputError, match="millionth of a cell"):
        density_array(PLACES, frame(), bandwidth=1e-30)
