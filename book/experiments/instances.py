"""What the four L2UL experiments share: one unit is one setting on one request with one seed.

Besides accuracies it measures what someone has who holds the model and the items alone: how many
steps it took, whether it was `finished`, how many attacks `reached` their class, and on what share
of fresh adversarial images the new model agrees with the original (`agreement`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.data import Subset

from book.experiments import said
from minilearn import data
from minilearn.checks import device_of
from minilearn.data.batches import items_of
from minilearn.data.examples import Examples
from minilearn.evaluation import evaluate
from minilearn.methods import L2UL, l2_pgd, l2ul
from minilearn.methods.continual import continual
from minilearn.requests import Request
from minilearn.sweep import Unit, value
from minilearn.training import NonFiniteLoss
from minilearn.unlearned import NothingToDo

SHOWN = 10_000  # retained images whose accuracy is measured


def methods(base: L2UL) -> dict[str, L2UL]:
    """The paper's three: gradient ascent, with adversarial images, and with the anchor as well.

    The ascent is the published one, over all items at every step; `neggrad_open` is not published:
    it is over the items that are left, as in `base`.
    """
    ascent = replace(base, attack=None, anchor=0.0, forget_weight=None, importance="per-item")
    forms = {"neggrad": replace(ascent, forget_loss_on="all")}
    if base.forget_loss_on == "remaining":
        forms["neggrad_open"] = ascent
    return {**forms, "l2ul_adv": replace(base, anchor=0.0), "l2ul": base}


def word(field: str) -> str:
    """What the rows and the results page call a setting: "push" for `forget_loss_on`."""
    return {"forget_loss_on": "push"}.get(field, field)


def capped(config: L2UL, items: int, steps: int) -> L2UL:
    """The same with as many passes as make about so many steps.

    Example:
        >>> capped(L2UL(), items=64, steps=1000).epochs  # 20 attacks of each, 256 images a step
        200
    """
    count, size = items, config.batch_size
    if config.attack:
        count, size = items * config.attack.repeats, config.adversarial_batch
    return replace(config, epochs=max(1, steps // -(-count // size)))


def unit(
    dataset: str,
    request: Callable[[], Request],
    name: str,
    method: str,
    seed: int,
    config: L2UL,
    settings: str,
    model: Callable[[], nn.Module],
    splits: Callable[[Request], Mapping[str, Examples]],
    relabel: Callable[[Examples], Tensor] | None = None,
) -> Unit:
    """A unit of L2UL; `name` says in words what is asked, `splits(request)` what is evaluated.

    `relabel(items)` gives the items' new labels; without it they are to be misclassified.
    """
    measure = partial(_measure, request, seed, config, model, splits, relabel)
    return Unit(dataset, name, method, seed, f"{settings}; {said(config)}", measure)


def reference(
    dataset: str,
    name: str,
    method: str,
    seed: int,
    settings: str,
    model: Callable[[], nn.Module],
    splits: Callable[[], Mapping[str, Examples]],
) -> Unit:
    """The unit of a model to compare with: the original, or one retrained without the items."""

    def measure() -> list[dict]:
        return list(accuracies(model(), splits()))

    return Unit(dataset, name, method, seed, settings, measure)


def streamed(requests, seed: int, config: L2UL, model, splits) -> list[dict]:
    """What is left of a model that served several requests one after another.

    `forget` are the items of all requests; `finished` says whether every request was.
    """
    requests = requests()
    masks = torch.stack([request.mask for request in requests]).any(0)
    whole = Request(requests[0].train, masks, "all requests")
    requests = [replace(request, train=whole.train) for request in requests]
    try:
        after, served = continual(l2ul, model(), requests, config=config, seed=seed)
    except NonFiniteLoss:
        return overflowed()
    finished = all(one.finished for one in served)
    samples = sum(one.samples for one in served)
    rows = [*accuracies(after, splits(whole)), value("finished", "", int(finished), "0 or 1")]
    rows.append(value("samples", "", samples, "sample units"))
    return [*rows, value("seconds", "", sum(one.seconds for one in served), "s")]


def _measure(request, seed: int, config: L2UL, model, splits, relabel=None) -> list[dict]:
    request = request()
    before = model()
    new = {}
    if relabel is not None:
        new["relabel"] = relabel(items_of(request.forget, device_of(before)))
    try:
        result = l2ul(before, request.forget, **new, config=config, seed=seed)
    except NonFiniteLoss:
        return overflowed()
    except NothingToDo:  # no item is classified right
        rows = [*accuracies(before, splits(request)), value("finished", "", 1, "0 or 1")]
        return [*rows, value("steps", "", 0, "steps")]
    rows = [*accuracies(result.model, splits(request))]
    rows.append(value("finished", "", int(result.finished), "0 or 1"))
    rows.append(value("steps", "", len(result.history.loss), "steps"))
    rows.append(value("samples", "", result.cost.samples, "sample units"))
    rows.append(value("seconds", "", result.cost.seconds, "s"))
    if config.attack:
        fresh = l2_pgd(before, request.forget, replace(config.attack, repeats=10), seed=seed + 1)
        said = evaluate(before, Examples(fresh.images, fresh.targets)).outputs.argmax(1)
        agree = evaluate(result.model, Examples(fresh.images, said)).correct
        rows.append(value("reached", "", fresh.reached.double().mean(), "fraction"))
        rows.append(value("agreement", "", agree.double().mean(), "fraction"))
    return rows


def overflowed() -> list[dict]:
    """The rows of a run whose loss was not finite: no model is left."""
    return [value("finished", "", 0, "0 or 1"), value("overflowed", "", 1, "0 or 1")]


def accuracies(model: nn.Module, splits: Mapping[str, Examples]) -> Iterator[dict]:
    """The rows of the accuracy on every split."""
    for split, part in splits.items():
        correct = evaluate(model, part).correct.double().mean()
        yield value("accuracy", split, correct, "fraction")


def splits(sets: Callable[[], data.Split], request: Request | None = None) -> dict:
    """What is evaluated: of the retained images some, drawn by a fixed seed."""
    train, test = sets()
    if request is None:
        return {"retain": _some(train), "test": test}
    return {"forget": request.forget, "retain": _some(request.retain), "test": test}


def _some(images):
    """At most so many of a set's images."""
    if isinstance(images, Examples):
        return images.sample(SHOWN)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return Subset(images, order[:SHOWN].tolist())


def random_items(train: Examples, count: int, seed: int) -> torch.Tensor:
    """Positions of `count` examples, drawn by the seed alone."""
    order = torch.Generator().manual_seed(1000 + seed)
    return torch.randperm(len(train), generator=order)[:count]
