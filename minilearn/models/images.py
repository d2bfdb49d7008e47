"""The networks for images, each in two parts: features and head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minilearn.checks import check_count


class Network(nn.Module):
    """A network in two parts: `features` gives the representation, `head` reads the answer from it.

    With `outputs=1` and `squeeze=True` the answer has shape (B,), as regression targets have.

    Shapes: input (B, channels, H, W); features(x) (B, D); output (B, outputs), or (B,) if squeezed
    Example:
        >>> import torch
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


class Normalize(nn.Module):
    """(x - mean) / std, channel by channel: the first layer of a network that takes pixels as such.

    Shapes: input and output (B, channels, H, W); mean and std are buffers of (channels, 1, 1)
    Differs: torchvision's `transforms.Normalize` makes both anew in every call, for which a GPU
        must wait; these move with the model, and its steps can be recorded
    Raises: ValueError if means and deviations differ in number, or are no finite numbers, or a
        deviation is not above 0, or images have other channels
    Example:
        >>> Normalize((0.5,), (0.25,))(torch.ones(1, 1, 1, 1)).item()
        2.0
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        try:
            both = torch.tensor([[float(v) for v in numbers] for numbers in (mean, std)])
        except (TypeError, ValueError):
            both = torch.zeros(2, 0)
        if not both.numel() or not both.isfinite().all() or not (both[1] > 0).all():
            words = f"got {mean!r:.60} and {std!r:.60}"
            raise ValueError(f"needs a mean and a deviation above 0 for every channel, {words}")
        for name, value in zip(("mean", "std"), both, strict=True):
            self.register_buffer(name, value[:, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """The images, normalised."""
        if x.ndim < 3 or x.shape[-3] != len(self.mean):
            raise ValueError(f"{len(self.mean)} channels are normalised, not {tuple(x.shape)}")
        return (x - self.mean) / self.std


def cnn(classes: int = 10, size: int = 28, channels: int = 1) -> Network:
    """The LAF paper's CNN: two 5 x 5 convolutions, a 256-dimensional representation, a linear head.

    With `classes=1` it predicts a number: the answer is squeezed to (B,).

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
    return Network(nn.Sequential(*layers), head, squeeze=classes == 1)


def small_cnn(outputs: int = 1, size: int = 12, channels: int = 1, start: float = 0.0) -> Network:
    """The book's own small network: two 3 x 3 convolutions and a hidden layer of 64.

    A new one answers about `start`: a network that predicts numbers need not spend its first
    epochs on finding out how large they are. With one output the answer is squeezed to (B,).

    Differs: from the papers' networks, which take too long for a page; 23,361 parameters at size 12
    Raises: ValueError if size < 4 or another size is no whole number from 1
    Example:
        >>> sum(p.numel() for p in small_cnn(start=45.0).parameters())
        23361
    """
    check_count("outputs", outputs, 1), check_count("channels", channels, 1)
    if check_count("size", size, 1) < 4:
        raise ValueError(f"two poolings need images of at least 4 x 4 pixels, got size {size}")
    layers = [nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Flatten(), nn.Linear(32 * (size // 4) ** 2, 64), nn.ReLU()]
    head = nn.Linear(64, outputs)
    nn.init.constant_(head.bias, start)
    return Network(nn.Sequential(*layers), head, squeeze=outputs == 1)


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


def _projected(inputs: int, outputs: int, stride: int) -> _Residual:
    return _Residual(inputs, outputs, stride, projection=True)


def _padded(inputs: int, outputs: int, stride: int) -> _Residual:
    return _Residual(inputs, outputs, stride, projection=False)


class _Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions, the last four times as wide, beside a projection."""

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        plan = [(inputs, width, 1, 1), (width, width, 3, stride), (width, 4 * width, 1, 1)]
        layers = []
        for i, o, k, s in plan:
            layers += [nn.Conv2d(i, o, k, s, k // 2, bias=False), nn.BatchNorm2d(o), nn.ReLU()]
        self.body, self.shortcut = nn.Sequential(*layers[:-1]), nn.Sequential()
        if stride != 1 or inputs != 4 * width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


def _resnet(
    widths: Sequence[int],
    depths: Sequence[int],
    block,
    channels: int,
    head,
    squeeze: bool = False,
    pool: bool = False,
) -> Network:
    """`block(inputs, width, stride)` makes one block; a bottleneck gives out 4 times its width."""
    check_count("channels", channels, 1)
    inputs = widths[0]
    layers = [nn.Conv2d(channels, inputs, 3, 1, 1, bias=False), nn.BatchNorm2d(inputs), nn.ReLU()]
    layers += [nn.MaxPool2d(3, 2, 1)] if pool else []
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        for number in range(depth):
            layers.append(block(inputs, width, 2 if stage and not number else 1))
            inputs = 4 * width if block is _Bottleneck else width
    features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), *head[:-1])
    return Network(features, head[-1], squeeze)


def resnet18(
    classes: int = 10,
    channels: int = 3,
    representation: int | None = None,
    squeeze: bool | None = None,
    pool: bool = False,
) -> Network:
    """ResNet-18 for small images: a 3 x 3 first convolution and no first pooling.

    `representation=256` adds the linear layer that the LAF paper reads its features from;
    `pool=True` keeps the first pooling, as L2UL's released network for CIFAR-10 does. With
    `classes=1` it predicts a number: the answer is squeezed to (B,).

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
    squeeze = classes == 1 if squeeze is None else squeeze
    return _resnet((64, 128, 256, 512), (2,) * 4, _projected, channels, head, squeeze, pool)


def resnet50(classes: int = 100, channels: int = 3) -> Network:
    """ResNet-50 for small images: a 3 x 3 first convolution, no first pooling, 2,048 features.

    Paper: He et al. 2016; Cha et al. 2024 use it for CIFAR-100 (23,705,252 parameters).
    Differs: not compared layer by layer with Cha et al.'s code
    Raises: ValueError if a size is no whole number from 1
    """
    check_count("classes", classes, 1)
    head = [nn.Linear(2048, classes)]
    return _resnet((64, 128, 256, 512), (3, 4, 6, 3), _Bottleneck, channels, head)


def resnet20(classes: int = 10, channels: int = 3) -> Network:
    """ResNet-20 for CIFAR: three stages of three blocks, 16 to 64 channels, plain shortcuts.

    Paper: He et al. 2016, section 4.2, option A: 269,722 parameters with batch normalisation's.
    Differs: none known; its weights follow in the order of the usual CIFAR ResNet-20
    Raises: ValueError if a size is no whole number from 1
    """
    check_count("classes", classes, 1)
    return _resnet((16, 32, 64), (3,) * 3, _padded, channels, [nn.Linear(64, classes)])


def resnet56(classes: int = 10, channels: int = 3) -> Network:
    """ResNet-56 for CIFAR: as `resnet20`, with nine blocks a stage.

    Paper: He et al. 2016, section 4.2, option A: 853,018 parameters with batch normalisation's.
    Differs: as resnet20
    Raises: ValueError if a size is no whole number from 1
    """
    check_count("classes", classes, 1)
    return _resnet((16, 32, 64), (9,) * 3, _padded, channels, [nn.Linear(64, classes)])


def mobilenet_v3(outputs: int = 1, channels: int = 3, squeeze: bool | None = None) -> Network:
    """MobileNetV3-Large, not pretrained: a small network for larger images.

    With one output the answer is squeezed to (B,). The seventeen blocks are `features.0` to
    `features.16`.

    Paper: Howard et al. 2019, the large form: 5,483,032 parameters with 1,000 outputs, 4,203,313
        with one. Tarun et al. 2023 use it for ages.
    Differs: torchvision's network with another last layer, and another first one unless
        `channels=3`; not compared layer by layer with Tarun et al.'s code
    Raises: ValueError if a size is no whole number from 1
    """
    check_count("outputs", outputs, 1), check_count("channels", channels, 1)
    from torchvision.models import mobilenet_v3_large

    net = mobilenet_v3_large(weights=None, num_classes=outputs)
    if channels != 3:
        first = nn.Conv2d(channels, 16, 3, 2, 1, bias=False)
        nn.init.kaiming_normal_(first.weight, mode="fan_out")  # as all its convolutions
        net.features[0][0] = first
    features = nn.Sequential(*net.features, net.avgpool, nn.Flatten())
    return Network(features, net.classifier, outputs == 1 if squeeze is None else squeeze)
