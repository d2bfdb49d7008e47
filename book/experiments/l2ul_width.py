"""Does a wider network keep its accuracy under L2UL? The paper's ResNet-18 at four widths.

The size says how wide it is: "toy" an eighth and a quarter of the paper's channels, "small" a half,
"paper" all of them. Each is trained here on the real CIFAR-10 by one recipe, a cycle of 30 epochs
with crops and flips, and then forgets the same items as `l2ul_cifar10`: by our settings, by the
released ones, and by the smallest rate and radius that the authors advise. One core of a CPU trains
a quarter of the width in half an hour, a half in an hour and a half, and the whole in two hours and
a half. The whole width is trained in bfloat16; give a `--cache`, and it goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import cache, partial

import torch
from torch import nn

from book.experiments import Run, oracle
from book.experiments.instances import capped, methods, random_items, reference, splits, unit
from book.experiments.l2ul_cifar10 import BASE, PAPER, RELEASED, STEPS, one_cycle, pretrain
from minilearn import data
from minilearn.data import Examples
from minilearn.models import Normalize, build, resnet18
from minilearn.precision import fast
from minilearn.requests import Request, by_index
from minilearn.sweep import Unit
from minilearn.training import Training

SEEDS = 3
WIDTHS = {"toy": (0.125, 0.25), "small": (0.5,), "paper": (1.0,)}
COUNTS = (16, 1, 64)
RECIPE = Training(30, 256, 0.2, "sgd", weight_decay=5e-4)  # the rate is the peak of the cycle
ADVISED = replace(RELEASED, attack=replace(RELEASED.attack, eps=1.0), lr=1e-4)
SETTINGS = {"base": BASE, "as released": RELEASED, "advised": ADVISED}


def units(run: Run) -> Iterator[Unit]:
    """Of every width the original, then every number of items, seed, setting and method."""

    @cache
    def sets() -> data.Split:
        return data.Split(*(part.to(run.device) for part in data.load("cifar10")))

    for width in WIDTHS[run.size]:
        yield from _of(run, width, sets)


def _of(run: Run, width: float, sets: Callable[[], data.Split]) -> Iterator[Unit]:
    """The units of one width."""
    where = f"cifar10; {run.device.type}; resnet18, width {width}"
    where += f"; original={RECIPE}, one cycle, crops and flips" + ", in bfloat16" * (width == 1)

    @cache
    def model() -> nn.Module:
        return trained(run, width, sets().train)

    def ask(count: int, seed: int) -> Request:
        return by_index(sets().train, random_items(sets().train, count, seed))

    parts = partial(splits, sets)
    said = f"size={run.size}; original; {where}"
    yield reference("cifar10", "nothing", "original", 0, said, model, parts)
    for seed in run.seeds:
        for label, config in oracle.SETTINGS.items():
            said = f"size={run.size}; {label}; {where}"
            given = "cifar10", partial(ask, 16, seed), "16 random items", seed, config
            yield oracle.unit(*given, said, model, parts)
    for count in COUNTS:
        name = f"{count} random item{'s' * (count > 1)}"
        for seed in run.seeds:
            for label, base in SETTINGS.items():
                said = f"size={run.size}; {label}; {where}"
                for method, config in methods(base).items():
                    given = "cifar10", partial(ask, count, seed), name, method, seed
                    yield unit(*given, capped(config, count, STEPS), said, model, parts)


def trained(run: Run, width: float, train: Examples) -> nn.Module:
    """The network of a width, trained here; the whole width in bfloat16, which takes less time."""

    def fresh() -> nn.Module:
        return nn.Sequential(Normalize(*PAPER), resnet18(pool=True, width=width)).to(run.device)

    file = run.file("cifar10", f"resnet18-{width}")
    with fast(torch.bfloat16) if width == 1 else nullcontext():
        return pretrain(build(fresh, 0), train, RECIPE, partial(one_cycle, RECIPE), file)
