"""The design: which 0/1 variables a study generates, held as one code per cell and block.

A *block* is one factor under one operationalization. Its variables are functions of a single
``uint8`` code per kept cell (the band index for proximity, one bit per bandwidth for density),
so 264 variables over 10 million cells cost 44 bytes a cell instead of 2,112.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Block", "Design", "DroppedVariable", "Operationalization", "Variable"]

Operationalization = Literal["proximity", "density"]


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
    operationalization : {"proximity", "density"}
    band : int
        1-based; 1 is the smallest distance.
    distance : float
        Reach (proximity) or bandwidth (density) in CRS units.
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
