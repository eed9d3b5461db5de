"""Peak memory of one culling: python peak.py PROBLEM, a pickle of (design, counts, folds, options).

A fiftieth of the cells goes first, so that what the modules take once, whatever the data, is there already.
"""

from __future__ import annotations

import json
import pickle
import resource
import sys
from dataclasses import replace
from pathlib import Path

from rtmdx.model.culling import cull
from rtmdx.model.design import Design


def peak() -> int:
    """Peak resident memory of this process since `forget`, bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(text for text in status.read_text().splitlines() if text.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def forget() -> None:
    """Let the peak start from what is resident now (Linux; elsewhere loading counts in the baseline)."""
    path = Path("/proc/self/clear_refs")
    if path.exists():
        path.write_text("5")


if __name__ == "__main__":
    design, counts, folds, options = pickle.loads(Path(sys.argv[1]).read_bytes())
    some = slice(0, None, 50)
    blocks = tuple(replace(b, codes=b.codes[some].copy()) for b in design.blocks)
    cull(Design(blocks, len(counts[some])), counts[some], folds[some], **options)
    forget()
    before = peak()
    cull(design, counts, folds, **options)
    print(json.dumps({"extra": peak() - before}))
