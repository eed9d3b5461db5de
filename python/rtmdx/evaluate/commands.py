"""`rtmdx evaluate`: a plan log against what happened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rtmdx.sweep.commands import Tools

__all__ = ["add_evaluate"]


def add_evaluate(app: typer.Typer, tools: Tools) -> None:
    """Add the command to the command line."""

    @app.command("evaluate")
    def evaluate(
        plan: Annotated[
            Path,
            typer.Argument(
                help="Evaluation file (TOML): events, places, plan log, windows, controls.",
                show_default=False,
            ),
        ],
        out: Annotated[
            Path | None,
            typer.Option("--out", help="Folder to make: JSON, CSV, HTML, GeoPackage; must not exist."),
        ] = None,
        data: Annotated[
            Path | None,
            typer.Option("--data", help="Folder relative paths start from. Default: the file's own; else $RTMDX_DATA."),
        ] = None,
        changes: Annotated[
            list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Replace a field of the file.")
        ] = None,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier result in --out.")] = False,
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No summary; errors only.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="One machine-readable result on stdout.")] = False,
    ) -> None:
        """Say whether actions went with fewer events: displacement differences, checks and caveats."""
        with tools.session(quiet, as_json):
            from rtmdx.evaluate.assessment import assess, write_assessment
            from rtmdx.evaluate.spec import EvaluationSpec
            from rtmdx.space.staging import require_free

            spec, own = EvaluationSpec.from_toml(plan, overrides=tools.changes(changes)), plan.absolute().parent
            if out is not None:  # before anything is computed
                require_free(out.absolute(), "output folder", overwrite=overwrite, folder=True)
            found = assess(spec, data=data or _data(spec, own), folder=own)
            written = write_assessment(found, out, overwrite=overwrite) if out is not None else {}
            if as_json:
                tools.print_json(found.to_dict())
            elif not quiet:
                from rich.console import Console

                from rtmdx.evaluate.terminal import print_assessment

                console = Console()
                print_assessment(console, found)
                if out is not None:
                    tools.print_written(console, out, written)

    @app.command("evaluate-schema", hidden=True)
    def schema() -> None:
        """Print the JSON schema of an evaluation file."""
        from rtmdx.evaluate.spec import EvaluationSpec

        tools.print_json(EvaluationSpec.model_json_schema())


def _data(spec: object, own: Path) -> Path:
    """The file's own folder, else (where the events are not there) RTMDX_DATA."""
    from rtmdx.evaluate.spec import EvaluationSpec

    assert isinstance(spec, EvaluationSpec)
    named = os.environ.get("RTMDX_DATA")
    return Path(named) if named and not (own / str(spec.events.path)).exists() else own
