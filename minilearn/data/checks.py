"""What data must be, and the one sentence that says so when they are not."""

from __future__ import annotations

import contextlib
import math
import operator
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader


def check_count(name: str, value, low: int) -> int:
    """A whole number of at least `low`, as an int; ValueError if it is something else."""
    try:
        number = operator.index(value)
    except (TypeError, RuntimeError):
        number = None
    if number is None or number < low:
        raise ValueError(f"{name} must be a whole number of at least {low}, got {_shown(value)}")
    return number


def check_number(
    name: str, value, low: float = -math.inf, high: float = math.inf, *, ends: str = "()"
) -> float:
    """A number of Python or NumPy from an interval, as a float; ValueError if it is something else.

    Text, a truth value and a tensor are no numbers. `ends` are the interval's brackets: a square
    one takes that end in, a round one does not, so that by default an infinite number is refused.
    """
    real = isinstance(value, float | int | np.floating | np.integer) and not isinstance(value, bool)
    with contextlib.suppress(OverflowError):  # an integer may lie beyond all floats
        number = float(value) if real else math.nan
        above = low < number or (low == number and ends[0] == "[")
        if above and (number < high or (number == high and ends[1] == "]")):
            return number
    what = f"number in {ends[0]}{low:g}, {high:g}{ends[1]}"
    if high == math.inf and ends[1] == ")":
        where = f" above {low:g}" if ends[0] == "(" else f" from {low:g} on"
        what = "finite number" + where * (low > -math.inf)
    raise ValueError(f"{name} must be a {what}, got {_shown(value)}")


def check_choice(name: str, value, kinds: Iterable[str]):
    """Refuse, by ValueError, what is none of `kinds`."""
    if not isinstance(value, str) or value not in kinds:
        raise ValueError(f"{name} is one of {tuple(kinds)}, got {value!r}")


def _shown(value) -> str:
    known = isinstance(value, int | float | str | np.number)
    return repr(value) if known else type(value).__name__


def check_integers(name: str, values) -> Tensor:
    """A flat list of integers, in any form, as int64 on the CPU; ValueError if it is a mask."""
    try:
        values = torch.as_tensor(values)
        values = values.long() if values.numel() == 0 else values
        if values.dtype == torch.bool:
            raise ValueError
        return whole_numbers(name, values).cpu()
    except (RuntimeError, TypeError, ValueError):
        raise ValueError(
            f"{name} must be a flat list of integers; a boolean mask goes to Request itself"
        ) from None


def check_mask(mask: Tensor, length: int):
    """Refuse, by ValueError, what is not a boolean mask (N,) over `length` examples."""
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.ndim != 1:
        raise ValueError("a mask must be a boolean tensor of shape (N,)")
    if len(mask) != length:
        raise ValueError(f"the mask has length {len(mask)} but the set has {length} examples")


def check_dataset(data):
    """Refuse, by ValueError, what is not Examples, a tensor or a map-style dataset, or is empty."""
    kind = type(data).__name__
    if isinstance(data, tuple):
        raise ValueError(
            f"data came as a {kind} of {len(data)} parts: give one part of a split, and make two "
            "tensors Examples(inputs, targets)"
        )
    if isinstance(data, DataLoader):
        raise ValueError("data came as a DataLoader: give the dataset that it reads, its .dataset")
    by_position = hasattr(data, "__len__") and hasattr(data, "__getitem__")
    if not by_position or isinstance(data, str | bytes | dict | set):
        raise ValueError(
            f"data must be Examples, a tensor, or a dataset with len() and items by position, "
            f"got {kind}"
        )
    if (isinstance(data, Tensor) and data.ndim == 0) or len(data) == 0:
        raise ValueError("there are no examples to read")


def check_part(name: str, value, inputs: Tensor):
    """Refuse, by ValueError, a part that is no tensor or does not fit `inputs` (length, device)."""
    if not isinstance(value, Tensor):
        raise ValueError(
            f"{name} must be a torch tensor, got {type(value).__name__}; "
            "numpy arrays go through torch.from_numpy"
        )
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


def checked_targets(targets: Tensor) -> Tensor:
    """Targets in the dtype that losses want: finite float32, or int64 class labels from 0.

    Raises: ValueError if they are not finite, not flat integers, or negative
    """
    if targets.is_floating_point():
        targets = targets.float()  # before the check: a float64 may be too large for a float32
        refuse_non_finite("targets", targets)
        return targets
    labels = whole_numbers("class labels", targets)
    if int(labels.min()) < 0:
        raise ValueError(f"class labels start at 0, got {int(labels.min())}")
    return labels


def whole_numbers(name: str, values: Tensor) -> Tensor:
    """A flat tensor of integers, as int64; ValueError if it is something else."""
    if values.is_floating_point() or values.is_complex() or values.ndim != 1:
        shape = tuple(values.shape)
        raise ValueError(
            f"{name} must be integers of shape (N,), got {values.dtype} of shape {shape}"
        )
    return values.long()


def refuse_non_finite(name: str, values: Tensor):
    """Refuse, by ValueError, NaN or infinite values: in how many examples, and the first."""
    # A finite sum has only finite terms: one fast pass, and the slow search only if it fails.
    if not values.is_floating_point() or bool(torch.isfinite(values.sum())):
        return
    bad = ~torch.isfinite(values).reshape(len(values), -1).all(1)
    if bool(bad.any()):
        first = int(bad.nonzero()[0])
        raise ValueError(
            f"{name} of {int(bad.sum())} example(s) hold NaN or infinite values, the first at "
            f"position {first}; drop or repair them first"
        )


def positions(index, length: int, device) -> slice | Tensor:
    """What chooses among `length` examples: a slice, a mask or integer positions on `device`.

    Raises: ValueError if `index` is none of them; IndexError if a position is out of range
    """
    if isinstance(index, slice):
        return index
    try:
        chosen = torch.as_tensor(index, device=device)
        chosen = chosen.reshape(1) if chosen.ndim == 0 else chosen
        if chosen.dtype == torch.bool:
            check_mask(chosen, length)
            return chosen
        chosen = whole_numbers("positions", chosen if chosen.numel() else chosen.long())
    except (RuntimeError, TypeError):
        kind = type(index).__name__
        raise ValueError(
            f"examples are chosen by a slice, a mask or positions, got {kind}"
        ) from None
    if len(chosen) and not -length <= int(chosen.min()) <= int(chosen.max()) < length:
        # an IndexError ends a for loop over the examples
        raise IndexError(f"a position lies outside the {length} examples")
    return chosen
