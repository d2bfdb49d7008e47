"""The eight puzzles of chapter 10: a kernel fills `out` from two matrices `a` and `b`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from minilearn.check.exercise import Exercise, Fault, numbers, size
from minilearn.kernels import interpreted

BLOCK = 16  # places of a program; every row of a puzzle is shorter
MARGIN = 2 * BLOCK**2  # numbers on either side: a program without its masks goes no farther
CANARY = -7654321.0  # stands around `out`; around `a` and `b` stands NaN
MASK = "give every {} a mask that ends with the row."


def between_canaries(kernel, number: int) -> Callable[[Tensor, Tensor], Tensor]:
    """A function of `a` and `b` for `check`: it starts a kernel once for every row, and watches.

    Around all three matrices there is memory of our own, so that a missing mask does no harm. What
    a kernel writes there is seen on every device. What it reads there only the interpreter sees.

    Args:
        kernel: made by `triton.jit`, with the arguments a, b, out, rows, columns and BLOCK
        number: of the puzzle, 1 to 8
    Raises: ValueError if there is no such puzzle
    """
    if f"puzzle_{number}" not in PUZZLES:
        raise ValueError(f"there is no puzzle {number!r}, only 1 to {len(PUZZLES)}")

    def launch(a: Tensor, b: Tensor) -> Tensor:
        rows, columns = a.shape
        width = {4: 1, 5: 1, 7: rows, 8: columns + 1}.get(number, columns)
        device = "cuda" if torch.cuda.is_available() and not interpreted() else "cpu"
        out = a.new_full((rows, width), torch.nan)  # what is not written stays visible
        memory = [_surrounded(a, torch.nan), _surrounded(b, torch.nan), _surrounded(out, CANARY)]
        memory = [whole.to(device) for whole in memory]
        a_, b_, out_ = (whole[MARGIN:-MARGIN] for whole in memory)
        with _strays(a_, b_, out_) as read:
            kernel[(rows,)](a_, b_, out_, rows, columns, BLOCK=BLOCK)
        margins = torch.cat([memory[2][:MARGIN], memory[2][-MARGIN:]])
        if (margins != CANARY).any():
            raise Fault(f"It writes beyond the ends of `out`: {MASK.format('store')}")
        if any(read):
            raise Fault(f"It reads beyond the ends of a matrix: {MASK.format('load')}")
        return out_.view(rows, width).cpu()

    return launch


def _surrounded(matrix: Tensor, canary: float) -> Tensor:
    margin = matrix.new_full((MARGIN,), canary)
    return torch.cat([margin, matrix.flatten(), margin])


@contextmanager
def _strays(*matrices: Tensor) -> Iterator[list[int]]:
    """Count, for every load, the numbers read elsewhere; only the interpreter can be watched."""
    counts: list[int] = []
    if not interpreted():
        yield counts
        return
    from triton.runtime.interpreter import interpreter_builder as builder

    load = builder.create_masked_load

    def watched(places, mask, *rest):
        read = torch.from_numpy(places.data[mask.data].astype("int64"))
        ends = [(m.data_ptr(), m.data_ptr() + m.nbytes) for m in matrices]
        known = sum((low <= read) & (read < high) for low, high in ends)
        counts.append(int((known == 0).sum()))
        return load(places, mask, *rest)

    builder.create_masked_load = watched
    try:
        yield counts
    finally:
        del builder.create_masked_load


def _matrices(order):
    return tuple(numbers(order, 2, size(order, 3, 9), size(order, 9, 16)))


def _with_nan(order):
    a, b = _matrices(order)
    a[0] = -a[0].abs() - 0.5  # all below 0
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
            "a masked place held 0, which is more than a negative row has": lambda a, b: _max(
                a
            ).clamp(min=0),
            "both: NaN were lost, and a masked place held 0": lambda a, b: _max(
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
