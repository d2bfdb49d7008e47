"""The report: every metric for every method, beside original, retrained and untrained models."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from minilearn.data.examples import Examples
from minilearn.losses import Loss
from minilearn.metrics._words import number, pair
from minilearn.metrics.metric import ALL, FORGET, TEST, Metric, Results, results_of, task_of
from minilearn.metrics.registry import DEFAULT, METRICS, by_name
from minilearn.models import build, device_of
from minilearn.requests import Request
from minilearn.unlearned import Unlearned

ORIGINAL, RETRAINED, UNTRAINED = "original", "retrained", "untrained"
BAND, COSTS = "null band", ("samples", "seconds")


@dataclass(frozen=True)
class Row:
    """One number of the report: `values` has one entry a seed; the interval is Student's t at 95 %.

    `band` is what retrained models show among themselves, None if there are fewer than two: for a
    pairwise metric the smallest and the largest value over all ordered pairs, else over the models.
    `examples` is the size of the split, 0 where there is none.
    """

    metric: str
    split: str
    method: str
    values: tuple[float, ...]
    band: tuple[float, float] | None
    good: str = "two-sided"
    examples: int = 0

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return sum(self.values) / len(self.values)

    @property
    def half_width(self) -> float:
        """Half the 95 % interval of the mean; NaN with a single seed."""
        return t_half_width(self.values)

    @property
    def inside(self) -> bool:
        """Whether the mean lies in the null band: this metric cannot tell it from retraining.

        For a distance it may also lie below, for a likeness above. The converse is weaker: of two
        numbers one cannot expect that a third lies between. With k retrained models, one more
        falls outside a two-sided band with probability 2 / (k + 1).
        """
        if self.band is None:
            return False
        low, high = self.band
        noise = 1e-9 * max(1.0, abs(low), abs(high))  # of adding up in another order
        below = self.mean <= high + noise
        above = self.mean >= low - noise
        return {"low": below, "high": above, "two-sided": below and above}[self.good]

    def __str__(self) -> str:
        """`0.912 ± 0.013 *`: the mean, half of the interval, and whether it lies in the band."""
        if self.metric == "samples":
            return f"{self.mean:,.0f}"
        spread = self.half_width
        text = number(self.mean) if math.isnan(spread) else pair(self.mean, spread, " ± ")
        return text + (" *" if self.inside and self.method != RETRAINED else "")


def t_half_width(values: Sequence[float], level: float = 0.95) -> float:
    """Half the width of Student's t interval for the mean of `values`; NaN with fewer than two.

    Args: values: independent numbers, a seed each. level: of confidence, by default 95 %
    Example:
        >>> round(t_half_width([1.0, 2.0, 3.0]), 3)
        2.484
    """
    from scipy.stats import sem, t

    if len(values) < 2:
        return math.nan
    return float(t.ppf((1 + level) / 2, len(values) - 1) * sem(values))


@dataclass(frozen=True, eq=False)
class Report:
    """All rows, shown as a table: mean and half of the 95 % interval over seeds, a column a model.

    A star marks a value in the null band: by that metric not distinguishable from retraining.
    """

    rows: tuple[Row, ...]
    title: str

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
        """As a pandas DataFrame of strings: a row a metric and split, a column a model."""
        import pandas

        table: dict[tuple[str, str], dict[str, str]] = {}
        for row in self.rows:
            cells = table.setdefault((row.metric, row.split), {})
            cells[row.method] = str(row)
            if row.band is not None:
                cells[BAND] = pair(*row.band, " to ")
        index = pandas.MultiIndex.from_tuples(table, names=["metric", "on"])
        frame = pandas.DataFrame(list(table.values()), index=index).fillna("")
        first = [name for name in (ORIGINAL, RETRAINED, BAND) if name in frame]
        return frame[first + [name for name in frame if name not in first]]

    def notes(self) -> str:
        """What each metric of this report means, where it should lie, and what it cannot see."""
        wrap = textwrap.TextWrapper(88, subsequent_indent="    ", break_on_hyphens=False)
        names = dict.fromkeys(r.metric for r in self.rows if r.metric in METRICS)
        return "\n".join(wrap.fill(str(METRICS[name])) for name in names)

    def __str__(self) -> str:
        aligned = self.frame().map(lambda cell: cell if cell.endswith("*") else f"{cell}  ")
        return "\n".join([self.title, aligned.to_string(line_width=100), *self._legend()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        table = self.frame().to_html(border=0, classes="report")
        legend = "<br>".join(map(html.escape, self._legend()))
        return f"<p><strong>{html.escape(self.title)}</strong></p>{table}<p>{legend}</p>"

    def _legend(self) -> list[str]:
        seeds = {r.method: len(r.values) for r in self.rows if r.metric not in COSTS}
        sizes = {r.split: r.examples for r in self.rows if r.examples}
        lines = [f"{BAND}: none; it takes two or more retrained models, better five"]
        if any(r.band for r in self.rows):
            lines = [
                f"{BAND}: what retrained models show among themselves",
                "* in it, or on its good side: by this metric not distinguishable from retraining",
            ]
        count = ", ".join(f"{method} {n}" for method, n in seeds.items())
        several = f"mean ± half of the 95 % interval over seeds: {count}"
        lines += [several if max(seeds.values()) > 1 else "one seed each: no interval"]
        return lines + ["examples: " + ", ".join(f"{s} {n:,}" for s, n in sizes.items())]


def report(
    request: Request,
    test: Examples | dict[str, Examples],
    *,
    original: Sequence,
    retrained: Sequence,
    methods: dict[str, Sequence],
    fresh: Callable[[], nn.Module] | None = None,
    metrics: Sequence[str] = DEFAULT,
    loss: Loss = "auto",
    batch_size: int = 512,
) -> Report:
    """Measure methods beside the original, retrained models and an untrained network.

    Args:
        request: what was to be forgotten, of the training set
        test: unseen examples; or a dictionary with "test", and "test_forget" and "test_retain"
            where the request's own kind of unseen examples can be told from the others: attacks
            then compare like with like
        original, retrained: lists with one model, or `Unlearned`, a seed; two or more retrained
            models give the null band, how far one retrained model is from another
        methods: such a list by the name of every method
        fresh: makes an untrained network, which shows what over-forgetting would look like
        metrics: names in `METRICS`; those of another task (mae for classes) are left out
        loss: what `evaluate` is asked for; gaps, tugs of war and attacks are of that loss
        batch_size: examples that are evaluated at once

    Chapter: 1, 2
    Raises: ValueError if there is no original, no retrained model or no method, a list is empty or
        names a model twice, a metric or a test set is unknown, or a model's outputs are not finite
    """
    splits = _splits(request, test)
    columns = _columns(original, retrained, methods)
    chosen = by_name(metrics)
    if fresh is not None:
        untrained = [build(fresh, seed) for seed in range(len(retrained))]
        columns[UNTRAINED] = [m.to(device_of(_model(original[0]))) for m in untrained]
    cache: dict[int, Results] = {}

    def measured(name: str, entry) -> Results:
        model = _model(entry)
        if id(model) not in cache:
            try:
                cache[id(model)] = results_of(model, splits, loss, batch_size)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return cache[id(model)]

    results = {name: [measured(name, m) for m in models] for name, models in columns.items()}
    task = task_of(results[ORIGINAL][0])
    chosen = [metric for metric in chosen if task in metric.tasks]
    if not chosen:
        raise ValueError(f"none of the metrics {', '.join(metrics)} is for {task}")
    pairs = [(m, split) for m in chosen for split in m.splits if not split or split in splits]
    rows = [row for metric, split in pairs for row in _rows(metric, split, results)]
    title = f"{request.name}: {len(request.indices)} of {len(request.mask)} forgotten"
    return Report(tuple(rows + _costs(columns)), title)


def _splits(request: Request, test) -> dict:
    if not isinstance(request, Request):
        raise ValueError(f"needs a request, as by_class(train, 3), got {type(request).__name__}")
    tests = test if isinstance(test, dict) else {TEST: test}
    if TEST not in tests or not set(tests) <= set(ALL[2:]):
        raise ValueError(
            'a dictionary of test sets must hold "test", and may hold "test_forget" and '
            f'"test_retain"; got {", ".join(map(repr, tests))}'
        )
    return {FORGET: request.forget, "retain": request.retain, **tests}


def _columns(original, retrained, methods) -> dict[str, Sequence]:
    if not isinstance(methods, dict) or {ORIGINAL, RETRAINED, UNTRAINED, BAND} & set(methods):
        raise ValueError(
            "methods must be a dictionary from names to lists of models, and original, retrained, "
            f"untrained and {BAND} are taken"
        )
    columns = {ORIGINAL: original, RETRAINED: retrained, **methods}
    for name, models in columns.items():
        if not isinstance(models, list | tuple) or not models:
            raise ValueError(f"{name} must be a non-empty list, one model a seed")
        if len({id(_model(entry)) for entry in models}) < len(models):
            raise ValueError(f"{name} names one model twice; every seed is a model of its own")
    return columns


def _model(entry) -> nn.Module:
    return entry.model if isinstance(entry, Unlearned) else entry


def _rows(metric: Metric, split: str, results: dict[str, list[Results]]) -> list[Row]:
    references = results[RETRAINED]

    def against(candidate: Results) -> list[float]:
        """The values of one model: against every retrained model but itself, or on its own."""
        if not metric.pairwise:
            return [metric.compute(candidate, None, split)]
        return [metric.compute(candidate, r, split) for r in references if r is not candidate]

    scores = {name: [against(c) for c in candidates] for name, candidates in results.items()}
    null = [value for values in scores[RETRAINED] for value in values]
    band = (min(null), max(null)) if len(references) > 1 else None
    size = len(references[0][split].loss) if split else 0
    rows = []
    for name, models in scores.items():
        means = tuple(sum(values) / len(values) for values in models if values)
        if means:
            rows.append(Row(metric.name, split, name, means, band, metric.good, size))
    return rows


def _costs(columns: dict[str, Sequence]) -> list[Row]:
    rows = []
    for metric in COSTS:
        for name, entries in columns.items():
            values = [float(getattr(e.cost, metric)) for e in entries if isinstance(e, Unlearned)]
            if values:
                rows.append(Row(metric, "", name, tuple(values), None))
    return rows
