"""What a network or a function is besides its weights: its parts, their settings, and its code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.data import Dataset

from minilearn.notes import Notes, installed, notes_of, within
from minilearn.said import (
    Seen,
    in_words,
    is_setting,
    mark,
    own_attributes,
    said,
    said_of_class,
    said_of_object,
    without_addresses,
)

OF_TORCH = ("torch", "torchvision")
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
USUAL = vars(nn.Module())
NORMS = nn.modules.batchnorm._NormBase  # whose statistics change as they compute


def structure(model: nn.Module, *, fresh: bool = False) -> dict[str, str]:
    """The parts of a network by name, and their settings: what it is besides its weights.

    Lists, dictionaries, sets and objects may be settings or a network's own notes. They count if it
    is `fresh`. Objects of the user's classes count in any case, and so do networks in a list or an
    object, with their weights, unless the network's code changes them after `__init__`.

    Example:
        >>> structure(nn.Dropout(0.5))
        {'': 'Dropout(p=0.5, inplace=False)', 'p': '0.5', 'inplace': 'False'}
    """
    notes = notes_in(type(part) for part in model.modules())
    skip = frozenset() if fresh else notes.any
    registered = set(map(id, [*model.modules(), *model.parameters(), *model.buffers()]))
    found = {}
    for name, part in _networks(model, skip):
        found[name] = f"{type(part).__name__}({without_addresses(part.extra_repr())})"
        for place, value in _attributes(name, part):
            if is_setting(value, fresh):
                found[place] = in_words(lambda seen, value=value: said(value, seen, fresh))
        for place, thing in _objects(name, part, skip, lists=fresh):
            if not isinstance(thing, nn.Module | Dataset):
                found[f"{place} (object)"] = said_of_object(thing, Seen(notes), fresh)
        if id(part) not in registered:
            hidden = [pair for pair in _tensors(name, part) if id(pair[1]) not in registered]
            found |= {place: said(tensor, Seen()) for place, tensor in hidden}
    return found


def contents(model: nn.Module) -> dict[str, Tensor]:
    """All parameters and all buffers by name, also those that no state_dict has."""
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor.detach() for name, tensor in named}


def frozen_in(model: nn.Module) -> tuple[str, ...]:
    """The names of the parameters that are not trained."""
    return tuple(name for name, p in model.named_parameters() if not p.requires_grad)


def code_of(model: nn.Module) -> str:
    """A text that differs where the order of a network's parts, or the code of its classes does.

    Of the classes count their functions, with all that these call, and their attributes; what torch
    brings along is left out. Hooks count.
    """
    networks = _networks(model, notes_in(type(part) for part in model.modules()).any)

    def say(seen: Seen) -> str:
        found = []
        for path, part in networks:
            found.append(f"{path} is {type(part).__name__}")
            for kind in type(part).__mro__:
                if kind is not object and kind.__module__.partition(".")[0] not in OF_TORCH:
                    found += [f"{name} {said(value, seen)}" for name, value in own_attributes(kind)]
            hooks = [hook for name in HOOKS for hook in getattr(part, name).values()]
            found += [said(hook, seen) for hook in hooks]
        return "\n".join(found)

    return mark(in_words(say))


def code_of_function(function) -> str:
    """The same of a function, or of whatever can be called.

    Numbers, texts, tensors, data and settings in an object that it reads from outside count; a
    network, a list, a dictionary or what code changes there may be its own notes, and does not.

    Example:
        >>> code_of_function(lambda x: x) == code_of_function(lambda x: x + 1)
        False
    """
    return mark(in_words(lambda seen: said(function, seen)))


def code_of_own(function) -> str:
    """The same of a function that is not this package's, which has a version; "" of one that is."""
    own = function is not None and not function.__module__.startswith("minilearn.")
    return code_of_function(function) if own else ""


def code_of_class(kind: type) -> str:
    """The same of a class of the user's, with its attributes; "" of an installed one."""
    return "" if installed(kind) else mark(in_words(lambda seen: said(kind, seen)))


def notes_in(kinds: Iterable[type]) -> Notes:
    """What the code of classes, with all that it calls, changes in objects that are made."""
    seen, more = Seen(), []
    for kind in kinds:
        said_of_class(kind, seen)
        if issubclass(kind, Dataset):  # an installed one, too
            more += [value for each in kind.__mro__ for value in vars(each).values()]
    return notes_of([*seen.things.values(), *more])


def _attributes(name: str, part: nn.Module) -> Iterator[tuple[str, object]]:
    """What a part of a network keeps besides its parameters, buffers and parts, by place."""
    for attribute, value in vars(part).items():
        if attribute not in USUAL:
            yield f"{name}.{attribute}".lstrip("."), value


def _objects(name: str, part: nn.Module, skip: Set[str], lists: bool) -> list[tuple[str, object]]:
    """Networks, datasets and objects of the user's in what it keeps."""
    kept = [pair for pair in _attributes(name, part) if pair[0].rpartition(".")[2] not in skip]
    return [pair for place, value in kept for pair in within(value, place, skip=skip, lists=lists)]


def _networks(model: nn.Module, skip: Set[str]) -> list[tuple[str, nn.Module]]:
    """The parts of a network by name, and then those that lie in its lists and objects."""
    known = set()
    found = [*model.named_modules(known)]
    for name, part in found:  # which grows
        for place, thing in _objects(name, part, skip, lists=True):
            if isinstance(thing, nn.Module):
                found += thing.named_modules(known, place)
    return found


def _tensors(name: str, part: nn.Module) -> list[tuple[str, Tensor]]:
    """Parameters and buffers of a part alone, without statistics that change as it computes."""
    buffers = [] if isinstance(part, NORMS) else part.named_buffers(name, recurse=False)
    named = [*part.named_parameters(name, recurse=False), *buffers]
    return [(place, tensor) for place, tensor in named if not is_lazy(tensor)]
