"""The losses of label-agnostic forgetting, each with its slope computed in the forward pass.

    cosine       d = 1 - <a, b> / (|a| |b|), row by row
    alignment    L = sum_r d - |B_r| log sum_f exp(d / tau), over the distances of a batch
    rebuilding   phi(m) = exp(1 - 1 / (1 + m)) or m, of the distance m = |h - e|^2, row by row

Written as a sum over pairs, the alignment loss looks as if it needed a matrix of pairs; there is
none, since no retained row meets a forgotten one. phi is published as exp(m / (m + 1)), which is
NaN at infinity. At the published batch of 32 nothing here is large: what counts is that a pair of
steps takes 5 launches forward and a few products back, and not 130 operations.

Bytes: each row is read once and its slope written, 12 to 16 a number; in torch, 5 to 10 times that.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from minilearn.checks import check_choice, check_number
from minilearn.kernels.dispatch import check_alike, jit, op, register, tl
from minilearn.kernels.slopes import sloped

EPS = 1e-8  # as in `torch.nn.functional.cosine_similarity`
BLOCK = 1024  # numbers of a row at a time
FORMS = ("saturated", "squared")


def cosine_reference(a, b):
    """(B, D) twice to (B,)."""
    return 1 - F.cosine_similarity(a, b, eps=EPS)


def alignment_reference(d_retain, d_forget, temperature):
    """(B_r,) and (B_f,) to a scalar."""
    return d_retain.sum() - len(d_retain) * (d_forget / temperature).logsumexp(0)


def phi(m, saturated):
    """(B,) to (B,): exp(m / (m + 1)), right at infinity too; or m."""
    return (1 - 1 / (1 + m)).exp() if saturated else m


def rebuilding_reference(rebuilt, e, saturated):
    """(B, D) twice to (B,)."""
    return phi((rebuilt - e).square().sum(1), saturated)


@jit
def _cosine(a, b, out, slope, width, eps, ACC: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * width
    aa = tl.zeros((), ACC)
    bb = tl.zeros((), ACC)
    ab = tl.zeros((), ACC)
    for start in range(0, width, BLOCK):
        i = start + tl.arange(0, BLOCK)
        u = tl.load(a + row + i, mask=i < width, other=0.0).to(ACC)
        v = tl.load(b + row + i, mask=i < width, other=0.0).to(ACC)
        aa += tl.sum(u * u, 0)
        bb += tl.sum(v * v, 0)
        ab += tl.sum(u * v, 0)
    small = tl.cast(eps, ACC)
    norm = tl.where(tl.sqrt(aa) < small, small, tl.sqrt(aa))
    other = tl.where(tl.sqrt(bb) < small, small, tl.sqrt(bb))
    cos = ab / (norm * other)
    tl.store(out + tl.program_id(0), 1 - cos)
    turn = tl.where(tl.sqrt(aa) < small, 0.0, cos / norm)  # a norm held at eps has no slope
    for start in range(0, width, BLOCK):
        i = start + tl.arange(0, BLOCK)
        u = tl.load(a + row + i, mask=i < width, other=0.0).to(ACC)
        v = tl.load(b + row + i, mask=i < width, other=0.0).to(ACC)
        tl.store(slope + row + i, (turn * u - v / other) / norm, mask=i < width)


@jit
def _alignment(
    d_retain, d_forget, out, slope_r, slope_f, n_r, n_f, temperature,
    ACC: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    tau = tl.cast(temperature, ACC)  # one program for both sets
    total = tl.zeros((), ACC)
    peak = tl.full((), float("-inf"), ACC)
    for start in range(0, n_r, BLOCK):
        i = start + tl.arange(0, BLOCK)
        total += tl.sum(tl.load(d_retain + i, mask=i < n_r, other=0.0).to(ACC), 0)
        tl.store(slope_r + i, tl.full((BLOCK,), 1.0, ACC), mask=i < n_r)
    for start in range(0, n_f, BLOCK):
        i = start + tl.arange(0, BLOCK)
        d = tl.load(d_forget + i, mask=i < n_f, other=float("-inf")).to(ACC)
        peak = tl.maximum(peak, tl.max(d / tau, 0))
    mass = tl.zeros((), ACC)
    for start in range(0, n_f, BLOCK):
        i = start + tl.arange(0, BLOCK)
        d = tl.load(d_forget + i, mask=i < n_f, other=float("-inf")).to(ACC)
        mass += tl.sum(tl.exp(d / tau - peak), 0)
    for start in range(0, n_f, BLOCK):
        i = start + tl.arange(0, BLOCK)
        d = tl.load(d_forget + i, mask=i < n_f, other=0.0).to(ACC)
        tl.store(slope_f + i, -n_r * tl.exp(d / tau - peak) / (mass * tau), mask=i < n_f)
    tl.store(out, total - n_r * (peak + tl.log(mass)))


@jit
def _rebuilding(
    h, e, out, slope, width, SATURATED: tl.constexpr, ACC: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64) * width
    m = tl.zeros((), ACC)
    for start in range(0, width, BLOCK):
        i = start + tl.arange(0, BLOCK)
        d = tl.load(h + row + i, mask=i < width, other=0.0).to(ACC)
        d -= tl.load(e + row + i, mask=i < width, other=0.0).to(ACC)
        m += tl.sum(d * d, 0)
    steep = tl.full((), 2.0, ACC)
    if SATURATED:
        phi = tl.exp(1 - 1 / (1 + m))
        steep *= phi / ((1 + m) * (1 + m))
        m = phi
    tl.store(out + tl.program_id(0), m)
    for start in range(0, width, BLOCK):
        i = start + tl.arange(0, BLOCK)
        d = tl.load(h + row + i, mask=i < width, other=0.0).to(ACC)
        d -= tl.load(e + row + i, mask=i < width, other=0.0).to(ACC)
        tl.store(slope + row + i, steep * d, mask=i < width)


def _launch_cosine(a, b):
    out, slope = _rows_of(a, b)
    if len(a):
        given = (a.contiguous(), b.contiguous(), out, slope, a.shape[1], EPS)
        _cosine[(len(a),)](*given, ACC=_acc(a), BLOCK=BLOCK)
    return out, slope


def _launch_alignment(d_retain, d_forget, temperature: float):
    out, *slopes = _scalar_of(d_retain, d_forget, temperature)
    given = (d_retain.contiguous(), d_forget.contiguous(), out, *slopes)
    sizes = (len(d_retain), len(d_forget), temperature)
    _alignment[(1,)](*given, *sizes, ACC=_acc(d_retain), BLOCK=BLOCK)
    return out, *slopes


def _launch_rebuilding(rebuilt, e, saturated: bool):
    out, slope = _rows_of(rebuilt, e)
    if len(e):
        given = (rebuilt.contiguous(), e.contiguous(), out, slope, e.shape[1])
        _rebuilding[(len(e),)](*given, SATURATED=saturated, ACC=_acc(e), BLOCK=BLOCK)
    return out, slope


def _rows_of(a, *rest):
    return a.new_empty(len(a)), torch.empty_like(a, memory_format=torch.contiguous_format)


def _scalar_of(d_retain, d_forget, temperature):
    slopes = (d.new_empty(len(d)) for d in (d_retain, d_forget))
    return d_retain.new_empty(()), *slopes


def _acc(t):
    return tl.float64 if t.dtype == torch.float64 else tl.float32


cosine_op = op("cosine(Tensor a, Tensor b) -> (Tensor, Tensor)", _launch_cosine, _rows_of)
alignment_op = op(
    "alignment(Tensor d_retain, Tensor d_forget, float temperature) -> (Tensor, Tensor, Tensor)",
    _launch_alignment,
    _scalar_of,
)
rebuilding_op = op(
    "rebuilding(Tensor rebuilt, Tensor e, bool saturated) -> (Tensor, Tensor)",
    _launch_rebuilding,
    _rows_of,
)


def _cosine_example(device):
    a = torch.linspace(-2, 3, 5 * 70, device=device).sin().view(5, 70)
    return a, a.flip(0).cos()


def _alignment_example(device):
    d = torch.linspace(0, 2, 40, device=device)
    return d[:25], d[25:], 0.5


def _rebuilding_example(device):
    return *(0.1 * part for part in _cosine_example(device)), True


EXACT = {"dtypes": (torch.float32, torch.float64)}  # the losses are taken in single precision
COSINE = register("cosine", cosine_reference, sloped(cosine_op), _cosine_example, **EXACT)
ALIGNMENT = register(
    "alignment", alignment_reference, sloped(alignment_op), _alignment_example, **EXACT
)
REBUILDING = register(
    "rebuilding",
    rebuilding_reference,
    sloped(rebuilding_op, mirrored=True),
    _rebuilding_example,
    **EXACT,
)


def cosine_distance(a: Tensor, b: Tensor, *, impl: str | None = None) -> Tensor:
    """1 - cos of the angle between two vectors, row by row: (B, D) twice to (B,).

    Chapter: 10
    Differs: a row of zeros has distance 1 from everything; the kernel has no gradient for `b`,
        and where one is wanted the reference runs
    Raises: ValueError if shapes, types or devices differ
    """
    check_alike(a=a, b=b)
    if a.ndim != 2:
        raise ValueError(f"needs (B, D) twice, got {tuple(a.shape)}")
    return COSINE(a, b, impl="reference" if b.requires_grad else impl)


def alignment_loss(
    d_retain: Tensor, d_forget: Tensor, temperature: float = 20.0, *, impl: str | None = None
) -> Tensor:
    """Retained features keep the original's direction, forgotten ones turn away from it.

        L_RA = sum over B_r of d - |B_r| log sum over B_f of exp(d / tau)

    d is the cosine distance of a feature from the original model's. Written as a sum over pairs,
    this is the contrastive loss of every retained input against all forgotten ones; no input of
    one kind meets one of the other, so there is no matrix of pairs.

    Paper: Shen et al. 2024, L_RA.          Chapter: 8
    Shapes: d_retain (B_r,), d_forget (B_f,): distances in [0, 2]; returns a scalar
    Differs: none known from the authors' code (VUnlearning.py:47-55): the temperature divides the
        forgotten distances alone
    Raises: ValueError if an argument is not a tensor (B,), nothing is forgotten, or tau <= 0
    Example:
        >>> round(alignment_loss(torch.zeros(32), torch.zeros(32)).item(), 4)
        -110.9035
    """
    check_flat(d_retain, d_forget)
    if not len(d_forget):
        raise ValueError("needs one forgotten distance at least")
    temperature = check_number("temperature", temperature, 0)
    return ALIGNMENT(d_retain, d_forget, temperature, impl=impl)


def reconstruction_error(
    rebuilt: Tensor, e: Tensor, form: str = "saturated", *, impl: str | None = None
) -> Tensor:
    """phi of the squared distance between a vector and what an autoencoder makes of it, by row.

    Paper: Shen et al. 2024, inside L_UE.          Chapter: 8
    Shapes: rebuilt, e (B, D); returns (B,): "saturated" in [1, e], "squared" from 0 on
    Differs: exp(1 - 1 / (1 + m)) is the published exp(m / (m + 1)), and right at infinity too
    Raises: ValueError if shapes, types or devices differ, or there is no such form
    Example:
        >>> reconstruction_error(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]), "squared")
        tensor([25.])
    """
    check_choice("form", form, FORMS)
    check_alike(rebuilt=rebuilt, e=e)
    if e.ndim != 2:
        raise ValueError(f"needs (B, D) twice, got {tuple(e.shape)}")
    return REBUILDING(rebuilt, e, form == FORMS[0], impl=impl)


def check_flat(*values):
    """Refuse, by ValueError, what is not one number per example."""
    for value in values:
        if not isinstance(value, Tensor) or value.ndim != 1:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"needs one number per example as a tensor (B,), got {shape}")
