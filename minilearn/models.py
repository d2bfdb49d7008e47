"""The networks of the three papers, and how to look inside any network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minilearn.data.checks import check_count
from minilearn.data.examples import batches


class Network(nn.Module):
    """A network in two parts: `features` gives the representation, `head` reads the answer from it.

    With `outputs=1` and `squeeze=True` the answer has shape (B,), as regression targets have.

    Shapes: input (B, channels, H, W); features(x) (B, D); output (B, outputs), or (B,) if squeezed
    Example:
        >>> cnn(size=8)(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """

    def __init__(self, features: nn.Module, head: nn.Module, squeeze: bool = False):
        super().__init__()
        self.features, self.head, self.squeeze = features, head, squeeze

    def forward(self, x: Tensor) -> Tensor:
        """Class logits, or the predicted target."""
        out = self.head(self.features(x))
        return out.squeeze(1) if self.squeeze else out


def cnn(classes: int = 10, size: int = 28, channels: int = 1) -> Network:
    """The LAF paper's CNN: two 5 x 5 convolutions, a 256-dimensional representation, a linear head.

    Paper: Shen et al. 2024, experiments on MNIST and Fashion-MNIST.
    Differs: from the authors' code (Model.py:37-65) nothing at size 28 with 10 classes: 449,098
        parameters; other sizes change the first linear layer only. The head is two linear layers
        without an activation between them, as released, and so is one linear map
    Raises: ValueError if size < 4 or another size is no whole number from 1
    """
    check_count("classes", classes, 1), check_count("channels", channels, 1)
    if check_count("size", size, 1) < 4:
        raise ValueError(f"two poolings need images of at least 4 x 4 pixels, got size {size}")
    layers = [nn.Conv2d(channels, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Flatten(), nn.Linear(32 * (size // 4) ** 2, 256)]
    head = nn.Sequential(nn.Linear(256, 128), nn.Linear(128, classes))
    return Network(nn.Sequential(*layers), head)


def allcnn(
    outputs: int = 1, width: float = 1.0, channels: int = 3, squeeze: bool | None = None
) -> Network:
    """AllCNN: eight convolutions with batch normalisation, average pooling and one linear layer.

    `width` scales the 96 and 192 channels. With one output the answer is squeezed to (B,).

    Paper: Springenberg et al. 2015; Tarun et al. 2023 use it for ages (1,618,273 parameters).
    Differs: from the authors' code (models.py:88-130): the average is taken over the whole map
        instead of 8 x 8, the same thing at 32 x 32 pixels
    Raises: ValueError if width leaves no channel, or a size is no whole number from 1
    """
    check_count("outputs", outputs, 1), check_count("channels", channels, 1)
    if not 0.01 <= width <= 100:
        raise ValueError(
            f"width must lie between 0.01 and 100, so that channels are left, got {width}"
        )
    a, b = round(96 * width), round(192 * width)
    plan = [(channels, a, 3, 1), (a, a, 3, 1), (a, b, 3, 2), (b, b, 3, 1)]
    plan += [(b, b, 3, 1), (b, b, 3, 2), (b, b, 3, 1), (b, b, 1, 1)]
    blocks = [
        nn.Sequential(
            nn.Conv2d(i, o, k, stride, padding=k // 2, bias=False), nn.BatchNorm2d(o), nn.ReLU()
        )
        for i, o, k, stride in plan
    ]
    features = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Network(features, nn.Linear(b, outputs), outputs == 1 if squeeze is None else squeeze)


class _Residual(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut: a projection (B) or padded zeros (option A)."""

    def __init__(self, inputs: int, outputs: int, stride: int, projection: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.padding = stride, outputs - inputs
        self.shortcut = nn.Sequential()
        if projection and (stride != 1 or inputs != outputs):
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if len(self.shortcut) or (self.stride == 1 and not self.padding):
            return F.relu(out + self.shortcut(x))
        x, half = x[:, :, :: self.stride, :: self.stride], self.padding // 2
        return F.relu(out + F.pad(x, (0, 0, 0, 0, half, self.padding - half)))


def _resnet(widths: Sequence[int], depth: int, projection: bool, channels: int, head) -> Network:
    check_count("channels", channels, 1)
    layers = [
        nn.Conv2d(channels, widths[0], 3, 1, 1, bias=False),
        nn.BatchNorm2d(widths[0]),
        nn.ReLU(),
    ]
    inputs = widths[0]
    for stage, outputs in enumerate(widths):
        for block in range(depth):
            layers.append(_Residual(inputs, outputs, 2 if stage and not block else 1, projection))
            inputs = outputs
    return Network(
        nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), *head[:-1]), head[-1]
    )


def resnet18(classes: int = 10, channels: int = 3, representation: int | None = None) -> Network:
    """ResNet-18 for small images: a 3 x 3 first convolution and no first pooling.

    `representation=256` adds the linear layer that the LAF paper reads its features from.

    Paper: He et al. 2016; the small-image form is the field's usual one for CIFAR. 11,173,962
        parameters with 10 classes, 11,302,730 with `representation=256`.
    Differs: from the LAF authors' code, which enlarges the images to 224 pixels for the ImageNet
        form with its 7 x 7 first convolution (11,310,410 parameters)
    Raises: ValueError if a size is no whole number from 1
    """
    check_count("classes", classes, 1)
    if representation is None:
        head = [nn.Linear(512, classes)]
    else:
        check_count("representation", representation, 1)
        head = [nn.Linear(512, representation), nn.Linear(representation, classes)]
    return _resnet((64, 128, 256, 512), 2, True, channels, head)


def resnet20(classes: int = 10, channels: int = 3) -> Network:
    """ResNet-20 for CIFAR: three stages of three blocks, 16 to 64 channels, plain shortcuts.

    Paper: He et al. 2016, section 4.2, option A: 269,722 parameters with batch normalisation's.
    Differs: none known; its weights follow in the order of the usual CIFAR ResNet-20
    Raises: ValueError if a size is no whole number from 1
    """
    check_count("classes", classes, 1)
    return _resnet((16, 32, 64), 3, False, channels, [nn.Linear(64, classes)])


def layer_names(model: nn.Module) -> list[str]:
    """The names that `activations` accepts for this model.

    Example:
        >>> layer_names(nn.Sequential(nn.Linear(2, 3), nn.ReLU()))
        ['0', '1']
    """
    return [name for name, _ in model.named_modules() if name]


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
    device_of(model)
    modules, taps = dict(model.named_modules()), {}
    if side not in ("output", "input") or isinstance(layers, str):
        raise ValueError(
            f"give a list of layers and side 'output' or 'input', got {layers!r}, {side!r}"
        )
    for layer in layers:
        if layer not in modules or not layer:
            known = layer_names(model)
            more = ", ..." if len(known) > 12 else ""
            raise ValueError(
                f"the model has no layer named {layer!r}; it has {', '.join(known[:12])}{more}"
            )

    def keep(layer: str, value):
        taps[layer] = value
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


def representation(
    model: nn.Module, data, layer: str | None = None, batch_size: int = 512
) -> Tensor:
    """The features of every input, in evaluation mode and without gradients.

    By default what the model's last linear layer is given; with `layer`, what that layer gives out.

    Shapes: data (N, ...) tensor, Examples or a dataset; returns (N, D)
    Raises: ValueError if there is no linear layer and no `layer`; the layer does not exist, does
        not run or gives no tensor (B, ...)
    """
    side = "input" if layer is None else "output"
    if layer is None:
        linear = [
            name for name, part in model.named_modules() if isinstance(part, nn.Linear) and name
        ]
        if not linear:
            raise ValueError(
                "the model has no linear layer inside: say which layer's output to take"
            )
        layer = linear[-1]
    found = []
    with activations(model, [layer], side) as taps, mode(model, train=False), torch.no_grad():
        for batch in batches(data, batch_size, device=device_of(model)):
            x = batch if isinstance(batch, Tensor) else batch[0]
            model(x)
            features = taps.pop(layer, None)
            if not isinstance(features, Tensor) or features.shape[:1] != x.shape[:1]:
                raise ValueError(
                    f"the {side} of layer {layer!r} is no tensor with one row per input"
                )
            found.append(features.flatten(1))
    return torch.cat(found)


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


def device_of(model: nn.Module) -> torch.device:
    """The device of a model's first parameter.

    Raises: ValueError if it is no torch module or has no parameters
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"a model must be a torch.nn.Module, got {type(model).__name__}")
    parameter = next(model.parameters(), None)
    if parameter is None:
        raise ValueError("the model has no parameters, so there is nothing to train or to forget")
    return parameter.device
