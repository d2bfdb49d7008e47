"""The sum over items of absolute matrix products: importance without a gradient per item.

    S = sum_n |G_n A_n|,   the absolute value of every number

With G_n the gradient of a layer's output for item n and A_n what the layer was given, at P
positions each, G_n A_n is the item's gradient of the weights. No compiler fuses an absolute value
between a batched product and its sum: written in torch, the N products are stored and read again.
Here a program owns a tile of S, multiplies item after item on the chip, and adds absolute values.

Bytes: G and A read once a tile, S written once; in torch N S more, written and read twice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from minilearn.kernels.dispatch import HALVES, check_alike, jit, op, register, tl

AT_ONCE = 2**22  # numbers that the products of the reference may hold at a time
CACHED = 2**17  # the same on a CPU: they are summed before they leave its cache
TILE = 64
SPLIT = 8  # at most so many programs share the items of a tile


def reference(g, a):
    """Batched products in chunks of rows and items; half precision is summed in single."""
    wide = torch.promote_types(g.dtype, torch.float32)
    total = g.new_zeros(g.shape[1], a.shape[2], dtype=wide)
    at_once = min(AT_ONCE, CACHED) if g.device.type == "cpu" else AT_ONCE
    rows = max(1, at_once // max(1, a.shape[2]))
    for some_rows, sums in zip(g.split(rows, dim=1), total.split(rows), strict=True):
        size = max(1, at_once // max(1, sums.numel()))
        for some_g, some_a in zip(some_rows.split(size), a.split(size), strict=True):
            sums += absolute_sum(torch.bmm(some_g.to(wide), some_a.to(wide)))
    return total.to(g.dtype)


def absolute_sum(each: Tensor) -> Tensor:
    """The sum over items of absolute values, which are taken in place."""
    each = each.abs_()
    return each[0] if len(each) == 1 else each.sum(0)  # torch is slow to sum a single item


@jit
def _tile(
    g, a, out, items, rows, positions, columns, each,
    PRECISION: tl.constexpr, TILE: tl.constexpr, INNER: tl.constexpr,
):  # fmt: skip
    o = tl.program_id(0) * TILE + tl.arange(0, TILE)  # rows of S
    k = tl.program_id(1) * TILE + tl.arange(0, TILE)  # columns of S
    first = tl.program_id(2) * each  # and its share of the items
    total = tl.zeros((TILE, TILE), tl.float32)
    for n in range(first, tl.minimum(first + each, items)):
        g_n = g + tl.cast(n, tl.int64) * rows * positions
        a_n = a + tl.cast(n, tl.int64) * positions * columns
        product = tl.zeros((TILE, TILE), tl.float32)
        for start in range(0, positions, INNER):
            p = start + tl.arange(0, INNER)
            here = (o[:, None] < rows) & (p[None, :] < positions)
            left = tl.load(g_n + o[:, None] * positions + p[None, :], mask=here, other=0.0)
            here = (p[:, None] < positions) & (k[None, :] < columns)
            right = tl.load(a_n + p[:, None] * columns + k[None, :], mask=here, other=0.0)
            left = left.to(tl.float32)
            right = right.to(tl.float32)
            product = tl.dot(left, right, product, input_precision=PRECISION)
        total += tl.abs(product)  # before the next item: this is the whole point
    share = out + tl.program_id(2).to(tl.int64) * rows * columns
    here = (o[:, None] < rows) & (k[None, :] < columns)
    tl.store(share + o[:, None] * columns + k[None, :], total, mask=here)


def _tf32() -> bool:
    """Whether torch's own products are in TF32; from 2.9 on it says so by another name."""
    matmul = torch.backends.cuda.matmul
    if hasattr(matmul, "fp32_precision"):
        return matmul.fp32_precision == "tf32"
    return matmul.allow_tf32


def _launch(g, a):
    (items, rows, positions), columns = g.shape, a.shape[2]
    if not (items and rows and positions and columns):
        return g.new_zeros(rows, columns)
    tiles = (-(-rows // TILE), -(-columns // TILE))
    each = -(-items // min(SPLIT, items))
    shares = -(-items // each)
    out = torch.empty(shares, rows, columns, device=g.device)
    precision = "tf32" if _tf32() else "ieee"
    sizes = (items, rows, positions, columns, each)
    options = {"PRECISION": precision, "TILE": TILE, "INNER": 16 if positions <= 16 else 32}
    _tile[(*tiles, shares)](g.contiguous(), a.contiguous(), out, *sizes, **options)
    return out.sum(0).to(g.dtype)


fused = op(
    "abs_bmm(Tensor g, Tensor a) -> Tensor",
    _launch,
    lambda g, a: g.new_empty(g.shape[1], a.shape[2]),
)


def example(device):
    """Five items, 9 by 17 weights, 20 positions."""
    g = torch.linspace(-1, 2, 5 * 9 * 20, device=device).sin().view(5, 9, 20)
    return g, torch.linspace(3, -1, 5 * 20 * 17, device=device).cos().view(5, 20, 17)


KERNEL = register(
    "abs_bmm",
    reference,
    fused,
    example,
    dtypes=(torch.float32, *HALVES),
    capability=(8, 0),  # before, Triton's products do not use the tensor cores: cuBLAS wins
    tolerance=1e-3,  # where products are allowed to be TF32
)


def abs_bmm(g: Tensor, a: Tensor, *, impl: str | None = None) -> Tensor:
    """sum_n |g_n a_n|, the sum over items of absolute matrix products; it has no gradient.

    With one position |g a| = |g| |a|, and all of it is one matrix product in any case. Products are
    summed in single precision, in TF32 where `torch.backends.cuda.matmul.allow_tf32` says so.

    Paper: what Aljundi et al. 2018 define, for one layer.          Chapter: 10
    Shapes: g (N, O, P), a (N, P, K) of one floating-point type; returns (O, K); 0 for N = 0
    Raises: ValueError if shapes, types or devices do not fit
    Example:
        >>> abs_bmm(torch.tensor([[[1.0]], [[-2.0]]]), torch.tensor([[[3.0]], [[1.0]]]))
        tensor([[5.]])
    """
    if not all(isinstance(t, Tensor) and t.ndim == 3 for t in (g, a)):
        raise ValueError("needs tensors (N, O, P) and (N, P, K)")
    if (g.shape[0], g.shape[2]) != a.shape[:2]:
        raise ValueError(f"(N, O, P) and (N, P, K) do not fit: {tuple(g.shape)}, {tuple(a.shape)}")
    g, a = g.detach(), a.detach()
    check_alike(g=g[:0, :0, :0], a=a[:0, :0, :0])
    if g.shape[2] == 1:
        return g[:, :, 0].abs().T @ a[:, 0].abs()
    return KERNEL(g, a, impl=impl)
