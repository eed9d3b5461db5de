"""One run: layers -> surfaces -> design -> culling -> stepwise -> terrain -> validity."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import Cancelled, InputError
from rtmdx.model.culling import cull
from rtmdx.model.design import Design, barely_varying, build_design
from rtmdx.model.families import with_clusters
from rtmdx.model.scores import relative_risk_score, risk_bands
from rtmdx.model.stepwise import StepwiseResult, stepwise
from rtmdx.model.terrain import RiskTerrain
from rtmdx.model.validity import Validity, validity
from rtmdx.runs.diagnose import diagnosed, require_diagnostics
from rtmdx.runs.estimate import Estimate, available_memory, estimate_run, require_memory
from rtmdx.runs.folds import make_folds
from rtmdx.runs.inputs import Inputs, load_inputs
from rtmdx.runs.provenance import provenance
from rtmdx.runs.stability import resampled
from rtmdx.runs.study import Study
from rtmdx.space.density import density_array
from rtmdx.space.layers import Events, Finding

if TYPE_CHECKING:
    import geopandas as gpd

    from rtmdx.model.posterior import PosteriorRisk

__all__ = ["Progress", "fit", "kernel_density", "load", "require_types", "run"]

Progress = Callable[[str, int, int], None]
_log = logging.getLogger("rtmdx")
_FEW_EVENTS = 50


def run(
    study: Study,
    *,
    data: str | Path | None = None,
    layers: Mapping[str, gpd.GeoDataFrame] | None = None,
    threads: int | None = None,
    memory_limit: float | None = None,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
) -> RiskTerrain:
    """Run a study: from layers to a risk terrain.

    Parameters
    ----------
    study : Study
    data : path, optional
        Folder the study's relative paths start from.
    layers : mapping of str to GeoDataFrame, optional
        Layers in memory by name ("area", "outcome", "holdout", or a factor's), in place of paths.
    threads : int, optional
        All cores by default. The result is the same for any number.
    memory_limit : float, optional
        Bytes; the run is refused before it starts when its estimate is larger. 80 % of the
        available memory by default.
    progress : callable, optional
        Called as ``progress(stage, done, total)``; stages are layers, surfaces, culling, stepwise, terrain,
        and stability where the study asks for it.
    cancel : callable, optional
        Asked often; when it returns True, `rtmdx.errors.Cancelled` is raised.

    Returns
    -------
    RiskTerrain

    Raises
    ------
    StudyError
        Problems in the study's layers, all of them: each (CRSError, FileError, InputError) is in ``.problems``.
    MemoryLimitError
        The grid needs more memory than allowed.
    InputError
        Too few events or blocks for the cross-validation, or an argument of the wrong type.
    FitError
        The model has no finite optimum.
    Cancelled
        `cancel` returned True.
    """
    inputs, _ = load(study, data=data, layers=layers, memory_limit=memory_limit, progress=progress, cancel=cancel)
    return fit(study, inputs, threads=threads, progress=progress, cancel=cancel)


def load(
    study: Study,
    *,
    data: str | Path | None = None,
    layers: Mapping[str, gpd.GeoDataFrame] | None = None,
    memory_limit: float | None = None,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
) -> tuple[Inputs, Estimate]:
    """Read a study's layers and estimate what its run needs; parameters and errors as for `run`."""
    require_types(study, layers, memory_limit, progress, cancel)
    require_diagnostics(study)
    limit = available_memory() if memory_limit is None else memory_limit

    def check_size(rows: int, cols: int, kept: int) -> None:
        require_memory(estimate_run(study, rows, cols, kept), limit, "grid")

    inputs = load_inputs(study, data=data, layers=layers, check_size=check_size, progress=progress, cancel=cancel)
    counts = inputs.events.counts(inputs.grid)
    _enough_events(study, inputs.events, counts)
    if study.model.folds != "stratified":  # raises where the area has too few blocks, the period too few days
        make_folds(study, inputs, counts)
    return inputs, estimate_run(study, *inputs.grid.shape, inputs.grid.n_cells)


def fit(
    study: Study,
    inputs: Inputs,
    *,
    design: Design | None = None,
    model_only: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
) -> RiskTerrain:
    """Fit a study to inputs already loaded; parameters as for `run`.

    Parameters
    ----------
    design : Design, optional
        The study's design on the inputs' grid, where it is at hand; built by default.
    model_only : bool
        Leave out posterior, diagnostics and stability. Model, terrain and the validity of scores are the same.
    """
    n_threads = _threads(threads)
    grid, model_spec = inputs.grid, study.model
    counts = inputs.events.counts(grid)
    _enough_events(study, inputs.events, counts)

    def check() -> None:
        if cancel is not None and cancel():
            raise Cancelled("cancelled by the caller's check.")

    check()
    if design is None:
        design = build_design(
            inputs.factors,
            grid,
            kernel=model_spec.kernel,
            min_support=model_spec.min_support,
            min_support_share=model_spec.min_support_share,
            impedance=inputs.impedance,
            threads=n_threads,
            progress=progress,
            cancel=cancel,
        )
    check()
    folds, plan = make_folds(study, inputs, counts)
    exposure = None if inputs.exposure is None else inputs.exposure.cells
    culling = cull(
        design,
        counts,
        folds,
        exposure=exposure,
        ridge=model_spec.ridge,
        mixing=model_spec.mixing,
        rule=model_spec.rule,
        n_penalties=model_spec.n_penalties,
        threads=n_threads,
        progress=progress,
        cancel=cancel,
    )
    check()
    forced = [i for i, factor in enumerate(study.factors) if factor.force]
    selection = stepwise(
        design,
        counts,
        sorted({*culling.selected, *_variables_of(study, design, forced)}),
        families=model_spec.families,
        exposure=exposure,
        forced_factors=forced,
        exchange=model_spec.exchange,
        alpha=model_spec.alpha,
        threads=n_threads,
        progress=progress,
        cancel=cancel,
    )
    selection = _robust(study, inputs, design, counts, selection)
    if progress is not None:
        progress("terrain", 0, 1)
    score = relative_risk_score(selection.model, design)
    expected = np.asarray(selection.model.expected(design, exposure), dtype=np.float64)
    bands, note = risk_bands(score, counts)
    findings = [*inputs.findings, *_result_findings(study, inputs, design, counts)]
    terrain = RiskTerrain(
        title=study.report.title or study.name,
        grid=grid,
        events=inputs.events,
        counts=counts,
        factors=inputs.factors,
        design=design,
        culling=culling,
        selection=selection,
        score_cells=score,
        expected_cells=expected,
        bands=bands,
        bands_note=note,
        fitted=(),
        holdout_cleaning=None if inputs.holdout is None else inputs.holdout.cleaning,
        findings=tuple(findings),
        block_length=study.grid.block_length,
        config=study.to_dict(),
        provenance=provenance(study, inputs),
        fold_plan=plan,
        exposure=inputs.exposure,
    )
    posterior = None if model_only else _posterior(study, terrain, check)
    fitted, holdout = _judge(study, inputs, terrain, posterior, n_threads)
    terrain = replace(terrain, posterior_risk=posterior, fitted=fitted, holdout=holdout)
    if not model_only:
        compared = dict([kernel_density(inputs, n_threads)]) if study.report.boosted and inputs.holdout else {}
        terrain = diagnosed(terrain, study, inputs, scores=compared, cancel=cancel)
        terrain = resampled(terrain, study, folds, threads=n_threads, progress=progress, cancel=cancel)
    for finding in terrain.findings:
        _log.warning("%s: %s", finding.where, finding.message)
    if progress is not None:
        progress("terrain", 1, 1)
    return terrain


def require_types(study: Any, layers: Any, memory_limit: Any, progress: Any, cancel: Any) -> None:
    """Raise an InputError where an argument of a run has the wrong type."""
    if not isinstance(study, Study):
        hint = "Make one with rtmdx.Study.from_toml(path) or Study.from_dict(data)."
        raise InputError(f"study: found {type(study).__name__}, expected a Study.", hint=hint)
    if layers is not None and not isinstance(layers, Mapping):
        raise InputError(f"layers: found {type(layers).__name__}, expected a mapping of layer names to GeoDataFrames.")
    if memory_limit is not None and not isinstance(memory_limit, int | float):
        raise InputError(f"memory_limit: found {memory_limit!r}, expected a number of bytes, for example 2e9.")
    for name, value in (("progress", progress), ("cancel", cancel)):
        if value is not None and not callable(value):
            raise InputError(f"{name}: found {type(value).__name__}, expected a function or None.")


def _threads(threads: int | None) -> int:
    if threads is None:
        return os.cpu_count() or 1
    if threads < 1:
        raise InputError(f"threads: found {threads}, expected at least 1.")
    return threads


def _enough_events(study: Study, events: Events, counts: NDArray[np.int64]) -> None:
    """Every fold of the cross-validation must be able to hold an event."""
    cells = int(np.count_nonzero(counts))
    if study.model.folds in ("stratified", "spatial") and cells < study.model.n_folds:
        n = len(events)
        raise InputError(
            f"outcome {events.name!r}: {n} event{'s' if n != 1 else ''} in {cells} cell{'s' if cells != 1 else ''}; "
            f"{study.model.n_folds}-fold cross-validation needs events in at least {study.model.n_folds} cells.",
            hint="Use a longer period, a broader outcome, or fewer folds.",
        )


def _variables_of(study: Study, design: Design, forced: list[int]) -> list[int]:
    """Columns of the factors that are forced into the model."""
    columns = [j for j, v in enumerate(design.variables) if v.factor in forced]
    for i in forced:
        if not any(design.variables[j].factor == i for j in columns):
            raise InputError(
                f"factor {study.factors[i].name!r} is forced in, but the support rule leaves it no variable.",
                hint="Do not force it, lower the minimum support, or use a larger influence.",
            )
    return columns


def _robust(
    study: Study, inputs: Inputs, design: Design, counts: NDArray[np.int64], selection: StepwiseResult
) -> StepwiseResult:
    """Give every family's model its district-robust covariance, where the study asks for it."""
    if not study.model.robust:
        return selection
    if inputs.districts is None:
        raise InputError("the inputs have no districts.", hint="Load them with the study that names the districts.")
    labels = inputs.districts.labels  # -1, outside every district, is a cluster of its own
    exposure = None if inputs.exposure is None else inputs.exposure.cells
    models = {f: with_clusters(m, design, counts, labels, exposure=exposure) for f, m in selection.models.items()}
    return replace(selection, model=models[selection.model.family], models=models)


def _result_findings(study: Study, inputs: Inputs, design: Design, counts: NDArray[np.int64]) -> list[Finding]:
    findings = barely_varying(design, inputs.factors)
    n = int(counts.sum())
    if n < _FEW_EVENTS:
        findings.append(
            Finding("few-events", f"outcome {study.outcome.name!r}", f"Only {n} events: expect unstable selection.")
        )
    return findings


def kernel_density(inputs: Inputs, threads: int | None = None) -> tuple[str, NDArray[np.float64]]:
    """Name and cells of a baseline: kernel density of the fitted period's events, bandwidth the largest influence."""
    bandwidth = max(d for f in inputs.factors for d in f.distances)
    points = np.column_stack([inputs.events.x, inputs.events.y])
    raster = density_array(points, inputs.grid, bandwidth=bandwidth, dtype="float64", threads=threads)
    return f"Kernel density ({bandwidth:g} {inputs.grid.symbol})", inputs.grid.to_cells(raster)


def _posterior(study: Study, terrain: RiskTerrain, check: Callable[[], None]) -> PosteriorRisk | None:
    """Combine the terrain with the events it was fitted to, as the study says."""
    spec = study.posterior
    if not spec.enabled:
        return None
    smooth: Any = spec.smooth
    if not isinstance(smooth, str):
        smooth *= study.grid.block_length
    return terrain.posterior(
        smooth=None if smooth == "none" else smooth,
        decay=None if spec.decay == "none" else spec.decay,
        dispersion=spec.dispersion,
        horizon=spec.horizon,
        level=spec.level,
        parts=spec.parts,
        check=check,
    )


def _judge(
    study: Study,
    inputs: Inputs,
    terrain: RiskTerrain,
    posterior: PosteriorRisk | None,
    threads: int,
) -> tuple[tuple[Validity, ...], tuple[Validity, ...]]:
    """Measure the terrain beside its baselines: on the fitted events, and on the hold-out's where there is one.

    With an exposure the terrain ranks cells by expected events, exposure times risk; the score alone, which is risk
    per unit of exposure, and the exposure alone stand beside it.
    """
    name, density = kernel_density(inputs, threads)
    counts, score = terrain.counts, terrain.score_cells
    own = {"Risk terrain": score}
    if inputs.exposure is not None:
        own = {
            "Risk terrain": terrain.expected_cells,
            "Score alone": score,
            "Exposure alone": inputs.exposure.cells,
        }

    def measure(
        scores: Mapping[str, NDArray[np.float64]], events: NDArray[np.int64], period: str
    ) -> tuple[Validity, ...]:
        shares = study.report.top_shares
        return tuple(
            validity(s, events, name=n, period=period, shares=shares, predicted=_scaled(s, events))
            for n, s in scores.items()
        )

    fitted = measure({**own, name: density}, counts, f"fitted: {inputs.events.period}")
    if inputs.holdout is None:
        return fitted, ()
    scores = {**own, "Past counts": counts.astype(np.float64), name: density}
    if posterior is not None and posterior.updated:  # else it is the terrain
        scores["Posterior risk"] = posterior.expected_cells
    later = inputs.holdout.counts(inputs.grid)
    return fitted, measure(scores, later, f"held out: {inputs.holdout.period}")


def _scaled(score: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """A score as predicted counts: scaled to the total of the period it is judged on."""
    total = score.sum()
    return score * (counts.sum() / total) if total > 0 else score
