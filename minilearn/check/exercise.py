"""What an exercise is, and what all of them draw their arguments with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

NOTHING = torch.zeros(0)


def plain(function: Callable, *given) -> tuple:
    """Call a function; nothing but its answer is looked at."""
    answer = function(*given)
    number = isinstance(answer, float)
    return (torch.tensor(answer, dtype=torch.float64) if number else answer), NOTHING


class Fault(Exception):
    """What is wrong with an attempt, in a sentence: raised where an attempt is tried."""


@dataclass(frozen=True)
class Exercise:
    """What is asked for: random arguments, the right answer, and wrong ones with their names.

    Of a loss the gradient by the arguments number `gradients` is compared too. `call` is how a
    function is tried; it returns the answer and what was seen `beside` it.
    """

    make: Callable[[torch.Generator], tuple]
    oracle: Callable
    mistakes: dict[str, Callable]
    gradients: tuple[int, ...] = ()
    call: Callable = plain
    returns: str = "a tensor"
    beside: str = "its gradient: the value is right"


def numbers(order: torch.Generator, *shape: int) -> Tensor:
    """Standard normal numbers in double precision."""
    return torch.randn(shape, generator=order, dtype=torch.float64)


def size(order: torch.Generator, low: int = 3, high: int = 9) -> int:
    """A random size, `low` included and `high` not."""
    return int(torch.randint(low, high, (), generator=order))
