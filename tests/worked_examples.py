"""The published worked examples, where they are at hand."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

_PLACES = [Path(os.environ["RTMDX_DATA"]).parent] if os.environ.get("RTMDX_DATA") else []
_PLACES.append(Path(__file__).parents[2] / "shared")
_FILES = [p / "reference" / "worked_examples.json" for p in _PLACES]
PATH = next((p for p in _FILES if p.exists()), None)


def example(name: str) -> Any:
    """An example by its id, as a dict; the test is skipped where the file is absent."""
    if PATH is None:
        pytest.skip("the published worked examples (reference/worked_examples.json) are not at hand")
    return next(e for e in json.loads(PATH.read_text(encoding="utf-8")) if e["id"] == name)
