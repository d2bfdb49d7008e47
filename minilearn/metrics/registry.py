"""The metrics that a report can show: what each computes, means, and cannot see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from minilearn.evaluation import Evaluation
from minilearn.metrics.attacks import logistic_attack, loss_attack
from minilearn.metrics.distances import js, kl, paired_difference, wasserstein
from minilearn.metrics.utility import accuracy, gap, mae, reference_error, tow

Results = dict[str, Evaluation]  # one model's evaluations, by split
FORGET, TEST = "forget", "test"
ALL = (FORGET, "retain", TEST, "test_forget", "test_retain")
WHOLE = ("",)  # a metric of all splits at once

# Where a value that cannot be told from retraining lies, relative to the null band.
SIDES = {
    "two-sided": "inside the null band",
    "low": "no higher than the null band",
    "high": "no lower than the null band",
}


@dataclass(frozen=True)
class Metric:
    """One metric of the report. Its target is always the value that retrained models have.

    `compute(model, reference, split)` sees one model's evaluations of all splits and, if the metric
    is `pairwise`, a retrained model's; a pairwise metric is averaged over all retrained models.
    `good` names the side of the null band that is as good as retraining: a key of `SIDES`.
    `blind_to` holds "untrained" if a network that knows nothing passes; a test checks that.
    """

    name: str
    meaning: str  # and its unit, or the value of chance
    cannot_see: str
    compute: Callable[[Results, Results | None, str], float]
    splits: tuple[str, ...]
    task: str = "both"  # classification, regression, or both
    pairwise: bool = False
    good: str = "two-sided"
    blind_to: tuple[str, ...] = ()

    def __str__(self) -> str:
        blind = self.cannot_see + (": an untrained network passes" if self.blind_to else "")
        side = SIDES[self.good]
        return f"{self.name}: {self.meaning}. As good as retraining: {side}. Cannot see: {blind}."


def _score_gap(model: Results, reference: Results, split: str) -> float:
    """The gap as a fraction: of the accuracy, or of the error of a constant answer on the test set.

    One scale for all splits: the targets of a forgotten band, or of one example, hardly differ.
    """
    difference, targets = gap(model[split], reference[split]), model[TEST].targets
    return (
        difference / (reference_error(targets) or 1.0)
        if targets.is_floating_point()
        else difference
    )


def _tow(model: Results, reference: Results, _: str) -> float:
    return tow(*(_score_gap(model, reference, split) for split in (FORGET, "retain", TEST)))


def _tow_mia(model: Results, reference: Results, split: str) -> float:
    attacked = _loss_attack(model).auc - _loss_attack(reference).auc
    return tow(attacked, *(_score_gap(model, reference, split) for split in ("retain", TEST)))


def _w1(model: Results, reference: Results, split: str) -> float:
    """The mean over the targets' columns, of which there is mostly one."""
    u, r = (e.outputs.reshape(len(e.outputs), -1).T for e in (model[split], reference[split]))
    return sum(wasserstein(a, b).item() for a, b in zip(u, r, strict=True)) / len(u)


def _loss_attack(model: Results):
    return loss_attack(model[FORGET], model.get("test_forget", model[TEST]))


def _logistic_attack(model: Results):
    unseen = model.get("test_retain", model[TEST])
    alike = model.get("test_forget")
    return logistic_attack(model["retain"], unseen, model[FORGET], unseen_forget=alike)


def _kl(model: Results, reference: Results, split: str) -> float:
    return kl(reference[split].log_probs, model[split].log_probs).double().mean().item()


def _js(model: Results, reference: Results, split: str) -> float:
    return js(reference[split].log_probs, model[split].log_probs).double().mean().item()


def _apart(model: Results, reference: Results, split: str) -> float:
    return paired_difference(model[split].outputs, reference[split].outputs).double().mean().item()


_CLASSES, _NUMBERS, _SEEN = "classification", "regression", (FORGET, TEST)
_BLIND = {"blind_to": ("untrained",)}
_ALL_METRICS = (
    Metric(
        "accuracy",
        "share of examples classified right (fraction)",
        "how sure the answers are, which are right",
        lambda m, r, s: accuracy(m[s]),
        ALL,
        _CLASSES,
    ),
    Metric(
        "mae",
        "mean absolute error (the targets' unit)",
        "the sign of the error, and who got which",
        lambda m, r, s: mae(m[s]),
        ALL,
        _NUMBERS,
    ),
    Metric(
        "gap",
        "accuracy, or mean absolute error, minus the retrained model's",
        "differences that cancel",
        lambda m, r, s: gap(m[s], r[s]),
        ALL,
        pairwise=True,
    ),
    Metric(
        "tow",
        "tug of war: nearness to retraining in the scores on three splits (0 to 1)",
        "single examples",
        _tow,
        WHOLE,
        pairwise=True,
        good="high",
    ),
    Metric(
        "tow_mia",
        "tug of war with the loss attack's auc for the score on forget (0 to 1)",
        "single examples",
        _tow_mia,
        WHOLE,
        pairwise=True,
        good="high",
    ),
    Metric(
        "js",
        "Jensen-Shannon divergence from the retrained model's answers (nats, below 0.694)",
        "other inputs",
        _js,
        _SEEN,
        _CLASSES,
        pairwise=True,
        good="low",
    ),
    Metric(
        "kl",
        "divergence KL(retrained || model), mean over examples (nats)",
        "other inputs",
        _kl,
        _SEEN,
        _CLASSES,
        pairwise=True,
        good="low",
    ),
    Metric(
        "wasserstein",
        "distance between two distributions of predictions (the targets' unit)",
        "who got which",
        _w1,
        _SEEN,
        _NUMBERS,
        pairwise=True,
        good="low",
    ),
    Metric(
        "paired_difference",
        "mean distance of two predictions for one input (their unit)",
        "which one is right",
        _apart,
        _SEEN,
        _NUMBERS,
        pairwise=True,
        good="low",
    ),
    Metric(
        "loss_attack_auc",
        "how well the loss tells forgotten from unseen (chance 0.5)",
        "over-forgetting",
        lambda m, r, s: _loss_attack(m).auc,
        (FORGET,),
        **_BLIND,
    ),
    Metric(
        "loss_attack_tpr",
        "share found by the loss at 1 % false alarms (chance 0.01)",
        "over-forgetting",
        lambda m, r, s: _loss_attack(m).tpr_at_1fpr,
        (FORGET,),
        **_BLIND,
    ),
    Metric(
        "attack_auc",
        "how well a learnt attack tells forgotten from unseen (chance 0.5)",
        "over-forgetting",
        lambda m, r, s: _logistic_attack(m).auc,
        (FORGET,),
        **_BLIND,
    ),
)
METRICS = {metric.name: metric for metric in _ALL_METRICS}
DEFAULT = ("accuracy", "mae", "gap", "tow", "js", "wasserstein", "paired_difference")
DEFAULT += ("loss_attack_auc", "attack_auc")
