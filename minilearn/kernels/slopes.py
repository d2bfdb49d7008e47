"""Gradients of kernels that compute their slopes together with their value."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def sloped(operation: Callable, mirrored: bool = False) -> Callable:
    """An operation that returns a value and its slopes, as something that has a gradient.

    The slopes are those by the first arguments, computed while the value is: what is left for the
    backward pass is a product. With `mirrored` the second argument has the first one's slope, with
    the other sign. The gradient cannot be differentiated again, and says so.
    """

    class Sloped(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a, b, *rest):
            # torch.compile of 2.11 leaves `ctx` out where there are as many parameters, here
            # four, as arguments; no operation has so many
            value, *slopes = operation(a, b, *rest)
            ctx.save_for_backward(*slopes)
            ctx.given = 2 + len(rest)
            return value

        @staticmethod
        def backward(ctx, g):
            refuse_second()
            found = [_times(slope, g) for slope in ctx.saved_tensors]
            if mirrored:
                found.append(-found[0])
            return *found, *[None] * (ctx.given - len(found))

    return Sloped.apply


def _times(slope: Tensor, g: Tensor) -> Tensor:
    """A slope times what comes from above: one number for all, or one a row."""
    if g.ndim == 0:
        return slope * g
    return slope * g.view(-1, *[1] * (slope.ndim - 1))


def refuse_second():
    """Refuse, in a backward pass, to be part of what is differentiated again."""
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        raise RuntimeError(
            "a kernel's gradient is written down and cannot be differentiated again: take "
            'impl="reference", which can'
        )
