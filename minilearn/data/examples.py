"""Data as tensors on one device, and one way to read batches from them or from any dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, default_collate

from minilearn.data.checks import (
    check_count,
    check_dataset,
    check_mask,
    check_part,
    checked_targets,
    positions,
    refuse_non_finite,
    whole_numbers,
)


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs and targets as tensors that live on one device; a batch is an index into them.

    Integer targets make a classification set, floating-point targets a regression set.
    `groups` optionally says whose each example is (the writer of a digit, say).

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
        check_part("inputs", self.inputs, self.inputs)
        check_part("targets", self.targets, self.inputs)
        if len(self.inputs) == 0:
            raise ValueError(f"there are no examples: inputs has shape {tuple(self.inputs.shape)}")
        if self.inputs.is_complex():
            raise ValueError(f"inputs must be real numbers, got {self.inputs.dtype}")
        refuse_non_finite("inputs", self.inputs)
        object.__setattr__(self, "targets", checked_targets(self.targets))
        if self.groups is not None:
            check_part("groups", self.groups, self.inputs)
            object.__setattr__(self, "groups", whole_numbers("groups", self.groups))

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index) -> Examples:
        """The examples at `index`: a slice, a boolean mask or integer positions.

        A single position keeps its axis.
        """
        index = positions(index, len(self), self.device)
        groups = None if self.groups is None else self.groups[index]
        return Examples(self.inputs[index], self.targets[index], groups)

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
        return Examples(self.inputs.to(device), self.targets.to(device), groups)

    def sample(self, count: int, seed: int = 0) -> Examples:
        """`count` examples drawn without replacement, in random order; all if there are fewer.

        Raises: ValueError if count < 1
        """
        count = check_count("count", count, 1)
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
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
        return self.dataset[i][0]


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


def targets_of(data: Examples | Dataset) -> Tensor:
    """All targets of a set: (N,) int64, or (N, ...) float32.

    A dataset without a `targets` attribute, or with a `target_transform`, is read once.

    Raises: ValueError if there are no targets, or they are not numbers
    Example:
        >>> targets_of([(torch.zeros(2), 7), (torch.ones(2), 3)])
        tensor([7, 3])
    """
    if isinstance(data, Examples):
        return data.targets
    check_dataset(data)
    if isinstance(data, Tensor | Unlabelled):
        raise ValueError("these are inputs without targets; this call needs the targets too")
    if isinstance(data, Subset):
        return targets_of(data.dataset)[torch.as_tensor(data.indices)]
    targets = getattr(data, "targets", None)
    if targets is None or getattr(data, "target_transform", None) is not None:
        targets = [_pair(data[i])[1] for i in range(len(data))]
    try:
        if not isinstance(targets, Tensor):
            targets = torch.stack([torch.as_tensor(target) for target in targets])
    except (RuntimeError, TypeError, ValueError):
        raise ValueError(
            "the targets of a dataset must be numbers or tensors of one shape"
        ) from None
    if len(targets) != len(data):
        raise ValueError(f"the dataset has {len(data)} items but {len(targets)} targets")
    return checked_targets(targets)


def subset(data: Examples | Tensor | Dataset, mask: Tensor) -> Examples | Tensor | Subset:
    """The examples where `mask` (N,) bool is true, of the same kind as `data`.

    Raises: ValueError if the mask is not boolean or has another length
    Example:
        >>> list(subset(["a", "b", "c"], torch.tensor([True, False, True])))
        ['a', 'c']
    """
    check_mask(mask, len(data))
    if isinstance(data, Examples):
        return data[mask]
    if isinstance(data, Tensor):
        return data[mask.to(data.device)]
    return Subset(data, mask.nonzero().flatten().tolist())


def batches(data, size: int, *, order: torch.Generator | None = None, device=None) -> Iterator:
    """Read `data` once in batches: shuffled if `order` (a CPU generator) is given, else as stored.

    Examples, and any map-style dataset of (input, target), give pairs; a tensor, and an
    `Unlabelled` dataset, give inputs alone. A dataset is read through a DataLoader and moved to
    `device`; tensors stay where they are. A last batch of one example is joined to the batch
    before it, because batch normalisation cannot train on a single example.

    Shapes: inputs (B, ...) and targets (B, ...), B <= size + 1
    Raises: ValueError if size < 1, there is no example, `data` is not readable by position, or its
        items cannot be stacked
    Example:
        >>> [len(x) for x in batches(torch.zeros(9, 2), 4)]
        [4, 5]
    """
    size = check_count("the batch size", size, 1)
    check_dataset(data)
    return _read(data, size, None if order is None else _checked_order(order), device)


def mixed(forget, retain, size: int, *, order: torch.Generator, device=None) -> Iterator:
    """Read two sets once, shuffled together: pairs of what `batches` would give of each.

    A batch is `size` examples of the union. How many of them come from `forget` is decided by the
    shuffle and known on the CPU, so that no step has to ask the device; either part may be empty.

    Raises: ValueError as `batches` does
    Example:
        >>> both = torch.zeros(3, 2), torch.zeros(6, 2)
        >>> [(len(f), len(r)) for f, r in mixed(*both, 4, order=torch.Generator().manual_seed(0))]
        [(2, 2), (1, 4)]
    """
    check_dataset(forget), check_dataset(retain)
    size, n = check_count("the batch size", size, 1), len(forget)
    chosen = torch.randperm(n + len(retain), generator=_checked_order(order))
    parts = _parts(chosen, size)
    sides = ([part[part < n] for part in parts], [part[part >= n] - n for part in parts])
    return zip(_chosen(forget, sides[0], device), _chosen(retain, sides[1], device), strict=True)


def _checked_order(order) -> torch.Generator:
    if not isinstance(order, torch.Generator) or order.device.type != "cpu":
        raise ValueError("order must be a torch.Generator on the CPU")
    return order


def _read(data, size: int, order: torch.Generator | None, device) -> Iterator:
    n = len(data)
    chosen = torch.arange(n) if order is None else torch.randperm(n, generator=order)
    yield from _chosen(data, _parts(chosen, size), device)


def _parts(chosen: Tensor, size: int) -> list[Tensor]:
    parts = list(chosen.split(size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def _chosen(data, parts: list[Tensor], device) -> Iterator:
    """The examples at each part's positions; of an empty part tensors without rows."""
    if isinstance(data, Tensor | Examples):
        # copied once a pass: with a copy a batch every step would wait for the device
        there = torch.cat(parts).to(data.device).split([len(part) for part in parts])
        whole = isinstance(data, Tensor)
        yield from (data[p] if whole else (data.inputs[p], data.targets[p]) for p in there)
    else:
        # Without a generator of its own a DataLoader draws from torch's global one.
        loader = DataLoader(
            data,
            batch_sampler=[part.tolist() or [0] for part in parts],
            collate_fn=_collate,
            generator=torch.Generator(),
        )
        for part, batch in zip(parts, loader, strict=True):
            batch = _moved(batch, device)
            yield batch if len(part) else _empty(batch)


def _empty(batch):
    return batch[:0] if isinstance(batch, Tensor) else tuple(part[:0] for part in batch)


def _collate(items: list):
    try:
        return default_collate(items)
    except (RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            "the items of this dataset cannot be stacked into a batch: every input must be a "
            f"tensor or an array, all of one shape; give the dataset such a transform ({reason})"
        ) from None


def _moved(batch, device):
    if isinstance(batch, Tensor):
        return batch.to(device)
    inputs, targets = _pair(batch)
    if not (isinstance(inputs, Tensor) and isinstance(targets, Tensor)):
        kinds = f"{type(inputs).__name__} and {type(targets).__name__}"
        raise ValueError(f"inputs and targets must stack to tensors, but these give {kinds}")
    refuse_non_finite("targets", targets)
    inputs, targets = inputs.to(device), targets.to(device)
    # A DataLoader makes float64 of Python floats, and int32 stays; the losses want these two.
    return inputs, targets.float() if targets.is_floating_point() else targets.long()


def _pair(item) -> Sequence:
    if not isinstance(item, Sequence) or isinstance(item, str) or len(item) != 2:
        parts = f" of {len(item)}" if hasattr(item, "__len__") else ""
        raise ValueError(
            f"an item of a dataset must be (input, target), got a {type(item).__name__}{parts}"
        )
    return item
