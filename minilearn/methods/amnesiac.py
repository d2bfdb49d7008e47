"""Gaussian-Amnesiac unlearning: give the forgotten examples targets drawn at random."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minilearn.checks import check_flag, check_settings
from minilearn.data import Examples, Unlabelled, targets_of, with_targets
from minilearn.draws import normal
from minilearn.losses import Loss, check_loss, mean_loss
from minilearn.models import copy_of
from minilearn.parts import recipes
from minilearn.run import File, Run, Watch
from minilearn.unlearn import Unlearned, method


@dataclass(frozen=True)
class Amnesiac:
    """How the targets are drawn, and how long the model is trained on them.

    Args:
        epochs: passes over all data, as in the paper
        batch_size: examples per step; released 256
        lr: learning rate (Adam), as in the paper
        gaussian: whose mean and deviation: "train", all targets', as published; or "retain"
        clip: keep draws inside the range of those targets; published: not
        loss: "auto" or "absolute"; or "squared", or Quantile(levels)
    """

    epochs: int = 1
    batch_size: int = 64
    lr: float = 1e-3
    gaussian: str = "train"
    clip: bool = False
    loss: Loss = "auto"

    def __post_init__(self):
        check_settings(self, gaussian=("train", "retain"), clip=check_flag)
        check_loss(self.loss)

    @classmethod
    def paper(cls, dataset: str, source: str = "paper") -> Amnesiac:
        """The recipe for a data set of `recipes.AMNESIAC`; "file": of the authors' notebook."""
        return cls(**recipes.published(recipes.AMNESIAC, dataset, source=source))


@method
def amnesiac(
    model: nn.Module,
    forget: Examples,
    retain: Examples,
    *,
    config: Amnesiac = Amnesiac(),
    seed: int = 0,
    watch: Watch | None = None,
    checkpoint: File | None = None,
) -> Unlearned:
    """Replace the forgotten targets by draws from a Gaussian and train on, with the retained data.

        y_i <- mean(y) + sd(y) e_i,   e_i a standard normal number, a function of (seed, i) alone

    The draw is made once. The labels of `forget` enter by mean and deviation only; with
    `Amnesiac(gaussian="retain")` not at all, and then inputs alone will do.
    Args: forget, retain: Examples or datasets with targets (N,) or (N, ...) float; each component
        of several targets has a Gaussian of its own. seed, watch, checkpoint: as in `Run`
    Paper: Tarun et al. 2023, Gaussian-Amnesiac learning.          Chapter: 3
    Differs: from the authors' code, which draws from a global generator, here by
        `draws.normal(seed, position in forget)`; the deviation is that of the population; on
        STS-B their code reads in one order, and keeps the weights that validate best
    Raises: ValueError if targets are class labels or not finite; NonFiniteLoss
    Example:
        >>> data = Examples(torch.randn(8, 2), torch.arange(8.0))
        >>> net = nn.Sequential(nn.Linear(2, 1), nn.Flatten(0))
        >>> amnesiac(net, data[:2], data[2:]).cost.by_source()
        {'forget': 6, 'retain': 18}
    """
    student = copy_of(model)
    relabelled = with_targets(forget, gaussian_targets(forget, retain, config, seed))

    def loss(x_forget, y_forget, x_retain, y_retain):
        out = student(torch.cat([x_forget, x_retain]))
        return mean_loss(out, torch.cat([y_forget, y_retain]), loss=config.loss)

    with Run(student, config, seed, watch, checkpoint, data=(relabelled, retain)) as run:
        run.adam(config.lr)
        for _ in run.epochs(config.epochs):
            for forgotten, retained in run.mixed(relabelled, retain, config.batch_size):
                run.step(loss, *forgotten, *retained)
                run.cost.trained(forget=len(forgotten[0]), retain=len(retained[0]))
    return run.unlearned("amnesiac")


def gaussian_targets(forget, retain, config: Amnesiac = Amnesiac(), seed: int = 0) -> Tensor:
    """The targets that the forgotten examples are given: a pure function of (seed, position).

    Shapes: returns (N_f, ...) float32 on the CPU, in the targets' unit
    Raises: ValueError if the targets are class labels, not finite or of two shapes, or if forget
        has none and `gaussian` is "train"
    """
    parts = [targets_of(retain)]
    if config.gaussian == "train":
        if isinstance(forget, Tensor | Unlabelled):
            raise ValueError(
                "the published Gaussian is fitted to all targets, and the forget set came without: "
                'give it with targets, or take Amnesiac(gaussian="retain")'
            )
        parts.append(targets_of(forget))
    if not all(y.is_floating_point() for y in parts):
        raise ValueError("amnesiac draws numbers, but these targets are class labels")
    if parts[0].shape[1:] != parts[-1].shape[1:]:
        shapes = " and ".join(str(tuple(y.shape)) for y in parts)
        raise ValueError(f"retained and forgotten targets must be alike, got shapes {shapes}")
    y = torch.cat([part.cpu().double() for part in parts])
    mean, deviation = y.mean(0), y.std(0, correction=0)
    index = torch.arange(len(forget) * mean.numel())
    drawn = mean + deviation * normal(seed, index).view(len(forget), *mean.shape)
    if config.clip:
        drawn = drawn.clamp(y.amin(0), y.amax(0))
    return drawn.float()
