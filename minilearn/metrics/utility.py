"""How well a model does on each part of the data, and how far that is from the retrained model."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from minilearn.checks import as_numbers, check_number
from minilearn.evaluation import Evaluation
from minilearn.losses import Loss, Quantile, loss_per_example


def check_evaluations(*results: Evaluation):
    """Refuse what no metric can be computed from.

    Raises: ValueError if something is no `Evaluation`, is empty, has targets or losses of other
        examples than its outputs, or holds NaN or infinite numbers
    """
    kinds = set()
    for result in results:
        if not isinstance(result, Evaluation):
            raise ValueError(
                "a metric needs what evaluate(model, data) returns, "
                f"got {type(result).__name__}: evaluate the model first"
            )
        if len(result.loss) == 0:
            raise ValueError("a metric needs at least one example, got an empty evaluation")
        kinds.add((result.targets.is_floating_point(), tuple(result.outputs.shape[1:])))
        _check_shapes(result)
        outputs = result.outputs.reshape(len(result.loss), -1)
        good = outputs.isfinite().all(1) & result.loss.isfinite()
        if not good.all():
            if result.loss.isfinite().all() and not (outputs.isnan() | outputs.isposinf()).any():
                raise ValueError(
                    f"the model's outputs on {int((~good).sum())} of {len(good)} examples are -inf "
                    "for a class, as if it were masked: mask it with -1e4"
                )
            raise ValueError(
                f"the model's outputs on {int((~good).sum())} of {len(good)} examples are NaN or "
                "infinite: it has diverged; train or unlearn it with a smaller learning rate"
            )
    if len(kinds) > 1:
        raise ValueError(
            "the evaluations are of several tasks, or of networks with other numbers of outputs: "
            "compare like with like"
        )


def _check_shapes(result: Evaluation):
    shapes = [tuple(t.shape) for t in (result.outputs, result.targets, result.loss)]
    flat = result.targets.is_floating_point() or result.targets.ndim == 1
    if len({shape[:1] for shape in shapes}) > 1 or not flat:
        raise ValueError(
            "a metric needs outputs, targets and losses of the same examples, got shapes "
            + ", ".join(map(str, shapes))
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

    It is computed from outputs and targets, whatever loss the evaluation was asked for.

    Target: the retrained model's error, on every split.
    Cannot see: the sign of the error, and who got which.
    Raises: ValueError for classes or quantiles, or if the outputs are not finite
    """
    return _errors("mae", result).abs().mean().item()


def mse(result: Evaluation) -> float:
    """Mean squared error of a regression model, in the square of the targets' unit.

    Target: the retrained model's error, on every split.
    Cannot see: the sign of the error, and who got which; a few large errors decide it.
    Raises: ValueError for classes or quantiles, or if the outputs are not finite
    """
    return _errors("mse", result).square().mean().item()


def _errors(name: str, result: Evaluation) -> Tensor:
    check_evaluations(result)
    if not result.targets.is_floating_point():
        raise ValueError(f"{name} is for regression targets; for classes use accuracy")
    if result.outputs.shape != result.targets.shape:
        raise ValueError(
            f"{name} needs one output a target, got outputs of shape {tuple(result.outputs.shape)} "
            f"for targets of shape {tuple(result.targets.shape)}; for quantiles use mean_loss"
        )
    return result.outputs.double() - result.targets.double()


def mean_loss(result: Evaluation) -> float:
    """Mean of the loss that the evaluation was asked for: sum over examples / number.

    Cross-entropy in nats; for regression the absolute error unless `evaluate` was given another.

    Target: the retrained model's loss, on every split.
    Cannot see: who got which.
    Raises: ValueError if the outputs are not finite
    """
    check_evaluations(result)
    return result.loss.double().mean().item()


def gap(unlearned: Evaluation, retrained: Evaluation) -> float:
    """Accuracy (for regression, the evaluations' mean loss) of the unlearned minus the retrained.

        Delta_A = acc_A(theta_u) - acc_A(theta_r)

    Both models must have been evaluated with the same loss; the gap has its unit.

    Target: 0. A forget accuracy above the retrained one: something is left; below it: more was
        destroyed than forgotten. For losses it is the other way round.
    Cannot see: differences between examples that cancel.
    Raises: ValueError if the two were evaluated on different data
    """
    check_evaluations(unlearned, retrained)
    if not torch.equal(unlearned.targets.cpu(), retrained.targets.cpu()):
        raise ValueError("the two models were evaluated on different data: the targets differ")
    score = mean_loss if unlearned.targets.is_floating_point() else accuracy
    return score(unlearned) - score(retrained)


def constant_answer(targets: Tensor, loss: Loss = "auto") -> Evaluation:
    """What a model that always answers the mean target would give, for a `Quantile` at every level.

    Shapes: targets (N,) or (N, ...) float
    Raises: ValueError if there are no targets, they are not finite numbers, or the loss is none
    """
    targets = as_numbers("targets", targets).double()
    if targets.ndim == 0 or len(targets) == 0 or not targets.isfinite().all():
        raise ValueError(f"needs finite targets, at least one, got shape {tuple(targets.shape)}")
    answer = targets.mean(0).expand_as(targets)
    if isinstance(loss, Quantile):
        answer = answer[..., None].expand(*targets.shape, len(loss.levels))
    return Evaluation(answer, targets, loss_per_example(answer, targets, loss=loss))


def tow(forget_gap: float, retain_gap: float, test_gap: float) -> float:
    """Tug-of-War: how close to retraining on three splits at once, between 0 and 1.

        ToW = (1 - |Delta_f|) (1 - |Delta_r|) (1 - |Delta_t|)

    The gaps are fractions, not percent. Give the gap of a membership attack's value instead of the
    forget gap, and it is ToW-MIA. For regression give |gap| over
    mean_loss(constant_answer(test targets, loss)), of the loss that the gap is of; anything above 1
    counts as 1.

    Paper: Zhao et al. 2024.          Chapter: 2
    Target: what two retrained models have, a little below 1.
    Cannot see: differences between examples or in confidence; equal scores by chance look perfect.
    Differs: the regression form is ours
    Raises: ValueError if a gap is not finite
    Example:
        >>> round(tow(0.1, 0.1, 0.1), 3)
        0.729
    """
    gaps = []
    for gap in (forget_gap, retain_gap, test_gap):
        scalar = isinstance(gap, Tensor) and gap.ndim == 0
        gaps.append(check_number("a gap", gap.item() if scalar else gap))
    return math.prod(1 - min(abs(gap), 1) for gap in gaps)
