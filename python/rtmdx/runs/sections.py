"""A section that a wing above adds to a run's report and to its ``run.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Section"]


@dataclass(frozen=True)
class Section:
    """What the section says, in the forms that a run's outputs take.

    Attributes
    ----------
    key : str
        Of ``run.json``; also the section's anchor in the report.
    title : str
        Heading in the report.
    markup : str
        HTML, put into the report as it is: whoever makes it escapes what is not his.
    data : mapping
        Plain data for ``run.json``.
    """

    key: str
    title: str
    markup: str
    data: Mapping[str, Any]
