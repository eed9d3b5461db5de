"""adelie and glum as workers: python python_peers.py WHICH FOLDER MIXING TOLERANCE sparse|dense

Loads the rows in FOLDER, prints "ready"; on "go" fits all rows and the rows outside each fold along the given
penalties and prints "done SECONDS"; on "save" writes the answer. Imports nothing of rtmdx: it may run in another
environment.
"""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp


def adelie_path(x: Any, y: Any, w: Any, penalties: Any, mixing: float, tolerance: float) -> Any:
    import adelie as ad

    wrap = ad.matrix.dense if isinstance(x, np.ndarray) else ad.matrix.sparse
    state = ad.grpnet(
        wrap(x, method="naive", n_threads=2),
        ad.glm.poisson(y, weights=w / w.sum()),
        constraints=[ad.constraint.lower(np.zeros(1)) for _ in range(x.shape[1])],
        alpha=mixing,
        lmda_path=penalties,
        early_exit=False,
        n_threads=2,
        irls_tol=tolerance,
        tol=tolerance,
        progress_bar=False,
    )
    return state.betas.toarray(), np.asarray(state.intercepts)


def glum_path(x: Any, y: Any, w: Any, penalties: Any, mixing: float, tolerance: float) -> Any:
    from glum import GeneralizedLinearRegressor

    model = GeneralizedLinearRegressor(
        family="poisson",
        alpha=penalties,
        alpha_search=True,
        l1_ratio=mixing,
        lower_bounds=np.zeros(x.shape[1]),
        gradient_tol=tolerance,
        max_iter=1000,
    ).fit(x, y, sample_weight=w)
    return np.asarray(model.coef_path_), np.asarray(model.intercept_path_)


PATHS = {"adelie": adelie_path, "glum": glum_path}


def main() -> None:
    which, folder, mixing, tolerance, form = sys.argv[1], Path(sys.argv[2]), *map(float, sys.argv[3:5]), sys.argv[5]

    def read(name: str, kind: str = "<f8") -> Any:
        return np.fromfile(folder / name, dtype=kind)

    sizes = tuple(read("sizes", "<i4").tolist())
    x: Any = sp.csc_matrix((read("x"), read("i", "<i4"), read("p", "<i4")), shape=sizes)
    if form == "dense":
        x = np.asfortranarray(x.toarray())
    y, w, fold, penalties = read("y"), read("w"), read("fold", "<i4"), read("penalties")

    def path(rows: Any) -> Any:
        inside = x if rows.all() else (np.asfortranarray(x[rows]) if form == "dense" else x.tocsr()[rows].tocsc())
        return PATHS[which](inside, y[rows], w[rows], penalties, mixing, tolerance)

    def fit() -> Any:
        b, b0 = path(np.ones(len(y), dtype=bool))
        deviance = np.zeros(len(penalties))
        for f in np.unique(fold):
            held = fold == f
            found, intercepts = path(~held)
            eta = np.asarray(x[held] @ found.T) + intercepts
            yy, ww = y[held][:, None], w[held][:, None]
            saturated = np.where(yy > 0, yy * np.log(np.maximum(yy, 1e-300)), 0.0) - yy
            deviance += 2.0 * (ww * (saturated - yy * eta + np.exp(eta))).sum(axis=0)
        return b, b0, deviance / w.sum()

    warnings.simplefilter("ignore")
    print("ready", flush=True)
    answer = None
    for line in sys.stdin:
        if line.strip() == "go":
            start = time.perf_counter()
            answer = fit()
            print("done", time.perf_counter() - start, flush=True)
        elif line.strip() == "save" and answer is not None:
            b, b0, deviance = (np.ascontiguousarray(v, dtype="<f8") for v in answer)
            np.array(b.shape, dtype="<i4").tofile(folder / "answer_sizes")
            b.tofile(folder / "answer_b")
            b0.tofile(folder / "answer_b0")
            deviance.tofile(folder / "answer_deviance")
            print("saved", flush=True)


if __name__ == "__main__":
    main()
