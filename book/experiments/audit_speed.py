"""How much faster networks are trained as one stack than one after the other.

Both sides are timed in turns in one run, after one turn that does not count; `ratio` is the median
of the turns' ratios, and the seconds are of one model. The sets are halves of the digits, another
one a network. `retrain` builds the networks, `stack` is there before a method begins.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import nn
from tqdm import tqdm

from book.experiments import Run, audit_digits, said
from book.experiments.overhead import seconds_of
from minilearn import data
from minilearn.methods import METHODS, SCRUB, BadTeacher, Boundary, NegGrad, unlearn
from minilearn.models import build, cnn
from minilearn.requests import Request
from minilearn.stack import side_by_side, stack
from minilearn.sweep import Unit, value
from minilearn.training import Training

SEEDS, TURNS = 1, 5
NETWORKS = audit_digits.NETWORKS | {"cnn": lambda: cnn(10, 8)}
TOGETHER = {"toy": (16,), "small": (16, 64), "paper": (16, 64)}
CONFIGS = {
    "retrain": Training(epochs=2),
    "finetune": Training(epochs=2),
    "neggrad": NegGrad(epochs=10),
    "bad_teacher": BadTeacher(epochs=3, batch_size=64),
    "scrub": SCRUB(epochs=1, ascents=1),
    "boundary": Boundary(epochs=10),
}


def units(run: Run) -> Iterator[Unit]:
    """Retraining for every network; the other methods for the small CNN."""
    for seed in run.seeds:
        for networks in TOGETHER[run.size]:
            for network in NETWORKS:
                for name in CONFIGS if network == "small_cnn" else ("retrain",):
                    about = f"size={run.size}; {run.device.type}; {networks} networks; {network}; "
                    about += f"{name}={said(CONFIGS[name])}; median of {TURNS} turns"
                    measure = partial(_measure, network, networks, name, seed, run.device)
                    yield Unit("digits", f"{networks} networks", name, seed, about, measure)


def _measure(network: str, networks: int, name: str, seed: int, device) -> list[dict]:
    as_one, alone = sides(network, networks, name, seed, device)
    turns = [[seconds_of(side, device) for side in (as_one, alone)] for _ in range(TURNS + 1)][1:]
    ratio = statistics.median(loop / mine for mine, loop in turns)
    tqdm.write(f"{networks} x {network}, {name}: {ratio:.2f} times as fast as one by one")
    mine, loop = (statistics.median(times) / networks for times in zip(*turns, strict=True))
    rows = [value("ratio", "", ratio, "x"), value("seconds", "", mine, "s a model")]
    rows.append(value("loop_seconds", "", loop, "s a model"))
    return [*rows, value("turns", "", len(turns), "turns")]


def sides(
    network: str, networks: int, name: str, seed: int, device
) -> tuple[Callable[[], None], Callable[[], None]]:
    """The method on a stack, and on each of its networks."""
    train = data.digits().train.to(device)
    order = torch.Generator().manual_seed(seed)
    half = len(train) // 2
    sets = [train[torch.randperm(len(train), generator=order)[:half]] for _ in range(networks)]
    mask = torch.arange(half) < half // 10

    def fresh() -> nn.Module:
        return NETWORKS[network]().to(device)

    def several() -> nn.Module:
        return stack([fresh() for _ in sets], train.inputs[:2])

    models = [build(fresh, seed + number) for number in range(networks)]
    together, request = stack(models, train.inputs[:2]), Request(side_by_side(sets), mask)
    options = {"config": CONFIGS[name], "seed": seed}

    def as_one():
        unlearn(METHODS[name], together, request, fresh=several, **options)

    def alone():
        for model, examples in zip(models, sets, strict=True):
            unlearn(METHODS[name], model, Request(examples, mask), fresh=fresh, **options)

    return as_one, alone
