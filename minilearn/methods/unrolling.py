"""Unrolling SGD: add back what the forgotten items once took away, to first order."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minilearn.cost import Cost
from minilearn.data.checks import check_count, check_number
from minilearn.data.examples import Examples, batches
from minilearn.evaluation import classes_of, in_words, pair
from minilearn.losses import loss_per_example
from minilearn.methods.contract import (
    Unlearned,
    checked,
    checked_config,
    copy_of,
    same_architecture,
)
from minilearn.models import device_of, mode
from minilearn.training import History, NonFiniteLoss


@dataclass(frozen=True)
class Unrolling:
    """How the model was trained: what the expansion needs to know of plain SGD."""

    epochs: int = 20  # passes over the training data, E
    batch_size: int = 32  # examples a step, b
    lr: float = 1e-3  # learning rate, eta

    def __post_init__(self):
        check_count("epochs", self.epochs, 0), check_count("batch_size", self.batch_size, 1)
        check_number("lr", self.lr, 0, ends="[)")


def unrolling(
    model: nn.Module,
    forget: Examples,
    *,
    start: nn.Module,
    config: Unrolling = Unrolling(),
    seed: int = 0,
) -> Unlearned:
    """Add the forgotten items' gradients at the weights that training began from.

        theta' = theta + (eta E / b) sum over forgotten x of grad l(theta_start; x)

    To first order in eta, a run of SGD moves by the sum of all gradients at its start, so that a
    part of them can be taken back afterwards. Training is far beyond first order, which is the
    method's weakness: it is one gradient. There is nothing to resume or to watch.

    Paper: Thudi et al. 2022, unrolling SGD.          Chapter: 8
    Shapes: forget Examples or a dataset; `start` has the weights before training
    Differs: the formula is derived here, and not checked against the authors' code; the loss that
        they add to training, to make it work better, is not a part of it. It is for plain SGD
    Raises: ValueError if the set is empty, `start` has another architecture or is missing;
        NonFiniteLoss if a gradient is not finite
    Example:
        >>> net, start = nn.Linear(2, 2), nn.Linear(2, 2)
        >>> data = Examples(torch.randn(8, 2), torch.tensor([0, 1] * 4))
        >>> unrolling(net, data, start=start)
        Unlearned(unrolling, seed 0, 24 sample units)
    """
    checked_config(config, Unrolling), checked("forget", forget, model)
    same_architecture(model, start)
    student, begin, cost = copy_of(model), copy_of(start), Cost()
    scale = config.lr * config.epochs / config.batch_size
    with cost.clock(device_of(model)):
        loss, slopes = _summed(begin, forget, cost)
        if not all(bool(slope.isfinite().all()) for slope in slopes):
            raise NonFiniteLoss("a gradient at the start is not finite")
        with torch.no_grad():
            for parameter, slope in zip(student.parameters(), slopes, strict=True):
                if parameter.requires_grad:
                    parameter.add_(slope, alpha=scale)
    history = History(loss=loss.detach().cpu().float()[None])
    return Unlearned(student, "unrolling", config, seed, history, cost)


def _summed(begin: nn.Module, data, cost: Cost) -> tuple[Tensor, list[Tensor]]:
    """The mean loss at the start, and the sum of all gradients there, a parameter each."""
    begin.requires_grad_(True)
    total, classes = 0.0, classes_of(begin, data)
    with mode(begin, train=False):
        for x, y in map(pair, batches(data, 256, device=device_of(begin))):
            cost.touch("forget", forward=len(x), backward=len(x))
            with in_words(x, y):
                loss = loss_per_example(begin(x), y, classes).sum()
            loss.backward()
            total = total + loss.detach()
    slopes = [torch.zeros_like(p) if p.grad is None else p.grad for p in begin.parameters()]
    return total / len(data), slopes
