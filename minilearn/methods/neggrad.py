"""Gradient ascent on what is to be forgotten, alone or with descent on what is retained."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from torch import nn

from minilearn.checks import between, check_settings
from minilearn.data import Examples, pair, paired_batches
from minilearn.evaluation import number_of_classes
from minilearn.losses import Loss, check_loss, mean_loss
from minilearn.models import copy_of
from minilearn.parts import recipes
from minilearn.run import File, Run, Watch
from minilearn.unlearn import Unlearned, method


@dataclass(frozen=True)
class NegGrad:
    """How to climb. There is no rule that says when to stop: that is the method's weakness.

    Args:
        epochs: passes over the forget set
        batch_size: forget examples per step, and as many retained ones
        lr: learning rate (Adam)
        alpha: weight of the retained loss, 1 - alpha of the other; only with retain
        loss: "auto", cross-entropy or the absolute error; or "squared", or Quantile(levels)
    """

    epochs: int = 5
    batch_size: int = 64
    lr: float = 1e-4
    alpha: float = 0.95
    loss: Loss = "auto"

    def __post_init__(self):
        check_settings(self, alpha=between(0, 1, "[]"))
        check_loss(self.loss)

    @classmethod
    def paper(cls, dataset: str, source: str = "paper") -> NegGrad:
        """Tarun et al.'s ascent, without retained data; source="file": there is none, refused."""
        return cls(**recipes.published(recipes.NEGGRAD, dataset, source=source))


@method
def neggrad(
    model: nn.Module,
    forget: Examples,
    retain: Examples | None = None,
    *,
    config: NegGrad = NegGrad(),
    seed: int = 0,
    watch: Watch | None = None,
    checkpoint: File | None = None,
) -> Unlearned:
    """Climb the loss of the forget set; with `retain`, descend the retained loss at the same time.

        without retain:  minimise  -L(forget)
        with retain:     minimise  alpha L(retain) - (1 - alpha) L(forget)

    The loss has no upper bound, so the ascent never converges: its number of epochs stops it.

    Args: forget, retain: Examples or map-style datasets. seed, watch, checkpoint: as in `Run`
    Paper: Golatkar et al. 2020 ("negative gradient"); with retained data the
        NegGrad+ of Kurmanji et al. 2023.          Chapter: 1
    Differs: from NegGrad+'s authors: one epoch is one pass over the forget set, each batch beside
        one of retained data, where theirs passes over the retained set
    Raises: ValueError if a set has no targets; NonFiniteLoss if the ascent overflows
    Example:
        >>> import torch
        >>> data = Examples(torch.randn(8, 2), torch.tensor([0, 1] * 4))
        >>> neggrad(nn.Linear(2, 2), data[:4], data[4:], config=NegGrad(epochs=1)).cost.by_source()
        {'forget': 12, 'retain': 12}
    """
    student = copy_of(model)
    sets = [forget] if retain is None else [forget, retain]
    classes = max(number_of_classes(model, data) for data in sets)

    def ascent(x, y):
        return -mean_loss(student(x), y, classes, config.loss)

    def ascent_and_descent(x, y, x_retain, y_retain):
        up = ascent(x, y)
        down = mean_loss(student(x_retain), y_retain, classes, config.loss)
        return config.alpha * down + (1 - config.alpha) * up

    with Run(student, config, seed, watch, checkpoint, data=(forget, retain)) as run:
        run.adam(config.lr)
        for _ in run.epochs(config.epochs):
            if retain is None:
                for x, y in map(pair, run.batches(forget, config.batch_size)):
                    run.step(ascent, x, y)
                    run.cost.trained(forget=len(x))
            else:
                size = config.batch_size
                again = partial(run.batches, retain, size)
                pairs = paired_batches(run.batches(forget, size), again)
                for (x, y), (x_retain, y_retain) in pairs:
                    run.step(ascent_and_descent, x, y, x_retain, y_retain)
                    run.cost.trained(forget=len(x), retain=len(x_retain))
    return run.unlearned("neggrad")
