"""Data as tensors on one device, and what any dataset has in common with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, StackDataset, Subset

from minilearn.checks import (
    check_count,
    check_dataset,
    check_number,
    device_of,
    refuse_non_finite,
    whole_numbers,
    without_index,
)
from minilearn.draws import order_of

WITHOUT_TARGETS = "these are inputs without targets: give Examples or pairs of both"


def checked_targets(targets: Tensor) -> Tensor:
    """Targets in the dtype that losses want: finite float32, or int64 class labels from 0.

    Raises: ValueError if they are not finite, not flat integers, or negative, or single precision
        has less than nine tenths as many distinct ones
    """
    if targets.is_floating_point():
        single = targets.float()  # before the check: a float64 may be too large for a float32
        refuse_non_finite("targets", single)
        if targets.dtype == torch.float64 and len(single.unique()) < 0.9 * len(targets.unique()):
            raise ValueError(
                f"{len(targets.unique())} distinct targets become {len(single.unique())} in single "
                "precision: subtract their mean, or give them in another unit"
            )
        return single
    labels = whole_numbers("class labels", targets)
    if int(labels.min()) < 0:
        raise ValueError(f"class labels start at 0, got {int(labels.min())}: leave such ones out")
    return labels


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs and targets as tensors that live on one device; a batch is an index into them.

    Integer targets make a classification set, floating-point targets a regression set.

    Args: groups: optional numbers that say whose each example is (the writer of a digit, say)
    Shapes: inputs (N, ...); targets (N,) int64, or (N, ...) float32; groups (N,) int64 or None
    Raises: ValueError if there is no example, lengths or devices differ, a value is NaN or
        infinite, or a class label is negative
    Example:
        >>> train = Examples(torch.zeros(4, 1, 8, 8), torch.tensor([0, 1, 2, 1]))
        >>> len(train), train.task, train.classes, len(train[train.targets == 1])
        (4, 'classification', 3, 2)
    """

    inputs: Tensor
    targets: Tensor
    groups: Tensor | None = None

    def __post_init__(self):
        _check_part("inputs", self.inputs, self.inputs)
        _check_part("targets", self.targets, self.inputs)
        if len(self.inputs) == 0:
            raise ValueError(f"there are no examples: inputs has shape {tuple(self.inputs.shape)}")
        if self.inputs.is_complex():
            raise ValueError(f"inputs must be real numbers, got {self.inputs.dtype}")
        refuse_non_finite("inputs", self.inputs)
        object.__setattr__(self, "targets", checked_targets(self.targets))
        if self.groups is not None:
            _check_part("groups", self.groups, self.inputs)
            object.__setattr__(self, "groups", whole_numbers("groups", self.groups))

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index) -> Examples:
        """The examples at `index`: a slice, a boolean mask or integer positions.

        A single position keeps its axis.
        """
        index = _positions(index, len(self), self.device)
        groups = None if self.groups is None else self.groups[index]
        return replace(self, inputs=self.inputs[index], targets=self.targets[index], groups=groups)

    @property
    def task(self) -> str:
        """'classification' for integer targets, 'regression' for floating-point ones."""
        return "regression" if self.targets.is_floating_point() else "classification"

    @property
    def classes(self) -> int:
        """The largest class label plus one; 0 for regression."""
        return 0 if self.task == "regression" else int(self.targets.max()) + 1

    @property
    def device(self) -> torch.device:
        """The device that the tensors live on."""
        return self.inputs.device

    def to(self, device) -> Examples:
        """The same examples on `device`."""
        groups = None if self.groups is None else self.groups.to(device)
        inputs, targets = self.inputs.to(device), self.targets.to(device)
        return replace(self, inputs=inputs, targets=targets, groups=groups)

    def sample(self, count: int, seed: int = 0) -> Examples:
        """`count` examples drawn without replacement, in random order; all if there are fewer.

        Raises: ValueError if count < 1
        """
        count = check_count("count", count, 1)
        order = torch.randperm(len(self), generator=order_of(seed))
        return self[order[:count].to(self.device)]

    def with_targets(self, targets: Tensor) -> Examples:
        """The same inputs under other targets."""
        return replace(self, targets=targets)


class Unlabelled(Dataset):
    """A map-style dataset with its targets taken away: item i is the input alone.

    Example:
        >>> Unlabelled([(torch.zeros(2), 7)])[0]
        tensor([0., 0.])
    """

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, i: int):
        item = self.dataset[i]
        return item[0] if isinstance(item, tuple | list) else item  # which has no target already


def without_targets(data: Examples | Dataset) -> Tensor | Unlabelled:
    """The inputs alone: what a method that may not see labels is given.

    Raises: ValueError if `data` is not Examples, a tensor or a map-style dataset
    Example:
        >>> without_targets(Examples(torch.ones(3, 2), torch.zeros(3))).shape
        torch.Size([3, 2])
    """
    if isinstance(data, Examples):
        return data.inputs
    check_dataset(data)
    return data if isinstance(data, Tensor | Unlabelled) else Unlabelled(data)


def with_targets(data: Examples | Tensor | Dataset, targets: Tensor) -> Examples | Dataset:
    """The inputs of a set under other targets, as a set of the same kind.

    Shapes: targets (N, ...)
    Example:
        >>> with_targets(torch.zeros(2, 3), torch.tensor([1, 0])).targets
        tensor([1, 0])
    """
    inputs = without_targets(data)
    if isinstance(inputs, Tensor):
        numbers = isinstance(targets, Tensor) and not targets.is_meta
        return Examples(inputs, targets.to(inputs.device) if numbers else targets)
    if not isinstance(targets, Tensor) or targets.shape[:1] != (len(inputs),):
        raise ValueError(f"targets must be a tensor of {len(inputs)} rows, got {kind_of(targets)}")
    return StackDataset(inputs, targets)


def check_device(model: nn.Module, data):
    """Refuse tensors that do not live where the model does; a dataset is moved as it is read.

    Raises: ValueError that names both devices
    """
    device = device_of(model)
    if isinstance(data, Examples | Tensor) and data.device != device:
        raise ValueError(
            f"the model is on {device} but the data are on {data.device}; move one with .to(device)"
        )


def check_mask(mask: Tensor, length: int):
    """Refuse, by ValueError, what is not a boolean mask (N,) over `length` examples."""
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.ndim != 1:
        raise ValueError(f"a mask must be a boolean tensor of shape (N,), got {kind_of(mask)}")
    if len(mask) != length:
        raise ValueError(f"the mask has length {len(mask)} but the set has {length} examples")


def kind_of(value) -> str:
    """What a value is, in words: the type and the shape of a tensor, else the class."""
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    return type(value).__name__


def subset(data: Examples | Tensor | Dataset, mask: Tensor) -> Examples | Tensor | Subset:
    """The examples where `mask` (N,) bool is true, of the same kind as `data`.

    Raises: ValueError if the mask is not boolean or has another length
    Example:
        >>> list(subset(["a", "b", "c"], torch.tensor([True, False, True])))
        ['a', 'c']
    """
    check_dataset(data)
    check_mask(mask, len(data))
    if isinstance(data, Examples):
        return data[mask]
    if isinstance(data, Tensor):
        return data[mask.to(data.device)]
    return Subset(data, mask.nonzero().flatten().tolist())


def random_part(data, fraction: float, seed: int):
    """A random fraction of a set, of the same kind, in the set's order; at least one example.

    Args: data: Examples, a tensor or a dataset. fraction: in (0, 1]. seed: of the draw
    Raises: ValueError if the fraction is no such number
    """
    fraction = check_number("fraction", fraction, 0, 1, ends="(]")
    count = max(1, round(fraction * len(data)))
    order = torch.randperm(len(data), generator=order_of(seed))
    chosen = torch.zeros(len(data), dtype=torch.bool)
    chosen[order[:count]] = True
    return subset(data, chosen)


def pair_of(item) -> Sequence:
    """An item of a dataset as it is, if it is (input, target); else ValueError."""
    if not isinstance(item, Sequence) or isinstance(item, str) or len(item) != 2:
        parts = f" of {len(item)}" if hasattr(item, "__len__") else ""
        raise ValueError(
            f"an item of a dataset must be (input, target), got a {type(item).__name__}{parts}"
        )
    return item


def _check_part(name: str, value, inputs: Tensor):
    """Refuse, by ValueError, a part that is no tensor or does not fit `inputs` (length, device)."""
    if not isinstance(value, Tensor):
        raise ValueError(
            f"{name} must be a torch tensor, got {type(value).__name__}; "
            "numpy arrays go through torch.from_numpy"
        )
    if value.layout != torch.strided:
        raise ValueError(f"{name} is a sparse tensor, {value.layout}: give {name}.to_dense()")
    if value.ndim == 0:
        raise ValueError(f"{name} is a single number; it needs one entry per example")
    if len(value) != len(inputs):
        raise ValueError(
            f"{name} has shape {tuple(value.shape)} but inputs has shape {tuple(inputs.shape)}: "
            "the first sizes must agree"
        )
    if value.device != inputs.device:
        raise ValueError(
            f"{name} is on {value.device} but inputs is on {inputs.device}; "
            "move both with .to(device)"
        )
    if value.is_meta:
        raise ValueError(f"{name} is on the meta device, which holds no numbers: load it")


def _positions(index, length: int, device) -> slice | Tensor:
    """What chooses among `length` examples: a slice, a mask or integer positions on `device`.

    Raises: ValueError if `index` is none of them; IndexError if a position is out of range
    """
    if isinstance(index, slice):
        return index
    try:
        chosen = torch.as_tensor(without_index(index), device=device)
        chosen = chosen.reshape(1) if chosen.ndim == 0 else chosen
        if chosen.dtype == torch.bool:
            check_mask(chosen, length)
            return chosen
        if chosen.dtype == torch.uint8 and len(chosen) == length and int(chosen.max()) <= 1:
            raise ValueError("positions came as a mask of bytes: give mask.bool()")
        chosen = whole_numbers("positions", chosen if chosen.numel() else chosen.long())
    except (RuntimeError, TypeError):
        what = "examples are chosen by a slice, a mask or positions"
        raise ValueError(f"{what}, got {kind_of(index)}") from None
    if len(chosen) and not -length <= int(chosen.min()) <= int(chosen.max()) < length:
        # an IndexError ends a for loop over the examples
        raise IndexError(f"a position lies outside the {length} examples")
    return chosen
