"""How the figures of docs/ are drawn: two log-log panels side by side, seconds on both, the same bytes each time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DOCS = Path(__file__).parents[1] / "docs"


@contextmanager
def log_panels(name: str) -> Iterator[tuple[Axes, Axes]]:
    """Draw on two axes; the figure is written to docs/ at the end of the block."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "rtmdx"
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), sharey=True, constrained_layout=True)
    for axes in (left, right):
        axes.set(xscale="log", yscale="log")
    left.set_ylabel("seconds, two threads")
    yield left, right
    for axes in (left, right):
        axes.grid(True, which="major", color="#dddddd")
        axes.legend(frameon=False)
    figure.savefig(DOCS / name, metadata={"Date": None})
