"""One scenario's work: fit, result, store. A plain function that any executor calls."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from rtmdx.errors import Cancelled, RtmdxError
from rtmdx.model.export import plain
from rtmdx.model.terrain import RiskTerrain
from rtmdx.runs.run import fit
from rtmdx.sweep.contract import ScenarioResult
from rtmdx.sweep.prepare import Prepared
from rtmdx.sweep.scenarios import Scenario

__all__ = ["Done", "Shared", "Writer", "attempt", "portable", "result_of", "run_one"]


class Writer(Protocol):
    """What a worker needs of a store."""

    def write(self, index: int, result: ScenarioResult) -> Any:
        """Write a scenario's result, its record last."""


class Shared(Protocol):
    """Gives what a scenario is fitted to."""

    def prepare(
        self, scenario: Scenario, *, threads: int | None = None, cancel: Callable[[], bool] | None = None
    ) -> Prepared:
        """Return inputs and design."""


@dataclass(frozen=True)
class Done:
    """What became of a scenario.

    Attributes
    ----------
    index : int
    error : Exception or None
        Why it failed; None when its result is in the store.
    stage : str
        Where it failed: "layers", "fit", "store" or "worker".
    trace : str
        The traceback, as text.
    seconds : float
        Its own time, preparation included where it was the first to need it.
    worker : str
        Where it ran.
    """

    index: int
    error: Exception | None = None
    stage: str = ""
    trace: str = ""
    seconds: float = 0.0
    worker: str = ""


def run_one(
    store: Writer,
    index: int,
    scenario: Scenario,
    shared: Shared,
    *,
    threads: int = 1,
    cancel: Callable[[], bool] | None = None,
    stage: Callable[[str], None] = lambda _: None,
) -> Any:
    """Run a scenario and write its result; returns the store's record.

    Parameters
    ----------
    store : Writer
        A sweep's store, or its handle.
    index : int
        The scenario's place in the store.
    scenario : Scenario
    shared : Shared
        Gives what it is fitted to.
    threads : int
    cancel : callable, optional
    stage : callable, optional
        Called with the name of what begins.

    Raises
    ------
    RtmdxError
        As `rtmdx.run`, and what the store raises.
    """
    stage("layers")
    prepared = shared.prepare(scenario, threads=threads, cancel=cancel)
    stage("fit")
    terrain = fit(
        scenario.study, prepared.inputs, design=prepared.design, model_only=True, threads=threads, cancel=cancel
    )
    stage("store")
    return store.write(index, result_of(terrain, scenario))


def attempt(
    store: Writer,
    index: int,
    scenario: Scenario,
    shared: Shared,
    *,
    threads: int = 1,
    cancel: Callable[[], bool] | None = None,
    worker: str = "",
) -> Done:
    """Run a scenario; what it raises is returned, except a cancel."""
    reached = ["layers"]
    start = time.perf_counter()
    try:
        run_one(store, index, scenario, shared, threads=threads, cancel=cancel, stage=lambda s: reached.append(s))
    except Cancelled:
        raise
    except Exception as error:
        return Done(
            index, error, reached[-1], traceback.format_exc(), seconds=time.perf_counter() - start, worker=worker
        )
    return Done(index, seconds=time.perf_counter() - start, worker=worker)


def result_of(terrain: RiskTerrain, scenario: Scenario) -> ScenarioResult:
    """Return what the store keeps of a terrain: nothing that depends on time, host, threads or order."""
    model, culling, design = terrain.model, terrain.culling, terrain.design
    final = set(model.columns)
    table = terrain.table.to_dict(orient="records")
    variables = [
        {
            "variable": design.variables[j].name,
            "factor": design.variables[j].factor_name,
            "operationalization": design.variables[j].operationalization,
            "influence": design.variables[j].distance,
            "threshold": design.variables[j].threshold,
            "cells": design.variables[j].support,
            "penalized": float(culling.coefficients[j]),
            "in_model": j in final,
        }
        for j in sorted({*culling.selected, *final})
    ]
    validity = [
        {"on": on, **v.to_dict()} for on, several in (("fitted", terrain.fitted), ("holdout", terrain.holdout))
        for v in several
    ]  # fmt: skip
    findings = [{"code": f.code, "where": f.where, "message": f.message} for f in terrain.findings]
    summary = {
        "study": scenario.study.name,
        "family": model.family,
        "bic": model.bic,
        "aic": model.aic,
        "log_likelihood": model.log_likelihood,
        "intercept": model.intercept,
        "log_dispersion": model.log_dispersion,
        "n_cells": terrain.grid.n_cells,
        "n_events": int(terrain.counts.sum()),
        "n_generated": design.n_generated,
        "n_culled": len(culling.selected),
        "n_factors": len(model.variables),
        "factors": " ".join(sorted(v.factor_name for v in model.variables)),
        "highest_score": float(terrain.score_cells.max()),
        **_predicts("fitted", terrain),
        **_predicts("holdout", terrain),
    }
    return ScenarioResult(
        score=np.ascontiguousarray(terrain.score_cells, dtype=np.float32),
        expected=np.ascontiguousarray(terrain.expected_cells, dtype=np.float32),
        tables=plain({"model": table, "variables": variables, "validity": validity, "findings": findings}),
        summary=plain(summary),
    )


def _predicts(on: str, terrain: RiskTerrain) -> dict[str, float | None]:
    """The terrain's own figures: area under the curve, and the accuracy index of the top share nearest a tenth."""
    several = terrain.fitted if on == "fitted" else terrain.holdout
    if not several:
        return {f"{on}_auc": None, f"{on}_pai": None}
    own = several[0]
    top = min(own.top, key=lambda t: abs(t.share - 0.1))
    pai = float(top.pai.expected)
    return {f"{on}_auc": float(own.auc), f"{on}_pai": pai if math.isfinite(pai) else None}


def portable(error: Exception) -> Exception:
    """Return an error that survives pickling: itself, or its type and message as an error of ours."""
    import pickle

    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RtmdxError(f"{type(error).__name__}: {error}")
    return error
