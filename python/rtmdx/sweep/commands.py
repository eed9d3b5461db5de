"""`rtmdx sweep ...`: plan, run, resume, verify and export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtmdx.report.options import Data, Json, Quiet, Tools

if TYPE_CHECKING:
    from rtmdx.sweep.driver import Tally

__all__ = ["add_sweep"]

File = Annotated[Path, typer.Argument(help="Sweep file (TOML): a base study and its axes.", show_default=False)]
Store = Annotated[str, typer.Argument(help="Store of a sweep: a folder, or s3://bucket/prefix.", show_default=False)]
Into = Annotated[
    str, typer.Option("--store", help="Folder, or s3://bucket/prefix; made, or continued.", show_default=False)
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Replace a field of the base study.")
]
Runner = Annotated[str, typer.Option("--executor", help="serial, threads or ray.")]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="Scenarios at a time; as many as there are cores by default.")
]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Threads of each scenario.")]
Address = Annotated[
    str | None, typer.Option("--address", help="Ray cluster to join, host:port. Default: Ray on this machine.")
]
Retries = Annotated[int, typer.Option("--retries", min=0, help="Of a scenario whose Ray worker or node died.")]
Cache = Annotated[Path | None, typer.Option("--cache", help="Folder that keeps surfaces across sweeps.")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Also run scenarios that failed before.")]
OtherBuild = Annotated[bool, typer.Option("--other-build", help="Continue what another version or build began.")]
MemoryLimit = Annotated[str | None, typer.Option("--memory-limit", help="Memory the sweep may use, for example 8GB.")]


def add_sweep(app: typer.Typer, tools: Tools) -> None:
    """Add the commands of sweeps to the command line."""
    group = typer.Typer(
        name="sweep", help="Run a study in many variants, kept in one store.", no_args_is_help=True,
        rich_markup_mode="rich",
    )  # fmt: skip
    _add_plan(group, tools)
    _add_run(group, tools)
    _add_resume(group, tools)
    _add_verify(group, tools)
    _add_export(group, tools)
    _add_schema(group, tools)

    app.add_typer(group)


def _add_plan(group: typer.Typer, tools: Tools) -> None:
    @group.command("plan")
    def plan(
        sweep: File,
        store: Annotated[str | None, typer.Option("--store", help="Also say what this store holds already.")] = None,
        data: Data = None,
        changes: Set = None,
        memory_limit: MemoryLimit = None,
        as_json: Json = False,
    ) -> None:
        """Say what a sweep would do: runs, grids, surfaces, memory and time."""
        with tools.session(as_json, as_json) as progress:
            from rtmdx.sweep.axes import read_sweep
            from rtmdx.sweep.driver import plan_sweep

            spec, folder = read_sweep(sweep, overrides=tools.changes(changes))
            made = plan_sweep(
                spec,
                store=store,
                data=tools.data_folder(spec.study, folder / "study.toml", data),
                memory_limit=tools.limit(memory_limit),
                progress=progress,
            )
        if as_json:
            tools.print_json(made.to_dict())
        else:
            print(made)


def _add_run(group: typer.Typer, tools: Tools) -> None:
    @group.command("run")
    def run(
        sweep: File,
        store: Into,
        data: Data = None,
        changes: Set = None,
        executor: Runner = "threads",
        workers: Workers = None,
        threads: Threads = 1,
        address: Address = None,
        retries: Retries = 2,
        cache: Cache = None,
        memory_limit: MemoryLimit = None,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another sweep's store.")] = False,
        retry_failed: RetryFailed = False,
        other_build: OtherBuild = False,
        quiet: Quiet = False,
        as_json: Json = False,
    ) -> None:
        """Run a sweep, or continue it where its store exists."""
        with tools.session(quiet, as_json) as progress:
            from rtmdx.sweep.axes import read_sweep
            from rtmdx.sweep.driver import sweep as run_sweep

            spec, folder = read_sweep(sweep, overrides=tools.changes(changes))
            _follow(
                tools, store, quiet, as_json, progress,
                lambda watch: run_sweep(
                    spec, store=store, data=tools.data_folder(spec.study, folder / "study.toml", data),
                    executor=executor, workers=workers, threads=threads, address=address, retries=retries,
                    cache_folder=cache, memory_limit=tools.limit(memory_limit), overwrite=overwrite,
                    retry_failed=retry_failed, other_build=other_build, watch=watch,
                ),
            )  # fmt: skip


def _add_resume(group: typer.Typer, tools: Tools) -> None:
    @group.command("resume")
    def resume(
        store: Store,
        data: Data = None,
        executor: Runner = "threads",
        workers: Workers = None,
        threads: Threads = 1,
        address: Address = None,
        retries: Retries = 2,
        cache: Cache = None,
        memory_limit: MemoryLimit = None,
        retry_failed: RetryFailed = False,
        other_build: OtherBuild = False,
        quiet: Quiet = False,
        as_json: Json = False,
    ) -> None:
        """Continue a sweep from its store alone; what is complete stays as it is."""
        with tools.session(quiet, as_json) as progress:
            from rtmdx.sweep.driver import resume as resume_sweep

            _follow(
                tools, store, quiet, as_json, progress,
                lambda watch: resume_sweep(
                    store, data=data, executor=executor, workers=workers, threads=threads, address=address,
                    retries=retries, cache_folder=cache, memory_limit=tools.limit(memory_limit),
                    retry_failed=retry_failed, other_build=other_build, watch=watch,
                ),
            )  # fmt: skip


def _follow(
    tools: Tools, store: str, quiet: bool, as_json: bool, progress: Any, go: Callable[[Callable[[Tally], None]], Any]
) -> None:
    """Run a sweep with its bar, and say how it went; exit code 2 where scenarios failed."""
    from rich.console import Console

    from rtmdx.sweep.bar import SweepBar, sentence

    told: list[Tally] = []
    with SweepBar(Console(stderr=True), hidden=quiet or as_json) as bar:

        def watch(tally: Tally) -> None:
            told[:] = [tally]
            bar(tally)

        go(watch)
    last = told[-1]
    if as_json:
        tools.print_json(
            {
                "schema_version": 1,
                "status": "ok" if not last.failed else "failed",
                "store": store,
                "total": last.total,
                "done": last.done,
                "failed": last.failed,
                "retried": last.retried,
                "seconds": round(last.seconds, 3),
                "surfaces": {
                    "asked": last.surfaces.asked,
                    "computed": last.surfaces.computed,
                    "from_disk": last.surfaces.from_disk,
                },
            }
        )
    elif not quiet:
        print(sentence(last))
        print(f"Store: {store}")
    failed = last.total - last.done
    if failed:
        progress.say(f"{failed:,} scenarios failed: see `rtmdx inspect {store}`; `rtmdx sweep resume --retry-failed`.")
        raise typer.Exit(2)


def _add_verify(group: typer.Typer, tools: Tools) -> None:
    @group.command("verify")
    def verify(
        store: Store,
        repair: Annotated[
            bool, typer.Option("--repair", help="Forget damaged scenarios, so that resume runs them again.")
        ] = False,
        quiet: Quiet = False,
        as_json: Json = False,
    ) -> None:
        """Compute every digest of a store anew; exit code 2 where something is damaged."""
        with tools.session(quiet, as_json) as progress:
            from rtmdx.sweep.store import SweepStore

            with SweepStore.open(store, "a" if repair else "r") as opened:
                problems = opened.verify(progress)
                damaged = sorted({p.index for p in problems if p.index is not None})
                for index in damaged if repair else ():
                    opened.discard(index)
            if as_json:
                tools.print_json({"schema_version": 1, "status": "ok" if not problems else "damaged",
                                  "problems": [str(p) for p in problems], "damaged": damaged,
                                  "repaired": repair})  # fmt: skip
            elif problems:
                for problem in problems:
                    print(problem)
            elif not quiet:
                print(f"{store}: every record agrees with what it describes.")
            if problems:
                progress.say(f"{len(problems):,} problems.")
                if repair and damaged:
                    progress.say(f"{len(damaged):,} scenarios are pending again: `rtmdx sweep resume {store}`.")
                raise typer.Exit(2)


def _add_export(group: typer.Typer, tools: Tools) -> None:
    @group.command("export")
    def export(
        store: Store,
        scenario: Annotated[str, typer.Argument(help="Its id, or its place (0, 1, ...).", show_default=False)],
        out: Annotated[Path, typer.Option("--out", "-o", help="Folder to make.", show_default=False)],
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")] = False,
        quiet: Quiet = False,
        as_json: Json = False,
    ) -> None:
        """Write one scenario as cloud-optimised GeoTIFFs and a GeoPackage."""
        with tools.session(quiet, as_json):
            from rtmdx.sweep.results import open_sweep
            from rtmdx.sweep.terrain import export_scenario

            results = open_sweep(store)
            place = int(scenario) if scenario.isdecimal() and scenario not in results.ids else scenario
            files = export_scenario(results.terrain(place), out, overwrite=overwrite)
            if as_json:
                tools.print_json({"schema_version": 1, "status": "ok", "files": [str(f) for f in files]})
            elif not quiet:
                print("\n".join(str(f) for f in files))


def _add_schema(group: typer.Typer, tools: Tools) -> None:
    @group.command("schema")
    def schema() -> None:
        """Print the JSON schema of a sweep, its study included."""
        from rtmdx.sweep.axes import SweepSpec

        tools.print_json(SweepSpec.model_json_schema())
