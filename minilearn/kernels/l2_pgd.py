"""One step of projected gradient descent in the Euclidean norm: one pass instead of twenty-five.

    d = x - x0 - step g / |g|,   then into the box and into the ball, in the order asked for:
    clamp_project    d <- clamp(x0 + d) - x0;   x <- clamp(x0 + d min(1, eps / |d|))
    project_clamp                               x <- clamp(x0 + d min(1, eps / |d|))

Both end inside box and ball. |g| is taken of g / max |g|, since the squares of small numbers
vanish: with gradients of 1e-25 a plain norm is 0.

Bytes: 16 a number while a sample fits on the chip (x, g, x0 read, x written); above, 40 with
clamp_project and 28 with project_clamp. In torch, 25 operations that each read and write, about
118.
"""

from __future__ import annotations

import torch
from torch import Tensor

from minilearn.checks import check_box, check_choice, check_number
from minilearn.kernels.dispatch import check_alike, jit, op, register, tl

ORDERS = ("clamp_project", "project_clamp")
TINY = 1e-30  # below this a gradient has no direction
ON_CHIP = 8192  # numbers of a sample that registers hold


def reference(x, gradient, x0, step, eps, low, high, clamp_first):
    """The same in the order of the formula."""
    d = x - x0 - step * _unit(gradient)
    if clamp_first:
        d = (x0 + d).clamp(low, high) - x0
    d = d * (eps / _norm(d)).clamp(max=1)
    return (x0 + d).clamp(low, high)


def _unit(g: Tensor) -> Tensor:
    peak = g.flatten(1).abs().amax(1).clamp(min=TINY).view(-1, *[1] * (g.ndim - 1))
    return (g / peak) / _norm(g / peak).clamp(min=TINY)


def _norm(d: Tensor) -> Tensor:
    return d.flatten(1).norm(dim=1).view(-1, *[1] * (d.ndim - 1))


@jit
def _clamped(y, low, high):
    """A comparison with NaN is false, so that NaN stays: tl.clamp would drop it."""
    return tl.where(y < low, low, tl.where(y > high, high, y))


@jit
def _ahead(x, g, x0, at, inside, k, peak, ACC: tl.constexpr):
    """x - k g / peak, and x0."""
    g_ = tl.load(g + at, mask=inside, other=0.0).to(ACC) / peak
    y = tl.load(x + at, mask=inside, other=0.0).to(ACC) - k * g_
    return y, tl.load(x0 + at, mask=inside, other=0.0).to(ACC)


@jit
def _on_chip(
    x, g, x0, out, step, eps, low, high, size,
    CLAMP_FIRST: tl.constexpr, ACC: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * size  # one sample, all of it in registers
    i = tl.arange(0, BLOCK)
    inside = i < size
    x0_ = tl.load(x0 + row + i, mask=inside, other=0.0).to(ACC)
    d = tl.load(x + row + i, mask=inside, other=0.0).to(ACC) - x0_
    g_ = tl.load(g + row + i, mask=inside, other=0.0).to(ACC)
    peak = tl.max(tl.abs(g_), 0)  # passes over NaN, which the sum below does not
    g_ = g_ / tl.where(peak > 1e-30, peak, 1e-30)
    length = tl.sqrt(tl.sum(g_ * g_, 0))
    d -= tl.cast(step, ACC) * g_ / tl.where(length < 1e-30, 1e-30, length)
    lo, hi = (tl.cast(low, ACC), tl.cast(high, ACC))
    y = x0_ + d
    if CLAMP_FIRST:
        y = _clamped(y, lo, hi)
        d = y - x0_
    length = tl.sqrt(tl.sum(tl.where(inside, d * d, 0.0), 0))
    radius = tl.cast(eps, ACC)
    y = x0_ + d * tl.where(length > radius, radius / length, 1.0)
    y = _clamped(y, lo, hi)
    tl.store(out + row + i, tl.where(length == length, y, length), mask=inside)


@jit
def _streamed(
    x, g, x0, out, step, eps, low, high, size,
    CLAMP_FIRST: tl.constexpr, ACC: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * size  # one sample, read block by block
    lo, hi, radius = (tl.cast(low, ACC), tl.cast(high, ACC), tl.cast(eps, ACC))
    # First pass: |g|, |d| and <d, g>. When a new peak comes, sums of the old scale are rescaled.
    peak = tl.full((), 1e-30, ACC)
    gg, dg, dd = (tl.zeros((), ACC), tl.zeros((), ACC), tl.zeros((), ACC))
    for start in range(0, size, BLOCK):
        i = start + tl.arange(0, BLOCK)
        inside = i < size
        g_ = tl.load(g + row + i, mask=inside, other=0.0).to(ACC)
        d = tl.load(x + row + i, mask=inside, other=0.0).to(ACC)
        d -= tl.load(x0 + row + i, mask=inside, other=0.0).to(ACC)
        top = tl.max(tl.abs(g_), 0)
        new = tl.where(top > peak, top, peak)
        gg = gg * (peak / new) * (peak / new) + tl.sum((g_ / new) * (g_ / new), 0)
        dg = dg * (peak / new) + tl.sum(d * (g_ / new), 0)
        dd += tl.sum(d * d, 0)
        peak = new
    k = tl.cast(step, ACC) / tl.where(gg < 1e-30, 1e-30, tl.sqrt(gg))  # of g / peak
    if CLAMP_FIRST:  # what the box cuts off is known only after a look at every number
        dd = tl.zeros((), ACC)
        for start in range(0, size, BLOCK):
            i = start + tl.arange(0, BLOCK)
            y, x0_ = _ahead(x, g, x0, row + i, i < size, k, peak, ACC)
            d = tl.where(i < size, _clamped(y, lo, hi) - x0_, 0.0)
            dd += tl.sum(d * d, 0)
    else:  # |d - k g|^2 from the three sums
        dd = dd - 2 * k * dg + k * k * gg
    length = tl.sqrt(tl.where(dd < 0, 0.0, dd))
    shrink = tl.where(length > radius, radius / length, 1.0)
    for start in range(0, size, BLOCK):
        i = start + tl.arange(0, BLOCK)
        y, x0_ = _ahead(x, g, x0, row + i, i < size, k, peak, ACC)
        if CLAMP_FIRST:
            y = _clamped(y, lo, hi)
        y = _clamped(x0_ + (y - x0_) * shrink, lo, hi)
        tl.store(out + row + i, tl.where(length == length, y, length), mask=i < size)


def _launch(x, gradient, x0, step: float, eps: float, low: float, high: float, clamp_first: bool):
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    rows, size = len(x), x[:1].numel()
    if not x.numel():
        return out
    acc = tl.float64 if x.dtype == torch.float64 else tl.float32
    if size <= ON_CHIP:
        form, block = _on_chip, 1 << (size - 1).bit_length()  # the next power of two
    else:
        form, block = _streamed, 4096
    given = [t.contiguous() for t in (x, gradient, x0)]
    options = {"CLAMP_FIRST": clamp_first, "ACC": acc, "BLOCK": block}
    options["num_warps"] = 8 if block > 1024 else 4
    form[(rows,)](*given, out, step, eps, low, high, size, **options)
    return out


fused = op(
    "l2_pgd(Tensor x, Tensor gradient, Tensor x0, float step, float eps, float low, float high, "
    "bool clamp_first) -> Tensor",
    _launch,
    lambda x, *rest: torch.empty_like(x, memory_format=torch.contiguous_format),
)


def example(device):
    """Four samples of 75 numbers: some are clamped, some projected."""
    x0 = torch.linspace(0, 1, 300, device=device).view(4, 3, 5, 5)
    gradient = torch.linspace(-3, 1, 300, device=device).sin().view(4, 3, 5, 5)
    return x0.flip(1), gradient, x0, 0.5, 1.0, 0.0, 1.0, True


KERNEL = register("l2_pgd", reference, fused, example)


def l2_pgd_step(
    x: Tensor,
    gradient: Tensor,
    x0: Tensor,
    step: float,
    eps: float,
    *,
    low: float = 0.0,
    high: float = 1.0,
    order: str = ORDERS[0],
    impl: str | None = None,
) -> Tensor:
    """One step of every sample against its gradient, then back into box and ball.

    A NaN in a sample's gradient makes that sample NaN, and no other. Where there is no gradient
    the sample stays where it is, and is projected.

    Paper: Madry et al. 2018; Cha et al. 2024.          Chapter: 10
    Shapes: x, gradient, x0 (B, ...) of one type; returns the new x, contiguous
    Differs: the order "clamp_project" is that of the released attack, AdverTorch's, and of ART;
        "project_clamp" that of torchattacks and Foolbox; both clamp last here, which changes
        nothing but the last bit. A step always has its length: AdverTorch's is shorter where
        |g| < 1e-6, see `parts.attack.PGD`
    Raises: ValueError if shapes or types differ, eps <= 0, low >= high, or there is no such order
    Example:
        >>> l2_pgd_step(torch.zeros(1, 2), torch.tensor([[-3.0, 4.0]]), torch.zeros(1, 2), 0.5, 2.0)
        tensor([[0.3000, 0.0000]])
    """
    check_alike(x=x, gradient=gradient, x0=x0)
    check_choice("order", order, ORDERS)
    if x.ndim < 2:
        raise ValueError(f"needs samples (B, ...), got shape {tuple(x.shape)}")
    step = check_number("step", step)
    eps = check_number("eps", eps, 0)
    low, high = check_box("range (low, high)", (low, high))
    return KERNEL(x, gradient, x0, step, eps, low, high, order == ORDERS[0], impl=impl)
