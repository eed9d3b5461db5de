"""Kill what runs a sweep at random moments, resume, and compare the store with an undisturbed one, to the bit.

Run:

    python benchmarks/sweep_faults.py                  20 moments each of driver, worker and node
    python benchmarks/sweep_faults.py driver --times 5 --seed 7

driver: a process that runs the sweep, with threads or (every fifth time) on Ray, gets SIGKILL; worker: a process of
Ray that has a scenario does; node: one of two nodes of a cluster does. Moments are uniform over the length of an
undisturbed run of the same kind, from the making of the store on (of a driver on Ray: from the first result on). After
each, and before the sweep is resumed: what the store calls complete must verify. After the resume: the store must be
that of an undisturbed run, the files of what was complete must be the very same ones (same inode and time of change),
and only what was incomplete may have been run. Every kind runs in a process of its own and prints one line of JSON; a
violation ends it with an error.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

import small_city  # noqa: E402
from sweep_doubles import same_store  # noqa: E402

KINDS = ("driver", "worker", "node")
N = 16
AXES: dict[str, Any] = {"grid.cell_size": [75, 100], "seeds": 4, "factors": [["bars", "parks"], ["bars", "roads"]]}


class Trial:
    """The city, an undisturbed store, and the checks."""

    def __init__(self, work: Path) -> None:
        import rtmdx

        self.work, self.city = work, work / "city"
        self.city.mkdir()
        small_city.write(self.city)
        self.study = rtmdx.Study.from_dict(small_city.study())
        self.whole = work / "whole"
        self.run(self.whole, executor="serial")

    def run(self, store: Path, **options: Any) -> list[Any]:
        """Run or continue the sweep; returns what was told."""
        import rtmdx

        told: list[Any] = []
        watch = options.pop("watch", lambda _: None)

        def both(tally: Any) -> None:
            told.append(tally)
            watch(tally)

        rtmdx.sweep(self.study, axes=AXES, store=store, data=self.city, watch=both, **options)
        return told

    def complete(self, store: Path) -> set[int]:
        """Scenarios the store calls complete; nobody for a store that was not made yet."""
        from rtmdx.errors import StoreError
        from rtmdx.sweep.store import SweepStore

        if not SweepStore.exists(str(store)):
            return set()
        try:
            with SweepStore.open(str(store)) as opened:
                return set(range(N)) - set(opened.pending(retry_failed=True))
        except StoreError as error:
            raise AssertionError(f"a store with a manifest cannot be opened: {error}") from error

    def check(self, store: Path) -> int:
        """Check a disturbed store, resume it and check it again; returns how many scenarios were complete."""
        from rtmdx.sweep.store import SweepStore

        before = self.complete(store)
        if before:
            with SweepStore.open(str(store)) as opened:
                assert opened.verify() == [], "what reads as complete does not verify"
        marks = self.marks(store, before)
        told = self.run(store, executor="threads", workers=2)
        assert told[-1].done == N
        assert told[-1].ran == told[0].to_run <= N - len(before), "something complete was recomputed"
        after = self.marks(store, before)
        assert marks == after, "files of what was complete were written again"
        same_store(store, self.whole)
        return len(before)

    def marks(self, store: Path, complete: set[int]) -> dict[str, tuple[int, int]]:
        """Inode and time of the files of complete scenarios."""
        from rtmdx.sweep.store import SweepStore

        if not complete:
            return {}
        with SweepStore.open(str(store)) as opened:
            groups = [(opened.manifest.scenarios[i].grid, opened.place(i)) for i in sorted(complete)]
            names = [f"state/records/{n}" for i, n in opened.records.done().items() if i in complete]
        files = [p for g, k in groups for a in ("score", "expected") for p in (store / g / a).glob(f"c.{k}.*")]
        files += [store / n for n in names]
        assert len(files) == 3 * len(complete)
        return {str(p): (p.stat().st_ino, p.stat().st_mtime_ns) for p in files}


def timer(rng: random.Random, span: float, strike: Callable[[], None]) -> threading.Timer:
    """Start a timer that strikes at a random moment within a span."""
    made = threading.Timer(rng.uniform(0.0, span), strike)
    made.daemon = True
    made.start()
    return made


def repeat(times: int, once: Callable[[int], dict[str, Any] | None]) -> list[dict[str, Any]]:
    """Repeat until so many strikes have hit; those that came too late do not count."""
    hits: list[dict[str, Any]] = []
    tries = 0
    while len(hits) < times:
        tries += 1
        assert tries <= 5 * times + 5, "nearly every strike comes too late"
        found = once(tries)
        if found is not None:
            hits.append(found)
            print(f"{len(hits)} of {times}: {found}", file=sys.stderr, flush=True)
    return hits


def drive(city: Path, store: Path, executor: str) -> None:
    """Run the sweep; in a process of its own."""
    import rtmdx

    study = rtmdx.Study.from_dict(small_city.study())
    rtmdx.sweep(study, axes=AXES, store=store, data=city, executor=executor, workers=2)


def driver(trial: Trial, times: int, rng: random.Random) -> list[dict[str, Any]]:
    """Kill a process that runs the sweep."""
    spans: dict[str, float] = {}

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["rtmdx", "rtmdx.sweep.driver", "rtmdx.sweep.results", "rtmdx.runs.run", "zarr"])

    def start(store: Path, executor: str) -> Any:
        child = context.Process(target=drive, args=(trial.city, store, executor))
        child.start()
        # most of a short sweep on Ray is the start of Ray: its moments begin with the first result
        awaited = store / "state" / "records" if executor == "ray" else store
        while child.is_alive() and not awaited.exists():
            time.sleep(0.002)
        return child

    def once(k: int) -> dict[str, Any] | None:
        executor = "ray" if k % 5 == 2 else "threads"
        store = trial.work / "driver"
        shutil.rmtree(store, ignore_errors=True)
        if executor not in spans:
            child = start(store, executor)
            began = time.perf_counter()
            child.join()
            assert child.exitcode == 0
            spans[executor] = time.perf_counter() - began
            shutil.rmtree(store)
        child = start(store, executor)
        time.sleep(rng.uniform(0.0, spans[executor]))
        missed = not child.is_alive()
        child.kill()
        child.join()
        done = trial.check(store)
        return None if missed else {"executor": executor, "complete": done}

    return repeat(times, once)


def worker(trial: Trial, times: int, rng: random.Random) -> list[dict[str, Any]]:
    """Kill a worker of Ray that has a scenario."""
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    trial.run(trial.work / "warm", executor="ray", workers=2)
    told = trial.run(trial.work / "timed", executor="ray", workers=2)
    span = told[-1].seconds

    def once(_: int) -> dict[str, Any] | None:
        store = trial.work / "worker"
        shutil.rmtree(store, ignore_errors=True)
        struck: list[int] = []
        timers: list[threading.Timer] = []

        def strike() -> None:
            victims = busy()
            if victims:
                struck.append(rng.choice(victims))
                os.kill(struck[0], signal.SIGKILL)

        def watch(_: Any) -> None:
            if not timers:
                timers.append(timer(rng, span, strike))

        told = trial.run(store, executor="ray", workers=2, watch=watch)
        timers[0].cancel()
        assert told[-1].done == N
        assert told[-1].ran == N
        trial.check(store)
        return {"retried": told[-1].retried} if struck else None

    found = repeat(times, once)
    ray.shutdown()
    return found


def busy() -> list[int]:
    """Processes of Ray below this one that have a scenario."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            names[int(folder.name)] = (folder / "cmdline").read_bytes().rstrip(b"\0")
        except OSError:
            continue

    def ours(pid: int) -> bool:
        while pid > 1:
            pid = parents.get(pid, 0)
            if pid == os.getpid():
                return True
        return False

    return [p for p, name in names.items() if name.startswith(b"ray::_task") and ours(p)]


def node(trial: Trial, times: int, rng: random.Random) -> list[dict[str, Any]]:
    """Kill one of two nodes of a cluster."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, connect=False, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1)]
    options: dict[str, Any] = {"executor": "ray", "address": cluster.address, "retries": 3}
    trial.run(trial.work / "warm", **options)
    span = trial.run(trial.work / "timed", **options)[-1].seconds

    def once(_: int) -> dict[str, Any] | None:
        store = trial.work / "node"
        shutil.rmtree(store, ignore_errors=True)
        if not nodes:
            nodes.append(cluster.add_node(num_cpus=1))
        cluster.wait_for_nodes()
        timers: list[threading.Timer] = []
        over = threading.Event()

        def strike() -> None:
            if not over.is_set():
                cluster.remove_node(nodes.pop(), allow_graceful=False)

        def watch(_: Any) -> None:
            if not timers:
                timers.append(timer(rng, span, strike))

        told = trial.run(store, watch=watch, **options)
        over.set()
        timers[0].cancel()
        timers[0].join()
        assert told[-1].done == N
        trial.check(store)
        return None if nodes else {"retried": told[-1].retried}

    found = repeat(times, once)
    cluster.shutdown()
    return found


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=KINDS)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.what is None:
        for what in KINDS:
            command = [sys.executable, __file__, what, "--times", str(args.times), "--seed", str(args.seed)]
            subprocess.run(command, check=True)
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    paths = [str(HERE.parent / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="rtmdx-faults-") as folder:
        kinds = {"driver": driver, "worker": worker, "node": node}
        hits = kinds[args.what](Trial(Path(folder)), args.times, random.Random(args.seed))
    told = {
        "killed": args.what, "times": len(hits), "identical": len(hits), "recomputed": 0,
        "seconds": round(time.perf_counter() - began, 1), "each": hits,
    }  # fmt: skip
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
