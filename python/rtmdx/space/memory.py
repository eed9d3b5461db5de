"""How much memory there is, and refusing a request that exceeds it before it is tried."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rtmdx.errors import MemoryLimitError

__all__ = ["available_memory", "require_bytes"]

_CHECK_FROM = 1 << 26  # a smaller request costs less than asking


def available_memory() -> float:
    """Bytes of memory a run may use by default: 80 % of what the machine, or the container, has left now."""
    free = [_machine()]
    try:  # cgroup v2: the container's limit
        root = Path("/sys/fs/cgroup")
        limit = (root / "memory.max").read_text(encoding="ascii").strip()
        if limit != "max":
            free.append(float(limit) - float((root / "memory.current").read_text(encoding="ascii")))
    except (OSError, ValueError):
        pass
    return max(0.0, 0.8 * min(free))


def require_bytes(wanted: float, what: str, shape: Sequence[int] | None = None) -> None:
    """Raise a MemoryLimitError when `wanted` bytes exceed the memory available; `shape` is named in the message."""
    if wanted < _CHECK_FROM:
        return
    limit = available_memory()
    if wanted > limit:
        of = "" if shape is None else f" of {' x '.join(f'{n:,}' for n in shape)}"
        raise MemoryLimitError(
            f"{what}{of}: needs {wanted / 1e9:,.1f} GB; {limit / 1e9:,.1f} GB may be used (80 % of what is free).",
            hint='Ask for a part (window=..., Frame.windows), for dtype="float32", or for larger cells.',
        )


def _machine() -> float:
    try:
        with open("/proc/meminfo", encoding="ascii") as f:
            for line in f:
                if line.startswith("MemAvailable:"):
                    return 1024 * float(line.split()[1])
    except OSError:
        pass
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError, AttributeError):
        return 5e9
