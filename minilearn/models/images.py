"""The networks for images, each in two parts: features and head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from minilearn.checks import check_count, check_number


class Network(nn.Module):
    """A network in two parts: `features` gives the representation, `head` reads the answer from it.

    Args:
        features: gives the representation of the input
        head: reads the answer from it
        squeeze: whether an answer (B, 1) becomes (B,), as regression targets are
    Shapes: input (B, channels, H, W); features(x) (B, D); output (B, outputs), or (B,) if squeezed
    Example:
        >>> import torch
        >>> cnn(size=8)(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """

    def __init__(self, features: nn.Module, head: nn.Module, squeeze: bool = False):
        super().__init__()
        self.features = features
        self.head = head
        self.squeeze = squeeze

    def forward(self, x: Tensor) -> Tensor:
        """Class logits, or the predicted target."""
        out = self.head(self.features(x))
        return out.squeeze(1) if self.squeeze else out


def check_sizes(**sizes) -> tuple[int, ...]:
    """Sizes of a network as ints; ValueError if one is not a whole number from 1."""
    return tuple(check_count(name, size, 1) for name, size in sizes.items())


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
        self.register_buffer("mean", both[0, :, None, None], persistent=False)
        self.register_buffer("std", both[1, :, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """The images, normalised."""
        if x.ndim < 3 or x.shape[-3] != len(self.mean):
            raise ValueError(f"{len(self.mean)} channels are normalised, not {tuple(x.shape)}")
        return (x - self.mean) / self.std


def cnn(classes: int = 10, size: int = 28, channels: int = 1) -> Network:
    """The LAF paper's CNN: two 5 x 5 convolutions, a 256-dimensional representation, a linear head.

    With `classes=1` it predicts a number: the answer is squeezed to (B,).

    Args: size: pixels of a side. channels: of the images
    Paper: Shen et al. 2024, experiments on MNIST and Fashion-MNIST.
    Differs: from the authors' code (Model.py:37-65) nothing at size 28 with 10 classes: 449,098
        parameters; other sizes change the first linear layer only. The head is two linear layers
        without an activation between them, as released, and so is one linear map
    Raises: ValueError if size < 4 or another size is not a whole number from 1
    """
    check_count("classes", classes, 1)
    features = nn.Sequential(*_two_convolutions(channels, 5, size, 256))
    head = nn.Sequential(nn.Linear(256, 128), nn.Linear(128, classes))
    return Network(features, head, squeeze=classes == 1)


def small_cnn(outputs: int = 1, size: int = 12, channels: int = 1, start: float = 0.0) -> Network:
    """The book's own small network: two 3 x 3 convolutions and a hidden layer of 64.

    A new one answers about `start`: a network that predicts numbers need not spend its first
    epochs on finding out how large they are. With one output the answer is squeezed to (B,).

    Args: size: pixels of a side. channels: of the images. start: in the targets' unit
    Differs: from the papers' networks, which take too long for a page; 23,361 parameters at size 12
    Raises: ValueError if size < 4 or another size is not a whole number from 1
    Example:
        >>> sum(p.numel() for p in small_cnn(start=45.0).parameters())
        23361
    """
    check_count("outputs", outputs, 1)
    features = nn.Sequential(*_two_convolutions(channels, 3, size, 64), nn.ReLU())
    head = nn.Linear(64, outputs)
    nn.init.constant_(head.bias, start)
    return Network(features, head, squeeze=outputs == 1)


def _two_convolutions(channels: int, kernel: int, size: int, width: int) -> list[nn.Module]:
    """Two convolutions of 16 and 32 channels, each pooled, and a linear layer of `width`."""
    check_sizes(channels=channels, size=size)
    if size < 4:
        raise ValueError(f"two poolings need images of at least 4 x 4 pixels, got size {size}")
    layers = [nn.Conv2d(channels, 16, kernel, padding=kernel // 2), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(16, 32, kernel, padding=kernel // 2), nn.ReLU(), nn.MaxPool2d(2)]
    return [*layers, nn.Flatten(), nn.Linear(32 * (size // 4) ** 2, width)]


def allcnn(outputs: int = 1, width: float = 1.0, channels: int = 3) -> Network:
    """AllCNN: eight convolutions with batch normalisation, average pooling and one linear layer.

    With one output the answer is squeezed to (B,).

    Args: width: scales the 96 and 192 channels. channels: of the images
    Paper: Springenberg et al. 2015; Tarun et al. 2023 use it for ages (1,618,273 parameters).
    Differs: from the authors' code (models.py:88-130): the average is taken over the whole map
        instead of 8 x 8, the same thing at 32 x 32 pixels
    Raises: ValueError if width leaves no channel, or a size is not a whole number from 1
    """
    check_sizes(outputs=outputs, channels=channels)
    width = check_number("width", width, 0.01, 100, ends="[]")
    a = round(96 * width)
    b = round(192 * width)
    plan = [(channels, a, 3, 1), (a, a, 3, 1), (a, b, 3, 2), (b, b, 3, 1)]
    plan += [(b, b, 3, 1), (b, b, 3, 2), (b, b, 3, 1), (b, b, 1, 1)]
    blocks = [
        nn.Sequential(
            nn.Conv2d(i, o, k, stride, padding=k // 2, bias=False), nn.BatchNorm2d(o), nn.ReLU()
        )
        for i, o, k, stride in plan
    ]
    features = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Network(features, nn.Linear(b, outputs), squeeze=outputs == 1)


def mobilenet_v3(outputs: int = 1, channels: int = 3) -> Network:
    """MobileNetV3-Large, not pretrained: a small network for larger images.

    The seventeen blocks are `features.0` to `features.16`. With one output the answer is squeezed
    to (B,).

    Args: channels: of the images
    Paper: Howard et al. 2019, the large form, as Tarun et al. 2023 use it for ages: dropout of one
        half and one linear layer behind the pooled map. 2,972,913 parameters with one output.
    Differs: from Howard et al., who have a hidden layer of 1,280 there; from Tarun et al.'s code
        (models.py:9-42) nothing known with `channels=3`, else the first layer
    Raises: ValueError if a size is not a whole number from 1
    """
    check_sizes(outputs=outputs, channels=channels)
    from torchvision.models import mobilenet_v3_large

    net = mobilenet_v3_large(weights=None)
    if channels != 3:
        first = nn.Conv2d(channels, 16, 3, 2, 1, bias=False)
        nn.init.kaiming_normal_(first.weight, mode="fan_out")  # as all its convolutions
        net.features[0][0] = first
    features = nn.Sequential(*net.features, net.avgpool, nn.Flatten())
    head = nn.Sequential(nn.Dropout(), nn.Linear(960, outputs))
    return Network(features, head, squeeze=outputs == 1)
