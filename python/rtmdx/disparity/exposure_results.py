"""What exposure is told with: figures of the places where groups live, not of persons.

None of them says what happens to a member of a group: only how risky the cells are that its residents are counted in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rtmdx.disparity.results import FLAGS, Estimate, ResultTable, _interval, _number

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ExposureIndex", "ExposureRatio", "ExposureResult", "GroupExposure", "TopShare"]

Float = NDArray[np.float64]

INDICES = {
    "concentration": "lives at {} risks than everyone does (concentration index)",
    "gini": "Gini coefficient of the risks its residents live at",
    "dissimilarity": "share that would have to move to live where {} does (dissimilarity over cells)",
    "theil": "Theil index of the risks all residents live at",
    "theil-between-groups": "part of the Theil index between groups",
    "theil-within-groups": "part of the Theil index within groups",
    "theil-between-places": "part of the Theil index between zones",
    "theil-within-places": "part of the Theil index within zones",
}


def _noted(e: Estimate) -> str:
    """What the flags say, but for what `_limits` says already."""
    said = [FLAGS.get(f, f) for f in e.flags if f != "no-interval"]
    return f". Note: {'; '.join(said)}." if said else "."


def _limits(e: Estimate) -> str:
    if "no-interval" in e.flags:
        return "no interval"
    return f"{_interval(e)}, {e.method}"


@dataclass(frozen=True, kw_only=True)
class GroupExposure(Estimate):
    """Mean risk of the cells a group lives in, weighted by its residents.

    Attributes
    ----------
    group : str
    residents : float
        In cells with a risk.
    missing : float
        Residents in cells without one.
    risk : str
        What the risk is.
    allocation : str
        How residents came into cells.
    """

    kind: ClassVar[str] = "place"

    group: str
    residents: float
    missing: float
    risk: str
    allocation: str

    def sentence(self) -> str:
        """Say it in one sentence."""
        return (
            f"{self.group}: mean {self.risk} {_number(self.estimate)} where the group lives ({_limits(self)}), over "
            f"{self.residents:,.0f} residents, allocation {self.allocation}{_noted(self)}"
        )


@dataclass(frozen=True, kw_only=True)
class ExposureRatio(Estimate):
    """Mean risk where a group lives beside that where the reference lives.

    Attributes
    ----------
    group, reference : str
        The reference is a group, or "everyone else".
    mean, reference_mean : float
    residents, reference_residents : float
    risk, allocation : str
    pooling : str
        Residents are pooled over cells.
    """

    kind: ClassVar[str] = "place"

    group: str
    reference: str
    mean: float
    reference_mean: float
    residents: float
    reference_residents: float
    risk: str
    allocation: str
    pooling: str = "pooled"

    def sentence(self) -> str:
        """Say it in one sentence."""
        return (
            f"The mean {self.risk} where residents counted as {self.group} live is {_number(self.estimate)} times that "
            f"of {self.reference} "
            f"({_limits(self)}; {_number(self.mean)} over {self.residents:,.0f} residents, against "
            f"{_number(self.reference_mean)} over {self.reference_residents:,.0f}; allocation {self.allocation})"
            f"{_noted(self)}"
        )


@dataclass(frozen=True, kw_only=True)
class TopShare(Estimate):
    """Share of a group that lives in the riskiest cells.

    Where cells at the border have the same risk, which of them belong is open: `estimate` takes all alike.

    Attributes
    ----------
    group : str
    top : float
        Share of the cells, such as 0.05.
    cells, tied, taken : int
        Number of top cells; of cells with the risk at the border; and of those the top has room for.
    threshold : float
        Risk at the border.
    least, most : float
        Share of the group with the choice among tied cells that has the fewest, and the most, of it.
    residents : float
        Of the group, in cells with a risk.
    risk, allocation : str
    """

    kind: ClassVar[str] = "place"

    group: str
    top: float
    cells: int
    tied: int
    taken: int
    threshold: float
    least: float
    most: float
    residents: float
    risk: str
    allocation: str

    def sentence(self) -> str:
        """Say it in one sentence."""
        ties = (
            "" if self.taken == self.tied else f"; {100 * self.least:.1f} to {100 * self.most:.1f} % by the tied cells"
        )
        limits = (
            "no interval"
            if "no-interval" in self.flags
            else f"{100 * self.level:g} % interval {100 * self.low:.1f} to {100 * self.high:.1f} %, {self.method}"
        )
        return (
            f"{self.group}: {100 * self.estimate:.1f} % of {self.residents:,.0f} residents live in the "
            f"{100 * self.top:g} % of cells ({self.cells:,}) of highest {self.risk} ({limits}{ties}){_noted(self)}"
        )


@dataclass(frozen=True, kw_only=True)
class ExposureIndex(Estimate):
    """An index of inequality or separation.

    Attributes
    ----------
    index : str
        "concentration", "gini", "dissimilarity", or "theil" and its parts.
    group, reference : str
        Empty where all residents are meant, or nobody is compared.
    residents : float
    risk, allocation : str
    """

    kind: ClassVar[str] = "place"

    index: str
    group: str
    reference: str
    residents: float
    risk: str
    allocation: str

    def sentence(self) -> str:
        """Say it in one sentence."""
        what = INDICES[self.index].format(self.reference or ("higher" if self.estimate > 0 else "lower"))
        value = f"{self.estimate:.4f}" if math.isfinite(self.estimate) else _number(self.estimate)
        return f"{self.group or 'all residents'}: {value}, {what} ({_limits(self)}){_noted(self)}"


@dataclass(frozen=True, eq=False)
class ExposureResult:
    """Exposure of groups to a risk surface.

    Attributes
    ----------
    means : ResultTable of GroupExposure
    ratios : ResultTable of ExposureRatio
        Each group to everyone else; then, with a reference, each other group to it.
    top : ResultTable of TopShare
    indices : ResultTable of ExposureIndex
    groups : tuple of str
    n_cells : int
        Cells with a risk.
    curve_risk, curve_cells : arrays, shape (n_points,)
        Rising risk, and the number of cells up to it.
    curve_residents, curve_burden : float64 arrays, shape (n_points, n_groups + 1)
        Residents up to that risk, and their residents times risk, by group and in all.
    notes : tuple of str
        What a reader must know, in sentences.
    """

    means: ResultTable
    ratios: ResultTable
    top: ResultTable
    indices: ResultTable
    groups: tuple[str, ...]
    n_cells: int
    curve_risk: Float
    curve_cells: NDArray[np.int64]
    curve_residents: Float
    curve_burden: Float
    notes: tuple[str, ...] = ()

    def ratio(self, group: str, reference: str = "everyone else") -> ExposureRatio:
        """The ratio of one group to a reference; KeyError if it was not asked for."""
        for r in self.ratios:
            if isinstance(r, ExposureRatio) and (r.group, r.reference) == (group, reference):
                return r
        raise KeyError((group, reference))

    def curve(self) -> pd.DataFrame:
        """Return the exposure curves, one row per point and group.

        Columns: group, risk, share_of_all (residents of all groups at most at that risk), share_of_group (those of the
        group: against share_of_all it is the concentration curve) and share_of_burden (the group's residents times
        risk: against share_of_group it is the group's Lorenz curve). The first row of a group is the origin.
        """
        import pandas as pd

        everyone = np.concatenate([[0.0], self.curve_residents[:, -1]])
        frames = []
        with np.errstate(invalid="ignore", divide="ignore"):
            for g, name in enumerate(self.groups):
                own = np.concatenate([[0.0], self.curve_residents[:, g]])
                burden = np.concatenate([[0.0], self.curve_burden[:, g]])
                risk = np.concatenate([[np.nan], self.curve_risk])
                columns = {
                    "group": name,
                    "risk": risk,
                    "share_of_all": everyone / everyone[-1],
                    "share_of_group": own / own[-1],
                    "share_of_burden": burden / burden[-1],
                }
                frames.append(pd.DataFrame(columns))
        return pd.concat(frames, ignore_index=True)

    def sentences(self) -> list[str]:
        """Say all of it."""
        tables: Sequence[ResultTable] = (self.means, self.ratios, self.top, self.indices)
        return [s for t in tables for s in t.sentences()] + list(self.notes)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, without the curves."""
        tables = {name: getattr(self, name).to_dict() for name in ("means", "ratios", "top", "indices")}
        return {**tables, "n_cells": self.n_cells, "notes": list(self.notes)}

    def plot(self, ax: Any = None) -> Any:
        """Draw the concentration curves: share of each group against share of everyone, lowest risk first.

        A group below the diagonal lives at higher risks than everyone does. Needs matplotlib; returns the axes.
        """
        from rtmdx.errors import MissingDependencyError

        try:
            import matplotlib.pyplot as plt
        except ImportError:
            raise MissingDependencyError(
                "the chart needs matplotlib.", hint="Install it with: pip install 'rtmdx[disparity]'"
            ) from None
        if ax is None:
            _, ax = plt.subplots(figsize=(5, 5), layout="constrained")
        table = self.curve()
        for name in self.groups:
            rows = table[table["group"] == name]
            ax.plot(rows["share_of_all"], rows["share_of_group"], label=name)
        ax.plot([0, 1], [0, 1], color="0.6", linewidth=1, label="equal exposure")
        ax.set(
            xlabel="share of all residents, lowest risk first", ylabel="share of the group", xlim=(0, 1), ylim=(0, 1)
        )
        ax.legend()
        return ax
