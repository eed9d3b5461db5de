"""`rtmdx evaluate`: a plan log against what happened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from rtmdx.report.options import Json, Out, Overwrite, Quiet, Tools

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
        out: Out = None,
        data: Annotated[
            Path | None,
            typer.Option("--data", help="Folder relative paths start from. Default: the file's own; else $RTMDX_DATA."),
        ] = None,
        changes: Annotated[
            list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Replace a field of the file.")
        ] = None,
        overwrite: Overwrite = False,
        quiet: Quiet = False,
        as_json: Json = False,
    ) -> None:
        """Say whether actions went with fewer events: displacement differences, checks and caveats."""
        with tools.session(quiet, as_json):
            from rtmdx.evaluate.assessment import assess, write_assessment
            from rtmdx.evaluate.spec import EvaluationSpec
            from rtmdx.evaluate.terminal import print_assessment
            from rtmdx.space.staging import require_new

            spec, own = EvaluationSpec.from_toml(plan, overrides=tools.changes(changes)), plan.absolute().parent
            if out is not None:  # before anything is computed
                require_new(out, overwrite=overwrite)
            found = assess(spec, data=data or _data(spec, own), folder=own)
            written = write_assessment(found, out, overwrite=overwrite) if out is not None else {}
            tools.present(found, print_assessment, out, written, quiet=quiet, as_json=as_json)

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
