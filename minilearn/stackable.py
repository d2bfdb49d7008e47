"""What networks must have in common, and how a stack is held against them before it is made."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from minilearn.draws import seeded
from minilearn.identity import structure
from minilearn.models.copies import check_architecture
from minilearn.models.modes import FAULTS, mode

NEAR = 1e-3  # of the largest answer: how far a stack may be from its networks


def refuse(reason: str):
    """Say, by ValueError, why networks cannot be stacked."""
    raise ValueError(f"these networks cannot be stacked: {reason}; train them one by one")


def own_tensors(part: nn.Module) -> list[tuple[str, Tensor]]:
    """The parameters and buffers of a layer itself."""
    return [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]


def check_alike(first: nn.Module, network: nn.Module, number: int):
    """Refuse network `number` if it differs from the first in more than its weights."""
    check_architecture(first, network)
    here, there = (structure(each) for each in (first, network))
    unlike = [name for name in here | there if here.get(name) != there.get(name)]
    if unlike:
        refuse(f"{unlike[0] or 'the whole'} is another one in network {number} than in network 0")
    for (name, weight), other in zip(first.named_parameters(), network.parameters(), strict=True):
        if weight.requires_grad != other.requires_grad:
            refuse(f"{name} is frozen in one of them only")


def check_answers(networks: list[nn.Module], inputs: Tensor, joined: Callable, leaves: tuple):
    """Refuse a stack of such networks if it does not answer as they do, once all weights differ.

    Args: inputs: a few examples. joined: makes the stack. leaves: the layers that it replaces
    """
    inputs = inputs.to(next(networks[0].parameters()).device)
    networks = [_moved(network, number, leaves) for number, network in enumerate(networks)]
    with contextlib.suppress(*FAULTS):  # rounding is no matter in double precision, where it runs
        exact = [copy.deepcopy(network).double() for network in networks]
        given = inputs.double() if inputs.is_floating_point() else inputs
        _answer(exact[0], given, train=False)
        networks, inputs = exact, given
    together = joined(networks)
    sets = [inputs.roll(m, 0) for m in range(len(networks))]  # not the same for all
    if inputs.is_floating_point():
        sets = [examples * (1 - 0.1 * m / len(sets)) for m, examples in enumerate(sets)]
    for train in (False, True):
        if train and not _can_be_repeated(networks[0], inputs, leaves):
            _check_apart(together, sets)
            break
        try:
            answer = _answer(together, torch.stack(sets, 1).flatten(0, 1), train)
        except FAULTS as error:
            refuse(f"the stack fails on {tuple(inputs.shape)} ({str(error).splitlines()[0]})")
        separate = [_answer(*pair, train) for pair in zip(networks, sets, strict=True)]
        expected = torch.stack(separate, 1).flatten(0, 1)
        if not isinstance(answer, Tensor) or answer.shape != expected.shape:
            refuse("the stack gives another answer than one tensor with a row per example")
        far = (answer - expected).abs().max() / expected.abs().max().clamp(min=1e-30)
        if not far < NEAR:
            where = "in training mode " * train
            refuse(f"the stack's answers differ {where}from theirs by {far:.1e} of the largest")


def _check_apart(together: nn.Module, sets: list[Tensor]):
    """Refuse a stack whose answers for network 0 depend on what others are given, as it trains.

    For networks that draw: under one seed what is drawn for network 0 stays.
    """
    others = [examples.roll(1, 0) * (3 if examples.is_floating_point() else 1) for examples in sets]
    given = sets, [sets[0], *others[1:]]
    try:
        answers = [_answer(together, torch.stack(each, 1).flatten(0, 1), True) for each in given]
    except FAULTS:  # two examples are too few
        return
    if isinstance(answers[0], Tensor):
        first, again = (answer[:: len(sets)] for answer in answers)
        if not (first - again).abs().max() <= NEAR * first.abs().max():
            refuse("in training mode the answers of one depend on what the others are given")


def _moved(network: nn.Module, number: int, leaves: tuple) -> nn.Module:
    """A copy whose weights and statistics in the leaves all are a little larger, each otherwise."""
    twin, order = copy.deepcopy(network), torch.Generator().manual_seed(number)
    replaced = [part for part in twin.modules() if type(part) in leaves]
    tensors = {id(t): t for part in replaced for _, t in own_tensors(part)}
    with torch.no_grad():
        for tensor in tensors.values():
            if tensor.is_floating_point():
                by = torch.rand(tensor.shape, generator=order).to(tensor)
                tensor.mul_(1 + 0.1 * by).add_(0.01 * by)
    return twin


def _answer(network: nn.Module, x: Tensor, train: bool, seed: int = 0):
    with torch.no_grad(), mode(network, train=train), seeded(seed):
        return network(x.clone())


def _can_be_repeated(network: nn.Module, inputs: Tensor, leaves: tuple) -> bool:
    """Whether training mode gives the same answers again: with dropout it does not.

    Refuses, by ValueError, a network that changes what a stack would share.
    """
    twin = copy.deepcopy(network)
    try:
        first, second = (_answer(twin, inputs, train=True, seed=seed) for seed in range(2))
    except FAULTS:  # two examples are too few
        return False
    before = dict(network.named_buffers())
    for name, after in twin.named_buffers():
        of_leaf = type(network.get_submodule(name.rpartition(".")[0])) in leaves
        if not of_leaf and not torch.equal(before[name], after):
            refuse(f"{name} follows the examples, and would follow those of all networks")
    return isinstance(first, Tensor) and torch.equal(first, second)
