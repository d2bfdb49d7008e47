"""The few checks that everything shares, each with the sentence that it refuses with.

An argument is checked once, at the public door. A check returns what it checked, in the form that
the code behind the door wants, or raises ValueError.
"""

from __future__ import annotations

import contextlib
import math
import operator
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.utils.data import ConcatDataset, DataLoader, IterableDataset, Subset


def check_count(name: str, value, low: int) -> int:
    """A whole number from `low` to 2^63 - 1, as an int; ValueError if it is something else."""
    try:
        number = operator.index(value)
    except (TypeError, RuntimeError):
        number = None
    if number is not None and number >= 2**63:
        raise ValueError(f"{name} must be a whole number below 2^63, got {_shown(value)}")
    if number is None or isinstance(value, bool) or number < low:
        raise ValueError(f"{name} must be a whole number of at least {low}, got {_shown(value)}")
    return number


def check_number(
    name: str, value, low: float = -math.inf, high: float = math.inf, *, ends: str = "()"
) -> float:
    """A number of Python or NumPy from an interval, as a float; ValueError if it is something else.

    Text, a truth value and a tensor are not numbers. `ends` are the interval's brackets: a square
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


def check_choice(name: str, value, kinds: Iterable[str]) -> str:
    """One of `kinds`; ValueError if it is something else."""
    if not isinstance(value, str) or value not in kinds:
        raise ValueError(f"{name} is one of {tuple(kinds)}, got {value!r:.80}")
    return value


def check_kind(name: str, value, kind):
    """An object of a class or of one of several, as a method's own config; else ValueError."""
    if not isinstance(value, kind):
        wanted = getattr(kind, "__name__", kind)
        raise ValueError(f"{name} must be a {wanted}, got {type(value).__name__}")
    return value


def check_flag(name: str, value) -> bool:
    """True or False; ValueError if it is something else."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} is true or false, got {value!r:.80}")
    return value


def check_box(name: str, box) -> tuple[float, float]:
    """The range (low, high) of inputs, low below high; ValueError if it is something else."""
    if not isinstance(box, tuple) or len(box) != 2:  # a list cannot be hashed
        raise ValueError(f"{name} is (low, high) with low below high, got {box!r:.80}")
    low = check_number(f"an end of the {name}", box[0])
    high = check_number(f"an end of the {name}", box[1])
    if not low < high:
        raise ValueError(f"{name} is (low, high) with low below high, got {box!r:.80}")
    return low, high


def check_layer(name: str, layer) -> str | None:
    """The name of a layer, or None for the default; ValueError if it is something else."""
    if not isinstance(layer, str | None):
        raise ValueError(f"{name} is the name of a layer or None, got {layer!r:.80}")
    return layer


# How a setting is checked, as the third argument of `check_settings` wants it.


def whole(low: int):
    """A rule: a whole number of at least `low`."""
    return lambda name, value: check_count(name, value, low)


def between(low: float, high: float, ends: str):
    """A rule: a number between two ends, which "[" and "]" take in and "(" and ")" do not."""
    return lambda name, value: check_number(name, value, low, high, ends=ends)


def optional(rule):
    """A rule: None, or what another rule takes."""
    return lambda name, value: None if value is None else _check(name, value, rule)


POSITIVE = between(0, math.inf, "()")
NOT_NEGATIVE = between(0, math.inf, "[)")
FRACTION = between(0, 1, "(]")

# The settings that many methods have, under one name and with one meaning.
SHARED = {
    "epochs": whole(0),
    "batch_size": whole(1),
    "lr": NOT_NEGATIVE,
    "momentum": NOT_NEGATIVE,
    "weight_decay": NOT_NEGATIVE,
    "layer": check_layer,
}


def check_settings(config, **rules):
    """Check the fields of a config: those in `SHARED` that it has, and the others by `rules`.

    A rule is a tuple of words, a class, or a function of name and value that raises ValueError.

    Raises: ValueError that names the first field that makes no sense
    """
    shared = {name: rule for name, rule in SHARED.items() if hasattr(config, name)}
    for name, rule in (shared | rules).items():
        _check(name, getattr(config, name), rule)


def _check(name: str, value, rule):
    if isinstance(rule, tuple):
        check_choice(name, value, rule)
    elif isinstance(rule, type):
        check_kind(name, value, rule)
    else:
        rule(name, value)


def _shown(value) -> str:
    known = isinstance(value, int | float | str | np.number)
    return f"{value!r:.80}" if known else type(value).__name__


def without_index(values):
    """What a column of pandas holds, in its order and whatever its index is; else as it is."""
    return values.to_numpy().copy() if hasattr(values, "to_numpy") else values


def as_numbers(name: str, values) -> Tensor:
    """A tensor of real numbers, made of a tensor, an array or a list; else ValueError."""
    try:
        if isinstance(values, tuple | list):  # of which torch would make single precision
            values = np.asarray(values)
        numbers = torch.as_tensor(without_index(values)).detach()
    except (RuntimeError, TypeError, ValueError):
        numbers = None
    if numbers is None or numbers.is_complex() or numbers.is_meta:
        raise ValueError(f"{name} must be numbers, as a tensor, got {_shown(values)}")
    return numbers


def check_integers(name: str, values) -> Tensor:
    """A flat list of integers, in any form, as int64 on the CPU; ValueError if it is a mask."""
    try:
        numbers = torch.as_tensor(without_index(values))
    except (RuntimeError, TypeError, ValueError):
        numbers = None
    if numbers is not None and numbers.numel() == 0:
        numbers = numbers.long()
    if numbers is None or numbers.dtype == torch.bool or not _flat_integers(numbers):
        raise ValueError(
            f"{name} must be a flat list of integers, got a {type(values).__name__}: of a boolean "
            "mask give mask.nonzero().flatten(), of a request its indices, of a set sorted(...)"
        )
    return numbers.long().cpu()


def _flat_integers(values: Tensor) -> bool:
    return values.ndim == 1 and not values.is_floating_point() and not values.is_complex()


def check_dataset(data):
    """Refuse, by ValueError, what is not Examples, a tensor or a map-style dataset, or is empty."""
    check_default_device()
    kind = type(data).__name__
    if isinstance(data, type):
        raise ValueError(f"data is the class {data.__name__} itself: make one of it first")
    if isinstance(data, tuple):
        raise ValueError(
            f"data came as a {kind} of {len(data)} parts: give one part of a split, and make two "
            "tensors Examples(inputs, targets)"
        )
    if isinstance(data, DataLoader):
        raise ValueError("data came as a DataLoader: give the dataset that it reads, its .dataset")
    if isinstance(data, IterableDataset):
        raise ValueError(
            f"data came as a stream, {kind}, which cannot be read by position: give its items as a "
            "list, list(data)"
        )
    if hasattr(data, "columns") and hasattr(data, "iloc"):
        raise ValueError(
            f"data came as a table, {kind}: make it Examples(inputs, targets) of tensors, as "
            'torch.tensor(frame[["a", "b"]].to_numpy()), or read the file by data.table'
        )
    if hasattr(data, "forget") and hasattr(data, "mask"):
        raise ValueError(f"data came as a {kind}: give a part of it, its .forget or .retain")
    inside = [*(getattr(data, "datasets", None) or ()), getattr(data, "dataset", None)]
    if isinstance(data, Subset | ConcatDataset) and any(hasattr(i, "with_targets") for i in inside):
        cure = "its .dataset[its.indices]" if isinstance(data, Subset) else "their tensors, joined"
        raise ValueError(
            f"data came as a {kind} of Examples, whose items are no pairs: give {cure}"
        )
    first = next(iter(data.indices), None) if isinstance(data, Subset) else None
    if isinstance(first, bool | np.bool_) or getattr(first, "dtype", None) == torch.bool:
        raise ValueError("a Subset was made with a mask: give it mask.nonzero().flatten().tolist()")
    by_position = hasattr(data, "__len__") and hasattr(data, "__getitem__")
    if not by_position or isinstance(data, str | bytes | dict | set):
        raise ValueError(
            f"data must be Examples, a tensor, or a dataset with len() and items by position, "
            f"got {kind}"
        )
    if (isinstance(data, Tensor) and data.ndim == 0) or len(data) == 0:
        raise ValueError("there are no examples to read")


def check_default_device():
    """Refuse, by ValueError, to work where new tensors come to another device than the CPU."""
    device = torch.get_default_device()
    if device.type != "cpu":
        raise ValueError(
            f"torch's default device is {device}, and random draws here are made on the CPU: take "
            f'torch.set_default_device("cpu"), and move model and data by .to("{device}")'
        )


def device_of(model: nn.Module) -> torch.device:
    """The device of a model's first parameter; ValueError if it is not a module or has none."""
    if not isinstance(model, nn.Module):
        kind = type(model).__name__
        if isinstance(getattr(model, "model", None), nn.Module):
            raise ValueError(f"a {kind} holds the network: give its .model")
        raise ValueError(f"a model must be a torch.nn.Module, got {kind}")
    parameter = next(model.parameters(), None)
    if parameter is None:
        raise ValueError("the model has no parameters, so there is nothing to train or to forget")
    if any(isinstance(each, UninitializedParameter) for each in model.parameters()):
        raise ValueError(
            "a lazy layer of the model has no weights yet: call it once on a batch, as in model(x)"
        )
    if parameter.device.type == "mps":
        raise ValueError("an Apple GPU (mps) has no float64, which is needed here: use model.cpu()")
    return parameter.device


def whole_numbers(name: str, values: Tensor) -> Tensor:
    """A flat tensor of integers, as int64; ValueError if it is something else."""
    if not _flat_integers(values):
        words = f"got {values.dtype} of shape {tuple(values.shape)}"
        raise ValueError(f"{name} must be integers of shape (N,), {words}")
    return values.long()


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no number of the tensors is NaN or infinite."""
    tensors = [tensor.detach() for tensor in tensors]
    # A finite sum has only finite terms: one fast look, and the slow one only if it fails.
    if bool(torch.stack([tensor.sum() for tensor in tensors]).isfinite().all()):
        return True
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


def refuse_non_finite(name: str, values: Tensor, positions: Tensor | None = None):
    """Refuse, by ValueError, NaN or infinite values; `positions` are theirs in a larger set."""
    # A finite sum has only finite terms: one fast pass, and the slow search only if it fails.
    if not values.is_floating_point() or bool(torch.isfinite(values.sum())):
        return
    bad = ~torch.isfinite(values).reshape(len(values), -1).all(1)
    if bool(bad.any()):
        first = int(bad.nonzero()[0])
        first = first if positions is None else int(positions[first])
        raise ValueError(
            f"{name} of {int(bad.sum())} example(s) hold NaN or infinite values, the first at "
            f"position {first}; drop or repair them first"
        )
