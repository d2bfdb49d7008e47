"""The comparison that four experiments share: regression methods beside retrained models."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from torch import nn

from book.experiments import Run, said
from minilearn.data.examples import Examples
from minilearn.evaluation import Evaluation, evaluate
from minilearn.methods import METHODS, Unlearned, retrain, unlearn
from minilearn.metrics import anamnesis_index, svc_attack, svc_attack_published
from minilearn.metrics.registry import METRICS
from minilearn.requests import Request
from minilearn.sweep import Unit, value
from minilearn.training import Best, Training

SCORES = {"auto": "mae", "absolute": "mae", "squared": "mse"}  # a Quantile gives quantile_loss


@dataclass(frozen=True)
class Case:
    """What is forgotten, by which network and recipes, and what others publish about it.

    `unseen` is the same request on the test set. With `validation`, the same on a validation set,
    every model but the student keeps its best epoch: of all of it for the original, of its retained
    part for the others; or those that `selected` names do. What `without_retain` names sees the
    forgotten examples alone. With `relearning`, a recipe whose epochs are the most, the paper's
    attack and its anamnesis index are measured, too.
    """

    dataset: str
    request: Request
    unseen: Request
    fresh: Callable[[], nn.Module]
    recipe: Training  # of the original and the retrained models
    configs: Mapping[str, Any]  # of the methods, by name
    units: tuple[str, str]  # of the score and of a prediction
    settings: str  # what makes the data and the network
    validation: Request | None = None
    selected: tuple[str, ...] | None = None
    without_retain: tuple[str, ...] = ()
    relearning: Training | None = None
    published: Mapping[tuple[str, str], float] = field(default_factory=dict)  # (method, split)
    source: str = ""


def compare(run: Run, case: Case) -> Iterator[Unit]:
    """The original, retrained models, all methods of `case.configs`, and the blindspot model alone.

    A retrained model is compared with the next seed's, which shows how far two of them are apart;
    every other model with the retrained one of its own seed.

    Raises: whatever a method raises, when the unit is measured
    """
    models = _models(run, case)
    teacher = replace(case.configs["blindspot"].teacher, loss=case.recipe.loss)
    settings = {**case.configs, "blindspot_model": teacher}
    for seed in run.seeds:
        for name in models:
            config = f"size={run.size}; {case.settings}; original={case.recipe}"
            if name in settings:
                config += f"; {name}={said(settings[name])}"
            measure = partial(_measure, case, models, name, seed)
            yield Unit(case.dataset, case.request.name, name, seed, config, measure)


def _models(run: Run, case: Case) -> dict[str, Callable[[int], Unlearned]]:
    """Functions from a seed to a model; what several methods need is made once."""

    def from_scratch(name: str, seed: int, data: Examples, config: Training, shift: int = 0):
        # the weights of the best epoch are not in a checkpoint: then it is all trained again
        best = _best(case, name)
        path = _file(run, case, name, seed) if best is None else None
        result = retrain(
            case.fresh, data, config=config, seed=seed + shift, watch=best, checkpoint=path
        )
        return _kept(result, best)

    @cache
    def original(seed: int) -> Unlearned:
        return from_scratch("original", seed, case.request.train, case.recipe)

    @cache
    def retrained(seed: int) -> Unlearned:  # from other new weights than the original
        return from_scratch("retrained", seed, case.request.retain, case.recipe, 100)

    @cache
    def teacher(seed: int) -> Unlearned:
        recipe = replace(case.configs["blindspot"].teacher, loss=case.recipe.loss)
        return from_scratch("blindspot_model", seed, case.request.retain, recipe, 10_000)

    def student(seed: int) -> Unlearned:
        start, taught = original(seed).model, teacher(seed)
        options = {"fresh": case.fresh, "config": case.configs["blindspot"], "seed": seed}
        method = METHODS["blindspot"]
        result = unlearn(method, start, case.request, teacher=taught.model, **options)
        return replace(result, cost=result.cost + taught.cost)

    def other(name: str, seed: int) -> Unlearned:
        best, start = _best(case, name), original(seed).model
        options = {"config": case.configs[name], "seed": seed, "watch": best}
        if name in case.without_retain:
            options["retain"] = None
        result = unlearn(METHODS[name], start, case.request, **options)
        return _kept(result, best)

    others = {name: partial(other, name) for name in case.configs if name != "blindspot"}
    models = {"original": original, "retrained": retrained, **others}
    return models | {"blindspot_model": teacher, "blindspot": student}


def _file(run: Run, case: Case, name: str, seed: int) -> Path | None:
    """Where the cache keeps a model, apart from those of other networks and requests."""
    asked = re.sub(r"\W+", "-", case.request.name).strip("-")
    return run.file(run.experiment, asked, name, seed)


def _best(case: Case, name: str) -> Best | None:
    if case.validation is None or name not in (case.selected or (name,)):
        return None
    data = case.validation.train if name == "original" else case.validation.retain
    return Best(data, loss=case.recipe.loss)


def _kept(result: Unlearned, best: Best | None) -> Unlearned:
    if best is not None:
        best.restore(result.model)
    return result


def _measure(case: Case, models: dict, name: str, seed: int) -> list[dict]:
    result, loss = models[name](seed), case.recipe.loss
    sets = {
        "forget": case.request.forget,
        "retain": case.request.retain,
        "test_forget": case.unseen.forget,
        "test_retain": case.unseen.retain,
    }
    ours = {split: evaluate(result.model, data, loss=loss) for split, data in sets.items()}
    reference = models["retrained"](seed + (name == "retrained"))
    theirs = {"forget": evaluate(reference.model, case.request.forget, loss=loss)}
    rows = [_score(case, name, split, evaluation) for split, evaluation in ours.items()]
    for metric in ("wasserstein", "paired_difference"):
        number = METRICS[metric].compute(ours, theirs, "forget")
        rows.append(value(metric, "forget", number, case.units[1]))
    if case.relearning is not None:
        models_of = (result.model, reference.model, models["original"](seed).model)
        rows += [*_attacked(case, result.model, ours), *_relearned(case, *models_of)]
    rows.append(value("samples", "", result.cost.samples, "sample units"))
    return [*rows, value("seconds", "", result.cost.seconds, "s")]


def _attacked(case: Case, model: nn.Module, ours: dict[str, Evaluation]) -> Iterator[dict]:
    """The paper's attack: whom it calls a member as published, and its balanced accuracy."""
    whole, test = (
        evaluate(model, request.train, loss=case.recipe.loss)
        for request in (case.request, case.unseen)
    )
    called = svc_attack_published(whole, test, ours["forget"]).shares[0]
    yield value("svc_published", "forget", called, "fraction")
    sets = ours["retain"], ours["test_retain"], ours["forget"]
    attack = svc_attack(*sets, unseen_forget=ours["test_forget"])
    yield value("svc", "forget", attack.balanced_accuracy, "fraction")


def _relearned(case: Case, model: nn.Module, gold: nn.Module, original: nn.Module):
    """The anamnesis index on validation; no row where one of the two was not there in time."""
    request, recipe = case.validation or case.unseen, case.relearning
    cap = recipe.epochs * -(-len(case.request.train) // recipe.batch_size)
    sets = case.request.train, request.forget
    index = anamnesis_index(model, gold, original, *sets, cap=cap, config=recipe, seeds=1)
    ratio = index.median
    if ratio is not None and ratio[0] == ratio[1]:
        yield value("anamnesis", "", ratio[0], "of the retrained model's steps")


def _score(case: Case, name: str, split: str, evaluation: Evaluation) -> dict:
    loss = case.recipe.loss
    metric = SCORES[loss] if isinstance(loss, str) else "quantile_loss"
    number, published = evaluation.loss.double().mean(), case.published.get((name, split), "")
    return value(metric, split, number, case.units[0], published, case.source)
