"""A short text that says what a thing is: another thing is noticed, and the same known again."""

from __future__ import annotations

import contextlib
import copyreg
import functools
import hashlib
import random
import re
import weakref
from collections import deque
from collections.abc import Mapping
from types import CodeType, FunctionType, MethodType, ModuleType

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset
from torch.utils.hooks import RemovableHandle

from minilearn.data.examples import Examples
from minilearn.data.reading import Told
from minilearn.draws import seeded
from minilearn.programs import in_class, in_code, in_function, in_module, is_installed
from minilearn.requests import Request
from minilearn.values import PLAIN, as_bytes, in_tensor, in_value, spread

USUAL = vars(nn.Module()).keys()
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
VALUES = list | tuple | dict | set | frozenset | str | int | float | bytes | Tensor | np.ndarray
GLOBAL = random._inst, np.random.mtrand._rand, torch.default_generator
DEEP = 100  # from here on collections in collections are read in their turn, as objects
WRAPPERS = (staticmethod, classmethod, type(functools.cache(len)))


def fingerprint(thing, names: Mapping[int, str] | None = None) -> str:
    """A short text that differs where two things do, and is the same in another process.

    Everything counts that a thing would be pickled with, and more: of a function its code, what it
    closes over, and the variables, functions and classes of the user's that it reads; of an object
    its class too; of a network its parts, their attributes, weights and buffers, what is frozen,
    and its hooks; of a dataset what it keeps, and `ITEMS` of its items, read under a fixed seed.
    Of what is installed only the name counts.

    So a counter in an object counts, too: leave it out in `__getstate__`, as for pickle. Notes do
    not count: what a reading changes in a dataset, its dictionaries of tensors by position, and
    collections outside of a function that it writes into. Of an array on the disk count `ITEMS`.

    Args: names: what stands for things with these ids, instead of what is in them
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
            thing = self.waiting.popleft()
            head, parts = in_value(thing, self.in_order) or self.opened(thing)
            self.feed([head, *parts])

    def feed(self, part):
        """The part if it is a value, else its number."""
        if type(part) in weakref.ProxyTypes:
            self.feed(as_bytes("proxy"))
        elif isinstance(part, memoryview):
            self.digest.update(f"{part.nbytes}:".encode())
            self.digest.update(part)
        elif id(part) in self.names:
            self.feed(as_bytes(f"the part {self.names[id(part)]}"))
        elif id(part) in self.around:
            self.feed(as_bytes("the thing around it"))
        elif len(self.around) > DEEP or (value := in_value(part, self.in_order)) is None:
            self.feed(as_bytes(f"object {self.number(part)}"))
        else:
            head, parts = value
            self.around.append(id(part))
            self.feed(as_bytes(f"{head} {len(parts)}"))
            for each in parts:
                self.feed(each)
            self.around.pop()

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
            return in_module(thing)
        if isinstance(thing, CodeType):
            return "code", [in_code(thing)]
        if isinstance(thing, MethodType):
            return "method", [thing.__func__, thing.__self__]
        if isinstance(thing, nn.Parameter):
            return in_tensor(thing)
        if isinstance(thing, nn.Module):
            return _network(thing)
        if isinstance(thing, Examples):
            return "examples", [thing.inputs, thing.targets, thing.groups]
        if isinstance(thing, Request):
            return "request", [thing.train, thing.mask]
        if _has_items(thing):
            with contextlib.suppress(ValueError):  # what is read by word, and not by position
                return _dataset(thing, self.names)
        if isinstance(thing, RemovableHandle) or any(thing is each for each in GLOBAL):
            return "counted over the whole process", []
        if isinstance(thing, torch.Generator):
            return "generator", [thing.get_state()]
        if isinstance(thing, torch.jit.ScriptFunction):
            return "scripted", [thing.code]
        if isinstance(thing, property):
            return "property", [thing.fget, thing.fset]
        if isinstance(thing, WRAPPERS):
            return type(thing).__name__, [thing.__wrapped__]
        return "object", [type(thing), _state(thing)]


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
    code = thing.code if isinstance(thing, torch.jit.ScriptModule) else ""
    parts = [attributes_of(thing), inside, [*thing.named_children()], hooks, code]
    return "network", [type(thing), *parts]


def attributes_of(part: nn.Module) -> dict[str, object]:
    """What a part of a network keeps besides parameters, buffers and parts."""
    if type(part).__module__.startswith("torch._"):  # what a compiled network keeps for itself
        return {}
    kept = vars(part) if is_installed(type(part)) else part.__getstate__()
    kept = (kept if isinstance(kept, dict) else vars(part)) | _slots(part)
    return {name: value for name, value in kept.items() if name not in USUAL}


def _slots(thing) -> dict[str, object]:
    """What an object keeps beside its dictionary."""
    names = copyreg._slotnames(type(thing))
    return {name: getattr(thing, name) for name in names if hasattr(thing, name)}


# ---- datasets


def _has_items(thing) -> bool:
    """Whether it has a length, and items by position perhaps."""
    if not hasattr(type(thing), "__getitem__") or isinstance(thing, Mapping | IterableDataset):
        return False
    try:
        return len(thing) >= 0
    except Exception:  # as of an estimator that is not fitted
        return False


def _dataset(thing, names: dict[int, str]) -> tuple[str, list]:
    """What it keeps and no reading changes, and a few items, which are read first.

    So what it opens, loads or notes at its first reading does not count. If it keeps items by
    position, which may be data or what was read, all items are read.
    """
    places = spread(len(thing))
    if places and not isinstance(thing, Dataset):
        kinds = (type(each).__qualname__ for each in (thing, Told(thing)[0]))
        if len({*kinds}) == 1:
            raise ValueError("an item is one of its own kind, as of a text")
    items = [_item(thing, i, names) for i in places]
    before = _kept(thing, names)
    for i in places[:1]:
        _item(thing, i, names)
    after = _kept(thing, names)
    if None in after.values():
        items = [_item(thing, i, names) for i in range(len(thing))]
    settings = sorted(pair for pair in before.items() & after.items() if pair[1])
    state = None if hasattr(thing, "__dict__") else _state(thing)
    return f"{len(thing)} items", [type(thing), settings, state, items]


def _item(data, place: int, names: dict[int, str]) -> str:
    """The fingerprint of an item; of one that is drawn anew at every reading, nothing."""
    readings = set()
    for _ in range(2):
        with seeded(0):
            readings.add(fingerprint(Told(data)[place], names))
    return readings.pop() if len(readings) == 1 else "drawn anew"


def _kept(thing, names: dict[int, str]) -> dict[str, str | None]:
    """Fingerprints of its attributes, and of those of datasets and objects in them, by place.

    None stands for what may be readings.
    """
    names, found, waiting = names | {id(thing): ""}, {}, deque([("", thing)])
    while waiting:
        place, thing = waiting.popleft()
        for name, value in (getattr(thing, "__dict__", {}) | _slots(thing)).items():
            inner = f"{place}.{name}"
            if _is_object(value) and id(value) not in names:
                found[inner] = fingerprint(type(value))
                names[id(value)] = inner
                waiting.append((inner, value))
            else:
                found[inner] = None if _may_be_readings(value) else fingerprint(value, names)
    return found


def _is_object(value) -> bool:
    """Whether it is a dataset, or an object of a class of the user's, with attributes."""
    other = isinstance(value, FunctionType | type | ModuleType | nn.Module | VALUES)
    own = isinstance(value, Dataset) or not is_installed(type(value))
    return hasattr(value, "__dict__") and own and not other


def _may_be_readings(value) -> bool:
    """Whether it is a dictionary of tensors by position, as a dataset may keep what it has read."""
    if not isinstance(value, dict) or all(isinstance(key, str) for key in value):
        return False
    parts = [p for v in value.values() for p in (v if isinstance(v, list | tuple) else [v])]
    arrays = (p for p in parts if not isinstance(p, np.generic))
    return any(isinstance(p, Tensor) or hasattr(p, "__array_interface__") for p in arrays)
