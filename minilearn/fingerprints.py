"""A short text that says what a thing is: another thing is noticed, and the same known again."""

from __future__ import annotations

import contextlib
import copyreg
import functools
import hashlib
import re
from collections import deque
from collections.abc import Mapping, Sized
from types import FunctionType, ModuleType

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.data import Dataset

from minilearn.data.examples import Examples
from minilearn.data.reading import Told
from minilearn.draws import seeded
from minilearn.programs import in_class, in_function, is_installed
from minilearn.requests import Request

PLAIN = (bool, int, float, complex, str, type(None), range, torch.dtype, torch.device)
FLAT = {bool, int, float, str, bytes, type(None)}
ITEMS = 8  # so many items of a dataset are read, the first and the last among them
USUAL = vars(nn.Module()).keys()
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
WRAPPERS = (staticmethod, classmethod, type(functools.cache(len)))


def fingerprint(thing, names: Mapping[int, str] | None = None) -> str:
    """A short text that differs where two things do, and is the same in another process.

    Everything counts that a thing would be pickled with, and more: of a function its code, what it
    closes over, and the variables, functions and classes of the user's that it reads; of an object
    its class too; of a network its parts, their attributes, weights and buffers, what is frozen,
    and its hooks; of a dataset what it keeps, and `ITEMS` of its items, read under a fixed seed.
    Of what is installed only the name counts.

    So a counter or a log counts as well. Of a dataset that does not count which a reading changes,
    nor a dictionary of tensors by position. Leave other notes out in `__getstate__`, as for pickle.

    Args:
        thing: anything
        names: what stands for things with these ids, instead of what is in them
    Example:
        >>> fingerprint((1, (2, 3))) == fingerprint(((1, 2), 3))
        False
    """
    reader = _Reader(dict(names or {}))
    reader.read(thing)
    return reader.digest.hexdigest()[:16]


def without_addresses(text: str) -> str:
    """The text of an object, wherever it lies in memory."""
    return re.sub(r" at 0x\w+", "", text)


class _Reader:
    """Reads things into a digest: values where they stand, and every object once, by its number."""

    def __init__(self, names: dict[int, str]):
        self.digest = hashlib.sha256()
        self.names = names
        self.numbers = {}
        self.waiting = deque()
        self.around = []

    def read(self, thing):
        """All of it, and all that it leads to."""
        self.feed(thing)
        while self.waiting:
            head, parts = self.opened(self.waiting.popleft())
            self.feed([head, *parts])

    def feed(self, part):
        """The part if it is a value, else its number."""
        if isinstance(part, memoryview):
            self.digest.update(f"{part.nbytes}:".encode())
            self.digest.update(part)
        elif id(part) in self.names:
            self.feed(_bytes(f"the part {self.names[id(part)]}"))
        elif id(part) in self.around:
            self.feed(_bytes("the thing around it"))
        elif (value := self.value(part)) is None:
            self.feed(_bytes(f"object {self.number(part)}"))
        else:
            head, parts = value
            self.around.append(id(part))
            self.feed(_bytes(f"{head} {len(parts)}"))
            for each in parts:
                self.feed(each)
            self.around.pop()

    def value(self, thing) -> tuple[str, list] | None:
        """The kind of a value and what is in it, in its order; None of an object."""
        thing = thing.item() if isinstance(thing, np.generic) else thing
        kind = type(thing).__name__
        if isinstance(thing, PLAIN):
            return kind, [_bytes(repr(thing))]
        if isinstance(thing, bytes | bytearray):
            return "bytes", [memoryview(thing)]
        if isinstance(thing, list | tuple | deque):
            own = [] if type(thing) in (list, tuple) else [type(thing)]
            if _is_flat(thing):
                return f"plain {kind}", [_bytes(repr(list(thing))), *own]
            return kind, [*thing, *own]
        if isinstance(thing, dict):
            return "mapping", [each for key in self.in_order(thing) for each in (key, thing[key])]
        if isinstance(thing, set | frozenset):
            return "set", self.in_order(thing)
        if isinstance(thing, Tensor):
            return _tensor(thing)
        if isinstance(thing, np.ndarray):
            return _array(thing)
        if hasattr(type(thing), "to_numpy"):  # of pandas, and the like
            return kind, [thing.to_numpy(), list(map(str, getattr(thing, "columns", ())))]
        if hasattr(type(thing), "__array_interface__"):  # an image
            return kind, [np.asarray(thing)]
        return None

    def in_order(self, collection) -> list:
        """What is in a set, or the keys of a dictionary, in an order that no process changes."""
        if all(isinstance(each, PLAIN) for each in collection):
            return sorted(collection, key=lambda each: (type(each).__name__, repr(each)))
        names = self.names | {id(collection): "the thing around it"}
        names |= {id(thing): f"object {number}" for number, thing in self.numbers.values()}
        return sorted(collection, key=lambda each: fingerprint(each, names))

    def number(self, thing) -> int:
        """The number of an object, which is read in its turn if it is new."""
        if id(thing) not in self.numbers:
            self.numbers[id(thing)] = len(self.numbers), thing  # kept, or another gets its id
            self.waiting.append(thing)
        return self.numbers[id(thing)][0]

    def opened(self, thing) -> tuple[str, list]:
        """What is said of an object, and its parts."""
        if isinstance(thing, FunctionType):
            return in_function(thing)
        if isinstance(thing, type):
            return in_class(thing)
        if isinstance(thing, ModuleType):
            return f"module {thing.__name__}", []
        if isinstance(thing, nn.Module):
            return _network(thing)
        if isinstance(thing, Examples):
            return "examples", [thing.inputs, thing.targets, thing.groups]
        if isinstance(thing, Request):
            return "request", [thing.train, thing.mask]
        if isinstance(thing, Dataset) and isinstance(thing, Sized):
            return _dataset(thing, self.names)
        if _has_items(thing):
            with contextlib.suppress(ValueError):  # what is read by word, and not by position
                return _dataset(thing, self.names)
        if isinstance(thing, torch.Generator):
            return "generator", [thing.get_state()]
        if isinstance(thing, property):
            return "property", [thing.fget, thing.fset]
        if isinstance(thing, WRAPPERS):
            return type(thing).__name__, [thing.__wrapped__]
        return "object", [type(thing), _state(thing)]


# ---- values


def _bytes(text: str) -> memoryview:
    return memoryview(text.encode())


def _is_flat(values: list | tuple) -> bool:
    """Whether there is nothing in it but numbers, texts and tuples of these, as paths with labels.

    Many of these are quickly read as one text, and slowly one by one.
    """
    rows = (each if type(each) is tuple else (each,) for each in values)
    return all(type(part) in FLAT for row in rows for part in row)


def _tensor(thing: Tensor) -> tuple[str, list]:
    frozen = isinstance(thing, nn.Parameter) and not thing.requires_grad
    head = "frozen tensor" if frozen else "tensor"
    if is_lazy(thing):
        return f"{head} without a shape", []
    head = f"{head} {thing.dtype} {tuple(thing.shape)}"
    if thing.is_meta:  # it holds no numbers
        return head, []
    thing = thing.to_dense() if thing.layout != torch.strided else thing
    flat = thing.detach().cpu().contiguous().reshape(-1)
    return head, [memoryview(flat.resolve_conj().view(torch.uint8).numpy())]


def _array(thing: np.ndarray) -> tuple[str, list]:
    if thing.dtype.hasobject:
        return "array", [thing.tolist()]
    head = f"array {thing.dtype} {thing.shape}"
    if isinstance(thing, np.memmap) and thing.ndim:  # may be larger than the memory
        thing = np.array(thing[_spread(len(thing))])
    return head, [memoryview(np.ascontiguousarray(thing).reshape(-1).view(np.uint8))]


def _spread(length: int) -> list[int]:
    """A few positions, evenly from the first to the last."""
    return sorted({round((length - 1) * i / (ITEMS - 1)) for i in range(ITEMS)}) if length else []


# ---- objects


def _state(thing):
    """What an object would be made of again by pickle; nothing of a file or a lock."""
    reduce = copyreg.dispatch_table.get(type(thing))
    try:
        how = reduce(thing) if reduce else thing.__reduce_ex__(4)
    except Exception:  # whatever it says of why it cannot be pickled
        return None
    if isinstance(how, str):
        return how
    made, arguments, *rest = how
    listed = (list(each) if hasattr(each, "__next__") else each for each in rest)
    return [made, *arguments, *listed]


def _network(thing: nn.Module) -> tuple[str, list]:
    hooks = [hook for name in HOOKS for hook in getattr(thing, name).values()]
    inside = [*thing.named_parameters(recurse=False), *thing.named_buffers(recurse=False)]
    return "network", [type(thing), attributes_of(thing), inside, [*thing.named_children()], hooks]


def attributes_of(part: nn.Module) -> dict[str, object]:
    """What a part of a network keeps besides parameters, buffers and parts."""
    if type(part).__module__.startswith("torch._"):  # what a compiled network keeps for itself
        return {}
    kept = vars(part) if is_installed(type(part)) else part.__getstate__()
    kept = kept if isinstance(kept, dict) else vars(part)
    return {name: value for name, value in kept.items() if name not in USUAL}


# ---- datasets


def _has_items(thing) -> bool:
    """Whether it can be read as a dataset of no torch class."""
    items = isinstance(thing, Sized) and hasattr(thing, "__getitem__")
    return items and not isinstance(thing, Mapping)


def _dataset(thing, names: dict[int, str]) -> tuple[str, list]:
    """What it keeps and no reading changes, and a few items, which are read first.

    So what it opens, loads or notes at its first reading does not count.
    """
    places = _spread(len(thing))
    items = [_item(thing, i, names) for i in places]
    before = _kept(thing, dict(names))
    for i in places[:1]:
        _item(thing, i, names)
    after = _kept(thing, dict(names))
    settings = sorted(before.items() & after.items())
    state = None if hasattr(thing, "__dict__") else _state(thing)
    return f"{len(thing)} items", [type(thing), settings, state, items]


def _item(data, place: int, names: dict[int, str]) -> str:
    """The fingerprint of an item; of one that is drawn anew at every reading, nothing."""
    readings = set()
    for _ in range(2):
        with seeded(0):
            readings.add(fingerprint(Told(data)[place], names))
    return readings.pop() if len(readings) == 1 else "drawn anew"


def _kept(thing, names: dict[int, str], place: str = "") -> dict[str, str]:
    """Fingerprints of its attributes, and of those of objects in them, by place."""
    names[id(thing)] = place
    found = {}
    for name, value in getattr(thing, "__dict__", {}).items():
        inner = f"{place}.{name}"
        if _is_object(value) and id(value) not in names:
            found |= {inner: fingerprint(type(value))} | _kept(value, names, inner)
        elif not _may_be_readings(value):
            found[inner] = fingerprint(value, names)
    return found


def _is_object(value) -> bool:
    """Whether it is an object of a class of the user's, with attributes."""
    other = isinstance(value, FunctionType | type | ModuleType | nn.Module | Dataset)
    return hasattr(value, "__dict__") and not other and not is_installed(type(value))


def _may_be_readings(value) -> bool:
    """Whether it is a dictionary of tensors by position, as a dataset may keep what it has read."""
    by_name = isinstance(value, dict) and all(isinstance(key, str) for key in value)
    return isinstance(value, dict) and not by_name and any(map(torch.is_tensor, value.values()))
