"""What a study's disparity looks like as HTML: one content, for its own page and for a section of the report."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rtmdx.disparity.exposure_chart import concentration_chart
from rtmdx.disparity.exposure_results import ExposureIndex, ExposureResult, TopShare
from rtmdx.disparity.results import FLAGS, Estimate
from rtmdx.report.numbers import count, number, percent, span

if TYPE_CHECKING:
    from rtmdx.disparity.adjustment import Adjusted
    from rtmdx.disparity.assessment import Assessment
    from rtmdx.disparity.comparison import Comparison

__all__ = ["exposure_rows", "page", "section_markup"]

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 16px/1.5 sans-serif; max-width: 860px; margin: 32px auto; padding: 0 16px; color: #2b3038; }}
svg {{ width: 100%; height: auto; max-width: 820px; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: .92rem; }}
th, td {{ text-align: left; padding: 6px 16px 6px 0; border-bottom: 1px solid #d9dde2; vertical-align: top; }}
td.n, th.n {{ text-align: right; font-variant-numeric: tabular-nums; }}
.caption {{ color: #55606e; font-size: .9rem; }}
</style></head><body>
<h1>{title}</h1>
{body}
</body></html>
"""


def page(found: Assessment) -> str:
    """Return a page that stands alone: every table, sentence and chart."""
    return _PAGE.format(title=html.escape(found.title), body=section_markup(found, heading="h2"))


def section_markup(found: Assessment, *, heading: str = "h3") -> str:
    """Return the content without a page around it; headings are of the level given."""
    parts: list[str] = []

    def add(title: str, *content: str) -> None:
        parts.extend([f"<{heading}>{html.escape(title)}</{heading}>", *content])

    if found.comparison is not None:
        rates, ratios = found.comparison.rates, found.comparison.ratios
        add("Rates", _rates(found.comparison), _list(rates.sentences()), rates.chart())
        add("Ratios", _ratios(found.comparison, found.adjusted), _list(ratios.sentences()), ratios.chart())
    if found.heterogeneity:
        add("Do the strata agree?", _list([h.sentence() for h in found.heterogeneity]))
    if found.adjusted is not None:
        said = found.adjusted.sentences()[len(found.adjusted.crude) :]
        add("Adjusted", _list(said), found.adjusted.adjusted.chart())
    if found.sensitivity:
        add("Which denominator?")
        for s in found.sensitivity:
            parts += [_list([s.sentence()]), s.chart()]
    if found.exposure is not None:
        add(*_exposure(found.exposure))
    return "\n".join(parts)


def exposure_rows(found: ExposureResult) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of an exposure, a row a group; figures with their intervals, as text."""
    ratios: list[Any] = list(found.ratios)
    references = list(dict.fromkeys(r.reference for r in ratios))
    tops: list[Any] = [t for t in found.top if isinstance(t, TopShare)]
    shares = list(dict.fromkeys(t.top for t in tops))
    head = ["Group", "Residents", "Mean risk", *(f"Ratio to {r}" for r in references)]
    head += [f"In the top {100 * s:g} % of cells" for s in shares]
    head.append("Concentration index")
    rows = []
    for m in found.means:
        group: str = m.group  # type: ignore[attr-defined]
        row = [group, count(m.residents), _figure(m)]  # type: ignore[attr-defined]
        for reference in references:
            mine = [r for r in ratios if (r.group, r.reference) == (group, reference)]
            row.append(_figure(mine[0]) if mine else "–")
        for share in shares:
            row.append(_top(next(t for t in tops if (t.group, t.top) == (group, share))))
        index = [
            e for e in found.indices if isinstance(e, ExposureIndex) and (e.index, e.group) == ("concentration", group)
        ]
        row.append(_figure(index[0]))
        rows.append(row)
    return head, rows


def _exposure(found: ExposureResult) -> Sequence[str]:
    head, rows = exposure_rows(found)
    first: Any = found.means[0]
    what = f"{first.risk}, residents put into cells by allocation: {first.allocation}"
    how = (
        f"Intervals: {100 * first.level:g} %, {first.method}."
        if first.method != "none"
        else "No intervals: no source of uncertainty was given."
    )
    flags = dict.fromkeys(f for t in (found.means, found.ratios, found.top, found.indices) for e in t for f in e.flags)
    notes = [*found.notes, *(f"{FLAGS.get(f, f)}." for f in flags if f != "no-interval")]
    told = (
        f"Mean {what}, over {found.n_cells:,} cells. It is about places: a group’s exposure is that of the cells its "
        f"residents are counted in, not what happens to any of them. {how} In brackets after a share of the top: the "
        "least and most of it that cells of equal risk at the border allow."
    )
    return (
        "Who lives where the landscape is risky",
        f'<p class="caption">{html.escape(told)}</p>',
        _table(head, rows, "Exposure by group"),
        concentration_chart(found),
        '<p class="caption">A curve below the straight line: the group lives at higher risks than everyone does.</p>',
        _list(found.ratios.sentences()),
        "<details><summary>Shares of the riskiest cells and indices, in words</summary>"
        f"{_list([*found.means.sentences(), *found.top.sentences(), *found.indices.sentences()])}</details>",
        _list(notes) if notes else "",
    )


def _rates(comparison: Comparison) -> str:
    rates: list[Any] = list(comparison.rates)
    first = rates[0]
    interval = f"{100 * first.level:g} % interval"
    head = ["Group", "Events", first.unit.capitalize(), f"Rate per {first.per:,.0f} {first.unit}", interval]
    rows = [
        [r.group, count(r.events), count(r.exposure), number(r.estimate), f"{span(r.low, r.high)}{_doubt(r)}"]
        for r in rates
    ]
    return _table(head, rows, "Rates by group")


def _ratios(comparison: Comparison, adjusted: Adjusted | None) -> str:
    ratios: list[Any] = list(comparison.ratios)
    if not ratios:
        return ""
    interval = f"{100 * ratios[0].level:g} % interval"
    head = [f"Ratio to {ratios[0].reference}", ratios[0].pooling.replace("_", " ").capitalize(), interval]
    rows = [[r.group, number(r.estimate), f"{span(r.low, r.high)}{_doubt(r)}"] for r in ratios]
    if adjusted is not None:
        fits: list[Any] = list(adjusted.adjusted)
        head += [f"Adjusted for {fits[0].adjusted}" if fits else "Adjusted", interval]
        for row, a in zip(rows, fits, strict=True):
            row += [number(a.estimate), f"{span(a.low, a.high)}{_doubt(a)}"]
    return _table(head, rows, "Ratios by group")


def _doubt(r: Estimate) -> str:
    return " (unreliable)" if r.unreliable else ""


def _figure(e: Estimate) -> str:
    if "no-interval" in e.flags or e.method == "none":
        return number(e.estimate)
    return f"{number(e.estimate)} ({span(e.low, e.high)})"


def _top(t: TopShare) -> str:
    ties = "" if t.taken == t.tied else f" ({percent(t.least)} to {percent(t.most)})"
    return f"{percent(t.estimate)}{ties}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], label: str) -> str:
    def line(values: Sequence[str], tag: str) -> str:
        first = f'<th scope="{"col" if tag == "th" else "row"}">{html.escape(values[0])}</th>'
        return first + "".join(
            f'<{tag}{" scope=" + chr(34) + "col" + chr(34) if tag == "th" else ""} class="n">{html.escape(v)}</{tag}>'
            for v in values[1:]
        )

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="' + html.escape(label) + '"><table>'
        f"<thead><tr>{line(head, 'th')}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _list(sentences: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(s)}</li>" for s in sentences) + "</ul>"
