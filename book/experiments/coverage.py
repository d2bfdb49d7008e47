"""How often the report's null band holds what it promises: one more retrained model lies inside.

For each of 200 groups k retrained models are the ruler, and others of the group are handed in as if
a method had made them: one, or the mean of five. The share that lies inside is set beside the level
of the band. `interval` is the band of the report, `range` what it was before, from the smallest to
the largest value of the k models, or of all their pairs.

The groups are drawn from a pool of retrained models, so that a model is in several of them; within
a group no model stands twice. With `--size paper` every group has models of its own. The networks
are small, so that a pool is trained in minutes. Gaps are left out: a gap is inside exactly where
the score that it is of is inside.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial

import torch
from torch import nn

from book.experiments import Run
from minilearn import data
from minilearn.methods import retrain
from minilearn.metrics.band import null_band
from minilearn.metrics.metric import Metric, Results, results_of, task_of
from minilearn.metrics.registry import DEFAULT, METRICS
from minilearn.models import Network
from minilearn.requests import Request, by_group, by_range
from minilearn.sweep import Unit, value
from minilearn.training import Training

SEEDS = 1
GROUPS, KS, MORE = 200, (2, 3, 5, 10, 20), 5
MEMBERS = max(KS) + MORE
POOLS = {"toy": 600, "small": 2000, "paper": GROUPS * MEMBERS}
WIDTH = 32


@dataclass(eq=False)
class Pool:
    """Retrained models as the metrics see them; every value is computed once."""

    models: list[Results]
    known: dict = field(default_factory=dict)

    def value(self, metric: Metric, split: str, i: int, j: int | None = None) -> float:
        """Of model i, against model j for a pairwise metric."""
        key = metric.name, split, i, j
        if key not in self.known:
            reference = None if j is None else self.models[j]
            self.known[key] = metric.compute(self.models[i], reference, split)
        return self.known[key]

    def against(self, metric: Metric, split: str, i: int, gold: list[int]) -> list[float]:
        """The values of model i: its own, or one against each of the others."""
        if not metric.pairwise:
            return [self.value(metric, split, i)]
        return [self.value(metric, split, i, j) for j in gold if j != i]


def units(run: Run) -> Iterator[Unit]:
    """A unit a set, ruler, number of retrained models and number of models that are judged."""
    sets = {"digits": _digits, "rotated_digits": _rotated_digits}
    for name, make in sets.items():
        request, tests, fresh, recipe = make()
        pool = cache(partial(_pool, run, request, tests, fresh, recipe))
        for ruler, more in (("interval", 1), ("interval", MORE), ("range", 1)):
            for k in KS:
                config = f"size={run.size}; k={k}; more={more}; {GROUPS} groups of a pool of "
                config += f"{POOLS[run.size]}; one hidden layer of {WIDTH}; retrained={recipe}"
                measure = partial(_measure, pool, ruler, k, more)
                yield Unit(name, request.name, ruler, 0, config, measure)


def _digits():
    train, test = data.digits()
    recipe = Training(epochs=20, lr=3e-3, batch_size=128)
    return by_group(train, 5), {"test": test}, partial(_network, 64, 10), recipe


def _rotated_digits():
    train, test = data.rotated_digits(12, 1)
    recipe = Training(epochs=20, lr=1e-2, batch_size=128)
    return by_range(train, 0, 30), {"test": test}, partial(_network, 144, 1), recipe


def _network(inputs: int, outputs: int) -> nn.Module:
    body = nn.Sequential(nn.Flatten(), nn.Linear(inputs, WIDTH), nn.ReLU())
    return Network(body, nn.Linear(WIDTH, outputs), squeeze=outputs == 1)


def _on(device: torch.device, fresh: Callable[[], nn.Module]) -> nn.Module:
    return fresh().to(device)


def _pool(run: Run, request: Request, tests: dict, fresh: Callable, recipe: Training) -> Pool:
    splits = {"forget": request.forget, "retain": request.retain, **tests}
    splits = {name: part.to(run.device) for name, part in splits.items()}
    models = []
    for seed in range(POOLS[run.size]):
        there = partial(_on, run.device, fresh)
        model = retrain(there, splits["retain"], config=recipe, seed=seed).model
        models.append(results_of(model, splits))
    return Pool(models)


def _groups(size: int) -> list[list[int]]:
    """Members of each group, by seed; of a pool that is large enough each group has its own."""
    if size == GROUPS * MEMBERS:
        return torch.arange(size).reshape(GROUPS, MEMBERS).tolist()
    generator = torch.Generator().manual_seed(0)
    return [torch.randperm(size, generator=generator)[:MEMBERS].tolist() for _ in range(GROUPS)]


def _measure(make: Callable[[], Pool], ruler: str, k: int, more: int) -> list[dict]:
    pool, rows = make(), []
    results = pool.models[0]
    for metric in (METRICS[name] for name in DEFAULT):
        few = metric.pairwise and ruler == "interval" and k < 3
        if few or metric.relative or task_of(results) not in metric.tasks:
            continue
        for split in [split for split in metric.splits if split in ("", *results)]:
            held = [
                _inside(pool, metric, split, ruler, group[:k], group[-more:])
                for group in _groups(len(pool.models))
            ]
            share = statistics.fmean(held)
            rows.append(value(metric.name, split, share, f"share inside, of {GROUPS}"))
    return rows


def _inside(pool: Pool, metric: Metric, split: str, ruler: str, gold: list, judged: list) -> bool:
    null = [pool.against(metric, split, i, gold) for i in gold]
    mean = statistics.fmean(statistics.fmean(pool.against(metric, split, i, gold)) for i in judged)
    if ruler == "range":
        values = [number for each in null for number in each]
        low, high = min(values), max(values)
        low = -math.inf if metric.good == "low" else low
        high = math.inf if metric.good == "high" else high
    else:
        least, most, grain = metric.scale(pool.models[gold[0]], split)
        low, high = null_band(
            [statistics.fmean(each) for each in null],
            more=len(judged),
            side=metric.good,
            pairwise=metric.pairwise,
            least=least,
            most=most,
            grain=grain,
            fewest=2,
        )
    return low - 1e-9 <= mean <= high + 1e-9
