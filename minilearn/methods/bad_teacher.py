"""Bad teaching: on what is to be forgotten, copy a network that has learnt nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minilearn.cost import Cost
from minilearn.data.checks import check_count, check_number
from minilearn.data.examples import mixed
from minilearn.losses import divergence
from minilearn.methods.contract import (
    Unlearned,
    build,
    checked_config,
    checked_inputs,
    copy_of,
    same_architecture,
    share_of,
)
from minilearn.methods.items import logits_of
from minilearn.models import device_of, mode
from minilearn.training import Training, fit

TEACHERS = 30_000  # is added to the seed: the bad teacher begins otherwise than other networks


@dataclass(frozen=True)
class BadTeacher:
    """How the student copies its two teachers."""

    epochs: int = 1  # as in the authors' experiments
    batch_size: int = 256  # as there
    lr: float = 1e-4  # learning rate (Adam), as there
    fraction: float = 0.3  # of the retained inputs that are read, as there

    def __post_init__(self):
        check_number("fraction", self.fraction, 0, 1, ends="(]")
        self.training()

    def training(self) -> Training:
        """The part of it that `fit` needs."""
        return Training(self.epochs, self.batch_size, self.lr)


def bad_teacher(
    model: nn.Module,
    forget: Tensor,
    retain: Tensor,
    *,
    fresh: Callable[[], nn.Module],
    config: BadTeacher = BadTeacher(),
    seed: int = 0,
    watch=None,
    checkpoint=None,
) -> Unlearned:
    """Copy an untrained network on forgotten inputs and the original on some of the retained ones.

        L = mean over the batch of KL(t(x) || f(x)),   t untrained where x is forgotten,
                                                       t the original where x is retained

    No label is used. What an untrained network says of a forgotten input is close to nothing, which
    is not what a retrained model says of it, unless it was of a class that is gone.

    Paper: Chundawat et al. 2023, bad teaching (T-S in Shen et al. 2024).          Chapter: 8
    Shapes: forget (N_f, ...), retain (N_r, ...) inputs alone, or datasets of them
    Differs: the divergence is summed over classes; the authors' code divides by their number too,
        which Adam does not notice
    Raises: ValueError if a set is empty or comes with labels, or `fresh` makes another
        architecture; whatever `fit` raises
    """
    checked_config(config, BadTeacher)
    checked_inputs("forget", forget, model), checked_inputs("retain", retain, model)
    bad = build(fresh, check_count("seed", seed, 0) + TEACHERS).to(device_of(model))
    same_architecture(model, bad)
    kept = share_of(retain, config.fraction, seed)
    student, good, cost = copy_of(model), copy_of(model), Cost()

    def stream(order: torch.Generator) -> Iterator:
        return mixed(forget, kept, config.batch_size, order=order, device=device_of(model))

    def objective(student, x_f, x_r) -> Tensor:
        for source, x in (("forget", x_f), ("retain", x_r)):
            cost.touch(source, forward=2 * len(x), backward=len(x))
        taught = [_said(t, x) for t, x in ((bad, x_f), (good, x_r)) if len(x)]
        said = logits_of(student, torch.cat([x_f, x_r]))
        return divergence(torch.cat(taught), said).mean()

    about = {"settings": config, "data": (forget, retain), "teachers": (bad, good)}
    options = {"seed": seed, "watch": watch, "checkpoint": checkpoint, "identity": about}
    history = fit(student, stream, config.training(), objective=objective, cost=cost, **options)
    return Unlearned(student, "bad_teacher", config, seed, history, cost)


def _said(teacher: nn.Module, x: Tensor) -> Tensor:
    """A teacher's logits."""
    with mode(teacher, train=False), torch.no_grad():
        return logits_of(teacher, x)
