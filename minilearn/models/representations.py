"""What a network makes of its inputs before its last layer: the representation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from minilearn.checks import device_of
from minilearn.data.batches import batches
from minilearn.draws import seeded
from minilearn.models.inside import (
    activations,
    check_layers,
    refuse_hidden,
    uncompiled,
    unwrapped,
)
from minilearn.models.modes import clear_errors, mode
from minilearn.warn import warn


class _Reached(Exception):
    """The layer has run: carries what was recorded there, and ends the forward pass."""


def extractor(model: nn.Module, layer: str | None = None) -> Callable[[Tensor], Tensor]:
    """The part of a network up to its representation, as a function from inputs to features.

    By default the representation is what the part called `features` outputs, and where there is
    none what the last linear layer is given, the one that runs last; with `layer`, what that layer
    outputs. Wrappers are looked through. What comes after it runs at the first call alone. The
    function follows the model's weights, mode and gradients.

    Shapes: the function maps (B, ...) to (B, D)
    Raises: ValueError if there is no linear layer and no `layer`, or the layer does not exist; the
        function, if the layer does not run, or runs twice, or it is no tensor (B, ...)
    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> extractor(net)(torch.zeros(5, 2)).shape
        torch.Size([5, 3])
    """
    names, side = _representation_of(model) if layer is None else ([layer], "output")
    check_layers(model, names)
    known = False

    def extract(x: Tensor) -> Tensor:
        nonlocal names, known
        with clear_errors(x):
            if not known and side == "output":
                features, known = _only_output(model, names[0], x), True
            elif not known:
                features, last = _last_input(model, names, x)
                names, known = [last], True
            else:
                features = _stopped_at(model, names[0], side, x)
        if not isinstance(features, Tensor) or features.shape[:1] != x.shape[:1]:
            name = names[0]
            raise ValueError(f"the {side} of layer {name!r} is no tensor with one row per input")
        return features.flatten(1) if features.ndim > 1 else features[:, None]

    return extract


def _stopped_at(model: nn.Module, name: str, side: str, x: Tensor):
    """What a layer outputs or is given; nothing after it is run. None if it does not run."""
    part = model.get_submodule(name)

    def stop(value):
        raise _Reached(value)

    if side == "output":
        hook = part.register_forward_hook(lambda _, __, output: stop(output))
    else:
        hook = part.register_forward_pre_hook(lambda _, inputs: stop(inputs[0]))
    try:
        with uncompiled(model):
            model(x)
    except _Reached as reached:
        return reached.args[0]
    finally:
        hook.remove()
    return None


def _only_output(model: nn.Module, name: str, x: Tensor):
    """What a layer outputs; None if it does not run. ValueError if it runs more than once."""
    made = []

    def keep(output):
        made.append(output)
        return output.clone() if isinstance(output, Tensor) else output  # it may be written into

    hook = model.get_submodule(name).register_forward_hook(lambda _, __, output: keep(output))
    try:
        with uncompiled(model):
            model(x)
    finally:
        hook.remove()
    if len(made) > 1:
        raise ValueError(
            f"layer {name!r} runs {len(made)} times, so that it has several outputs: name one that "
            "runs once by layer=..."
        )
    return made[0] if made else None


def _last_input(model: nn.Module, names: list[str], x: Tensor):
    """What the layer that runs last among these is given, and its name; of no layer None.

    Raises: ValueError if it runs more than once; it warns of an adapter beside a head
    """
    given, made = [], []  # by layer in order: what it was given, what it made

    def before(name: str, inputs: tuple):
        given.append((name, inputs[0] if inputs else None))

    def after(name: str, output):
        made.append((name, output))

    parts = {name: model.get_submodule(name) for name in names}
    hooks = [p.register_forward_pre_hook(lambda _, x, n=n: before(n, x)) for n, p in parts.items()]
    hooks += [p.register_forward_hook(lambda _, __, y, n=n: after(n, y)) for n, p in parts.items()]
    try:
        with activations(model, names, "input") as taps:
            answer = model(x)
    finally:
        for hook in hooks:
            hook.remove()
    if not taps:
        return None, names[-1]
    last, _ = given[-1]
    if [name for name, _ in given].count(last) > 1:
        raise ValueError(
            f"the last linear layer, {last!r}, runs more than once, so that it has several inputs: "
            "name the layer whose output is the representation by layer=..."
        )
    _warn_of_another_head(given, made, answer)
    return taps[last], last


def _warn_of_another_head(given: list[tuple], made: list[tuple], answer):
    """Warn if the last linear layer does not give the answer, or stands beside a head."""
    (last, bottleneck), (_, head) = given[-1], made[-1]
    of_answer = not isinstance(answer, Tensor) or answer.numel() == head.numel()
    if not of_answer and answer.shape[-1:] != head.shape[-1:]:
        warn(
            f"the representation is what {last!r} is given, the linear layer that runs last, but "
            "it does not give the network's answer: name the layer whose output is the "
            "representation by layer=..."
        )
    for down in [name for name, output in made if output is bottleneck]:
        whole = next(x for name, x in given if name == down)
        if any(x is whole for name, x in given if name != down):
            warn(
                f"the representation is what {down!r} gives to {last!r}, and beside these two "
                "another linear layer reads what they read, as a head does beside its adapter: "
                "name the layer whose output the head reads by layer=..."
            )


def _representation_of(model: nn.Module) -> tuple[list[str], str]:
    """The layers that may be meant by default, and whether their output or their input is."""
    device_of(model)
    refuse_hidden(model)
    prefix, network = unwrapped(model)
    if "features" in dict(network.named_children()):
        return [f"{prefix}features"], "output"
    linear = [name for name, part in model.named_modules() if name and isinstance(part, nn.Linear)]
    if not linear:
        raise ValueError("the model has no linear layer inside: say which layer's output to take")
    return linear, "input"


def representation(
    model: nn.Module, data, layer: str | None = None, batch_size: int = 512
) -> Tensor:
    """The features of every input, in evaluation mode and without gradients: see `extractor`.

    Args: layer: as in `extractor`. batch_size: inputs at once
    Shapes: data (N, ...) tensor, Examples or a dataset; returns (N, D)
    Raises: ValueError as `extractor` and what it returns
    """
    extract = extractor(model, layer)
    features = []
    with mode(model, train=False), seeded(0), torch.no_grad():
        for batch in batches(data, batch_size, device=device_of(model)):
            found = extract(batch if isinstance(batch, Tensor) else batch[0])
            features.append(found.detach().clone())  # it may be a buffer of the network's
    return torch.cat(features)
