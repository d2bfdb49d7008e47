"""Networks from networks: a copy of one's own, a new one from a seed, and whether two are alike."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from types import FunctionType

import torch
from torch import Tensor, nn

from minilearn.checks import device_of
from minilearn.draws import seeded
from minilearn.functions import check_call
from minilearn.warn import warn


def copy_of(model: nn.Module) -> nn.Module:
    """A model of its own with the same weights, ready to be trained.

    Parts that are frozen stay frozen, as in the training that made the model; a model that is
    frozen whole, as one often is after its training, can be trained in all its parts.

    Raises: ValueError if `model` is not a module, has no parameters, cannot be copied or is a
        scripted network
    """
    twin = duplicate(model)
    if any(isinstance(part, torch.jit.ScriptModule) for part in twin.modules()):
        raise ValueError("a scripted network cannot be unlearnt: give what it was scripted from")
    if not any(parameter.requires_grad for parameter in twin.parameters()):
        thaw(twin)
    return twin


def thaw(model: nn.Module):
    """Let every weight be trained that can be: not whole numbers, nor floats of 8 bits."""
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.is_floating_point() and parameter.itemsize > 1)


def duplicate(model: nn.Module) -> nn.Module:
    """The model once more, as it is; of the hooks on its weights' gradients it is warned.

    A tensor that a part has computed from its weights, as where they are pruned, is copied without
    the way back to them: the part computes it anew.

    Raises: ValueError if `model` is not a module, has no parameters or cannot be copied
    """
    device_of(model)
    for name, weight in model.named_parameters():
        if weight._backward_hooks or weight._post_accumulate_grad_hooks:
            warn(
                f"a copy of the model lacks the hook on the gradient of {name}, so that it is "
                "trained otherwise: compute in forward what the hook does, as "
                "torch.nn.utils.prune does with a mask"
            )
    kept = [value for part in model.modules() for value in _inside(vars(part))]
    computed = [value for value in kept if isinstance(value, Tensor) and value.grad_fn is not None]
    try:
        twin = copy.deepcopy(model, {id(value): value.detach().clone() for value in computed})
    except Exception as error:  # whatever a module holds may refuse
        raise ValueError(f"the model cannot be copied with copy.deepcopy: {error}") from error
    _refuse_shared_functions(model, twin)
    own = {id(parameter) for parameter in twin.parameters() if parameter.requires_grad}
    if shared := [name for name, parameter in model.named_parameters() if id(parameter) in own]:
        raise ValueError(
            f"a copy shares {shared[0]} with the model: its __deepcopy__ copies nothing"
        )
    return twin


def _inside(value) -> Iterator:
    """What stands in a collection, and in the collections in it."""
    for each in value.values() if isinstance(value, dict) else value:
        yield each
        if isinstance(each, dict | list | tuple | set):
            yield from _inside(each)


def _refuse_shared_functions(model: nn.Module, twin: nn.Module):
    """Refuse, by ValueError, a copy that keeps a function that names parts of the model."""
    parts = {id(part) for part in model.modules()}
    for name, part in twin.named_modules():
        for function in _inside(vars(part)):
            if not isinstance(function, FunctionType):
                continue
            named = inspect.getclosurevars(function)
            values = [*named.nonlocals.values(), *named.globals.values()]
            if any(id(getattr(value, "__self__", value)) in parts for value in values):
                raise ValueError(
                    f"{name or 'the model'} keeps a function, {function.__qualname__}, that names "
                    "this very network, so that a copy would compute with its weights: make it a "
                    "method of the class, and of a hook a part of the network"
                )


def build(fresh: Callable[[], nn.Module], seed: int, *, varied: bool = False) -> nn.Module:
    """A freshly initialised model from `fresh()`, its initialisation decided by `seed` alone.

    Args: varied: whether others are made with other seeds; if they begin alike it is said
    Raises: ValueError if `fresh` is not a function, or gives the same weights out twice
    """
    if isinstance(fresh, nn.Module) or not callable(fresh):
        raise ValueError(
            "fresh must be a function that makes a new, untrained model, as in "
            f"fresh=lambda: MyNetwork(); got {type(fresh).__name__}"
        )
    check_call("fresh", fresh, cure=": give fresh=lambda: MyNetwork(...)")
    with seeded(seed):
        model = fresh()
        second = fresh()
    device_of(model)
    if set(model.parameters()) & set(second.parameters()):
        raise ValueError(
            "fresh() gave the same weights out twice, so training would change a model that exists "
            "already: it must make a new one at every call"
        )
    if varied and _begin_alike(model, second):
        warn(
            "fresh() makes the same first weights whatever the seed is, so that models of several "
            "seeds begin as one: leave torch.manual_seed out of it"
        )
    return model


def _begin_alike(first: nn.Module, second: nn.Module) -> bool:
    """Whether two new networks have the same weights, and some that could have been drawn."""
    pairs = list(zip(first.parameters(), second.parameters(), strict=False))
    if any(a.is_meta for a, _ in pairs):
        return False
    drawn = any(a.numel() > 1 and bool((a != a.flatten()[0]).any()) for a, _ in pairs)
    return drawn and all(torch.equal(a, b) for a, b in pairs)


def check_architecture(model: nn.Module, new: nn.Module):
    """Refuse a model that is to be compared layer by layer with another, but is built otherwise.

    Args: model: the given network. new: one of `fresh()`
    Raises: ValueError that names the first difference, or the devices if they are two
    """
    device, new_device = device_of(model), device_of(new)
    if device != new_device:
        raise ValueError(f"the model is on {device} but the new one on {new_device}; move one")
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    new_shapes = {name: tuple(value.shape) for name, value in new.state_dict().items()}
    for name in [*shapes, *new_shapes]:
        if shapes.get(name) != new_shapes.get(name):
            raise ValueError(
                f"the new model has another architecture than the given one: {name} has shape "
                f"{new_shapes.get(name, 'none')} instead of {shapes.get(name, 'none')}; fresh() "
                "must make the same network"
            )


def check_training_answers(model: nn.Module, inputs: Tensor):
    """Refuse a network that gives something else than logits in training mode, before any work.

    On torch's device without numbers, which costs nothing; what needs numbers goes unchecked.
    """
    try:
        answer = duplicate(model).to("meta").train()(inputs[:2].to("meta"))
    except Exception:  # whatever a network without numbers raises
        return
    if not isinstance(answer, Tensor):
        raise ValueError(
            f"in training mode the model returns a {type(answer).__name__}: it must return one "
            "tensor of logits (B, C); switch its auxiliary outputs off"
        )
