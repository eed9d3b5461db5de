"""Replicates of a selection, run in threads: the same results for any number of them, in any order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import Cancelled, FitError, InputError
from rtmdx.model.culling import cull
from rtmdx.model.design import Block, Design
from rtmdx.model.lanes import LANES
from rtmdx.model.refit import NO_EVENTS, Culled, Penalty, Refit, Refitter

__all__ = ["CullOptions", "reculled", "refits", "run_all"]

T = TypeVar("T")
Int = NDArray[np.int64]
CullOptions = dict[str, object]


def run_all(
    jobs: Sequence[Callable[[], T]],
    threads: int,
    stop: threading.Event,
    done: Callable[[int], None],
    cancel: Callable[[], bool] | None,
) -> list[T]:
    """Run jobs in threads; `done` is called in the caller's thread with the number finished, `cancel` asked there."""
    with ThreadPoolExecutor(threads, thread_name_prefix="rtmdx-replicates") as pool:
        futures = [pool.submit(job) for job in jobs]
        left = set(futures)
        try:
            while left:
                finished, left = wait(left, timeout=0.2, return_when=FIRST_EXCEPTION)
                for job in finished:
                    job.result()
                if cancel is not None and cancel():
                    raise Cancelled("The replicates were cancelled.")
                done(len(futures) - len(left))
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return [f.result() for f in futures]


def refits(
    refitter: Refitter,
    draw: Callable[[int], Int],
    replicates: int,
    penalty: Penalty,
    *,
    threads: int,
    stop: threading.Event,
    done: Callable[[int], None],
    cancel: Callable[[], bool] | None,
) -> list[Refit]:
    """Refit every replicate at a fixed penalty, four in one pass.

    Which replicates share a pass depends on their numbers alone, so no bit depends on the threads.
    """

    def batch(start: int) -> list[Refit]:
        return refitter.run([draw(r) for r in range(start, min(start + LANES, replicates))], penalty)

    jobs = [lambda s=s: batch(s) for s in range(0, replicates, LANES)]
    found = run_all(jobs, threads, stop, lambda n: done(min(n * LANES, replicates)), cancel)
    return [refit for some in found for refit in some]


def reculled(
    refitter: Refitter,
    counts: NDArray[np.int64],
    group: NDArray[np.int32],
    folds: NDArray[np.int32],
    draw: Callable[[int], Int],
    replicates: int,
    options: CullOptions,
    *,
    exposure: NDArray[np.float64] | None = None,
    threads: int,
    stop: threading.Event,
    done: Callable[[int], None],
    cancel: Callable[[], bool] | None,
) -> list[Refit]:
    """Refit every replicate with a cross-validation of its own: as slow as that many runs.

    A replicate's cells stay in the folds they have in `folds`, so the copies of a cell are never on both sides. Cells
    of exposure 0 are left out, and so are repeats of which a replicate lacks a fold; where it lacks one of each, the
    first repeat counts without it.
    """
    repeats = np.atleast_2d(folds)
    k = int(repeats.max()) + 1
    taking_part = np.arange(len(group)) if exposure is None else np.flatnonzero(exposure > 0)

    def one(r: int) -> Refit:
        times = draw(r)
        weights = refitter.weights(times)
        index = np.repeat(taking_part, times[group[taking_part]])
        if not counts[index].any():
            return Refit(error=NO_EVENTS)
        dealt = repeats[:, index]
        whole = [len(np.unique(line)) == k for line in dealt]
        if any(whole):
            dealt = np.ascontiguousarray(dealt[whole])
        else:
            dealt = np.unique(dealt[0], return_inverse=True)[1][None].astype(np.int32)
        exposed = None if exposure is None else exposure[index]
        try:
            found = cull(
                repeated(refitter.design, index), counts[index], dealt, exposure=exposed, cancel=stop.is_set,
                **options,  # type: ignore[arg-type]
            )  # fmt: skip
        except (FitError, InputError) as error:
            return Refit(error=error.message)
        return refitter.search(weights, Culled(found.selected), found.penalty)

    return run_all([lambda r=r: one(r) for r in range(replicates)], threads, stop, done, cancel)  # type: ignore[misc]


def repeated(design: Design, index: NDArray[np.intp]) -> Design:
    """The design of the cells at `index`, which may repeat."""
    blocks = tuple(Block(np.ascontiguousarray(b.codes[index]), b.decode, b.variables) for b in design.blocks)
    return Design(blocks, len(index))
