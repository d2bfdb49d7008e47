"""Functions of the user's: whether they can be called as they will be."""

from __future__ import annotations

import inspect
from collections.abc import Callable


def check_function(name: str, value, *given: str):
    """A function that takes what is given, or None; ValueError if it is something else."""
    if value is None:
        return None
    if not callable(value):
        raise ValueError(f"{name} must be a function, got {type(value).__name__}")
    if given:
        check_call(name, value, *given)
    return value


def check_call(name: str, function: Callable, *given: str, cure: str = ""):
    """Refuse, by ValueError, a function that cannot be called with so many arguments."""
    try:
        inspect.signature(function).bind(*given)
    except TypeError as error:
        call = f"{name}({', '.join(given)})"
        raise ValueError(f"{call} is called, but {function!r:.60} is {error}{cure}") from None
    except ValueError:  # a function of C that has no signature
        return
