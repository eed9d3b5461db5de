"""The disparity section of a study, worked out: rates, ratios, under every denominator, and exposure to the terrain."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtmdx.disparity.adjustment import Adjusted, adjusted
from rtmdx.disparity.comparison import POOLINGS, Comparison, compare
from rtmdx.disparity.exposure_results import ExposureResult
from rtmdx.disparity.homogeneity import Heterogeneity
from rtmdx.disparity.page import page, section_markup
from rtmdx.disparity.residents import Residents, expose, read_residents
from rtmdx.disparity.robustness import Sensitivity, sensitivity
from rtmdx.errors import FileError, InputError
from rtmdx.runs.sections import Section
from rtmdx.space.staging import new_folder

if TYPE_CHECKING:
    import pandas as pd

    from rtmdx.model.terrain import RiskTerrain
    from rtmdx.runs.study import Study
    from rtmdx.runs.study_disparity import DisparitySpec

__all__ = ["Assessment", "Begun", "assess", "begin", "data_folder", "read_table", "write_assessment"]


@dataclass(frozen=True)
class Assessment:
    """What a study's [disparity] asks for.

    Attributes
    ----------
    name : str
        Of the study.
    outcome : str
    comparison : Comparison or None
        Where there is a table.
    adjusted : Adjusted or None
        Where covariates are named.
    sensitivity : tuple of Sensitivity
        By group, where there is more than one way to work the ratio out.
    exposure : ExposureResult or None
        Of groups of residents to the study's terrain, where the study asks for it.
    """

    name: str
    outcome: str
    comparison: Comparison | None
    adjusted: Adjusted | None
    sensitivity: tuple[Sensitivity, ...]
    exposure: ExposureResult | None = None

    @property
    def title(self) -> str:
        """What it is, in a line."""
        what = f"{self.outcome} by group" if self.comparison is not None else "exposure by group"
        return f"{self.name}: {what}"

    @property
    def heterogeneity(self) -> tuple[Heterogeneity, ...]:
        """Tests of whether strata share one ratio."""
        return () if self.comparison is None else self.comparison.heterogeneity

    def sentences(self) -> list[str]:
        """Say all of it."""
        out = [] if self.comparison is None else self.comparison.sentences()
        if self.adjusted is not None:
            out += self.adjusted.sentences()[len(self.adjusted.crude) :]
        out += [s.sentence() for s in self.sensitivity]
        return out if self.exposure is None else [*out, *self.exposure.sentences()]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        table = self.comparison
        return {
            "schema_version": 1,
            "status": "ok",
            "name": self.name,
            "outcome": None if table is None else self.outcome,
            "rates": [] if table is None else table.rates.to_dict(),
            "ratios": [] if table is None else table.ratios.to_dict(),
            "heterogeneity": [h.to_dict() for h in self.heterogeneity],
            "adjusted": None if self.adjusted is None else self.adjusted.to_dict(),
            "sensitivity": [s.to_dict() for s in self.sensitivity],
            "exposure": None if self.exposure is None else {**self.exposure.to_dict(), "curve": _curve(self.exposure)},
            "sentences": self.sentences(),
        }

    def to_html(self) -> str:
        """Return a page that stands alone: every sentence, and the charts."""
        return page(self)

    def section(self) -> Section:
        """Return what a run puts into its report and into ``run.json``; see `RiskTerrain.report`."""
        data = {k: v for k, v in self.to_dict().items() if k not in ("schema_version", "status", "name")}
        return Section("disparity", "Who bears the burden", section_markup(self), data)


def assess(
    study: Study,
    *,
    data: str | Path = ".",
    terrain: RiskTerrain | None = None,
    threads: int | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Assessment:
    """Work out the [disparity] of a study.

    Parameters
    ----------
    study : Study
    data : path
        Folder relative paths start from.
    terrain : RiskTerrain, optional
        Of the study: needed where it has [disparity.exposure].
    threads : int, optional
        The result is the same for any number.
    cancel : callable, optional

    Returns
    -------
    Assessment

    Raises
    ------
    InputError
        The study has no [disparity], or its table or its zones do not fit, see `compare`, `adjusted`, `allocate` and
        `exposure`.
    FileError
        A table or layer cannot be read.
    MissingDependencyError
        Covariates are named and statsmodels is not installed.
    """
    return begin(study, data=data).finish(terrain, threads=threads, cancel=cancel)


@dataclass(frozen=True)
class Begun:
    """An assessment whose files are read and whose table is worked out, before there is a terrain."""

    study: Study
    found: Assessment
    residents: Residents | None

    def finish(
        self,
        terrain: RiskTerrain | None = None,
        *,
        threads: int | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Assessment:
        """Add the exposure to the terrain, where the study asks for it."""
        spec = self.study.disparity
        if spec is None or self.residents is None:
            return self.found
        if terrain is None:
            raise InputError(
                "the study has [disparity.exposure], which needs its terrain.",
                hint="Give terrain=rtmdx.run(study), or use `rtmdx disparity`, which makes it.",
            )
        exposed = expose(spec, self.residents, terrain, seed=self.study.seed, threads=threads, cancel=cancel)
        return replace(self.found, exposure=exposed)


def begin(study: Study, *, data: str | Path = ".") -> Begun:
    """Read what a study's [disparity] needs, and work out its table; errors as for `assess`."""
    spec = study.disparity
    if spec is None:
        raise InputError(
            "the study has no [disparity].", hint='Add one with at least path = "table.csv" and reference = "White".'
        )
    residents = None if spec.exposure is None else read_residents(spec.exposure, Path(data))
    outcome = spec.outcome or spec.events
    if spec.path is None:
        return Begun(study, Assessment(study.name, outcome, None, None, ()), residents)
    found, fit, ways = _tabled(spec, read_table(spec, Path(data)), outcome)
    return Begun(study, Assessment(study.name, outcome, found, fit, ways), residents)


def _tabled(
    spec: DisparitySpec, table: pd.DataFrame, outcome: str
) -> tuple[Comparison, Adjusted | None, tuple[Sensitivity, ...]]:
    reference = str(spec.reference)
    said: dict[str, Any] = {"kind": spec.kind, "level": spec.level, "outcome": outcome, "enforcement": spec.enforcement}
    columns: dict[str, Any] = {"by": spec.group, "events": spec.events, "reference": reference}
    found = compare(
        table, **columns, **said, benchmark=spec.benchmark, pooling=spec.pooling, strata=spec.strata,
        method=spec.interval, per=spec.per,
    )  # fmt: skip
    fit = None
    if spec.cluster is not None:
        fit = adjusted(
            table, **columns, **said, benchmark=spec.benchmark, covariates=spec.covariates, factors=spec.factors,
            cluster=spec.cluster, family=spec.family, without_exposure=spec.without_exposure,
        )  # fmt: skip
    benchmarks = tuple(dict.fromkeys((spec.benchmark, *spec.benchmarks)))
    ways = []
    ratios: list[Any] = list(found.ratios)
    if len(benchmarks) > 1 or spec.strata or fit is not None:
        for i, r in enumerate(ratios):
            way = sensitivity(
                table, **columns, **said, group=r.group, benchmarks=benchmarks, method=spec.interval,
                poolings=POOLINGS if spec.strata else ("pooled",), units=spec.strata,
            )  # fmt: skip
            ways.append(way if fit is None else way.add(fit.adjusted[i]))
    return found, fit, tuple(ways)


def _curve(found: ExposureResult) -> list[dict[str, Any]]:
    """The curves as plain data, at most some hundred points a group."""
    out = []
    table = found.curve()
    for name in found.groups:
        rows = table[table["group"] == name]
        keep = rows.iloc[:: max(1, len(rows) // 200)]
        if len(rows) and keep.index[-1] != rows.index[-1]:
            keep = table.loc[[*keep.index, rows.index[-1]]]
        columns = {c: [None if v != v else float(v) for v in keep[c]] for c in keep.columns if c != "group"}
        out.append({"group": name, **columns})
    return out


def data_folder(study: Study, path: Path, data: Path) -> Path:
    """Where [disparity]'s files are: `data`, but the study file's own folder where only there its table is."""
    own, spec = path.absolute().parent, study.disparity
    table = None if spec is None else spec.path
    return own if table is not None and not (data / table).exists() and (own / table).exists() else data


def write_assessment(found: Assessment, out: str | os.PathLike[str]) -> dict[str, str]:
    """Write ``disparity.json`` and ``disparity.html`` into a new folder; return what each file is.

    Raises
    ------
    OutputError
        The folder exists, or cannot be written.
    """
    with new_folder(out) as staging:
        text = json.dumps(found.to_dict(), indent=1, allow_nan=False)
        (staging / "disparity.json").write_text(text, encoding="utf-8")
        (staging / "disparity.html").write_text(found.to_html(), encoding="utf-8")
    return {"disparity.json": "every figure, with its words", "disparity.html": "sentences and charts"}


def read_table(spec: DisparitySpec, data: Path) -> pd.DataFrame:
    """Read the table of a [disparity]; groups and places are text."""
    import pandas as pd

    path = data / str(spec.path)
    if not path.exists():
        raise FileError(f"disparity.path: {path} does not exist.", hint="Relative paths start at the data folder.")
    names = [spec.group, *([spec.cluster] if spec.cluster else [])]
    try:
        if path.name.lower().endswith((".csv", ".csv.gz")):
            return pd.read_csv(path, dtype=dict.fromkeys(names, "string"))
        import pyogrio

        table = pyogrio.read_dataframe(path, layer=spec.layer, read_geometry=False)
    except (ValueError, OSError, RuntimeError) as error:
        raise FileError(f"disparity.path: {path} cannot be read as a table: {error}.") from None
    return table.astype({n: "string" for n in names if n in table.columns})
