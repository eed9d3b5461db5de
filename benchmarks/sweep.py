"""What sweeps cost: a real city beside separate runs, overhead per scenario, the driver's memory.

Run, on a quiet machine with two cores, with the data of St. Louis in $RTMDX_DATA (or the folder named by --data):

    python benchmarks/sweep.py stlouis      200 scenarios on Ray, two workers, beside 200 runs of their own (6 timed)
    python benchmarks/sweep.py overhead     1,000 tiny scenarios on each executor
    python benchmarks/sweep.py memory       peak memory of a driver of 1,000 and of 10,000 scenarios
    python benchmarks/sweep.py              all of them

Each case runs in a process of its own. `own` is the sum of what the scenarios report as their own time, preparation and
writing included; the ideal is that sum over the number of workers.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

CELLS = [46, 91]
OUTCOMES = {
    "Aggravated assault": "ev_agg_assault_2017_18",
    "Robbery": "ev_robbery_2017_18",
    "Burglary": "ev_burglary_2017_18",
    "Vehicle theft": "ev_vehicle_theft_2017_18",
}
RUNS = 6  # separate runs that are timed
TINY: dict[str, Any] = {"n_penalties": 10, "n_folds": 2, "families": ["poisson"]}

OWN_CPU: list[float] = []  # CPU seconds of each scenario's thread


class Timed:
    """An executor that keeps what each scenario reports of its own time."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.name = inner, inner.name
        self.own: list[float] = []
        self.cpu: dict[str, float] = {}  # of each worker process, by its id
        self.first = self.last = 0.0
        self.process = 0.0  # CPU of this process between the two

    def run(self, job: Any) -> Iterator[Any]:
        """See `rtmdx.sweep.executors.Executor.run`."""
        self.first = time.perf_counter()
        before = time.process_time()
        for done in self.inner.run(job):
            assert done.error is None, done.trace
            self.own.append(done.seconds)
            pid = done.worker.rpartition(":")[2]
            if pid.isdigit():
                self.cpu[pid] = cpu_of(pid)
            yield done
        self.last = time.perf_counter()
        self.process = time.process_time() - before


def timed(executor: str, workers: int) -> Timed:
    from rtmdx.sweep import executors
    from rtmdx.sweep.executors import make_executor

    plain = executors.attempt

    def counted(*args: Any, **options: Any) -> Any:
        before = time.thread_time()
        done = plain(*args, **options)
        OWN_CPU.append(time.thread_time() - before)
        return done

    executors.attempt = counted  # of serial and threads; Ray's run elsewhere
    return Timed(make_executor(executor, workers=None if executor == "serial" else workers, threads=1, address=None))


def cpu_of(pid: str) -> float:
    """CPU seconds of another process, so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu() -> float:
    """CPU seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


# ------------------------------------------------------------------------------------------- St. Louis


def subsets(names: list[str]) -> dict[str, list[str]]:
    """All factors, and four sets of them."""
    trade = ["taverns", "restaurants", "carryouts", "groceries", "gas_convenience"]
    vacancy = ["vacant_buildings", "vacant_lots", "demolitions"]
    return {
        "all": names,
        "no vacancy": [n for n in names if n not in vacancy],
        "no trade": [n for n in names if n not in trade],
        "trade and vacancy": [n for n in names if n in trade + vacancy],
        "first ten": names[:10],
    }


def stlouis(data: Path, work: Path, workers: int = 2) -> dict[str, Any]:
    """Sweep St. Louis on embedded Ray."""
    import xarray as xr

    import rtmdx
    from rtmdx.sweep.axes import Axis

    study = rtmdx.Study.from_toml(HERE.parent / "examples" / "stlouis.toml")
    axes = [
        Axis(fields=["outcome.layer", "outcome.name"], values=[[v, k] for k, v in OUTCOMES.items()], name="outcome"),
        Axis(field="grid.cell_size", values=CELLS),
        Axis(seeds=5),
        Axis(name="factors", subsets=subsets([f.name for f in study.factors])),
    ]
    store = work / "stlouis"
    executor = timed("ray", workers)
    tallies: list[Any] = []
    start = time.perf_counter()
    results = rtmdx.sweep(study, axes=axes, store=store, data=data, executor=executor, watch=tallies.append)
    total = time.perf_counter() - start
    for grid in results.manifest.grids:
        with xr.open_zarr(store / grid.key) as opened:  # plain xarray
            assert opened["score"].shape[0] == len(executor.own) // len(CELLS)
            assert bool(np.isfinite(opened["score"][-1]).any())
    table = results.robust_factors()
    last = tallies[-1]
    return {
        "scenarios": len(executor.own), "wall": total, "to_first": executor.first - start,
        "own": sum(executor.own), "ideal": sum(executor.own) / workers, "surfaces_asked": last.surfaces.asked,
        "surfaces_computed": last.surfaces.computed, "cpu": cpu() + sum(executor.cpu.values()),
        "store_bytes": folder_size(store)[0], "robust": table.round(3).to_dict(orient="records"),
    }  # fmt: skip


def separate(data: Path, work: Path) -> dict[str, Any]:
    """Time some of the same scenarios as runs of their own, one at a time with the default threads."""
    import rtmdx

    names = [f.name for f in rtmdx.Study.from_toml(HERE.parent / "examples" / "stlouis.toml").factors]
    sets = list(subsets(names).values())
    picked = [(list(OUTCOMES.values())[i % 4], CELLS[i % 2], i % 5, sets[(0, 0, 1, 2, 3, 4)[i]]) for i in range(RUNS)]
    seconds = []
    for k, (layer, cell, seed, chosen) in enumerate(picked):
        file = work / f"run{k}.toml"
        file.write_text(toml_with(HERE.parent / "examples" / "stlouis.toml", chosen))
        command = [sys.executable, "-c", "from rtmdx.cli import main; main()", "run", str(file), "--data", str(data)]
        command += ["--out", str(work / f"run{k}"), "-q", "--set", f"outcome.layer={layer}"]
        command += ["--set", f"grid.cell_size={cell}", "--set", f"seed={seed}"]
        start = time.perf_counter()
        subprocess.run(command, check=True)
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds, "of_200": float(np.mean(seconds)) * 200, "cpu": cpu()}


def toml_with(path: Path, factors: list[str]) -> str:
    """The study's text with only some of its factors."""
    head, *tables = path.read_text(encoding="utf-8").split("[[factors]]")
    kept = [t for t in tables if any(f'name = "{f}"' in t for f in factors)]
    return "[[factors]]".join([head, *kept])


# ------------------------------------------------------------------------------------- tiny scenarios


def tiny(executor: str, workers: int, n: int, work: Path) -> dict[str, Any]:
    """Run tiny scenarios; `overhead` is what a scenario costs beyond its own time, in worker-seconds."""
    import rtmdx
    import small_city

    city = work / "city"
    if not city.exists():
        city.mkdir()
        small_city.write(city)
    study = rtmdx.Study.from_dict(small_city.study(grid={"block_length": 150}, model=TINY))
    store = work / f"{executor}{workers}-{n}"
    timer = timed(executor, workers)
    resident: list[float] = []

    def watch(tally: Any) -> None:
        if tally.ran in (n // 2, n):
            resident.append(rss())

    start = time.perf_counter()
    rtmdx.sweep(study, axes={"seeds": n}, store=store, data=city, executor=timer, watch=watch)
    total = time.perf_counter() - start
    loop = timer.last - timer.first
    shutil.rmtree(store)
    return {
        "executor": executor, "workers": workers, "scenarios": n, "wall": total, "plan": timer.first - start,
        "loop": loop, "own_ms": 1e3 * sum(timer.own) / n, "overhead_ms": 1e3 * (loop * workers - sum(timer.own)) / n,
        "cpu_driver_ms": 1e3 * timer.process / n, "own_cpu_ms": 1e3 * sum(OWN_CPU) / n if OWN_CPU else None,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "rss_half_and_end_mb": resident,
    }  # fmt: skip


class Elsewhere:
    """An executor whose scenarios cost nothing here: it prepares them as Ray's does, and writes their records alone."""

    name = "elsewhere"

    def run(self, job: Any) -> Iterator[Any]:
        """See `rtmdx.sweep.executors.Executor.run`."""
        from rtmdx.sweep.contract import Record
        from rtmdx.sweep.records import Records
        from rtmdx.sweep.store import SweepStore
        from rtmdx.sweep.work import Done

        with SweepStore.open(job.store.url) as store:
            records = Records(store.objects, store.manifest)
        row = {
            "variable": "bars_100",
            "factor": "bars",
            "operationalization": "proximity",
            "influence": 100.0,
            "rrv": 2.0,
        }
        tables: dict[str, Any] = {"model": [row] * 4, "variables": [row] * 8, "validity": [], "findings": []}
        for index in job.order:
            job.started(index)
            job.workshop.prepare(job.expansion[index])
            summary = {"bic": float(index), "family": "poisson", "n_factors": 4, "factors": "bars parks roads stops"}
            records.complete(Record(index, job.expansion.ids[index], "succeeded", {}, summary), tables)
            yield Done(index)


def memory(n: int, work: Path) -> dict[str, Any]:
    """Peak memory of a process that drives so many scenarios, whose work is done elsewhere."""
    import rtmdx
    import small_city

    small_city.write(work)
    study = rtmdx.Study.from_dict(small_city.study(grid={"block_length": 150}, model=TINY))
    resident: list[float] = []
    start, used = time.perf_counter(), time.process_time()

    def watch(tally: Any) -> None:
        if tally.ran in (n // 2, n):
            resident.append(rss())

    store = work / "store"
    results = rtmdx.sweep(study, axes={"seeds": n}, store=store, data=work, executor=Elsewhere(), watch=watch)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert len(results.manifest.scenarios) == n
    return {
        "scenarios": n, "wall": seconds, "cpu_ms_each": 1e3 * (time.process_time() - used) / n,
        "rss_half_and_end_mb": resident, "peak_mb": peak,
    }  # fmt: skip


def rss() -> float:
    """Megabytes this process holds now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return float("nan")


def folder_size(path: Path) -> tuple[int, int]:
    """Bytes and number of files."""
    sizes = [p.stat().st_size for p in path.rglob("*") if p.is_file()]
    return sum(sizes), len(sizes)


# ----------------------------------------------------------------------------------------------- main


def alone(*args: str) -> None:
    """Run one case in a process of its own."""
    subprocess.run([sys.executable, __file__, *args], check=True)


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["stlouis", "overhead", "memory"])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("RTMDX_DATA", ".")))
    parser.add_argument("--work", type=Path, help="folder for what is written; a temporary one by default")
    parser.add_argument("--one", nargs="*", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.what is None:
        for what in ("stlouis", "overhead", "memory"):
            alone(what, "--data", str(args.data), *(["--work", str(args.work)] if args.work else []))
        return
    with tempfile.TemporaryDirectory(dir=args.work, prefix="rtmdx-sweep-") as folder:
        work = Path(folder)
        if args.one is not None:
            name, *rest = args.one
            cases: dict[str, Callable[[], dict[str, Any]]] = {
                "sweep": lambda: stlouis(args.data, work),
                "separate": lambda: separate(args.data, work),
                "memory": lambda: memory(int(rest[0]), work),
                "tiny": lambda: tiny(rest[0], int(rest[1]), int(rest[2]), work),
            }
            load = os.getloadavg()[0]
            print(json.dumps({"case": [name, *rest], "load_before": load, **cases[name]()}), flush=True)
            return
        known = ["--data", str(args.data), "--work", folder]
        several = {
            "stlouis": [["sweep"], ["separate"]],
            "overhead": [["tiny", e, str(w), "1000"] for e, w in
                         (("serial", 1), ("threads", 1), ("threads", 2), ("ray", 1), ("ray", 2))],
            "memory": [["memory", str(n)] for n in (1000, 10_000)],
        }  # fmt: skip
        for case in several[args.what]:
            alone(args.what, *known, "--one", *case)


if __name__ == "__main__":
    main()
