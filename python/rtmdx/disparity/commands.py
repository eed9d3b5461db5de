"""`rtmdx disparity`: groups compared, and who lives where the terrain is risky."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rtmdx.report.options import Data, Json, MemoryLimit, Out, Quiet, Set, Threads, Tools

__all__ = ["add_disparity"]


def add_disparity(app: typer.Typer, tools: Tools) -> None:
    """Add the command."""

    @app.command("disparity")
    def disparity(
        study: Annotated[
            Path, typer.Argument(help=r"Study file (TOML) with a \[disparity] section.", show_default=False)
        ],
        out: Out = None,
        data: Data = None,
        changes: Set = None,
        threads: Threads = None,
        memory_limit: MemoryLimit = None,
        quiet: Quiet = False,
        as_json: Json = False,
    ) -> None:
        r"""Compare groups: rates, ratios crude and adjusted, under every denominator, and exposure to the terrain.

        With \[disparity.exposure] the study's terrain is made first.
        """
        with tools.session(quiet, as_json) as progress:
            from rtmdx.disparity.assessment import begin, data_folder, write_assessment
            from rtmdx.disparity.terminal import print_assessment
            from rtmdx.runs.run import fit, load
            from rtmdx.runs.study import Study
            from rtmdx.space.staging import require_new

            loaded = Study.from_toml(study, overrides=tools.changes(changes))
            folder = tools.data_folder(loaded, study, data)
            if out is not None:  # before anything is computed
                require_new(out)
            begun = begin(loaded, data=data_folder(loaded, study, folder))
            terrain = None
            if begun.residents is not None:
                limit = tools.limit(memory_limit)
                inputs, _ = load(loaded, data=folder, memory_limit=limit, progress=progress)
                terrain = fit(loaded, inputs, model_only=True, threads=threads, progress=progress)
            found = begun.finish(terrain, threads=threads)
            written = write_assessment(found, out) if out is not None else {}
            tools.present(found, print_assessment, out, written, quiet=quiet, as_json=as_json)
