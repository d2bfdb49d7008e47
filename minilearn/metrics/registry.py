"""The metrics that a report can show: what each computes, means, and cannot see."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence, Set
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from minilearn.metrics.attacks import logistic_attack, loss_attack
from minilearn.metrics.distances import js, kl, paired_difference, wasserstein
from minilearn.metrics.metric import (
    CONSTANT,
    FORGET,
    TEST,
    WHOLE,
    Metric,
    Results,
    Scale,
    between,
    share,
    task_of,
)
from minilearn.metrics.svc_attack import svc_attack
from minilearn.metrics.utility import accuracy, gap, mae, mean_loss, mse, tow


def _score_gap(model: Results, reference: Results, split: str) -> float:
    """The gap as a fraction: of the accuracy, or of the loss of a constant answer on the test set.

    One scale for all splits: the targets of a forgotten band, or of one example, hardly differ.
    """
    difference = gap(model[split], reference[split])
    if task_of(model) == "classification":
        return difference
    if CONSTANT not in model:
        raise ValueError(
            "a gap of losses needs its scale, the loss of a constant answer: take the evaluations "
            "from results_of(model, splits, loss)"
        )
    return difference / (mean_loss(model[CONSTANT]) or 1.0)


def _score(model: Results, split: str) -> float:
    """What gaps are of: the accuracy, or the mean loss."""
    score = accuracy if task_of(model) == "classification" else mean_loss
    return score(model[split])


def _score_scale(model: Results, split: str) -> Scale:
    return share(model, split) if task_of(model) == "classification" else (0.0, math.inf, 0.0)


def _tow_scale(model: Results, _: str) -> Scale:
    splits = [_score_scale(model, split) for split in (FORGET, "retain", TEST)]
    return 0.0, 1.0, 1 - tow(*(grain for _, _, grain in splits))


def _tow(model: Results, reference: Results, _: str) -> float:
    return tow(*(_score_gap(model, reference, split) for split in (FORGET, "retain", TEST)))


def _tow_mia(model: Results, reference: Results, split: str) -> float:
    attacked = _loss_attack(model).auc - _loss_attack(reference).auc
    return tow(attacked, *(_score_gap(model, reference, split) for split in ("retain", TEST)))


def _w1(model: Results, reference: Results, split: str) -> float:
    """The mean over the targets' columns, of which there is mostly one."""
    u, r = model[split].outputs, reference[split].outputs
    columns = zip(u.reshape(len(u), -1).T, r.reshape(len(r), -1).T, strict=True)
    return statistics.fmean(wasserstein(*pair).item() for pair in columns)


def _loss_attack(model: Results):
    return loss_attack(model[FORGET], model.get("test_forget", model[TEST]))


def _learnt_attack(attack: Callable, model: Results):
    unseen = model.get("test_retain", model[TEST])
    alike = model.get("test_forget")
    return attack(model["retain"], unseen, model[FORGET], unseen_forget=alike)


def _divergence(kind: Callable, model: Results, reference: Results, split: str) -> float:
    """In double precision, because single shows its rounding where two models are nearly alike."""
    logs = (part[split].outputs.double().log_softmax(1) for part in (reference, model))
    return kind(*logs).mean().item()


def _apart(model: Results, reference: Results, split: str) -> float:
    return paired_difference(model[split].outputs, reference[split].outputs).double().mean().item()


_CLASSES, _ONE, _QUANTILES = ("classification",), ("regression",), ("quantiles",)
_NUMBERS = _ONE + _QUANTILES
_SEEN = (FORGET, TEST)
_AMOUNT, _CHANCE = between(0.0, math.inf), between(0.0, 1.0)
_APART = {"pairwise": True, "good": "low", "scale": _AMOUNT}
_TUG = {"pairwise": True, "good": "high", "needs_retain": True}
_BLIND = {"blind_to": ("untrained",), "scale": _CHANCE}
_LEARNT = _BLIND | {"needs_retain": True}
_ALL_METRICS = (
    Metric(
        "accuracy",
        "share of examples classified right (fraction)",
        "how sure the answers are, which are right",
        lambda m, r, s: accuracy(m[s]),
        tasks=_CLASSES,
        scale=share,
    ),
    Metric(
        "mae",
        "mean absolute error (the targets' unit)",
        "the sign of the error, and who got which",
        lambda m, r, s: mae(m[s]),
        tasks=_ONE,
        scale=_AMOUNT,
    ),
    Metric(
        "mse",
        "mean squared error (the square of the targets' unit)",
        "the sign of the error, and who got which",
        lambda m, r, s: mse(m[s]),
        tasks=_ONE,
        scale=_AMOUNT,
    ),
    Metric(
        "quantile_loss",
        "mean quantile loss (the targets' unit)",
        "who got which",
        lambda m, r, s: mean_loss(m[s]),
        tasks=_QUANTILES,
        scale=_AMOUNT,
    ),
    Metric(
        "gap",
        "accuracy, or mean loss of the evaluation, minus the retrained models' mean",
        "differences that cancel",
        lambda m, r, s: _score(m, s),
        relative=True,
        scale=_score_scale,
    ),
    Metric(
        "tow",
        "tug of war: nearness to retraining in the scores on three splits (0 to 1)",
        "single examples",
        _tow,
        WHOLE,
        scale=_tow_scale,
        **_TUG,
    ),
    Metric(
        "tow_mia",
        "tug of war with the loss attack's auc for the score on forget (0 to 1)",
        "single examples",
        _tow_mia,
        WHOLE,
        scale=_CHANCE,
        **_TUG,
    ),
    Metric(
        "js",
        "Jensen-Shannon divergence from the retrained model's answers (nats, below 0.694)",
        "other inputs",
        lambda m, r, s: _divergence(js, m, r, s),
        _SEEN,
        _CLASSES,
        **_APART | {"scale": between(0.0, math.log(2))},
    ),
    Metric(
        "kl",
        "divergence KL(retrained || model), mean over examples (nats)",
        "other inputs",
        lambda m, r, s: _divergence(kl, m, r, s),
        _SEEN,
        _CLASSES,
        **_APART,
    ),
    Metric(
        "wasserstein",
        "distance between two distributions of predictions (the targets' unit)",
        "who got which",
        _w1,
        _SEEN,
        _NUMBERS,
        **_APART,
    ),
    Metric(
        "paired_difference",
        "mean distance of two predictions for one input (their unit)",
        "which one is right",
        _apart,
        _SEEN,
        _NUMBERS,
        **_APART,
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
        "share found by the loss at 1 % false alarms (chance 0.01, and more with few unseen)",
        "over-forgetting",
        lambda m, r, s: _loss_attack(m).tpr_at_1fpr,
        (FORGET,),
        **_BLIND | {"scale": share},
    ),
    Metric(
        "attack_auc",
        "how well a learnt attack tells forgotten from unseen (chance 0.5)",
        "over-forgetting",
        lambda m, r, s: _learnt_attack(logistic_attack, m).auc,
        (FORGET,),
        **_LEARNT,
    ),
    Metric(
        "svc_attack_auc",
        "how well an attack by a support vector machine tells them apart (chance 0.5)",
        "over-forgetting",
        lambda m, r, s: _learnt_attack(svc_attack, m).auc,
        (FORGET,),
        _NUMBERS,
        **_LEARNT,
    ),
)
METRICS = {metric.name: metric for metric in _ALL_METRICS}
for _, _name, _ in iter_modules([str(Path(__file__).parent)]):  # one in a file of its own
    if _name not in ("registry", "report"):
        _module = import_module(f"minilearn.metrics.{_name}")
        METRICS |= {m.name: m for m in vars(_module).values() if isinstance(m, Metric)}
DEFAULT = ("accuracy", "mae", "quantile_loss", "gap", "tow", "js", "wasserstein")
DEFAULT += ("paired_difference", "loss_attack_auc", "attack_auc")


def by_name(names: Sequence[str]) -> list[Metric]:
    """The metrics of these names, each once.

    Raises: ValueError if there is no metric of a name
    """
    if isinstance(names, str) or not isinstance(names, Sequence | Mapping | Set):
        example = names if isinstance(names, str) else "accuracy"
        raise ValueError(f'metrics must be a list of names, as ["{example}"]')
    for name in names:
        if not isinstance(name, str) or name not in METRICS:
            raise ValueError(f"unknown metric {name!r:.80}; there are {', '.join(METRICS)}")
    return [METRICS[name] for name in dict.fromkeys(names)]
