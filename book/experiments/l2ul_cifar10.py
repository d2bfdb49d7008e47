"""L2UL on real CIFAR-10: the paper's three methods, and what radius and learning rate decide.

The size says whose model forgets: "toy" a pretrained ResNet-20, "small" a pretrained ResNet-56,
"paper" a ResNet-18 as in the paper, trained here first with crops and flips. The pretrained ones
are read from the folder `pretrained` of the data folder. The ResNet-18 is trained in one cycle,
which takes minutes of a GPU, and not the paper's 200 epochs. The released recipe is run too, for 16
items, and for ResNet-18 for all numbers of them; at "toy" one setting after another is changed for
16 items. Beside them stands the paper's `oracle`, which has the retained photographs at hand.
Accuracy on `retain` is of 10,000 retained examples. Stored rows called "released" are of an earlier
form of that recipe, see the page of results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from book.experiments import Run, oracle
from book.experiments.instances import (
    capped,
    methods,
    random_items,
    reference,
    splits,
    unit,
    word,
)
from minilearn import data
from minilearn.data import Examples, batches
from minilearn.data.places import own_file
from minilearn.methods import L2UL, PGD
from minilearn.models import Normalize, build, resnet18, resnet20, resnet56
from minilearn.precision import fast
from minilearn.requests import Request, by_index
from minilearn.run import Run as TrainingRun
from minilearn.sweep import Unit
from minilearn.training import Training

SEEDS = 3
STEPS = 400
COUNTS = {"toy": (1, 16, 64), "small": (1, 16, 64), "paper": (16, 1, 64, 256, 128)}
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # the pretrained nets' own
PAPER = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)  # of the released network
PRETRAINED = {
    "resnet20": (resnet20, "resnet20-12fca82f.th"),
    "resnet56": (resnet56, "resnet56-4bfd9763.th"),
}
RECIPE = Training(60, 256, 0.2, "sgd", weight_decay=5e-4)  # the rate is the peak of `one_cycle`
BASE = L2UL(PGD(eps=0.4, steps=20), lr=1e-3, forget_weight=0.5, forget_loss_on="remaining")
RELEASED = L2UL.paper("cifar10")
FACTORS = [
    *({"eps": eps} for eps in (0.1, 0.2, 0.8, 1.6, 4.0)),
    *({"lr": lr} for lr in (1e-4, 3e-4, 3e-3, 1e-2)),
    {"forget_loss_on": "all"},
    {"forget_weight": None},
    {"forget_loss_on": "all", "forget_weight": None},
    {"batch_norm": "train"},
]


def units(run: Run) -> Iterator[Unit]:
    """The original model, the three methods for every number of items, and the changed settings."""
    name = {"toy": "resnet20", "small": "resnet56", "paper": "resnet18"}[run.size]
    where = f"cifar10; {run.device.type}; {name}"
    how = f"; original={RECIPE}, one cycle, crops and flips, inside fast"
    where += how if run.size == "paper" else ", pretrained"

    def say(label: str) -> str:
        return f"size={run.size}; {label}; {where}"

    @cache
    def sets() -> data.Split:
        return data.Split(*(part.to(run.device) for part in data.load("cifar10")))

    @cache
    def model() -> nn.Module:
        return trained(run, sets().train) if run.size == "paper" else pretrained(name, run)

    def ask(count: int, seed: int) -> Request:
        return by_index(sets().train, random_items(sets().train, count, seed))

    def one(count: int, method: str, seed: int, config: L2UL, label: str) -> Unit:
        return unit(
            dataset="cifar10",
            request=partial(ask, count, seed),
            name=f"{count} random item{'s' if count > 1 else ''}",
            method=method,
            seed=seed,
            config=capped(config, count, STEPS),
            settings=say(label),
            model=model,
            splits=partial(splits, sets),
        )

    parts = partial(splits, sets)
    yield reference("cifar10", "nothing", "original", 0, say(name), model, parts)
    for seed, (label, config) in product(run.seeds, (oracle.SETTINGS | oracle.PATIENT).items()):
        given = "cifar10", partial(ask, 16, seed), "16 random items", seed, config
        yield oracle.unit(*given, say(label), model, parts)
    for count, label, method, config in asked(run.size):
        for seed in run.seeds:
            yield one(count, method, seed, config, label)


def asked(size: str) -> Iterator[tuple[int, str, str, L2UL]]:
    """Number of items, what is changed in words, method and settings."""
    seen = set()
    for count, label, base in _asked(size):
        for method, config in methods(base).items():
            if (count, method, config) not in seen:  # a change that the method does not notice
                seen.add((count, method, config))
                yield count, label, method, config


def _asked(size: str) -> Iterator[tuple[int, str, L2UL]]:
    """The factors are for "toy" alone."""
    for count in COUNTS[size]:
        yield count, "base", BASE
        if count == 16 or size == "paper":
            yield count, "as released", RELEASED
    for changes in FACTORS if size == "toy" else ():
        yield (
            16,
            ", ".join(f"{word(field)} {new}" for field, new in changes.items()),
            changed(changes),
        )


def changed(changes: dict) -> L2UL:
    """BASE with another radius, or other values in these fields."""
    if "eps" in changes:
        return replace(BASE, attack=replace(BASE.attack, **changes))
    return replace(BASE, **changes)


def pretrained(name: str, run: Run) -> nn.Module:
    """A pretrained CIFAR ResNet behind the normalisation that it was trained with.

    Raises: MissingData if its file is not there; ValueError if it does not fit
    """
    make, file = PRETRAINED[name]
    how = "take it from github.com/akamaster/pytorch_resnet_cifar10"
    path = own_file(f"the pretrained {name}", f"pretrained/{file}", how)
    net = make()
    state = torch.load(path, map_location="cpu", weights_only=True)
    values = [v for k, v in state.get("state_dict", state).items() if "num_batches" not in k]
    names = [name for name in net.state_dict() if "num_batches" not in name]
    try:  # the same layers in the same order, under other names
        net.load_state_dict(dict(zip(names, values, strict=True)), strict=False)
    except (ValueError, RuntimeError):
        raise ValueError(f"{path} does not hold the weights of a {name}") from None
    return nn.Sequential(Normalize(MEAN, DEVIATION), net).to(run.device).eval()


@fast()
def trained(run: Run, train: Examples) -> nn.Module:
    """The paper's ResNet-18 with its first pooling kept, trained here: on a GPU in bfloat16."""

    def fresh() -> nn.Module:
        return nn.Sequential(Normalize(*PAPER), resnet18(pool=True)).to(run.device)

    file = run.file("cifar10", "resnet18")
    return pretrain(build(fresh, 0), train, RECIPE, partial(one_cycle, RECIPE), file)


def pretrain(
    net: nn.Module, train: Examples, recipe: Training, rate: Callable[[int], float], file
) -> nn.Module:
    """Train a network on images that are shifted and mirrored, by a rate for every epoch."""

    def loss(x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(net(x), y)

    about = {"data": train, "augmented": "one cycle, crops of 4, flips"}
    with TrainingRun(net, recipe, checkpoint=file, **about) as training:
        recipe.make_optimizer(training)
        for epoch in training.epochs(recipe.epochs):
            training.set_lr(rate(epoch))
            for x, y in batches(train, recipe.batch_size, order=training.order):
                training.step(loss, moved(x, training.order), y)
    return net.to(memory_format=torch.contiguous_format).eval()


def one_cycle(recipe: Training, epoch: int) -> float:
    """The rate of an epoch: up to its peak in the first fifth of them, then down to nearly nought.

    Paper: Smith and Topin 2019, super-convergence.
    """
    rise = recipe.epochs / 5
    left = (recipe.epochs - epoch) / (recipe.epochs - rise)
    return recipe.lr * min((epoch + 1) / rise, left)


def moved(x: Tensor, order: torch.Generator) -> Tensor:
    """Each image shifted by up to four pixels, zeros coming in, and every second one mirrored."""
    n, _, height, width = x.shape
    drawn = [torch.randint(0, high, (n,), generator=order) for high in (9, 9, 2)]
    drawn = torch.stack(drawn)
    if x.is_cuda:  # from pinned memory a copy does not wait for the GPU
        drawn = drawn.pin_memory()
    dy, dx, flip = drawn.to(x.device, non_blocking=True)
    images = torch.arange(n, device=x.device)[:, None, None]
    rows = torch.arange(height, device=x.device) + dy[:, None]
    columns = torch.arange(width, device=x.device)
    columns = torch.where(flip[:, None] == 1, width - 1 - columns, columns) + dx[:, None]
    padded = F.pad(x, (4, 4, 4, 4))
    return padded[images, :, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)
