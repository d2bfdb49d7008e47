"""Learning to unlearn: make chosen items misclassified, or relabelled, without any other data."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from minilearn.checks import FRACTION, NOT_NEGATIVE, check_settings, device_of, optional, whole
from minilearn.data import Examples, items_of
from minilearn.evaluation import recognised
from minilearn.models import copy_of, freeze_batch_norm
from minilearn.parts import recipes
from minilearn.parts.anchor import anchor_of
from minilearn.parts.attack import PGD, adversarial_images, logits_of_both, paired, relabelled
from minilearn.parts.importance import KINDS
from minilearn.run import Cost, File, Run, Watch
from minilearn.unlearn import NothingToDo, Unlearned, method


@dataclass(frozen=True)
class L2UL:
    """How to unlearn. NegGrad is attack=None, anchor=0, forget_loss_on="all", batch_norm="train".

    Args:
        attack: how adversarial images are made; None: without them
        anchor: lambda; 0: no anchor
        importance: how weights are weighed, a kind of `importance`; "batch-mean" as released
        epochs: most passes, 1,001 or 101 as released
        batch_size, adversarial_batch: items, and adversarial images, in a step
        lr, momentum, weight_decay: of SGD
        forget_weight: w, the weight of L_f; None, as published: the items' share of a step
        forget_loss_on: "remaining" items, whose sum is divided by all; or "all", as published
        batch_norm: "frozen": keeps its statistics; "train": follows the items, then the images;
            "released": follows the images, then the items
        shuffle: whether every pass is in a new order
    """

    attack: PGD | None = PGD()
    anchor: float = 1.0
    importance: str = "per-item"
    epochs: int = 1000
    batch_size: int = 32
    adversarial_batch: int = 256
    lr: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 1e-4
    forget_weight: float | None = 0.5
    forget_loss_on: str = "remaining"
    batch_norm: str = "frozen"
    shuffle: bool = True

    def __post_init__(self):
        rules = {"forget_loss_on": ("all", "remaining"), "importance": KINDS, "shuffle": bool}
        rules |= {"batch_norm": ("frozen", "train", "released"), "adversarial_batch": whole(1)}
        rules |= {"attack": optional(PGD), "forget_weight": optional(FRACTION)}
        check_settings(self, **rules, anchor=NOT_NEGATIVE)

    @classmethod
    def paper(cls, dataset: str, source: str = "paper") -> L2UL:
        """The recipe for a data set of `recipes.L2UL`: the scripts', from either source."""
        return cls(**recipes.published(recipes.L2UL, dataset, source=source))


@method
def l2ul(
    model: nn.Module,
    forget: Examples,
    *,
    relabel: Tensor | None = None,
    config: L2UL = L2UL(),
    seed: int = 0,
    watch: Watch | None = None,
    checkpoint: File | None = None,
) -> Unlearned:
    """Change the answers on the forgotten items, and as little else as the items alone let one see.

        minimise  w L_f + (1 - w) L_adv + lambda / 2 sum_i W_i (theta_i - theta_o,i)^2
        L_f = -CE(f(x), y), or CE(f(x), y*) with `relabel`;     L_adv = CE(f(x'), y')

    x' are images of the items driven to other classes y' of the original; without `attack` w is 1.
    By default L_f counts items whose answer is not yet as asked. W is 0 where a weight matters most
    for them. It stops after the step when no item is called y (`relabel`: all y*), or at its cap.
    Args: forget: Examples with class labels y, or a dataset of such. relabel: (N_f,) int64, y*, in
        the order of `forget`, for which nothing is released. seed, watch, checkpoint: as in `Run`
    Paper: Cha et al. 2024.          Chapter: 6
    Differs: from the released code, as the settings and `l2_pgd` say (`L2UL.paper` is as released);
        items are tested after every step without `attack` too, and start again with every pass
    Raises: ValueError if an input lies outside the box, a new label is no other class; NothingToDo
    """
    student, cost = copy_of(model), Cost()
    items = items_of(forget, device_of(model))
    goal = items if relabel is None else relabelled(items, relabel)
    misclassify, classes = relabel is None, goal.classes

    def done(net):
        cost.touch("forget", forward=len(goal))
        called_so = recognised(net, goal, classes, if_not_finite=misclassify)
        return ~called_so.any() if misclassify else called_so.all()  # called y; called y*

    if done(student):
        raise NothingToDo("the model answers as asked already: there is nothing to unlearn")
    held = anchor_of(student, items, config, seed, cost)
    images = adversarial_images(model, items, config.attack, seed, cost)

    def loss(x, y, x_adv, y_adv):
        logits, logits_adv = logits_of_both(student, x, x_adv, config.batch_norm)
        losses = F.cross_entropy(logits, y, reduction="none")
        if config.forget_loss_on == "remaining":
            called = logits.argmax(1) == y
            losses = losses.where(called if misclassify else ~called, 0.0)
        total = forget_loss = -losses.mean() if misclassify else losses.mean()
        if images is not None:
            share = len(x) / (len(x) + len(x_adv))
            w = share if config.forget_weight is None else config.forget_weight
            total = w * forget_loss + (1 - w) * F.cross_entropy(logits_adv, y_adv)
        return total if held is None else total + config.anchor * held.penalty()

    with Run(student, config, seed, watch, checkpoint, cost=cost, data=(items, relabel)) as run:
        if config.batch_norm == "frozen":
            freeze_batch_norm(student)
        run.sgd(config.lr, config.momentum, config.weight_decay)
        for _ in run.epochs(config.epochs, until=done):
            for x, y, x_adv, y_adv in paired(goal, images, config, run.order):
                run.step(loss, x, y, x_adv, y_adv)
                run.cost.trained(forget=len(x) + len(x_adv))
                if run.stopped:
                    break
    return run.unlearned("l2ul", finished=bool(done(student)))
