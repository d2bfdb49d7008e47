"""What a dataset holds, without reading it whole."""

from __future__ import annotations

import os

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, StackDataset, Subset, TensorDataset

from minilearn.data.examples import Examples, Unlabelled

PLAIN = (bool, int, float, str, bytes, type(None), np.generic, os.PathLike)
FLAT = {bool, int, float, str, bytes, type(None)}
ITEMS = 8  # so many items of a dataset are read, the first and the last among them


def held(data):
    """What a dataset holds and can be had without reading an item."""
    if isinstance(data, Examples | Tensor | np.ndarray):
        return data
    if isinstance(data, Unlabelled):
        inner = data.dataset
        memory = isinstance(inner, list | tuple)
        return ["inputs of", [item[0] for item in inner] if memory else held(inner)]
    if isinstance(data, Subset):
        return [held(data.dataset), torch.as_tensor(data.indices)]
    if isinstance(data, TensorDataset):
        return list(data.tensors)
    if isinstance(data, ConcatDataset):
        return list(map(held, data.datasets))
    if isinstance(data, StackDataset):
        named = isinstance(data.datasets, dict)
        return list(map(held, data.datasets.values() if named else data.datasets))
    if isinstance(data, list | tuple):
        return data if is_flat(data) else [held(each) for each in data if _is_content(each)]
    if isinstance(data, (*PLAIN, dict, set, frozenset)) or hasattr(data, "to_numpy"):
        return data
    own = getattr(data, "__dict__", {})  # a number among them may count the readings
    return {k: held(v) for k, v in own.items() if is_data(v)}


def is_flat(values: list | tuple) -> bool:
    """Whether there is nothing in it but numbers, texts and tuples of these, as paths with labels.

    Many of these are quickly read as one text, and slowly one by one.
    """
    rows = (each if type(each) is tuple else (each,) for each in values)
    return all(type(part) in FLAT for row in rows for part in row)


def is_data(value) -> bool:
    """Whether it is something that data are made of, or holds such, and more than one number."""
    return _is_content(value) and not isinstance(value, PLAIN)


def _is_content(value) -> bool:
    """Whether it is something that data are made of, or a collection with such things in it."""
    if isinstance(value, dict):  # as labels by name; tensors by position may be kept readings
        by_name = all(isinstance(key, str) for key in value)
        kept = any(isinstance(each, Tensor) for each in value.values()) and not by_name
        return not kept and _is_content([*value.values()])
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(_is_content, value))
    kinds = (*PLAIN, Tensor, np.ndarray, Dataset, Examples)
    return isinstance(value, kinds) or hasattr(value, "to_numpy")


def spread(data) -> list[int]:
    """The positions of a few items, evenly from the first to the last."""
    last = len(data) - 1
    return sorted({round(last * i / (ITEMS - 1)) for i in range(ITEMS)}) if last >= 0 else []
