"""A result on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rtmdx.space.frame import unit_symbol

if TYPE_CHECKING:
    import pandas as pd

    from rtmdx.runs.estimate import Estimate
    from rtmdx.runs.inputs import Inputs
    from rtmdx.runs.study import Study

__all__ = ["print_check", "print_disparity", "print_provenance", "print_recovery", "print_summary", "print_tiled"]

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
    exposure = result.get("exposure")
    if exposure:
        console.print(
            f"Exposure {escape(exposure['name'])}: {exposure['total']:,.6g} {escape(exposure['unit'])}, none in "
            f"{exposure['cells_without']:,} cells; scores are risk per {escape(exposure['unit'])}.",
            highlight=False,
        )
    console.print(
        f"{variables['generated']} variables generated, {variables['kept']} kept by the support rule, "
        f"{variables['culled_to']} by culling, {variables['selected']} selected: "
        f"{FAMILIES[model['family']]}, BIC {model['bic']:,.1f}.",
        highlight=False,
    )
    if model["variables"]:
        console.print()
        console.print(_model_table(model["variables"], grid["unit"]))
        console.print(
            "[dim]Intervals are post-selection and ignore spatial autocorrelation: read them as a lower bound on "
            "uncertainty.[/]"
        )
        _note_search(console, model)
    else:
        console.print("No variable was selected: every cell has the same risk.")
    top = result["bands"][0]
    score = result["score"]
    console.print(
        f"Relative risk scores run from {score['lowest']:.3g} to {score['highest']:.4g}. Highest-risk places: "
        f"{_percent(top['area_share'])} of the cells, {_percent(top['event_share'])} of the events.",
        highlight=False,
    )
    for key, title in (("holdout", "Held out in time"), ("fitted", "Fitted period (flatters)")):
        judged = result["validity"][key]
        if judged:
            console.print()
            console.print(_validity_table(judged, title))
            if key == "holdout":
                _note_baseline(console, judged)
            break
    _print_diagnostics(console, result.get("diagnostics"))
    _print_stability(console, result.get("stability"))
    for finding in result["findings"]:
        console.print(f"[yellow]note:[/] {escape(finding['where'])}: {escape(finding['message'])}", highlight=False)


def print_disparity(console: Console, told: dict[str, Any]) -> None:
    """Print the sentences of a result's disparity section."""
    console.print("\n[bold]Who bears the burden[/]", highlight=False)
    for sentence in told["sentences"]:
        console.print(f"- {escape(sentence)}", highlight=False)


def print_provenance(console: Console, result: dict[str, Any]) -> None:
    """Print where a result comes from: inputs, study, versions, seed."""
    p = result["provenance"]
    table = _table("Input", "Source", ">Rows", "SHA-256")
    for name, source in p["inputs"].items():
        table.add_row(escape(name), escape(str(source["source"])), f"{source['rows']:,}", source["sha256"][:12])
    console.print()
    console.print(table)
    console.print(
        f"Study {p['study_id']}, seed {p['seed']}, grid {p['grid_digest']}; made {p['created']} by rtmdx "
        f"{p['versions']['rtmdx']} on Python {p['versions']['python']}.",
        highlight=False,
    )


def print_recovery(console: Console, found: pd.DataFrame) -> None:
    """Print planted against recovered relative risks of the demo city."""
    table = _table("Risk factor", "Planted", "Recovered", ">RRV", ">Found", ">99 % limits", "")
    table.title = "Planted against recovered"
    for row in found.to_dict(orient="records"):
        verdict = str(row["verdict"])
        good = verdict in ("recovered", "left out")
        colour = "green" if good else "yellow"
        planted, selected = bool(row["planted"]), bool(row["selected"])
        table.add_row(
            str(row["factor"]).replace("_", " ").capitalize(),
            f"{row['planted_operationalization']} {row['planted_blocks']:g}" if planted else "no",
            f"{row['operationalization']} {row['blocks']:g}" if selected else "no",
            f"{row['planted_rrv']:.2f}" if planted else "",
            f"{row['rrv']:.2f}" if selected else "",
            f"{row['rrv_low']:.2f}-{row['rrv_high']:.2f}" if selected else "",
            f"[{colour}]{'ok' if good else verdict}[/]",
        )
    console.print()
    console.print(table)
    protective = [str(f).replace("_", " ") for f in found.loc[found["planted_effect"] == "protective", "factor"]]
    note = f" Protective, so its RRV is the rise where absent: {', '.join(protective)}." if protective else ""
    console.print(f"[dim]Reach in blocks.{note}[/]")


def print_tiled(console: Console, result: dict[str, Any], out: str) -> None:
    """Print the main figures of a tiled run (`rtmdx.sweep.tiled.TiledTerrain.to_dict`)."""
    console.print(f"\n[bold]{escape(result['title'])}[/]", highlight=False)
    console.print(
        f"{result['n_cells']:,} cells kept of a raster of {result['rows']:,} x {result['cols']:,}, in "
        f"{result['tiles']:,} tiles; {result['n_events']:,} events; "
        f"{result['n_distinct_rows']:,} distinct rows of codes.",
        highlight=False,
    )
    console.print(f"Model: {FAMILIES[result['family']]}, BIC {result['bic']:,.1f}.", highlight=False)
    table = _table("Variable", ">RRV", ">95 % interval")
    for v in result["variables"]:
        table.add_row(escape(v["variable"]), f"{v['rrv']:.2f}", f"{v['rrv_low']:.2f} to {v['rrv_high']:.2f}")
    if result["variables"]:
        console.print(table)
    console.print(f"Scores: {escape(out)} (Zarr: score, expected)", highlight=False)


def print_check(console: Console, study: Study, inputs: Inputs, estimate: Estimate) -> None:
    """Print what a study reads, what was dropped, what deserves a look, and what a run needs."""
    n = len(inputs.findings)
    verdict = f"runs; {n} note{'s' if n > 1 else ''} below." if n else "nothing wrong."
    console.print(f"[bold]{escape(study.name)}[/]: {verdict}", highlight=False)
    table = _table("Layer", ">Read", ">Kept", "Dropped")
    rows = [("study area", inputs.area.cleaning), (f"outcome {inputs.events.name}", inputs.events.cleaning)]
    if inputs.holdout is not None:
        rows.append((f"hold-out {inputs.holdout.period}", inputs.holdout.cleaning))
    rows += [(f"factor {f.name} ({f.geometry_type})", f.cleaning) for f in inputs.factors]
    rows += [(f"barrier {b.name}", b.cleaning) for b in (inputs.impedance.barriers if inputs.impedance else ())]
    if inputs.exposure is not None:
        rows.append((f"exposure {inputs.exposure.name}", inputs.exposure.cleaning))
    for name, cleaning in rows:
        dropped = ", ".join(f"{n:,} {reason}" for reason, n in cleaning.dropped.items())
        mended = f"{cleaning.mended:,} mended" if cleaning.mended else ""
        table.add_row(
            escape(name), f"{cleaning.read:,}", f"{cleaning.kept:,}", "; ".join(filter(None, (dropped, mended)))
        )
    console.print(table)
    console.print(f"{inputs.grid.n_cells:,} cells kept; {estimate}.", highlight=False)
    if inputs.exposure is not None:
        e = inputs.exposure
        console.print(
            f"Exposure: {e.total:,.6g} {escape(e.unit)} in all; {e.n_without:,} cells have none.", highlight=False
        )
    for finding in inputs.findings:
        console.print(f"[yellow]note:[/] {escape(finding.where)}: {escape(finding.message)}", highlight=False)


def _model_table(rows: list[dict[str, Any]], unit: str) -> Table:
    short = unit_symbol(unit)
    robust = ["> robust"] if any("robust_rrv_low" in row for row in rows) else []
    table = _table("Risk factor", "Influence", "", ">Cells", ">RRV", ">95 % interval", *robust)
    for row in rows:
        label, protective = str(row["label"]), row["effect"] == "protective"
        table.add_row(
            escape(label),
            f"{row['influence']:g} {short}",
            row["operationalization"] + (", protective" if protective else ""),
            f"{row['cells']:,}",
            f"{row['rrv']:.2f}",
            f"{row['rrv_low']:.2f} to {row['rrv_high']:.2f}",
            *([f"{row['robust_rrv_low']:.2f} to {row['robust_rrv_high']:.2f}"] if robust else []),
        )
    return table


def _note_search(console: Console, model: dict[str, Any]) -> None:
    """Say how the search went, what an exchange would gain, and whose intervals are robust."""
    if model.get("districts"):
        console.print(f"[dim]Robust: allows for resemblance within {model['districts']} districts.[/]", highlight=False)
    steps = model.get("steps", [])
    if steps:
        signs = {"add": "+", "drop": "-", "force": "!", "exchange": "~"}
        moves = ", ".join(f"{signs[s['action']]}{s['factor']}" for s in steps)
        before, after = steps[0]["bic_before"], steps[-1]["bic_after"]
        console.print(f"[dim]Search: {escape(moves)}; BIC {before:,.1f} to {after:,.1f}.[/]", highlight=False)
    gains = model.get("exchanges", [])
    if gains:
        best = gains[0]
        console.print(
            f"[dim]{escape(best['in'])} in place of {escape(best['out'])} would lower BIC by "
            f"{model['bic'] - best['bic']:,.1f}; exchange = true lets the search take such moves.[/]",
            highlight=False,
        )


def _validity_table(judged: list[dict[str, Any]], title: str) -> Table:
    period = str(judged[0]["period"]).split(": ", 1)[-1]
    n = judged[0]["n_events"]
    table = _table("Score", *(f">top {100 * top['share']:g} %" for top in judged[0]["top"]), ">AUC")
    table.title = f"{title}: % of the {n:,} events ({period}) in the top cells"
    table.caption = "In brackets: lowest to highest over the ways to break ties."
    for v in judged:
        cells = []
        for t in v["top"]:
            h = t["hit_rate"]
            spread = h["highest"] is not None and h["highest"] - h["lowest"] > 0.0005
            between = f"\n({100 * h['lowest']:.1f}-{100 * h['highest']:.1f})" if spread else ""
            cells.append(f"{100 * h['expected']:.1f}" + between if h["expected"] is not None else "n/a")
        table.add_row(escape(str(v["name"])), *cells, "" if v["auc"] is None else f"{v['auc']:.3f}")
    return table


def _print_diagnostics(console: Console, found: dict[str, Any] | None) -> None:
    """Print a few figures of the diagnostics; what they warn of is among the findings."""
    if not found:
        return
    parts = []
    m, held = found["moran"], found["regions"]
    if m["i"] is not None:
        z = "" if m["z"] is None else f" (z {m['z']:.3g})"
        parts.append(f"residual Moran's I {m['i']:.3g}{z}")
    inflation = [v["vif_weighted"] for v in found["collinearity"]["inflation"] if v["vif_weighted"] is not None]
    if len(inflation) > 1:
        parts.append(f"highest variance inflation {max(inflation):.2f}")
    if found["dispersion"]["pearson"] is not None:
        parts.append(f"Pearson chi2/df {found['dispersion']['pearson']:.3g}")
    if held and held["explained"] is not None:
        parts.append(
            f"fitted without each of {len(held['regions'])} regions it explains {_percent(held['explained'])} of the "
            "deviance there"
        )
    if parts:
        console.print()
        console.print(f"Diagnostics: {'; '.join(parts)}.", highlight=False)
    for comparison in found["comparisons"]:
        said = next(s for s in found["statements"] if s["code"] == f"comparison-{comparison['kind']}")
        console.print(escape(said["message"]), highlight=False)


def _print_stability(console: Console, found: dict[str, Any] | None) -> None:
    """Say how often the selection came out alike, where it was repeated."""
    if not found:
        return
    console.print()
    console.print(f"Stability: {escape(found['sentence'])}", highlight=False)
    tops = ", ".join(f"{t['cells']:,} of the top {100 * t['share']:g} %" for t in found["surely_top"])
    console.print(f"[dim]Cells there in at least 90 % of the repetitions: {tops}.[/]", highlight=False)


def _note_baseline(console: Console, judged: list[dict[str, Any]]) -> None:
    """Name every baseline that captures more than the terrain, and where."""
    terrain, *others = judged
    for other in others:
        if str(other["name"]).startswith("Posterior"):
            continue
        better = [
            f"{100 * t['share']:g} %"
            for t, o in zip(terrain["top"], other["top"], strict=True)
            if (o["hit_rate"]["expected"] or 0) > (t["hit_rate"]["expected"] or 0)
        ]
        if better:
            name = escape(str(other["name"]))
            console.print(
                f"[dim]{name} captures more than the terrain in the top {', '.join(better)}.[/]", highlight=False
            )
    if terrain["n_events"]:
        console.print(
            "[dim]Events repeat in place. The terrain says where the landscape is risky and why, past counts where "
            "events were; what to expect is said by both together, the posterior.[/]"
        )


def _table(*columns: str) -> Table:
    """An airy table that fits 80 characters; a column named with > is right-aligned."""
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        padding=(0, 1, 0, 0),
        title_justify="left",
        title_style="bold",
    )
    table.caption_justify = "left"
    for i, column in enumerate(columns):
        justify: Literal["left", "right"] = "right" if column.startswith(">") else "left"
        table.add_column(
            column.removeprefix(">"), justify=justify, no_wrap=justify == "right", min_width=20 if i == 0 else None
        )
    return table


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.1f} %"
