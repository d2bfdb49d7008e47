"""Gaussian-Amnesiac unlearning: give the forgotten examples targets drawn at random."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.data import StackDataset

from minilearn.cost import Cost
from minilearn.data.examples import Examples, Unlabelled, mixed, targets_of, without_targets
from minilearn.draws import normal
from minilearn.evaluation import pair
from minilearn.losses import Loss, loss_per_example
from minilearn.methods.contract import Unlearned, checked, checked_config, copy_of, published
from minilearn.models import device_of
from minilearn.training import Training, fit


@dataclass(frozen=True)
class Amnesiac:
    """How the targets are drawn, and how long the model is trained on them."""

    epochs: int = 1  # passes over all data; the paper's 1 (ages), 5 (sentences)
    batch_size: int = 64  # the paper's 256
    lr: float = 1e-3  # learning rate (Adam), as in the paper
    gaussian: str = "train"  # whose mean and deviation: all targets', as published; or "retain"
    clip: bool = False  # keep draws inside the range of those targets; published: not
    loss: Loss = "auto"  # absolute error; or "squared", or Quantile(levels)

    def __post_init__(self):
        if self.gaussian not in ("train", "retain"):
            raise ValueError(f'gaussian is "train" or "retain", got {self.gaussian!r}')
        if not isinstance(self.clip, bool):
            raise ValueError(f"clip is true or false, got {self.clip!r}")
        self.training()

    def training(self) -> Training:
        """The part of it that `fit` needs."""
        return Training(self.epochs, self.batch_size, self.lr, loss=self.loss)

    @classmethod
    def paper(cls, dataset: str) -> Amnesiac:
        """The published recipe for "agedb" or "stsb"; ValueError for a data set without one."""
        epochs, _, loss = published(dataset)
        return cls(epochs, 256, loss=loss)


def amnesiac(
    model: nn.Module,
    forget: Examples,
    retain: Examples,
    *,
    config: Amnesiac = Amnesiac(),
    seed: int = 0,
    watch=None,
    checkpoint=None,
) -> Unlearned:
    """Replace the forgotten targets by draws from a Gaussian and train on, with the retained data.

        y_i <- mean(y) + sd(y) e_i,   e_i a standard normal number, a function of (seed, i) alone

    The draw is made once. The labels of `forget` enter by mean and deviation only; with
    `Amnesiac(gaussian="retain")` not at all, and then inputs alone will do.

    Paper: Tarun et al. 2023, Gaussian-Amnesiac learning.          Chapter: 3
    Shapes: forget, retain Examples or datasets with targets (N,) or (N, ...) float; each component
        of several targets has a Gaussian of its own
    Differs: from the authors' code, which draws from a global generator, here by
        `draws.normal(seed, position in forget)`; the deviation is that of the population
    Raises: ValueError if a set is empty, targets are class labels or not finite; whatever `fit`
        raises
    Example:
        >>> data = Examples(torch.randn(8, 2), torch.arange(8.0))
        >>> net = nn.Sequential(nn.Linear(2, 1), nn.Flatten(0))
        >>> amnesiac(net, data[:2], data[2:]).cost.by_source()
        {'forget': 6, 'retain': 18}
    """
    checked_config(config, Amnesiac)
    checked("forget", forget, model), checked("retain", retain, model)
    drawn, inputs = gaussian_targets(forget, retain, config, seed), without_targets(forget)
    drawn = drawn.to(device_of(model))
    relabelled = (
        Examples(inputs, drawn) if isinstance(inputs, Tensor) else StackDataset(inputs, drawn)
    )
    model, cost = copy_of(model), Cost()

    def stream(order: torch.Generator) -> Iterator:
        read = mixed(relabelled, retain, config.batch_size, order=order, device=device_of(model))
        return ((*pair(forgotten), *pair(kept)) for forgotten, kept in read)

    def objective(model, x_f, y_f, x_r, y_r) -> Tensor:
        for source, x in (("forget", x_f), ("retain", x_r)):
            cost.touch(source, forward=len(x), backward=len(x))
        out = model(torch.cat([x_f, x_r]))
        return loss_per_example(out, torch.cat([y_f, y_r]), loss=config.loss).mean()

    about = {"settings": config, "data": (forget, retain)}
    options = {"seed": seed, "watch": watch, "checkpoint": checkpoint, "identity": about}
    history = fit(model, stream, config.training(), objective=objective, cost=cost, **options)
    return Unlearned(model, "amnesiac", config, seed, history, cost)


def gaussian_targets(forget, retain, config: Amnesiac = Amnesiac(), seed: int = 0) -> Tensor:
    """The targets that the forgotten examples are given: a pure function of (seed, position).

    Shapes: returns (N_f, ...) float32 on the CPU, in the targets' unit
    Raises: ValueError if the targets are class labels, not finite or of two shapes, or if forget
        has none and `gaussian` is "train"
    """
    known = [targets_of(retain)]
    if config.gaussian == "train":
        if isinstance(forget, Tensor | Unlabelled):
            raise ValueError(
                "the published Gaussian is fitted to all targets, and the forget set came without: "
                'give it with targets, or take Amnesiac(gaussian="retain")'
            )
        known.append(targets_of(forget))
    if not all(y.is_floating_point() for y in known):
        raise ValueError("amnesiac draws numbers, but these targets are class labels")
    if known[0].shape[1:] != known[-1].shape[1:]:
        shapes = " and ".join(str(tuple(y.shape)) for y in known)
        raise ValueError(f"retained and forgotten targets must be alike, got shapes {shapes}")
    y = torch.cat([part.cpu().double() for part in known])
    mean, deviation = y.mean(0), y.std(0, correction=0)
    index = torch.arange(len(forget) * mean.numel())
    drawn = mean + deviation * normal(seed, index).view(len(forget), *mean.shape)
    if config.clip:
        drawn = drawn.clamp(y.amin(0), y.amax(0))
    return drawn.float()
