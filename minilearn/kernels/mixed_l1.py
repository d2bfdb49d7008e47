"""Mean absolute error with a target chosen row by row: the loss that Blindspot descends.

    L = 1/B sum_b |o_b - t_b|,   t_b = proxy_b where b is forgotten, else label_b

With c = |F| / B, the forgotten share, this is c mean_F |o - proxy| + (1 - c) mean_R |o - label|,
the published mixture, without a division by a count that may be 0 and without a mask that the host
waits for. Where no proxy is given it is drawn: mean + sd e, e a standard normal number that is a
function of (seed, id) alone, computed where it is needed and stored nowhere.

Bytes: 17 an example (output, label, proxy, flag read; slope written); in torch about 60.
"""

from __future__ import annotations

import torch
from torch import Tensor

from minilearn.draws import normal
from minilearn.kernels.dispatch import check_alike, jit, op, register, sloped, tl

BLOCK = 1024


def reference(out, label, forget, proxy, ids, mean, sd, seed):
    """The loss; without a `proxy` a draw for every id takes its place."""
    if proxy is None:
        proxy = mean + sd * normal(seed, ids).to(out)
    return (out - torch.where(forget, proxy, label)).abs().mean()


@jit
def _rows(
    out, label, forget, proxy, ids, sums, slope, mean, sd, seed, n,
    DRAWN: tl.constexpr, ACC: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    o = tl.load(out + i, mask=inside, other=0.0).to(ACC)  # beyond the end 0 - 0
    y = tl.load(label + i, mask=inside, other=0.0).to(ACC)
    if DRAWN:  # registers only
        e = tl.randn(seed, tl.load(ids + i, mask=inside, other=0))
        t = tl.cast(mean, ACC) + tl.cast(sd, ACC) * e.to(ACC)
    else:
        t = tl.load(proxy + i, mask=inside, other=0.0).to(ACC)
    gone = tl.load(forget + i, mask=inside, other=0) != 0
    d = o - tl.where(gone, t, y)  # selected, not multiplied: 0 * NaN is NaN
    sign = tl.where(d > 0, 1.0, tl.where(d < 0, -1.0, d))  # 0 stays 0, NaN stays NaN
    tl.store(slope + i, sign / n, mask=inside)
    tl.store(sums + tl.program_id(0), tl.sum(tl.abs(d), 0))


def _launch(out, label, forget, proxy, ids, mean: float, sd: float, seed: int):
    n, acc = out.numel(), torch.float64 if out.dtype == torch.float64 else torch.float32
    programs = -(-n // BLOCK)
    sums, slope = out.new_empty(programs, dtype=acc), torch.empty_like(out)
    given = [t.contiguous() for t in (out, label, forget, proxy, ids)]
    types = {"ACC": tl.float64 if acc == torch.float64 else tl.float32, "BLOCK": BLOCK}
    _rows[(programs,)](*given, sums, slope, mean, sd, seed, n, DRAWN=not len(proxy), **types)
    return (sums.sum() / n).to(out.dtype), slope


def _fake(out, label, forget, proxy, ids, mean, sd, seed):
    return out.new_empty(()), torch.empty_like(out)


mixed_l1_op = op(
    "mixed_l1(Tensor out, Tensor label, Tensor forget, Tensor proxy, Tensor ids, float mean, "
    "float sd, int seed) -> (Tensor, Tensor)",
    _launch,
    _fake,
)


_loss = sloped(mixed_l1_op)


def fused(out, label, forget, proxy, ids, mean, sd, seed):
    """The same by the kernel, which keeps the slope for the backward pass."""
    proxy = out.new_empty(0) if proxy is None else proxy
    return _loss(out, label, forget, proxy, ids, mean, sd, seed)


def example(device):
    """300 rows, a third of them forgotten, with draws."""
    out, label = torch.linspace(-2, 3, 600, device=device).view(2, 300)
    ids = torch.arange(300, device=device)
    return out, label, ids % 3 == 0, None, ids, 0.5, 2.0, 7


KERNEL = register("mixed_l1", reference, fused, example)


def mixed_l1(
    out: Tensor,
    label: Tensor,
    forget: Tensor,
    proxy: Tensor | None = None,
    *,
    gaussian: tuple[float, float, int] | None = None,
    ids: Tensor | None = None,
    impl: str | None = None,
) -> Tensor:
    """The mean of |out - target|; a forgotten row's target is its proxy, or a Gaussian draw.

    `gaussian` is (mean, standard deviation, seed), and `ids` say which example a row is, by default
    its position: a draw depends on nothing else. Only `out` gets a gradient, 0 where it meets its
    target.

    Paper: Tarun et al. 2023, Blindspot and Gaussian-Amnesiac.          Chapter: 9
    Shapes: out, label, proxy (B,) of one floating-point type; forget (B,) bool; ids (B,) int64;
        returns a scalar
    Differs: none known from the published mixture of two means, for absolute errors and scalars
    Raises: ValueError if B is 0, shapes, types or devices differ, or not exactly one of proxy and
        gaussian is given
    Example:
        >>> out, label = torch.tensor([1.0, 5.0]), torch.tensor([2.0, 2.0])
        >>> mixed_l1(out, label, torch.tensor([False, True]), torch.tensor([0.0, 4.0]))
        tensor(1.)
    """
    if (proxy is None) == (gaussian is None):
        raise ValueError("give the forgotten rows a proxy or a Gaussian, one of the two")
    check_alike(out=out, label=label, **({} if proxy is None else {"proxy": proxy}))
    ids = torch.arange(len(out), device=out.device) if ids is None else ids
    for name, t, kind in (("forget", forget, torch.bool), ("ids", ids, torch.int64)):
        if not isinstance(t, Tensor) or t.dtype != kind or t.shape != out.shape[:1]:
            raise ValueError(f"{name} must be a tensor (B,) of {kind}, one entry for each row")
    if out.ndim != 1 or not len(out):
        raise ValueError(f"needs one number a row, and a row at least, got {tuple(out.shape)}")
    mean, sd, seed = gaussian or (0.0, 0.0, 0)
    label, proxy = label.detach(), None if proxy is None else proxy.detach()
    return KERNEL(out, label, forget, proxy, ids, float(mean), float(sd), int(seed), impl=impl)
