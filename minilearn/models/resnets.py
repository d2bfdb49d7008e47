"""The residual networks for small images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from minilearn.checks import check_count, check_number
from minilearn.models.images import Network


class _Residual(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut: a projection (B) or padded zeros (option A)."""

    def __init__(self, inputs: int, outputs: int, stride: int, projection: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride = stride
        self.padding = outputs - inputs
        self.shortcut = nn.Sequential()
        if projection and (stride != 1 or inputs != outputs):
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if len(self.shortcut) or (self.stride == 1 and not self.padding):
            return F.relu(out + self.shortcut(x))
        x = x[:, :, :: self.stride, :: self.stride]
        half = self.padding // 2
        return F.relu(out + F.pad(x, (0, 0, 0, 0, half, self.padding - half)))


_projected = partial(_Residual, projection=True)
_padded = partial(_Residual, projection=False)


class _Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions, the last four times as wide, beside a projection."""

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        plan = [(inputs, width, 1, 1), (width, width, 3, stride), (width, 4 * width, 1, 1)]
        layers = []
        for i, o, k, s in plan:
            layers += [nn.Conv2d(i, o, k, s, k // 2, bias=False), nn.BatchNorm2d(o), nn.ReLU()]
        self.body = nn.Sequential(*layers[:-1])
        self.shortcut = nn.Sequential()
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
    """`block(inputs, width, stride)` makes one block; a bottleneck outputs 4 times its width."""
    check_count("channels", channels, 1)
    inputs = widths[0]
    layers = [nn.Conv2d(channels, inputs, 3, 1, 1, bias=False), nn.BatchNorm2d(inputs), nn.ReLU()]
    if pool:
        layers.append(nn.MaxPool2d(3, 2, 1))
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
    pool: bool = False,
    width: float = 1.0,
) -> Network:
    """ResNet-18 for small images: a 3 x 3 first convolution and no first pooling.

    Args:
        classes: of the answer; with 1 it predicts a number, squeezed to (B,)
        channels: of the images
        representation: width of a linear layer before the last, from which the LAF paper reads its
            features (256); None: without
        pool: keep the first pooling, as L2UL's released network for CIFAR-10 does
        width: scales the 64 to 512 channels
    Paper: He et al. 2016; the small-image form is the field's usual one for CIFAR. 11,173,962
        parameters with 10 classes, 11,302,730 with `representation=256`.
    Differs: from the LAF authors' code, which enlarges the images to 224 pixels for the ImageNet
        form with its 7 x 7 first convolution (11,310,410 parameters)
    Raises: ValueError if width leaves no channel, or a size is not a whole number from 1
    """
    check_count("classes", classes, 1)
    width = check_number("width", width, 0.01, 100, ends="[]")
    widths = [round(width * base) for base in (64, 128, 256, 512)]
    if representation is None:
        head = [nn.Linear(widths[-1], classes)]
    else:
        check_count("representation", representation, 1)
        head = [nn.Linear(widths[-1], representation), nn.Linear(representation, classes)]
    return _resnet(widths, (2,) * 4, _projected, channels, head, classes == 1, pool)


def resnet50(classes: int = 100, channels: int = 3) -> Network:
    """ResNet-50 for small images: a 3 x 3 first convolution, no first pooling, 2,048 features.

    Paper: He et al. 2016; Cha et al. 2024 use it for CIFAR-100 (23,705,252 parameters).
    Differs: none known from Cha et al.'s code (resnet_cifar100.py)
    Raises: ValueError if a size is not a whole number from 1
    """
    check_count("classes", classes, 1)
    head = [nn.Linear(2048, classes)]
    return _resnet((64, 128, 256, 512), (3, 4, 6, 3), _Bottleneck, channels, head)


def resnet20(classes: int = 10, channels: int = 3) -> Network:
    """ResNet-20 for CIFAR: three stages of three blocks, 16 to 64 channels, plain shortcuts.

    Paper: He et al. 2016, section 4.2, option A: 269,722 parameters with batch normalisation's.
    Differs: none known; its weights follow in the order of the usual CIFAR ResNet-20
    Raises: ValueError if a size is not a whole number from 1
    """
    check_count("classes", classes, 1)
    return _resnet((16, 32, 64), (3,) * 3, _padded, channels, [nn.Linear(64, classes)])


def resnet56(classes: int = 10, channels: int = 3) -> Network:
    """ResNet-56 for CIFAR: as `resnet20`, with nine blocks a stage.

    Paper: He et al. 2016, section 4.2, option A: 853,018 parameters with batch normalisation's.
    Differs: as resnet20
    Raises: ValueError if a size is not a whole number from 1
    """
    check_count("classes", classes, 1)
    return _resnet((16, 32, 64), (9,) * 3, _padded, channels, [nn.Linear(64, classes)])
