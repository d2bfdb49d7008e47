"""Who may see what: a method's signature is its access, and `unlearn` gives it no more."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

from torch import nn

from minilearn.data.examples import without_targets
from minilearn.methods.contract import Unlearned
from minilearn.requests import Request


def unlearn(
    method: Callable,
    model: nn.Module,
    request: Request,
    *,
    fresh=None,
    start=None,
    config=None,
    seed: int = 0,
    **options,
) -> Unlearned:
    """Run any method on a request, giving it only what its signature asks for.

    A method's parameters are its access: `model`, `fresh`, `start` (as it was before training),
    `forget` and `retain`, and a parameter annotated `Tensor` is given inputs without labels.
    `options` go to the method; `retain=None` withholds the retained data from a method that can do
    without. This is what sweeps use; a single call reads better as `finetune(model, retain)`.

    Raises: ValueError if `method` is no function, `request` no Request, or what it starts from is
        missing
    Example:
        >>> from minilearn.methods import finetune
        >>> access(finetune)
        ('model', 'retain')
    """
    sees = access(method)
    if not isinstance(request, Request):
        raise ValueError(f"by_class(train, 3) makes a request; this is a {type(request).__name__}")
    if "fresh" in sees and fresh is None:
        raise ValueError("the method starts from a new model: give fresh=lambda: MyNetwork()")
    if "start" in sees and start is None:
        raise ValueError("the method needs the first weights: give start=the model before training")
    arguments = {"seed": seed} if config is None else {"seed": seed, "config": config}
    models = {"model": model, "fresh": fresh, "start": start}
    for name, *without in (part.split() for part in sees):
        value = models[name] if name in models else getattr(request, name)
        arguments[name] = without_targets(value) if without else value
    return method(**arguments | options)


def access(method: Callable) -> tuple[str, ...]:
    """What a method may see: the names of `unlearn` that are in its signature.

    `forget` or `retain` without labels reads 'forget inputs' or 'retain inputs'.

    Raises: ValueError if `method` is no function
    """
    if not callable(method) or isinstance(method, nn.Module):
        sentence = "give the method itself, as in unlearn(finetune, ...); METHODS has all by name"
        raise ValueError(f"{sentence}; got {method!r:.80}")
    parameters = inspect.signature(method).parameters.values()
    seen = [p for p in parameters if p.name in ("model", "fresh", "start", "forget", "retain")]
    return tuple(p.name + (" inputs" if _inputs_alone(p.annotation) else "") for p in seen)


def _inputs_alone(annotation) -> bool:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    # `Tensor` as text or as a type, perhaps with None beside it
    return set(re.findall(r"\w+", text)) - {"torch", "typing", "Optional", "None"} == {"Tensor"}
