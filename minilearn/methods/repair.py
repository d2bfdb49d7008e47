"""Supervised repair: after unlearning, fit the classifier again to a few labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minilearn.checks import FRACTION, check_settings, device_of
from minilearn.cost import Cost
from minilearn.data import Examples, first_of, pair, random_part
from minilearn.evaluation import number_of_classes
from minilearn.losses import Loss, check_loss, mean_loss
from minilearn.models import copy_of, extractor, mode
from minilearn.parts import recipes
from minilearn.run import File, Run, Watch
from minilearn.unlearn import Unlearned, method


@dataclass(frozen=True)
class Repair:
    """How to repair; the paper says: for one epoch, the classifier alone.

    Args:
        fraction: of the retained examples, whose labels are read; not known from the paper
        epochs: passes over them, as in the paper
        batch_size: examples a step, as in LAF
        lr: learning rate (Adam), as in the paper for MNIST and Fashion-MNIST
        layer: the representation; None: see `models.extractor`
        loss: "auto", cross-entropy or the absolute error; or "squared", or Quantile(levels)
    """

    fraction: float = 0.1
    epochs: int = 1
    batch_size: int = 32
    lr: float = 1e-3
    layer: str | None = None
    loss: Loss = "auto"

    def __post_init__(self):
        check_settings(self, fraction=FRACTION)
        check_loss(self.loss)

    @classmethod
    def paper(cls, dataset: str, source: str = "paper") -> Repair:
        """The paper's recipe; the authors' file has none, and source="file" is refused."""
        return cls(**recipes.published(recipes.REPAIR, dataset, source=source))


@method
def repair(
    model: nn.Module,
    retain: Examples,
    *,
    config: Repair = Repair(),
    seed: int = 0,
    watch: Watch | None = None,
    checkpoint: File | None = None,
) -> Unlearned:
    """Train what follows the representation on a random fraction of the retained examples.

    After `laf` this is the paper's LAF+R: the representation is unlearnt without labels, and a few
    labels tell the classifier where the retained classes lie now. The extractor gets no gradient,
    and the whole network runs in evaluation mode, as in the authors' code. A backward pass through
    the classifier alone is not counted. Without `laf` before it, it forgets nothing.

    Args: retain: Examples or a map-style dataset. seed, watch, checkpoint: as in `Run`
    Paper: Shen et al. 2024, supervised repair.          Chapter: 9
    Differs: the authors' code has such a function (VUnlearning.py:127-153) and never calls it, so
        that it fixes nothing; the paper's rate for CIFAR-10 and SVHN is in `Repair.paper`
    Raises: ValueError if nothing follows the representation or all of it is frozen; NonFiniteLoss
    Example:
        >>> data = Examples(torch.randn(40, 2), torch.tensor([0, 1] * 20))
        >>> net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> repair(net, data, config=Repair(fraction=0.5)).cost.by_source()
        {'retain': 23}
    """
    labelled = random_part(retain, config.fraction, seed)
    student, cost = copy_of(model), Cost()
    classes = number_of_classes(model, retain)
    x, _ = pair(first_of(labelled, device_of(model)))
    frozen = _freeze_extractor(student, x, config.layer, cost)

    def loss(x, y):
        return mean_loss(student(x), y, classes, config.loss)

    with Run(student, config, seed, watch, checkpoint, cost=cost, train=False, data=retain) as run:
        run.adam(config.lr)
        for _ in run.epochs(config.epochs):
            for x, y in map(pair, run.batches(labelled, config.batch_size)):
                run.step(loss, x, y)
                run.cost.touch("retain", forward=len(x))
    for parameter in frozen:
        parameter.requires_grad_(True)
    return run.unlearned("repair")


def _freeze_extractor(model: nn.Module, x: Tensor, layer: str | None, cost: Cost) -> list[Tensor]:
    """Freeze what the representation depends on; returns the parameters that this froze.

    Raises: ValueError if nothing is left to train
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    cost.trained(retain=len(x))
    gradients = [None] * len(trained)
    with mode(model, train=False):
        e = extractor(model, layer)(x)
        if e.requires_grad:
            gradients = torch.autograd.grad(e.sum(), trained, allow_unused=True)
    upstream = [p for p, grad in zip(trained, gradients, strict=True) if grad is not None]
    if len(upstream) == len(trained):
        raise ValueError(
            "nothing that can be trained follows the representation: name a layer "
            "before the classifier, as in Repair(layer=...)"
        )
    for parameter in upstream:
        parameter.requires_grad_(False)
    return upstream
