"""What a run is about, as short texts that are compared, and as words for who has to be told."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Set
from functools import singledispatch

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from minilearn.data.examples import Examples
from minilearn.data.held import ITEMS, held, is_flat, spread
from minilearn.data.reading import Told
from minilearn.draws import seeded
from minilearn.identity import (
    code_of,
    code_of_class,
    contents,
    frozen_in,
    notes_in,
    structure,
    without_addresses,
)
from minilearn.notes import settings_in, within
from minilearn.requests import Request
from minilearn.said import in_words, mark, said

PLAIN = (bool, int, float, complex, str, type(None), range, torch.dtype, torch.device)


def fingerprint(thing) -> str:
    """A short text that differs where kind, structure or contents differ.

    Of a network count its parts, their settings, all parameters and buffers, and which of them are
    frozen; of a dataset the tensors, arrays and positions that it holds, its numbers, the objects
    inside of it, and `ITEMS` of its items. They are read under a fixed seed. What differs at its
    next reading all the same, or after it, does not count.

    Args: thing: numbers, texts, tensors, arrays, datasets, networks, and whatever is made of them
    Raises: ValueError for a function, which cannot be looked into
    Example:
        >>> fingerprint((1, (2, 3))) == fingerprint(((1, 2), 3))
        False
        >>> fingerprint(nn.ReLU()) == fingerprint(nn.Tanh())
        False
    """
    digest = hashlib.sha256()
    around = []

    def feed(part):
        if isinstance(part, memoryview):
            digest.update(f"{part.nbytes}:".encode())
            digest.update(part)
        elif id(part) in around:
            feed(_bytes("the thing around it"))
        else:
            around.append(id(part))
            head, parts = _opened(part)
            feed(_bytes(f"{head} {len(parts)}"))
            for each in parts:
                feed(each)
            around.pop()

    feed(thing)
    return digest.hexdigest()[:16]


def fresh_network(model: nn.Module) -> str:
    """Of a network that nobody has used yet: parts, settings, weights, what is frozen, and code."""
    parts = [*structure(model, fresh=True).items()], [*contents(model).items()]
    return fingerprint((*parts, code_of(model), frozen_in(model)))


def settings_of(thing) -> dict[str, str]:
    """What can be said of it in a line: its settings, parts or size, by name.

    Example:
        >>> settings_of((3, torch.zeros(4)))
        {'[0]': '3', '[1]': 'Tensor of 4'}
    """
    if isinstance(thing, nn.Module):
        return structure(thing)
    if isinstance(thing, (*PLAIN, np.generic)):
        return {"": repr(thing.item() if isinstance(thing, np.generic) else thing)}
    if isinstance(thing, tuple) and len(thing) <= ITEMS:
        parts = {f"[{i}]": part for i, part in enumerate(thing)}
    elif dataclasses.is_dataclass(thing) and not isinstance(thing, Examples | Request):
        parts = {f.name: getattr(thing, f.name) for f in dataclasses.fields(thing)}
    else:
        sized = hasattr(thing, "__len__") and getattr(thing, "ndim", 1)
        return {"": type(thing).__name__ + (f" of {len(thing)}" if sized else "")}
    return {
        f"{name}.{inner}".rstrip("."): text
        for name, part in parts.items()
        for inner, text in settings_of(part).items()
    }


def _bytes(text: str) -> memoryview:
    return memoryview(text.encode())


@singledispatch
def _opened(thing) -> tuple[str, list]:
    """The kind of a thing, and its parts in their order: things, or bytes as a memoryview."""
    kind = type(thing).__name__
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        names = [field.name for field in dataclasses.fields(thing)]
        return f"dataclass {kind}", [each for n in names for each in (n, getattr(thing, n))]
    if isinstance(thing, np.generic):
        return _opened(thing.item())
    if isinstance(thing, type):
        return f"class {thing.__name__}", []
    if callable(thing):
        raise ValueError("a function cannot be looked into: name what it reads instead")
    if hasattr(thing, "to_numpy") or hasattr(thing, "__array_interface__"):  # pandas, an image
        names = [list(map(str, thing.columns))] if hasattr(thing, "columns") else []
        array = thing.to_numpy() if hasattr(thing, "to_numpy") else np.asarray(thing)
        return kind, [array, *names]
    if hasattr(thing, "__getitem__") and hasattr(thing, "__len__"):
        return _dataset(thing)
    if hasattr(thing, "__dict__"):
        return f"object {kind}", [vars(thing)]
    return f"object {kind} {without_addresses(repr(thing))}", []


for plain in PLAIN:

    @_opened.register(plain)
    def _(thing) -> tuple[str, list]:
        return type(thing).__name__, [_bytes(repr(thing))]


@_opened.register(bytes)
@_opened.register(bytearray)
def _(thing) -> tuple[str, list]:
    return "bytes", [memoryview(thing)]


@_opened.register(list)
@_opened.register(tuple)
def _(thing) -> tuple[str, list]:
    if is_flat(thing):
        return f"plain {type(thing).__name__}", [_bytes(repr(list(thing)))]
    return type(thing).__name__, list(thing)


@_opened.register(Mapping)
def _(thing) -> tuple[str, list]:
    keys = sorted(thing, key=fingerprint)
    return "mapping", [each for key in keys for each in (key, thing[key])]


@_opened.register(Set)
def _(thing) -> tuple[str, list]:
    return "set", sorted(map(fingerprint, thing))


@_opened.register(Tensor)
def _(thing) -> tuple[str, list]:
    if thing.is_meta:
        raise ValueError("a tensor is on the meta device, which holds no numbers: load it")
    if thing.layout != torch.strided:
        thing = thing.to_dense()
    flat = thing.detach().cpu().contiguous().reshape(-1)
    raw = memoryview(flat.resolve_conj().view(torch.uint8).numpy())
    return f"tensor {thing.dtype} {tuple(thing.shape)}", [raw]


@_opened.register(np.ndarray)
def _(thing) -> tuple[str, list]:
    if thing.dtype.hasobject:
        return "array", [thing.tolist()]
    if isinstance(thing, np.memmap) and thing.ndim:  # may be larger than the memory
        return f"array on the disk {thing.dtype} {thing.shape}", [np.array(thing[spread(thing)])]
    raw = np.ascontiguousarray(thing).reshape(-1).view(np.uint8)
    return f"array {thing.dtype} {thing.shape}", [memoryview(raw)]


@_opened.register(nn.Module)
def _(thing) -> tuple[str, list]:
    parts = [*structure(thing).items()], [*contents(thing).items()]
    return "network", [*parts, frozen_in(thing)]


@_opened.register(torch.Generator)
def _(thing) -> tuple[str, list]:
    return "generator", [thing.get_state()]


@_opened.register(Examples)
def _(thing) -> tuple[str, list]:
    groups = [] if thing.groups is None else [thing.groups]
    return "examples", [thing.inputs, thing.targets, *groups]


@_opened.register(Request)
def _(thing) -> tuple[str, list]:
    return "request", [thing.train, thing.mask]


@_opened.register(Dataset)
def _dataset(thing) -> tuple[str, list]:
    kinds = [type(thing)]
    for _ in range(2):  # what they make later is left out, and so is what that would change
        notes = notes_in(kinds)
        inside = [type(each) for _, each in within(thing, skip=notes.any)]
        kinds = [*dict.fromkeys([type(thing), *inside])]
    codes = [*map(code_of_class, kinds)]
    before, items, after = _settings(thing, notes), _items(thing), _settings(thing, notes)
    settings = sorted(before.items() & after.items())
    return f"{type(thing).__name__} {len(thing)}", [codes, held(thing), items, settings]


def _settings(data, notes) -> dict[str, str]:
    found = settings_in(data, notes).items()
    return {name: mark(in_words(lambda seen, v=v: said(v, seen))) for name, v in found}


def _items(data) -> list:
    """Fingerprints of a few items; of one that is drawn anew at every reading, nothing."""
    found = []
    for i in spread(data):
        readings = []
        for _ in range(2):
            with seeded(0):
                readings.append(fingerprint(Told(data)[i]))
        found.append(readings[0] if readings[0] == readings[1] else "drawn anew")
    return found
