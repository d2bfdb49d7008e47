"""Paint pixels, and several small networks answer in the page."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from torch import Tensor, nn

from minilearn.checks import check_kind
from minilearn.data import Examples
from minilearn.evaluation import evaluate
from minilearn.widgets.interactive import Interactive, inked, packed


def paint_digit(models: Mapping[str, nn.Module], digits: Examples) -> Interactive:
    """A field of pixels to paint in, and the probabilities that each model gives at once.

    The networks run in the page, with weights in 4,096 steps. Begin with one of `digits`.

    Args:
        models: by name; chains of convolutions with stride 1, ReLU, pooling by 2 and linear layers
        digits: images to begin with, and their labels
    Shapes: images (n, 1, size, size) in [0, 1]
    Raises: ValueError if a model has other layers, or rounding its weights changes an answer
    """
    check_kind("models", models, Mapping)
    check_kind("digits", digits, Examples)
    data = {
        "images": inked(digits.inputs),
        "labels": digits.targets.tolist(),
        "models": {name: layers_of(name, model, digits) for name, model in models.items()},
    }
    alt = (
        f"A field of pixels to paint in, and bars for how likely each of {len(models)} networks "
        "takes the image for each digit."
    )
    return Interactive("paint_digit", data, alt)


def layers_of(name: str, model: nn.Module, digits: Examples) -> list[dict]:
    """The layers as the page computes them."""
    known = answers(name, model, digits)
    rounded = nn.Sequential(*leaves(copy.deepcopy(model)))
    layers = [layer_of(name, layer) for layer in rounded]
    same = answers(name, rounded, digits) == known
    if not same.all():
        raise ValueError(
            f"the layers of {name} in a chain, with rounded weights, answer otherwise on "
            f"{(~same).sum()} of {len(digits)} digits: the page would not show this model"
        )
    return layers


def answers(name: str, model: nn.Module, digits: Examples) -> Tensor:
    """The class that a model gives to each digit; ValueError if its outputs are not finite."""
    outputs = evaluate(model, digits).outputs
    if not outputs.isfinite().all():
        raise ValueError(f"the outputs of {name} are not finite: its weights have run away")
    return outputs.argmax(1)


def leaves(model: nn.Module) -> list[nn.Module]:
    """The modules that contain no others, in their order."""
    return [part for part in model.modules() if not any(part.children())]


def layer_of(name: str, layer: nn.Module) -> dict:
    """One layer as JSON; its weights become those that the page has."""
    match layer:
        case nn.ReLU():
            return {"kind": "relu"}
        case nn.Flatten(start_dim=1, end_dim=-1):
            return {"kind": "flatten"}
        case nn.MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False):
            return {"kind": "pool"}
        case nn.Linear(bias=Tensor()):
            return {"kind": "linear", **weights_of(layer)}
        case nn.Conv2d(stride=(1, 1), dilation=(1, 1), groups=1, bias=Tensor()) if _square(layer):
            return {"kind": "convolution", "padding": layer.padding[0], **weights_of(layer)}
    raise ValueError(f"the page cannot compute a layer of {name}: {layer}")


def _square(layer: nn.Conv2d) -> bool:
    """Whether the kernel, and the zeros around the image, are the same in both directions."""
    sides = {layer.kernel_size, layer.padding}
    return layer.padding_mode == "zeros" and all(side == side[::-1] for side in sides)


def weights_of(layer: nn.Module) -> dict:
    """Weights and biases in 4,096 steps each, which are put into the layer as well."""
    parts = {"shape": list(layer.weight.shape)}
    for name in ("weight", "bias"):
        values = getattr(layer, name)
        low, high = values.min().item(), values.max().item()
        parts[name] = packed(values, low, high)
        step = parts[name]["step"]
        values.data = low + step * ((values.data.double() - low) / step).round()
        values.data = values.data.float()
    return parts
