"""Where a layer looks, and how differently two networks look at the same examples."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from minilearn.cost import Cost
from minilearn.kernels.attention_tap import attention_rows, unit_map
from minilearn.models import activations, evaluation_copy
from minilearn.warn import warn


def attention_map(activation: Tensor, axis: int | None = 1) -> Tensor:
    """Where a layer looks: its squared activation averaged over `axis`, a unit vector per example.

        A(a) = v / ||v||,   v = mean over `axis` of a^2, flattened

    The vector is shorter where the activations are below about 1e-6, and 0 where they are 0.
    With axis=1 the channels of a map (B, C, H, W) are averaged and positions are left; of a
    sequence (B, T, D) it averages time and leaves the features, axis=-1 the other way round. With
    axis=None nothing is averaged, which is the way for activations (B, D).

    Paper: Zagoruyko and Komodakis 2017; Tarun et al. 2023.          Chapter: 3
    Shapes: activation (B, ...), three axes or more unless axis is None; returns (B, P)
    Differs: from Tarun et al.'s code, which takes axis 1 of (B, D) too (unlearn.py:48-62): one
        number is left, its norm is 1, and the term vanishes with its gradient; here that is refused
    Raises: ValueError if nothing would be left to compare, or there is no such axis
    Example:
        >>> import torch
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
    _check_map(student, axis)
    _check_map(teacher, axis)
    if student.shape != teacher.shape:
        raise ValueError(
            f"the two networks' activations must have one shape, got {tuple(student.shape)} and "
            f"{tuple(teacher.shape)}"
        )
    return attention_rows(_averaged_first(student, axis), _averaged_first(teacher, axis))


def attention_gap(
    student: dict, teacher: dict, layers, n: int, axis: int | None = 1, skip: bool = False
) -> Tensor | float:
    """`attention_transfer` added up over layers, from what `models.activations` recorded.

    Of a layer that gives a tuple, as a recurrent one does, the first tensor counts. The teacher has
    seen n examples, the student perhaps more, these n first.

    Args:
        student, teacher: activations by layer
        layers: names of the layers that count
        axis: as in `attention_map`
        skip: whether a layer without a map (that did not run, has no row per example, or a single
            number in it) is passed over; a warning says so if that is every layer
    Shapes: returns (n,), or 0.0 if no layer has a map
    Raises: ValueError if a layer has no map and is not to be passed over; as `attention_transfer`
    """
    total = 0.0
    for layer in layers:
        a, b = _first(student.get(layer)), _first(teacher.get(layer))
        tensors = isinstance(a, Tensor) and isinstance(b, Tensor)
        if not (tensors and b.shape[:1] == (n,) and a[:n].shape == b.shape):
            if skip:
                continue
            raise ValueError(f"layer {layer!r} did not run, or gives no row per example")
        if skip and _positions(b, axis) < 2:
            continue
        _check_map(b, axis)
        looks, goal = _averaged_first(a[:n], axis), _averaged_first(b, axis)
        total = total + attention_rows(looks, goal)
    if skip and not isinstance(total, Tensor):
        warn(
            "no layer of this network has an attention map, so that Blindspot goes without its "
            "attention term: with axis=None it compares activations (B, D), with beta=0 it leaves "
            "the term out and this is not said"
        )
    return total


def check_maps(model: nn.Module, x: Tensor, layers, axis: int | None, cost: Cost):
    """Refuse layers that give no attention map of the inputs x; ValueError as `attention_gap`."""
    cost.touch("forget", forward=len(x))
    with evaluation_copy(model) as twin, torch.no_grad(), activations(twin, layers) as maps:
        twin(x)
    attention_gap(maps, maps, layers, len(x), axis)


def check_axis(name: str, axis):
    """The axis that an attention map averages, or None; ValueError if it is something else."""
    whole = isinstance(axis, int) and not isinstance(axis, bool)
    if axis is not None and (not whole or axis == 0):
        raise ValueError(f"{name} must be a whole number but 0, or None, got {axis!r:.80}")


def _check_map(activation, axis: int | None):
    check_axis("axis", axis)
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
    if not isinstance(axis, int) or abs(axis) not in range(1, len(shape)) or not shape[axis]:
        return 0
    return shape[1:].numel() // shape[axis]
