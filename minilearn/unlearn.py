"""Run a method on a request. Its signature is its access: it gets what it asks for, no more."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Sized

from torch import Tensor, nn

from minilearn.checkpoint import check_resumable
from minilearn.checks import (
    all_finite,
    check_count,
    check_dataset,
    check_kind,
    device_of,
    refuse_non_finite,
)
from minilearn.data.examples import Examples, Unlabelled, check_device, without_targets
from minilearn.draws import seeded
from minilearn.files import check_file
from minilearn.functions import check_function
from minilearn.models import with_gradients
from minilearn.requests import Request
from minilearn.stack import check_single
from minilearn.unlearned import NothingToDo, Unlearned, weights_of

__all__ = ["NothingToDo", "Unlearned", "access", "method", "unlearn"]

SEEN = ("model", "fresh", "start", "forget", "retain")


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

    A method's parameters are its access: `model`, `fresh`, `start`, `forget` and `retain`. A
    parameter annotated `Tensor` is given inputs without labels. This is what sweeps use; a single
    call reads better as `finetune(model, retain)`.

    Args:
        method: the function itself, such as `finetune`; `methods.METHODS` has all by name
        model: the original model
        request: what is to be forgotten
        fresh: a function that makes a new, untrained model, for methods that begin from one
        start: the model as it was before training, for methods that need it
        config: the method's own settings; None: its defaults
        seed: a whole number from 0
        options: go to the method; `retain=None` withholds the retained data from a method that can
            do without
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
    if not sees:
        raise ValueError(f"{method!r:.60} is no method: it asks for none of {', '.join(SEEN)}")
    arguments = {"seed": seed}
    if config is not None:
        arguments["config"] = config
    networks = {"model": model, "fresh": fresh, "start": start}
    for name, parameter in inspect.signature(method).parameters.items():
        if name in networks:
            arguments[name] = networks[name]
        elif name in ("forget", "retain") and name not in options:  # withheld data need not exist
            data = getattr(request, name)
            inputs_alone = _inputs_alone(parameter.annotation)
            arguments[name] = without_targets(data) if inputs_alone else data
    return method(**arguments | options)


def access(method: Callable) -> tuple[str, ...]:
    """What a method may see: the names of `unlearn` that are in its signature.

    `forget` or `retain` without labels reads 'forget inputs' or 'retain inputs'.

    Raises: ValueError if `method` is not a function
    """
    if not callable(method) or isinstance(method, nn.Module):
        sentence = "give the method itself, as in unlearn(finetune, ...); METHODS has all by name"
        raise ValueError(f"{sentence}; got {method!r:.80}")
    parameters = inspect.signature(method).parameters.values()
    return tuple(
        f"{p.name} inputs" if _inputs_alone(p.annotation) else p.name
        for p in parameters
        if p.name in SEEN
    )


def method(function: Callable[..., Unlearned]) -> Callable[..., Unlearned]:
    """A decorator that checks a method's arguments, so that its body holds the algorithm alone.

    What is checked follows from the signature: `forget` and `retain` are sets with something in
    them, on the model's device; annotated `Tensor` they are inputs without labels; `None` is taken
    where it is the default. `config` is of the kind of its default; with `seed` it is what the run
    in `checkpoint` has, too: a file of other settings is refused here already. The function runs
    under `seed` and with gradients, even inside `torch.no_grad()`. Afterwards the global
    generators are as they were.

    Raises: ValueError in one sentence, before any work
    Example:
        >>> @method
        ... def nothing(model: nn.Module, forget: Tensor, *, seed: int = 0) -> Unlearned:
        ...     return model
        >>> nothing(nn.Linear(2, 1), Tensor())
        Traceback (most recent call last):
        ValueError: the forget set is empty
    """
    signature = inspect.signature(function)
    if signature.return_annotation not in (Unlearned, "Unlearned"):
        raise ValueError(
            f"write {function.__name__}(...) -> Unlearned: it is how methods are found"
        )

    @functools.wraps(function)
    def checked(*positional, **named) -> Unlearned:
        try:
            call = signature.bind(*positional, **named)
        except TypeError as error:
            words = f"{function.__name__}{signature}".split(" ->")[0]
            raise ValueError(f"{error}; settings go by name, config=...: {words:.300}") from None
        call.apply_defaults()
        check_single(function.__name__, call.arguments.get("model"))
        for name, value in call.arguments.items():
            parameter = signature.parameters[name]
            call.arguments[name] = _checked(name, value, parameter, call.arguments.get("model"))
        check_resumable(*(call.arguments.get(name) for name in ("checkpoint", "config", "seed")))
        with seeded(call.arguments.get("seed", 0)), with_gradients():
            return function(*call.args, **call.kwargs)

    return checked


def _checked(name: str, value, parameter: inspect.Parameter, model: nn.Module | None):
    """An argument in the form that methods want."""
    if name in ("forget", "retain"):
        if value is None and parameter.default is None:
            return None
        _check_set(name, value, model)
        if _inputs_alone(parameter.annotation):
            _check_inputs(name, value)
    elif name == "config":
        check_kind("config", value, type(parameter.default))
    elif name == "model":
        if device_of(value).type == "meta":
            raise ValueError("the model is on the meta device, which holds no numbers: load it")
        if not all_finite(weights_of(value)):
            raise ValueError("a weight of the model is NaN or infinite: there is nothing to save")
    elif name == "seed":
        return check_count("seed", value, 0)
    elif name == "watch":
        check_function("watch", value, "epoch", "model")
    elif name == "checkpoint":
        return check_file("checkpoint", value)
    return value


def _check_set(name: str, data, model: nn.Module | None):
    try:
        if data is None or (isinstance(data, Sized) and len(data) == 0):
            raise ValueError(f"the {name} set is empty")
    except TypeError:  # a class, or a tensor without an axis
        pass
    try:
        check_dataset(data)
    except ValueError as error:
        raise ValueError(f"the {name} set: {error}") from None
    if model is not None:
        check_device(model, data)


def _check_inputs(name: str, data):
    if isinstance(data, Tensor):
        refuse_non_finite(f"inputs of the {name} set", data)
    elif not isinstance(data, Unlabelled):
        with seeded(0):
            first = data[0]
        if isinstance(first, Examples | tuple | list):
            raise ValueError(
                f"the {name} set comes with targets, which this method does not see: give the "
                "inputs alone, as without_targets(data)"
            )


def _inputs_alone(annotation) -> bool:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    # `Tensor` or `Unlabelled` as text or as a type, perhaps with None beside it
    words = set(re.findall(r"\w+", text)) - {"torch", "typing", "Optional", "None"}
    return bool(words) and words <= {"Tensor", "Unlabelled"}
