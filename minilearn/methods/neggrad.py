"""Gradient ascent on what is to be forgotten, alone or with descent on what is retained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, repeat

import torch
from torch import Tensor, nn

from minilearn.cost import Cost
from minilearn.data.checks import check_number
from minilearn.data.examples import Examples, batches
from minilearn.evaluation import classes_of
from minilearn.losses import loss_per_example
from minilearn.methods.contract import Unlearned, checked, checked_config, copy_of
from minilearn.models import device_of
from minilearn.training import Training, fit


@dataclass(frozen=True)
class NegGrad:
    """How to climb. There is no rule that says when to stop: that is the method's weakness."""

    epochs: int = 5  # passes over the forget set
    batch_size: int = 64  # forget examples per step, and as many retained ones
    lr: float = 1e-4  # learning rate (Adam)
    alpha: float = 0.95  # weight of the retained loss, 1 - alpha of the other; only with retain

    def __post_init__(self):
        check_number("alpha", self.alpha, 0, 1, ends="[]")
        self.training()  # refuses what makes no sense

    def training(self) -> Training:
        """The part of it that `fit` needs."""
        return Training(self.epochs, self.batch_size, self.lr)


def neggrad(
    model: nn.Module,
    forget: Examples,
    retain: Examples | None = None,
    *,
    config: NegGrad = NegGrad(),
    seed: int = 0,
    watch=None,
    checkpoint=None,
) -> Unlearned:
    """Climb the loss of the forget set; with `retain`, descend the retained loss at the same time.

        without retain:  minimise  -L(forget)
        with retain:     minimise  alpha L(retain) - (1 - alpha) L(forget)

    The loss has no upper bound, so the ascent never converges: its number of epochs stops it.

    Paper: Golatkar et al. 2020 ("negative gradient"); with retained data the
        NegGrad+ of Kurmanji et al. 2023.          Chapter: 1
    Shapes: forget, retain Examples or map-style datasets
    Differs: from NegGrad+'s authors: one epoch is one pass over the forget set, each batch beside
        one of retained data, where theirs passes over the retained set
    Raises: ValueError if a set is empty; NonFiniteLoss if the ascent overflows; whatever `fit`
        raises
    Example:
        >>> data = Examples(torch.randn(8, 2), torch.tensor([0, 1] * 4))
        >>> neggrad(nn.Linear(2, 2), data[:4], data[4:], config=NegGrad(epochs=1)).cost.by_source()
        {'forget': 12, 'retain': 12}
    """
    checked_config(config, NegGrad)
    sets = {"forget": forget} if retain is None else {"forget": forget, "retain": retain}
    classes = max(classes_of(model, checked(name, data, model)) for name, data in sets.items())
    model, cost = copy_of(model), Cost()

    def read(data, order: torch.Generator) -> Iterator:
        return batches(data, config.batch_size, order=order, device=device_of(model))

    def pairs(order: torch.Generator) -> Iterator:
        if retain is None:
            return ((x, y, None, None) for x, y in read(forget, order))
        # as many passes over the retained data as the forget set needs
        kept = chain.from_iterable(read(retain, order) for _ in repeat(None))
        return (f + k for f, k in zip(read(forget, order), kept, strict=False))

    def objective(model, x, y, x_r, y_r) -> Tensor:
        cost.touch("forget", forward=len(x), backward=len(x))
        ascent = -loss_per_example(model(x), y, classes).mean()
        if x_r is None:
            return ascent
        cost.touch("retain", forward=len(x_r), backward=len(x_r))
        descent = loss_per_example(model(x_r), y_r, classes).mean()
        return config.alpha * descent + (1 - config.alpha) * ascent

    about = {"settings": config, "data": (forget, retain)}
    options = {"seed": seed, "watch": watch, "checkpoint": checkpoint, "identity": about}
    history = fit(model, pairs, config.training(), objective=objective, cost=cost, **options)
    return Unlearned(model, "neggrad", config, seed, history, cost)
