"""Attacks per example on the digits: what is left of chosen items, which no mean over a set shows.

A pool of random items is forgotten half by half, in many draws. Every method starts from an
original of each draw, with its default settings. "original" did nothing; "retrained again" is the
null. On `test`, which nobody trained on, an attack finds that a model was changed, and no memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from tempfile import mkdtemp

import torch
from torch import nn

from book.experiments import Run
from minilearn import data
from minilearn.methods import METHODS
from minilearn.models import small_cnn
from minilearn.sweep import Unit, value
from minilearn.training import Training
from minilearn.trials import AGAIN, ORIGINAL, Trials, trials

SEEDS = 1
DRAWS = {"toy": 16, "small": 64, "paper": 64}
POOL = 64
RECIPE = Training(epochs=20)
# Those for numbers; one that is retraining; one that repairs and does not forget.
LEFT_OUT = ("amnesiac", "blindspot", "retrain", "repair")
SLOW = ("l2ul",)  # half a minute a draw, and so not at size "toy"


def units(run: Run) -> Iterator[Unit]:
    """A unit a column of the trials."""
    folder = cache(partial(_folder, run))
    left_out = LEFT_OUT + (SLOW if run.size == "toy" else ())
    for column in (ORIGINAL, AGAIN, *(name for name in METHODS if name not in left_out)):
        config = f"size={run.size}; {DRAWS[run.size]} draws; small_cnn; original={RECIPE}; "
        config += "default settings"
        measure = partial(_measure, run, folder, column)
        yield Unit("digits", f"halves of {POOL} random items", column, 0, config, measure)


def _folder(run: Run):
    return run.file("trials") or mkdtemp(prefix="trials-")


def _network(device: torch.device) -> nn.Module:
    return small_cnn(10, size=8).to(device)


def _measure(run: Run, folder, column: str) -> list[dict]:
    train, test = (part.to(run.device) for part in data.digits())
    order = torch.Generator().manual_seed(0)
    pool = torch.randperm(len(train), generator=order)[:POOL]
    methods = {column: None} if column in METHODS else {}
    options = {"draws": DRAWS[run.size], "training": RECIPE}
    found = trials(partial(_network, run.device), train, pool, test, methods, folder(), **options)
    return list(_rows(found, column))


def _rows(found: Trials, column: str) -> Iterator[dict]:
    for split in ("forget", "test"):
        verdict = found.attack(column, unseen=split == "test")
        yield value("ulira_auc", split, verdict.auc, "chance 0.5")
        yield value("ulira_low", split, verdict.low, "lower end of the 95 % interval")
        yield value("ulira_high", split, verdict.high, "upper end of the 95 % interval")
    yield value("ulira_tpr", "forget", found.attack(column).tpr_at_1fpr, "share found at 1 %")
    left = found.memory_left(column)
    left = left[left.isfinite()]
    for name, q in (("memory_left", 0.5), ("memory_left_low", 0.1), ("memory_left_high", 0.9)):
        yield value(name, "forget", left.quantile(q), f"1 = all; {q:.0%} of {len(left)} items")
