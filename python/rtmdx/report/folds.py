"""What the report says about the cross-validation: the plan's sentence and a row per fold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rtmdx.report.numbers import count, percent

if TYPE_CHECKING:
    from rtmdx.model.fold_plan import FoldPlan

__all__ = ["fold_table"]

_NAMES = {"district": "District", "time": "Part of the period"}


def fold_table(plan: FoldPlan | None) -> dict[str, Any] | None:
    """Return the sentence and the rows of the first assignment; None for a result that kept no plan."""
    if plan is None:
        return None
    first = [p for p in plan.parts if p.repeat == 0]
    return {
        "sentence": plan.sentence,
        "repeats": plan.repeats,
        "label": _NAMES.get(plan.kind, ""),
        "share": "Share of the days" if plan.kind == "time" else "Share of the cells",
        "rows": [
            {
                "fold": p.fold + 1,
                "label": p.label,
                "cells": count(p.cells),
                "events": count(p.events),
                "share": percent(p.share),
            }
            for p in first
        ],
    }
