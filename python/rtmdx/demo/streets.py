"""Streets and blocks: each district's own grid, laid between the main streets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from rtmdx.demo.land import Land

__all__ = ["Town", "make_town"]

_SNAP = 0.01  # metres: streets meet on this lattice
_NEAR = 0.3  # how far beside a street its two faces are looked up


@dataclass(frozen=True)
class _District:
    """One street grid: direction in degrees, block length and depth in metres."""

    name: str
    turn: float
    length: float
    depth: float
    sway: float
    merged: float  # share of streets between two blocks that were never built


_DISTRICTS = (
    _District("Old Town", 0.0, 104.0, 84.0, 5.0, 0.03),  # turned to the river below
    _District("Northside", 1.5, 128.0, 82.0, 10.0, 0.08),
    _District("Westfield", 9.0, 165.0, 98.0, 55.0, 0.20),
    _District("Southgate", -17.0, 132.0, 86.0, 12.0, 0.08),
    _District("East Bank", 13.0, 138.0, 90.0, 20.0, 0.12),
    _District("Millrace", -8.0, 150.0, 94.0, 38.0, 0.16),
)


@dataclass(frozen=True, eq=False)
class Town:
    """Streets, blocks and parks; metres from the centre.

    Attributes
    ----------
    streets : object array of LineString
        One per stretch between two crossings.
    kind : str array
        "avenue", "arterial", "riverside", "bridge", "street" or "cul-de-sac", one per stretch.
    blocks : object array of Polygon
        Land between streets, without parks.
    district : str array
        District of each block.
    parks : object array of Polygon
        The large park first.
    """

    streets: NDArray[np.object_]
    kind: NDArray[np.str_]
    blocks: NDArray[np.object_]
    district: NDArray[np.str_]
    parks: NDArray[np.object_]


def make_town(land: Land, rng: np.random.Generator) -> Town:
    """Lay out streets, then find the blocks between them."""
    main = shapely.intersection(
        np.array([*land.drives, *land.arterials, land.avenue, land.motorway]), land.limits
    )
    quarters, home = _quarters(land)
    lines = [shapely.boundary(land.limits), *main, *_local_streets(land, quarters, home, rng)]
    edges = shapely.get_parts(shapely.union_all(lines, grid_size=_SNAP))
    faces = shapely.get_parts(shapely.polygonize(edges))
    left, right = _sides(edges, faces)
    is_main = _on(edges, shapely.union_all(main))
    is_limit = _on(edges, shapely.boundary(land.limits))
    is_motorway = _on(edges, land.motorway)

    inner = shapely.point_on_surface(faces)
    face, quarter = shapely.STRtree(quarters).query(inner, predicate="within")
    district = np.ones(faces.size, dtype=np.intp)
    district[face] = home[quarter]
    open_land = shapely.distance(faces, land.river) < 20.0  # the water and its banks

    fixed = is_main | is_limit | (left < 0) | (right < 0)
    group = _merge(edges, faces, left, right, fixed, district, open_land, rng)
    large_park = _large_park(faces, main, land)
    in_park = shapely.contains_properly(shapely.buffer(large_park, 12.0), faces)
    same = (left >= 0) & (right >= 0) & (group[left] == group[right]) & ~fixed
    inside_park = (left >= 0) & (right >= 0) & in_park[left] & in_park[right]
    both_open = (left >= 0) & (right >= 0) & open_land[left] & open_land[right] & ~is_main
    gone = same | (inside_park & ~is_main) | is_limit | is_motorway | both_open
    stubs = _stubs(edges[same & ~inside_park], rng)
    streets = np.concatenate([edges[~gone], stubs])
    kind = np.where(_on(edges, land.avenue), "avenue", np.where(is_main, "arterial", "street"))
    kind[_on(edges, shapely.union_all(land.drives))] = "riverside"
    kind[shapely.intersects(edges, land.river)] = "bridge"
    kind = np.concatenate([kind[~gone], np.full(stubs.size, "cul-de-sac")])

    built = ~open_land & ~in_park
    blocks, where = _blocks(faces, group, built, streets, kind, land)
    chosen = _small_parks(blocks, large_park, rng)
    large_park = shapely.buffer(large_park, -7.0, join_style="mitre")
    parks = np.concatenate([[large_park], blocks[chosen]])
    rest = np.setdiff1d(np.arange(blocks.size), chosen)
    names = np.array([d.name for d in _DISTRICTS])
    return Town(streets, kind, blocks[rest], names[district[where[rest]]], parks)


def _quarters(land: Land) -> tuple[NDArray[np.object_], NDArray[np.intp]]:
    """Return the land between main streets, and the district each piece belongs to."""
    main = np.array([*land.drives, *land.arterials, land.motorway])
    lines = [shapely.boundary(land.limits), *shapely.intersection(main, land.limits)]
    edges = shapely.get_parts(shapely.union_all(lines, grid_size=_SNAP))
    quarters = shapely.get_parts(shapely.polygonize(edges))
    centre = shapely.centroid(quarters)
    x, y = shapely.get_x(centre), shapely.get_y(centre)
    east = x > land.bank(y)
    core = (np.abs(y - land.downtown[1]) < 400) & (x > land.downtown[0] - 750)
    rules = [east & (y > 350), east, core, x < -2000, y < -560]
    return quarters, np.select(rules, [5, 4, 0, 2, 3], default=1)


def _local_streets(
    land: Land, quarters: NDArray[np.object_], home: NDArray[np.intp], rng: np.random.Generator
) -> list[Any]:
    """Draw every district's grid over the quarters that belong to it."""
    dry = shapely.area(shapely.intersection(quarters, land.river)) < 1.0
    quarters, home = quarters[dry], home[dry]
    slope = land.bank(land.downtown[1] + 300.0) - land.bank(land.downtown[1] - 300.0)
    lines: list[Any] = []
    for i, district in enumerate(_DISTRICTS):
        if not (home == i).any():
            continue
        place = shapely.union_all(quarters[home == i])
        turn = np.radians(district.turn + rng.uniform(-3, 3))
        if i == 0:
            turn = -np.arctan2(slope, 600.0)
        lines += list(shapely.intersection(_grid_lines(district, turn, place, rng), place))
    parts = shapely.get_parts(np.array(lines, dtype=object))
    return list(parts[shapely.get_type_id(parts) == 1])


def _grid_lines(
    district: _District, turn: float, place: Any, rng: np.random.Generator
) -> NDArray[np.object_]:
    """Draw two families of gently swaying lines that cover `place`."""
    west, south, east, north = shapely.bounds(place)
    middle = np.array([(west + east) / 2, (south + north) / 2])
    reach = np.hypot(east - west, north - south) / 2 + 200
    t = np.arange(-reach, reach, 45.0)
    phase = rng.uniform(0, 2 * np.pi, 4)
    out = []
    for step, upright in ((district.length, True), (district.depth, False)):
        level = -reach + np.cumsum(step * rng.uniform(0.84, 1.16, int(2 * reach / step)))
        for v in level:
            a, b = (np.full_like(t, v), t) if upright else (t, np.full_like(t, v))
            u = a + district.sway * (np.sin(b / 290 + phase[0]) + 0.6 * np.sin(a / 410 + phase[1]))
            w = b + district.sway * (np.sin(a / 330 + phase[2]) + 0.6 * np.sin(b / 370 + phase[3]))
            x = middle[0] + u * np.cos(turn) - w * np.sin(turn)
            y = middle[1] + u * np.sin(turn) + w * np.cos(turn)
            out.append(shapely.linestrings(np.column_stack([x, y])))
    return np.array(out, dtype=object)


def _sides(
    edges: NDArray[np.object_], faces: NDArray[np.object_]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the face left and right of each stretch, -1 for none."""
    half = shapely.length(edges) / 2
    mid = shapely.get_coordinates(shapely.line_interpolate_point(edges, half))
    ahead = shapely.get_coordinates(shapely.line_interpolate_point(edges, half + np.minimum(0.2, half / 2)))
    step = ahead - mid
    normal = np.column_stack([-step[:, 1], step[:, 0]]) / np.hypot(*step.T)[:, None]
    tree = shapely.STRtree(faces)
    sides = []
    for side in (_NEAR, -_NEAR):
        point, face = tree.query(shapely.points(mid + side * normal), predicate="within")
        found = np.full(edges.size, -1, dtype=np.intp)
        found[point] = face
        sides.append(found)
    return sides[0], sides[1]


def _on(edges: NDArray[np.object_], line: Any) -> NDArray[np.bool_]:
    """Say which stretches lie on a line."""
    tree = shapely.STRtree(edges)
    out = np.zeros(edges.size, dtype=bool)
    near = np.unique(tree.query(shapely.buffer(shapely.get_parts(line), 0.5))[1])
    shapely.prepare(line)
    points = shapely.line_interpolate_point(edges[near][:, None], [0.25, 0.5, 0.75], normalized=True)
    out[near] = shapely.dwithin(line, points, 0.1).all(axis=1)
    return out


def _merge(
    edges: NDArray[np.object_],
    faces: NDArray[np.object_],
    left: NDArray[np.intp],
    right: NDArray[np.intp],
    fixed: NDArray[np.bool_],
    district: NDArray[np.intp],
    open_land: NDArray[np.bool_],
    rng: np.random.Generator,
) -> NDArray[np.intp]:
    """Join slivers to a neighbour, and some pairs of blocks for variety; return each face's group."""
    group = np.arange(faces.size)
    area, length = shapely.area(faces), shapely.length(edges)
    size = area.copy()
    roundness = area / shapely.length(faces) ** 2
    may = ~fixed & (left >= 0) & (right >= 0)
    may[may] &= ~open_land[left[may]] & ~open_land[right[may]]
    sliver = (area < 2600) | (roundness < 0.028)
    chance = np.array([d.merged for d in _DISTRICTS])

    def join(a: int, b: int) -> None:
        keep, lose = group[a], group[b]
        if keep != lose:
            size[keep] += size[lose]
            group[group == lose] = keep

    longest_first = np.flatnonzero(may)[np.argsort(-length[may], kind="stable")]
    for e in longest_first:
        a, b = left[e], right[e]
        small = (sliver[a] and size[group[a]] < 5000) or (sliver[b] and size[group[b]] < 5000)
        if small and length[e] > 12:
            join(a, b)
    draw = rng.uniform(size=faces.size)
    for e in longest_first:
        a, b = left[e], right[e]
        pair = size[group[a]] + size[group[b]]
        if draw[a] < chance[district[a]] and pair < 45_000:
            join(a, b)
            draw[a] = draw[b] = 1.0
    return group


def _stubs(removed: NDArray[np.object_], rng: np.random.Generator) -> NDArray[np.object_]:
    """Leave part of some streets that were not built through: cul-de-sacs."""
    from shapely.ops import substring

    long = removed[shapely.length(removed) > 75]
    kept = long[rng.uniform(size=long.size) < 0.6]
    share = rng.uniform(0.45, 0.65, kept.size)
    stubs = [substring(line, 0.0, s, normalized=True) for line, s in zip(kept, share, strict=True)]
    return np.array(stubs, dtype=object)


def _large_park(faces: NDArray[np.object_], main: NDArray[np.object_], land: Land) -> Any:
    """Set aside a rounded rectangle of faces between main streets."""
    centre = shapely.get_coordinates(shapely.centroid(faces))
    dx, dy = (centre - land.park_site).T
    within = np.abs(dx / 430) ** 3 + np.abs(dy / 310) ** 3 < 1
    park = shapely.difference(shapely.union_all(faces[within]), shapely.buffer(shapely.union_all(main), 10.0))
    parts = shapely.get_parts(park)
    return parts[np.argmax(shapely.area(parts))]


def _blocks(
    faces: NDArray[np.object_],
    group: NDArray[np.intp],
    built: NDArray[np.bool_],
    streets: NDArray[np.object_],
    kind: NDArray[np.str_],
    land: Land,
) -> tuple[NDArray[np.object_], NDArray[np.intp]]:
    """Return the built blocks, less the width of the streets, and a face of each."""
    names, first = np.unique(group[built], return_index=True)
    members = np.flatnonzero(built)
    order = np.argsort(group[members], kind="stable")
    pieces = np.split(faces[members[order]], np.flatnonzero(np.diff(group[members[order]])) + 1)
    whole = np.array([shapely.union_all(p) if p.size > 1 else p[0] for p in pieces], dtype=object)
    whole = shapely.buffer(whole, -6.5, join_style="mitre")
    broad = np.isin(kind, ["avenue", "arterial", "riverside"])
    wide = np.concatenate(
        [
            shapely.buffer(streets[broad], 10.0, cap_style="flat"),
            shapely.buffer(streets[kind == "cul-de-sac"], 6.0),
            [shapely.buffer(land.motorway, 24.0), shapely.buffer(land.river, 15.0)],
        ]
    )
    block, way = shapely.STRtree(wide).query(whole, predicate="intersects")
    for b in np.unique(block):
        whole[b] = shapely.difference(whole[b], shapely.union_all(wide[way[block == b]]))
    parts, of = shapely.get_parts(whole, return_index=True)
    good = shapely.area(shapely.buffer(parts, -6.0)) > 250
    return parts[good], members[first][of[good]] if names.size else of[good]


def _small_parks(blocks: NDArray[np.object_], large: Any, rng: np.random.Generator) -> NDArray[np.intp]:
    """Choose blocks that are squares and playgrounds, well apart."""
    centre = shapely.get_coordinates(shapely.centroid(blocks))
    area = shapely.area(blocks)
    chosen: list[int] = []
    for i in rng.permutation(blocks.size):
        far = all(np.hypot(*(centre[i] - centre[j])) > 700 for j in chosen)
        if far and 5000 < area[i] < 22_000 and shapely.distance(blocks[i], large) > 600:
            chosen.append(int(i))
        if len(chosen) == 11:
            break
    return np.sort(np.array(chosen, dtype=np.intp))
