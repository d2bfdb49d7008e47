"""What a metric of the report is, and the evaluations that it sees."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from minilearn.checks import check_choice
from minilearn.evaluation import Evaluation, evaluate
from minilearn.losses import Loss
from minilearn.metrics.band import SIDES, null_band
from minilearn.metrics.utility import check_evaluations, constant_answer

Results = dict[str, Evaluation]  # one model's evaluations, by split; see `results_of`
FORGET, TEST, CONSTANT = "forget", "test", "constant answer"
ALL = (FORGET, "retain", TEST, "test_forget", "test_retain")
WHOLE = ("",)  # a metric of all splits at once

TASKS = ("classification", "regression", "quantiles")  # regression: one output a target

Scale = tuple[float, float, float]  # the least and the largest value, what one example is worth


def between(least: float, most: float) -> Callable[[Results, str], Scale]:
    """The scale of numbers that can take any value between two ends."""
    return lambda results, split: (least, most, 0.0)


def share(results: Results, split: str) -> Scale:
    """The scale of shares of a split's examples."""
    return 0.0, 1.0, 1 / len(results[split].loss)


@dataclass(frozen=True)
class Metric:
    """One metric of the report. Its target is always the value that retrained models have.

    `compute(model, reference, split)` sees one model's evaluations of all splits and, if the metric
    is `pairwise`, a retrained model's; a pairwise metric is averaged over all retrained models but
    the model itself. From a `relative` one the mean over the retrained models is taken off.
    `needs_retain` says that it looks at the split "retain", whatever split it is asked for.
    `good` names the side of the null band that is as good as retraining: a key of `SIDES`. `scale`,
    of a model's evaluations and a split, says where the band ends at the latest, and how narrow it
    may be: see `share`. `blind_to` holds "untrained" if a network that knows nothing passes; a test
    checks that.
    """

    name: str
    meaning: str  # and its unit, or the value of chance
    cannot_see: str
    compute: Callable[[Results, Results | None, str], float]
    splits: tuple[str, ...] = ALL
    tasks: tuple[str, ...] = TASKS
    pairwise: bool = False
    relative: bool = False
    needs_retain: bool = False
    scale: Callable[[Results, str], Scale] = between(-math.inf, math.inf)
    good: str = "two-sided"
    blind_to: tuple[str, ...] = ()

    def __post_init__(self):
        check_choice("good", self.good, SIDES)
        for name, words, known in (
            ("splits", self.splits, ("", *ALL)),
            ("tasks", self.tasks, TASKS),
        ):
            if not isinstance(words, tuple) or not set(words) <= set(known):
                raise ValueError(f"{name} of {self.name} is a tuple of {known}, got {words!r:.80}")

    def __str__(self) -> str:
        blind = self.cannot_see + (": an untrained network passes" if self.blind_to else "")
        side = SIDES[self.good]
        return f"{self.name}: {self.meaning}. As good as retraining: {side}. Cannot see: {blind}."

    def band(
        self, null: Sequence[float], more: int, model: Results, split: str
    ) -> tuple[float, float] | None:
        """The null band for a mean of `more`; None if there is none, or it is the whole scale.

        So of one forgotten example no accuracy is judged, for no value could lie outside.
        """
        least, most, grain = self.scale(model, split)
        ends = {"least": least, "most": most, "grain": grain}
        band = null_band(null, more=more, side=self.good, pairwise=self.pairwise, **ends)
        return band if band and (band[0] > least or band[1] < most) else None


def results_of(model, splits: dict, loss: Loss = "auto", batch_size: int = 512) -> Results:
    """One model's evaluations on all splits.

    For regression also, under `CONSTANT`, what always answering the mean target would give on the
    test set: the scale of gaps, in the unit of the same loss.

    Raises: ValueError if the model's outputs are not finite; whatever `evaluate` raises
    """
    results = {
        split: evaluate(model, data, loss=loss, batch_size=batch_size)
        for split, data in splits.items()
    }
    check_evaluations(*results.values())
    if task_of(results) != "classification":
        results[CONSTANT] = constant_answer(results[TEST].targets, loss)
    return results


def task_of(results: Results) -> str:
    """Which of `TASKS` the evaluations are of."""
    test = results[TEST]
    if not test.targets.is_floating_point():
        return "classification"
    return "regression" if test.outputs.shape == test.targets.shape else "quantiles"


def possible(chosen: list[Metric], gold: bool, retain: bool) -> tuple[list[Metric], tuple]:
    """The metrics that can be computed, and in words which cannot."""
    lacking = {"no retrained models": [], "no retained data": []}
    there = []
    for metric in chosen:
        if not gold and (metric.pairwise or metric.relative):
            lacking["no retrained models"].append(metric.name)
        elif not retain and metric.needs_retain:
            lacking["no retained data"].append(metric.name)
        else:
            there.append(metric)
    left_out = tuple(f"{', '.join(names)} ({why})" for why, names in lacking.items() if names)
    if not there:
        raise ValueError(f"none of the metrics can be computed: {'; '.join(left_out)}")
    return there, left_out
