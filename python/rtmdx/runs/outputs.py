"""The folder a run leaves: made beside its final place and renamed when whole."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rtmdx.errors import FileError, OutputError
from rtmdx.model import export
from rtmdx.model.staging import replacing
from rtmdx.model.terrain import RiskTerrain

__all__ = ["RESULT_FILE", "output_folder", "read_summary", "summary", "write_outputs"]

RESULT_FILE = "run.json"


@contextmanager
def output_folder(out: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Give a staging folder that takes the name `out` when the block ends without an error.

    Parameters
    ----------
    out : path
        Final folder. Must not exist, unless `overwrite` and it is empty or holds an earlier
        run's result (a folder with anything else is never removed).
    overwrite : bool

    Raises
    ------
    OutputError
        `out` exists, is no folder, or cannot be written.
    """
    final = Path(out).absolute()
    if overwrite:
        _require_earlier_result(final)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"output folder {final}: cannot be made: {error.strerror or error}.", hint="Choose a folder you may write."
        ) from None
    with replacing(final, "output folder", overwrite=overwrite, folder=True) as staging:
        staging.mkdir()
        yield staging


def write_outputs(
    terrain: RiskTerrain, folder: Path, *, progress: Callable[[str, int, int], None] | None = None
) -> dict[str, str]:
    """Write every output of a run into `folder`; return what each file is.

    ``run.json`` is written last: a folder without it is not whole.
    """
    steps: list[tuple[str, str, Callable[[Path], None]]] = [
        ("terrain.zarr", "score, expected count and events per cell (Zarr)", terrain.to_zarr),
        ("score.tif", "relative risk score (cloud-optimised GeoTIFF)", lambda p: terrain.to_geotiff(p, "score")),
        (
            "expected.tif",
            "expected events per cell (cloud-optimised GeoTIFF)",
            lambda p: terrain.to_geotiff(p, "expected"),
        ),
        ("terrain.gpkg", "cells, model and factors (GeoPackage)", terrain.to_geopackage),
        (
            "tables",
            "cells, factors, variables, model, validity, trace (CSV)",
            lambda p: export.write_tables(terrain, p),
        ),
        ("report.html", "report, one file, opens offline", terrain.report),
    ]
    for i, (name, _, write) in enumerate(steps):
        if progress is not None:
            progress("outputs", i, len(steps))
        write(folder / name)
    written = {name: text for name, text, _ in steps}
    result = {**summary(terrain), "outputs": written}
    (folder / RESULT_FILE).write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if progress is not None:
        progress("outputs", len(steps), len(steps))
    return {**written, RESULT_FILE: "this result, machine-readable"}


def summary(terrain: RiskTerrain) -> dict[str, Any]:
    """Return the result as plain data: what ``--json`` prints and ``run.json`` holds."""
    model, grid, cleaning = terrain.model, terrain.grid, terrain.events.cleaning
    kept_by_culling = set(terrain.culling.selected)
    return {
        "schema_version": 1,
        "status": "ok",
        "title": terrain.title,
        "study_id": terrain.provenance["study_id"],
        "events": {
            "name": terrain.events.name,
            "period": terrain.events.period,
            "read": cleaning.read,
            "counted": cleaning.kept,
            "dropped": dict(cleaning.dropped),
        },
        "grid": {
            "crs": grid.crs.to_string(),
            "unit": grid.unit,
            "rows": grid.shape[0],
            "cols": grid.shape[1],
            "cells": grid.n_cells,
            "cells_with_events": int((terrain.counts > 0).sum()),
            "cell_size": grid.cell_size,
            "block_length": terrain.block_length,
            "digest": grid.digest,
        },
        "factors": [
            {
                "name": f.name,
                "features": len(f),
                "geometry": f.geometry_type,
                "effect": f.effect,
                "read": f.cleaning.read,
                "dropped": dict(f.cleaning.dropped),
                "mended": f.cleaning.mended,
            }
            for f in terrain.factors
        ],
        "variables": {
            "generated": terrain.design.n_generated,
            "kept": len(terrain.design.variables),
            "culled_to": len(kept_by_culling),
            "selected": len(model.variables),
        },
        "model": {
            "family": model.family,
            "intercept": float(model.intercept),
            "log_dispersion": None if model.log_dispersion is None else float(model.log_dispersion),
            "log_likelihood": float(model.log_likelihood),
            "aic": float(model.aic),
            "bic": float(model.bic),
            "bic_by_family": {k: float(m.bic) for k, m in terrain.selection.models.items()},
            "variables": [
                {str(k): _plain(v) for k, v in row.items()} for row in terrain.table.to_dict(orient="records")
            ],
        },
        "score": {"lowest": float(terrain.score_cells.min()), "highest": float(terrain.score_cells.max())},
        "expected_total": float(terrain.expected_cells.sum()),
        "bands": [
            {
                "name": b.name,
                "lower": _plain(b.lower),
                "cells": b.n_cells,
                "events": b.n_events,
                "area_share": b.area_share,
                "event_share": _plain(b.event_share),
            }
            for b in terrain.bands
        ],
        "bands_note": terrain.bands_note,
        "validity": {
            "fitted": [v.to_dict() for v in terrain.fitted],
            "holdout": [v.to_dict() for v in terrain.holdout],
        },
        "findings": [{"code": f.code, "where": f.where, "message": f.message} for f in terrain.findings],
        "provenance": dict(terrain.provenance),
        "study": dict(terrain.config),
    }


def _plain(value: Any) -> Any:
    """NumPy scalars to Python's, what is not finite to None (JSON has no NaN)."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _require_earlier_result(final: Path) -> None:
    """Refuse to replace a folder that holds anything but the result of a run."""
    content = [p.name for p in final.iterdir()] if final.is_dir() else []
    if content and RESULT_FILE not in content:
        raise OutputError(
            f"output folder {final}: holds other files ({', '.join(sorted(content)[:3])}) and no earlier result.",
            hint="Only an earlier result is overwritten; choose another folder.",
        )


def read_summary(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the ``run.json`` of a finished run.

    Raises
    ------
    FileError
        The folder does not exist, holds no finished run, or its ``run.json`` is damaged.
    """
    path = Path(folder)
    if path.name == RESULT_FILE:
        path = path.parent
    file = path / RESULT_FILE
    if not path.is_dir():
        raise FileError(f"result {path}: no such folder.", hint="Give the --out folder of a run.")
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileError(f"result {path}: holds no {RESULT_FILE}, so no finished run.", hint="Run it again.") from None
    except (OSError, ValueError) as error:
        raise FileError(f"result {file}: cannot be read ({error}).", hint="Run it again.") from None
    if not isinstance(data, dict) or data.get("status") != "ok":
        raise FileError(f"result {file}: is no result of rtmdx.")
    return data
