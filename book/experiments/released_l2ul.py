"""The released way of L2UL, written anew from its description, to be timed.

The attack takes the items batch by batch and repeat after repeat, lets every step compute the
gradients of all weights too, and hands the images over as numpy arrays. Unlearning reads them back
through a `DataLoader`, walks the parameters one by one for the penalty, and after every step reads
the items as PIL images to test them, waiting for the device. It is a procedure to be timed and not
to be used.
"""

from __future__ import annotations

from itertools import cycle

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from book.experiments.released_laf import Images
from minilearn.data.examples import Examples
from minilearn.methods import L2UL, PGD

Arrays = list[tuple[np.ndarray, int]]


def attack(model: nn.Module, items: Examples, config: PGD, batch: int) -> Arrays:
    """Adversarial images and their classes, one after another."""
    model.eval()
    arrays, classes = [], 10
    for _ in range(config.repeats):
        for x0, y in zip(items.inputs.split(batch), items.targets.split(batch), strict=True):
            targets = (y + torch.randint(1, classes, y.shape, device=y.device)) % classes
            x = _ball(x0, torch.rand_like(x0) - x0, config)
            for _ in range(config.steps):
                x = x.detach().requires_grad_()
                loss = -F.cross_entropy(model(x), targets, reduction="sum")
                loss.backward()
                g = x.grad
                x = x.detach() + config.step * g / _norm(g).clamp(min=1e-6)
                x = _ball(x0, x.clamp(0, 1) - x0, config)
            arrays += zip(x.cpu().numpy(), targets.cpu().tolist(), strict=True)
    return arrays


def unlearn(model: nn.Module, items: Examples, arrays: Arrays, config: L2UL, importances: dict):
    """Train `model` for the config's passes over the arrays; returns the accuracy on the items."""
    device, pictures = items.device, Images(items, list(range(len(items))))
    forget = DataLoader(pictures, config.batch_size)
    around = DataLoader(arrays, config.adversarial_batch)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    held = {name: 1 - (v - v.min()) / (v.max() - v.min()) for name, v in importances.items()}
    options = {"momentum": config.momentum, "weight_decay": config.weight_decay}
    optimizer = torch.optim.SGD(model.parameters(), config.lr, **options)
    right = 0
    for _ in range(config.epochs):
        for (x_adv, y_adv), (x, y) in zip(around, cycle(forget), strict=False):
            model.train()
            x, y, x_adv, y_adv = (t.to(device) for t in (x, y, x_adv, y_adv))
            n, m = len(x), len(x_adv)
            loss = m / (n + m) * F.cross_entropy(model(x_adv), y_adv)
            loss = loss - n / (n + m) * F.cross_entropy(model(x), y)
            for name, p in model.named_parameters():
                loss = loss + config.anchor / 2 * (held[name] * (p - start[name]) ** 2).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            right = test(model, pictures, config.batch_size, device)
    return right / len(items)


def test(model: nn.Module, pictures: Images, batch: int, device) -> int:
    """How many items are classified right."""
    model.eval()
    right = 0
    with torch.no_grad():
        for x, y in DataLoader(pictures, batch):
            right += (model(x.to(device)).argmax(1) == y.to(device)).sum().item()
    return right


def _ball(x0: Tensor, d: Tensor, config: PGD) -> Tensor:
    return x0 + d * (config.eps / _norm(d)).clamp(max=1)


def _norm(d: Tensor) -> Tensor:
    return d.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
