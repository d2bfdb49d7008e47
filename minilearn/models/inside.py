"""How to look inside any network: its layers by name, what they give out, its mode and device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from minilearn.checks import device_of
from minilearn.data.batches import batches


def layer_names(model: nn.Module) -> list[str]:
    """The names that `activations` accepts for this model.

    Example:
        >>> layer_names(nn.Sequential(nn.Linear(2, 3), nn.ReLU()))
        ['0', '1']
    """
    return [name for name, _ in model.named_modules() if name]


def chain(model: nn.Module) -> list[str]:
    """The layers that a network is a chain of, by name, in their order.

    They are the modules directly inside it; of a Sequential, and of a part called `features`, its
    own are taken instead.

    Example:
        >>> chain(nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 1))))
        ['0', '1.0', '1.1']
    """
    device_of(model)
    names = []
    for name, part in model.named_children():
        if isinstance(part, nn.Sequential) or name == "features":
            names += [f"{name}.{inner}" for inner, _ in part.named_children()]
        else:
            names.append(name)
    return names


def check_layers(model: nn.Module, layers: Sequence[str]):
    """Refuse, by ValueError, layers that a network does not have, before any work."""
    device_of(model)
    if isinstance(layers, str):
        raise ValueError(f"give a list of layers, got the text {layers!r}")
    names = layer_names(model)
    for layer in layers:
        if layer not in names:
            more = ", ..." if len(names) > 12 else ""
            raise ValueError(
                f"the model has no layer named {layer!r}; it has {', '.join(names[:12])}{more}"
            )


@contextmanager
def activations(
    model: nn.Module, layers: Sequence[str], side: str = "output"
) -> Iterator[dict[str, Tensor]]:
    """Record what named layers give out (or, with side="input", are given) while the model runs.

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
    if side not in ("output", "input"):
        raise ValueError(f"side is 'output' or 'input', got {side!r}")
    check_layers(model, layers)
    modules = dict(model.named_modules())
    taps = {}

    def keep(layer: str, value):
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
        yield taps
    finally:
        for hook in hooks:
            hook.remove()


class _Reached(Exception):
    """The layer has run: carries what was recorded there, and ends the forward pass."""


def extractor(model: nn.Module, layer: str | None = None) -> Callable[[Tensor], Tensor]:
    """The part of a network up to its representation, as a function from inputs to features.

    By default the representation is what the part called `features` gives out, and where there is
    none what the last linear layer is given; with `layer`, what that layer gives out. Nothing after
    it is run. The function follows the model's weights, mode and gradients.

    Shapes: the function maps (B, ...) to (B, D)
    Raises: ValueError if there is no linear layer and no `layer`, or the layer does not exist; the
        function, if the layer does not run or gives no tensor (B, ...)
    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> extractor(net)(torch.zeros(5, 2)).shape
        torch.Size([5, 3])
    """
    name, side = _representation_of(model) if layer is None else (layer, "output")
    check_layers(model, [name])
    part = model.get_submodule(name)

    def stop(value):
        raise _Reached(value)

    def extract(x: Tensor) -> Tensor:
        if side == "output":
            hook = part.register_forward_hook(lambda _, __, output: stop(output))
        else:
            hook = part.register_forward_pre_hook(lambda _, inputs: stop(inputs[0]))
        features = None
        try:
            model(x)
        except _Reached as reached:
            (features,) = reached.args
        finally:
            hook.remove()
        if not isinstance(features, Tensor) or features.shape[:1] != x.shape[:1]:
            raise ValueError(f"the {side} of layer {name!r} is no tensor with one row per input")
        return features.flatten(1) if features.ndim > 1 else features[:, None]

    return extract


def _representation_of(model: nn.Module) -> tuple[str, str]:
    """The default layer, and whether its output or its input is meant."""
    device_of(model)
    parts = {name: part for name, part in model.named_modules() if name}
    if "features" in parts:
        return "features", "output"
    linear = [name for name, part in parts.items() if isinstance(part, nn.Linear)]
    if not linear:
        raise ValueError("the model has no linear layer inside: say which layer's output to take")
    return linear[-1], "input"


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
    with mode(model, train=False), torch.no_grad():
        for batch in batches(data, batch_size, device=device_of(model)):
            features.append(extract(batch if isinstance(batch, Tensor) else batch[0]))
    return torch.cat(features)


@contextmanager
def mode(model: nn.Module, train: bool) -> Iterator[nn.Module]:
    """Put a model in training or evaluation mode, and every part back as it was afterwards."""
    before = [(module, module.training) for module in model.modules()]
    model.train(train)
    try:
        yield model
    finally:
        for module, flag in before:
            module.training = flag


def tensors_of(model: nn.Module) -> Iterator[Tensor]:
    """All that training changes: parameters and buffers."""
    yield from model.parameters()
    yield from model.buffers()


def freeze_batch_norm(model: nn.Module):
    """Let batch normalisation keep its statistics, until the model's mode is set anew.

    Example:
        >>> net = nn.Sequential(nn.BatchNorm1d(2)).train()
        >>> freeze_batch_norm(net)
        >>> net.training, net[0].training
        (True, False)
    """
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
