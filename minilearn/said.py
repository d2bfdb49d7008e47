"""Values in words that differ where the values do: settings, functions, classes and objects."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import hashlib
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Set
from enum import Enum
from types import CodeType, FunctionType, MethodType, ModuleType, SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from minilearn.data.held import held
from minilearn.notes import (
    FUNCTIONS,
    KNOWN,
    PLAIN,
    Notes,
    installed,
    is_own,
    named,
    names_in,
    notes_of,
    settings_in,
    within,
)

SETTINGS = (*PLAIN, Enum, np.generic, Tensor, np.ndarray, *FUNCTIONS, type)
NOTES = (list, deque, Mapping, Set)  # a network's own perhaps, which change as it computes


class Seen:
    """What has been looked at already, and which attributes of objects do not count."""

    def __init__(self, notes: Notes | None = None):
        self.notes = notes or Notes()
        self.things = {}

    def has(self, thing) -> bool:
        """Whether it has been asked for before."""
        before = id(thing) in self.things
        self.things[id(thing)] = thing
        return before


def in_words(say: Callable[[Seen], str]) -> str:
    """What is said, once all the code that is met has told what it changes in objects."""
    seen = Seen()
    say(seen)
    return say(Seen(notes_of(seen.things.values())))


def said(value, seen: Seen, fresh: bool = False) -> str:
    """A setting in words: of a function its name and code, of a tensor what is in it."""
    kind = type(value)
    if isinstance(value, FunctionType):
        return f"{value.__qualname__} {_code(value, seen)}"
    if isinstance(value, Tensor | np.ndarray):
        return f"{kind.__name__} {value.dtype} {tuple(value.shape)} {mark(_bytes_of(value))}"
    if isinstance(value, DataLoader):
        return f"{kind.__name__} {value.batch_size} {said(value.dataset, seen)}"
    if _is_table(value):
        columns = list(map(str, getattr(value, "columns", ())))
        return f"{kind.__name__} {columns} {said(np.asarray(value.to_numpy()), seen)}"
    if isinstance(value, Dataset):
        inside = [held(value), settings_in(value, seen.notes)]
        return f"{kind.__name__} {said(inside, seen)} {said_of_class(kind, seen)}"
    if isinstance(value, MethodType):
        return f"{said(value.__func__, seen)} of ({_owner(value.__self__, seen)})"
    parts = _parts(value, fresh)
    if parts is not None:
        text = ", ".join(said(part, seen, fresh) for part in parts)
        return f"{kind.__name__}({text}){said_of_class(kind, seen)}"
    if isinstance(value, type):
        return f"{value.__qualname__} {said_of_class(value, seen)}"
    if isinstance(value, SETTINGS):
        return getattr(value, "__qualname__", None) or repr(value)
    if callable(value) and not isinstance(value, nn.Module):
        called = kind.__call__  # of what is written in C there is no code
        code = said(called, seen) if isinstance(called, FunctionType) else ""
        return f"{kind.__name__}({code}, {_owner(value, seen)})"
    return _objects(value, seen)


def said_of_class(kind: type, seen: Seen) -> str:
    """What a class of the user's says itself, and what it has from others; no counters."""
    if installed(kind) or seen.has(kind):
        return ""
    kinds = [each for each in kind.__mro__ if not installed(each)]
    every = [pair for each in kinds for pair in own_attributes(each)]
    counts = [(name, value) for name, value in every if name not in seen.notes.counted]
    return mark("\n".join(f"{name} {said(value, seen)}" for name, value in counts))


def said_of_object(value, seen: Seen, fresh: bool = False) -> str:
    """What an object of the user's keeps, but for what code changes in it, and its class."""
    if seen.has(value):
        return ""
    kept = [
        f"{name} {said(part, seen, fresh)}"
        for name, part in vars(value).items()
        if name not in seen.notes.any and not is_own(part) and is_setting(part, fresh)
    ]
    return f"{type(value).__name__}({', '.join(kept)}){said_of_class(type(value), seen)}"


def is_setting(value, fresh: bool) -> bool:
    """Whether it is a number, a text, a tensor, a function or a class, or made of such.

    A list, a dictionary, a set or an object only if `fresh`, and not if it holds tensors, which
    are the weights.
    """
    if isinstance(value, Dataset | DataLoader) or _is_table(value):
        return True
    many = isinstance(value, NOTES) and not isinstance(value, frozenset)
    parts = _parts(value, fresh)
    if parts is None or (many and not fresh):
        return isinstance(value, SETTINGS)
    weights = many and any(isinstance(part, Tensor) for part in parts)
    return not weights and all(is_setting(part, fresh) for part in parts)


def own_attributes(kind: type) -> Iterator[tuple[str, object]]:
    """Attributes that a class itself says."""
    for name, value in vars(kind).items():
        if isinstance(value, FunctionType) or not name.startswith("__"):
            yield name, value


def mark(text: str | bytes) -> str:
    """Sixteen letters that stand for a text."""
    data = text.encode() if isinstance(text, str) else text
    return hashlib.sha256(data).hexdigest()[:16]


def without_addresses(text: str) -> str:
    """The text of an object, wherever it lies in memory."""
    return re.sub(r" at 0x\w+", "", text)


def _owner(value, seen: Seen) -> str:
    """What a class, or an object and its class say; what a network keeps does not count."""
    if isinstance(value, type):
        return said_of_class(value, seen)
    own = {} if isinstance(value, nn.Module) else getattr(value, "__dict__", {})
    kept = ", ".join(_kept(part, seen) for part in own.values())
    return f"{kept} {said_of_class(type(value), seen)}"


def _kept(value, seen: Seen) -> str:
    """What a function or an object keeps; lists and dictionaries may be notes, and do not count."""
    return said(value, seen) if is_setting(value, fresh=False) else _objects(value, seen)


def _objects(value, seen: Seen) -> str:
    """The kind of a thing, and what it says if it is an object of the user's, but no network."""
    inside = within(value, skip=seen.notes.any, lists=False) if is_own(value) else []
    own = [thing for _, thing in inside if not isinstance(thing, nn.Module | Dataset)]
    return " ".join([type(value).__name__, *(said_of_object(thing, seen) for thing in own)])


def _parts(value, fresh: bool) -> list | None:
    """What a composite setting is made of; None of anything else."""
    if isinstance(value, Enum | type | nn.Module):
        return None
    if isinstance(value, tuple | list | deque):
        return [*value]
    if isinstance(value, Mapping):
        return [*value.items()]
    if isinstance(value, Set):
        return sorted(value, key=repr)  # whose order is another one in each process
    if isinstance(value, slice):
        return [value.start, value.stop, value.step]
    if isinstance(value, staticmethod | classmethod | MethodType):
        return [value.__func__]
    if isinstance(value, functools.cached_property):
        return [value.func]
    if isinstance(value, property):
        return [value.fget, value.fset]
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.items()]
    if isinstance(value, SimpleNamespace | argparse.Namespace):
        return [*vars(value).items()]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    if fresh and hasattr(value, "__dict__") and not callable(value):
        return [(name, part) for name, part in vars(value).items() if _is_flat(part)]
    return None


def _is_flat(value) -> bool:
    """Whether a part of an object is a setting, or some of them; the rest may lead anywhere."""
    if type(value) in (tuple, list, dict):
        many = value.values() if type(value) is dict else value
        return all(isinstance(part, SETTINGS) and not isinstance(part, Tensor) for part in many)
    return isinstance(value, SETTINGS)


def _is_table(value) -> bool:
    return hasattr(type(value), "to_numpy")


def _code(function: FunctionType, seen: Seen) -> str:
    """What a function does: its code, its defaults, what it closes over, and what it calls."""
    if seen.has(function):
        return "seen"
    code = function.__code__
    found = [_bytecode(code, function.__doc__)]
    found += [said(part, seen) for part in (function.__defaults__, function.__kwdefaults__)]
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # not filled yet
            found.append(_kept(cell.cell_contents, seen))
    read = named(code, "LOAD_GLOBAL", "LOAD_NAME") - named(code, "STORE_GLOBAL")
    for name in sorted(read & set(function.__globals__)):
        found += _outside(name, function.__globals__[name], names_in(code), seen)
    return mark("\n".join(found))


def _outside(name: str, value, names: set[str], seen: Seen) -> Iterator[str]:
    """What counts of a value that code looks up by its name; of a module, what it has of these."""
    whose = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    if str(whose).partition(".")[0] in KNOWN and isinstance(value, ModuleType | FunctionType):
        return
    if isinstance(value, ModuleType):
        if not seen.has(value):
            for inner in sorted(names & set(vars(value))):
                yield from _outside(f"{name}.{inner}", vars(value)[inner], names, seen)
    elif is_setting(value, fresh=False) or (is_own(value) and not isinstance(value, nn.Module)):
        yield f"{name} {_kept(value, seen)}"


def _bytes_of(values: Tensor | np.ndarray) -> bytes:
    if isinstance(values, Tensor):
        if values.is_meta:
            return b""
        dense = values.detach().cpu() if values.layout == torch.strided else values.to_dense()
        values = dense.contiguous().reshape(-1).resolve_conj().view(torch.uint8).numpy()
    if values.dtype.hasobject:
        return without_addresses(repr(values.tolist())).encode()
    return values.tobytes()


def _bytecode(code: CodeType, docstring: str | None = None) -> str:
    values = []
    for value in code.co_consts:
        if isinstance(value, CodeType):
            values.append(_bytecode(value))
        elif isinstance(value, frozenset):  # whose order is another one in each process
            values.append(sorted(map(repr, value)))
        elif docstring is None or value != docstring:
            values.append(repr(value))
    return f"{code.co_code.hex()} {code.co_names} {values}"
