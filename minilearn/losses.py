"""The losses: those with one value per example, and those of a batch, which are scalars."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from minilearn.checks import check_choice, check_number

# two losses that live beside their kernels
from minilearn.kernels.laf_losses import FORMS, check_flat, phi
from minilearn.kernels.laf_losses import alignment_loss as alignment_loss
from minilearn.kernels.laf_losses import cosine_distance as cosine_distance
from minilearn.kernels.mixed_l1 import KERNEL as MIXED_L1


@dataclass(frozen=True)
class Quantile:
    """The quantile (pinball) loss of a forecast at several levels, averaged over levels and hours.

        rho_q(y, f) = max(q (y - f), (q - 1) (y - f))

    It is smallest, on average, where a share q of all targets lies below f.

    Paper: Koenker and Bassett 1978; the forecaster of Tarun et al. 2023 is trained by it.
    Differs: from the usual forecasting libraries, which add the levels up; here they are averaged
    Raises: ValueError if the levels do not ascend inside (0, 1)
    Example:
        >>> loss_per_example(torch.zeros(2, 1), torch.tensor([1., -1.]), loss=Quantile((0.9,)))
        tensor([0.9000, 0.1000])
    """

    levels: tuple[float, ...] = (0.1, 0.5, 0.9)

    def __post_init__(self):
        levels = self.levels
        fine = isinstance(levels, tuple) and all(isinstance(q, float) and 0 < q < 1 for q in levels)
        if not fine or not levels or list(levels) != sorted(set(levels)):
            raise ValueError(
                f"levels must be a tuple of numbers that ascend inside (0, 1), got {levels!r:.80}"
            )


LOSSES = ("auto", "absolute", "squared")
Loss = str | Quantile


def check_loss(loss: Loss) -> Loss:
    """A name in `LOSSES` or a `Quantile`; ValueError if it is something else."""
    if not isinstance(loss, Quantile) and not (isinstance(loss, str) and loss in LOSSES):
        names = ", ".join(map(repr, LOSSES))
        raise ValueError(f"loss is one of {names} or Quantile(levels), got {loss!r:.80}")
    return loss


def loss_per_example(
    outputs: Tensor, targets: Tensor, classes: int | None = None, loss: Loss = "auto"
) -> Tensor:
    """One loss per example; by default cross-entropy for labels, absolute error for numbers.

    Where an example has several targets, its loss is the mean over them.

    Args:
        outputs, targets: what the model answers and what is right
        classes: their number, None if unknown: on a GPU, finding it from a batch would wait
        loss: "auto", or for numbers "absolute", "squared" or a `Quantile`
    Shapes: outputs (B, C) and targets (B,) int64; or both (B, ...) float; or, for `Quantile` with Q
        levels, outputs (B, ..., Q) and targets (B, ...) float; returns (B,), in nats, the targets'
        unit, or for "squared" its square
    Raises: ValueError if the shapes do not fit, a label is out of range, or the loss is not one
    """
    check_loss(loss)
    if not isinstance(outputs, Tensor):
        raise ValueError(f"the model must return one tensor, got {type(outputs).__name__}")
    if not isinstance(targets, Tensor):
        raise ValueError(f"targets must be a tensor, got {type(targets).__name__}")
    if targets.is_floating_point():
        each = _errors(outputs, targets, loss)
        return each.flatten(1).mean(1) if each.ndim > 1 else each
    if loss != "auto":
        raise ValueError(f"{loss!r:.80} is for floating-point targets, but these are class labels")
    return _cross_entropy(outputs, targets, classes)


def mean_loss(
    outputs: Tensor, targets: Tensor, classes: int | None = None, loss: Loss = "auto"
) -> Tensor:
    """The mean of `loss_per_example`. On a GPU absolute errors of single numbers are `mixed_l1`.

    Shapes: as `loss_per_example`; returns a scalar
    Raises: ValueError as `loss_per_example`
    """
    if _single_numbers(outputs, targets, loss):
        return MIXED_L1(outputs.to(targets.dtype), targets, None)
    return loss_per_example(outputs, targets, classes, loss).mean()


def copying_loss(
    outputs: Tensor, answer: Tensor, targets: Tensor, extra: Tensor | float, loss: Loss = "auto"
) -> Tensor:
    """What Blindspot descends: the student's distance from its teacher and from the targets.

        mean over the batch of   |f(x) - b(x)| + extra   in the first n rows, the forgotten ones,
                                 |f(x) - y|              in the others

    Of a `Quantile` the answer is copied level by level.

    Args:
        outputs: the student's f(x), of the forgotten examples first
        answer: the teacher's b(x) for the forgotten ones
        targets: of the others
        extra: a loss that is added for each forgotten one
        loss: as in `loss_per_example`
    Paper: Tarun et al. 2023.          Chapter: 3
    Shapes: outputs (B, ...), answer (n, ...), targets (B - n, ...); extra (n,) or a number; returns
        a scalar
    Raises: ValueError as `loss_per_example`
    """
    n = len(answer)
    extra = targets.new_zeros(n) + extra
    if len(targets) and _single_numbers(outputs[n:], targets, loss):
        out = torch.cat([outputs[n:], outputs[:n]]).to(targets.dtype)
        goal = torch.cat([targets, answer.to(targets.dtype)])
        return MIXED_L1(out, goal, torch.cat([targets.new_zeros(len(targets)), extra]))
    from_targets = loss_per_example(outputs[n:], targets, loss=loss)
    copying = "squared" if loss == "squared" else "auto"
    copied = outputs[:n].to(targets.dtype), answer.to(targets.dtype)
    from_answer = loss_per_example(*copied, loss=copying)
    return torch.cat([from_targets, from_answer + extra]).mean()


def extraction_loss(error_retain: Tensor, error_forget: Tensor, form: str = "saturated") -> Tensor:
    """Features of retained inputs stay rebuildable, those of forgotten ones cease to be.

        L_UE = sum over B_r of phi(m) - sum over B_f of phi(m)
        phi(m) = exp(m / (m + 1)), "saturated", which lies in [1, e);  or phi(m) = m, "squared"

    Paper: Shen et al. 2024, L_UE.          Chapter: 8
    Shapes: error_retain (B_r,), error_forget (B_f,): squared reconstruction errors, from 0 on;
        returns a scalar
    Differs: none known from the authors' code with "saturated" (VUnlearning.py:35-42, 96)
    Raises: ValueError if there is no such form, or an argument is not a tensor (B,)
    Example:
        >>> extraction_loss(torch.zeros(3), torch.zeros(2))
        tensor(1.)
    """
    check_choice("form", form, FORMS)
    check_flat(error_retain, error_forget)
    saturated = form == "saturated"
    return phi(error_retain, saturated).sum() - phi(error_forget, saturated).sum()


def divergence(teacher: Tensor, student: Tensor, temperature: float = 1.0) -> Tensor:
    """T^2 KL(p || q), p and q the teacher's and the student's probabilities at temperature T.

    Shapes: teacher, student (B, C) logits; returns (B,), nats, summed over classes
    Paper: Hinton et al. 2015, distillation; so scaled, its gradient keeps its size at every T
    Raises: ValueError if the shapes are not (B, C) and alike, or T is not above 0
    Example:
        >>> divergence(torch.zeros(1, 2), torch.tensor([[0.0, 1.0]])).round(decimals=4)
        tensor([0.1201])
    """
    if teacher.ndim != 2 or teacher.shape != student.shape:
        shapes = f"{tuple(teacher.shape)} and {tuple(student.shape)}"
        raise ValueError(f"the logits of teacher and student are (B, C) and alike, got {shapes}")
    check_number("temperature", temperature, 0)
    log_p = (teacher / temperature).log_softmax(1)
    log_q = (student / temperature).log_softmax(1)
    return temperature**2 * F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)


def _single_numbers(outputs, targets, loss: Loss) -> bool:
    """Whether the loss is the absolute error of one number per example."""
    if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
        return False
    absolute = isinstance(loss, str) and loss in ("auto", "absolute")
    alike = outputs.shape == targets.shape and targets.ndim == 1 and len(targets) > 0
    return absolute and alike and targets.is_floating_point()


def _errors(outputs: Tensor, targets: Tensor, loss: Loss) -> Tensor:
    """What is averaged, one number or more per example."""
    if isinstance(loss, Quantile):
        if outputs.shape != (*targets.shape, len(loss.levels)):
            raise ValueError(
                f"the model gives {_shapes(outputs, targets)}: for {len(loss.levels)} quantile "
                "levels the output needs one axis more, the last, of that size"
            )
        below = (targets[..., None] - outputs).unbind(-1)
        pairs = zip(loss.levels, below, strict=True)
        return torch.stack([torch.maximum(q * b, (q - 1) * b) for q, b in pairs], -1)
    if outputs.shape != targets.shape:
        raise ValueError(
            f"the model gives {_shapes(outputs, targets)}: for regression they must agree "
            "(one output is squeezed to (B,)); class labels must be integers"
        )
    error = outputs - targets
    return error.square() if loss == "squared" else error.abs()


def _cross_entropy(outputs: Tensor, targets: Tensor, classes: int | None) -> Tensor:
    shapes = _shapes(outputs, targets)
    if not outputs.is_floating_point():
        raise ValueError(f"logits must be floating-point numbers, got {outputs.dtype}")
    if outputs.ndim != 2 or targets.shape != outputs.shape[:1]:
        raise ValueError(
            f"the model gives {shapes}: classes need logits (B, C) and labels (B,); "
            "numbers to predict are given as .float()"
        )
    if outputs.shape[1] == 1:
        raise ValueError(f"the model gives {shapes}: one logit is no choice, give two classes two")
    classes = _needed(targets, classes or 0)
    if outputs.shape[1] < classes:
        raise ValueError(
            f"the model gives {shapes} but the labels go up to {classes - 1}: "
            f"it needs logits (B, C) with C >= {classes}; numbers to predict are given as .float()"
        )
    return F.cross_entropy(outputs, targets.long(), reduction="none")


def _needed(targets: Tensor, classes: int) -> int:
    """How many classes the labels need, as far as that can be known without a wait."""
    if classes or targets.device.type != "cpu" or not len(targets):
        return classes  # whoever knows the number of classes has looked at the labels
    if targets.min() < 0:
        raise ValueError(f"class labels start at 0, got {int(targets.min())}")
    return int(targets.max()) + 1


def _shapes(outputs: Tensor, targets: Tensor) -> str:
    return f"outputs of shape {tuple(outputs.shape)} for targets of shape {tuple(targets.shape)}"
