"""What every method returns, and what every method checks before it starts."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from minilearn.cost import Cost
from minilearn.data.checks import check_dataset
from minilearn.models import device_of
from minilearn.training import History, seeded


@dataclass(frozen=True, eq=False)
class Unlearned:
    """A new model and how it came about.

    The given model is never changed: `model` is a network of its own. `history.loss` has the loss
    of every step; `cost` counts seconds, memory and samples by source.
    """

    model: nn.Module
    method: str
    config: Any
    seed: int
    history: History
    cost: Cost

    def __repr__(self) -> str:
        return f"Unlearned({self.method}, seed {self.seed}, {self.cost.samples:,} sample units)"


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


def checked(name: str, data):
    """`data` itself, if it is a set with something in it.

    Raises: ValueError if it is empty, None or no set
    """
    if data is None or (hasattr(data, "__len__") and len(data) == 0):
        raise ValueError(f"the {name} set is empty")
    try:
        check_dataset(data)
    except ValueError as error:
        raise ValueError(f"the {name} set: {error}") from None
    return data


def checked_config(config, kind: type):
    """`config` itself, if it is of the method's own kind.

    Raises: ValueError if it is something else
    """
    if not isinstance(config, kind):
        raise ValueError(f"config must be a {kind.__name__}, got {type(config).__name__}")
    return config
