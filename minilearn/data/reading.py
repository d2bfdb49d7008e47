"""What a dataset of the user's own tells: its targets, whether it augments, what it cannot read."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext, suppress
from hashlib import blake2b

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from minilearn.checks import check_dataset
from minilearn.data.examples import Examples, Unlabelled, checked_targets, pair_of
from minilearn.draws import seeded
from minilearn.warn import warn

FEW = 2000  # items of a dataset that are read to see whether its `targets` are true


def targets_of(data: Examples | Dataset) -> Tensor:
    """All targets of a set: (N,) int64, or (N, ...) float32.

    A dataset without a `targets` attribute is read once. So is one whose items do not bear out that
    attribute, as a wrapper's that changes labels: some are read, one of every class among them.

    Raises: ValueError if there are no targets, or they are not numbers
    Example:
        >>> targets_of([(torch.zeros(2), 7), (torch.ones(2), 3)])
        tensor([7, 3])
    """
    check_dataset(data)
    if isinstance(data, Examples):
        return data.targets
    if isinstance(data, Tensor | Unlabelled):
        raise ValueError("these are inputs without targets; this call needs the targets too")
    if type(data) is Subset:
        places = torch.as_tensor(data.indices)
        if int(places.max()) >= len(data.dataset) or int(places.min()) < 0:
            raise ValueError(f"a position of the Subset lies outside its {len(data.dataset)} items")
        return targets_of(data.dataset)[places]
    targets = getattr(data, "targets", None)
    if targets is not None:
        with suppress(ValueError):  # texts, or the names of columns: then the items tell
            targets = _stacked(targets)
    if not isinstance(targets, Tensor):
        targets = None
    if targets is not None:
        if len(targets) != len(data):
            raise ValueError(f"the dataset has {len(data)} items but {len(targets)} targets")
        if not _borne_out(targets, data):
            targets = None
    if targets is None:
        with seeded(0):
            targets = _stacked([pair_of(Told(data)[i])[1] for i in range(len(data))])
    return checked_targets(targets)


def labels_of(data) -> Tensor:
    """All class labels of a set, on the CPU; ValueError if its targets are numbers."""
    targets = targets_of(data)
    if targets.is_floating_point():
        raise ValueError("this is about classes, but the targets are floating-point: use by_range")
    return targets.cpu()


def _stacked(targets) -> Tensor:
    try:
        if isinstance(targets, Tensor):
            return targets
        return torch.stack([_as_tensor(target) for target in targets])
    except (RuntimeError, TypeError, ValueError):
        raise ValueError(
            "the targets of a dataset must be numbers or tensors of one shape"
        ) from None


def _as_tensor(target) -> Tensor:
    """A number of Python in double precision, which `checked_targets` may have to refuse."""
    return torch.as_tensor(target, dtype=torch.float64 if type(target) is float else None)


def _borne_out(targets: Tensor, data: Dataset) -> bool:
    """Whether the items have these targets: of many, 32 are read, and one of every class."""
    most = len(data) if len(data) <= FEW else 32
    places = torch.linspace(0, len(data) - 1, most, dtype=torch.float64).long().tolist()
    if targets.ndim == 1 and not targets.is_floating_point():
        first = {label: place for place, label in reversed([*enumerate(targets.tolist())])}
        places += list(first.values())[:100]
    with seeded(0):
        for place in sorted(set(places)):
            try:
                target = _as_tensor(pair_of(Told(data)[place])[1])
            except (RuntimeError, TypeError, ValueError):  # a text, or a dictionary
                return False
            if target.shape != targets[place].shape or not torch.equal(
                target.double(), targets[place].double()
            ):
                return False
    return True


class Told(Dataset):
    """A dataset that says which of its items cannot be read."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __getitem__(self, position: int):
        try:
            return self.dataset[position]
        except Exception as error:  # whatever a dataset of the user's own raises
            kind = type(error).__name__
            what = f"item {position} of the dataset cannot be read ({kind}: {error})"
            raise ValueError(what) from error


def varies(data) -> bool:
    """Whether a set gives other inputs when it is read again, as one that augments does.

    Of up to 32 items, read twice; tensors and Examples never do.

    Example:
        >>> class Noisy(Dataset):
        ...     def __len__(self):
        ...         return 2
        ...     def __getitem__(self, i):
        ...         return torch.randn(3), i
        >>> varies(Noisy())
        True
    """
    return _differs(data, nullcontext())


def strays(data) -> bool:
    """Whether a set gives other inputs even under one seed: it draws from a generator of its own.

    Then no two models can be shown the same examples. Of up to 32 items, read twice.
    """
    return _differs(data, seeded(0))


def _differs(data, second_reading: AbstractContextManager) -> bool:
    """Whether an input is another one when it is read again; not a number is like not a number."""
    check_dataset(data)
    if isinstance(data, Examples | Tensor):
        return False
    places = torch.linspace(0, len(data) - 1, 32, dtype=torch.float64).long().unique().tolist()
    with seeded(0):
        first = _inputs_at(data, places)
        with second_reading:
            second = _inputs_at(data, places)
    return not all(
        x.shape == again.shape and torch.equal(x.nan_to_num(), again.nan_to_num())
        for x, again in zip(first, second, strict=True)
    )


def rooted(data) -> tuple[object, list[int]]:
    """The dataset that Subsets of Subsets are of, and the positions there."""
    positions = [*range(len(data))]
    while type(data) is Subset:
        positions = [int(data.indices[i]) for i in positions]
        data = data.dataset
    return data, positions


def warn_of_twins(name: str, data, forgotten: Tensor):
    """Warn where a Subset has one position twice, once to be forgotten and once not.

    Shapes: forgotten (N,) bool
    """
    if type(data) is not Subset:
        return
    places = torch.tensor(rooted(data)[1])
    count = int(torch.isin(places[forgotten], places[~forgotten]).sum())
    if count:
        warn(
            f"{name}: {count} of the forgotten examples stand in the Subset once more and are "
            "retained there: name each position once, or forget all of them"
        )


def _inputs_at(data, places: list[int]) -> list[Tensor]:
    items = [Told(data)[place] for place in places]
    inputs = [item if isinstance(item, Tensor) else pair_of(item)[0] for item in items]
    try:
        return [torch.as_tensor(x) for x in inputs]
    except (RuntimeError, TypeError, ValueError):
        kind = type(inputs[0]).__name__
        raise ValueError(f"an input is a {kind}: let the dataset give tensors of numbers") from None


def unique_rows(inputs: Tensor) -> set[bytes]:
    """A digest of every row of a tensor, each once: equal rows are equal bit by bit.

    Example:
        >>> len(unique_rows(torch.tensor([[1.0, 2.0], [1.0, 2.0], [3.0, 4.0]])))
        2
    """
    flat = inputs.detach().reshape(len(inputs), -1).cpu().contiguous()
    return {blake2b(row, digest_size=16).digest() for row in flat.view(torch.uint8).numpy()}
