"""Jobs in threads, while the caller's thread reports progress and asks whether to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["job_pool", "run_jobs"]

T = TypeVar("T")

INTERVAL = 0.2  # seconds between polls


@contextmanager
def job_pool(threads: int, name: str, stop: threading.Event) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads; an error in the block sets `stop`, which running jobs must heed, and waits for them."""
    with ThreadPoolExecutor(threads, thread_name_prefix=f"rtmdx-{name}") as pool:
        try:
            yield pool
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def run_jobs(pool: ThreadPoolExecutor, jobs: Sequence[Callable[[], T]], poll: Callable[[int], None]) -> list[T]:
    """Run jobs in a pool; return what they return, in their order.

    `poll` is called in the caller's thread, often, with the number of jobs finished; what it raises stops the jobs, as
    does the first job that fails.
    """
    futures = [pool.submit(job) for job in jobs]
    left = set(futures)
    while left:
        finished, left = wait(left, timeout=INTERVAL, return_when=FIRST_EXCEPTION)
        for job in finished:
            job.result()
        poll(len(futures) - len(left))
    return [f.result() for f in futures]
