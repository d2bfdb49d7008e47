"""Supervised repair: after unlearning, fit the classifier anew to a few labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minilearn.cost import Cost
from minilearn.data.checks import check_count, check_number
from minilearn.data.examples import Examples, batches
from minilearn.evaluation import classes_of, pair
from minilearn.losses import loss_per_example
from minilearn.methods.contract import Unlearned, checked, checked_config, copy_of, share_of
from minilearn.models import device_of, extractor, mode
from minilearn.training import Training, fit


@dataclass(frozen=True)
class Repair:
    """How to repair. Published is that it is one epoch of the classifier alone."""

    fraction: float = 0.1  # of the retained examples, whose labels are read; not in the code
    epochs: int = 1  # as in the paper
    batch_size: int = 32  # as in LAF
    lr: float = 1e-3  # learning rate (Adam); not published
    layer: str | None = None  # the representation; None: see `models.extractor`

    def __post_init__(self):
        check_number("fraction", self.fraction, 0, 1, ends="(]")
        if not isinstance(self.layer, str | None):
            raise ValueError(f"layer is the name of a layer or None, got {self.layer!r}")
        self.training()

    def training(self) -> Training:
        """The part of it that `fit` needs."""
        return Training(self.epochs, self.batch_size, self.lr)


def repair(
    model: nn.Module,
    retain: Examples,
    *,
    config: Repair = Repair(),
    seed: int = 0,
    watch=None,
    checkpoint=None,
) -> Unlearned:
    """Train what follows the representation on a random fraction of the retained examples.

    After `laf` this is the paper's LAF+R: the representation is unlearnt without labels, and a few
    labels tell the classifier where the retained classes lie now. The extractor gets no gradient
    and runs in evaluation mode, its batch normalisation included; the backward pass through the
    classifier alone is not counted. Without `laf` before it, it forgets nothing.

    Paper: Shen et al. 2024, supervised repair.          Chapter: 8
    Shapes: retain Examples or a map-style dataset
    Differs: the authors' code has such a function (VUnlearning.py:127-153) and never calls it; it
        fixes neither the fraction nor the learning rate
    Raises: ValueError if nothing is retained, nothing follows the representation or all of it is
        frozen; whatever `fit` raises
    Example:
        >>> data = Examples(torch.randn(40, 2), torch.tensor([0, 1] * 20))
        >>> net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> repair(net, data, config=Repair(fraction=0.5)).cost.by_source()
        {'retain': 23}
    """
    checked_config(config, Repair), checked("retain", retain, model)
    labelled = share_of(retain, config.fraction, check_count("seed", seed, 0))
    student, ready, cost = copy_of(model), Cost(), Cost()
    classes = classes_of(model, retain)
    frozen = _upstream(student, pair(next(batches(labelled, 1)))[0], config.layer, ready)

    def stream(order: torch.Generator) -> Iterator:
        student.eval()
        return batches(labelled, config.batch_size, order=order, device=device_of(student))

    def objective(student, *batch) -> Tensor:
        x, y = pair(batch)
        cost.touch("retain", forward=len(x))
        return loss_per_example(student(x), y, classes).mean()

    about = {"settings": config, "data": retain}
    options = {"seed": seed, "watch": watch, "checkpoint": checkpoint, "identity": about}
    history = fit(student, stream, config.training(), objective=objective, cost=cost, **options)
    for parameter in frozen:
        parameter.requires_grad_(True)
    return Unlearned(student, "repair", config, seed, history, ready + cost)


def _upstream(model: nn.Module, x: Tensor, layer: str | None, cost: Cost) -> list[Tensor]:
    """Freeze what the representation depends on; returns the parameters that were not frozen.

    Raises: ValueError if nothing is left to train
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    cost.touch("retain", forward=len(x), backward=len(x))
    with mode(model, train=False):
        e = extractor(model, layer)(x.to(device_of(model)))
    used = [None] * len(trained)
    if e.requires_grad:
        used = torch.autograd.grad(e.sum(), trained, allow_unused=True)
    upstream = [p for p, grad in zip(trained, used, strict=True) if grad is not None]
    if len(upstream) == len(trained):
        raise ValueError(
            "nothing that can be trained follows the representation: name a layer "
            "before the classifier, as in Repair(layer=...)"
        )
    for parameter in upstream:
        parameter.requires_grad_(False)
    return upstream
