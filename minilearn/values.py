"""What is in a value: numbers, texts, collections, tensors, arrays and tables."""

from __future__ import annotations

from collections import deque
from collections.abc import MappingView
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from minilearn.programs import is_installed

PLAIN = (bool, int, float, complex, str, type(None), range, torch.dtype, torch.device, torch.finfo)
FLAT = {bool, int, float, str, bytes, type(None)}
ITEMS = 8  # so many items of a dataset are read, the first and the last among them


def as_bytes(text: str) -> memoryview:
    """A text as bytes."""
    return memoryview(text.encode())


def spread(length: int) -> list[int]:
    """A few positions, evenly from the first to the last."""
    return sorted({round((length - 1) * i / (ITEMS - 1)) for i in range(ITEMS)}) if length else []


def in_value(thing, in_order) -> tuple[str, list] | None:
    """The kind of a value, and what is in it as bytes or other things; None of an object.

    Parameters are objects, because two names may have one of them.

    Args: in_order: brings what is in a set, or the keys of a dictionary, into an order
    """
    thing = thing.item() if isinstance(thing, np.generic) else thing
    kind = type(thing).__name__
    if isinstance(thing, PLAIN):
        return kind, [as_bytes(repr(thing)), *_own(thing)]
    if isinstance(thing, bytes | bytearray):
        return "bytes", [memoryview(bytes(thing))]
    if isinstance(thing, list | tuple | deque | MappingView):
        values = [*thing]
        if _is_flat(values):
            return f"plain {kind}", [as_bytes(repr(values)), *_own(thing)]
        return kind, [*values, *_own(thing)]
    if isinstance(thing, dict | MappingProxyType):
        pairs = [each for key in in_order(thing) for each in (key, thing[key])]
        return "mapping", [*pairs, *_own(thing)]
    if isinstance(thing, set | frozenset):
        return "set", [*in_order(thing), *_own(thing)]
    if isinstance(thing, Tensor) and not isinstance(thing, nn.Parameter):
        return in_tensor(thing)
    if isinstance(thing, np.ndarray):
        return _in_array(thing)
    if isinstance(thing, torch.UntypedStorage | torch.TypedStorage):
        return "storage", [memoryview(bytes(thing.untyped()))]
    if hasattr(type(thing), "to_numpy"):  # of pandas, and the like
        return kind, [thing.to_numpy(), *_labels(thing)]
    if hasattr(type(thing), "__array_interface__"):  # an image
        palette = thing.getpalette() if getattr(thing, "mode", "") == "P" else None
        return f"{kind} {getattr(thing, 'mode', '')}", [np.asarray(thing), palette]
    return None


def _is_flat(values: list) -> bool:
    """Whether there is nothing in it but numbers, texts and tuples of these, as paths with labels.

    Many of these are quickly read as one text, and slowly one by one.
    """
    rows = (each if type(each) is tuple else (each,) for each in values)
    return all(type(part) in FLAT for row in rows for part in row)


def _own(thing) -> list:
    """Of a value of a class of the user's the class, and what it keeps besides."""
    if type(thing) in FLAT:
        return []
    factory = [thing.default_factory] if hasattr(type(thing), "default_factory") else []
    if is_installed(type(thing)):
        return factory
    kept = getattr(thing, "__dict__", None)
    return [type(thing), *factory, *([] if kept is None or kept is thing else [kept])]


def in_tensor(thing: Tensor) -> tuple[str, list]:
    """Kind, numbers and hooks of a tensor; of one on the meta device there are no numbers."""
    head = f"tensor {thing.requires_grad}" if isinstance(thing, nn.Parameter) else "tensor"
    if is_lazy(thing):
        return f"{head} without a shape", []
    if thing.is_nested:
        return f"nested {head}", [*thing.detach().unbind()]
    head = f"{head} {thing.dtype} {tuple(thing.shape)}"
    if thing.is_meta:
        return head, []
    if thing.is_quantized:
        return f"{head} {thing.qscheme()}", [thing.int_repr(), thing.dequantize()]
    hooks = [*(thing._backward_hooks or {}).values()] if thing.is_leaf else []
    hooks += (getattr(thing, "_post_accumulate_grad_hooks", None) or {}).values()
    own = [] if isinstance(thing, nn.Parameter) else _own(thing)
    thing = thing.detach().to_dense() if thing.layout != torch.strided else thing.detach()
    flat = thing.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    if flat.numel() == 1:  # whose stride may be any
        flat = flat.clone(memory_format=torch.contiguous_format)
    return head, [memoryview(flat.view(torch.uint8).numpy()), *hooks, *own]


def _in_array(thing: np.ndarray) -> tuple[str, list]:
    if isinstance(thing, np.ma.MaskedArray):
        return "masked", [thing.filled(), np.ma.getmaskarray(thing)]
    if thing.dtype.hasobject:
        return "array", [thing.tolist(), *_own(thing)]
    head = f"array {thing.dtype} {thing.shape}"
    if isinstance(thing, np.memmap) and thing.ndim:  # may be larger than the memory
        thing = np.array(thing[spread(len(thing))])
    flat = np.ascontiguousarray(thing).reshape(-1).view(np.uint8)
    return head, [memoryview(flat), *_own(thing)]


def _labels(thing) -> list:
    """Of a table of pandas its rows, its columns, and their kinds with their categories."""
    sides = [getattr(thing, name, None) for name in ("index", "columns")]
    labels = [side.to_numpy() for side in sides if hasattr(side, "to_numpy")]
    kinds = getattr(thing, "dtypes", getattr(thing, "dtype", None))
    kinds = [*kinds] if hasattr(kinds, "to_numpy") else [kinds]
    kinds = [[str(kind), *map(str, getattr(kind, "categories", ()))] for kind in kinds]
    return [*labels, kinds, str(getattr(thing, "tz", ""))]
