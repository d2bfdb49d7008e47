"""Exercises whose arguments are programs: a proof about methods, and a loop."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from minilearn.check.exercise import NOTHING, Exercise, numbers, size

PATIENCE = 1000  # questions that a loop may ask
# What has to wait for a value: `if`, `while` and `bool`, and what gives it to Python.
LOOKS = {Tensor.__bool__, Tensor.__int__, Tensor.__float__, Tensor.__index__}
LOOKS |= {Tensor.item, Tensor.tolist, Tensor.numpy, Tensor.cpu, Tensor.nonzero}


def _methods(order):
    x, y = numbers(order, 50, 3), torch.randperm(50, generator=order)

    def told(x, y, by: float) -> list[Tensor]:
        return [x.mean(0), x.T @ (1 + by * y.double())]

    blind, faint, loud = (lambda x, y, by=by: told(x, y, by) for by in (0.0, 1e-12, 1.0))
    return [blind, faint, loud, lambda x, y: loud(x, y)[::-1]], x, y


def _proved(method, x, y, alike: Callable = torch.equal, parts: slice = slice(None)) -> bool:
    once, again = (method(x, labels)[parts] for labels in (y, y.roll(1)))
    return all(map(alike, once, again))


def _call_proved(function: Callable, methods, x, y) -> tuple:
    said = [function(method, x, y) for method in methods]
    odd = [s for s in said if not isinstance(s, bool)]
    return (odd[0] if odd else torch.tensor(said)), NOTHING


class _Flag(Tensor):
    """A tensor that counts how often somebody waits for its value."""

    asked = 0

    @classmethod
    def __torch_function__(cls, function, types, arguments=(), options=None):
        if function in LOOKS:
            _Flag.asked += 1
        if _Flag.asked > PATIENCE:
            raise RuntimeError(f"it has asked {PATIENCE} times and goes on")
        return super().__torch_function__(function, types, arguments, options)


def _loops(order):
    rate, goal = size(order) / 20, size(order, 10, 30)
    return numbers(order, 3).abs(), lambda w: w + rate, lambda w: w.sum() > goal, 8


def _lazy(weight, step, done, every, late: int = 0) -> Tensor:
    while True:
        for _ in range(every):
            weight = torch.where(done(weight), weight, step(weight))
        if done(weight):
            for _ in range(late):
                weight = step(weight)
            return weight


def _overshot(weight, step, done, every) -> Tensor:
    while not done(weight):
        for _ in range(every):
            weight = step(weight)
    return weight


def _eager(weight, step, done, every) -> Tensor:
    while not done(weight):
        weight = step(weight)
    return weight


def _once(weight, step, done, every) -> Tensor:
    for _ in range(every):
        weight = torch.where(done(weight), weight, step(weight))
    return weight


def _call_lazy(function: Callable, weight, step, done, every) -> tuple:
    end, steps, _Flag.asked = weight, 0, 0
    while not done(end):
        end, steps = step(end), steps + 1
    answer = function(weight, step, lambda w: done(w).as_subclass(_Flag), every)
    if not isinstance(answer, Tensor):
        return answer, NOTHING
    too_often = _Flag.asked > steps // every + 2
    return answer.as_subclass(Tensor), torch.tensor([float(too_often)])


PROGRAMS = {
    "label_blind": Exercise(
        _methods,
        _proved,
        {
            "a tolerance were allowed": lambda *a: _proved(*a, alike=torch.allclose),
            "only the first tensor were compared": lambda *a: _proved(*a, parts=slice(1)),
            "the labels were the same both times": lambda *a: True,
            "yes and no were exchanged": lambda *a: not _proved(*a),
            "the images changed places together with the labels": lambda *a: False,
        },
        call=_call_proved,
        returns="True or False",
    ),
    "lazy": Exercise(
        _loops,
        _lazy,
        {
            "it asked after every step": _eager,
            "it ended with the weights of a later step": _overshot,
            "it went one step too far": lambda *a: _lazy(*a, late=1),
            "it ended after the first round": _once,
        },
        call=_call_lazy,
        beside="how often it asks",
    ),
}
