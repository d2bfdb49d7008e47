"""Boundary shrink: give what is to be forgotten to the classes next door."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minilearn.cost import Cost
from minilearn.data.checks import check_number
from minilearn.data.examples import Examples, batches
from minilearn.methods.contract import Unlearned, checked_config, copy_of
from minilearn.methods.items import check_box, items_of, logits_of
from minilearn.models import device_of, mode
from minilearn.training import Training, fit


@dataclass(frozen=True)
class Boundary:
    """How a neighbouring class is found, and how long the model is trained on it."""

    epochs: int = 10  # passes over the forget set
    batch_size: int = 64  # items a step
    lr: float = 1e-4  # learning rate (Adam)
    step: float = 0.1  # of each pixel towards the neighbour, as in the paper
    box: tuple[float, float] | None = (0.0, 1.0)  # that pixels stay in; None: anywhere

    def __post_init__(self):
        check_number("step", self.step, 0)
        if self.box is not None:
            check_box(self.box)
        self.training()

    def training(self) -> Training:
        """The part of it that `fit` needs."""
        return Training(self.epochs, self.batch_size, self.lr)


def boundary(
    model: nn.Module,
    forget: Examples,
    *,
    config: Boundary = Boundary(),
    seed: int = 0,
    watch=None,
    checkpoint=None,
) -> Unlearned:
    """Train the forgotten items towards the class on the other side of their nearest boundary.

        x' = clip(x + step sign(grad_x CE(f_o(x), y))),  y' = argmax f_o(x'),  minimise CE(f(x), y')

    f_o is the original. Where x' is still called y, y' is the second most probable class there.
    Nothing retained is seen.

    Paper: Chen et al. 2023, boundary shrink.          Chapter: 8
    Shapes: forget Examples with class labels, or a dataset of such
    Differs: epochs, rate and optimiser are this package's own
    Raises: ValueError if the set is empty or without class labels, inputs are no floating-point
        numbers or lie outside the box; whatever `fit` raises
    """
    checked_config(config, Boundary)
    attack = config if config.box else None  # `items_of` looks at its box
    items, student, ready, cost = items_of(forget, model, attack), copy_of(model), Cost(), Cost()
    if not items.inputs.is_floating_point():
        raise ValueError(f"a step over inputs needs numbers, got {items.inputs.dtype}")
    with ready.clock(device_of(model)):
        goal = items.with_targets(neighbours(model, items, config, ready))

    def objective(student, x, y) -> Tensor:
        cost.touch("forget", forward=len(x), backward=len(x))
        return F.cross_entropy(logits_of(student, x), y)

    def stream(order: torch.Generator) -> Iterator:
        return batches(goal, config.batch_size, order=order)

    about = {"settings": config, "data": items, "labels": goal.targets}
    options = {"seed": seed, "watch": watch, "checkpoint": checkpoint, "identity": about}
    history = fit(student, stream, config.training(), objective=objective, cost=cost, **options)
    return Unlearned(student, "boundary", config, seed, history, ready + cost)


def neighbours(model: nn.Module, items: Examples, config: Boundary, cost: Cost) -> Tensor:
    """For every item a class that it is not of, on the other side of a boundary: (N,) int64.

    Raises: ValueError if the model has one class only
    """
    found = []
    with mode(model, train=False):
        for x, y in batches(items, 256):
            cost.touch("forget", forward=2 * len(x), backward=len(x))
            x = x.detach().requires_grad_(True)
            logits = logits_of(model, x, max(items.classes, 2))
            (slope,) = torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), x)
            beyond = x.detach() + config.step * slope.sign()
            beyond = beyond.clamp(*config.box) if config.box else beyond
            with torch.no_grad():
                first, second = logits_of(model, beyond).topk(2, dim=1).indices.T
            found.append(torch.where(first == y, second, first))
    return torch.cat(found)
