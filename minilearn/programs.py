"""What counts of the code of functions and classes."""

from __future__ import annotations

import contextlib
import dis
import sys
import sysconfig
from types import CodeType, FunctionType, ModuleType

# What comes with a version of its own: of this we say the name.
KNOWN = {"torch", "torchvision", "numpy", "minilearn", *sys.stdlib_module_names}
KNOWN -= {"__main__"}  # where the cells of a notebook belong
INSTALLED = tuple({sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")})


def is_installed(thing) -> bool:
    """Whether a class or a function comes with Python or with an installed package."""
    module = str(thing.__module__)
    if module.startswith("minilearn.models."):  # networks that we may change within a version
        return False
    if module == "builtins" and (isinstance(thing, FunctionType) or "__module__" in vars(thing)):
        return False  # made of a text that was run
    file = str(getattr(sys.modules.get(module), "__file__", None) or "")
    return module.partition(".")[0] in KNOWN or file.startswith(INSTALLED)


def in_function(function: FunctionType) -> tuple[str, list]:
    """Its code, its defaults, what it closes over, and what it reads from its module."""
    if is_installed(function):
        return f"function {function.__module__}.{function.__qualname__}", []
    code = function.__code__
    closed = []
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # not filled yet
            closed.append(cell.cell_contents)
    names = _names_in(code, "LOAD_GLOBAL", "LOAD_NAME") - _names_in(code, "STORE_GLOBAL")
    names &= function.__globals__.keys()
    attributes = _names_in(code)
    read = {name: _used(function.__globals__[name], attributes) for name in names}
    defaults = function.__defaults__, function.__kwdefaults__
    parts = [_bytecode(code, function.__doc__), *defaults, closed, read]
    return f"function {function.__qualname__}", parts


def _used(value, names: set[str], around: tuple = ()):
    """Of a module of the user's what it has of these names; else the value itself."""
    if not isinstance(value, ModuleType) or value in around:
        return value
    if value.__name__.partition(".")[0] in KNOWN:
        return value.__name__
    have = sorted(names & vars(value).keys())
    return {name: _used(vars(value)[name], names, (*around, value)) for name in have}


def _names_in(code: CodeType, *operations: str) -> set[str]:
    """Names on which a function's code, or that of one inside it, does such operations, or any."""
    lines = [line for line in dis.get_instructions(code) if line.opname in operations]
    names = {line.argval for line in lines} if operations else {*code.co_names}
    inner = [value for value in code.co_consts if isinstance(value, CodeType)]
    return names.union(*(_names_in(each, *operations) for each in inner))


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


def in_class(kind: type) -> tuple[str, list]:
    """Of a class of the user's what it says, and the classes that it is made of."""
    if is_installed(kind):
        return f"class {kind.__module__}.{kind.__qualname__}", []
    return f"class {kind.__qualname__}", [said_in(kind), *kind.__bases__]


def said_in(kind: type) -> dict[str, object]:
    """Functions and attributes that a class itself says."""
    pairs = vars(kind).items()
    return {n: v for n, v in pairs if isinstance(v, FunctionType) or not n.startswith("__")}
