"""One way to read batches from tensors or from any dataset, and from two sets side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, repeat

import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from minilearn.checks import check_count, check_dataset, refuse_non_finite
from minilearn.data.examples import WITHOUT_TARGETS, Examples, checked_targets, pair_of
from minilearn.data.reading import Told, varies


def batches(data, size: int, *, order: torch.Generator | None = None, device=None) -> Iterator:
    """Read `data` once in batches: shuffled if `order` (a CPU generator) is given, else as stored.

    Examples, and any map-style dataset of (input, target), give pairs; a tensor, and an
    `Unlabelled` dataset, give inputs alone. A dataset is read through a DataLoader and moved to
    `device`; tensors stay where they are. A last batch of one example is joined to the batch
    before it, because batch normalisation cannot train on a single example.

    Args: size: examples a batch. device: where a dataset's batches go, None: they stay
    Shapes: inputs (B, ...) and targets (B, ...), B <= size + 1
    Raises: ValueError if size < 1, there is no example, `data` is not readable by position, or its
        items cannot be stacked
    Example:
        >>> [len(x) for x in batches(torch.zeros(9, 2), 4)]
        [4, 5]
    """
    size = check_count("the batch size", size, 1)
    check_dataset(data)
    if order is None:
        there = data.device if isinstance(data, Tensor | Examples) else None
        positions = torch.arange(len(data), device=there)
    else:
        positions = _shuffled(len(data), order)
    return _examples_at(data, _parts(positions, size), device)


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
    check_dataset(forget)
    check_dataset(retain)
    size = check_count("the batch size", size, 1)
    n = len(forget)
    parts = _parts(_shuffled(n + len(retain), order), size)
    from_forget = _examples_at(forget, [part[part < n] for part in parts], device)
    from_retain = _examples_at(retain, [part[part >= n] - n for part in parts], device)
    return zip(from_forget, from_retain, strict=True)


def paired_batches(first: Iterable, again: Callable[[], Iterable]) -> Iterator[tuple]:
    """One pass over `first`, each batch beside the next one of `again()`.

    `again()` begins a new pass over the second set, and is called as often as the first one takes.

    Example:
        >>> list(paired_batches([1, 2, 3], lambda: ["a", "b"]))
        [(1, 'a'), (2, 'b'), (3, 'a')]
    """
    return zip(first, chain.from_iterable(again() for _ in repeat(None)), strict=False)


def pair(batch) -> tuple[Tensor, Tensor]:
    """A batch of inputs and targets as it is.

    Raises: ValueError if it is anything else, such as inputs alone
    """
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise ValueError(WITHOUT_TARGETS)
    return batch


def first_of(data, device=None):
    """The first example alone, as `batches` would give it."""
    check_dataset(data)
    return next(_examples_at(data, [torch.zeros(1, dtype=torch.int64)], device))


def has_numbers(data) -> bool:
    """Whether the targets are floating-point numbers, and no class labels; one item is read.

    Raises: ValueError if there are inputs alone
    """
    _, targets = pair(first_of(data))
    return targets.is_floating_point()


def items_of(data, device) -> Examples:
    """Items with class labels, as Examples; a dataset is read whole onto the device.

    Raises: ValueError if they are not class labels, there are inputs alone, or an item is another
        one when it is read again
    """
    if not isinstance(data, Examples):
        if varies(data):
            raise ValueError(
                "the dataset gives other inputs when an item is read again, as with random "
                "augmentation, and this method forgets the very items that it is given: make the "
                "request over the same dataset without augmentation, as Request(clean, mask)"
            )
        inputs, targets = zip(*map(pair, batches(data, 64, device=device)), strict=True)
        data = Examples(torch.cat(inputs), torch.cat(targets))
    if data.task != "classification":
        raise ValueError(f"items need class labels, got {data.targets.dtype} targets")
    return data


def _placed(positions: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda" and not positions.is_cuda:
        positions = positions.pin_memory()
    return positions.to(device, non_blocking=True)


def _shuffled(count: int, order) -> Tensor:
    if not isinstance(order, torch.Generator) or order.device.type != "cpu":
        raise ValueError(f"order must be a torch.Generator on the CPU, got {order!r:.80}")
    return torch.randperm(count, generator=order)


def _parts(positions: Tensor, size: int) -> list[Tensor]:
    parts = list(positions.split(size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def _examples_at(data, parts: list[Tensor], device) -> Iterator:
    """The examples at each part's positions; of an empty part tensors without rows."""
    if isinstance(data, Tensor | Examples):
        # copied once a pass: with a copy a batch every step would wait for the device
        positions = _placed(torch.cat(parts), data.device).split([len(part) for part in parts])
        for part in positions:
            if isinstance(data, Tensor):
                yield data[part].detach()
            else:
                yield data.inputs[part].detach(), data.targets[part]
        return
    # Without a generator of its own a DataLoader draws from torch's global one.
    loader = DataLoader(
        Told(data),
        batch_sampler=[part.tolist() or [0] for part in parts],  # an empty part reads one to cut
        collate_fn=_collate,
        generator=torch.Generator(),
    )
    for part, batch in zip(parts, loader, strict=True):
        batch = _moved(batch, device, part)
        if isinstance(batch, Tensor):
            yield batch[: len(part)]
        else:
            yield tuple(tensor[: len(part)] for tensor in batch)


def _collate(items: list):
    try:
        return default_collate(items)
    except (RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            "the items of this dataset cannot be stacked into a batch: every input must be a "
            f"tensor or an array, all of one shape; give the dataset such a transform ({reason})"
        ) from None


def _moved(batch, device, positions: Tensor) -> Tensor | tuple[Tensor, Tensor]:
    if isinstance(batch, Tensor):
        refuse_non_finite("inputs", batch, positions)
        return batch.to(device)
    inputs, targets = pair_of(batch)
    if not (isinstance(inputs, Tensor) and isinstance(targets, Tensor)):
        kinds = " and ".join(type(part).__name__ for part in (inputs, targets))
        first = " and ".join(type(part[0]).__name__ for part in (inputs, targets) if len(part))
        raise ValueError(
            f"inputs and targets must stack to tensors, but these give {kinds}, the first being "
            f"{first}: let the dataset give numbers"
        )
    refuse_non_finite("inputs", inputs, positions)
    refuse_non_finite("targets", targets, positions)
    targets = checked_targets(targets)  # a DataLoader makes float64 of Python floats
    return inputs.to(device), targets.to(device)
