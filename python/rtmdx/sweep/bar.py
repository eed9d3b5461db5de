"""A sweep's progress for people: one bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rtmdx.runs.estimate import duration

if TYPE_CHECKING:
    from rich.console import Console

    from rtmdx.sweep.driver import Tally

__all__ = ["SweepBar", "sentence"]

_EVERY = 10.0  # seconds between lines in a log
_SHARE = 0.1  # ... or whenever so much more is done


class SweepBar:
    """Shows a `Tally` each time it is called with one.

    Parameters
    ----------
    console : rich.console.Console
    hidden : bool
        Say nothing.
    """

    def __init__(self, console: Console, *, hidden: bool = False) -> None:
        self._console, self._hidden = console, hidden
        self._bar: Any = None
        self._task: Any = None
        self._said = -1.0
        self._share = -1.0

    def __enter__(self) -> SweepBar:
        if not self._hidden and self._console.is_terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            self._bar = Progress(
                TextColumn("{task.description:<22}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[text]}"),
                console=self._console,
            )
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, tally: Tally) -> None:
        """Show how far the sweep is."""
        if self._hidden:
            return
        done = tally.done + tally.failed
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task("Scenarios", total=tally.total, text="")
            self._bar.update(self._task, completed=done, text=_counts(tally))
            return
        now, share = time.monotonic(), done / max(1, tally.total)
        last = done == tally.total
        if not (last or self._said < 0 or now - self._said >= _EVERY or share - self._share >= _SHARE):
            return
        self._said, self._share = now, share
        self._console.print(
            f"Scenarios: {done:,} of {tally.total:,}{', ' * bool(tally.ran)}{_counts(tally)}", markup=False
        )


def sentence(tally: Tally) -> str:
    """Say how a run of a sweep went."""
    surfaces = tally.surfaces
    parts = [f"{tally.done:,} of {tally.total:,} scenarios done"]
    parts += [f"{tally.failed:,} failed"] if tally.failed else []
    parts += [f"{tally.retried:,} tried again"] if tally.retried else []
    text = ", ".join(parts) + f", {tally.ran:,} of them now in {duration(tally.seconds)}."
    if surfaces.asked:
        disk = f", {surfaces.from_disk:,} read from the cache" if surfaces.from_disk else ""
        text += (
            f" Surfaces: {surfaces.asked:,} asked for, {surfaces.computed:,} computed{disk} "
            f"({surfaces.hit_rate:.1%} shared)."
        )
    return text


def _counts(tally: Tally) -> str:
    parts = []
    if tally.ran:
        parts.append(f"{tally.rate:.1f}/s" if tally.rate >= 1 else f"{1 / tally.rate:.1f} s each")
        if tally.remaining is not None and tally.ran < tally.to_run:
            parts.append(f"{duration(tally.remaining)} left")
    parts += [f"{tally.failed:,} failed"] if tally.failed else []
    parts += [f"{tally.retried:,} tried again"] if tally.retried else []
    return ", ".join(parts)
