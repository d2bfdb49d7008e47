"""SCRUB: move away from the original on what is to be forgotten, stay near it on the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minilearn.cost import Cost
from minilearn.data.checks import check_count, check_number
from minilearn.data.examples import Examples, batches
from minilearn.evaluation import classes_of, pair
from minilearn.losses import divergence, loss_per_example
from minilearn.methods.contract import Unlearned, checked, checked_config, checked_inputs, copy_of
from minilearn.methods.items import logits_of
from minilearn.models import device_of, mode
from minilearn.training import Training, fit


@dataclass(frozen=True)
class SCRUB:
    """How long to move away, and how the retained losses are weighed."""

    epochs: int = 10  # passes over the retained data
    ascents: int = 3  # the first epochs, before which the forget set is passed over; the paper's m
    batch_size: int = 64  # of the retained data
    forget_batch: int = 64  # of the forget set
    lr: float = 5e-4  # learning rate (Adam), as in the authors' experiments
    gamma: float = 1.0  # weight of the retained cross-entropy, as there
    alpha: float = 0.5  # weight of the retained divergence, as there
    temperature: float = 2.0  # of both divergences, as there

    def __post_init__(self):
        check_count("ascents", self.ascents, 0), check_count("forget_batch", self.forget_batch, 1)
        for name in ("gamma", "alpha"):
            check_number(name, getattr(self, name), 0, ends="[)")
        check_number("temperature", self.temperature, 0)
        self.training()

    def training(self) -> Training:
        """The part of it that `fit` needs."""
        return Training(self.epochs, self.batch_size, self.lr)


def scrub(
    model: nn.Module,
    forget: Tensor,
    retain: Examples,
    *,
    config: SCRUB = SCRUB(),
    seed: int = 0,
    watch=None,
    checkpoint=None,
) -> Unlearned:
    """Pass over the forget set and away from the original, over the retained set and towards it.

        epochs 1 to m, first:   maximise  KL_T(f_o(x) || f(x))                   over the forget set
        every epoch, then:      minimise  gamma CE + alpha KL_T(f_o(x) || f(x))  over the retained

    KL_T is the divergence at temperature T, times T^2. Labels of the forget set are not used.
    Without dropout and batch normalisation the first divergence is nought and its gradient is
    rounding, which Adam follows all the same: in which direction the model goes away is chance.

    Paper: Kurmanji et al. 2023, SCRUB.          Chapter: 8
    Shapes: forget (N_f, ...) inputs alone; retain Examples or a dataset with class labels
    Differs: without the rewinding variant, which keeps the epoch whose error on the forget set is
        nearest to that on unseen examples of its kind
    Raises: ValueError if a set is empty, forget comes with labels, or retain has no class labels;
        whatever `fit` raises
    """
    checked_config(config, SCRUB)
    checked_inputs("forget", forget, model), checked("retain", retain, model)
    if pair(next(batches(retain, 1)))[1].is_floating_point():
        raise ValueError("scrub compares class probabilities, but these targets are numbers")
    student, original, cost = copy_of(model), copy_of(model), Cost()
    classes, device = classes_of(model, retain), device_of(model)

    def stream(order: torch.Generator) -> Iterator:
        # the ledger is part of a checkpoint, so that it knows which passes have been made
        if cost.forward["forget"] < 2 * len(forget) * config.ascents:
            for x in batches(forget, config.forget_batch, order=order, device=device):
                yield x, None
        yield from map(pair, batches(retain, config.batch_size, order=order, device=device))

    def objective(student, x, y) -> Tensor:
        cost.touch("forget" if y is None else "retain", forward=2 * len(x), backward=len(x))
        logits = logits_of(student, x)
        with mode(original, train=False), torch.no_grad():
            said = logits_of(original, x)
        apart = divergence(said, logits, config.temperature).mean()
        if y is None:
            return -apart
        return config.gamma * loss_per_example(logits, y, classes).mean() + config.alpha * apart

    about = {"settings": config, "data": (forget, retain), "original": original}
    options = {"seed": seed, "watch": watch, "checkpoint": checkpoint, "identity": about}
    history = fit(student, stream, config.training(), objective=objective, cost=cost, **options)
    return Unlearned(student, "scrub", config, seed, history, cost)
