"""The city on disk: a GeoPackage with every layer, and a study file to start from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rtmdx.demo.events import FIT, HOLDOUT

if TYPE_CHECKING:
    import geopandas as gpd

    from rtmdx.demo.city import City

__all__ = ["study_text", "write_layers"]

_NEAR = {"operationalization": "proximity"}

# name, what a newcomer should know, keys beyond the layer
_FACTOR_NOTES: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("bars", "Bars cluster downtown and along a few strips.", {}),
    ("vacant_buildings", "Vacant buildings, most of them in neighbourhoods that lose residents.", {}),
    ("convenience_stores", "Convenience stores, on main streets and corners.", {}),
    ("bus_stops", "Bus stops, every two to three blocks along main streets.", {}),
    ("dark_streets", "Poorly lit streets: lines. Distance is taken to the line itself.", _NEAR),
    (
        "community_centers",
        "Protective: near a community center, risk is expected to be lower.",
        {"effect": "protective"},
    ),
    ("liquor_stores", "Liquor stores.", {}),
    ("schools", "Schools.", {}),
    ("parks", "Parks: polygons. Inside a polygon the distance is 0.", _NEAR),
    ("parking_lots", "Surface parking lots: polygons.", _NEAR),
    ("motorway", "The motorway: one line.", _NEAR),
)

_TAIL = """
# Who lives where the landscape is risky? Residents by block, as invented as the rest. It changes nothing in the model.
[disparity.exposure]
path = "city.gpkg"
layer = "blocks"
key = "block"
groups = { black = "black", white = "white", other = "other" }
reference = "white"

# Which places come first and why, what a cap on a group's share of the burden costs, and what if:
# rtmdx prioritize study.toml
[priority]
places = { path = "city.gpkg", layer = "blocks", name = "block" }
k = 15
cells = 50

[priority.budget]
cells = 200
min_patch = 10

[priority.fair]
zones = { path = "city.gpkg", layer = "blocks" }
group = "black"
population = "population"
cells = 200

[[priority.what_if]]
label = "The dark streets of the 50 highest blocks lit"
within_top = 50
around = 15  # metres: streets lie between blocks
edits = [{ layer = "dark_streets", action = "remove" }]
"""

_HEAD = """\
# A Risk Terrain Modeling study of an invented city (rtmdx demo, seed {seed}).
# No place, person or event in it is real. Change it freely, then: rtmdx run study.toml

schema_version = 1
name = "Demo city {seed}"
seed = 0  # of the cross-validation folds

# Where the study takes place: polygons in a projected CRS. All lengths are in its unit, here metres.
[area]
path = "city.gpkg"
layer = "area"

# Block length is the unit of spatial influence; a cell is half a block unless cell_size says otherwise.
[grid]
block_length = {block:g}
# cell_size = {cell:g}

# The events to explain: two years.
[outcome]
name = "incidents"
path = "city.gpkg"
layer = "events"
date_field = "date"
start = {fit[0]}
end = {fit[1]}

# The year after: never seen by the model, only used to score it.
[holdout]
start = {later[0]}
end = {later[1]}

# Risk factors: one [[factors]] table each. For every factor the model tries each reach up to
# max_influence blocks, in steps of half a block, as
#   proximity  within that distance of the nearest feature, or
#   density    where features concentrate (kernel density of mean + 2 SD or more), or both.
"""


def study_text(city: City) -> str:
    """Return the city's study as commented TOML."""
    block, cell = city.block_length, city.cell_size
    parts = [_HEAD.format(seed=city.seed, block=block, cell=cell, fit=FIT, later=HOLDOUT)]
    for name, note, keys in _FACTOR_NOTES:
        keys = {"operationalization": "both", **keys}
        lines = [f"# {note}", "[[factors]]", f'name = "{name}"', 'path = "city.gpkg"', f'layer = "{name}"']
        lines += [f'{key} = "{value}"' for key, value in keys.items()]
        parts.append("\n".join([*lines, "max_influence = 3", 'increment = "half"']) + "\n")
    return "\n".join(parts) + _TAIL


def write_layers(path: Path, layers: dict[str, gpd.GeoDataFrame]) -> None:
    """Write a GeoPackage, replacing an old one; same layers, same bytes."""
    import pyogrio

    path.unlink(missing_ok=True)
    clock = "OGR_CURRENT_DATE"  # else every layer carries the time of writing
    before = pyogrio.get_gdal_config_option(clock)
    pyogrio.set_gdal_config_options({clock: f"{FIT[0]}T00:00:00.000Z"})
    try:
        for name, layer in layers.items():
            layer.to_file(path, layer=name, driver="GPKG", engine="pyogrio", mode="a" if path.exists() else "w")
    finally:
        pyogrio.set_gdal_config_options({clock: before})
