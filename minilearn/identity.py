"""What a network or a function is besides its weights: its parts, their settings, and its code."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import dis
import functools
import hashlib
import re
import sys
import sysconfig
from collections import deque
from collections.abc import Iterator, Mapping, Set
from enum import Enum
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MethodType,
    ModuleType,
    SimpleNamespace,
)

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from minilearn.data.held import held

PLAIN = (bool, int, float, complex, str, bytes, type(None), range, torch.dtype, torch.device)
FUNCTIONS = (FunctionType, BuiltinFunctionType, np.ufunc)
SETTINGS = (*PLAIN, Enum, np.generic, Tensor, np.ndarray, *FUNCTIONS, type)
NOTES = (list, deque, Mapping, Set)  # a network's own perhaps, which change as it computes
# Where a look at the functions that code calls ends: what comes with a version of its own.
KNOWN = {"torch", "torchvision", "numpy", "minilearn", *sys.stdlib_module_names} - {"__main__"}
OF_TORCH = ("torch", "torchvision")
INSTALLED = tuple({sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")})
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")


def structure(model: nn.Module, *, fresh: bool = False) -> dict[str, str]:
    """The parts of a network by name, and their settings: what it is besides its weights.

    Lists, dictionaries, sets and objects may be settings or a network's own notes. They count if it
    is `fresh`.

    Example:
        >>> structure(nn.Dropout(0.5))
        {'': 'Dropout(p=0.5, inplace=False)', 'p': '0.5', 'inplace': 'False'}
    """
    usual = vars(nn.Module())
    found = {}
    for name, part in model.named_modules():
        found[name] = f"{type(part).__name__}({without_addresses(part.extra_repr())})"
        for setting, value in vars(part).items():
            if setting not in usual and _is_setting(value, fresh):
                found[f"{name}.{setting}".lstrip(".")] = _said(value, [], fresh)
    return found


def contents(model: nn.Module) -> dict[str, Tensor]:
    """All parameters and all buffers by name, also those that no state_dict has."""
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor.detach() for name, tensor in named}


def code_of(model: nn.Module) -> str:
    """A text that differs where the order of a network's parts, or the code of its classes does.

    Of the classes count their functions, with all that these call, and their attributes; what torch
    brings along is left out. Hooks count.
    """
    seen, found = [], []
    for path, part in model.named_modules():
        found.append(f"{path} is {type(part).__name__}")
        for kind in type(part).__mro__:
            if kind is not object and kind.__module__.partition(".")[0] not in OF_TORCH:
                found += [f"{name} {_said(value, seen)}" for name, value in _own(kind)]
        hooks = [hook for name in HOOKS for hook in getattr(part, name).values()]
        found += [_said(hook, seen) for hook in hooks]
    return _mark("\n".join(found))


def code_of_function(function) -> str:
    """The same of a function, or of whatever can be called.

    Numbers, texts, tensors and data that it reads from outside count; a network, a list or a
    dictionary there may be its own notes, and does not.

    Example:
        >>> code_of_function(lambda x: x) == code_of_function(lambda x: x + 1)
        False
    """
    return _mark(_said(function, []))


def code_of_own(function) -> str:
    """The same of a function that is not this package's, which has a version; "" of one that is."""
    own = function is not None and not function.__module__.startswith("minilearn.")
    return code_of_function(function) if own else ""


def code_of_class(kind: type) -> str:
    """The same of a class of the user's, with its attributes; "" of an installed one."""
    return "" if _installed(kind) else _mark(_said(kind, []))


def without_addresses(text: str) -> str:
    """The text of an object, wherever it lies in memory."""
    return re.sub(r" at 0x\w+", "", text)


def _own(kind: type) -> Iterator[tuple[str, object]]:
    """Attributes that a class itself says."""
    for name, value in vars(kind).items():
        if isinstance(value, FunctionType) or not name.startswith("__"):
            yield name, value


def _installed(kind: type) -> bool:
    """Whether a class comes with Python or with an installed package, and so with a version."""
    file = str(getattr(sys.modules.get(kind.__module__), "__file__", None) or "")
    return kind.__module__.partition(".")[0] in KNOWN or file.startswith(INSTALLED)


def _said(value, seen: list, fresh: bool = False) -> str:
    """A setting in words: of a function its name and code, of a tensor what is in it."""
    kind = type(value)
    if isinstance(value, FunctionType):
        return f"{value.__qualname__} {_code(value, seen)}"
    if isinstance(value, Tensor | np.ndarray):
        return f"{kind.__name__} {value.dtype} {tuple(value.shape)} {_mark(_bytes_of(value))}"
    if isinstance(value, Dataset):
        return f"{kind.__name__} {_said(held(value), seen)}"
    if isinstance(value, MethodType) and not isinstance(value.__self__, type | nn.Module):
        kept = [_kept(part, seen) for part in getattr(value.__self__, "__dict__", {}).values()]
        return f"{_said(value.__func__, seen)} of ({', '.join(kept)})"
    parts = _parts(value, fresh)
    if parts is not None:
        return f"{kind.__name__}({', '.join(_said(part, seen, fresh) for part in parts)})"
    if isinstance(value, type):
        return f"{value.__qualname__} {_class(value, seen)}"
    if isinstance(value, SETTINGS):
        return getattr(value, "__qualname__", None) or repr(value)
    if callable(value) and not isinstance(value, nn.Module):
        parts = [_kept(part, seen) for part in getattr(value, "__dict__", {}).values()]
        return f"{kind.__name__}({', '.join([_said(kind.__call__, seen), *parts])})"
    return kind.__name__


def _class(kind: type, seen: list) -> str:
    """What a class of the user's says itself, and what it has from others of theirs."""
    if _installed(kind) or any(kind is other for other in seen):
        return ""
    seen.append(kind)
    kinds = [each for each in kind.__mro__ if not _installed(each)]
    said = [f"{name} {_said(value, seen)}" for each in kinds for name, value in _own(each)]
    return _mark("\n".join(said))


def _kept(value, seen: list) -> str:
    """What a function or an object keeps; lists and dictionaries may be notes, and do not count."""
    return _said(value, seen) if _is_setting(value, fresh=False) else type(value).__name__


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


def _is_setting(value, fresh: bool) -> bool:
    """Whether it is a number, a text, a tensor, a function or a class, or made of such.

    A list, a dictionary, a set or an object only if `fresh`, and not if it holds tensors, which
    are the weights.
    """
    if isinstance(value, Dataset):
        return True
    many = isinstance(value, NOTES) and not isinstance(value, frozenset)
    parts = _parts(value, fresh)
    if parts is None or (many and not fresh):
        return isinstance(value, SETTINGS)
    weights = many and any(isinstance(part, Tensor) for part in parts)
    return not weights and all(_is_setting(part, fresh) for part in parts)


def _code(function: FunctionType, seen: list) -> str:
    """What a function does: its code, its defaults, what it closes over, and what it calls."""
    if any(function is other for other in seen):
        return "seen"
    seen.append(function)
    code = function.__code__
    found = [_bytecode(code, function.__doc__)]
    found += [_said(part, seen) for part in (function.__defaults__, function.__kwdefaults__)]
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # not filled yet
            found.append(_kept(cell.cell_contents, seen))
    read = _named(code, "LOAD_GLOBAL", "LOAD_NAME") - _named(code, "STORE_GLOBAL")
    for name in sorted(read & set(function.__globals__)):
        found += _outside(name, function.__globals__[name], _names(code), seen)
    return _mark("\n".join(found))


def _outside(name: str, value, names: set[str], seen: list) -> Iterator[str]:
    """What counts of a value that code looks up by its name; of a module, what it has of these."""
    whose = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    if str(whose).partition(".")[0] in KNOWN and isinstance(value, ModuleType | FunctionType):
        return
    if isinstance(value, ModuleType):
        if not any(value is other for other in seen):
            seen.append(value)
            for inner in sorted(names & set(vars(value))):
                yield from _outside(f"{name}.{inner}", vars(value)[inner], names, seen)
    elif _is_setting(value, fresh=False):
        yield f"{name} {_said(value, seen)}"


def _bytes_of(values: Tensor | np.ndarray) -> bytes:
    if isinstance(values, Tensor):
        dense = values.detach().cpu() if values.layout == torch.strided else values.to_dense()
        values = dense.contiguous().reshape(-1).resolve_conj().view(torch.uint8).numpy()
    return values.tobytes() if not values.dtype.hasobject else repr(values.tolist()).encode()


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


def _names(code: CodeType) -> set[str]:
    """What a function's code, and that of the functions inside it, looks up, attributes too."""
    inside = [value for value in code.co_consts if isinstance(value, CodeType)]
    return set(code.co_names).union(*map(_names, inside))


def _named(code: CodeType, *operations: str) -> set[str]:
    """Variables on which a function's code, or that of one inside it, does such operations."""
    inside = [value for value in code.co_consts if isinstance(value, CodeType)]
    mine = {line.argval for line in dis.get_instructions(code) if line.opname in operations}
    return mine.union(*(_named(each, *operations) for each in inside))


def _mark(text: str | bytes) -> str:
    data = text.encode() if isinstance(text, str) else text
    return hashlib.sha256(data).hexdigest()[:16]
