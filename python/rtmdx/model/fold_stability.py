"""Stability of the selection under the cross-validation's own chance: other seeds, other kinds of folds.

The data stay as they are; only the folds that choose the penalty are dealt anew, and culling and stepwise follow.
What changes here is decided by a deal of cards.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import Cancelled, FitError, InputError
from rtmdx.model.culling import cull
from rtmdx.model.folds import spatial_folds, stratified_folds, suggest_block
from rtmdx.model.frequencies import Frequencies, frequencies
from rtmdx.model.refit import Culled, Refit, Refitter
from rtmdx.model.replicates import run_all

if TYPE_CHECKING:
    import pandas as pd

    from rtmdx.model.terrain import RiskTerrain

__all__ = ["FoldStability", "SelectionKind", "assess_fold_stability"]

SelectionKind = Literal["stratified", "spatial"]


@dataclass(frozen=True, eq=False)
class FoldStability:
    """How the selection varies with the folds that chose its penalty.

    Attributes
    ----------
    kinds : tuple of {"stratified", "spatial"}
    seeds : tuple of int
        Every kind was dealt with each of them.
    k : int
        Folds.
    by_kind : dict of Frequencies
        Frequencies over the seeds of a kind.
    overall : Frequencies
        Over all of them.
    penalties : dict of float64 array by kind, shape (n_seeds,)
        The penalty chosen; NaN where nothing could be fitted.
    refits : dict of tuple of Refit by kind
        The models, in the order of the seeds.
    """

    kinds: tuple[SelectionKind, ...]
    seeds: tuple[int, ...]
    k: int
    by_kind: dict[str, Frequencies]
    overall: Frequencies
    penalties: dict[str, NDArray[np.float64]]
    refits: dict[str, tuple[Refit, ...]]
    labels: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def table(self) -> pd.DataFrame:
        """One row per factor, the most frequent first: factor, label, in_model, frequency, and frequency by kind."""
        import pandas as pd

        of = {kind: {f.factor: f.frequency for f in found.factors} for kind, found in self.by_kind.items()}
        return pd.DataFrame(
            {
                "factor": f.factor,
                "label": self.labels.get(f.factor, f.factor),
                "in_model": f.in_model,
                "frequency": f.frequency,
                **{kind: of[kind][f.factor] for kind in of},
            }
            for f in self.overall.factors
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it without single refits as plain data."""
        return {
            "kinds": list(self.kinds),
            "seeds": list(self.seeds),
            "k": self.k,
            "factors": [f.to_dict() for f in self.overall.factors],
            "same_factors": {kind: found.same_factors for kind, found in self.by_kind.items()},
            "same_model": {kind: found.same_model for kind, found in self.by_kind.items()},
            "penalties": {
                kind: [p if np.isfinite(p) else None for p in values.tolist()]
                for kind, values in self.penalties.items()
            },
        }


def assess_fold_stability(
    terrain: RiskTerrain,
    *,
    seeds: Sequence[int] = tuple(range(10)),
    kinds: Sequence[SelectionKind] = ("stratified", "spatial"),
    k: int = 5,
    threads: int = 1,
    progress: Callable[[str, int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> FoldStability:
    """Repeat a terrain's selection with other folds; parameters and errors as `RiskTerrain.fold_stability`."""
    from rtmdx.model.stability import cull_options, search_options

    if not len(seeds) or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise InputError(f"seeds is {tuple(seeds)}, expected one or more different whole numbers >= 0.")
    if not kinds or len(set(kinds)) < len(kinds) or not set(kinds) <= {"stratified", "spatial"}:
        raise InputError(f"kinds is {tuple(kinds)}, expected 'stratified', 'spatial' or both, each once.")
    if threads < 1:
        raise InputError(f"threads is {threads}, expected at least 1.")
    design, grid = terrain.design, terrain.grid
    stop = threading.Event()

    def poll() -> None:
        if stop.is_set():
            raise Cancelled("The selections were cancelled.")

    exposure = None if terrain.exposure is None else terrain.exposure.cells
    group = np.zeros(design.n_cells, np.int64)
    refitter = Refitter(design, terrain.counts, group, search_options(terrain), exposure=exposure, poll=poll)
    weights, options = refitter.weights(np.ones(1, np.int64)), cull_options(terrain)
    side = suggest_block(max(d for f in terrain.factors for d in f.distances), grid.cell_size).cells
    known: dict[tuple[int, ...], Refit] = {}  # the search depends on what culling kept, and on nothing else

    def one(kind: SelectionKind, seed: int) -> Refit:
        if kind == "stratified":
            folds = stratified_folds(terrain.counts, k, seed=seed)
        else:
            folds = spatial_folds(*grid.rows_cols, side, k, seed=seed, offset=True)
        try:
            found = cull(
                design, terrain.counts, folds, exposure=exposure, cancel=stop.is_set,
                **options,  # type: ignore[arg-type]
            )  # fmt: skip
        except FitError as error:
            return Refit(error=error.message)
        if found.selected not in known:
            known[found.selected] = refitter.search(weights, Culled(found.selected))
        model = known[found.selected]
        return model if model.error is not None else replace(model, penalty=found.penalty)

    jobs = [lambda kind=kind, seed=seed: one(kind, seed) for kind in kinds for seed in seeds]

    def done(n: int) -> None:
        if progress is not None:
            progress("stability", n, len(jobs))

    done(0)
    all_refits = run_all(jobs, threads, stop, done, cancel)
    n = len(seeds)
    refits: dict[str, tuple[Refit, ...]] = {
        kind: tuple(all_refits[i * n : (i + 1) * n]) for i, kind in enumerate(kinds)
    }
    model = dict(zip(terrain.model.columns, terrain.model.coefficients.tolist(), strict=True))

    def count(some: Sequence[Refit], kind: str = "") -> Frequencies:
        good = [r for r in some if r.error is None]
        if not good:
            raise FitError(f"None of {len(some)} selections with {kind} folds could be fitted: {some[0].error}")
        return frequencies(design, good, [f.name for f in terrain.factors], model, 0.9)

    return FoldStability(
        tuple(kinds),
        tuple(seeds),
        k,
        {kind: count(some, kind) for kind, some in refits.items()},
        count(all_refits),
        {kind: np.array([r.penalty for r in some]) for kind, some in refits.items()},
        refits,
        {f.name: f.label for f in terrain.factors},
    )
