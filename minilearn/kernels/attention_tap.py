"""Attention transfer: one loss per example from two activations.

    q = m / |m|,   m_p = mean_c x_cp^2          where the student looks; r likewise, the teacher
    L_b = 1/P sum_p (q_p - r_p)^2               for forgotten rows, 0 for the others
    dL/dx_cp = 2/C x_cp (u_p - q_p <q, u>) / |m|,   u = 2/P (q - r)

What the backward pass needs besides x is one number per position, C times less than x.

Bytes: with f the forgotten share of rows, 4 (3 f + 1) per number of x for float32, forward and
backward: the rows that are not forgotten are not even read. In torch about 16 times the map.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from minilearn.kernels.dispatch import HALVES, check_alike, jit, op, register, tl
from minilearn.kernels.slopes import refuse_second

EPS = 1e-12  # as in `torch.nn.functional.normalize`
POSITIONS, CHANNELS = 256, 16  # of a tile
ROW = 1024  # positions of one map that are compared at a time


def unit_map(x: Tensor) -> Tensor:
    """q: squares averaged over axis 1, flattened, a unit vector per example: (B, P)."""
    x = x.float() if x.dtype in HALVES else x
    return F.normalize(x.square().mean(1).flatten(1), dim=1, eps=EPS)


def reference(student, teacher, forget):
    """The loss of every row, (B,)."""
    each = (unit_map(student) - unit_map(teacher)).square().mean(1)
    return torch.where(forget, each, torch.zeros_like(each))


@jit
def _maps(
    x, t, forget, m_x, m_t, channels, positions, xb, xc, xp, tb, tc, tp,
    ACC: tl.constexpr, C: tl.constexpr, P: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0).to(tl.int64)  # P positions of one row's maps, all channels
    p = tl.program_id(1) * P + tl.arange(0, P)
    if tl.load(forget + b) != 0:
        a_x = tl.zeros((C, P), ACC)
        a_t = tl.zeros((C, P), ACC)
        for start in range(0, channels, C):
            c = start + tl.arange(0, C)
            here = (c[:, None] < channels) & (p[None, :] < positions)
            v = tl.load(x + b * xb + c[:, None] * xc + p[None, :] * xp, mask=here, other=0.0)
            w = tl.load(t + b * tb + c[:, None] * tc + p[None, :] * tp, mask=here, other=0.0)
            a_x += v.to(ACC) * v.to(ACC)
            a_t += w.to(ACC) * w.to(ACC)
        at = b * positions + p
        tl.store(m_x + at, tl.sum(a_x, 0) / channels, mask=p < positions)
        tl.store(m_t + at, tl.sum(a_t, 0) / channels, mask=p < positions)


@jit
def _compare(
    m_x, m_t, forget, loss, slope, positions, eps,
    ACC: tl.constexpr, P: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0).to(tl.int64)  # one row: its two maps, P positions at a time
    total = tl.zeros((), ACC)
    if tl.load(forget + b) != 0:
        xx = tl.zeros((), ACC)
        tt = tl.zeros((), ACC)
        for start in range(0, positions, P):
            p = start + tl.arange(0, P)
            m = tl.load(m_x + b * positions + p, mask=p < positions, other=0.0)
            n = tl.load(m_t + b * positions + p, mask=p < positions, other=0.0)
            xx += tl.sum(m * m, 0)
            tt += tl.sum(n * n, 0)
        small = tl.cast(eps, ACC)
        norm = tl.where(tl.sqrt(xx) < small, small, tl.sqrt(xx))  # NaN is not smaller, and stays
        other = tl.where(tl.sqrt(tt) < small, small, tl.sqrt(tt))
        along = tl.zeros((), ACC)
        for start in range(0, positions, P):
            p = start + tl.arange(0, P)
            q = tl.load(m_x + b * positions + p, mask=p < positions, other=0.0) / norm
            r = tl.load(m_t + b * positions + p, mask=p < positions, other=0.0) / other
            total += tl.sum((q - r) * (q - r), 0) / positions
            along += tl.sum(q * (q - r), 0) * 2 / positions
        along = tl.where(tl.sqrt(xx) < small, 0.0, along)  # a norm held at eps has no slope
        for start in range(0, positions, P):
            p = start + tl.arange(0, P)
            q = tl.load(m_x + b * positions + p, mask=p < positions, other=0.0) / norm
            r = tl.load(m_t + b * positions + p, mask=p < positions, other=0.0) / other
            u = 2 * (q - r) / positions
            tl.store(slope + b * positions + p, (u - q * along) / norm, mask=p < positions)
    tl.store(loss + b, total)


@jit
def _back(
    x, slope, forget, weight, out, channels, positions, xb, xc, xp, ob, oc, op,
    ACC: tl.constexpr, C: tl.constexpr, P: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0).to(tl.int64)  # a tile of channels by positions of one row
    p = tl.program_id(1) * P + tl.arange(0, P)[None, :]
    c = tl.program_id(2) * C + tl.arange(0, C)[:, None]
    here = (c < channels) & (p < positions)
    d = tl.zeros((C, P), ACC)
    if tl.load(forget + b) != 0:
        w = tl.load(weight + b).to(ACC) * 2 / channels
        s = tl.load(slope + b * positions + p, mask=p < positions, other=0.0)
        v = tl.load(x + b * xb + c * xc + p * xp, mask=here, other=0.0).to(ACC)
        d += w * s * v
    tl.store(out + b * ob + c * oc + p * op, d, mask=here)


def _empty(student, teacher, forget):
    x = student.flatten(2)
    loss = x.new_empty(len(x), dtype=torch.promote_types(x.dtype, torch.float32))
    return loss, loss.new_empty(len(x), x.shape[2])


def _forward(student, teacher, forget):
    x, t = student.flatten(2), teacher.flatten(2)  # no copy, channels last neither
    rows, channels, positions = x.shape
    loss, slope = _empty(student, teacher, forget)
    if x.numel():
        acc = tl.float64 if x.dtype == torch.float64 else tl.float32
        m_x, m_t = torch.empty_like(slope), torch.empty_like(slope)
        sizes = (channels, positions, *x.stride(), *t.stride())
        grid = (rows, -(-positions // POSITIONS))
        _maps[grid](x, t, forget, m_x, m_t, *sizes, ACC=acc, C=CHANNELS, P=POSITIONS)
        _compare[(rows,)](m_x, m_t, forget, loss, slope, positions, EPS, ACC=acc, P=ROW)
    return loss, slope


def _backward(student, slope, forget, weight):
    x = student.flatten(2)
    rows, channels, positions = x.shape
    out = torch.empty_like(x)
    if x.numel():
        grid = (rows, -(-positions // POSITIONS), -(-channels // CHANNELS))
        acc = tl.float64 if x.dtype == torch.float64 else tl.float32
        given = (x, slope, forget, weight.contiguous(), out, channels, positions)
        _back[grid](*given, *x.stride(), *out.stride(), ACC=acc, C=CHANNELS, P=POSITIONS)
    return out.view(student.shape)


forward = op(
    "attention_forward(Tensor student, Tensor teacher, Tensor forget) -> (Tensor, Tensor)",
    _forward,
    _empty,
)
backward = op(
    "attention_backward(Tensor student, Tensor slope, Tensor forget, Tensor weight) -> Tensor",
    _backward,
    lambda student, *rest: torch.empty_like(student.flatten(2)).view(student.shape),
)


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, student, teacher, forget):
        loss, slope = forward(student, teacher, forget)
        ctx.save_for_backward(student, slope, forget)
        return loss

    @staticmethod
    def backward(ctx, weight):
        refuse_second()
        return backward(*ctx.saved_tensors, weight), None, None


def fused(student, teacher, forget):
    """The loss of every row by the kernel, which stores one slope per position for backward."""
    return _Rows.apply(student, teacher, forget)


def example(device):
    """Five maps of 3 channels and 28 positions, three of them forgotten."""
    x = torch.linspace(-2, 3, 5 * 3 * 28, device=device).sin().view(5, 3, 4, 7)
    return x, x.cos(), torch.arange(5, device=device) % 2 == 0


KERNEL = register("attention_tap", reference, fused, example)


def attention_rows(student: Tensor, teacher: Tensor, *, impl: str | None = None) -> Tensor:
    """Attention transfer of every example: `attention_transfer` uses it.

    Shapes: student, teacher (B, C, ...) activations of one type; returns (B,), float32 of halves
    Raises: ValueError if shapes, types or devices differ, or there is no axis to average
    """
    check_alike(student=student, teacher=teacher)
    if student.ndim < 3:
        raise ValueError(f"needs activations (B, C, ...), got {tuple(student.shape)}")
    every_row = torch.ones(len(student), dtype=torch.bool, device=student.device)
    return KERNEL(student, teacher.detach(), every_row, impl=impl)
