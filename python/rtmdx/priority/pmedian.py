"""Districts of even workload: the p-median problem with a tolerance, solved exactly for hundreds of areas.

Choose k areas as sources and assign every area to one, so that sum amount x distance is least and each district's
amount is within a tolerance of the mean (Wheeler 2018, after ReVelle & Swain 1970). Contiguity, where neighbours are
given, is Wheeler's: an area belongs to a source only if a neighbour that is nearer to the source does too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx.errors import InputError
from rtmdx.priority.graphs import given_pairs, graph_of
from rtmdx.priority.inputs import values_in
from rtmdx.priority.programs import require_size, solve
from rtmdx.space.values import number, reals, whole

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DistrictPlan", "districts"]


@dataclass(frozen=True, eq=False)
class DistrictPlan:
    """Which area belongs to which source.

    Attributes
    ----------
    sources : int array, shape (k,)
        Ascending.
    source : int array, shape (n,)
        The source of each area.
    amount : float array, shape (k,)
        Workload of each district, in the order of `sources`.
    objective : float
        Sum of amount times distance.
    bound, gap : float
        No plan has a smaller objective than `bound`; ``gap = (objective - bound) / objective``, 0 when proven best.
    """

    sources: NDArray[np.intp]
    source: NDArray[np.intp]
    amount: NDArray[np.float64]
    objective: float
    bound: float
    gap: float

    def to_frame(self) -> pd.DataFrame:
        """Return one row per district: source, areas, amount, share of the amount."""
        import pandas as pd

        areas = [np.flatnonzero(self.source == j).tolist() for j in self.sources]
        share = self.amount / self.amount.sum()
        return pd.DataFrame({"source": self.sources, "areas": areas, "amount": self.amount, "share": share})


def districts(
    amount: ArrayLike,
    distance: ArrayLike,
    k: int,
    *,
    tolerance: float = 0.2,
    neighbours: ArrayLike | None = None,
    seconds: float = 60.0,
) -> DistrictPlan:
    """Divide areas among k sources, with even workloads.

    Parameters
    ----------
    amount : float array >= 0, shape (n,)
        Workload of each area: expected events, calls.
    distance : float array >= 0, shape (n, n)
        From each area to each possible source, in any unit.
    k : int
        Number of districts.
    tolerance : float
        Each district's amount is within this share of the mean.
    neighbours : int array, shape (m, 2), optional
        Pairs of areas that touch: districts are then contiguous.
    seconds : float
        HiGHS stops there and the gap says how far it is from proven.

    Returns
    -------
    DistrictPlan

    Raises
    ------
    InputError
        An argument is not usable, the problem is too large (about 500 areas), or no plan meets the tolerance.
    FitError
        No plan was found in time.
    """
    from scipy.sparse import coo_array, csr_array

    a = values_in(amount, "amount", least=0.0)
    n = a.size
    d = reals(distance, "distance", f"numbers >= 0 of shape ({n}, {n})")
    if d.shape != (n, n) or not (np.isfinite(d) & (d >= 0)).all():
        raise InputError(
            f"distance: found an array of shape {d.shape}, expected finite numbers >= 0, shape ({n}, {n})."
        )
    require_size(n * n, "distance")
    k = whole(k, "k", least=1)
    if k > n:
        raise InputError(f"k: found {k:,}, but there are only {n:,} areas.")
    slack = number(tolerance, "tolerance")
    if not slack >= 0:
        raise InputError(f"tolerance: found {slack:g}, expected 0 or more.")
    mean = float(a.sum()) / k
    if a.max() > mean * (1 + slack) * (1 + 1e-12):
        i = int(a.argmax())
        raise InputError(
            f"tolerance: area {i} alone has {a[i]:g}, {a[i] - mean * (1 + slack):g} above the most a district may have "
            f"({mean:g} x {1 + slack:g}).",
            hint=f"Allow {a[i] / mean - 1:.3g}, divide the area, or make fewer districts.",
        )
    pairs = n * n  # variable i * n + j: area i belongs to source j; then one per source
    area, source = np.divmod(np.arange(pairs), n)
    size = pairs + n
    ones = np.ones(pairs)
    assigned = csr_array((ones, (area, np.arange(pairs))), shape=(n, size))
    opened_at = (np.tile(np.arange(pairs), 2), np.concatenate([np.arange(pairs), pairs + source]))
    opened = csr_array((np.concatenate([ones, -ones]), opened_at), shape=(pairs, size))
    count = csr_array((np.ones(n), (np.zeros(n, dtype=int), pairs + np.arange(n))), shape=(1, size))
    load_at = (np.concatenate([source, np.arange(n)]), np.concatenate([np.arange(pairs), pairs + np.arange(n)]))
    low = coo_array((np.concatenate([a[area], np.full(n, -mean * (1 - slack))]), load_at), shape=(n, size)).tocsr()
    high = coo_array((np.concatenate([a[area], np.full(n, -mean * (1 + slack))]), load_at), shape=(n, size)).tocsr()
    rounding = 1e-9 * mean
    rows = [(assigned, 1, 1), (opened, -np.inf, 0), (count, k, k), (low, -rounding, np.inf), (high, -np.inf, rounding)]
    if neighbours is not None:
        rows.append((_nearer(given_pairs(neighbours, n), d, size), -np.inf, 0))
    kind = "contiguous districts" if neighbours is not None else "districts"
    found = solve(
        np.concatenate([(a[:, None] * d).ravel(), np.zeros(n)]), rows, integral=np.ones(size, dtype=np.bool_),
        seconds=seconds, infeasible=f"tolerance: no {k} {kind} are within {slack:g} of the mean of {mean:g}; allow "
        "more, or make another number of districts.",
    )  # fmt: skip
    own = found.x[:pairs].reshape(n, n).argmax(axis=1)
    sources = np.flatnonzero(found.x[pairs:] > 0.5)
    load = np.array([a[own == j].sum() for j in sources])
    objective = float((a * d[np.arange(n), own]).sum())
    return DistrictPlan(sources, own, load, objective, min(found.bound, objective), found.gap)


def _nearer(pairs: tuple[NDArray[np.int64], NDArray[np.int64]], d: NDArray[np.float64], size: int) -> Any:
    """x_ij <= sum of x_aj over the neighbours a of i that are nearer to j, for all i other than j."""
    from scipy.sparse import coo_array

    n = len(d)
    offsets, targets = graph_of(*pairs, n)
    first = np.repeat(np.arange(n), np.diff(offsets))
    i, j = np.nonzero(~np.eye(n, dtype=bool))
    link, to = np.nonzero(d[targets] < d[first])
    row = np.concatenate([i * n + j, first[link] * n + to])
    col = np.concatenate([i * n + j, targets[link].astype(np.int64) * n + to])
    value = np.concatenate([np.ones(i.size), -np.ones(link.size)])
    keep = np.concatenate([np.ones(i.size, dtype=bool), first[link] != to])
    return coo_array((value[keep], (row[keep], col[keep])), shape=(n * n, size)).tocsr()
