"""What a method takes beside its network passes: its wall time over that of a bare loop.

The bare loops stand in `bare.py`: nothing but the same forward and backward passes, the same losses
and the same optimiser over the same batches, without seeds, ledger, clock, checks, checkpoint and
unfinished epochs. Parts that are no loop (attack, importance, autoencoders, drawn targets) are
called on both sides. Both sides are timed in turns in one run; `overhead` is the median of the
turns' ratios, and 1 is a method that adds nothing.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import nn
from tqdm import tqdm

from book.experiments import Run, said
from book.experiments.bare import BARE
from minilearn import data
from minilearn.methods import (
    L2UL,
    LAF,
    METHODS,
    PGD,
    SCRUB,
    Amnesiac,
    BadTeacher,
    Blindspot,
    Boundary,
    NegGrad,
    Repair,
    unlearn,
)
from minilearn.models import build, cnn, small_cnn
from minilearn.requests import by_class, by_range
from minilearn.sweep import Unit, value
from minilearn.training import Training, fit

TURNS = 5
BAND = (0, 30)  # degrees
CONFIGS = {
    "retrain": Training(epochs=8),
    "finetune": Training(epochs=8),
    "neggrad": NegGrad(epochs=40),
    "repair": Repair(fraction=1.0, epochs=8),
    "scrub": SCRUB(epochs=5),
    "bad_teacher": BadTeacher(epochs=12, batch_size=64),
    "boundary": Boundary(epochs=80),
    "l2ul": L2UL(PGD(2.0, steps=10, repeats=10), epochs=3, lr=1e-9, batch_norm="train"),
    "laf": LAF(epochs=12, vae=Training(epochs=2, batch_size=32)),
    "amnesiac": Amnesiac(epochs=5),
    "blindspot": Blindspot(epochs=4),
}


def units(run: Run) -> Iterator[Unit]:
    """A unit for every method that has a loop, and seed."""
    for seed in run.seeds:
        for name, config in CONFIGS.items():
            regression = name in ("amnesiac", "blindspot")
            dataset = "rotated_digits" if regression else "digits"
            network = "small_cnn" if regression else "cnn"
            about = f"size={run.size}; {run.device.type}; {network}; {name}={said(config)}; "
            about += f"median of {TURNS} turns"
            measure = partial(_measure, name, config, seed, run.device)
            yield Unit(dataset, "overhead", name, seed, about, measure)


def _measure(name: str, config, seed: int, device: torch.device) -> list[dict]:
    ours, bare = sides(name, config, seed, device)
    turns = [(seconds_of(ours, device), seconds_of(bare, device)) for _ in range(TURNS + 1)][1:]
    overhead = statistics.median(mine / theirs for mine, theirs in turns)
    tqdm.write(f"{name}: {overhead:.3f} of a bare loop")
    seconds = statistics.median(mine for mine, _ in turns)
    rows = [value("overhead", "", overhead, "x"), value("seconds", "", seconds, "s")]
    return [*rows, value("turns", "", len(turns), "turns")]


def sides(name: str, config, seed: int, device) -> tuple[Callable, Callable]:
    """The method, and the bare loop that does the same; each returns its new model."""
    if name in ("amnesiac", "blindspot"):
        train = data.rotated_digits(12, 1).train.to(device)
        request, fresh = by_range(train, *BAND), lambda: small_cnn().to(device)
    else:
        train = data.digits().train.to(device)
        request, fresh = by_class(train, 3), lambda: cnn(10, 8).to(device)
    model = build(fresh, seed)
    fit(model, train, Training(epochs=2), seed=seed, progress=False)
    options = {"fresh": fresh, "config": config, "seed": seed}
    if name == "blindspot":
        options["teacher"] = build(fresh, seed + 1)

    def ours() -> nn.Module:
        return unlearn(METHODS[name], model, request, **options).model

    def bare() -> nn.Module:
        torch.manual_seed(seed)
        return BARE[name](model, request, config, torch.Generator().manual_seed(seed), options)

    return ours, bare


def seconds_of(run: Callable, device: torch.device) -> float:
    """The wall time of a call, waiting for the device at both ends."""

    def wait():
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    wait()
    begin = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - begin
