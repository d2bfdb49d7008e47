"""The losses, one value per example."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from minilearn.kernels.attention_tap import attention_rows, unit_map

# two losses that live beside their kernels
from minilearn.kernels.laf_losses import FORMS, check_flat
from minilearn.kernels.laf_losses import alignment_loss as alignment_loss
from minilearn.kernels.laf_losses import cosine_distance as cosine_distance


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
                f"levels must be a tuple of numbers that ascend inside (0, 1), got {levels!r}"
            )


LOSSES = ("auto", "absolute", "squared")
ERRORS = FORMS  # of `extraction_loss`
Loss = str | Quantile


def check_loss(loss: Loss) -> Loss:
    """`loss` itself, if it is one: a name in `LOSSES` or a `Quantile`; else ValueError."""
    if not isinstance(loss, Quantile) and not (isinstance(loss, str) and loss in LOSSES):
        names = ", ".join(map(repr, LOSSES))
        raise ValueError(f"loss is one of {names} or Quantile(levels), got {loss!r}")
    return loss


def loss_per_example(
    outputs: Tensor, targets: Tensor, classes: int = 0, loss: Loss = "auto"
) -> Tensor:
    """One loss per example; by default cross-entropy for labels, absolute error for numbers.

    `classes` is the number of classes if known: on a GPU, finding it from a batch would wait.
    Where an example has several targets, its loss is the mean over them.

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
        raise ValueError(f"{loss!r} is for floating-point targets, but these are class labels")
    return _cross_entropy(outputs, targets, classes)


def attention_map(activation: Tensor, axis: int | None = 1) -> Tensor:
    """Where a layer looks: its squared activation averaged over `axis`, a unit vector per example.

        A(a) = v / ||v||,   v = mean over `axis` of a^2, flattened

    With axis=1 the channels of a map (B, C, H, W) are averaged and positions are left; of a
    sequence (B, T, D) it averages time and leaves the features, axis=-1 the other way round. With
    axis=None nothing is averaged, which is the way for activations (B, D).

    Paper: Zagoruyko and Komodakis 2017; Tarun et al. 2023.          Chapter: 3
    Shapes: activation (B, ...), three axes or more unless axis is None; returns (B, P)
    Differs: from Tarun et al.'s code, which takes axis 1 of (B, D) too (unlearn.py:48-62): one
        number is left, its norm is 1, and the term vanishes with its gradient; here that is refused
    Raises: ValueError if nothing would be left to compare, or there is no such axis
    Example:
        >>> attention_map(torch.tensor([[[3.0, 0.0], [3.0, 4.0]]])).norm(dim=1)
        tensor([1.])
    """
    _check_map(activation, axis)
    return unit_map(_averaged_first(activation, axis))


def attention_transfer(student: Tensor, teacher: Tensor, axis: int | None = 1) -> Tensor:
    """How differently two networks look at an example: the mean squared gap of two attention maps.

    It is bounded: unit vectors of P numbers from 0 on are at most 2 / P apart.

    Paper: Zagoruyko and Komodakis 2017; Tarun et al. 2023.          Chapter: 3
    Shapes: student, teacher (B, ...) activations of one layer; returns (B,)
    Differs: none known from Tarun et al.'s code, which then averages over examples
    Raises: ValueError if the shapes differ, or as `attention_map`
    """
    if student.shape != teacher.shape:
        raise ValueError(
            f"the two networks' activations must have one shape, got {tuple(student.shape)} and "
            f"{tuple(teacher.shape)}"
        )
    _check_map(student, axis)
    return attention_rows(*(_averaged_first(a, axis) for a in (student, teacher)))


def attention_gap(
    student: dict, teacher: dict, layers, n: int, axis: int | None = 1, skip: bool = False
) -> Tensor | float:
    """`attention_transfer` added up over layers, from what `models.activations` recorded.

    Of a layer that gives a tuple, as a recurrent one does, the first tensor counts. The teacher has
    seen n examples, the student perhaps more, these n first. With `skip` a layer without a map
    (that did not run, has no row per example, or a single number in it) is passed over.

    Shapes: returns (n,), or 0.0 if no layer has a map
    Raises: ValueError if a layer has no map and is not to be passed over; as `attention_transfer`
    """
    total = 0.0
    for layer in layers:
        a, b = (_first(taps.get(layer)) for taps in (student, teacher))
        both = isinstance(a, Tensor) and isinstance(b, Tensor)
        if not (both and b.shape[:1] == (n,) and a[:n].shape == b.shape):
            if skip:
                continue
            raise ValueError(f"layer {layer!r} did not run, or gives no row per example")
        if not skip or _positions(b, axis) > 1:
            total = total + attention_transfer(a[:n], b, axis)
    return total


def extraction_loss(error_retain: Tensor, error_forget: Tensor, form: str = "saturated") -> Tensor:
    """Features of retained inputs stay rebuildable, those of forgotten ones cease to be.

        L_UE = sum over B_r of phi(m) - sum over B_f of phi(m)
        phi(m) = exp(m / (m + 1)), "saturated", which lies in [1, e);  or phi(m) = m, "squared"

    Paper: Shen et al. 2024, L_UE.          Chapter: 7
    Shapes: error_retain (B_r,), error_forget (B_f,): squared reconstruction errors, from 0 on;
        returns a scalar
    Differs: none known from the authors' code with "saturated" (VUnlearning.py:35-42, 96)
    Raises: ValueError if there is no such form, or an argument is no tensor (B,)
    Example:
        >>> extraction_loss(torch.zeros(3), torch.zeros(2))
        tensor(1.)
    """
    if form not in ERRORS:
        raise ValueError(f"form is one of {ERRORS}, got {form!r}")
    check_flat(error_retain, error_forget)
    phi_retain, phi_forget = error_retain, error_forget
    if form == "saturated":  # right at infinity too, where m / (m + 1) is NaN
        phi_retain = (1 - 1 / (1 + error_retain)).exp()
        phi_forget = (1 - 1 / (1 + error_forget)).exp()
    return phi_retain.sum() - phi_forget.sum()


def divergence(teacher: Tensor, student: Tensor, temperature: float = 1.0) -> Tensor:
    """T^2 KL(p || q), p and q the teacher's and the student's probabilities at temperature T.

    Shapes: teacher, student (B, C) logits; returns (B,), nats, summed over classes
    Example:
        >>> divergence(torch.zeros(1, 2), torch.tensor([[0.0, 1.0]])).round(decimals=4)
        tensor([0.1201])
    """
    p, q = ((logits / temperature).log_softmax(1) for logits in (teacher, student))
    return temperature**2 * F.kl_div(q, p, reduction="none", log_target=True).sum(1)


def _check_map(activation, axis: int | None):
    if not isinstance(activation, Tensor):
        raise ValueError(f"an activation must be a tensor, got {type(activation).__name__}")
    if _positions(activation, axis) < 2:
        raise ValueError(
            f"an activation of shape {tuple(activation.shape)} averaged over axis {axis} leaves "
            "nothing to compare per example: take axis=None, or another layer"
        )


def _averaged_first(activation: Tensor, axis: int | None) -> Tensor:
    """The activation with the axis that is averaged right after the examples."""
    return activation.unsqueeze(1) if axis is None else activation.movedim(axis, 1)


def _first(tap):
    return tap[0] if isinstance(tap, tuple) else tap


def _positions(activation: Tensor, axis: int | None) -> int:
    """How many numbers an example's map has; none without such an axis, or of whole numbers."""
    shape = activation.shape
    if not activation.is_floating_point():
        return 0
    if axis is None:
        return shape[1:].numel()
    there = isinstance(axis, int) and abs(axis) in range(1, len(shape)) and shape[axis]
    return shape[1:].numel() // shape[axis] if there else 0


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


def _cross_entropy(outputs: Tensor, targets: Tensor, classes: int) -> Tensor:
    shapes = _shapes(outputs, targets)
    if outputs.ndim != 2 or targets.shape != outputs.shape[:1]:
        raise ValueError(f"the model gives {shapes}: classes need logits (B, C) and labels (B,)")
    classes = _needed(targets, classes)
    if outputs.shape[1] < classes:
        raise ValueError(
            f"the model gives {shapes} but the labels go up to {classes - 1}: "
            f"it needs logits (B, C) with C >= {classes}"
        )
    return F.cross_entropy(outputs, targets, reduction="none")


def _needed(targets: Tensor, classes: int) -> int:
    """How many classes the labels need, as far as that can be known without a wait."""
    if targets.device.type != "cpu" or not len(targets):
        return classes
    low, high = (int(end) for end in targets.aminmax())
    if low < 0:
        raise ValueError(f"class labels start at 0, got {low}")
    return max(classes, high + 1)


def _shapes(outputs: Tensor, targets: Tensor) -> str:
    return f"outputs of shape {tuple(outputs.shape)} for targets of shape {tuple(targets.shape)}"
