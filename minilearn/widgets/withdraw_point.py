"""Withdraw a point: a small network is trained in the page, retrained, fine-tuned and ascended."""

from __future__ import annotations

import torch
from torch import Tensor

from minilearn.checks import as_numbers, check_count, check_kind
from minilearn.widgets.interactive import Interactive

HIDDEN = 8
TRAINING = {"steps": 2000, "lr": 0.1, "momentum": 0.9}
UNLEARNING = {"steps": 200, "finetune": 0.1, "ascent": 0.005}


def withdraw_point(
    points: Tensor,
    labels: Tensor,
    axes: tuple[str, str],
    classes: tuple[str, str],
    seed: int = 0,
    begin: int = 0,
) -> Interactive:
    """Points of two classes and the boundary between them; a click withdraws a point.

    The page trains a network with one hidden layer on all points, by gradient descent with
    momentum, and again on those that are left. Beside it stand fine-tuning on those that are left,
    and gradient ascent on what was withdrawn, after as many steps as the reader chooses.

    Args:
        axes: names of the two measurements
        classes: names of the labels 0 and 1
        seed: of the first weights, which the original and the retrained network share
        begin: the point that is marked at first, counted from the left
    Shapes: points (n, 2), labels (n,) of 0 and 1
    Raises: ValueError if the shapes do not fit, or a label is neither 0 nor 1
    """
    points, labels = as_numbers("points", points), as_numbers("labels", labels)
    seed, begin = check_count("seed", seed, 0), check_count("begin", begin, 0)
    for names in (axes, classes):
        check_kind("a pair of names", names, tuple)
        for name in names:
            check_kind("a name", name, str)
    if points.ndim != 2 or points.shape[1] != 2 or labels.shape != points.shape[:1]:
        raise ValueError(
            f"needs points (n, 2) and labels (n,), got {tuple(points.shape)} and "
            f"{tuple(labels.shape)}"
        )
    if begin >= len(points):
        raise ValueError(f"begin is the number of a point, below {len(points)}, got {begin!r}")
    if set(labels.tolist()) != {0, 1}:
        raise ValueError(f"labels are 0 and 1, both of them, got {sorted(set(labels.tolist()))}")
    order = points[:, 0].argsort(stable=True)  # a key leads from one to the next on its right
    points, labels = points[order].double(), labels[order]
    draw = torch.Generator().manual_seed(seed)
    first = torch.randn(HIDDEN, 4, generator=draw, dtype=torch.float64)
    first = first * torch.tensor([1.5, 1.5, 1.0, 0.5])  # two weights, a bias, an outgoing weight
    data = {
        "points": ((points - points.mean(0)) / points.std(0, correction=0)).tolist(),
        "labels": labels.tolist(),
        "axes": axes,
        "classes": classes,
        "begin": begin,
        "first": [*first.flatten().tolist(), 0.0],
        "training": TRAINING,
        "unlearning": UNLEARNING,
    }
    alt = (
        f"Points of two classes, {classes[0]} and {classes[1]}, and the boundary that four models "
        "draw between them: original, retrained, fine-tuned and ascended."
    )
    return Interactive("withdraw_point", data, alt)
