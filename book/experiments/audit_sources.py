"""Where the spread of a report's numbers comes from: what is forgotten, the original, the method.

A draw forgets half of the candidates of `audit_digits`. Every draw has originals of several seeds,
and every original is unlearned several times. `sources_of_variance` parts the spread of a number
into these three; `spread` is the standard deviation of all of it. `runs_...` says how many draws,
originals a draw and unlearned models of each give the surest mean for the price of `BUDGET`
trainings, where another draw costs a retrained model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache, partial

import torch
from torch import Tensor, nn

from book.experiments import Run, said
from book.experiments.audit_digits import METHODS, NETWORKS, RECIPE, pool_of
from minilearn import data
from minilearn.evaluation import Evaluation, evaluate
from minilearn.methods import METHODS as EVERY
from minilearn.methods import retrain, unlearn
from minilearn.metrics import accuracy, loss_attack
from minilearn.requests import by_index
from minilearn.sources import STAGES, design, sources_of_variance
from minilearn.sweep import Unit, value
from minilearn.trials import pairs_of_draws

SEEDS = 1
COUNTS = {"toy": (8, 4, 4), "small": (16, 6, 6), "paper": (32, 8, 8)}  # of each stage
BUDGET = 40
NUMBERS: dict[str, Callable[[Evaluation, Evaluation], float]] = {
    "accuracy on forget": lambda forget, test: accuracy(forget),
    "accuracy on test": lambda forget, test: accuracy(test),
    "loss_attack_auc": lambda forget, test: loss_attack(forget, test).auc,
}


def units(run: Run) -> Iterator[Unit]:
    """A number of a method is a unit."""
    draws, seeds, times = COUNTS[run.size]
    about = (
        f"size={run.size}; {draws} draws, {seeds} originals each, {times} times unlearned each; "
    )
    about += f"digits, 8 pixels; mlp; original={RECIPE}"
    for seed in run.seeds:
        originals = cache(partial(_originals, run, seed))
        for name, config in METHODS.items():
            values = cache(partial(_values, run, seed, originals, name, config))
            for number in NUMBERS:
                method, settings = name.replace(" ", "_"), f"{about}; {name}={said(config)}"
                yield Unit("digits", number, method, seed, settings, partial(_rows, values, number))


def _originals(run: Run, seed: int) -> list[list[nn.Module]]:
    """Models of all digits: draws, and seeds of each."""
    train = data.digits().train.to(run.device)
    draws, seeds, _ = COUNTS[run.size]
    fresh = partial(_fresh, run)
    numbers = torch.arange(draws * seeds).view(draws, seeds) + 10_000 * seed
    return [
        [retrain(fresh, train, config=RECIPE, seed=number).model for number in row]
        for row in numbers.tolist()
    ]


def _fresh(run: Run) -> nn.Module:
    return NETWORKS["mlp"]().to(run.device)


def _values(run: Run, seed: int, originals, name: str, config) -> tuple[dict[str, Tensor], float]:
    """Every number, (draws, seeds, times), and what unlearning costs of a training."""
    train, test = (part.to(run.device) for part in data.digits())
    draws, seeds, times = COUNTS[run.size]
    pool = pool_of(train, "items", seed)[1].sort().values
    forgotten = pairs_of_draws(draws, len(pool), seed)
    found = {number: torch.zeros(draws, seeds, times) for number in NUMBERS}
    samples = []
    for d, models in enumerate(originals()):
        request = by_index(train, pool[forgotten[d]])
        for s, model in enumerate(models):
            for u in range(times):
                options = {"fresh": partial(_fresh, run), "config": config, "seed": u}
                result = unlearn(EVERY[name.split(" ")[0]], model, request, **options)
                sides = evaluate(result.model, request.forget), evaluate(result.model, test)
                for number, measure in NUMBERS.items():
                    found[number][d, s, u] = measure(*sides)
                samples.append(result.cost.samples)
    price = sum(samples) / len(samples) / (RECIPE.epochs * len(train))
    return found, price


def _rows(values, number: str) -> list[dict]:
    found, price = values()
    table = sources_of_variance(found[number])
    shares = table["share"]
    rows = [value("spread", "", math.sqrt(table["variance"].sum()), "of the number")]
    rows += [value(f"share_{_word(stage)}", "", shares[stage], "fraction") for stage in STAGES]
    rows.append(value("price", "", price, "trainings"))
    if table["variance"].sum() > 0:
        runs = design(table["variance"].tolist(), (1.0, 1.0, price), BUDGET)
        rows += [
            value(f"runs_{_word(stage)}", "", count, f"for {BUDGET} trainings")
            for stage, count in zip(STAGES, runs, strict=True)
        ]
    return rows


def _word(stage: str) -> str:
    return stage.replace(" ", "_")
