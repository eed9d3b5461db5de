"""`rtmdx disparity`: groups compared, and who lives where the terrain is risky."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["add_disparity"]

Data = Annotated[
    Path | None,
    typer.Option("--data", help="Folder relative paths start from. Default: the study's own; else $RTMDX_DATA."),
]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Replace a field of the study.")]
Out = Annotated[
    Path | None, typer.Option("--out", help="Folder to make for disparity.json and disparity.html; must not exist.")
]


def add_disparity(app: typer.Typer, tools: Any) -> None:
    """Add the command; `tools` is what the command line lends, as `rtmdx.sweep.commands.Tools`."""

    @app.command("disparity")
    def disparity(
        study: Annotated[
            Path, typer.Argument(help=r"Study file (TOML) with a \[disparity] section.", show_default=False)
        ],
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
        r"""Compare groups: rates, ratios crude and adjusted, under every denominator, and exposure to the terrain.

        With \[disparity.exposure] the study's terrain is made first.
        """
        with tools.session(quiet, as_json) as progress:
            from rtmdx.disparity.assessment import begin, data_folder, write_assessment
            from rtmdx.runs.run import fit, load
            from rtmdx.runs.study import Study
            from rtmdx.space.staging import require_free

            loaded = Study.from_toml(study, overrides=tools.changes(changes))
            folder = tools.data_folder(loaded, study, data)
            if out is not None:  # before anything is computed
                require_free(out.absolute(), "output folder", overwrite=False, folder=True)
            begun = begin(loaded, data=data_folder(loaded, study, folder))
            terrain = None
            if begun.residents is not None:
                limit = tools.limit(memory_limit)
                inputs, _ = load(loaded, data=folder, memory_limit=limit, progress=progress)
                terrain = fit(loaded, inputs, model_only=True, threads=threads, progress=progress)
            found = begun.finish(terrain, threads=threads)
            written = write_assessment(found, out) if out is not None else {}
            if as_json:
                tools.print_json(found.to_dict())
            elif not quiet:
                from rich.console import Console

                from rtmdx.disparity.terminal import print_assessment

                console = Console()
                print_assessment(console, found)
                if out is not None:
                    tools.print_written(console, out, written)
