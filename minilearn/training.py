"""Supervised training, for classification and regression."""

from __future__ import annotations

import copy
import math
import weakref
from dataclasses import dataclass

import torch
from torch import nn

from minilearn.checkpoint import fill, held_by
from minilearn.checks import check_dataset, check_kind, check_settings
from minilearn.cost import Cost
from minilearn.data.batches import pair
from minilearn.evaluation import evaluate, number_of_classes
from minilearn.losses import Loss, check_loss, mean_loss
from minilearn.parts import recipes
from minilearn.run import File, Run, Watch
from minilearn.schedule import Plateau
from minilearn.stack import networks_in
from minilearn.unlearned import History, NonFiniteLoss

__all__ = ["Best", "NonFiniteLoss", "Plateau", "Training", "fit"]


@dataclass(frozen=True)
class Training:
    """How to train. The defaults suit the digits on two CPU cores; nothing is tuned to a paper.

    Args:
        epochs: passes over the data
        batch_size: examples per step
        lr: learning rate
        optimizer: "adam", or "sgd" with momentum
        momentum: of "sgd"
        weight_decay: L2 penalty inside the optimiser
        schedule: "constant"; "cosine" from lr towards zero, stepped by epoch; or a `Plateau`
        loss: "auto", which is cross-entropy for labels and the absolute error for numbers; or
            "absolute", "squared", Quantile(levels)
    Raises: ValueError if a value makes no sense
    """

    epochs: int = 30
    batch_size: int = 64
    lr: float = 1e-3
    optimizer: str = "adam"
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: str | Plateau = "constant"
    loss: Loss = "auto"

    def __post_init__(self):
        check_settings(self, optimizer=("adam", "sgd"))
        if not isinstance(self.schedule, Plateau):
            check_settings(self, schedule=("constant", "cosine"))
        check_loss(self.loss)

    @classmethod
    def paper(cls, dataset: str, method: str, source: str = "paper") -> Training:
        """The published training of the original that a method unlearns, or of "finetune".

        Args:
            dataset, method: as ("agedb", "blindspot"), ("stsb", "finetune"), ("mnist", "laf") or
                ("cifar10", "l2ul"); a wrong pair is answered with all that there are
            source: "paper", or "file" for what the authors' code has instead. That the weights of
                the best validation epoch are kept is not part of it: see `Best`
        Differs: without the originals of L2UL on faces, which have a one-cycle rate and clipped
            gradients; those on ImageNet, and the ViT, are downloaded there and not trained
        """
        return cls(**recipes.published(recipes.TRAINING, dataset, method, source=source))

    def make_optimizer(self, run: Run) -> torch.optim.Optimizer:
        """A fresh optimiser over the weights of a run."""
        if self.optimizer == "adam":
            return run.adam(self.lr, self.weight_decay)
        return run.sgd(self.lr, self.momentum, self.weight_decay)

    def lr_at(self, epoch: int, history: History | None = None) -> float:
        """The learning rate in epoch 0, 1, ...; cosine: lr (1 + cos(pi epoch / epochs)) / 2.

        A `Plateau` reads it off the history of the epochs before.
        """
        if isinstance(self.schedule, Plateau):
            return self.schedule.rate(float(self.lr), epoch, history or History())
        if self.schedule == "constant":
            return float(self.lr)
        return float(self.lr) * (1 + math.cos(math.pi * epoch / self.epochs)) / 2


def fit(
    model: nn.Module,
    data,
    config: Training = Training(),
    *,
    seed: int = 0,
    watch: Watch | None = None,
    checkpoint: File | None = None,
    cost: Cost | None = None,
    progress: bool = True,
) -> History:
    """Train `model` in place on inputs and targets, and return the history.

    Args:
        data: Examples, or a map-style dataset of (input, target)
        seed, watch, checkpoint, cost, progress: as in `Run`. The ledger counts under "retain"
    Raises: NonFiniteLoss; KeyboardInterrupt that says what was kept; ValueError if model, data and
        settings do not fit; OSError if the checkpoint cannot be written
    Example:
        >>> from minilearn.data import Examples
        >>> data = Examples(torch.eye(4), torch.tensor([0., 1., 2., 3.]))
        >>> net = nn.Sequential(nn.Linear(4, 1), nn.Flatten(0))
        >>> history = fit(net, data, Training(epochs=200, lr=0.1))
        >>> round(float(history.loss[-1])), len(history.loss)
        (0, 200)
    """
    check_kind("config", config, Training)
    about = {"data": data}
    if isinstance(config.schedule, Plateau):
        config.schedule.check(watch, networks_in(model))
        if isinstance(watch, Best):  # whose set decides the rates
            about["validation"] = watch.validation, watch.loss
    classes = number_of_classes(model, data)

    def loss(x, y):
        return mean_loss(model(x), y, classes, config.loss)

    options = {"cost": cost, "progress": progress}
    with Run(model, config, seed, watch, checkpoint, **options, **about) as run:
        config.make_optimizer(run)
        for epoch in run.epochs(config.epochs):
            run.set_lr(config.lr_at(epoch, run.history))
            for x, y in map(pair, run.batches(data, config.batch_size)):
                run.step(loss, x, y)
                run.cost.touch("retain", forward=len(x), backward=len(x))
    return run.history


class Best:
    """A `watch` that keeps the weights of the epoch with the lowest mean loss on `validation`.

    It starts again with every run. To `restore` the best epoch it must have seen them all, which it
    has not where a run goes on from a checkpoint.

    Paper: Tarun et al. 2023; the authors' code averages batch means (utils.py:49-52).
    Raises: ValueError if the validation set is empty; `restore` if no epoch was seen, or not all
    Example: best = Best(validation); fit(model, train, watch=best); best.restore(model)
    """

    def __init__(self, validation, loss: Loss = "auto"):
        check_dataset(validation)
        self.validation = validation
        self.loss = check_loss(loss)
        self._begin()

    def _begin(self):
        self.first = self.last = 0
        self.model: weakref.ref | None = None  # that it watches
        self.epoch = 0
        self.lowest = math.inf
        self.weights = {}

    def __getstate__(self) -> dict:
        return vars(self) | {"model": None}  # in another process it is another one

    @property
    def settings(self) -> tuple:
        """What it is made of; what it has seen is not a part of it."""
        return self.validation, self.loss

    def __call__(self, epoch: int, model: nn.Module) -> dict:
        """The validation loss; its weights are kept if it is the lowest so far."""
        if epoch != self.last + 1 or self.model is None or self.model() is not model:
            self._begin()
            self.first = epoch
            self.model = weakref.ref(model)
        self.last = epoch
        loss = evaluate(model, self.validation, loss=self.loss).loss.double().mean().item()
        if loss < self.lowest:
            self.epoch, self.lowest = epoch, loss
            self.weights = copy.deepcopy(held_by(model))
        return {"validation": loss}

    def restore(self, model: nn.Module):
        """Give `model` the kept weights."""
        if not self.last:
            raise ValueError("no epoch has been seen: give this as watch= to fit or to a method")
        if self.first > 1:
            seen = self.last - self.first + 1
            raise ValueError(
                f"only {seen} of {self.last} epochs were seen, because the run went on from a "
                "checkpoint, and one before may be the best: train without it, or delete it"
            )
        if not self.weights:
            raise ValueError("no epoch had a finite validation loss, so that none is the best")
        fill(model, self.weights)
