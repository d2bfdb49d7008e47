"""What the LAF experiments share: three requests, and every method that the paper compares.

A unit is one method on one request with one seed. `asr_published` is the published number,
`asr_chance` what calling every example a member scores there; `asr` is the balanced form. Training
images are evaluated as they are, without augmentation. `neggrad` sees the forgotten examples alone;
`unrolling` starts from the original's first weights, although those were trained by Adam and the
method is for plain SGD; `sisa` has an original of its own, an ensemble.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial

from torch import nn

from book.experiments import Run, said
from minilearn.data.examples import Examples
from minilearn.evaluation import evaluate
from minilearn.methods import (
    LAF,
    METHODS,
    Repair,
    Unlearned,
    repair,
    retrain,
    sharded,
    sisa,
    unlearn,
)
from minilearn.metrics import asr, asr_published
from minilearn.models import build
from minilearn.requests import Request, by_class, by_fraction, mislabel
from minilearn.sweep import Unit, value
from minilearn.training import NonFiniteLoss, Training

CLASS = 0
TASKS = ("random", "class", "noisy")


@dataclass(frozen=True)
class Case:
    """Data, network, recipes: of the original and retrained models, of LAF by task, of others."""

    dataset: str
    data: Callable[[], tuple[Examples, Examples]]
    fresh: Callable[[], nn.Module]
    recipe: Training
    laf: Mapping[str, LAF]
    others: Mapping[str, object]
    settings: str
    repair: Repair = Repair()
    published: Mapping[tuple[str, str, str], float] = field(default_factory=dict)
    source: str = ""


def ask(train: Examples, task: str, seed: int) -> Request:
    """The published request of a task: its items are drawn by the seed."""
    if task == "random":
        return by_fraction(train, 0.4, range(5, 10), seed)
    if task == "class":
        return by_class(train, CLASS)
    return mislabel(train, 0.6, range(5), seed)


def units(run: Run, case: Case) -> Iterator[Unit]:
    """All methods on all requests, one seed after the other."""
    train, test = (part.to(run.device) for part in case.data())
    for seed in run.seeds:
        for task in TASKS:
            request = ask(train, task, seed)
            makers = _makers(run, case, request, task, seed)
            for name, (make, config) in makers.items():
                about = f"size={run.size}; {case.settings}; original={case.recipe}"
                if config is not None:
                    about += f"; {name}={said(config)}"
                measure = partial(_measure, case, request, test, task, name, make)
                yield Unit(case.dataset, f"{task}: {request.name}", name, seed, about, measure)


def _makers(run: Run, case: Case, request: Request, task: str, seed: int) -> dict:
    """(A function that makes the model, its settings) by name; each model is made once."""
    # random items and a class are forgotten by the same original
    kind = "noisy" if task == "noisy" else "clean"

    @cache
    def original() -> Unlearned:
        path = run.file(run.experiment, kind, "original", seed)
        return retrain(fresh, request.train, config=case.recipe, seed=seed, checkpoint=path)

    def retrained() -> Unlearned:  # from other new weights than the original
        path = run.file(run.experiment, task, "retrained", seed)
        retain, recipe = request.retain, case.recipe
        return retrain(fresh, retain, config=recipe, seed=100 + seed, checkpoint=path)

    @cache
    def forgotten() -> Unlearned:
        return method("laf", case.laf[task])

    def repaired() -> Unlearned:
        first = forgotten()
        result = repair(first.model, request.retain, config=case.repair, seed=seed)
        return replace(result, cost=first.cost + result.cost)

    def method(name: str, config) -> Unlearned:
        if name == "sisa":
            return sisa(sharded(fresh, request.train, config=config, seed=seed), request).result
        options = {"fresh": fresh, "start": build(fresh, seed), "config": config, "seed": seed}
        if name == "neggrad":
            options["retain"] = None
        return unlearn(METHODS[name], original().model, request, **options)

    def fresh() -> nn.Module:
        return case.fresh().to(run.device)

    return {
        "original": (original, None),
        "retrained": (retrained, None),
        "laf": (forgotten, case.laf[task]),
        "laf_repair": (repaired, (case.laf[task], case.repair)),
        **{name: (partial(method, name, one), one) for name, one in case.others.items()},
    }


def _measure(case: Case, request: Request, test: Examples, task: str, name: str, make) -> list:
    try:
        result = make()
    except NonFiniteLoss:  # the ascent overflowed: no model is left
        return [value("overflowed", "", 1, "0 or 1")]
    sets = {"retain": request.retain, "forget": request.forget, "test": test}
    if task == "class":
        gone = test.targets == CLASS
        sets |= {"test_forget": test[gone], "test_retain": test[~gone]}
    results = {split: evaluate(result.model, data) for split, data in sets.items()}
    rows = []
    for split, evaluation in results.items():
        number = evaluation.correct.double().mean()
        known = case.published.get((task, name, split), "")
        rows.append(value("accuracy", split, number, "fraction", known, case.source))
    attack = asr_published(results["retain"], results["test"], results["forget"])
    known = case.published.get((task, name, "asr"), "")
    rows.append(value("asr_published", "forget", attack.value, "fraction", known, case.source))
    rows.append(value("asr_chance", "forget", attack.always_member, "fraction"))
    rows.append(value("asr", "forget", _balanced(results), "fraction"))
    rows.append(value("samples", "", result.cost.samples, "sample units"))
    return [*rows, value("seconds", "", result.cost.seconds, "s")]


def _balanced(results: dict) -> float:
    alike = results.get("test_forget")
    others = results["test_retain"] if alike else results["test"]
    attack = asr(results["retain"], others, results["forget"], unseen_forget=alike)
    return attack.balanced_accuracy
