"""Mean absolute error with a further term for every row: the loss that Blindspot descends.

    L = 1/B sum_b (|o_b - t_b| + a_b),   dL/do_b = sign(o_b - t_b) / B,   dL/da_b = 1/B

The target t_b is a label where row b is retained. Where it is forgotten, it is the blindspot
model's answer, and a_b is the term of attention; Gaussian-Amnesiac draws t_b and has no term. With
the forgotten share c = |F| / B this one mean is c mean_F + (1 - c) mean_R, the published mixture,
without a division by a count that may be 0 and without a mask that the host waits for.

Launches: one for up to BLOCK rows, two for more; one multiplication on the way back.
Bytes: 12 a row (output and target read, slope written), 20 with a term; in torch 50 to 65.
"""

from __future__ import annotations

import torch
from torch import Tensor

from minilearn.kernels.dispatch import check_alike, jit, op, register, tl
from minilearn.kernels.slopes import refuse_second

BLOCK = 1024


def reference(out, target, extra=None):
    """The same in the order of the formula."""
    each = (out - target).abs()
    if extra is not None:
        each = each + extra
    return each.mean()


@jit
def _rows(
    out, target, extra, slopes, sums, n, divisor,
    EXTRA: tl.constexpr, ACC: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    o = tl.load(out + i, mask=inside, other=0.0).to(ACC)  # beyond the end 0 - 0
    d = o - tl.load(target + i, mask=inside, other=0.0).to(ACC)
    sign = tl.where(d > 0, 1.0, tl.where(d < 0, -1.0, d))  # 0 stays 0, NaN stays NaN
    tl.store(slopes + i, sign / n, mask=inside)
    each = tl.abs(d)
    if EXTRA:
        each += tl.load(extra + i, mask=inside, other=0.0).to(ACC)
        tl.store(slopes + n + i, tl.full((BLOCK,), 1.0, ACC) / n, mask=inside)
    tl.store(sums + tl.program_id(0), tl.sum(each, 0) / divisor)


@jit
def _mean(sums, loss, count, n, ACC: tl.constexpr, BLOCK: tl.constexpr):
    total = tl.zeros((BLOCK,), ACC)  # one program, in one order: two runs are equal bit for bit
    for start in range(0, count, BLOCK):
        i = start + tl.arange(0, BLOCK)
        total += tl.load(sums + i, mask=i < count, other=0.0)
    tl.store(loss, tl.sum(total, 0) / n)


def _launch(out, target, extra):
    loss, slopes = _empty(out, target, extra)
    n, double = len(out), out.dtype == torch.float64
    programs = -(-n // BLOCK)
    types = {"ACC": tl.float64 if double else tl.float32, "BLOCK": BLOCK}
    given = [out.contiguous(), target.contiguous(), out if extra is None else extra.contiguous()]
    options = {"EXTRA": extra is not None, **types}
    if programs == 1:
        _rows[(1,)](*given, slopes, loss, n, n, **options)
    else:
        sums = out.new_empty(programs, dtype=torch.float64 if double else torch.float32)
        _rows[(programs,)](*given, slopes, sums, n, 1, **options)
        _mean[(1,)](sums, loss, programs, n, **types)
    return loss, slopes


def _empty(out, target, extra):
    return out.new_empty(()), out.new_empty(1 if extra is None else 2, len(out))


mixed_l1_op = op(
    "mixed_l1(Tensor out, Tensor target, Tensor? extra) -> (Tensor, Tensor)",
    _launch,
    _empty,
)


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx, out, target, extra):
        loss, slopes = mixed_l1_op(out, target, extra)
        ctx.save_for_backward(slopes)
        return loss

    @staticmethod
    def backward(ctx, g):
        refuse_second()
        (slopes,) = ctx.saved_tensors
        found = g * slopes  # both slopes at once
        return found[0], None, found[1] if len(found) > 1 else None


def fused(out, target, extra=None):
    """The same by the kernel, which keeps the slopes for the backward pass."""
    return _Mean.apply(out, target, extra)


def example(device):
    """3000 rows, a third of them with a term."""
    out, target = torch.linspace(-2, 3, 6000, device=device).view(2, 3000)
    return out, target.sin(), out.cos() * (torch.arange(3000, device=device) % 3 == 0)


KERNEL = register("mixed_l1", reference, fused, example)


def mixed_l1(
    out: Tensor, target: Tensor, extra: Tensor | None = None, *, impl: str | None = None
) -> Tensor:
    """The mean over rows of |out - target|, and of what `extra` adds to a row.

    Who calls it chooses the targets, row by row: labels, another model's answers, or draws. `out`
    has a gradient, 0 where it meets its target, and so has `extra`; the target has none.

    Paper: Tarun et al. 2023, Blindspot and Gaussian-Amnesiac.          Chapter: 10
    Shapes: out, target, extra (B,) of one floating-point type, B from 1 on; returns a scalar
    Differs: none known from the published mixture of two means, for absolute errors and scalars
    Raises: ValueError if B is 0, or shapes, types or devices differ
    Example:
        >>> mixed_l1(torch.tensor([1.0, 5.0]), torch.tensor([2.0, 4.0]), torch.tensor([0.0, 6.0]))
        tensor(4.)
    """
    check_alike(out=out, target=target, **({} if extra is None else {"extra": extra}))
    if out.ndim != 1 or not len(out):
        raise ValueError(f"needs one number per row, and a row at least, got {tuple(out.shape)}")
    return KERNEL(out, target.detach(), extra, impl=impl)
