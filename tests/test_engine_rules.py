"""What the engine promises as a piece of software: errors, cancelling, purity, build facts."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from conftest import heed_interrupts
from rtmdx import _engine, errors

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(p for part in ("include", "src") for p in (ROOT / "engine" / part).rglob("*.[ch]pp"))
NONE = np.empty(0)
NO_XY = np.empty((0, 2))
START = np.zeros(1, dtype=np.int64)


def features(**given):
    arrays = {
        "points": NO_XY,
        "point_weights": NONE,
        "line_xy": NO_XY,
        "line_offsets": START,
        "line_weights": NONE,
        "ring_xy": NO_XY,
        "ring_offsets": START,
        "polygon_offsets": START,
        "polygon_weights": NONE,
    }
    return _engine.Features(**{**arrays, **given})


def square_grid(n=100):
    return _engine.Grid(x_min=0.0, y_max=float(n), dx=1.0, dy=1.0, rows=n, cols=n)


@pytest.mark.skipif(not SOURCES, reason="the engine's sources are not beside the tests")
def test_the_engine_knows_no_python_and_prints_nothing():
    forbidden = re.compile(r"Python\.h|pybind11|<iostream>|<cstdio>|printf|std::cout|std::cerr|<fstream>|thread_local")
    for path in SOURCES:
        assert not forbidden.search(path.read_text()), path


@pytest.mark.skipif(not SOURCES, reason="the engine's sources are not beside the tests")
def test_one_thread_loop():
    makers = [p.name for p in SOURCES if re.search(r"std::(thread|async)\b", p.read_text())]
    assert makers == ["parallel.hpp"]


@pytest.mark.skipif(not SOURCES, reason="the engine's sources are not beside the tests")
def test_every_native_error_has_its_python_class():
    header = (ROOT / "engine/include/rtmdx/error.hpp").read_text()
    declared = set(re.findall(r"^class (\w+) : public", header, flags=re.M))
    pairs = _engine.native_errors()
    assert set(pairs) == declared
    assert len(set(pairs.values())) == len(pairs)


@pytest.mark.parametrize("native", sorted(_engine.native_errors()))
def test_native_errors_become_python_errors(native):
    expected = getattr(errors, _engine.native_errors()[native])
    with pytest.raises(expected, match="the reason") as caught:
        _engine.raise_native(native, "the reason")
    assert type(caught.value) is expected
    assert caught.value.message == "the reason"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"line_xy": np.zeros((3, 2)), "line_offsets": np.array([0, 2])},
            "line offsets end at 2, expected 3",
        ),
        ({"line_offsets": np.array([1, 1])}, "start at 1, expected 0"),
        ({"ring_xy": np.zeros((3, 2)), "ring_offsets": np.array([0, 5, 3])}, "fall from 5 to 3"),
        ({"polygon_offsets": np.array([0, 1])}, "polygon offsets end at 1, expected 0"),
        ({"points": np.zeros((3, 2)), "point_weights": np.ones(2)}, "point weights number 2, expected 3"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(given, message):
    with pytest.raises(errors.InputError, match=message):
        features(**given)


def prepared(native, grid, points=0, cancel=None):
    """Features prepared for a grid; point i comes from geometry i."""
    none = np.empty(0, dtype=np.int64)
    return _engine.Nearest(native, grid, points=np.arange(points), lines=none, polygons=none, cancel=cancel)


STRAIGHT = {"metric": "euclidean", "max_distance": np.inf, "threads": 1}


def test_output_must_fit():
    w = _engine.Window(0, 0, 5, 5)
    f = prepared(features(), square_grid(5))
    for out in (np.empty((5, 4)), np.empty(25), np.empty((5, 10))[:, ::2], np.empty((5, 5)).T.copy().T):
        with pytest.raises(errors.InputError, match="output array"):
            _engine.distance(out, f, w, **STRAIGHT)
    frozen = np.empty((5, 5))
    frozen.setflags(write=False)
    with pytest.raises(errors.InputError, match="writable"):
        _engine.distance(frozen, f, w, **STRAIGHT)
    with pytest.raises(TypeError):
        _engine.distance(np.empty((5, 5), dtype=np.int32), f, w, **STRAIGHT)
    with pytest.raises(errors.InputError, match="does not lie in the grid of 5 x 5"):
        _engine.distance(np.empty((5, 5)), f, _engine.Window(1, 0, 5, 5), **STRAIGHT)


def test_read_only_inputs_are_taken_and_kept_alive():
    xy = np.random.default_rng(0).uniform(0, 100, (50, 2))
    want = np.empty((100, 100))
    whole = _engine.Window(0, 0, 100, 100)
    _engine.distance(want, prepared(features(points=xy), square_grid(), 50), whole, **STRAIGHT)
    frozen = xy.copy()
    frozen.setflags(write=False)
    f = prepared(features(points=frozen), square_grid(), 50)
    del frozen
    junk = [np.full((50, 2), 7.0) for _ in range(200)]
    got = np.empty((100, 100))
    _engine.distance(got, f, whole, **{**STRAIGHT, "threads": 3})
    del junk
    assert np.array_equal(got, want)


def heavy(cancel=None, threads=2):
    """Minutes of work: every cell needs every point."""
    points = np.random.default_rng(0).uniform(0, 2000, (200_000, 2))
    out = np.empty((2000, 2000), dtype=np.float32)
    _engine.density(
        out,
        features(points=points),
        square_grid(2000),
        _engine.Window(0, 0, 2000, 2000),
        kernel="triangular",
        bandwidth=1500.0,
        threads=threads,
        cancel=cancel,
    )


@pytest.mark.parametrize("threads", [1, 3])
def test_cancel(threads):
    calls = []

    def cancel():
        calls.append(threading.get_ident())
        return len(calls) == 3

    with pytest.raises(errors.Cancelled, match="cancel"):
        heavy(cancel, threads)
    assert calls == [threading.get_ident()] * 3


@pytest.mark.parametrize("threads", [1, 3])
def test_an_exception_in_the_cancel_check_comes_through(threads):
    def cancel():
        raise LookupError("no such token")

    with pytest.raises(LookupError, match="no such token"):
        heavy(cancel, threads)


def test_cancel_is_asked_even_on_a_small_run():
    out = np.empty((5, 5))
    near = prepared(features(points=np.ones((1, 2))), square_grid(5), 1)
    with pytest.raises(errors.Cancelled):
        _engine.distance(out, near, _engine.Window(0, 0, 5, 5), **STRAIGHT, cancel=lambda: True)
    with pytest.raises(errors.Cancelled):
        prepared(features(points=np.ones((1, 2))), square_grid(5), 1, cancel=lambda: True)


def test_every_part_has_a_source():
    with pytest.raises(errors.InputError, match="needs one source"):
        prepared(features(points=np.ones((3, 2))), square_grid(5), 2)


def test_the_gil_is_free_while_the_engine_runs():
    ticks = []
    done = threading.Event()

    def tick():
        while not done.is_set():
            ticks.append(time.monotonic())
            time.sleep(0.005)

    other = threading.Thread(target=tick)
    other.start()
    stop_at = time.monotonic() + 0.4
    try:
        with pytest.raises(errors.Cancelled):
            heavy(lambda: time.monotonic() > stop_at, threads=1)
    finally:
        done.set()
        other.join()
    assert len(ticks) > 5


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent the POSIX way")
@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_comes_back_soon(threads, tmp_path):
    script = tmp_path / "long.py"
    script.write_text(
        textwrap.dedent(f"""
        import sys, time
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_engine_rules import heavy
        print("ready", flush=True)
        try:
            heavy(threads={threads})
        except KeyboardInterrupt:
            print("interrupted", time.monotonic(), flush=True)
        """)
    )
    path = os.pathsep.join([str(Path(_engine.__file__).parents[1]), *sys.path])
    with subprocess.Popen(
        [sys.executable, str(script)],
        preexec_fn=heed_interrupts,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    ) as process:
        try:
            assert process.stdout.readline().strip() == "ready"
            time.sleep(0.8)
            sent = time.monotonic()
            process.send_signal(signal.SIGINT)
            answer, _ = process.communicate(timeout=30)
        finally:
            process.kill()
    word, at = answer.split()
    assert word == "interrupted"
    print("seconds to answer:", float(at) - sent)
    assert float(at) - sent < 5  # far less on an idle machine


def test_build_info():
    info = _engine.build_info()
    assert set(info) == {"compiler", "cxx_standard", "flags", "pybind11", "debug", "cpu"}
    assert info["cxx_standard"] >= 201703
    assert isinstance(info["debug"], bool)
    assert isinstance(info["cpu"], tuple)


def test_kernels_have_the_same_names_at_the_door():
    from rtmdx.space.density import KERNELS

    assert set(KERNELS) == set(_engine.KERNELS)
    with pytest.raises(errors.InputError, match="no kernel is called cubic"):
        _engine.density(
            np.empty((2, 2)),
            features(),
            square_grid(2),
            _engine.Window(0, 0, 2, 2),
            kernel="cubic",
            bandwidth=1.0,
            threads=1,
        )
    with pytest.raises(errors.InputError, match="bandwidth is"):
        _engine.density(
            np.empty((2, 2)),
            features(),
            square_grid(2),
            _engine.Window(0, 0, 2, 2),
            kernel="quartic",
            bandwidth=-1.0,
            threads=1,
        )
