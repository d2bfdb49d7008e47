"""Boundary shrink: train each forgotten item to its nearest other class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minilearn.checks import POSITIVE, check_box, check_settings, device_of, optional
from minilearn.cost import Cost
from minilearn.data import Examples, batches, items_of
from minilearn.evaluation import logits_of
from minilearn.models import copy_of, mode
from minilearn.parts.attack import check_inside
from minilearn.run import File, Run, Watch
from minilearn.stack import networks_in, rows
from minilearn.unlearn import Unlearned, method


@dataclass(frozen=True)
class Boundary:
    """How a neighbouring class is found, and how long the model is trained on it.

    Args:
        epochs: passes over the forget set
        batch_size: items a step
        lr: learning rate (Adam)
        step: of each pixel towards the neighbour, in units of the inputs, as in the paper
        box: (low, high), that pixels stay in; None: anywhere
    """

    epochs: int = 10
    batch_size: int = 64
    lr: float = 1e-4
    step: float = 0.1
    box: tuple[float, float] | None = (0.0, 1.0)

    def __post_init__(self):
        check_settings(self, step=POSITIVE, box=optional(check_box))


@method
def boundary(
    model: nn.Module,
    forget: Examples,
    *,
    config: Boundary = Boundary(),
    seed: int = 0,
    watch: Watch | None = None,
    checkpoint: File | None = None,
) -> Unlearned:
    """Train the forgotten items towards the class on the other side of their nearest boundary.

        x' = clip(x + step sign(grad_x CE(f_o(x), y))),  y' = argmax f_o(x'),  minimise CE(f(x), y')

    f_o is the original. Where x' is still called y, y' is the second most probable class there.
    Nothing retained is seen.

    Args: forget: Examples with class labels, or a dataset of such. seed, watch, checkpoint: as in
        `Run`
    Paper: Chen et al. 2023, boundary shrink.          Chapter: 9
    Differs: from the authors' code (boundary_unlearning.py), which takes SGD at 1e-5 with momentum
        0.9, rounds x' to multiples of 1/255, and trains y itself where x' is still called y
    Raises: ValueError if the items have no class labels, inputs are not floating-point numbers or
        lie outside the box; NonFiniteLoss
    """
    items = items_of(forget, device_of(model))
    check_inside(items.inputs, config)
    student, cost = copy_of(model), Cost()
    with cost.clock(device_of(model)):
        goal = items.with_targets(neighbours(model, items, config, cost))

    def loss(x, y):
        return F.cross_entropy(logits_of(student, x), y)

    with Run(student, config, seed, watch, checkpoint, cost=cost, data=goal) as run:
        run.adam(config.lr)
        for _ in run.epochs(config.epochs):
            for x, y in run.batches(goal, config.batch_size):
                run.step(loss, x, y)
                run.cost.trained(forget=len(x))
    return run.unlearned("boundary")


def neighbours(model: nn.Module, items: Examples, config: Boundary, cost: Cost) -> Tensor:
    """For every item a class that it is not of, on the other side of a boundary: (N,) int64.

    Raises: ValueError if the model has one class only
    """
    labels = []
    with mode(model, train=False):
        for x, y in batches(items, 256):
            cost.touch("forget", forward=2 * len(x), backward=len(x))
            x, y = rows(networks_in(model), x, y)
            x = x.detach().requires_grad_(True)
            logits = logits_of(model, x.clone(), max(items.classes, 2))  # it may write into x
            (gradient,) = torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), x)
            x_moved = x.detach() + config.step * gradient.sign()
            if config.box is not None:
                x_moved = x_moved.clamp(*config.box)
            with torch.no_grad():
                first, second = logits_of(model, x_moved).topk(2, dim=1).indices.T
            labels.append(torch.where(first == y, second, first))
    return torch.cat(labels).view_as(items.targets)
