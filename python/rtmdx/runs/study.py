"""The study: everything one run needs, as a frozen, hashable, serialisable object.

The same object is what the API takes, what an executor ships and what is written beside the
result; there is no second source of configuration.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from rtmdx.errors import FileError, InputError, StudyError
from rtmdx.runs.study_disparity import DisparitySpec, GroupExposureSpec, PopulationMask
from rtmdx.runs.study_layers import (
    AreaSource,
    BarrierSpec,
    DistrictSpec,
    ExposureSpec,
    FactorSpec,
    GridSpec,
    HoldoutSpec,
    ImpedanceSpec,
    OutcomeSpec,
    Source,
    Spec,
)
from rtmdx.runs.study_model import ModelSpec, PosteriorSpec, ReportSpec, StabilitySpec
from rtmdx.runs.study_priority import PrioritySpec

__all__ = [
    "SCHEMA_VERSION",
    "AreaSource",
    "BarrierSpec",
    "DisparitySpec",
    "DistrictSpec",
    "ExposureSpec",
    "FactorSpec",
    "GridSpec",
    "GroupExposureSpec",
    "HoldoutSpec",
    "ImpedanceSpec",
    "ModelSpec",
    "OutcomeSpec",
    "PopulationMask",
    "PosteriorSpec",
    "PrioritySpec",
    "ReportSpec",
    "Source",
    "StabilitySpec",
    "Study",
    "describe",
    "override",
    "read_study",
]

SCHEMA_VERSION = 1


class Study(Spec):
    """One Risk Terrain Modeling study.

    Load it with `Study.from_toml`, or build it in Python. Frozen; `id` is a hash of what
    matters to the result (names of the study and the report's settings do not).
    """

    schema_version: Literal[1] = 1
    name: str
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the cross-validation folds."""
    path: str | None = None
    """File of the layers that name none; a factor's layer is then its name unless it says otherwise."""
    area: AreaSource
    grid: GridSpec
    outcome: OutcomeSpec
    factors: tuple[FactorSpec, ...]
    holdout: HoldoutSpec | None = None
    impedance: ImpedanceSpec | None = None
    exposure: ExposureSpec | None = None
    model: ModelSpec = ModelSpec()
    posterior: PosteriorSpec = PosteriorSpec()
    stability: StabilitySpec = StabilitySpec()
    report: ReportSpec = ReportSpec()
    disparity: DisparitySpec | None = None
    priority: PrioritySpec | None = None

    @model_validator(mode="before")
    @classmethod
    def _default_file(cls, data: Any) -> Any:
        """Write the study's file into the layers that name none, so that the rest of the code sees one form."""
        if not isinstance(data, dict) or not isinstance(data.get("path"), str):
            return data

        def fill(spec: Any, layer: str | None = None) -> Any:
            if not isinstance(spec, dict) or spec.get("path") is not None:
                return spec
            own = {} if layer is None or spec.get("layer") is not None else {"layer": layer}
            return {**spec, **own, "path": data["path"]}

        out = {**data, **{key: fill(data[key]) for key in ("area", "outcome") if key in data}}
        if isinstance(data.get("factors"), list | tuple):
            out["factors"] = [fill(f, f.get("name") if isinstance(f, dict) else None) for f in data["factors"]]
        way = data.get("impedance")
        if isinstance(way, dict) and isinstance(way.get("barriers"), list | tuple):
            barriers = [fill(b, b.get("name") if isinstance(b, dict) else None) for b in way["barriers"]]
            out["impedance"] = {**way, "barriers": barriers}
        priority = data.get("priority")
        if isinstance(priority, dict):
            out["priority"] = priority | {"places": fill(priority["places"])} if "places" in priority else priority
            fair = priority.get("fair")
            if isinstance(fair, dict) and "zones" in fair:
                out["priority"] = out["priority"] | {"fair": {**fair, "zones": fill(fair["zones"])}}
        exposure = data.get("exposure")
        if isinstance(exposure, dict) and exposure.get("measure") != "raster":
            out["exposure"] = fill(exposure, "exposure")
        disparity = data.get("disparity")
        if isinstance(disparity, dict) and isinstance(disparity.get("exposure"), dict):
            zones = fill(disparity["exposure"])
            mask = zones.get("mask")
            if isinstance(mask, dict | list | tuple):
                zones = {**zones, "mask": fill(mask) if isinstance(mask, dict) else [fill(m) for m in mask]}
            out["disparity"] = {**disparity, "exposure": zones}
        model = data.get("model")
        if isinstance(model, dict) and "districts" in model:
            out["model"] = {**model, "districts": fill(model["districts"], "districts")}
        return out

    @field_validator("factors")
    @classmethod
    def _unique(cls, value: tuple[FactorSpec, ...]) -> tuple[FactorSpec, ...]:
        if not value:
            raise ValueError("found none, expected at least 1 item: a terrain needs a risk factor")
        seen: set[str] = set()
        for factor in value:
            if factor.name in ("area", "outcome", "holdout"):
                raise ValueError(f"a factor is named {factor.name!r}, which names another layer of the study")
            if factor.name in seen:
                raise ValueError(f"two factors are named {factor.name!r}; names must be unique")
            seen.add(factor.name)
        return value

    @model_validator(mode="after")
    def _way(self) -> Study:
        costed = [f.name for f in self.factors if "cost" in f.operationalizations]
        if costed and self.impedance is None:
            raise ValueError(
                f"factor {costed[0]!r} is operationalized by cost distance, but the study has no [impedance] that says "
                "what is in the way; add barriers or friction, or use proximity"
            )
        if self.impedance is not None:
            taken = {"area", "outcome", "holdout", *(f.name for f in self.factors)}
            for barrier in self.impedance.barriers:
                if barrier.name in taken:
                    raise ValueError(f"a barrier is named {barrier.name!r}, which names another layer of the study")
        return self

    def _require_free(self, name: str, owner: str) -> None:
        """Refuse a factor or barrier with the name of another table's layer."""
        barriers = self.impedance.barriers if self.impedance is not None else ()
        if name in {*(f.name for f in self.factors), *(b.name for b in barriers)}:
            raise ValueError(f'a layer is named "{name}", which names the {owner}')

    @model_validator(mode="after")
    def _fold_layers(self) -> Study:
        if self.model.folds == "time" and not self.outcome.date_field:
            raise ValueError('model.folds = "time" needs outcome.date_field, the field that holds the date')
        if self.model.folds == "time" and self.stability.recull:
            raise ValueError('stability.recull does not work with model.folds = "time"; use other folds')
        if self.model.districts is not None:
            self._require_free("districts", "districts of model.folds")
        return self

    @model_validator(mode="after")
    def _exposure_layer(self) -> Study:
        if self.exposure is not None:
            self._require_free("exposure", "layer of [exposure]")
        return self

    @model_validator(mode="after")
    def _holdout_dates(self) -> Study:
        h = self.holdout
        if h is not None and (h.start or h.end) and not self.outcome.date_field:
            raise ValueError("holdout: start/end need outcome.date_field, the field that holds the date")
        if h is not None and h.start and h.end and h.end < h.start:
            raise ValueError(f"holdout: end {h.end} is before start {h.start}; give start <= end")
        return self

    @classmethod
    def from_dict(cls, data: dict[str, Any], *, source: str = "study") -> Study:
        """Build a study from plain data.

        Raises
        ------
        StudyError
            With every problem found, each naming the field, the value found and the one expected.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise StudyError(describe(error), source=source) from None

    @classmethod
    def from_toml(cls, path: str | Path, *, overrides: Mapping[str, Any] | None = None) -> Study:
        """Load a study from a TOML file.

        Parameters
        ----------
        path : path
        overrides : mapping of str to value, optional
            Fields to replace, by dotted name: ``{"outcome.layer": "robbery", "factors.bars.effect": "protective"}``
            (a factor by its name or its 1-based number). A value of None removes the field.

        Raises
        ------
        FileError
            The file is missing, unreadable or no TOML.
        StudyError
            The content does not fit; lists every problem.
        """
        return cls.from_dict(read_study(path, overrides), source=str(path))

    def to_dict(self) -> dict[str, Any]:
        """Return the study as JSON-compatible data, defaults included."""
        return self.model_dump(mode="json")

    @property
    def holdout_source(self) -> OutcomeSpec | None:
        """The outcome with the hold-out's fields in place of its own."""
        if self.holdout is None:
            return None
        update = {k: v for k, v in self.holdout.model_dump().items() if v is not None}
        if self.holdout.start or self.holdout.end:  # one open side stays open
            update |= {"start": self.holdout.start, "end": self.holdout.end}
        return self.outcome.model_copy(update=update)

    @property
    def id(self) -> str:
        """16 hex digits of the SHA-256 of what matters to the result."""
        data = self.model_dump(mode="json", exclude={"name", "path", "report", "disparity", "priority"})
        data["outcome"].pop("name")
        data["outcome"]["enforcement"] = bool(data["outcome"]["enforcement"])  # unsaid was False once
        for factor in data["factors"]:
            factor.pop("label")
            if not factor["force"]:  # so that studies without it keep their id
                factor.pop("force")
        if data["impedance"] is None:  # so that studies without it keep their id
            data.pop("impedance")
        if data["exposure"] is None:  # likewise
            data.pop("exposure")
        else:
            data["exposure"] = {k: v for k, v in data["exposure"].items() if k not in ("name", "unit")}
        added = ("fold_offset", "fold_repeats", "fold_time", "districts", "exchange", "robust", "mixing", "rule")
        for option in added:  # likewise
            if data["model"][option] == ModelSpec.model_fields[option].default:
                data["model"].pop(option)
        if self.posterior == PosteriorSpec():
            data.pop("posterior")
        if self.stability == StabilitySpec():
            data.pop("stability")
        text = json.dumps(data, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def n_variables(self) -> int:
        """Number of variables generated, before the support rule."""
        return sum(f.n_bands * len(f.operationalizations) for f in self.factors)


def read_study(path: str | Path, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read a study file as plain data, not yet checked; parameters and errors as for `Study.from_toml`."""
    path = Path(path)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise FileError(f"{path}: no such study file.", hint="Check the path.") from None
    except tomllib.TOMLDecodeError as error:
        raise FileError(f"{path}: not valid TOML: {error}.", hint="Mend the line named.") from None
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: not UTF-8 text ({error.reason}).", hint="Save it as UTF-8.") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}.") from None
    for field, value in (overrides or {}).items():
        override(data, field, value)
    return data


def override(data: dict[str, Any], field: str, value: Any) -> None:
    """Replace one field of plain study data, by dotted name."""
    *parents, last = field.split(".")
    node: Any = data
    for i, part in enumerate(parents):
        if isinstance(node, list):
            names = [f.get("name") if isinstance(f, dict) else None for f in node]
            if part in names:
                node = node[names.index(part)]
            elif part.isdigit() and 1 <= int(part) <= len(node):
                node = node[int(part) - 1]
            else:
                raise InputError(f"override {field}: no factor {part!r}.", hint="Give a factor's name or number.")
        else:
            node = node.setdefault(part, {})
        if not isinstance(node, dict | list):
            raise InputError(f"override {field}: {'.'.join(parents[: i + 1])} holds a value, not a table.")
    if isinstance(node, list):
        raise InputError(f"override {field}: names a whole factor.", hint="Name one of its fields.")
    if value is None:
        node.pop(last, None)
    else:
        node[last] = value


def describe(error: ValidationError) -> list[InputError]:
    """Say what pydantic found, one error per field: the value found and the one expected."""
    out = []
    for item in error.errors(include_url=False):
        field = ".".join(str(p + 1) if isinstance(p, int) else p for p in item["loc"]) or "study"
        found = item.get("input")
        kind, message = item["type"], item["msg"].removeprefix("Value error, ")
        if kind == "extra_forbidden":
            out.append(
                InputError(
                    f"{field}: unknown key.", hint="Remove it or mend its spelling; `rtmdx schema` lists the keys."
                )
            )
        elif kind == "missing":
            out.append(InputError(f"{field}: required, but missing.", hint="Add it."))
        elif kind == "value_error":
            out.append(InputError(f"{field}: {message}."))
        else:
            out.append(InputError(f"{field}: found {found!r}; {message[0].lower()}{message[1:]}."))
    return out
