"""The report: every metric for every method, beside original, retrained and untrained models."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from minilearn.data.examples import Examples
from minilearn.data.reading import strays, varies
from minilearn.losses import Loss
from minilearn.metrics._words import pair
from minilearn.metrics.audit_rows import NOTES, audit_rows
from minilearn.metrics.band import BAND, FEWEST, LEVEL, RETRAINED, Row, t_half_width
from minilearn.metrics.columns import (
    COSTS,
    ORIGINAL,
    UNTRAINED,
    check_tests,
    columns_of,
    cost_rows,
    model_of,
)
from minilearn.metrics.headlines import as_html
from minilearn.metrics.metric import (
    ALL,
    FORGET,
    TEST,
    Metric,
    Results,
    possible,
    results_of,
    task_of,
)
from minilearn.metrics.registry import DEFAULT, METRICS, by_name
from minilearn.models import build, device_of
from minilearn.requests import Request

if TYPE_CHECKING:
    from minilearn.trials import Trials

__all__ = ["Report", "Row", "report", "t_half_width"]

PERCENT = f"{100 * LEVEL:g} %"


@dataclass(frozen=True, eq=False)
class Report:
    """All rows, shown as a table: mean and half of the 95 % interval of seeds, a column per model.

    A gap's interval counts the spread of the retrained models, too; a distance's does not. A star
    marks a value in the null band: by that metric not distinguishable from retraining. `retrained`
    counts the retrained models, `left_out` says which metrics are missing, and for lack of what.
    """

    rows: tuple[Row, ...]
    title: str
    retrained: int = 0
    left_out: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()  # names of the sets that give other examples at every reading

    def row(self, metric: str, split: str, method: str) -> Row:
        """One row by name; the split of a metric of all splits, and of a cost, is "".

        Raises: ValueError if the report has no such row
        """
        for row in self.rows:
            if (row.metric, row.split, row.method) == (metric, split, method):
                return row
        names = dict.fromkeys(f"{r.metric} on {r.split!r}" for r in self.rows if r.method == method)
        raise ValueError(
            f"the report has no {metric} on {split!r} for {method!r}, which has {list(names)}"
        )

    def frame(self):
        """As a pandas DataFrame of strings: a row per metric and split, a column per model."""
        import pandas

        counts = self._models_per_mean()
        table: dict[tuple[str, str], dict[str, str]] = {}
        for row in self.rows:
            cells = table.setdefault((row.metric, row.split), {})
            cells[row.method] = str(row)
            if row.band is not None and row.method != RETRAINED:
                count = counts[0] if row.metric in NOTES and counts else len(row.values)
                cells[_band_heading(count, counts)] = pair(*row.band, " to ")
        index = pandas.MultiIndex.from_tuples(table, names=["metric", "on"])
        frame = pandas.DataFrame(list(table.values()), index=index).fillna("")
        bands = [_band_heading(count, counts) for count in counts or [1]]
        first = [name for name in (ORIGINAL, RETRAINED, *bands) if name in frame]
        return frame[first + [name for name in frame if name not in first]]

    def notes(self) -> str:
        """What each metric of this report means, where it should lie, and what it cannot see."""
        wrap = textwrap.TextWrapper(88, subsequent_indent="    ", break_on_hyphens=False)
        known = METRICS | NOTES
        names = dict.fromkeys(r.metric for r in self.rows if r.metric in known)
        return "\n".join(wrap.fill(str(known[name])) for name in names)

    def __str__(self) -> str:
        aligned = self.frame().map(lambda cell: cell if cell.endswith("*") else f"{cell}  ")
        return "\n".join([self.title, aligned.to_string(line_width=100), *self._footnotes()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return as_html(self, self._footnotes())

    def _footnotes(self) -> list[str]:
        own = [r for r in self.rows if r.metric not in NOTES]
        seeds = {r.method: len(r.values) for r in own if r.metric not in COSTS}
        sizes = {r.split: r.examples for r in own if r.examples}
        lines = self._verdict_lines(sizes)
        if len(own) < len(self.rows):
            own_null = "of trials, with models and a null of their own, by which stars are given"
            lines.append(f"{', '.join(NOTES)}: {own_null}")
        lines += [f"left out: {words}" for words in self.left_out]
        if self.drawn:
            lines.append(f"drawn at random, for all models alike: {', '.join(self.drawn)}")
        count = ", ".join(f"{method} {n}" for method, n in seeds.items())
        several = f"mean ± half of the {PERCENT} interval over seeds: {count}"
        lines += [several if max(seeds.values()) > 1 else "one seed each: no interval"]
        return lines + ["examples: " + ", ".join(f"{s} {n:,}" for s, n in sizes.items())]

    def _models_per_mean(self) -> list[int]:
        """How many models the judged means are over."""
        judged = [r for r in self.rows if r.band is not None and r.metric not in NOTES]
        return sorted({len(row.values) for row in judged if row.method != RETRAINED})

    def _verdict_lines(self, sizes: dict[str, int]) -> list[str]:
        """What the numbers can be held against, and what that allows to say."""
        if not self.retrained:
            alike = "test_forget" if "test_forget" in sizes else TEST
            return [
                f"can be said: what changed, and if the forgotten look like unseen ones ({alike})",
                "cannot be said: that they are forgotten; a retrained model may differ from both",
            ]
        if self.retrained < FEWEST:
            return [
                f"{BAND}: none; with {self.retrained} retrained this report cannot judge: it takes "
                f"{FEWEST}, better five"
            ]
        each = ("one more" if n == 1 else f"the mean of {n} more" for n in self._models_per_mean())
        more = " or ".join(each)
        return [
            f"{BAND}: {PERCENT} prediction interval for {more}, from {self.retrained} retrained",
            "* in it: by this metric not distinguishable from retraining, which itself misses "
            f"about one star in {round(1 / (1 - LEVEL))}",
        ]


def _band_heading(count: int, counts: list[int]) -> str:
    """The heading of a band's column: where models differ in number, with how many it is for."""
    return BAND if len(counts) < 2 else f"{BAND} ({count})"


def report(
    request: Request,
    test: Examples | dict[str, Examples],
    *,
    original: Sequence,
    retrained: Sequence | None = None,
    methods: dict[str, Sequence],
    fresh: Callable[[], nn.Module] | None = None,
    metrics: Sequence[str] = DEFAULT,
    loss: Loss = "auto",
    batch_size: int = 512,
    trials: Trials | None = None,
) -> Report:
    """Measure methods beside the original, retrained models and an untrained network.

    Args:
        request: what was to be forgotten, of the training set
        test: unseen examples; or a dictionary with "test", and "test_forget" and "test_retain"
            where the request's own kind of unseen examples can be told from the others: attacks
            then compare like with like
        original: a list with one model, or `Unlearned`, a seed
        retrained: the same of models trained without the forgotten data; three or more give the
            null band, see `band.null_band`. None if there are none: then the models before and
            after stand beside each other, "no gold standard" in the title, and metrics that
            compare with retrained models are left out; so are those that need retained data, if
            the request has none (`Request(items, None)`)
        methods: such a list by the name of every method
        fresh: makes an untrained network, which shows what over-forgetting would look like
        metrics: names in `METRICS`; those of another task (mae for classes) are left out
        loss: what `evaluate` is asked for; gaps, tugs of war and attacks are of that loss
        batch_size: examples that are evaluated at once
        trials: of the same methods, by the same names, see `minilearn.trials.trials`: their strong
            attack and the memory left become rows beside the others

    Chapter: 1, 2, 12
    Raises: ValueError if there is no original or no method, a list is empty or has a model twice,
        the original is among the retrained models, a metric or a test set is unknown, a model's
        outputs are not finite, or the trials have no verdict on these methods
    """
    splits = _splits(request, test)
    for split, data in splits.items():
        if strays(data):
            raise ValueError(
                f"{split} gives other examples at every reading, by a generator of its own that no "
                "seed here reaches, so that two models would be shown different ones: give the set "
                "without augmentation, or let it draw from torch's, NumPy's or Python's generator"
            )
    columns = columns_of(original, retrained, methods)
    audit = [] if trials is None else audit_rows(trials, list(columns))
    chosen = by_name(metrics)
    if fresh is not None:
        untrained = [build(fresh, seed) for seed in range(len(original))]
        columns[UNTRAINED] = [m.to(device_of(model_of(original[0]))) for m in untrained]
    cache: dict[int, Results] = {}

    def measured(name: str, entry) -> Results:
        """Of a model, once; two models that answer the same, to the bit, share one result."""
        model = model_of(entry)
        if id(model) not in cache:
            try:
                new = results_of(model, splits, loss, batch_size)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
            cache[id(model)] = next((old for old in cache.values() if _alike(old, new)), new)
        return cache[id(model)]

    results = {name: [measured(name, m) for m in models] for name, models in columns.items()}
    task = task_of(results[ORIGINAL][0])
    chosen = [metric for metric in chosen if task in metric.tasks]
    if not chosen:
        raise ValueError(f"none of the metrics {', '.join(metrics)} is for {task}")
    chosen, left_out = possible(chosen, retrained is not None, "retain" in splits)
    pairs = [(m, split) for m in chosen for split in m.splits if not split or split in splits]
    rows = [row for metric, split in pairs for row in _rows(metric, split, results)]
    rows += cost_rows(columns) + audit
    title = _title(request, retrained)
    drawn = tuple(split for split, data in splits.items() if varies(data))
    return Report(tuple(rows), title, len(retrained or ()), left_out, drawn)


def _alike(a: Results, b: Results) -> bool:
    return all(torch.equal(a[split].outputs, b[split].outputs) for split in a)


def _title(request: Request, retrained) -> str:
    of = "" if request.mask.all() else f" of {len(request.mask)}"
    title = f"{request.name}: {len(request.indices)}{of} forgotten"
    return title if retrained is not None else f"{title}; no gold standard"


def _splits(request: Request, test) -> dict:
    if not isinstance(request, Request):
        raise ValueError(f"needs a request, as by_class(train, 3), got {type(request).__name__}")
    tests = test if isinstance(test, dict) else {TEST: test}
    if TEST not in tests or not set(tests) <= set(ALL[2:]):
        may = 'a dictionary of test sets must hold "test", and may hold "test_forget" and'
        raise ValueError(f'{may} "test_retain"; got {", ".join(map(repr, tests))}')
    check_tests(request, tests)
    retain = {} if request.mask.all() else {"retain": request.retain}
    return {FORGET: request.forget, **retain, **tests}


def _rows(metric: Metric, split: str, results: dict[str, list[Results]]) -> list[Row]:
    gold = results.get(RETRAINED, [])
    values = {name: _values(metric, split, each, gold) for name, each in results.items()}
    null, example = values.get(RETRAINED, ()), results[ORIGINAL][0]
    middle = sum(null) / len(null) if metric.relative else 0.0
    size = len(example[split].loss) if split else 0
    rows = []
    for name, own in values.items():
        if own:
            band = metric.band(null, len(own), example, split)
            band = band and (band[0] - middle, band[1] - middle)
            less = null if metric.relative and name != RETRAINED else None
            half = t_half_width(own, pairwise=metric.pairwise and name == RETRAINED, less=less)
            own = tuple(value - middle for value in own)
            rows.append(Row(metric.name, split, name, own, band, size, half))
    return rows


def _values(metric: Metric, split: str, models: list[Results], gold: list[Results]) -> list[float]:
    """One number per model: its own, or the mean against every retrained model but itself.

    The only retrained model, under another name, is compared with itself: there is no other.
    """
    if not metric.pairwise:
        return [metric.compute(model, None, split) for model in models]
    if models is gold and len(gold) == 1:
        return []
    values = []
    for model in models:
        others = [other for other in gold if other is not model] or gold
        values.append(sum(metric.compute(model, r, split) for r in others) / len(others))
    return values
