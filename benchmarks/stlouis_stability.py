"""St. Louis: how far the first places depend on what was assumed, and what changed from one year to the next.

    python benchmarks/stlouis_stability.py DATA

Aggravated assault of 2017: a sweep of 50 scenarios (five seeds, five sets of factors, two cell sizes), its stability by
cell and by neighbourhood; confidence of the terrain's own ranks; hot spots of 2017 laid over it, judged by 2018; the
terrain of 2018 beside that of 2017. Layers and events are of different years: this exercises the method.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import geopandas as gpd

import rtmdx
from rtmdx import priority
from rtmdx.sweep.axes import Axis
from sweep import subsets

HERE = Path(__file__).resolve().parent
YEARS = {2017: ("2017-01-01", "2017-12-31"), 2018: ("2018-01-01", "2018-12-31")}


def study_of(year: int) -> rtmdx.Study:
    """The example, for one year."""
    study = rtmdx.Study.from_toml(HERE.parent / "examples" / "stlouis.toml")
    start, end = YEARS[year]
    plain = study.model_dump(mode="json", exclude_none=True)
    plain["outcome"] |= {"start": start, "end": end}
    plain.pop("holdout", None)
    return rtmdx.Study.model_validate(plain)


def main() -> None:
    """Run all of it and print what it says."""
    data = Path(sys.argv[1])
    zones = gpd.read_file(data / "stlouis" / "stlouis.gpkg", layer="neighborhoods")
    first = study_of(2017)
    with tempfile.TemporaryDirectory() as folder:
        axes = [
            Axis(field="grid.cell_size", values=[46, 91]),
            Axis(seeds=5),
            Axis(name="factors", subsets=subsets([f.name for f in first.factors])),
        ]
        start = time.perf_counter()
        results = rtmdx.sweep(first, axes=axes, store=f"{folder}/store", data=data, executor="threads")
        print(f"sweep: {time.perf_counter() - start:.0f} s")
        start = time.perf_counter()
        for grid in results.manifest.grids:
            print(f"cells of {grid.dx:g} m:", priority.stability(results, share=0.01, grid=grid.key).sentence())
        by_place = priority.stability(results, k=15, by="expected", places=zones, statistic="sum")
        print("neighbourhoods:", by_place.sentence())
        told = by_place.to_dict()
        print({name: told[name] for name in ("regret", "jaccard", "tau", "between")})
        print(f"three times stability: {time.perf_counter() - start:.1f} s")
    one, two = (rtmdx.run(study_of(year), data=data) for year in YEARS)
    print("cells:", priority.rank_confidence(one, k=50).sentence())
    sure = priority.rank_confidence(one, k=15, by="expected", places=zones, statistic="sum")
    print("neighbourhoods:", sure.sentence())
    over = priority.combine(one, top=0.05, events=two.counts)
    print(over.sentence())
    print(over.class_frame().to_string())
    changed = priority.compare(one, two, share=0.01, names=("2017", "2018"), variables="a")
    print(changed.sentence())
    print(changed.factor_frame().to_string())
    print(changed.notes)


if __name__ == "__main__":
    main()
