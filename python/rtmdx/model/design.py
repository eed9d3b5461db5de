"""The design: which 0/1 variables a study generates, held as one code per cell and block.

A *block* is one factor under one operationalization. Its variables are functions of a single
``uint8`` code per kept cell (the band index for proximity, one bit per bandwidth for density),
so 264 variables over 10 million cells cost 44 bytes a cell instead of 2,112.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.model.columns import Columns, ColumnSource, computed_columns
from rtmdx.space.density import KernelName
from rtmdx.space.features import Features
from rtmdx.space.grid import Grid
from rtmdx.space.impedance import Impedance
from rtmdx.space.layers import Finding, Operationalization, RiskFactor

__all__ = [
    "Block",
    "Design",
    "DroppedVariable",
    "Operationalization",
    "Variable",
    "barely_varying",
    "build_design",
    "support_rule",
]


@dataclass(frozen=True, slots=True)
class Variable:
    """One 0/1 candidate variable.

    Attributes
    ----------
    name : str
        ``r01d02_bars_density_91``: factor number, d|p, band number (01 = smallest), layer, word, distance.
    factor : int
        0-based position of the factor in the study.
    factor_name : str
    operationalization : {"proximity", "density", "cost"}
    band : int
        1-based; 1 is the smallest distance.
    distance : float
        Reach (proximity, cost) or bandwidth (density) in CRS units.
    threshold : float or None
        Density only: mean + 2 SD over the kept cells, per square CRS unit.
    sign : int
        +1 aggravating, -1 protective: the design column is ``sign * indicator``.
    support : int
        Number of kept cells where the indicator is 1.
    """

    name: str
    factor: int
    factor_name: str
    operationalization: Operationalization
    band: int
    distance: float
    threshold: float | None
    sign: int
    support: int


@dataclass(frozen=True, slots=True)
class DroppedVariable:
    """A generated variable that does not enter culling, and why."""

    variable: Variable
    reason: str


@dataclass(frozen=True)
class Block:
    """One factor under one operationalization.

    Attributes
    ----------
    codes : uint8 array, shape (n_cells,)
    decode : uint8 array, shape (n_codes, n_variables)
        ``decode[codes, k]`` is the 0/1 indicator of ``variables[k]``.
    variables : tuple of Variable
        The kept variables only, smallest band first.
    """

    codes: NDArray[np.uint8]
    decode: NDArray[np.uint8]
    variables: tuple[Variable, ...]


@dataclass(frozen=True)
class Design:
    """All blocks of a study over the kept cells (row-major)."""

    blocks: tuple[Block, ...]
    n_cells: int
    dropped: tuple[DroppedVariable, ...] = ()
    derived: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """What follows from the codes alone, kept for other outcomes and folds of the same design."""

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        """Kept variables, in block order: the column order of the design."""
        return tuple(v for block in self.blocks for v in block.variables)

    @cached_property
    def _address(self) -> tuple[tuple[int, int], ...]:
        return tuple((b, k) for b, block in enumerate(self.blocks) for k in range(len(block.variables)))

    def indicator(self, j: int) -> NDArray[np.uint8]:
        """Return the 0/1 indicator of variable `j`, shape (n_cells,), sign not applied."""
        b, k = self._address[j]
        block = self.blocks[b]
        return block.decode[:, k][block.codes]

    @property
    def n_generated(self) -> int:
        """Number of variables before the support rule."""
        return len(self.variables) + len(self.dropped)


def build_design(
    factors: Sequence[RiskFactor],
    grid: Grid,
    *,
    kernel: KernelName = "epanechnikov",
    min_support: int = 20,
    min_support_share: float = 0.0005,
    impedance: Impedance | None = None,
    columns: ColumnSource | None = None,
    threads: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Design:
    """Generate the 0/1 variables of every factor and apply the support rule.

    Proximity: 1 where the Euclidean distance from the cell centre to the nearest feature is at
    most the band distance. Density: 1 where the kernel density at the cell centre, bandwidth the
    band distance, is at least mean + 2 SD (n - 1) over the kept cells, zeros included (Caplan &
    Kennedy 2016). Cost: 1 where the least accumulated cost of a way from the nearest feature to the cell
    centre, around barriers and through the friction of the ground, is at most the band distance. No
    float raster outlives its band. A variable is dropped when it is constant, equals a smaller band's column of
    its block, or is 1 in fewer than ``max(min_support, min_support_share x cells)`` cells.

    Parameters
    ----------
    factors : sequence of RiskFactor
        In study order.
    grid : Grid
    kernel : str
        Kernel of the density operationalization.
    min_support, min_support_share
        The support rule: a count of cells, and a share of the kept cells.
    impedance : Impedance, optional
        What is in the way; needed by factors operationalized by cost.
    columns : ColumnSource, optional
        Gives the columns of each factor, in place of computing them.
    threads : int, optional
        All cores by default; the result is the same for any number.
    progress : callable, optional
        Called as ``progress("surfaces", done, total)``, once per surface.
    cancel : callable, optional
        Asked between and within surfaces; when it returns True, `rtmdx.errors.Cancelled` is raised.

    Returns
    -------
    Design
    """
    need = max(min_support, math.ceil(min_support_share * grid.n_cells))
    total = sum(len(f.distances) if o == "density" else 1 for f in factors for o in f.operationalizations)
    done = 0
    blocks: list[Block] = []
    dropped: list[DroppedVariable] = []

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress("surfaces", done, total)

    if progress is not None:
        progress("surfaces", 0, total)
    for i, factor in enumerate(factors):
        made_once: list[Features] = []
        for operationalization in factor.operationalizations:
            if columns is not None:
                give: ColumnSource = columns
            else:
                made_once = made_once or [Features.from_geometries(factor.geometries)]
                give = partial(computed_columns, features=made_once[0])
            made = give(
                factor, operationalization, grid, kernel=kernel, impedance=impedance, step=step, threads=threads,
                cancel=cancel,
            )  # fmt: skip
            kept, lost = support_rule(i, factor, operationalization, made, need)
            dropped += lost
            blocks += [
                Block(codes, decode, tuple(kept[k] for k in which))
                for codes, decode, which in made.encode(sorted(kept))
            ]
    return Design(tuple(blocks), grid.n_cells, tuple(dropped))


def barely_varying(design: Design, factors: Sequence[RiskFactor], share: float = 0.99) -> list[Finding]:
    """Report factors none of whose variables separates cells: all dropped, or true nearly everywhere."""
    findings = []
    for i, factor in enumerate(factors):
        kept = [v for v in design.variables if v.factor == i]
        lost = [d for d in design.dropped if d.variable.factor == i]
        where = f"factor {factor.name!r}"
        if not kept:
            reasons = sorted({d.reason for d in lost})
            message = f"None of its {len(lost)} variables enters the model ({'; '.join(reasons)})."
            findings.append(Finding("no-variable", where, message))
            continue
        wide = [v for v in kept if v.support > share * design.n_cells]
        if wide:
            v = wide[0]
            findings.append(
                Finding(
                    "barely-varies",
                    where,
                    f"It barely varies: {v.name} is 1 in {v.support / design.n_cells:.1%} of the cells"
                    + (f", and {len(wide) - 1} more of its variables likewise" if len(wide) > 1 else "")
                    + ". A smaller influence would tell more.",
                )
            )
    return findings


def variable_name(factor: int, name: str, operationalization: Operationalization, band: int, distance: float) -> str:
    """Return RTMDx's name of a variable, for example ``r01d02_bars_density_91``."""
    length = f"{distance:.6g}".replace(".", "_")
    return f"r{factor + 1:02d}{operationalization[0]}{band:02d}_{name}_{operationalization}_{length}"


def support_rule(
    i: int, factor: RiskFactor, operationalization: Operationalization, columns: Columns, need: int
) -> tuple[dict[int, Variable], list[DroppedVariable]]:
    """Return the variables kept, by 0-based band, and those dropped with the reason."""
    kept: dict[int, Variable] = {}
    lost: list[DroppedVariable] = []
    for k, distance in enumerate(factor.distances):
        support = columns.support(k)
        variable = Variable(
            name=variable_name(i, factor.name, operationalization, k + 1, distance),
            factor=i,
            factor_name=factor.name,
            operationalization=operationalization,
            band=k + 1,
            distance=distance,
            threshold=columns.threshold(k),
            sign=factor.sign,
            support=support,
        )
        if support in (0, columns.n_cells):
            lost.append(DroppedVariable(variable, f"constant: {'no cell' if support == 0 else 'every cell'}"))
        elif (twin := columns.twin(k)) is not None:
            lost.append(DroppedVariable(variable, f"same column as band {twin + 1:02d}"))
        elif support < need:
            lost.append(DroppedVariable(variable, f"support: fewer than {need} cells"))
        else:
            kept[k] = variable
    return kept, lost
