"""Items that a method reads whole: checked, relabelled, classified."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from minilearn.data.checks import check_integers, check_number
from minilearn.data.examples import Examples, batches
from minilearn.evaluation import in_words, pair
from minilearn.methods.contract import checked
from minilearn.models import device_of


def check_box(box):
    """Refuse, by ValueError, what is not the range (low, high) of inputs, with low below high."""
    ends = box if isinstance(box, tuple) and len(box) == 2 else (0, 0)  # a list cannot be hashed
    if not check_number("an end of the box", ends[0]) < check_number("an end of the box", ends[1]):
        raise ValueError(f"box is (low, high) with low below high, got {box!r}")


def items_of(data, model: nn.Module, attack=None) -> Examples:
    """The items as Examples on the model's device; a dataset is read whole.

    Raises: ValueError if there are none, they have no class labels, are on another device, or, to
        be attacked, are no floating-point numbers or lie outside the attack's box
    """
    checked("forget", data, model)
    if not isinstance(data, Examples):
        parts = [pair(batch) for batch in batches(data, 64, device=device_of(model))]
        data = Examples(*(torch.cat(part) for part in zip(*parts, strict=True)))
    if data.task != "classification":
        raise ValueError(f"items need class labels, got {data.targets.dtype} targets")
    if attack is None:
        return data
    if not data.inputs.is_floating_point():
        raise ValueError(f"an attack needs floating-point inputs, got {data.inputs.dtype}")
    low, high = (float(end) for end in data.inputs.aminmax())
    if low < attack.box[0] or high > attack.box[1]:
        raise ValueError(
            f"the inputs run from {low:g} to {high:g}, outside the box {attack.box}: give the true "
            f"range as {type(attack).__name__}(box=(low, high)), or give pixels in it and let the "
            "model normalise them, as nn.Sequential(models.Normalize(mean, std), model)"
        )
    return data


def relabelled(items: Examples, labels) -> Examples:
    """The items under new labels.

    Raises: ValueError if there are more or fewer of them, or one is the old label
    """
    new = check_integers("new labels", labels).to(items.device)
    if len(new) != len(items):
        raise ValueError(f"{len(items)} items need as many new labels, got {len(new)}")
    same = (new == items.targets).nonzero()
    if len(same):
        raise ValueError(
            f"the new label of item {int(same[0])} is its old one, {int(new[same[0]])}"
        )
    return items.with_targets(new)


def logits_of(model: nn.Module, x: Tensor, classes: int = 0) -> Tensor:
    """The model's logits, (B, C).

    Raises: ValueError if it returns something else, or has fewer than `classes` classes
    """
    with in_words(x):
        logits = model(x)
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise ValueError(f"the model must return one tensor of logits (B, C), got {got}")
    if logits.shape[1] < classes:
        raise ValueError(f"{classes} classes are needed, but the model has {logits.shape[1]}")
    return logits


def recognised(model: nn.Module, items: Examples) -> Tensor:
    """Which items the model gives their label: (N,) bool, on their device.

    Raises: ValueError as `logits_of`
    """
    parts = batches(items, 1024)
    return torch.cat([logits_of(model, x, items.classes).argmax(1) == y for x, y in parts])
