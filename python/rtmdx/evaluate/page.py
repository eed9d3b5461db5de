"""An evaluation as one HTML page: no script, nothing loaded from elsewhere."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rtmdx.evaluate.charts import ROLE_COLORS, area_map, effects_chart, series_chart, steps_chart
from rtmdx.evaluate.results import amount, plain, signed
from rtmdx.report.numbers import count, number, p_value, percent, plural

if TYPE_CHECKING:
    from rtmdx.evaluate.assessment import Assessment
    from rtmdx.evaluate.plan_results import PlanEffect

__all__ = ["render"]

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="generator" content="rtmdx"><title>{title}</title><style>
:root {{ color-scheme: light; --ink: #1d232b; --soft: #55606e; --line: #d9dde2; --wash: #f6f5f1; --accent: #8a2457;
  --warn: #8a5300; --warnwash: #fdf5e3; }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; color: var(--ink); background: #fff; font: 16px/1.55 system-ui, "Segoe UI", Roboto, Arial,
  sans-serif; }}
main {{ max-width: 1080px; margin: 0 auto; padding: 32px 20px 60px; }}
h1 {{ font-size: clamp(1.6rem, 4vw, 2.2rem); line-height: 1.15; margin: 4px 0 10px; }}
h2 {{ font-size: 1.35rem; margin: 44px 0 12px; padding-top: 12px; border-top: 2px solid var(--ink); }}
h3 {{ font-size: 1.05rem; margin: 22px 0 6px; }}
p {{ margin: 8px 0; max-width: 78ch; }}
.kicker {{ margin: 0; color: var(--accent); font-weight: 600; font-size: .85rem; letter-spacing: .06em;
  text-transform: uppercase; }}
.lead {{ font-size: 1.08rem; }}
.soft {{ color: var(--soft); font-size: .9rem; }}
.box {{ border: 1px solid var(--line); border-left: 4px solid var(--warn); background: var(--warnwash);
  padding: 10px 18px; margin: 18px 0; }}
.box h3 {{ margin: 2px 0 6px; color: var(--warn); }}
.box ul {{ margin: 6px 0; padding-left: 20px; }}
.box li {{ margin: 5px 0; max-width: 84ch; }}
.scroll {{ overflow-x: auto; margin: 12px 0; }}
table {{ border-collapse: collapse; width: 100%; font-size: .92rem; line-height: 1.4; }}
th, td {{ text-align: left; padding: 7px 16px 7px 0; border-bottom: 1px solid var(--line); vertical-align: top; }}
thead th {{ font-size: .82rem; color: var(--soft); border-bottom: 1.5px solid var(--ink); vertical-align: bottom; }}
td.n, th.n {{ text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }}
.pair {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 24px 36px;
  align-items: start; }}
svg {{ display: block; width: 100%; height: auto; }}
svg.map {{ max-width: 460px; }}
svg.chart {{ max-width: 860px; }}
svg.map path {{ stroke: #6f7780; stroke-width: .6; }}
svg.chart text {{ font: 13px system-ui, "Segoe UI", Roboto, Arial, sans-serif; fill: var(--ink); }}
svg.chart .tick {{ font-size: 12.5px; }}
svg.chart .grid {{ stroke: #e8eaed; }}
svg.chart .axis {{ stroke: #3b424c; stroke-width: 1.2; fill: none; }}
svg.chart .zero {{ stroke: #3b424c; stroke-width: 1.3; stroke-dasharray: 4 3; }}
.keys {{ display: flex; flex-wrap: wrap; gap: 4px 22px; margin: 10px 0; padding: 0; list-style: none;
  font-size: .9rem; }}
.swatch {{ display: inline-block; width: 1.15em; height: 1.15em; border: 1px solid #8b929b; vertical-align: -.18em;
  margin-right: 8px; print-color-adjust: exact; -webkit-print-color-adjust: exact; }}
details {{ border: 1px solid var(--line); margin: 12px 0; padding: 0 16px; }}
summary {{ cursor: pointer; padding: 10px 0; font-weight: 600; }}
pre {{ font: .84rem/1.5 ui-monospace, Menlo, Consolas, monospace; white-space: pre-wrap; background: var(--wash);
  padding: 12px 14px; overflow-wrap: anywhere; }}
</style></head><body><main>
{body}
</main></body></html>
"""


def render(found: Assessment) -> str:
    """Return the page."""
    e = found.evaluation
    main = e.effects[0]
    outcome = e.outcome[:1].upper() + e.outcome[1:]
    parts = [
        '<p class="kicker">Evaluation</p>',
        f"<h1>{_text(found.name)}</h1>",
        f'<p class="lead">{_text(outcome)}: {count(e.n_events)} events, {e.coverage[0]} to {e.coverage[1]}. '
        f"{_text(_plan(found))}</p>",
        *(f'<p class="lead">{_text(x.verdict())}</p>' for x in e.effects[:4]),
        _box("Read this before the figures", e.caveats),
        _box("About the events", [f.message for f in found.findings]) if found.findings else "",
        "<h2>Differences</h2>",
        f"<p>The weighted displacement difference is the change in treated areas less that of their controls"
        f"{_also(main)}. Below zero: fewer events than the controls' change would have brought. Intervals are of "
        f"{100 * main.level:g} %.</p>",
        f'<div class="scroll">{effects_chart(e.effects)}</div>',
        _differences(e.effects),
        "<h2>Counts before and after</h2>",
        "<p>Counts before are scaled to the days after; controls by their weights. In brackets the events behind.</p>",
        _counts(e.effects),
        "<h2>As it grew</h2>",
        "<p>The difference from the start on, with limits that hold at each day.</p>",
        '<div class="pair">' + "".join(_figure(x) for x in e.effects) + "</div>",
        "<h2>Where</h2>",
        area_map(e.areas),
        _legend(e.areas),
        *_series(found),
        "<h2>The plan log</h2>",
        _table(["Place", "Factor", "Action", "Start", "End", "Note"],
               [[r.place, r.factor, r.action, str(r.start), str(r.end or "goes on"), r.note] for r in e.log]),
        "<h2>Settings and inputs</h2>",
        _dropped(found),
        "<details><summary>Settings</summary><pre>"
        + _text(json.dumps(plain(found.spec), indent=1, ensure_ascii=False))
        + "</pre></details>",
        _table(["File", "SHA-256"], [[k, v] for k, v in found.inputs.items()]),
    ]  # fmt: skip
    return _PAGE.format(title=_text(f"{found.name}: evaluation"), body="\n".join(p for p in parts if p))


def _plan(found: Assessment) -> str:
    log = found.evaluation.log
    main = found.evaluation.effects[0]
    factors = f", about {', '.join(log.factors)}" if log.factors else ""
    return (
        f"The log has {plural(len(log), 'record')} of {plural(len(log.actions), 'action')} in "
        f"{plural(len(log.places), 'place')}{factors}; days used are {main.first} to {main.last}."
    )


def _also(main: PlanEffect) -> str:
    return ", and the same for the rings around them" if main.role("displacement") is not None else ""


def _differences(effects: Sequence[PlanEffect]) -> str:
    rows = []
    for x in effects:
        checks = []
        if x.permutation is not None:
            p = x.permutation
            checks.append(f"{p.name}: {signed(p.low)} to {signed(p.high)}, p {p_value(p.p)}")
        if x.pretrend is not None:
            t = x.pretrend
            checks.append(f"{t.name}: {signed(t.estimate)} ({signed(t.low)} to {signed(t.high)})")
        beside = "–" if x.percent != x.percent else f"{number(100 * x.percent)} %"
        span = "" if x.percent != x.percent else f"{number(100 * x.percent_low)} to {number(100 * x.percent_high)} %"
        rows.append(
            [x.action, count(len(x.places)), signed(x.estimate), f"{signed(x.low)} to {signed(x.high)}", number(x.z),
             p_value(x.p), f"{beside} ({span})" if span else beside, "; ".join(checks)]
        )  # fmt: skip
    heads = ["Action", ">Places", ">WDD", ">Interval", ">z", ">p", ">Within, of expected", "Checks"]
    return _table(heads, rows)


def _counts(effects: Sequence[PlanEffect]) -> str:
    rows = [
        [x.action if i == 0 else "", r.role, count(r.n_places) if r.n_places else "–",
         f"{amount(r.before)} ({count(r.events_before)})", f"{amount(r.after)} ({count(r.events_after)})",
         signed(r.change)]
        for x in effects
        for i, r in enumerate(x.roles)
    ]  # fmt: skip
    return _table(["Action", "Areas", ">Places", ">Before", ">After", ">Change"], rows)


def _figure(x: PlanEffect) -> str:
    return f"<figure style='margin:0'><h3>{_text(x.action)}</h3>{steps_chart(x)}</figure>"


def _legend(areas: Any) -> str:
    items = "".join(
        f'<li><i class="swatch" style="background:{color}"></i>{role} ({int((areas["role"] == role).sum())})</li>'
        for role, color in ROLE_COLORS.items()
        if (areas["role"] == role).any()
    )
    return f'<ul class="keys">{items}</ul>'


def _series(found: Assessment) -> list[str]:
    if found.series is None:
        return [f"<h2>Monthly series</h2><p>{_text(found.series_note)}</p>"] if found.series_note else []
    s = found.series
    return [
        "<h2>Monthly series of the treated places</h2>",
        "<ul>" + "".join(f"<li>{_text(line)}</li>" for line in s.sentences()) + "</ul>",
        f'<div class="scroll">{series_chart(s)}</div>',
        '<p class="soft">Dots: counts of the treated places. Lines: the fit, and (dashed, with limits) what was '
        f"expected without the change. {_beside(s.control is not None)}</p>",
    ]


def _beside(control: bool) -> str:
    if control:
        return "The controls' months are in the model: what they changed by is not taken for the actions' doing."
    return "There is no control series in it."


def _dropped(found: Assessment) -> str:
    if not found.dropped:
        return "<p>All rows of the events take part.</p>"
    said = "; ".join(f"{count(n)} {reason}" for reason, n in found.dropped.items())
    gone = sum(found.dropped.values())
    total = gone + found.evaluation.n_events
    return f"<p>Events left out of {count(total)} rows ({percent(gone / total)}): {_text(said)}.</p>"


def _box(title: str, lines: Iterable[str]) -> str:
    items = "".join(
        f"<li>{_text(line[:1].upper() + line[1:])}{'' if line.endswith('.') else '.'}</li>" for line in lines
    )
    return f'<div class="box"><h3>{_text(title)}</h3><ul>{items}</ul></div>'


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    right = [h.startswith(">") for h in heads]
    head = "".join(f"<th{_n(r)}>{_text(h.removeprefix('>'))}</th>" for h, r in zip(heads, right, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{_n(r)}>{_text(v)}</td>" for v, r in zip(row, right, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _n(right: bool) -> str:
    return ' class="n"' if right else ""


def _text(value: str) -> str:
    return html.escape(value)
