"""The columns of a report: lists of models, and what is refused among them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from minilearn.checks import check_dataset
from minilearn.data.examples import Examples
from minilearn.data.reading import rooted, targets_of, unique_rows
from minilearn.metrics.band import BAND, RETRAINED, Row
from minilearn.requests import Request
from minilearn.unlearned import Unlearned
from minilearn.warn import warn

ORIGINAL, UNTRAINED = "original", "untrained"
COSTS = ("samples", "seconds")
SOME = 0.01  # of a test set: twins by chance are fewer


def columns_of(original, retrained, methods) -> dict[str, Sequence]:
    """The lists of models by their names, the retrained ones where there are any.

    Raises: ValueError if a list is empty or no list, holds a model twice, or the original is among
        the retrained models or a bare one of a method; if methods is not a dictionary or has a name
        that is taken
    """
    if not isinstance(methods, dict) or {ORIGINAL, RETRAINED, UNTRAINED, BAND} & set(methods):
        raise ValueError(
            "methods must be a dictionary from names to lists of models, and original, retrained, "
            f"untrained and {BAND} are taken"
        )
    gold = {} if retrained is None else {RETRAINED: retrained}
    columns = {ORIGINAL: original, **gold, **methods}
    for name, models in columns.items():
        if not isinstance(models, list | tuple) or not models:
            raise ValueError(f"{name} must be a non-empty list, one model per seed")
        if len({id(model_of(entry)) for entry in models}) < len(models):
            raise ValueError(f"{name} names one model twice; every seed is a model of its own")
        networks = [model_of(entry) for entry in models]
        if any(_equal(a, b) for i, a in enumerate(networks) for b in networks[:i]):
            raise ValueError(
                f"{name} holds the same weights twice, as if one seed had been run again: give "
                "every model a seed of its own"
            )
    if any(_equal(model_of(o), model_of(r)) for o in original for r in retrained or ()):
        raise ValueError(
            "retrained holds the original, or its weights: it takes models that were trained "
            "without the forgotten data; where there are none, leave retrained out"
        )
    for name, entries in methods.items():
        if any(_shares(model_of(entry), model_of(o)) for entry in entries for o in original):
            raise ValueError(
                f"{name} holds the original itself, or its own weights, as if a method had changed "
                "them in place: let it change copy.deepcopy(model), and give that"
            )
    return columns


def _shares(one: nn.Module, other: nn.Module) -> bool:
    """Whether all weights that one network trains are the other's."""
    if not isinstance(one, nn.Module) or not isinstance(other, nn.Module):
        return False  # which is refused elsewhere
    first, second = (
        {p.data_ptr() for p in m.parameters() if p.requires_grad} for m in (one, other)
    )
    return one is other or (bool(first - {0}) and first <= second)


def check_tests(request: Request, tests: dict):
    """Refuse, by ValueError, what is not a test set; warn of a `test_forget` of other classes."""
    refuse_seen(request.train, tests)
    if "test_forget" not in tests:
        return
    if "test_retain" not in tests:
        warn(
            "test_forget comes without test_retain: learnt attacks learn from all of test then, "
            "and may be asked about what they have learnt, so give test_retain as well"
        )
    gone, alike = targets_of(request.forget), targets_of(tests["test_forget"])
    if not gone.is_floating_point() and not torch.isin(alike.cpu(), gone.cpu()).any():
        warn(
            "no class of test_forget is among the forgotten ones, so that attacks would find the "
            "class and not the memory: give unseen examples of the forgotten classes"
        )


def refuse_seen(train, tests: dict):
    """Refuse, by ValueError, training examples in the place of unseen ones; warn of a few.

    Datasets are not read: they are known by the set that they are parts of.
    """
    for name, data in tests.items():
        check_dataset(data)
        both = isinstance(train, Examples) and isinstance(data, Examples)
        seen = _seen(data.inputs, train.inputs) if both else _part(data, train)
        # in a table of few values unseen rows are seen ones, too
        repeats = both and len(unique_rows(train.inputs)) < 0.9 * len(train)
        if seen == 1 and not repeats:
            raise ValueError(
                f"{name!r} holds training examples only, but attacks take it for unseen ones: give "
                "examples of their kind that nobody trained on"
            )
        if seen > SOME:
            warn(
                f"{seen:.0%} of {name!r} are training examples too, but attacks take all of it for "
                "unseen ones: leave them out"
            )


def _part(some, others) -> float:
    """The share of a dataset's items that are another's, by their positions in one set."""
    (root, positions), (other, others) = rooted(some), rooted(others)
    return len({*positions} & {*others}) / len({*positions}) if root is other else 0.0


def _seen(some: Tensor, others: Tensor) -> float:
    """The share of a tensor's rows that are another's, too: first by 64 numbers, then by all."""
    if not len(some) or some.shape[1:] != others.shape[1:] or some.dtype != others.dtype:
        return 0.0
    some, others = (x.reshape(len(x), -1) for x in (some, others))
    step = max(1, some.shape[1] // 64)
    if unique_rows(some[:, ::step]).isdisjoint(unique_rows(others[:, ::step])):
        return 0.0
    some = unique_rows(some)
    return len(some & unique_rows(others)) / len(some)


def model_of(entry) -> nn.Module:
    """The model of an `Unlearned`, or the model itself."""
    return entry.model if isinstance(entry, Unlearned) else entry


def _equal(a: nn.Module, b: nn.Module) -> bool:
    """Whether two models are the same object, or have the same parts, weights and buffers."""
    if a is b or not (isinstance(a, nn.Module) and isinstance(b, nn.Module)):
        return a is b
    if repr(a) != repr(b):
        return False
    mine, yours = ([*m.named_parameters(), *m.named_buffers()] for m in (a, b))
    return len(mine) == len(yours) and all(
        n == m and x.shape == y.shape and torch.equal(x.cpu(), y.cpu())
        for (n, x), (m, y) in zip(mine, yours, strict=True)
    )


def cost_rows(columns: dict[str, Sequence]) -> list[Row]:
    """What every model cost that is an `Unlearned`."""
    rows = []
    for metric in COSTS:
        for name, entries in columns.items():
            values = [float(getattr(e.cost, metric)) for e in entries if isinstance(e, Unlearned)]
            if values:
                rows.append(Row(metric, "", name, tuple(values), None))
    return rows
