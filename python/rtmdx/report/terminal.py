"""A result on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rtmdx.space.grid import unit_symbol

if TYPE_CHECKING:
    import pandas as pd

    from rtmdx.runs.estimate import Estimate
    from rtmdx.runs.inputs import Inputs
    from rtmdx.runs.study import Study

__all__ = ["print_check", "print_recovery", "print_summary"]

FAMILIES = {"poisson": "Poisson", "nbii": "negative binomial (NBII)", "nb2": "negative binomial (NB2)"}


def print_summary(console: Console, result: dict[str, Any]) -> None:
    """Print the main figures of a result (`rtmdx.runs.outputs.summary`)."""
    events, grid, variables, model = (result[k] for k in ("events", "grid", "variables", "model"))
    console.print(f"\n[bold]{escape(result['title'])}[/]", highlight=False)
    dropped = ", ".join(f"{n:,} {reason}" for reason, n in events["dropped"].items())
    console.print(
        f"{events['counted']:,} events counted of {events['read']:,} read"
        + (f" (dropped: {dropped})" if dropped else "")
        + f"; {grid['cells']:,} cells of {grid['cell_size']:g} {unit_symbol(grid['unit'])}, "
        f"{grid['cells_with_events']:,} with events.",
        highlight=False,
    )
    console.print(
        f"{variables['generated']} variables generated, {variables['kept']} kept by the support rule, "
        f"{variables['culled_to']} by culling, {variables['selected']} selected: "
        f"{FAMILIES[model['family']]}, BIC {model['bic']:,.1f}.",
        highlight=False,
    )
    if model["variables"]:
        console.print(_model_table(model["variables"], grid["unit"]))
        console.print(
            "[dim]Intervals are post-selection and ignore spatial autocorrelation: read them as a lower bound on "
            "uncertainty.[/]"
        )
    else:
        console.print("No variable was selected: every cell has the same risk.")
    top = result["bands"][0]
    score = result["score"]
    console.print(
        f"Relative risk scores run from {score['lowest']:.3g} to {score['highest']:.4g}. Highest-risk places: "
        f"{top['area_share']:.1%} of the cells, {_percent(top['event_share'])} of the events.",
        highlight=False,
    )
    for key, title in (("holdout", "Held out in time"), ("fitted", "Fitted period (flatters)")):
        judged = result["validity"][key]
        if judged:
            console.print(_validity_table(judged, title))
            if key == "holdout":
                _note_baseline(console, judged)
            break
    for finding in result["findings"]:
        console.print(f"[yellow]note:[/] {escape(finding['where'])}: {escape(finding['message'])}", highlight=False)


def print_recovery(console: Console, found: pd.DataFrame) -> None:
    """Print planted against recovered relative risks of the demo city."""
    table = Table(title="Planted against recovered", title_justify="left", title_style="bold")
    for name, justify in (
        ("Factor", "left"),
        ("Planted", "left"),
        ("Recovered", "left"),
        ("RRV planted", "right"),
        ("RRV found", "right"),
        ("99 % interval", "right"),
        ("", "left"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for row in found.to_dict(orient="records"):
        planted = (
            f"{row['planted_operationalization']}, {row['planted_blocks']:g} blocks"
            if row["planted"]
            else "not planted"
        )
        recovered = f"{row['operationalization']}, {row['blocks']:g} blocks" if row["selected"] else "not selected"
        table.add_row(
            str(row["factor"]),
            planted,
            recovered,
            f"{row['planted_rrv']:.2f}" if row["planted"] else "",
            f"{row['rrv']:.2f}" if row["selected"] else "",
            f"{row['rrv_low']:.2f} to {row['rrv_high']:.2f}" if row["selected"] else "",
            {"recovered": "[green]recovered[/]", "left out": "[green]left out[/]"}.get(
                str(row["verdict"]), f"[yellow]{row['verdict']}[/]"
            ),
        )
    console.print()
    console.print(table)


def print_check(console: Console, study: Study, inputs: Inputs, estimate: Estimate) -> None:
    """Print what a study reads, what was dropped, what deserves a look, and what a run needs."""
    console.print(f"[bold]{escape(study.name)}[/]: nothing wrong.", highlight=False)
    table = Table()
    for name, justify in (("Layer", "left"), ("Read", "right"), ("Kept", "right"), ("Dropped", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    rows = [("study area", inputs.area.cleaning), (f"outcome {inputs.events.name}", inputs.events.cleaning)]
    if inputs.holdout is not None:
        rows.append((f"hold-out {inputs.holdout.period}", inputs.holdout.cleaning))
    rows += [(f"factor {f.name} ({f.geometry_type})", f.cleaning) for f in inputs.factors]
    for name, cleaning in rows:
        dropped = ", ".join(f"{n:,} {reason}" for reason, n in cleaning.dropped.items())
        mended = f"{cleaning.mended:,} mended" if cleaning.mended else ""
        table.add_row(name, f"{cleaning.read:,}", f"{cleaning.kept:,}", "; ".join(filter(None, (dropped, mended))))
    console.print(table)
    console.print(f"{inputs.grid.n_cells:,} cells kept; {estimate}.", highlight=False)
    for finding in inputs.findings:
        console.print(f"[yellow]note:[/] {escape(finding.where)}: {escape(finding.message)}", highlight=False)


def _model_table(rows: list[dict[str, Any]], unit: str) -> Table:
    short = unit_symbol(unit)
    table = Table()
    for name, justify in (
        ("Risk factor", "left"),
        ("Operationalization", "left"),
        ("Influence", "right"),
        ("Cells", "right"),
        ("RRV", "right"),
        ("95 % interval", "right"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for row in rows:
        label = str(row["label"]) + (" (protective)" if row["effect"] == "protective" else "")
        table.add_row(
            escape(label),
            row["operationalization"],
            f"{row['influence']:g} {short}",
            f"{row['cells']:,}",
            f"{row['rrv']:.2f}",
            f"{row['rrv_low']:.2f} to {row['rrv_high']:.2f}",
        )
    return table


def _validity_table(judged: list[dict[str, Any]], title: str) -> Table:
    period = str(judged[0]["period"]).split(": ", 1)[-1]
    n = judged[0]["n_events"]
    table = Table(
        title=f"{title}: share of the {n:,} events of {period} in the top cells (lowest to highest over ties)",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("Score")
    for top in judged[0]["top"]:
        table.add_column(f"top {100 * top['share']:g} %", justify="right")
    table.add_column("AUC", justify="right")
    for v in judged:
        cells = []
        for t in v["top"]:
            h = t["hit_rate"]
            spread = h["highest"] is not None and h["highest"] - h["lowest"] > 0.0005
            cells.append(
                _percent(h["expected"]) + (f" ({_percent(h['lowest'])} to {_percent(h['highest'])})" if spread else "")
            )
        table.add_row(str(v["name"]), *cells, "" if v["auc"] is None else f"{v['auc']:.3f}")
    return table


def _note_baseline(console: Console, judged: list[dict[str, Any]]) -> None:
    terrain, others = judged[0], judged[1:]
    best = max(others, key=lambda v: v["top"][0]["hit_rate"]["expected"] or 0, default=None)
    if best is None or best["top"][0]["hit_rate"]["expected"] is None:
        return
    if best["top"][0]["hit_rate"]["expected"] > terrain["top"][0]["hit_rate"]["expected"]:
        console.print(
            f"[dim]{escape(str(best['name']))} captures more than the terrain in the top "
            f"{terrain['top'][0]['share']:.0%}: events repeat in place. The terrain says where the landscape is risky "
            "and why; it is not the best forecast on its own.[/]",
            highlight=False,
        )


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.1%}"
