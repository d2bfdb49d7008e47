"""How to look inside any network: its layers by name, what they output, its mode and device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from minilearn.checks import check_choice, check_kind, device_of


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
    refuse_hidden(model)
    if isinstance(layers, str):
        raise ValueError(f"give a list of layers, got the text {layers!r}")
    names = layer_names(model)
    for layer in layers:
        if not isinstance(layer, str) or layer not in names:
            more = ", ..." if len(names) > 12 else ""
            raise ValueError(
                f"the model has no layer named {layer!r:.80}; it has {', '.join(names[:12])}{more}"
            )


def refuse_hidden(model: nn.Module):
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
