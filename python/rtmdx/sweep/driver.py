"""Running a sweep: plan, store, executor, and what is told on the way."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rtmdx.errors import InputError, StoreError, SweepError
from rtmdx.runs.estimate import available_memory
from rtmdx.runs.study import Study
from rtmdx.sweep.axes import Axis, Point, SweepSpec
from rtmdx.sweep.executors import Executor, Job, ThreadExecutor, make_executor, workers_within
from rtmdx.sweep.plan import Plan, make_plan, versions_now
from rtmdx.sweep.prepare import Workshop
from rtmdx.sweep.store import SweepStore
from rtmdx.sweep.surfaces import SurfaceCount

if TYPE_CHECKING:
    import geopandas as gpd

    from rtmdx.sweep.results import SweepResults

__all__ = ["Tally", "plan_sweep", "resume", "run_plan", "sweep"]

Layers = Mapping[str, "gpd.GeoDataFrame"]
Progress = Callable[[str, int, int], None]
Path_ = str | os.PathLike[str]


@dataclass(frozen=True)
class Tally:
    """How far a sweep is.

    Attributes
    ----------
    total, done, failed, retried : int
        Scenarios of the sweep; in the store, those of earlier runs too; failed in this run; tried again because their
        worker died.
    ran : int
        Scenarios this run has finished, well or not.
    seconds : float
        Since this run began.
    surfaces : SurfaceCount
        Surfaces asked for, and computed.
    """

    total: int
    done: int = 0
    failed: int = 0
    retried: int = 0
    ran: int = 0
    to_run: int = 0
    seconds: float = 0.0
    surfaces: SurfaceCount = SurfaceCount()  # noqa: RUF009

    @property
    def rate(self) -> float:
        """Scenarios a second."""
        return self.ran / self.seconds if self.seconds > 0 else 0.0

    @property
    def remaining(self) -> float | None:
        """Seconds left at this rate; None before the first scenario is finished."""
        return (self.to_run - self.ran) / self.rate if self.ran else None


def plan_sweep(
    study: Study | SweepSpec,
    *,
    axes: Mapping[str, Any] | Sequence[Axis] | None = None,
    scenarios: Sequence[Point | Mapping[str, Any]] | None = None,
    combine: Literal["product", "zip"] = "product",
    title: str | None = None,
    store: Path_ | None = None,
    data: Path_ | None = None,
    layers: Layers | None = None,
    memory_limit: float | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Say what a sweep would do, without doing it; parameters and errors as for `sweep`."""
    spec = _spec(study, axes, scenarios, combine, title)
    workshop = Workshop(data=_folder(data), layers=layers, memory_limit=memory_limit)
    plan = make_plan(spec, workshop, progress=progress)
    if store is not None and SweepStore.exists(str(store)):
        with SweepStore.open(str(store)) as there:
            _same_sweep(there, plan)
            plan = replace(plan, done=plan.n_runs - len(there.pending(retry_failed=True)))
    return plan


def sweep(
    study: Study | SweepSpec,
    *,
    axes: Mapping[str, Any] | Sequence[Axis] | None = None,
    scenarios: Sequence[Point | Mapping[str, Any]] | None = None,
    combine: Literal["product", "zip"] = "product",
    title: str | None = None,
    store: Path_,
    data: Path_ | None = None,
    layers: Layers | None = None,
    executor: str | Executor = "threads",
    workers: int | None = None,
    threads: int = 1,
    address: str | None = None,
    retries: int = 2,
    memory_limit: float | None = None,
    cache_bytes: float | None = None,
    cache_folder: Path_ | None = None,
    overwrite: bool = False,
    retry_failed: bool = False,
    other_build: bool = False,
    progress: Progress | None = None,
    watch: Callable[[Tally], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> SweepResults:
    """Run a study in many variants, and keep every result in one store.

    A store that holds this very sweep is continued: what is complete stays as it is. Model and terrain of each scenario
    are those of `rtmdx.run` to the bit, whatever the executor; posterior, diagnostics and stability are left out.

    Parameters
    ----------
    study : Study or SweepSpec
        The base, or a sweep from a file (`rtmdx.sweep.axes.read_sweep`), which has its own axes.
    axes : mapping or sequence of Axis, optional
        What varies: ``{"grid.cell_size": [50, 100], "seeds": 5, "factors": {"all": [...], "no bars": [...]}}``; see
        `SweepSpec.build`.
    scenarios : sequence of Point, optional
        An explicit list, in place of axes.
    combine : {"product", "zip"}
    title : str, optional
    store : path or URL
        A folder, or ``s3://bucket/prefix`` (extra ``cloud``).
    data : path, optional
        Folder the study's relative paths start from.
    layers : mapping of str to GeoDataFrame, optional
        Layers in memory, as for `rtmdx.run`.
    executor : {"serial", "threads", "ray"}
    workers : int, optional
        Scenarios at a time; as many as there are cores by default.
    threads : int
        Of the engine, per scenario.
    address : str, optional
        Of a running Ray cluster, ``host:port``; Ray is started on this machine by default.
    retries : int
        Of a scenario whose Ray worker or node died.
    memory_limit : float, optional
        Bytes; fewer scenarios run at a time where their estimates exceed it. What is available by default.
    cache_bytes : float, optional
        Bytes of shared work held at most; a quarter of what is available by default.
    cache_folder : path, optional
        Keeps computed surfaces across sweeps.
    overwrite : bool
        Replace another sweep's store.
    retry_failed : bool
        Also run scenarios that failed before.
    other_build : bool
        Continue a store that another version or build began; its results may then differ in their last bits.
    progress : callable, optional
        Called as ``progress(stage, done, total)``; stages are plan and scenarios.
    watch : callable, optional
        Called with a `Tally` at least after each scenario.
    cancel : callable, optional
        Asked often; when it returns True, what runs is stopped and `rtmdx.errors.Cancelled` raised.

    Returns
    -------
    SweepResults
        As `rtmdx.open_sweep`. Failed scenarios are in it with their errors.

    Raises
    ------
    SweepError
        The sweep has no scenarios, an axis that names no field, two scenarios that are the same, or cannot be run.
    StoreError
        The store is another sweep's or version's, damaged, or being written by somebody else.
    Cancelled
        `cancel` returned True; `sweep` or `resume` continues.
    """
    spec = _spec(study, axes, scenarios, combine, title)
    chosen = make_executor(executor, workers=workers, threads=threads, address=address, retries=retries)
    folder = _folder(data)
    workshop = Workshop(
        data=folder, layers=layers, cache_bytes=cache_bytes,
        cache_folder=None if cache_folder is None else Path(cache_folder), memory_limit=memory_limit,
    )  # fmt: skip
    plan = make_plan(spec, workshop, progress=progress)
    url = str(store)
    if SweepStore.exists(url) and not overwrite:
        place = SweepStore.open(url, mode="a")
    else:
        manifest = plan.manifest()
        manifest.config["data"] = None if folder is None else str(folder.absolute())
        place = SweepStore.create(url, manifest, overwrite=overwrite)
    with place as opened:
        _same_sweep(opened, plan)
        _same_build(opened, other_build)
        run_plan(
            plan, workshop, opened, chosen, threads=threads, memory_limit=memory_limit, retry_failed=retry_failed,
            progress=progress, watch=watch, cancel=cancel,
        )  # fmt: skip
    from rtmdx.sweep.results import open_sweep

    return open_sweep(url)


def resume(
    store: Path_,
    *,
    data: Path_ | None = None,
    layers: Layers | None = None,
    retry_failed: bool = False,
    other_build: bool = False,
    **options: Any,
) -> SweepResults:
    """Continue a sweep from its store alone.

    Parameters
    ----------
    store : path or URL
    data : path, optional
        Folder the study's relative paths start from; where they were read from at first by default.
    layers : mapping of str to GeoDataFrame, optional
        The layers in memory that the sweep was started with.
    retry_failed, other_build
        As for `sweep`.
    **options
        The other options of `sweep`: executor, workers, threads, address, progress, ...

    Raises
    ------
    StoreError
        There is no sweep, or its inputs have changed.
    SweepError, Cancelled
        As `sweep`.
    """
    with SweepStore.open(str(store)) as there:
        config = there.manifest.config
    if not isinstance(config, dict) or "sweep" not in config:
        raise StoreError(f"store {store}: its manifest holds no sweep to continue.")
    spec = SweepSpec.from_dict(config["sweep"], source=f"store {store}")
    began = config.get("data") if data is None else data
    return sweep(
        spec, store=store, data=began, layers=layers, retry_failed=retry_failed, other_build=other_build, **options
    )


def run_plan(
    plan: Plan,
    workshop: Workshop,
    store: SweepStore,
    executor: Executor,
    *,
    threads: int = 1,
    memory_limit: float | None = None,
    retry_failed: bool = False,
    progress: Progress | None = None,
    watch: Callable[[Tally], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Tally:
    """Run what a store lacks of a plan, and return how it went; parameters and errors as for `sweep`."""
    left = set(store.pending(retry_failed=retry_failed))
    total = plan.n_runs
    began = time.perf_counter()
    tally = Tally(total, done=total - len(store.pending(retry_failed=True)), to_run=len(left))
    if isinstance(executor, ThreadExecutor):
        limit = available_memory() if memory_limit is None else memory_limit
        executor = ThreadExecutor(workers_within(executor.workers, plan.memory, limit))

    def told(**changes: int) -> None:
        nonlocal tally
        tally = replace(tally, **changes, seconds=time.perf_counter() - began, surfaces=workshop.count)
        if watch is not None:
            watch(tally)
        if progress is not None:
            progress("scenarios", tally.done + tally.failed, total)

    told()
    job = Job(
        store=store.handle(),
        expansion=plan.expansion,
        order=[i for i in plan.order if i in left],
        workshop=workshop,
        threads=threads,
        memory=plan.memory,
        cancel=(lambda: False) if cancel is None else cancel,
        started=store.start,
        retried=lambda _index, _why: told(retried=tally.retried + 1),
    )
    events = executor.run(job)
    try:
        for done in events:
            store.finished(done.index)
            if done.error is not None:
                store.fail(done.index, done.error, done.stage, done.trace)
                told(failed=tally.failed + 1, ran=tally.ran + 1)
            else:
                told(done=tally.done + 1, ran=tally.ran + 1)
    finally:
        events.close()  # type: ignore[attr-defined]
        with suppress(OSError):  # a worker that died, also of a driver that did, may have left a file half written
            store.objects.tidy()
    return tally


def _spec(
    study: Any,
    axes: Any,
    scenarios: Any,
    combine: Literal["product", "zip"],
    title: str | None,
) -> SweepSpec:
    if isinstance(study, SweepSpec):
        if axes or scenarios:
            raise SweepError("the sweep has its own axes; give others with a Study.")
        return study
    if not isinstance(study, Study):
        hint = "Make one with rtmdx.Study.from_toml(path) or Study.from_dict(data)."
        raise InputError(f"study: found {type(study).__name__}, expected a Study or a SweepSpec.", hint=hint)
    return SweepSpec.build(study, axes=axes, scenarios=scenarios, combine=combine, title=title)


def _folder(data: Path_ | None) -> Path | None:
    return None if data is None else Path(data)


def _same_sweep(store: SweepStore, plan: Plan) -> None:
    found = store.manifest
    if found.sweep_id == plan.sweep_id:
        return
    then, now = found.config.get("inputs", {}), plan.inputs
    ids = tuple(s.id for s in found.scenarios)
    if ids == plan.expansion.ids:
        changed = sorted(k for k in {*then, *now} if then.get(k) != now.get(k))
        raise StoreError(
            f"store: holds this sweep of other inputs; changed since: {', '.join(changed[:3])}.",
            hint="Choose another store, or overwrite this one.",
        )
    raise StoreError(
        f"store: holds another sweep, {found.title!r} of {len(ids):,} scenarios.",
        hint="Choose another store, or overwrite this one.",
    )


def _same_build(store: SweepStore, other_build: bool) -> None:
    then, now = store.manifest.versions, versions_now()
    if then == now or other_build:
        return
    changed = [f"{k} {then.get(k)} then, {now.get(k)} now" for k in sorted({*then, *now}) if then.get(k) != now.get(k)]
    raise StoreError(
        f"store: was begun by another version or build ({'; '.join(changed[:2])}), so results may differ in their last "
        "bits.",
        hint="Use that version, or allow it (other_build=True, --other-build).",
    )
