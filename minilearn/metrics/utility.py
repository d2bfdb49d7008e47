"""How well a model does on each part of the data, and how far that is from the retrained model."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from minilearn.evaluation import Evaluation


def check_evaluations(*results: Evaluation):
    """Refuse what no metric can be computed from.

    Raises: ValueError if something is no `Evaluation`, is empty, or holds NaN or infinite numbers
    """
    for result in results:
        if not isinstance(result, Evaluation):
            raise ValueError(
                "a metric needs what evaluate(model, data) returns, "
                f"got {type(result).__name__}: evaluate the model first"
            )
        if len(result.loss) == 0:
            raise ValueError("a metric needs at least one example, got an empty evaluation")
        good = result.outputs.flatten(1) if result.outputs.ndim > 1 else result.outputs[:, None]
        good = good.isfinite().all(1) & result.loss.isfinite()
        if not bool(good.all()):
            raise ValueError(
                f"the model's outputs on {int((~good).sum())} of {len(good)} examples are NaN or "
                "infinite: it has diverged; train or unlearn it with a smaller learning rate"
            )


def accuracy(result: Evaluation) -> float:
    """The share of examples classified right, a fraction.

    Target: the retrained model's accuracy, on every split; not 0 on the forget set.
    Cannot see: how sure the answers are, and which examples are right.
    Raises: ValueError for a regression result, or if the outputs are not finite
    """
    check_evaluations(result)
    if result.targets.is_floating_point():
        raise ValueError("accuracy is for classes; for regression targets use mae")
    return result.correct.double().mean().item()


def mae(result: Evaluation) -> float:
    """Mean absolute error of a regression model, in the targets' unit: sum over examples / number.

    Target: the retrained model's error, on every split.
    Cannot see: the sign of the error, and who got which.
    Raises: ValueError for a classification result, or if the outputs are not finite
    """
    check_evaluations(result)
    if not result.targets.is_floating_point():
        raise ValueError("mae is for regression targets; for classes use accuracy")
    return result.loss.double().mean().item()


def gap(unlearned: Evaluation, retrained: Evaluation) -> float:
    """Accuracy (for regression, mean absolute error) of the unlearned minus the retrained model.

        Delta_A = acc_A(theta_u) - acc_A(theta_r)

    Target: 0. A forget accuracy above the retrained one: something is left; below it: more was
        destroyed than forgotten. For errors it is the other way round.
    Cannot see: differences between examples that cancel.
    Raises: ValueError if the two were evaluated on different data
    """
    check_evaluations(unlearned, retrained)
    if not torch.equal(unlearned.targets.cpu(), retrained.targets.cpu()):
        raise ValueError("the two models were evaluated on different data: the targets differ")
    score = mae if unlearned.targets.is_floating_point() else accuracy
    return score(unlearned) - score(retrained)


def reference_error(targets: Tensor) -> float:
    """Mean absolute error of always answering the mean target: a scale for gaps.

    Shapes: targets (N,) or (N, K) float; returns a number in the targets' unit
    Raises: ValueError if there are no targets, or they are not finite numbers
    Example:
        >>> reference_error(torch.tensor([10.0, 30.0]))
        10.0
    """
    targets = torch.as_tensor(targets).double()
    if targets.ndim == 0 or len(targets) == 0 or not bool(targets.isfinite().all()):
        raise ValueError(f"needs finite targets, at least one, got shape {tuple(targets.shape)}")
    return (targets - targets.mean(0)).abs().mean().item()


def tow(forget_gap: float, retain_gap: float, test_gap: float) -> float:
    """Tug-of-War: how close to retraining on three splits at once, between 0 and 1.

        ToW = (1 - |Delta_f|) (1 - |Delta_r|) (1 - |Delta_t|)

    The gaps are fractions, not percent. Give the gap of a membership attack's value instead of the
    forget gap, and it is ToW-MIA. For regression give |gap| / reference_error(test targets);
    anything above 1 counts as 1.

    Paper: Zhao et al. 2024.          Chapter: 2
    Target: 1 on average; two retrained models score a little less.
    Cannot see: differences between examples or in confidence; equal scores by chance look perfect.
    Differs: the regression form is ours
    Raises: ValueError if a gap is not finite
    Example:
        >>> round(tow(0.1, 0.1, 0.1), 3)
        0.729
    """
    gaps = [float(g) for g in (forget_gap, retain_gap, test_gap)]
    if not all(map(math.isfinite, gaps)):
        raise ValueError(f"gaps must be finite numbers, got {gaps}")
    return math.prod(1 - min(abs(g), 1) for g in gaps)
