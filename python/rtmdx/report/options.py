"""What the commands share: options, and what the command line lends them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rtmdx.runs.study import Study

__all__ = ["Data", "Json", "MemoryLimit", "Out", "Overwrite", "Quiet", "Set", "Threads", "Tools"]

Out = Annotated[Path | None, typer.Option("--out", help="Folder to make for the results; must not exist.")]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Folder relative paths start from. Default: the study's own; if its area is not there, $RTMDX_DATA.",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FIELD=VALUE", help="Replace a field of the study, e.g. --set outcome.layer=robbery."
    ),
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads; all cores by default.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier result in --out.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary; errors only.")]
Json = Annotated[bool, typer.Option("--json", help="One machine-readable result on stdout.")]
MemoryLimit = Annotated[
    str | None, typer.Option("--memory-limit", help="Refuse a run that needs more, for example 2GB.")
]


@dataclass(frozen=True)
class Tools:
    """What the command line lends: sessions, arguments and printing.

    Attributes
    ----------
    session : callable
        ``session(quiet, as_json)``: shows progress, turns a user's error into one message.
    changes : callable
        Reads ``--set``.
    limit : callable
        Reads ``--memory-limit``.
    data_folder : callable
        ``data_folder(study, path, data)``: where relative paths start.
    print_json : callable
    print_written : callable
        ``print_written(console, out, files)``: says what was written where.
    """

    session: Callable[[bool, bool], AbstractContextManager[Any]]
    changes: Callable[[list[str] | None], dict[str, Any]]
    limit: Callable[[str | None], float | None]
    data_folder: Callable[[Study, Path, Path | None], Path]
    print_json: Callable[[Any], None]
    print_written: Callable[[Any, Path, dict[str, str]], None]

    def present(
        self, found: Any, show: Callable[[Any, Any], None], out: Path | None, written: dict[str, str], *, quiet: bool,
        as_json: bool,
    ) -> None:  # fmt: skip
        """Print a result, as JSON or by ``show(console, found)``, and what was written where."""
        if as_json:
            self.print_json(found.to_dict())
        elif not quiet:
            from rich.console import Console

            console = Console()
            show(console, found)
            if out is not None:
                self.print_written(console, out, written)
