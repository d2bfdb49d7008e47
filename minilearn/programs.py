"""What counts of the code of functions, classes and modules."""

from __future__ import annotations

import contextlib
import dis
import functools
import hashlib
import importlib
import inspect
import sys
import sysconfig
from collections import deque
from itertools import pairwise
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

# What comes with a version of its own: of this we say the name.
KNOWN = {"torch", "torchvision", "numpy", "minilearn", *sys.stdlib_module_names}
PLACES = ("site-packages", "dist-packages")
STDLIB = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
CODE = (FunctionType, staticmethod, classmethod, property, functools.partialmethod)
CODE += (type(functools.cache(len)),)
VARIABLES = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF"}
SUBSCRIPTS = {"STORE_SUBSCR", "DELETE_SUBSCR", "STORE_SLICE"}
WRITING = {"append", "appendleft", "extend", "insert", "add", "update", "setdefault"}
WRITING |= {"pop", "popleft", "popitem", "remove", "discard", "clear"}


def is_installed(thing) -> bool:
    """Whether a class or a function comes with Python or with an installed package."""
    module = str(thing.__module__)
    if module == "builtins" and (isinstance(thing, FunctionType) or "__module__" in vars(thing)):
        return False  # made of a text that was run
    return _comes_installed(module)


def _comes_installed(module: str) -> bool:
    top = module.partition(".")[0]
    file = str(getattr(sys.modules.get(module), "__file__", None) or "")
    # the cells of a notebook; networks of ours, that we may change within a version
    if top == "__main__" or module.startswith("minilearn.models."):
        return False
    if file and top in sys.stdlib_module_names:  # or is it a file of that name?
        return file.startswith(STDLIB)
    return top in KNOWN or any(place in file for place in PLACES)


def in_function(function: FunctionType) -> tuple[str, list]:
    """Its code, its defaults, its attributes, what it closes over, and what it reads outside.

    A list, a set or a dictionary into which it writes is a log, and does not count.
    """
    code, closed = function.__code__, _closed(function)
    if is_installed(function):  # a dispatcher of functools closes over the user's functions
        parts = [*closed.values()] if function.__module__ == "functools" else []
        return f"function {function.__module__}.{function.__qualname__}", parts
    names = _names_in(code, "LOAD_GLOBAL", "LOAD_NAME") - _names_in(code, "STORE_GLOBAL")
    read = {name: function.__globals__[name] for name in names & function.__globals__.keys()}
    for name in _names_in(code, "IMPORT_NAME"):  # in the function itself
        with contextlib.suppress(Exception):  # what is not there, or fails
            read[f"import {name}"] = importlib.import_module(name)
    logs = {name for name in _written_in(code) if _is_collection((closed | read).get(name))}
    attributes = _names_in(code)
    outside = {n: _used(v, attributes) for n, v in (read | closed).items() if n not in logs}
    kept = {n: v for n, v in vars(function).items() if not n.startswith("_")}
    parts = [function.__defaults__, function.__kwdefaults__, outside, kept]
    return f"function {function.__qualname__}", [in_code(code, function.__doc__), *parts]


def _closed(function: FunctionType) -> dict[str, object]:
    found = {}
    names = function.__code__.co_freevars
    for name, cell in zip(names, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # not filled yet
            found[name] = cell.cell_contents
    return found


def _is_collection(value) -> bool:
    return isinstance(value, list | deque | set | dict)


def _used(value, names: set[str], around: tuple = ()):
    """Of a module of the user's what it has of these names; else the value itself."""
    if not isinstance(value, ModuleType) or value in around:
        return value
    if _comes_installed(value.__name__):
        return value.__name__
    have = sorted(names & vars(value).keys())
    return {name: _used(vars(value)[name], names, (*around, value)) for name in have}


def _inner(code: CodeType) -> list[CodeType]:
    return [value for value in code.co_consts if isinstance(value, CodeType)]


def _names_in(code: CodeType, *operations: str) -> set[str]:
    """Names on which a function's code, or that of one inside it, does such operations, or any."""
    lines = [line for line in dis.get_instructions(code) if line.opname in operations]
    names = {line.argval for line in lines} if operations else {*code.co_names}
    return names.union(*(_names_in(each, *operations) for each in _inner(code)))


def _written_in(code: CodeType) -> set[str]:
    """Variables into whose list or dictionary code writes: `log[i] = 1`, `log.append(1)`."""
    lines = [*dis.get_instructions(code)]
    places = {line.positions[::2] for line in lines if line.opname in SUBSCRIPTS}
    loads = [line for line in lines if line.opname in VARIABLES]
    found = {line.argval for line in loads if line.positions[::2] in places}
    calls = [pair for pair in pairwise(lines) if pair[0].opname in VARIABLES]
    found |= {one.argval for one, other in calls if other.argval in WRITING}
    return found.union(*map(_written_in, _inner(code)))


def in_code(code: CodeType, docstring: str | None = None) -> str:
    """Bytecode, arguments, names and constants, without a docstring."""
    values = []
    for place, value in enumerate(code.co_consts):
        if isinstance(value, CodeType):
            values.append(in_code(value))
        elif isinstance(value, frozenset):  # whose order is another one in each process
            values.append(sorted(map(repr, value)))
        elif place or docstring is None or value != docstring or _loads_first(code):
            values.append(repr(value))
    flags = code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, flags
    arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return f"{code.co_code.hex()} {code.co_names} {counts} {arguments} {values}"


def _loads_first(code: CodeType) -> bool:
    """Whether the first constant is more than the docstring."""
    return any(line.opname == "LOAD_CONST" and line.arg == 0 for line in dis.get_instructions(code))


def in_class(kind: type) -> tuple[str, list]:
    """Of a class of the user's what it says, and the classes that it is made of."""
    if is_installed(kind):
        return f"class {kind.__module__}.{kind.__qualname__}", []
    pairs = vars(kind).items()
    said = {n: v for n, v in pairs if isinstance(v, CODE) or not n.startswith("__")}
    return f"class {kind.__qualname__}", [said, *kind.__bases__, type(kind)]


def in_module(module: ModuleType) -> tuple[str, list]:
    """Its name, and of a module of the user's what is in its file."""
    file = getattr(module, "__file__", None)
    if file is None or _comes_installed(module.__name__):
        return f"module {module.__name__}", []
    return f"module {module.__name__}", [hashlib.sha256(Path(file).read_bytes()).hexdigest()]
