"""How to look inside any network: its layers by name, what they output, its mode and device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from minilearn.checks import check_choice, check_kind, device_of
from minilearn.data.batches import batches
from minilearn.draws import seeded
from minilearn.models.modes import clear_errors, mode
from minilearn.warn import warn


def layer_names(model: nn.Module) -> list[str]:
    """The names that `activations` accepts for this model.

    Example:
        >>> layer_names(nn.Sequential(nn.Linear(2, 3), nn.ReLU()))
        ['0', '1']
    """
    return [name for name, _ in check_kind("model", model, nn.Module).named_modules() if name]


def chain(model: nn.Module) -> list[str]:
    """The layers that a network is a chain of, by name, in their order.

    They are the modules directly inside the network; of a Sequential, a ModuleList, and a part
    called `features`, its own are taken instead. Wrappers are looked through, see `unwrapped`.

    Example:
        >>> chain(nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 1))))
        ['0', '1.0', '1.1']
    """
    device_of(model)
    prefix, network = unwrapped(model)
    names = []
    for name, part in network.named_children():
        if isinstance(part, nn.Sequential | nn.ModuleList) or name == "features":
            names += [f"{prefix}{name}.{inner}" for inner, _ in part.named_children()]
        else:
            names.append(prefix + name)
    return names


def unwrapped(model: nn.Module) -> tuple[str, nn.Module]:
    """The network inside its wrappers, and what its layers' names begin with.

    A wrapper has no weights of its own and one part with weights: DataParallel, a compiled network,
    Sequential(Normalize(...), network), or a class of one's own. A layer of torch, a Sequential and
    a part called `features` are not looked into.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(2, 3))
        >>> unwrapped(nn.DataParallel(nn.DataParallel(net)))[0]
        'module.'
    """
    prefix = ""
    while next(model.parameters(recurse=False), None) is None:
        weighted = [
            (name, part)
            for name, part in model.named_children()
            if next(part.parameters(), None) is not None
        ]
        if len(weighted) != 1:
            break
        ((name, part),) = weighted
        if name == "features" or type(part).__module__.startswith("torch.nn.modules."):
            break
        prefix += f"{name}."
        model = part
    return prefix, model


def check_layers(model: nn.Module, layers: Sequence[str]):
    """Refuse, by ValueError, layers that a network does not have, before any work."""
    device_of(model)
    _refuse_hidden(model)
    if isinstance(layers, str):
        raise ValueError(f"give a list of layers, got the text {layers!r}")
    names = layer_names(model)
    for layer in layers:
        if not isinstance(layer, str) or layer not in names:
            more = ", ..." if len(names) > 12 else ""
            raise ValueError(
                f"the model has no layer named {layer!r:.80}; it has {', '.join(names[:12])}{more}"
            )


def _refuse_hidden(model: nn.Module):
    """Refuse, by ValueError, a network whose layers cannot be watched."""
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ValueError(
                "the layers of a scripted network cannot be watched: give the module that it was "
                "scripted from"
            )
        if isinstance(module, nn.DataParallel) and len(module.device_ids) > 1:
            raise ValueError(
                "a layer inside DataParallel sees a part of each batch: give the network alone, "
                "model.module"
            )


@contextmanager
def uncompiled(model: nn.Module):
    """Run a compiled network as it is written, for a block: hooks are not called otherwise."""
    compiled = any(
        hasattr(part, "_orig_mod") or getattr(part, "_compiled_call_impl", None)
        for part in model.modules()
    )
    with torch.compiler.set_stance("force_eager") if compiled else nullcontext():
        yield


@contextmanager
def activations(
    model: nn.Module, layers: Sequence[str], side: str = "output"
) -> Iterator[dict[str, Tensor]]:
    """Record what named layers output (or, with side="input", are given) while the model runs.

    Gradients flow through what is recorded, and a later operation in place, such as
    ReLU(inplace=True), does not change it. The dictionary is filled anew at every forward pass;
    the hooks are gone when the block ends.

    Raises: ValueError if a layer does not exist or `side` is neither of the two
    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        >>> with activations(net, ["0"]) as taps:
        ...     _ = net(torch.zeros(5, 2))
        >>> taps["0"].shape
        torch.Size([5, 3])
    """
    check_choice("side", side, ("output", "input"))
    check_layers(model, layers)
    modules = dict(model.named_modules())
    taps = {}

    def keep(layer: str, value):
        taps.pop(layer, None)  # what ran last stands last
        taps[layer] = value
        if type(value) is tuple:  # as recurrent layers give; a named one stays what it is
            return tuple(v.clone() if isinstance(v, Tensor) else v for v in value)
        return value.clone() if isinstance(value, Tensor) else value  # the network goes on with it

    def tap(layer: str):
        if side == "output":
            return modules[layer].register_forward_hook(lambda _, __, output: keep(layer, output))
        return modules[layer].register_forward_pre_hook(
            lambda _, inputs: (keep(layer, inputs[0]), *inputs[1:]) if inputs else None
        )

    hooks = [tap(layer) for layer in dict.fromkeys(layers)]
    try:
        with uncompiled(model):
            yield taps
    finally:
        for hook in hooks:
            hook.remove()


class _Reached(Exception):
    """The layer has run: carries what was recorded there, and ends the forward pass."""


def extractor(model: nn.Module, layer: str | None = None) -> Callable[[Tensor], Tensor]:
    """The part of a network up to its representation, as a function from inputs to features.

    By default the representation is what the part called `features` outputs, and where there is
    none what the last linear layer is given, the one that runs last; with `layer`, what that layer
    outputs. Wrappers are looked through. Nothing after it is run, but at the first call where the
    linear layers are looked for. The function follows the model's weights, mode and gradients.

    Shapes: the function maps (B, ...) to (B, D)
    Raises: ValueError if there is no linear layer and no `layer`, or the layer does not exist; the
        function, if the layer does not run, the last linear layer runs twice, or it is no tensor
        (B, ...)
    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> extractor(net)(torch.zeros(5, 2)).shape
        torch.Size([5, 3])
    """
    names, side = _representation_of(model) if layer is None else ([layer], "output")
    check_layers(model, names)
    known = side == "output"

    def extract(x: Tensor) -> Tensor:
        nonlocal names, known
        with clear_errors(x):
            if not known:
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
            model(x)
    finally:
        for hook in hooks:
            hook.remove()
    if not taps:
        return None, names[-1]
    last, bottleneck = given[-1]
    if [name for name, _ in given].count(last) > 1:
        raise ValueError(
            f"the last linear layer, {last!r}, runs more than once, so that it has several inputs: "
            "name the layer whose output is the representation by layer=..."
        )
    for down in [name for name, output in made if output is bottleneck]:
        whole = next(x for name, x in given if name == down)
        if any(x is whole for name, x in given if name != down):
            warn(
                f"the representation is what {down!r} gives to {last!r}, and beside these two "
                "another linear layer reads what they read, as a head does beside its adapter: "
                "name the layer whose output the head reads by layer=..."
            )
    return taps[last], last


def _representation_of(model: nn.Module) -> tuple[list[str], str]:
    """The layers that may be meant by default, and whether their output or their input is."""
    device_of(model)
    _refuse_hidden(model)
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
            features.append(extract(batch if isinstance(batch, Tensor) else batch[0]))
    return torch.cat(features)
