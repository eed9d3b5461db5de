"""`rtmdx prioritize`: which places come first, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rtmdx.report.options import Data, Json, MemoryLimit, Out, Quiet, Set, Threads, Tools

__all__ = ["add_priority"]


def add_priority(app: typer.Typer, tools: Tools) -> None:
    """Add the command."""

    @app.command("prioritize")
    def prioritize(
        study: Annotated[Path, typer.Argument(help=r"Study file (TOML) with a \[priority].", show_default=False)],
        out: Out = None,
        data: Data = None,
        changes: Set = None,
        threads: Threads = None,
        memory_limit: MemoryLimit = None,
        quiet: Quiet = False,
        as_json: Json = False,
    ) -> None:
        """Say which places come first and why, what that captures, and what if the landscape were another."""
        with tools.session(quiet, as_json) as progress:
            from rtmdx.priority.assessment import prioritize as prioritize_study
            from rtmdx.priority.outputs import write_prioritization
            from rtmdx.priority.terminal import print_prioritization
            from rtmdx.runs.study import Study
            from rtmdx.space.staging import require_new

            loaded = Study.from_toml(study, overrides=tools.changes(changes))
            folder = tools.data_folder(loaded, study, data)
            if out is not None:  # before anything is computed
                require_new(out)
            found = prioritize_study(
                loaded, data=folder, threads=threads, memory_limit=tools.limit(memory_limit), progress=progress
            )
            written = write_prioritization(found, out) if out is not None else {}
            tools.present(found, print_prioritization, out, written, quiet=quiet, as_json=as_json)
