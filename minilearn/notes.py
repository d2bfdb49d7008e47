"""What lies inside an object, and which of its attributes change while it is used."""

from __future__ import annotations

import dis
import sys
import sysconfig
from collections import deque
from collections.abc import Iterable, Set
from enum import Enum
from itertools import pairwise
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from minilearn.data.held import held, is_data, is_flat

PLAIN = (bool, int, float, complex, str, bytes, type(None), range, torch.dtype, torch.device)
FUNCTIONS = (FunctionType, BuiltinFunctionType, np.ufunc)
NUMBERS = (bool, int, float, np.generic)
LEAVES = (*PLAIN, Enum, np.generic, Tensor, np.ndarray, *FUNCTIONS, type, ModuleType)
# Where a look at the functions that code calls ends: what comes with a version of its own.
KNOWN = {"torch", "torchvision", "numpy", "minilearn", *sys.stdlib_module_names} - {"__main__"}
INSTALLED = tuple({sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")})
MAKING = {"__init__", "__new__", "__post_init__", "__setstate__"}
SUBSCRIPTS = {"STORE_SUBSCR", "DELETE_SUBSCR", "STORE_SLICE"}
WRITING = {"append", "appendleft", "extend", "insert", "add", "update", "setdefault"}
WRITING |= {"pop", "popleft", "popitem", "remove", "discard", "clear"}


class Notes(NamedTuple):
    """Names of attributes that code changes after an object was made.

    Args:
        any: those that it sets, or writes into
        counted: those that it also reads where it sets them, as counters, or writes into
    """

    any: Set[str] = frozenset()
    counted: Set[str] = frozenset()


def notes_of(functions: Iterable) -> Notes:
    """The attributes that these functions change; those that make an object do not count."""
    some, counted = set(), set()
    for function in functions:
        if isinstance(function, FunctionType) and function.__name__ not in MAKING:
            code = function.__code__
            stored = named(code, "STORE_ATTR", "DELETE_ATTR")
            counted |= stored & named(code, "LOAD_ATTR", "LOAD_METHOD") | _written(code)
            some |= stored | counted
    return Notes(some, counted)


def named(code: CodeType, *operations: str) -> set[str]:
    """Names on which a function's code, or that of one inside it, does such operations."""
    mine = {line.argval for line in dis.get_instructions(code) if line.opname in operations}
    return mine.union(*(named(each, *operations) for each in _inside(code)))


def names_in(code: CodeType) -> set[str]:
    """What a function's code, and that of the functions inside it, looks up, attributes too."""
    return set(code.co_names).union(*map(names_in, _inside(code)))


def installed(kind: type) -> bool:
    """Whether a class comes with Python or with an installed package, and so with a version."""
    file = str(getattr(sys.modules.get(kind.__module__), "__file__", None) or "")
    return kind.__module__.partition(".")[0] in KNOWN or file.startswith(INSTALLED)


def is_own(value) -> bool:
    """Whether it is an object of a class of the user's, with attributes."""
    other = isinstance(value, LEAVES) or installed(type(value))
    return hasattr(value, "__dict__") and not other


def within(value, place: str = "", *, skip: Set[str] = frozenset(), lists: bool = True) -> list:
    """Networks, datasets and the user's objects in a value, itself too: pairs of place and object.

    We look into tuples and attributes, but into no network, and into each object once.

    Args:
        value, place: where we begin, and its name
        skip: attributes that are left out
        lists: whether we look into lists and dictionaries, too
    """
    found, known, waiting = [], {}, deque([(place, value)])
    while waiting:
        place, value = waiting.popleft()
        value = value.__self__ if isinstance(value, MethodType) else value
        if id(value) in known:
            continue
        known[id(value)] = value  # which keeps it, so that no other gets its id
        inner = ()
        if isinstance(value, tuple | list | deque):
            inner = enumerate(value) if lists or isinstance(value, tuple) else ()
            inner = () if is_flat(value) else inner
        elif isinstance(value, dict):  # other mappings may read what is asked for from the disk
            inner = value.items() if lists else ()
        elif isinstance(value, nn.Module | Dataset) or is_own(value):
            found.append((place, value))
            own = () if isinstance(value, nn.Module) else getattr(value, "__dict__", {}).items()
            inner = [(name, each) for name, each in own if name not in skip]
        inner = [(name, each) for name, each in inner if not isinstance(each, LEAVES)]
        waiting += [(f"{place}.{name if isinstance(name, PLAIN) else ''}", v) for name, v in inner]
    return found


def settings_in(data, notes: Notes) -> dict[str, object]:
    """Numbers in a dataset and in the objects inside of it, and the data in these objects."""
    found = {}
    for place, thing in within(data, skip=notes.any):
        inside = thing is not data and not isinstance(thing, Dataset)
        own = {} if isinstance(thing, nn.Module) else vars(thing)
        for name, value in own.items():
            counts = isinstance(value, NUMBERS) or (inside and is_data(value))
            if counts and name not in notes.any:
                found[f"{place}.{name}"] = held(value)
    return found


def _inside(code: CodeType) -> list[CodeType]:
    return [value for value in code.co_consts if isinstance(value, CodeType)]


def _written(code: CodeType) -> set[str]:
    """Attributes into whose lists or dictionaries code writes: `x.name[i] = 1`, `x.name.add(1)`."""
    lines = [*dis.get_instructions(code)]
    places = {line.positions[::2] for line in lines if line.opname in SUBSCRIPTS}
    loads = [line for line in lines if line.opname == "LOAD_ATTR"]
    found = {line.argval for line in loads if line.positions[::2] in places}
    called = [one for one, other in pairwise(lines) if other.argval in WRITING]
    found |= {line.argval for line in called if line.opname == "LOAD_ATTR"}
    return found.union(*map(_written, _inside(code)))
