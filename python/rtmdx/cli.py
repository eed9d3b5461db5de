"""The command line. Knows only the public API; results go to stdout, everything else to stderr.

Exit codes: 0 done; 1 a defect of rtmdx (with a traceback: please report it); 2 something to mend
in the command, the study, its data or the output folder (one clear message); 130 interrupted.
"""

from __future__ import annotations

import json
import os
import sys
import tomllib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from rtmdx.disparity.commands import add_disparity
from rtmdx.errors import InputError, RtmdxError
from rtmdx.evaluate.commands import add_evaluate
from rtmdx.priority.commands import add_priority
from rtmdx.report.options import Data, Json, MemoryLimit, Overwrite, Quiet, Set, Threads, Tools
from rtmdx.sweep.commands import add_sweep

if TYPE_CHECKING:
    from rtmdx.runs.study import Study

os.environ["PROJ_NETWORK"] = "OFF"  # offline, always

app = typer.Typer(
    name="rtmdx",
    help="Risk Terrain Modeling: which features of the landscape go with crime, how far they reach, and where they "
    "come together. Places, never people.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="Exit codes: 0 done; 1 a defect of rtmdx; 2 something to mend in the command, the study, its data or the "
    "output folder; 130 interrupted.",
)

Out = Annotated[Path, typer.Option("--out", help="Folder to make; must not exist.", show_default=False)]


def _version(value: bool) -> None:
    if value:
        import rtmdx

        print(f"rtmdx {rtmdx.__version__}")
        raise typer.Exit()


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    out: Out,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the city.")] = 0,
    threads: Threads = None,
    memory_limit: MemoryLimit = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Make a synthetic city with planted risks, model it, and compare planted with recovered."""
    with _session(quiet, as_json) as progress:
        from rtmdx.demo import make_city, recovery
        from rtmdx.disparity.assessment import assess
        from rtmdx.priority.assessment import begin as begin_priority
        from rtmdx.runs.outputs import output_folder, summary, write_outputs
        from rtmdx.runs.run import fit, load
        from rtmdx.runs.study import Study

        limit = _limit(memory_limit)
        with output_folder(out, overwrite=overwrite, extra=("city",)) as folder:
            progress("city", 0, 1)
            city = make_city(seed)
            study = Study.from_toml(city.write(folder / "city"))
            progress("city", 1, 1)
            inputs, estimate = load(study, data=folder / "city", memory_limit=limit, progress=progress)
            progress.say(f"Estimate: {estimate}")
            terrain = fit(study, inputs, threads=threads, progress=progress)
            found = recovery(city, terrain)
            found.to_csv(folder / "city" / "planted.csv", index=False)
            exposed = assess(study, data=folder / "city", terrain=terrain, threads=threads)
            first = begin_priority(study, inputs, data=folder / "city").finish(terrain, threads=threads)
            sections = [first.section(), exposed.section()]
            written = write_outputs(terrain, folder, sections=sections, progress=progress)
        written["city/"] = "the synthetic city: layers, study.toml to copy and edit, what was planted"
        if as_json:
            planted = json.loads(found.to_json(orient="records"))
            _print_json({**summary(terrain, sections), "out": str(out), "planted": planted})
        elif not quiet:
            from rtmdx.disparity.terminal import print_assessment
            from rtmdx.priority.terminal import print_first
            from rtmdx.report.terminal import print_recovery, print_summary

            console = Console()
            print_summary(console, summary(terrain))
            print_recovery(console, found)
            console.print()
            print_first(console, first)
            console.print()
            print_assessment(console, exposed)
            _print_written(console, out, written)


@app.command()
def run(
    study: Annotated[Path, typer.Argument(help="Study file (TOML).", show_default=False)],
    out: Out,
    data: Data = None,
    changes: Set = None,
    threads: Threads = None,
    memory_limit: MemoryLimit = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    r"""Run a study: from layers to a risk terrain, its outputs and report, with its \[disparity] and \[priority]."""
    with _session(quiet, as_json) as progress:
        from rtmdx.disparity.assessment import begin, data_folder
        from rtmdx.priority.assessment import begin as begin_priority
        from rtmdx.runs.outputs import output_folder, summary, write_outputs
        from rtmdx.runs.run import fit, load

        loaded, folder = _load(study, data, changes)
        limit = _limit(memory_limit)
        with output_folder(out, overwrite=overwrite) as staging:
            begun = begin(loaded, data=data_folder(loaded, study, folder)) if loaded.disparity else None
            inputs, estimate = load(loaded, data=folder, memory_limit=limit, progress=progress)
            places = begin_priority(loaded, inputs, data=folder) if loaded.priority else None
            progress.say(f"Estimate: {estimate}")
            terrain = fit(loaded, inputs, threads=threads, progress=progress)
            found = None if begun is None else begun.finish(terrain, threads=threads)
            first = None if places is None else places.finish(terrain, threads=threads, progress=progress)
            sections = [s.section() for s in (first, found) if s is not None]
            written = write_outputs(terrain, staging, sections=sections, progress=progress)
        if as_json:
            _print_json({**summary(terrain, sections), "out": str(out)})
        elif not quiet:
            from rtmdx.disparity.terminal import print_assessment
            from rtmdx.priority.terminal import print_first
            from rtmdx.report.terminal import print_summary

            console = Console()
            print_summary(console, summary(terrain))
            if first is not None:
                console.print()
                print_first(console, first)
            if found is not None:
                console.print()
                print_assessment(console, found)
            _print_written(console, out, written)


@app.command()
def tiled(
    study: Annotated[Path, typer.Argument(help="Study file (TOML).", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Zarr store to make.", show_default=False)],
    data: Data = None,
    changes: Set = None,
    tile: Annotated[int, typer.Option("--tile", min=1, help="Cells along a tile, in whole 1024s.")] = 2048,
    executor: Annotated[str, typer.Option("--executor", help="threads or ray.")] = "threads",
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Tiles at a time; as many as there are cores by default.")
    ] = None,
    address: Annotated[
        str | None, typer.Option("--address", help="Ray cluster to join, host:port. Default: Ray on this machine.")
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run a study whose grid does not fit in memory, tile by tile: its model, and its scores as Zarr."""
    with _session(quiet, as_json) as progress:
        from rtmdx.sweep.tiled import run_tiled

        loaded, folder = _load(study, data, changes)
        terrain = run_tiled(
            loaded,
            out,
            data=folder,
            tile=tile,
            executor=executor,
            workers=workers,
            address=address,
            overwrite=overwrite,
            progress=progress,
        )
        if as_json:
            _print_json({**terrain.to_dict(), "out": str(out)})
        elif not quiet:
            from rtmdx.report.terminal import print_tiled

            print_tiled(Console(), terrain.to_dict(), str(out))


@app.command()
def check(
    study: Annotated[Path, typer.Argument(help="Study file (TOML).", show_default=False)],
    data: Data = None,
    changes: Set = None,
    memory_limit: MemoryLimit = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Report everything wrong with a study at once, and what a run of it would need."""
    with _session(quiet, as_json) as progress:
        from rtmdx.report.terminal import print_check
        from rtmdx.runs.check import check as check_study

        loaded, inputs, estimate = check_study(
            study,
            data=lambda found: _data_folder(found, study, data),
            overrides=_parse_changes(changes),
            memory_limit=_limit(memory_limit),
            progress=progress,
        )
        if loaded.disparity is not None:
            from rtmdx.disparity.assessment import begin, data_folder

            begin(loaded, data=data_folder(loaded, study, _data_folder(loaded, study, data)))
        if loaded.priority is not None:
            from rtmdx.priority.assessment import begin as begin_priority

            begin_priority(loaded, inputs, data=_data_folder(loaded, study, data))
        if as_json:
            _print_json(
                {
                    "schema_version": 1,
                    "status": "ok",
                    "study_id": loaded.id,
                    "cells": inputs.grid.n_cells,
                    "variables": loaded.n_variables,
                    "events": len(inputs.events),
                    "estimate": {"memory_bytes": round(estimate.memory), "seconds": round(estimate.seconds, 1)},
                    "findings": [{"code": f.code, "where": f.where, "message": f.message} for f in inputs.findings],
                }
            )
        elif not quiet:
            print_check(Console(), loaded, inputs, estimate)


@app.command()
def schema() -> None:
    """Print the JSON schema of a study file."""
    from rtmdx.runs.study import Study

    _print_json(Study.model_json_schema())


@app.command()
def inspect(
    result: Annotated[
        str, typer.Argument(help="Folder of a run, or store of a sweep (folder or URL).", show_default=False)
    ],
    as_json: Json = False,
) -> None:
    """Show what a finished run holds: model, validity, inputs, provenance; or what a sweep's store holds by now."""
    with _session(quiet=True, as_json=as_json):
        from rtmdx.sweep.show import describe_store, store_lines
        from rtmdx.sweep.store import SweepStore

        if "://" in result or SweepStore.exists(result):
            with SweepStore.open(result) as store:
                state = describe_store(store)
            if as_json:
                _print_json(state)
            else:
                print("\n".join(store_lines(state)))
            return
        from rtmdx.report.terminal import print_disparity, print_provenance, print_summary
        from rtmdx.runs.outputs import read_summary

        found = read_summary(Path(result))
        if as_json:
            _print_json(found)
        else:
            print_summary(Console(), found)
            if "disparity" in found:
                print_disparity(Console(), found["disparity"])
            print_provenance(Console(), found)


@contextmanager
def _session(quiet: bool, as_json: bool) -> Iterator[_Progress]:
    """Show progress on stderr; turn a user's error into one message and exit code 2."""
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    progress = _Progress(errors, hidden=quiet or as_json)
    try:
        with warnings.catch_warnings(record=True) as caught, progress:
            warnings.filterwarnings("always", module="pyogrio")  # what GDAL says of a layer, as notes
            yield progress
        for text in dict.fromkeys(str(w.message) for w in caught):
            progress.say(f"note: {text}")
    except RtmdxError as error:
        if as_json:
            _print_json({"schema_version": 1, "status": "error", "error": error.to_dict()})
        errors.print("[bold red]error:[/] ", end="")
        errors.print(str(error), markup=False)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        if as_json:
            _print_json({"schema_version": 1, "status": "interrupted"})
        errors.print("interrupted.")
        raise typer.Exit(130) from None


class _Progress:
    """A bar per stage on a terminal, a line per finished stage elsewhere."""

    LABELS = {  # noqa: RUF012
        "city": "Making the city",
        "plan": "Planning the sweep",
        "layers": "Reading layers",
        "surfaces": "Distance and density",
        "culling": "Culling variables",
        "stepwise": "Selecting the model",
        "terrain": "Risk terrain",
        "priority": "Which places first",
        "stability": "Repeating the selection",
        "outputs": "Writing outputs",
        "verify": "Verifying",
    }

    def __init__(self, console: Console, *, hidden: bool) -> None:
        self._console, self._hidden = console, hidden
        self._tasks: dict[str, Any] = {}
        self._bars: Any = None

    def __enter__(self) -> _Progress:
        if not self._hidden and self._console.is_terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            self._bars = Progress(
                TextColumn("{task.description:<22}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=self._console,
            )
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def say(self, text: str) -> None:
        """Print one line between the stages."""
        if not self._hidden:
            self._console.print(text, markup=False)

    def __call__(self, stage: str, done: int, total: int) -> None:
        if self._hidden:
            return
        label = self.LABELS.get(stage, stage.capitalize())
        if self._bars is None:
            if done >= total and stage not in self._tasks:
                self._tasks[stage] = None  # said once
                self._console.print(f"{label}: {done} of {total}")
            return
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(label, total=total)
        self._bars.update(self._tasks[stage], completed=done, total=total)


def _load(path: Path, data: Path | None, changes: list[str] | None) -> tuple[Study, Path]:
    from rtmdx.runs.study import Study

    study = Study.from_toml(path, overrides=_parse_changes(changes))
    return study, _data_folder(study, path, data)


def _data_folder(study: Study, path: Path, data: Path | None) -> Path:
    """--data, else the study's own folder, else (where its area is not there) RTMDX_DATA."""
    own, named = path.absolute().parent, os.environ.get("RTMDX_DATA")
    if data is None and named and not (study.area.path and (own / study.area.path).exists()):
        data = Path(named)
    return data or own


def _parse_changes(changes: list[str] | None) -> dict[str, Any]:
    return dict(_parse_change(c) for c in changes or [])


def _parse_change(text: str) -> tuple[str, Any]:
    """Split FIELD=VALUE; the value is read as TOML, and as text where it is none."""
    field, equals, value = text.partition("=")
    if not equals or not field.strip():
        raise InputError(f"--set: found {text!r}, expected FIELD=VALUE, for example grid.cell_size=50.")
    try:
        return field.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return field.strip(), value.strip()


def _limit(text: str | None) -> float | None:
    from rtmdx.runs.estimate import parse_memory

    return None if text is None else parse_memory(text)


def _print_json(data: Any) -> None:
    print(json.dumps(data, indent=1, allow_nan=False))


def _print_written(console: Console, out: Path, written: dict[str, str]) -> None:
    console.print(f"\n[bold]Written to[/] {escape(str(out))}", highlight=False)
    width = max(map(len, written))
    for name, text in written.items():
        console.print(f"  {name:<{width}}  [dim]{text}[/]", highlight=False)


_TOOLS = Tools(_session, _parse_changes, _limit, _data_folder, _print_json, _print_written)
add_disparity(app, _TOOLS)
add_sweep(app, _TOOLS)
add_priority(app, _TOOLS)
add_evaluate(app, _TOOLS)


def main() -> None:
    """Entry point of the ``rtmdx`` command."""
    try:
        app()
    except KeyboardInterrupt:  # before or after a command's own handling
        sys.exit(130)


if __name__ == "__main__":
    main()
