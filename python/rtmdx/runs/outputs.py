"""The folder a run leaves: made beside its final place and renamed when whole."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rtmdx.errors import FileError, MissingDependencyError, OutputError
from rtmdx.model import export
from rtmdx.model.terrain import RiskTerrain
from rtmdx.runs.sections import Section
from rtmdx.space.staging import replacing

__all__ = ["RESULT_FILE", "output_folder", "read_summary", "summary", "write_outputs"]

RESULT_FILE = "run.json"
_OUTPUTS = {
    "terrain.zarr": "score, expected count, posterior, exposure and events per cell (Zarr)",
    "score.tif": "relative risk score (cloud-optimised GeoTIFF)",
    "expected.tif": "expected events per cell (cloud-optimised GeoTIFF)",
    "posterior.tif": "what to expect of the next period, from terrain and history (cloud-optimised GeoTIFF)",
    "terrain.gpkg": "cells, model and factors (GeoPackage)",
    "tables": "cells, factors, variables, model, validity, trace (CSV)",
    "report.html": "report, one file, opens offline",
}


@contextmanager
def output_folder(
    out: str | os.PathLike[str], *, overwrite: bool = False, extra: tuple[str, ...] = ()
) -> Iterator[Path]:
    """Give a staging folder that takes the name `out` when the block ends without an error.

    Parameters
    ----------
    out : path
        Final folder. Must not exist, unless `overwrite` and it is empty or an earlier run's result as
        that run left it; a folder with anything else in it, or changed since, is never removed.
    overwrite : bool
    extra : tuple of str
        Names the caller writes beside a run's own.

    Raises
    ------
    OutputError
        `out` exists, is no folder, or cannot be written.
    MissingDependencyError
        A package the outputs need is not installed; said before anything is computed.
    """
    _require_writers()
    final = Path(out).absolute()
    if final.is_symlink() and final.is_dir():
        final = final.resolve()
    if overwrite:
        _require_earlier_result(final, {*_OUTPUTS, RESULT_FILE, *extra})
    missing = [p for p in (final.parent, *final.parent.parents) if not p.exists()]
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"output folder {final}: cannot be made: {error.strerror or error}.", hint="Choose a folder you may write."
        ) from None
    try:
        with replacing(final, "output folder", overwrite=overwrite, folder=True) as staging:
            staging.mkdir()
            yield staging
    except BaseException:
        for made in missing:  # innermost first; one that got other content stays
            with suppress(OSError):
                made.rmdir()
        raise


def write_outputs(
    terrain: RiskTerrain,
    folder: Path,
    *,
    sections: Sequence[Section] = (),
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, str]:
    """Write every output of a run into `folder`; return what each file is.

    `sections` of wings above go into the report and into ``run.json``, which is written last: a folder without it is
    not whole.
    """
    write: dict[str, Callable[[Path], None]] = {
        "terrain.zarr": terrain.to_zarr,
        "score.tif": lambda p: terrain.to_geotiff(p, "score"),
        "expected.tif": lambda p: terrain.to_geotiff(p, "expected"),
        "posterior.tif": lambda p: terrain.to_geotiff(p, "posterior"),
        "terrain.gpkg": terrain.to_geopackage,
        "tables": lambda p: export.write_tables(terrain, p),
        "report.html": lambda p: terrain.report(p, sections=sections),
    }
    outputs = {k: v for k, v in _OUTPUTS.items() if k != "posterior.tif" or terrain.posterior_risk is not None}
    for i, name in enumerate(outputs):
        if progress is not None:
            progress("outputs", i, len(outputs))
        write[name](folder / name)
    result = {**summary(terrain, sections), "outputs": outputs}
    (folder / RESULT_FILE).write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if progress is not None:
        progress("outputs", len(outputs), len(outputs))
    return {**outputs, RESULT_FILE: "this result, machine-readable"}


def summary(terrain: RiskTerrain, sections: Sequence[Section] = ()) -> dict[str, Any]:
    """Return the result as plain data: what ``--json`` prints and ``run.json`` holds, each section under its key."""
    model, grid, cleaning = terrain.model, terrain.grid, terrain.events.cleaning
    kept_by_culling = set(terrain.culling.selected)
    label: dict[str | None, str] = {v.name: v.factor_name for v in terrain.design.variables}
    result: dict[str, Any] = export.plain(
        {
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
            "exposure": None if terrain.exposure is None else terrain.exposure.to_dict(),
            "variables": {
                "generated": terrain.design.n_generated,
                "kept": len(terrain.design.variables),
                "culled_to": len(kept_by_culling),
                "selected": len(model.variables),
            },
            "cross_validation": None if terrain.fold_plan is None else terrain.fold_plan.to_dict(),
            "model": {
                "family": model.family,
                "intercept": model.intercept,
                "log_dispersion": model.log_dispersion,  # None too when the dispersion is 0: see at_boundary
                "at_boundary": model.at_boundary,
                "log_likelihood": model.log_likelihood,
                "aic": model.aic,
                "bic": model.bic,
                "bic_by_family": {k: m.bic for k, m in terrain.selection.models.items()},
                "steps": [
                    {
                        "action": s.action,
                        "variable": s.variable,
                        "replaced": s.replaced,
                        "factor": label[s.variable],
                        "bic_before": s.bic_before,
                        "bic_after": s.bic_after,
                        "tried": s.n_tried,
                    }
                    for s in terrain.selection.trace
                    if s.family == model.family and s.action != "stop"
                ],
                "districts": model.n_clusters,  # of the robust standard errors
                "exchanges": [
                    {"out": a.replaced, "in": a.variable, "bic": a.bic}
                    for a in terrain.selection.exchanges.get(model.family, ())
                ],
                "variables": terrain.table.to_dict(orient="records"),
            },
            "score": {"lowest": terrain.score_cells.min(), "highest": terrain.score_cells.max()},
            "expected_total": terrain.expected_cells.sum(),
            "bands": [
                {
                    "name": b.name,
                    "lower": b.lower,
                    "cells": b.n_cells,
                    "events": b.n_events,
                    "area_share": b.area_share,
                    "event_share": b.event_share,
                }
                for b in terrain.bands
            ],
            "bands_note": terrain.bands_note,
            "posterior": None if terrain.posterior_risk is None else terrain.posterior_risk.to_dict(),
            "validity": {
                "fitted": [v.to_dict() for v in terrain.fitted],
                "holdout": [v.to_dict() for v in terrain.holdout],
            },
            "stability": None if terrain.resampled is None else terrain.resampled.to_dict(),
            "diagnostics": None if terrain.diagnosed is None else terrain.diagnosed.to_dict(),
            "findings": [{"code": f.code, "where": f.where, "message": f.message} for f in terrain.findings],
            "provenance": terrain.provenance,
            "study": terrain.config,
        }
    )
    return {**result, **{s.key: dict(s.data) for s in sections}}


def _require_writers() -> None:
    extras = {"rasterio": "raster", "jinja2": "report"}
    missing = [name for name in extras if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"the outputs of a run need {' and '.join(missing)}, not installed here.",
            hint=f"pip install 'rtmdx[{','.join(extras[name] for name in missing)}]'",
        )


def _require_earlier_result(final: Path, known: set[str]) -> None:
    """Refuse to replace a folder unless it is the result of a run, as that run left it."""
    content = {p.name for p in final.iterdir()} if final.is_dir() else set()
    if not content:
        return
    other = sorted(content - known) or (sorted(content) if RESULT_FILE not in content else [])
    if other:
        raise OutputError(
            f"output folder {final}: holds more than an earlier result ({', '.join(other[:3])}).",
            hint="Only an earlier result is overwritten; choose another folder, or move these away.",
        )
    done = (final / RESULT_FILE).stat().st_mtime  # written last
    changed = sorted(str(p.relative_to(final)) for p in final.rglob("*") if p.lstat().st_mtime > done + 1.0)
    if changed:
        raise OutputError(
            f"output folder {final}: was changed since the run ({', '.join(changed[:3])}).",
            hint="Choose another folder, or move what you changed away.",
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
    needed = {"title", "events", "grid", "variables", "model", "score", "bands", "validity", "findings"}
    if not isinstance(data, dict) or data.get("schema_version") != 1 or not needed <= data.keys():
        raise FileError(f"result {file}: is no result of this version of rtmdx.", hint="Run it again.")
    return data
