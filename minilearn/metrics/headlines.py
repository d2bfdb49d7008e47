"""A report as a page shows it: the answers to four questions first, everything else folded away."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from minilearn.metrics.band import RETRAINED, Row

if TYPE_CHECKING:
    from minilearn.metrics.report import Report

# For each question the rows that answer it, best first: so many of them as a report has are shown.
QUESTIONS = {
    "Did it forget?": (
        2,
        [("accuracy", "forget"), ("mae", "forget"), ("mse", "forget"), ("quantile_loss", "forget")]
        + [("js", "forget"), ("wasserstein", "forget"), ("paired_difference", "forget")],
    ),
    # A test set also holds the kind that was forgotten; "test_retain" is the rest alone.
    "Is the rest intact?": (
        1,
        [
            (metric, split)
            for metric in ("accuracy", "mae", "mse", "quantile_loss", "js", "wasserstein")
            for split in ("test_retain", "test")
        ],
    ),
    "Would an attacker notice?": (
        1,
        [("ulira", "forget"), ("loss_attack_auc", "forget"), ("attack_auc", "forget")]
        + [("svc_attack_auc", "forget")],
    ),
    "What did it cost?": (1, [("samples", ""), ("seconds", "")]),
}
INSIDE, OUTSIDE = "rgba(0,158,115,.2)", "rgba(213,94,0,.16)"  # behind a number, see `_background`


def headlines(rows: list[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """The question that each headline row answers, of a report's (metric, split).

    Example:
        >>> headlines([("js", "test"), ("accuracy", "test"), ("js", "forget")])
        {('js', 'forget'): 'Did it forget?', ('accuracy', 'test'): 'Is the rest intact?'}
    """
    found = {}
    for question, (most, answers) in QUESTIONS.items():
        there = [row for row in answers if row in rows]
        found |= dict.fromkeys(there[:most], question)
    return found


def as_html(report: Report, legend: list[str]) -> str:
    """The report as a piece of HTML that needs no style sheet."""
    frame = report.frame()
    behind = {(row.metric, row.split, row.method): _background(row) for row in report.rows}
    asked = headlines(list(frame.index))
    rest = dict.fromkeys((row for row in frame.index if row not in asked), "")
    parts = [f"<p><strong>{escape(report.title)}</strong></p>", _table(frame, asked, behind)]
    if rest:
        counted = "one more row" if len(rest) == 1 else f"{len(rest)} more rows"
        folded = _table(frame, rest, behind)
        parts.append(f"<details><summary>{counted}</summary>{folded}</details>")
    lines = [escape(line) for line in legend]
    if any(behind.values()):
        inside, outside = (f'<span style="background:{c}">' for c in (INSIDE, OUTSIDE))
        lines.insert(0, f"{inside}green</span>: in the null band; {outside}orange</span>: outside")
    return "".join([*parts, f"<p>{'<br>'.join(lines)}</p>"])


def _table(frame, questions: dict[tuple[str, str], str], behind: dict) -> str:
    """Some rows of the frame; a question stands once, before the first row that answers it."""
    asks = any(questions.values())
    lines, before = [], ""
    for (metric, split), question in questions.items():
        cells = [f"{metric} {split}".strip()]
        if asks:
            cells.insert(0, question if question != before else "")
        before = question
        line = "".join(f'<th style="text-align:left">{escape(text)}</th>' for text in cells)
        for method, text in frame.loc[(metric, split)].items():
            style = behind.get((metric, split, method), "")
            line += f"<td{style}>{escape(text)}</td>"
        lines.append(f"<tr>{line}</tr>")
    heads = "".join(f"<th>{escape(str(name))}</th>" for name in ["", *[""] * asks, *frame])
    body = "".join(lines)
    return f'<table class="report"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>'


def _background(row: Row) -> str:
    """The style of a number's cell: whether it lies in the null band, if that was judged."""
    if row.band is None or row.method == RETRAINED:
        return ""
    return f' style="background:{INSIDE if row.inside else OUTSIDE}"'
