"""Real data that needs no network: scikit-learn's handwritten digits, and the same turned."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from minilearn.checks import check_count
from minilearn.data.examples import Examples
from minilearn.draws import order_of

TEST_SHARE = 0.25
# Where each filled-in form begins. The printed text starts 0 1 2 3 4 5, has 9 5 5 6 5 0 9 once;
# a few digits of it are not in the set, such as the first 0 of form 7.
FORM_STARTS = (0, 130, 256, 386, 516, 646, 776, 906, 1029, 1157, 1287, 1415, 1545, 1667)


class Split(NamedTuple):
    """A training and a test set of the same kind."""

    train: Examples
    test: Examples


def digits(size: int = 8) -> Split:
    """1,797 real handwritten digits (grey pixels in [0, 1]), each with the form it was copied on.

    The set's description names 13 writers but not who wrote what. The labels tell: they repeat the
    same printed form 14 times, so `groups` numbers the forms 0..13 (one writer may have filled
    two). A quarter of the digits, drawn once with a fixed seed within each class, is the test set.

    Args: size: pixels of a side, to which the digits are enlarged
    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI 1998 (its test
        part), as shipped with scikit-learn
    Shapes: inputs (N, 1, size, size) float32; targets (N,) int64 in 0..9; groups (N,) int64 in
        0..13
    Raises: ValueError if size < 8
    Example:
        >>> train, test = digits()
        >>> len(train), len(test), train.inputs.shape[1:], int(train.groups.max()) + 1
        (1347, 450, torch.Size([1, 8, 8]), 14)
    """
    size = check_count("size (the digits are 8 pixels wide and can only be enlarged)", size, 8)
    images, labels = _sklearn_digits()
    if size > 8:
        images = F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)
    return _split(Examples(images, labels, _forms(labels)))


def rotated_digits(size: int = 24, copies: int = 4, seed: int = 0) -> Split:
    """The digits drawn larger and turned by an angle from [0, 90): predict the angle in degrees.

    The angle counts against the clock: at 90 degrees a digit lies on its left side (torch.rot90).
    All copies of one digit fall on the same side of the split, so that no test digit was seen at
    another angle.

    Args: size: pixels of a side. copies: of every digit, at independent angles. seed: of the angles
    Shapes: inputs (N, 1, size, size) float32 in [0, 1]; targets (N,) float32, degrees; groups (N,)
        int64, the forms
    Raises: ValueError if size < 12 or copies < 1
    Example:
        >>> train, test = rotated_digits(copies=1)
        >>> len(train), train.task, bool(train.targets.max() < 90)
        (1347, 'regression', True)
    """
    size = check_count("size", size, 12)
    copies = check_count("copies", copies, 1)
    train, test = digits()
    return Split(_turned(train, size, copies, seed), _turned(test, size, copies, seed + 1))


def _turned(upright: Examples, size: int, copies: int, seed: int) -> Examples:
    generator = order_of(seed)
    angles = 90 * torch.rand(len(upright) * copies, generator=generator, dtype=torch.float32)
    turned = _turn(upright.inputs.repeat(copies, 1, 1, 1), angles, size)
    return Examples(turned, angles, upright.groups.repeat(copies))


def _turn(images: Tensor, angles: Tensor, size: int) -> Tensor:
    # The drawing fills 2/3 of the frame, so that no corner leaves it when turned.
    zoom = 1.5
    turn = angles * (math.pi / 180)
    cos, sin = zoom * turn.cos(), zoom * turn.sin()
    zero = torch.zeros_like(cos)
    affine = torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1)
    grid = F.affine_grid(affine, [len(images), 1, size, size], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", align_corners=False)


def _sklearn_digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits  # imported here: it costs more than torch's own import

    raw = load_digits()
    images = torch.tensor(raw.images, dtype=torch.float32).unsqueeze(1) / 16
    return images, torch.tensor(raw.target, dtype=torch.int64)


def _forms(labels: Tensor) -> Tensor:
    starts = torch.zeros_like(labels)
    starts[list(FORM_STARTS[1:])] = 1
    return starts.cumsum(0)


def _split(data: Examples) -> Split:
    generator = torch.Generator().manual_seed(0)
    test = torch.zeros(len(data), dtype=torch.bool)
    for label in data.targets.unique():
        members = (data.targets == label).nonzero().flatten()
        members = members[torch.randperm(len(members), generator=generator)]
        test[members[: round(TEST_SHARE * len(members))]] = True
    return Split(data[~test], data[test])
