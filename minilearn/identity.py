"""What a network or a function is besides its weights: its parts, their settings, and its code."""

from __future__ import annotations

import dataclasses
from ast import literal_eval
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from minilearn.data.examples import Examples
from minilearn.fingerprints import HOOKS, attributes_of, fingerprint, without_addresses
from minilearn.requests import Request
from minilearn.values import ITEMS, PLAIN
from minilearn.warn import warn


def structure(model: nn.Module) -> dict[str, str]:
    """The parts of a network by name, and their attributes: what it is besides its weights.

    Numbers and texts stand as they are, for anything else its kind and fingerprint. What a part
    holds in an extra state (`get_extra_state`) is no attribute.

    Example:
        >>> structure(nn.Dropout(0.5))
        {'': 'Dropout(p=0.5, inplace=False)', 'p': '0.5', 'inplace': 'False'}
    """
    inside = [*model.named_modules(), *model.named_parameters(), *model.named_buffers()]
    names = {id(part): name for name, part in inside}
    found = {}
    for name, part in model.named_modules():
        found[name] = f"{type(part).__name__}({without_addresses(part.extra_repr())})"
        own_state = type(part).get_extra_state is not nn.Module.get_extra_state
        for attribute, value in attributes_of(part).items():
            if own_state and not isinstance(value, PLAIN):
                continue
            found[f"{name}.{attribute}".lstrip(".")] = _in_words(value, names)
    return found


def take_settings(model: nn.Module, left: dict[str, str]):
    """Let the parts have the numbers that they had then, as steps that they count.

    A part that keeps more than numbers and texts beside them, as a table that it makes anew
    when it is needed, is left as it came.
    """
    now, parts = structure(model), dict(model.named_modules())
    changed = {path: {} for path in parts}
    for name in now | left:
        path, _, setting = name.rpartition(".")
        if name not in parts and path in parts and now.get(name) != left.get(name):
            changed[path][setting] = left.get(name, "")
    for path, words in changed.items():
        with suppress(SyntaxError, ValueError):  # what is no number, text or truth value
            vars(parts[path]).update({name: literal_eval(w) for name, w in words.items()})


def warn_of_state(path: Path, model: nn.Module, left: dict[str, str]):
    """Warn of what a network kept when the file was written, and keeps otherwise now.

    A table that it makes anew when it is needed, and has not made yet, does not count.
    """
    now = structure(model)
    for name in now.keys() & left.keys():
        if now[name] != left[name] and not _literal(now[name]) and not _literal(left[name]):
            warn(
                f"{path} cannot hold what the network keeps as {name}: if that counts in forward, "
                "this run goes on otherwise than if it had not stopped; make it a buffer"
            )


def _literal(words: str) -> bool:
    """Whether it is written as a number, a text, a truth value or None."""
    try:
        literal_eval(words)
    except (SyntaxError, ValueError):
        return False
    return True


def contents(model: nn.Module) -> dict[str, Tensor]:
    """All parameters and all buffers by name, also those that no state_dict has."""
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor.detach() for name, tensor in named}


def frozen_in(model: nn.Module) -> tuple[str, ...]:
    """The names of the parameters that are not trained."""
    return tuple(name for name, p in model.named_parameters() if not p.requires_grad)


def code_of(model: nn.Module) -> str:
    """A text that differs where the order of a network's parts, or the code of its classes does.

    Of the classes count their functions, with all that these read and call, and their attributes;
    of installed ones their names. Hooks count.
    """
    hooks = [[*getattr(part, name).values()] for part in model.modules() for name in HOOKS]
    return fingerprint(([(name, type(part)) for name, part in model.named_modules()], hooks))


def code_of_own(function: Callable | None) -> str:
    """The fingerprint of a function, or "" of one of this package, which has a version."""
    own = function is not None and not function.__module__.startswith("minilearn.")
    return fingerprint(function) if own else ""


def settings_of(thing) -> dict[str, str]:
    """What can be said of it in a line: its settings, parts or size, by name.

    Example:
        >>> import torch
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


def _in_words(value, names: dict[int, str]) -> str:
    """A number or a text as it is; else what kind of thing it is, and its fingerprint."""
    if isinstance(value, PLAIN):
        return repr(value)
    kind = getattr(value, "__name__", type(value).__name__)
    return f"{kind} {fingerprint(value, names)}"
