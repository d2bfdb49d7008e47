"""Attention transfer as a tap on a layer: the activation passes through, and a loss drips out.

    q = m / |m|,   m_p = mean_c x_cp^2          where the student looks; r likewise, the teacher
    L_b = 1/P sum_p (q_p - r_p)^2               for forgotten rows, 0 for the others
    dL/dx_cp = 2/C x_cp (u_p - q_p <q, u>) / |m|,   u = 2/P (q - r)

What the backward pass needs besides x is one number a position, C times less than x. The gradient
from the layers above and the loss's own meet in one pass, where autograd would write the second
and add it in a third.

Bytes: with f the forgotten share of rows, 4 (3 f + 2) a number of x for float32, forward and
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
    x, slope, forget, weight, above, out, channels, positions, xb, xc, xp, ab, ac, ap, ob, oc, op,
    ABOVE: tl.constexpr, ACC: tl.constexpr, C: tl.constexpr, P: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0).to(tl.int64)  # a tile of channels by positions of one row
    p = tl.program_id(1) * P + tl.arange(0, P)[None, :]
    c = tl.program_id(2) * C + tl.arange(0, C)[:, None]
    here = (c < channels) & (p < positions)
    d = tl.zeros((C, P), ACC)
    if ABOVE:
        d += tl.load(above + b * ab + c * ac + p * ap, mask=here, other=0.0).to(ACC)
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


def _backward(student, slope, forget, weight, above):
    x = student.flatten(2)
    rows, channels, positions = x.shape
    out = torch.empty_like(x)
    if x.numel():
        g = x if above is None else above.flatten(2)  # copied only if it cannot be walked through
        grid = (rows, -(-positions // POSITIONS), -(-channels // CHANNELS))
        strides = (*x.stride(), *g.stride(), *out.stride())
        options = {"ABOVE": above is not None, "C": CHANNELS, "P": POSITIONS}
        options["ACC"] = tl.float64 if x.dtype == torch.float64 else tl.float32
        given = (x, slope, forget, weight.contiguous(), g, out)
        _back[grid](*given, channels, positions, *strides, **options)
    return out.view(student.shape)


forward = op(
    "attention_forward(Tensor student, Tensor teacher, Tensor forget) -> (Tensor, Tensor)",
    _forward,
    _empty,
)
backward = op(
    "attention_backward(Tensor student, Tensor slope, Tensor forget, Tensor weight, "
    "Tensor? above) -> Tensor",
    _backward,
    lambda student, *rest: torch.empty_like(student.flatten(2)).view(student.shape),
)


class _Tap(torch.autograd.Function):
    @staticmethod
    def forward(ctx, student, teacher, forget):
        loss, slope = forward(student, teacher, forget)
        ctx.save_for_backward(student, slope, forget)
        ctx.set_materialize_grads(False)  # None, not zeros to be read, where nothing comes
        return student.view_as(student), loss

    @staticmethod
    def backward(ctx, above, weight):
        refuse_second()
        if weight is None:
            return above, None, None
        return backward(*ctx.saved_tensors, weight, above), None, None


def fused(student, teacher, forget):
    """The loss of every row by the kernel, which keeps one number a position for later."""
    return _Tap.apply(student, teacher, forget)[1]


def example(device):
    """Five maps of 3 channels and 28 positions, three of them forgotten."""
    x = torch.linspace(-2, 3, 5 * 3 * 28, device=device).sin().view(5, 3, 4, 7)
    return x, x.cos(), torch.arange(5, device=device) % 2 == 0


KERNEL = register("attention_tap", reference, fused, example)


def attention_rows(student: Tensor, teacher: Tensor, *, impl: str | None = None) -> Tensor:
    """Attention transfer of every example, without the tap: `attention_transfer` uses it.

    Shapes: student, teacher (B, C, ...) activations of one type; returns (B,), float32 of halves
    Raises: ValueError as `attention_tap`
    """
    return KERNEL(*_checked(student, teacher, None), impl=impl)


def attention_tap(
    student: Tensor,
    teacher: Tensor,
    forget: Tensor | None = None,
    weight: float = 1.0,
    *,
    impl: str | None = None,
) -> tuple[Tensor, Tensor]:
    """The student's activation, unchanged, and `weight` times the loss of the forgotten rows.

    Use the activation that is returned in the place of the one that was given: the loss's gradient
    joins there. With weight = beta / B the mean over a batch needs no count of forgotten rows; with
    none of them the loss is 0. A row that is not forgotten may hold NaN. The teacher gets no
    gradient, and the gradient cannot be differentiated again; impl="reference" can.

    Paper: Zagoruyko and Komodakis 2017; Tarun et al. 2023.          Chapter: 10
    Shapes: student, teacher (B, C, ...) of one type, in any layout; forget (B,) bool, by default
        all; returns (B, C, ...) and a scalar, float32 of halves
    Differs: none known from the published loss summed over rows. A map shorter than 1e-12 is
        divided by 1e-12: single precision holds activations between about 1e-6 and 1e9
    Raises: ValueError if shapes, types or devices differ, or there is no axis to average
    Example:
        >>> x = torch.tensor([[[1.0, 0.0]]], requires_grad=True)
        >>> y, loss = attention_tap(x, torch.tensor([[[0.0, 1.0]]]))
        >>> loss.item(), torch.equal(x, y)
        (1.0, True)
    """
    args = _checked(student, teacher, forget)
    if KERNEL.chosen(args, impl):
        through, loss = _Tap.apply(*args)
    else:
        through, loss = student, reference(*args)
    return through, weight * loss.sum()


def _checked(student, teacher, forget) -> tuple[Tensor, Tensor, Tensor]:
    check_alike(student=student, teacher=teacher)
    if student.ndim < 3:
        raise ValueError(f"needs activations (B, C, ...), got {tuple(student.shape)}")
    if forget is None:
        forget = torch.ones(len(student), dtype=torch.bool, device=student.device)
    size = (len(student),)
    if not isinstance(forget, Tensor) or forget.dtype != torch.bool or forget.shape != size:
        raise ValueError("forget must be a boolean tensor (B,), one entry for each row")
    return student, teacher.detach(), forget.contiguous()
