"""What every method returns, and what every method checks before it starts."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from minilearn.cost import Cost
from minilearn.data.checks import check_dataset, refuse_non_finite
from minilearn.data.examples import Examples, Unlabelled, subset
from minilearn.evaluation import check_device
from minilearn.models import device_of
from minilearn.training import History, seeded


class NothingToDo(ValueError):
    """The model meets the request already; it is left as it is."""


@dataclass(frozen=True, eq=False)
class Unlearned:
    """A new model and how it came about.

    The given model is never changed: `model` is a network of its own. `history.loss` has the loss
    of every step; `cost` counts seconds, memory and samples by source. `finished` is false if a
    method that stops by a rule of its own was stopped by its cap before.
    """

    model: nn.Module
    method: str
    config: Any
    seed: int
    history: History
    cost: Cost
    finished: bool = True

    def __repr__(self) -> str:
        end = "" if self.finished else ", stopped by its cap"
        return (
            f"Unlearned({self.method}, seed {self.seed}, {self.cost.samples:,} sample units{end})"
        )


def copy_of(model: nn.Module) -> nn.Module:
    """A model of its own with the same weights, ready to be trained.

    Parts that are frozen stay frozen, as in the training that made the model; a model that is
    frozen whole, as one often is after its training, can be trained in all its parts.

    Raises: ValueError if `model` is no module, has no parameters or cannot be copied
    """
    device_of(model)
    try:
        twin = copy.deepcopy(model)
    except Exception as error:  # whatever a module holds may refuse
        raise ValueError(f"the model cannot be copied with copy.deepcopy: {error}") from error
    if not any(parameter.requires_grad for parameter in twin.parameters()):
        twin.requires_grad_(True)
    return twin


def build(fresh: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A freshly initialised model from `fresh()`, its initialisation decided by `seed` alone.

    Raises: ValueError if `fresh` is no function, or gives the same weights out twice
    """
    if isinstance(fresh, nn.Module) or not callable(fresh):
        raise ValueError(
            "fresh must be a function that makes a new, untrained model, as in "
            f"fresh=lambda: MyNetwork(); got {type(fresh).__name__}"
        )
    with seeded(seed):
        model, other = fresh(), fresh()
    device_of(model)
    theirs = {id(parameter) for parameter in other.parameters()}
    if any(id(parameter) in theirs for parameter in model.parameters()):
        raise ValueError(
            "fresh() gave the same weights out twice, so training would change a model that exists "
            "already: it must make a new one at every call"
        )
    return model


def same_architecture(model: nn.Module, other: nn.Module):
    """Refuse a model that is to be compared layer by layer with another, but is built otherwise.

    Raises: ValueError that names the first difference, or the devices if they are two
    """
    places = device_of(model), device_of(other)
    if places[0] != places[1]:
        raise ValueError("the model is on {} but the new one on {}; move one".format(*places))
    mine, theirs = (
        {name: tuple(value.shape) for name, value in m.state_dict().items()} for m in (model, other)
    )
    for name in [*mine, *theirs]:
        if mine.get(name) != theirs.get(name):
            raise ValueError(
                f"the new model has another architecture than the given one: {name} has shape "
                f"{theirs.get(name, 'none')} instead of {mine.get(name, 'none')}; fresh() must "
                "make the same network"
            )


def checked(name: str, data, model: nn.Module | None = None):
    """`data` itself, if it is a set with something in it, and not on another device than `model`.

    Raises: ValueError if it is empty, None or no set, or elsewhere
    """
    if data is None or (hasattr(data, "__len__") and len(data) == 0):
        raise ValueError(f"the {name} set is empty")
    try:
        check_dataset(data)
    except ValueError as error:
        raise ValueError(f"the {name} set: {error}") from None
    if model is not None:
        check_device(model, data)
    return data


def checked_inputs(name: str, data, model: nn.Module | None = None):
    """`data` itself, if it is a set of inputs alone: what a method is given that sees no labels.

    Raises: ValueError as `checked`, or if it comes with targets
    """
    checked(name, data, model)
    if isinstance(data, Tensor):
        refuse_non_finite(f"inputs of the {name} set", data)
    elif not isinstance(data, Unlabelled) and isinstance(data[0], Examples | tuple | list):
        raise ValueError(
            f"the {name} set comes with targets, which this method does not see: give the inputs "
            "alone, as without_targets(data)"
        )
    return data


def share_of(data, fraction: float, seed: int):
    """A random fraction of a set, of the same kind, in the set's order; at least one example."""
    count = max(1, round(fraction * len(data)))
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    chosen = torch.zeros(len(data), dtype=torch.bool)
    chosen[order[:count]] = True
    return subset(data, chosen)


def checked_config(config, kind: type):
    """`config` itself, if it is of the method's own kind.

    Raises: ValueError if it is something else
    """
    if not isinstance(config, kind):
        raise ValueError(f"config must be a {kind.__name__}, got {type(config).__name__}")
    return config


# Deep regression unlearning: epochs of the student, of the blindspot model, and the loss.
RECIPES = {"agedb": (1, 2, "absolute"), "stsb": (5, 10, "squared")}


def published(dataset: str) -> tuple[int, int, str]:
    """What the authors' notebooks used for a data set; ValueError if there is none for it."""
    if dataset not in RECIPES:
        raise ValueError(f"recipes are published for {', '.join(RECIPES)}, not for {dataset!r}")
    return RECIPES[dataset]
