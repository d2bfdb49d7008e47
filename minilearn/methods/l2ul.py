"""Learning to unlearn: make chosen items misclassified, or relabelled, without any other data."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, repeat

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minilearn.cost import Cost
from minilearn.data.examples import Examples, batches
from minilearn.methods.adversarial import l2_pgd
from minilearn.methods.anchor import Anchor
from minilearn.methods.contract import NothingToDo, Unlearned, checked_config, copy_of
from minilearn.methods.items import items_of, recognised, relabelled
from minilearn.methods.l2ul_config import L2UL
from minilearn.methods.mas import importance
from minilearn.models import device_of, freeze_batch_norm, mode
from minilearn.training import fit


def l2ul(
    model: nn.Module,
    forget: Examples,
    *,
    relabel: Tensor | None = None,
    config: L2UL = L2UL(),
    seed: int = 0,
    watch=None,
    checkpoint=None,
) -> Unlearned:
    """Change the answers on the forgotten items, and as little else as the items alone let one see.

        minimise  w L_f + (1 - w) L_adv + lambda / 2 sum_i W_i (theta_i - theta_o,i)^2
        L_f = -CE(f(x), y), or CE(f(x), y*) with `relabel`;     L_adv = CE(f(x'), y')

    x' are adversarial images of the items, driven to other classes y' of the original model: they
    stand for the retained data around the items. W is 0 for the weights that matter most for the
    items. After every step the items are tested, and it stops when none is classified as y any
    more (with `relabel`: when all are classified as y*). `finished` is false if the cap came first.

    Paper: Cha et al. 2024.          Chapter: 5
    Shapes: forget Examples with class labels y, or a dataset of such; relabel (N_f,) int64
    Differs: from the released code, as the settings say (`L2UL.paper` has the released choices);
        and targets are never the true class, items are tested after every step without `attack`
        too, and are shuffled anew in every pass. Nothing is released for `relabel`
    Raises: ValueError if a set is empty, an input lies outside the box, a new label is the old one
        or no class; NothingToDo (a ValueError); NonFiniteLoss; whatever `fit` raises
    Example:
        >>> data = Examples(torch.tensor([[0.9, 0.1], [0.1, 0.9]]), torch.tensor([0, 1]))
        >>> net = nn.Sequential(nn.Linear(2, 2))
        >>> _ = net.load_state_dict({"0.weight": 5 * torch.eye(2), "0.bias": torch.zeros(2)})
        >>> l2ul(net, data[:1], config=L2UL(attack=None, lr=0.1)).finished
        True
    """
    student, ready, cost = copy_of(model), Cost(), Cost()
    items = items_of(forget, model, checked_config(config, L2UL).attack)
    away = relabel is None  # from the labels in `goal`, else towards them
    goal = items if away else relabelled(items, relabel)

    def over(net, cost=cost) -> Tensor:
        cost.touch("forget", forward=len(goal))
        return ~(recognised(net, goal) == away).any()

    with ready.clock(device_of(model)):
        if _now(over, student, ready):
            raise NothingToDo(ALREADY.format("misclassifies" if away else "relabels"))
        images, anchor = _prepared(model, student, items, config, seed, ready)

    def objective(net, x, y, x_adv, y_adv) -> Tensor:
        n, m = len(x), len(x_adv)
        cost.touch("forget", forward=n + m, backward=n + m)
        out = _logits(net, x, x_adv, config)
        loss = _loss(out[:n], y, away, config.push)
        if m:
            w = config.forget_weight or n / (n + m)
            loss = w * loss + (1 - w) * F.cross_entropy(out[n:], y_adv)
        return loss + config.anchor * anchor.penalty() if anchor else loss

    about = {"settings": config, "data": (items, relabel)}
    options = {"until": over, "watch": watch, "checkpoint": checkpoint, "identity": about}
    options |= {"objective": objective, "seed": seed, "cost": cost}
    history = fit(student, _stream(student, goal, images, config), config.training(), **options)
    finished = _now(over, student, cost)
    return Unlearned(student, "l2ul", config, seed, history, ready + cost, finished)


ALREADY = "the model {} all items already: there is nothing to unlearn"


def _now(over, model: nn.Module, cost: Cost) -> bool:
    with mode(model, train=False), torch.no_grad():
        return bool(over(model, cost))


def _prepared(model, student, items: Examples, config: L2UL, seed: int, cost: Cost):
    """The adversarial images and the anchor, each None where it is not asked for."""
    images = anchor = None
    if config.attack:
        found = l2_pgd(model, items, config.attack, seed=seed, cost=cost)
        images = Examples(found.images, found.targets)
    if config.anchor:
        train = config.batch_norm == "train" and config.importance == "batch-mean"
        options = {"train": train, "batch_size": config.batch_size, "cost": cost}
        anchor = Anchor(student, importance(model, items, config.importance, **options))
    return images, anchor


def _stream(student: nn.Module, goal: Examples, images: Examples | None, config: L2UL):
    """One pass over the adversarial images, each batch beside the next one of the items."""

    def stream(order: torch.Generator) -> Iterator:
        if config.batch_norm == "frozen":
            freeze_batch_norm(student)
        passes = (batches(goal, config.batch_size, order=order) for _ in repeat(None))
        if images is None:
            return ((x, y, x[:0], y[:0]) for x, y in next(passes))
        around = batches(images, config.adversarial_batch, order=order)
        return (f + a for a, f in zip(around, chain.from_iterable(passes), strict=False))

    return stream


def _logits(net: nn.Module, x: Tensor, x_adv: Tensor, config: L2UL) -> Tensor:
    if config.batch_norm == "train" and len(x_adv):  # batch statistics of their own, as released
        return torch.cat([net(x), net(x_adv)])
    return net(torch.cat([x, x_adv]))


def _loss(logits: Tensor, y: Tensor, away: bool, push: str) -> Tensor:
    losses = F.cross_entropy(logits, y, reduction="none")
    if push == "open":  # what has been reached is not pushed on
        losses = losses.where((logits.argmax(1) == y) == away, 0.0)
    return -losses.mean() if away else losses.mean()
