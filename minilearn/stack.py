"""Many networks of one architecture as one module, whose every step trains them all.

Only leaves are replaced: a linear layer by a batched product, a convolution by a grouped one, a
normalisation by a wide one. The network's own `forward`, its layer names and its hooks stay.
Example j of network m is in row j M + m of what the stack reads and answers.

`Run` knows a stack: it lines up the examples of `side_by_side` sets, and multiplies the loss, a
mean over all rows, by M, so that each network has the gradient that it would have alone. A method
whose loss is a mean over examples (`STACKABLE`) runs on a stack as on a network. With one seed,
network m then is, but for rounding, the one that is trained alone, with this seed, on set m. What
dropout draws differs, and where a batch norm follows a bias, whose gradient is rounding alone, Adam
makes steps of it. The ledger counts the passes of one network.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minilearn.checks import as_numbers, check_kind
from minilearn.data.examples import Examples
from minilearn.stackable import check_alike, check_answers, own_tensors, refuse

STACKABLE = ("bad_teacher", "boundary", "finetune", "neggrad", "retrain", "scrub")


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
    """A linear layer as a batched product, a matrix per network."""

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

    First a stack of copies is tried: with other weights than theirs it must answer as the separate
    copies do, in evaluation and in training mode.

    Args:
        networks: of one architecture, on one device
        inputs: two examples or more that they can read
    Raises: ValueError if the networks differ in more than their weights, a layer that is none of
        `LEAVES` has parameters, or buffers that follow the examples, or the stack does not answer
        as they do
    Example:
        >>> networks = [nn.Linear(3, 2) for _ in range(4)]
        >>> together = stack(networks, torch.ones(2, 3))
        >>> together(torch.ones(4, 3)).shape, len(unstack(together))
        (torch.Size([4, 2]), 4)
    """
    networks = list(check_kind("networks", networks, Sequence))
    if not networks:
        raise ValueError("a stack needs at least one network, got none")
    as_numbers("inputs", check_kind("inputs", inputs, Tensor))
    for number, network in enumerate(networks):
        check_alike(networks[0], network, number)
    check_answers(networks, inputs[:2], _joined, tuple(LEAVES))
    return _joined(networks)


def unstack(together: nn.Module) -> list[nn.Module]:
    """The networks of a stack, each as it was before but for its weights, in the stack's mode.

    Of a module that is not a stack, a list of itself.
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
        for _, tensor in own_tensors(leaf)
        if tensor.ndim
    }
    network = copy.deepcopy(together, parts)
    for leaf in list(_leaves(network)):
        leaf.__class__ = type(leaf).__bases__[1]
        del leaf.networks
        _set_groups(leaf, lambda groups: groups // networks)
    return network


def _joined(networks: list[nn.Module]) -> nn.Module:
    wide = {}
    for name, first in networks[0].named_modules():
        parts = [network.get_submodule(name) for network in networks]
        for key, tensor in own_tensors(first):
            tensors = [getattr(part, key).detach() for part in parts]
            if type(first) in LEAVES and tensor.ndim:
                wide[id(tensor)] = _like(tensor, torch.cat(tensors))
            elif isinstance(tensor, nn.Parameter):
                refuse(f"{name or 'the network'} is a {type(first).__name__} with weights")
            elif not all(torch.equal(tensors[0], other) for other in tensors):
                refuse(f"{name}.{key} differs between them")
    together = copy.deepcopy(networks[0], wide)  # where a tensor is in `wide`, that is taken
    for leaf in together.modules():
        if type(leaf) in LEAVES:
            leaf.__class__ = LEAVES[type(leaf)]
            leaf.networks = len(networks)
            _set_groups(leaf, lambda groups: groups * len(networks))
    return together
