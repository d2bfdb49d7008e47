"""What could be kept if the retained examples were at hand: the "Oracle" of L2UL's paper.

It is no method for the paper's setting, in which the items are all that is left. It says how much
of what L2UL loses is lost for want of data, and how much by the way in which it forgets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch.nn.functional as F
from torch import nn

from book.experiments import said
from book.experiments.instances import accuracies, overflowed
from minilearn.data.batches import batches
from minilearn.data.examples import Examples
from minilearn.evaluation import recognised
from minilearn.methods import Unlearned
from minilearn.models import copy_of, freeze_batch_norm
from minilearn.requests import Request
from minilearn.run import Run
from minilearn.sweep import Unit, value
from minilearn.unlearned import NonFiniteLoss


@dataclass(frozen=True)
class Oracle:
    """Most passes over the retained examples, and how many a step; the rest is as in `L2UL`."""

    epochs: int = 2
    batch_size: int = 256
    lr: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 1e-4
    forget_loss_on: str = "remaining"
    batch_norm: str = "frozen"


SETTINGS = {"base": Oracle(), "as released": Oracle(forget_loss_on="all", batch_norm="train")}
PATIENT = {"lr 0.01, more steps": Oracle(epochs=4, batch_size=64, lr=1e-2)}


def oracle(
    model: nn.Module, request: Request, config: Oracle = Oracle(), seed: int = 0
) -> Unlearned:
    """Climb the items' loss and descend that of retained examples, until no item is recognised.

        minimise  CE(retained) - CE(items)

    Every step has all items. With `forget_loss_on="remaining"` only those that are still recognised
    are climbed. `finished` says whether none is recognised.

    Paper: Cha et al. 2024, the reference "Oracle".
    """
    student = copy_of(model)
    items, retain = request.forget, request.retain
    x, y, classes = items.inputs, items.targets, items.classes

    def done(net: nn.Module):
        return ~recognised(net, items, classes, if_not_finite=True).any()

    def loss(x, y, x_retain, y_retain):
        logits = student(x)
        losses = F.cross_entropy(logits, y, reduction="none")
        if config.forget_loss_on == "remaining":
            losses = losses.where(logits.argmax(1) == y, 0.0)  # not yet done
        return F.cross_entropy(student(x_retain), y_retain) - losses.mean()

    with Run(student, config, seed) as run:
        if config.batch_norm == "frozen":
            freeze_batch_norm(student)
        run.sgd(config.lr, config.momentum, config.weight_decay)
        for _ in run.epochs(config.epochs, until=done):
            for x_retain, y_retain in batches(retain, config.batch_size, order=run.order):
                run.step(loss, x, y, x_retain, y_retain)
                run.cost.trained(forget=len(x), retain=len(x_retain))
                if run.stopped:
                    break
    finished = bool(done(student))
    return Unlearned(student, "oracle", config, seed, run.history, run.cost, finished=finished)


def unit(
    dataset: str,
    request: Callable[[], Request],
    name: str,
    seed: int,
    config: Oracle,
    settings: str,
    model: Callable[[], nn.Module],
    splits: Callable[[Request], Mapping[str, Examples]],
) -> Unit:
    """The unit of the oracle beside those of `instances.unit`, of the same items."""

    def measure() -> list[dict]:
        asked = request()
        try:
            result = oracle(model(), asked, config, seed)
        except NonFiniteLoss:
            return overflowed()
        rows = [*accuracies(result.model, splits(asked))]
        rows.append(value("finished", "", int(result.finished), "0 or 1"))
        rows.append(value("steps", "", len(result.history.loss), "steps"))
        rows.append(value("samples", "", result.cost.samples, "sample units"))
        return [*rows, value("seconds", "", result.cost.seconds, "s")]

    return Unit(dataset, name, "oracle", seed, f"{settings}; {said(config)}", measure)
