"""What people look at: the HTML report and the terminal's summary."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from rtmdx.model.terrain import RiskTerrain
    from rtmdx.runs.sections import Section

__all__ = ["write_report"]


def write_report(
    terrain: RiskTerrain,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    sections: Sequence[Section] = (),
) -> None:
    """Write the report as one self-contained HTML file: no script, nothing loaded from elsewhere.

    Parameters
    ----------
    terrain : RiskTerrain
    path : path
    overwrite : bool
        Replace an existing file.
    sections : sequence of Section
        What other wings add, after the run's own.

    Raises
    ------
    MissingDependencyError
        Jinja is not installed.
    OutputError
        `path` exists (and not `overwrite`), or cannot be written.
    """
    from rtmdx.report.html import render
    from rtmdx.space.staging import replacing

    page = render(terrain, sections)
    with replacing(path, "report", overwrite=overwrite) as new:
        new.write_text(page, encoding="utf-8", newline="\n")
