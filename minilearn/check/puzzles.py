"""The eight puzzles of chapter 10: a kernel fills `out` from two matrices `a` and `b`."""

from __future__ import annotations

import torch
from torch import Tensor

from minilearn.check.exercise import Exercise, numbers, size


def _matrices(order):
    return tuple(numbers(order, 2, size(order, 3, 9), size(order, 9, 16)))


def _with_nan(order):
    a, b = _matrices(order)
    a[0] = -a[0].abs() - 0.5  # all below nought
    a[1, 3] = torch.nan
    return a, b


def _large(order):
    a, b = _matrices(order)
    return 8 + a / 100, b  # exp(100 a) is more than a number can hold


def _softmax(x: Tensor, top: bool = True, shares: bool = True) -> Tensor:
    e = (x - x.amax(1, keepdim=True) if top else x).exp()
    return e / e.sum(1, keepdim=True) if shares else e


def _loss(a, b, two: float = 2, count=None, per=None) -> Tensor:
    d, count = a - b, count or a.numel()
    return torch.cat([two * d / count, d.square().sum(1, keepdim=True) / (per or count)], 1)


def _sum(a: Tensor) -> Tensor:
    return a.sum(1, keepdim=True)


def _max(a: Tensor) -> Tensor:
    return a.amax(1, keepdim=True)


ROW = "every program read the first row"
PUZZLES = {
    "puzzle_1": Exercise(
        _matrices,
        lambda a, b: a,
        {
            ROW: lambda a, b: a[:1].expand_as(a),
            "b were copied": lambda a, b: b,
            "every row were mirrored": lambda a, b: a.flip(1),
        },
    ),
    "puzzle_2": Exercise(
        _matrices,
        lambda a, b: a + 2 * b,
        {
            "every program read the first row of b": lambda a, b: a + 2 * b[:1],
            "b were not doubled": lambda a, b: a + b,
            "a were doubled": lambda a, b: 2 * a + b,
            "the whole sum were doubled": lambda a, b: 2 * (a + b),
        },
    ),
    "puzzle_3": Exercise(
        _matrices,
        lambda a, b: a.flip(1),
        {
            "rows were exchanged and not columns": lambda a, b: a.flip(0),
            "nothing were mirrored": lambda a, b: a,
            "b were mirrored": lambda a, b: b.flip(1),
        },
    ),
    "puzzle_4": Exercise(
        _matrices,
        lambda a, b: _sum(a),
        {
            ROW: lambda a, b: _sum(a)[:1].expand(len(a), 1),
            "the last column were left out": lambda a, b: _sum(a[:, :-1]),
            "it were a mean": lambda a, b: _sum(a) / a.shape[1],
        },
    ),
    "puzzle_5": Exercise(
        _with_nan,
        lambda a, b: _max(a),
        {
            "NaN were lost on the way": lambda a, b: _max(a.nan_to_num(-torch.inf)),
            "a masked place held nought, which is more than a negative row has": lambda a, b: _max(
                a
            ).clamp(min=0),
            "both: NaN were lost, and a masked place held nought": lambda a, b: _max(
                a.nan_to_num(0)
            ).clamp(min=0),
        },
    ),
    "puzzle_6": Exercise(
        _large,
        lambda a, b: _softmax(100 * a),
        {
            "the largest number were not taken away first": lambda a, b: _softmax(
                100 * a, top=False
            ),
            "the factor of a hundred were forgotten": lambda a, b: _softmax(a),
            "nothing were divided by the sum": lambda a, b: _softmax(100 * a, shares=False),
        },
    ),
    "puzzle_7": Exercise(
        _matrices,
        lambda a, b: a @ b.T,
        {
            "rows and columns of the result were exchanged": lambda a, b: b @ a.T,
            "a were multiplied by itself": lambda a, b: a @ a.T,
            ROW: lambda a, b: (a[:1] @ b.T).expand(len(a), len(a)),
        },
    ),
    "puzzle_8": Exercise(
        _matrices,
        _loss,
        {
            "the two of the slope were forgotten": lambda a, b: _loss(a, b, two=1),
            "the slope had the wrong sign": lambda a, b: _loss(a, b, two=-2),
            "the mean were taken over the row alone": lambda a, b: _loss(a, b, count=a.shape[1]),
            "the loss were a sum": lambda a, b: _loss(a, b, per=1),
        },
    ),
}
