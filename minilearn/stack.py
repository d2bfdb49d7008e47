"""Many networks of one architecture as one module, whose every step trains them all.

Only leaves are replaced: a linear layer by a batched product, a convolution by a grouped one, a
normalisation by a wide one. The network's own `forward`, its layer names and its hooks stay.
Example j of network m is in row j M + m of what the stack reads and answers.

`Run` knows a stack: it lines up the examples of `side_by_side` sets, and multiplies the loss, a
mean over all rows, by M, so that each network has the gradient that it would have alone. A method
whose loss is a mean over examples (`STACKABLE`) so runs on a stack as on a network. With one seed,
network m then is, but for rounding, the one that is trained alone, with this seed, on set m. What
dropout draws differs, and where a batch norm follows a bias, whose gradient is rounding alone, Adam
makes steps of it. The ledger counts the passes of one network.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minilearn.checks import check_kind
from minilearn.data.examples import Examples
from minilearn.draws import seeded
from minilearn.fingerprints import structure
from minilearn.models.copies import check_architecture
from minilearn.models.modes import FAULTS, mode

STACKABLE = ("bad_teacher", "boundary", "finetune", "neggrad", "retrain", "scrub")
NEAR = 1e-3  # of the largest answer: how far a stack may be from its networks when it is made


class _Stacked(nn.Module):
    """A leaf that holds the weights of several `networks`, one below the other."""


class _Wide(_Stacked):
    """The channels of all networks beside each other; a group never reads those of another."""

    def forward(self, x: Tensor) -> Tensor:
        networks = self.networks
        wide = x.reshape(len(x) // networks, networks * x.shape[1], *x.shape[2:])
        wide = super().forward(wide)
        return wide.reshape(len(x), wide.shape[1] // networks, *wide.shape[2:])


class _Product(_Stacked):
    """A linear layer as a batched product, a matrix a network."""

    def forward(self, x: Tensor) -> Tensor:
        apart = _apart(x, self.networks).transpose(0, 1)
        weight = self.weight.view(self.networks, self.out_features, self.in_features).mT
        out = apart.flatten(1, -2) @ weight
        if self.bias is not None:
            out = out + self.bias.view(self.networks, 1, self.out_features)
        return out.view(*apart.shape[:-1], self.out_features).transpose(0, 1).flatten(0, 1)


class _Scaled(_Stacked):
    """Layer normalisation, which looks at one example at a time; a network has its own scale."""

    def forward(self, x: Tensor) -> Tensor:
        out = _apart(F.layer_norm(x, self.normalized_shape, eps=self.eps), self.networks)
        between = [1] * (x.ndim - 1 - len(self.normalized_shape))
        shape = (self.networks, *between, *self.normalized_shape)
        if self.weight is not None:
            out = out * self.weight.view(shape)
        if self.bias is not None:
            out = out + self.bias.view(shape)
        return out.flatten(0, 1)


def _apart(x: Tensor, networks: int) -> Tensor:
    """Rows (B M, ...) as (B, M, ...), also where there are none."""
    return x.reshape(len(x) // networks, networks, *x.shape[1:])


WIDE = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
FORMS = dict.fromkeys((*WIDE, nn.GroupNorm), _Wide) | {nn.Linear: _Product, nn.LayerNorm: _Scaled}
# A stacked leaf is still a leaf of its kind, with all its settings.
LEAVES = {kind: type(f"Stacked{kind.__name__}", (form, kind), {}) for kind, form in FORMS.items()}


def stack(networks: Sequence[nn.Module], inputs: Tensor) -> nn.Module:
    """The networks as one module, a copy of the first with the weights of all.

    Before, a stack of copies whose weights are all moved is held against the separate copies, in
    evaluation and in training mode.

    Args:
        networks: of one architecture, on one device
        inputs: two examples or more that they can read
    Raises: ValueError if the networks differ in more than their weights, have parameters in a layer
        that is none of `LEAVES`, or notes there that follow the examples, or the stack does not
        answer as they do
    Example:
        >>> networks = [nn.Linear(3, 2) for _ in range(4)]
        >>> together = stack(networks, torch.ones(2, 3))
        >>> together(torch.ones(4, 3)).shape, len(unstack(together))
        (torch.Size([4, 2]), 4)
    """
    networks = list(check_kind("networks", networks, Sequence))
    if not networks:
        raise ValueError("a stack needs at least one network, got none")
    check_kind("inputs", inputs, Tensor)
    for number, network in enumerate(networks):
        _check_alike(networks[0], network, number)
    _check_answers(networks, inputs[:2])
    return _joined(networks)


def unstack(together: nn.Module) -> list[nn.Module]:
    """The networks of a stack, each as it was before but for its weights, in the stack's mode.

    Of a network, itself.
    """
    check_kind("a stack", together, nn.Module)
    return [_taken(together, m) for m in range(networks_in(together))]


def networks_in(model: nn.Module) -> int:
    """How many networks a module is a stack of: 1 if it is none."""
    return next((leaf.networks for leaf in _leaves(model)), 1)


class SideBySide(Examples):
    """The sets of several networks, of one size: item j is example j of every set.

    Shapes: inputs (N, M, ...), targets (N, M, ...)
    """

    def __post_init__(self):
        """Its parts are Examples, which are checked."""


def side_by_side(sets: Sequence[Examples]) -> SideBySide:
    """What a stack is trained on: set m for network m.

    One order shuffles all sets. Give each its own before, or examples at one position of all sets
    are in the same batches, and what that does to them looks like something that all networks know.

    Raises: ValueError if one is no `Examples`, or they differ in size, shape or kind of target
    """
    check_kind("sets", sets, Sequence)
    kinds = {
        (tuple(s.inputs.shape), tuple(s.targets.shape), s.task) if isinstance(s, Examples) else None
        for s in sets
    }
    if len(kinds) != 1 or None in kinds:
        sizes = ", ".join(str(kind[0] if kind else "no Examples") for kind in kinds)
        raise ValueError(f"the sets of a stack are Examples of one size, got {sizes or 'none'}")
    inputs = torch.stack([examples.inputs for examples in sets], 1)
    return SideBySide(inputs, torch.stack([examples.targets for examples in sets], 1))


def rows(networks: int, *tensors: Tensor) -> tuple[Tensor, ...]:
    """A batch of items side by side as the rows that a stack reads; for one network, as it is.

    Shapes: tensors (B, M, ...), returned as (B M, ...)
    Raises: ValueError if they have no axis of M networks
    """
    if networks == 1:
        return tensors
    for tensor in tensors:
        if tensor.ndim < 2 or tensor.shape[1] != networks:
            shape = tuple(tensor.shape)
            raise ValueError(
                f"a stack of {networks} networks reads batches (B, {networks}, ...), got {shape}: "
                "give it a set for every network, side_by_side(sets)"
            )
    return tuple(tensor.flatten(0, 1) for tensor in tensors)


def check_single(what: str, model):
    """Refuse, by ValueError, a stack where one network is looked at, as in most methods."""
    networks = networks_in(model) if isinstance(model, nn.Module) else 1
    if networks > 1 and what not in STACKABLE:
        raise ValueError(
            f"{what} takes one network, and this is a stack of {networks}: take each of "
            "unstack(model)"
        )


def _leaves(model: nn.Module) -> Iterator[_Stacked]:
    return (part for part in model.modules() if isinstance(part, _Stacked))


def _own(part: nn.Module) -> list[tuple[str, Tensor]]:
    """The parameters and buffers of a layer itself."""
    return [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]


def _like(tensor: Tensor, values: Tensor) -> Tensor:
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(values, tensor.requires_grad)
    return values


def _set_groups(leaf: nn.Module, change):
    for name in ("groups", "num_groups"):
        if hasattr(leaf, name):
            setattr(leaf, name, change(getattr(leaf, name)))


def _taken(together: nn.Module, m: int) -> nn.Module:
    networks = networks_in(together)
    parts = {
        id(tensor): _like(tensor, tensor.detach().chunk(networks)[m].clone())
        for leaf in _leaves(together)
        for _, tensor in _own(leaf)
        if tensor.ndim
    }
    network = copy.deepcopy(together, parts)
    for leaf in list(_leaves(network)):
        leaf.__class__ = type(leaf).__bases__[1]
        del leaf.networks
        _set_groups(leaf, lambda groups: groups // networks)
    return network


def _refuse(reason: str):
    raise ValueError(f"these networks cannot be stacked: {reason}; train them one by one")


def _joined(networks: list[nn.Module]) -> nn.Module:
    wide = {}
    for name, first in networks[0].named_modules():
        parts = [network.get_submodule(name) for network in networks]
        for key, tensor in _own(first):
            tensors = [getattr(part, key).detach() for part in parts]
            if type(first) in LEAVES and tensor.ndim:
                wide[id(tensor)] = _like(tensor, torch.cat(tensors))
            elif isinstance(tensor, nn.Parameter):
                _refuse(f"{name or 'the network'} is a {type(first).__name__} with weights")
            elif not all(torch.equal(tensors[0], other) for other in tensors):
                _refuse(f"{name}.{key} differs between them")
    together = copy.deepcopy(networks[0], wide)  # where a tensor is in `wide`, that is taken
    for leaf in together.modules():
        if type(leaf) in LEAVES:
            leaf.__class__ = LEAVES[type(leaf)]
            leaf.networks = len(networks)
            _set_groups(leaf, lambda groups: groups * len(networks))
    return together


def _check_alike(first: nn.Module, network: nn.Module, number: int):
    check_architecture(first, network)
    here, there = (structure(each, fresh=True) for each in (first, network))
    unlike = [name for name in here | there if here.get(name) != there.get(name)]
    if unlike:
        _refuse(f"{unlike[0] or 'the whole'} is another one in network {number} than in network 0")
    for (name, weight), other in zip(first.named_parameters(), network.parameters(), strict=True):
        if weight.requires_grad != other.requires_grad:
            _refuse(f"{name} is frozen in one of them only")


def _check_answers(networks: list[nn.Module], inputs: Tensor):
    """Refuse a stack of such networks if it does not answer as they do, once all weights differ."""
    inputs = inputs.to(next(networks[0].parameters()).device)
    networks = [_moved(network, number) for number, network in enumerate(networks)]
    with contextlib.suppress(*FAULTS):  # rounding is no matter in double precision, where it runs
        exact = [copy.deepcopy(network).double() for network in networks]
        given = inputs.double() if inputs.is_floating_point() else inputs
        _answer(exact[0], given, train=False)
        networks, inputs = exact, given
    together = _joined(networks)
    sets = [inputs.roll(m, 0) for m in range(len(networks))]  # not the same for all
    if inputs.is_floating_point():
        sets = [examples * (1 - 0.1 * m / len(sets)) for m, examples in enumerate(sets)]
    for train in (False, True):
        if train and not _can_be_repeated(networks[0], inputs):
            break
        try:
            answer = _answer(together, torch.stack(sets, 1).flatten(0, 1), train)
        except FAULTS as error:
            _refuse(f"the stack fails on {tuple(inputs.shape)} ({str(error).splitlines()[0]})")
        separate = [_answer(*pair, train) for pair in zip(networks, sets, strict=True)]
        expected = torch.stack(separate, 1).flatten(0, 1)
        if not isinstance(answer, Tensor) or answer.shape != expected.shape:
            _refuse("the stack gives another answer than one tensor with a row an example")
        far = (answer - expected).abs().max() / expected.abs().max().clamp(min=1e-30)
        if not far < NEAR:
            where = "in training mode " * train
            _refuse(f"the stack's answers differ {where}from theirs by {far:.1e} of the largest")


def _moved(network: nn.Module, number: int) -> nn.Module:
    """A copy whose weights and statistics in `LEAVES` all are a little larger, each otherwise."""
    twin, order = copy.deepcopy(network), torch.Generator().manual_seed(number)
    tensors = {id(t): t for leaf in twin.modules() if type(leaf) in LEAVES for _, t in _own(leaf)}
    with torch.no_grad():
        for tensor in tensors.values():
            if tensor.is_floating_point():
                by = torch.rand(tensor.shape, generator=order).to(tensor)
                tensor.mul_(1 + 0.1 * by).add_(0.01 * by)
    return twin


def _answer(network: nn.Module, x: Tensor, train: bool, seed: int = 0):
    with torch.no_grad(), mode(network, train=train), seeded(seed):
        return network(x.clone())


def _can_be_repeated(network: nn.Module, inputs: Tensor) -> bool:
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
        of_leaf = type(network.get_submodule(name.rpartition(".")[0])) in LEAVES
        if not of_leaf and not torch.equal(before[name], after):
            _refuse(f"{name} follows the examples, and would follow those of all networks")
    return isinstance(first, Tensor) and torch.equal(first, second)
