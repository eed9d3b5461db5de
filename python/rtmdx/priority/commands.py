"""`rtmdx prioritize`: which places come first, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rtmdx.sweep.commands import Tools

__all__ = ["add_priority"]

Data = Annotated[
    Path | None,
    typer.Option("--data", help="Folder relative paths start from. Default: the study's own; else $RTMDX_DATA."),
]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Replace a field of the study.")]
Out = Annotated[
    Path | None, typer.Option("--out", help="Folder to make for the page, tables and GeoPackage; must not exist.")
]


def add_priority(app: typer.Typer, tools: Tools) -> None:
    """Add the command."""

    @app.command("prioritize")
    def prioritize(
        study: Annotated[Path, typer.Argument(help=r"Study file (TOML) with a \[priority].", show_default=False)],
        out: Out = None,
        data: Data = None,
        changes: Set = None,
        threads: Annotated[int | None, typer.Option("--threads", min=1, help="Threads; all cores by default.")] = None,
        memory_limit: Annotated[
            str | None, typer.Option("--memory-limit", help="Refuse a run that needs more, for example 2GB.")
        ] = None,
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary; errors only.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="One machine-readable result on stdout.")] = False,
    ) -> None:
        """Say which places come first and why, what that captures, and what if the landscape were another."""
        with tools.session(quiet, as_json) as progress:
            from rtmdx.priority.assessment import prioritize as prioritize_study
            from rtmdx.priority.outputs import write_prioritization
            from rtmdx.runs.study import Study
            from rtmdx.space.staging import require_free

            loaded = Study.from_toml(study, overrides=tools.changes(changes))
            folder = tools.data_folder(loaded, study, data)
            if out is not None:  # before anything is computed
                require_free(out.absolute(), "output folder", overwrite=False, folder=True)
            found = prioritize_study(
                loaded, data=folder, threads=threads, memory_limit=tools.limit(memory_limit), progress=progress
            )
            written = write_prioritization(found, out) if out is not None else {}
            if as_json:
                tools.print_json(found.to_dict())
            elif not quiet:
                from rich.console import Console

                from rtmdx.priority.terminal import print_prioritization

                console = Console()
                print_prioritization(console, found)
                if out is not None:
                    tools.print_written(console, out, written)
