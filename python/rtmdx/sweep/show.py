"""What a store of a sweep holds, for people and programs: running, finished or left."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rtmdx.sweep.store import SweepStore

__all__ = ["describe_store", "store_lines"]

_SHOWN = 10  # failures shown to people


def describe_store(store: SweepStore) -> dict[str, Any]:
    """Return a store's state as plain data."""
    manifest, states = store.manifest, store.states()
    failures = []
    for record in store.records.failures(i for i, state in states.items() if state == "failed"):
        if record is not None and record.error is not None:
            told = {k: record.error[k] for k in ("type", "message", "stage")}
            label = manifest.scenarios[record.index].label
            failures.append({"index": record.index, "id": record.id, "label": label, **told})
    return {
        "schema_version": 1,
        "status": "ok",
        "kind": "sweep",
        "title": manifest.title,
        "sweep_id": manifest.sweep_id,
        "scenarios": len(manifest.scenarios),
        "states": dict(sorted(Counter(states.values()).items())),
        "grids": [{"key": g.key, "rows": g.n_rows, "cols": g.n_cols, "cell_size": g.dx} for g in manifest.grids],
        "failures": failures,
        "versions": manifest.versions,
    }


def store_lines(found: dict[str, Any]) -> list[str]:
    """Say the same for people."""
    states = ", ".join(f"{n:,} {state}" for state, n in found["states"].items())
    lines = [f"{found['title']}: {found['scenarios']:,} scenarios; {states}."]
    lines += [f"  grid {g['key']}: {g['rows']:,} x {g['cols']:,}, cell {g['cell_size']:g}" for g in found["grids"]]
    failures = found["failures"]
    lines += [f"  failed {f['index']} ({f['label']}), {f['stage']}: {f['message']}" for f in failures[:_SHOWN]]
    if len(failures) > _SHOWN:
        lines.append(f"  ... and {len(failures) - _SHOWN:,} more")
    lines.append(f"  made by rtmdx {found['versions'].get('rtmdx')}")
    return lines
