"""The disparity section of a study, worked out: rates, ratios, the adjusted ones, and under every denominator."""

from __future__ import annotations

import html
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtmdx.disparity.adjustment import Adjusted, adjusted
from rtmdx.disparity.comparison import POOLINGS, Comparison, compare
from rtmdx.disparity.robustness import Sensitivity, sensitivity
from rtmdx.errors import FileError, InputError, OutputError
from rtmdx.space.staging import replacing

if TYPE_CHECKING:
    import pandas as pd

    from rtmdx.runs.study import Study
    from rtmdx.runs.study_disparity import DisparitySpec

__all__ = ["Assessment", "assess", "read_table", "write_assessment"]

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 16px/1.5 sans-serif; max-width: 860px; margin: 32px auto; padding: 0 16px; color: #2b3038; }}
svg {{ width: 100%; height: auto; }}
</style></head><body>
<h1>{title}</h1>
{body}
</body></html>
"""


@dataclass(frozen=True)
class Assessment:
    """What a study's [disparity] asks for.

    Attributes
    ----------
    name : str
        Of the study.
    outcome : str
    comparison : Comparison
    adjusted : Adjusted or None
        Where covariates are named.
    sensitivity : tuple of Sensitivity
        By group, where there is more than one way to work the ratio out.
    """

    name: str
    outcome: str
    comparison: Comparison
    adjusted: Adjusted | None
    sensitivity: tuple[Sensitivity, ...]

    def sentences(self) -> list[str]:
        """Say all of it."""
        out = self.comparison.sentences()
        if self.adjusted is not None:
            out += self.adjusted.sentences()[len(self.adjusted.crude) :]
        return [*out, *(s.sentence() for s in self.sensitivity)]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "schema_version": 1,
            "status": "ok",
            "name": self.name,
            "outcome": self.outcome,
            "rates": self.comparison.rates.to_dict(),
            "ratios": self.comparison.ratios.to_dict(),
            "adjusted": None if self.adjusted is None else self.adjusted.to_dict(),
            "sensitivity": [s.to_dict() for s in self.sensitivity],
            "sentences": self.sentences(),
        }

    def to_html(self) -> str:
        """Return a page that stands alone: every sentence, and the charts."""
        parts = [
            "<h2>Rates</h2>",
            _list(self.comparison.rates.sentences()),
            self.comparison.rates.chart(),
            "<h2>Ratios</h2>",
            _list(self.comparison.ratios.sentences()),
            self.comparison.ratios.chart(),
        ]
        if self.adjusted is not None:
            said = self.adjusted.sentences()[len(self.adjusted.crude) :]
            parts += ["<h2>Adjusted</h2>", _list(said), self.adjusted.adjusted.chart()]
        if self.sensitivity:
            parts.append("<h2>Which denominator?</h2>")
            for s in self.sensitivity:
                parts += [_list([s.sentence()]), s.chart()]
        title = html.escape(f"{self.name}: {self.outcome} by group")
        return _PAGE.format(title=title, body="\n".join(parts))


def assess(study: Study, *, data: str | Path = ".") -> Assessment:
    """Work out the [disparity] of a study.

    Parameters
    ----------
    study : Study
    data : path
        Folder relative paths start from.

    Returns
    -------
    Assessment

    Raises
    ------
    InputError
        The study has no [disparity], or its table does not fit, see `compare` and `adjusted`.
    FileError
        The table cannot be read.
    MissingDependencyError
        Covariates are named and statsmodels is not installed.
    """
    spec = study.disparity
    if spec is None:
        raise InputError(
            "the study has no [disparity].", hint='Add one with at least path = "table.csv" and reference = "White".'
        )
    table = read_table(spec, Path(data))
    outcome = spec.outcome or spec.events
    said: dict[str, Any] = {"kind": spec.kind, "level": spec.level, "outcome": outcome, "enforcement": spec.enforcement}
    columns: dict[str, Any] = {"by": spec.group, "events": spec.events, "reference": spec.reference}
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
    return Assessment(study.name, outcome, found, fit, tuple(ways))


def write_assessment(found: Assessment, out: str | os.PathLike[str]) -> dict[str, str]:
    """Write ``disparity.json`` and ``disparity.html`` into a new folder; return what each file is.

    Raises
    ------
    OutputError
        The folder exists, or cannot be written.
    """
    final = Path(out).absolute()
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"output folder {final}: cannot be made: {error.strerror or error}.") from None
    with replacing(final, "output folder", overwrite=False, folder=True) as staging:
        staging.mkdir()
        text = json.dumps(found.to_dict(), indent=1, allow_nan=False)
        (staging / "disparity.json").write_text(text, encoding="utf-8")
        (staging / "disparity.html").write_text(found.to_html(), encoding="utf-8")
    return {"disparity.json": "every figure, with its words", "disparity.html": "sentences and charts"}


def read_table(spec: DisparitySpec, data: Path) -> pd.DataFrame:
    """Read the table of a [disparity]; groups and places are text."""
    import pandas as pd

    path = data / spec.path
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


def _list(sentences: list[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(s)}</li>" for s in sentences) + "</ul>"
