"""A mean of absolute errors: its oracles, its planted faults, and how it is translated."""

import itertools

import pytest
import torch
from kernel_checks import (
    DEVICE,
    NAN,
    TOLERANCE,
    Listening,
    Translation,
    changed,
    doubled,
    near,
    random,
)

from minilearn.kernels import mixed_l1


def rows(n=300, dtype=torch.float32, term=True):
    out, target, extra = (random(n, seed=s, dtype=dtype) for s in (1, 2, 3))
    return (out, target, extra.abs()) if term else (out, target)


def loss_and_slopes(form, args):
    """The value and its gradients by the outputs and, where there is one, by the term."""
    out, target, *extra = args
    leaves = [t.clone().requires_grad_() for t in (out, *extra)]
    value = form(leaves[0], target, *leaves[1:])
    return value, *torch.autograd.grad(3 * value, leaves)


def test_value_and_slopes_are_the_formula(m):
    for dtype, n, term in itertools.product(TOLERANCE, (1, 300, 1024, 1025, 3000), (False, True)):
        args = rows(n, dtype, term)
        ours = loss_and_slopes(m.fused, args)
        assert all(t.dtype == dtype for t in ours)
        near(ours, loss_and_slopes(m.reference, doubled(args)), dtype)
        out, target, *extra = doubled(args)
        total = (out - target).abs().sum() + sum(t.sum() for t in extra)
        near((ours[0], ours[1]), (total / n, 3 * (out - target).sign() / n), dtype)
        near(ours[2:], tuple(torch.full_like(t, 3 / n) for t in extra), dtype)


def test_it_is_the_published_mixture_and_needs_no_forgotten_row(m):
    out, label, proxy = random(3, 300, seed=1)
    for forgotten in (0, 90, 300):
        parts = [(out - proxy)[:forgotten], (out - label)[forgotten:]]
        means = [part.double().abs().mean().nan_to_num() for part in parts]
        mixture = (forgotten * means[0] + (300 - forgotten) * means[1]) / 300
        near(m.fused(out, torch.cat([proxy[:forgotten], label[forgotten:]])), mixture)


def test_any_number_of_partial_sums_is_added_up(m):
    with changed(m, "BLOCK", 16):
        for n in (16, 17, 256, 257, 1000):  # 1 to 63 partial sums, 16 at a time
            args = rows(n)
            near(loss_and_slopes(m.fused, args), loss_and_slopes(m.reference, doubled(args)))


def test_a_half_sums_in_single(m):
    for dtype in (torch.float16, torch.bfloat16):
        out = torch.full((3000,), 300.0, device=DEVICE, dtype=dtype)  # whose sum no half holds
        near(m.fused(out, torch.zeros_like(out), out), torch.tensor(600.0), dtype)


def test_nan_in_a_row_stays_in_its_slope_and_a_tie_has_none(m):
    for n in (40, 3000):
        out, target, extra = rows(n)
        value, *slopes = loss_and_slopes(m.fused, (target, target, extra))
        near(value, extra.double().mean())
        assert not slopes[0].any()
        for broken in (out, target):
            broken[7] = NAN
            value, *slopes = loss_and_slopes(m.fused, (out, target, extra))
            assert value.isnan() and slopes[1].isfinite().all()
            assert slopes[0].isnan().nonzero().flatten().tolist() == [7]
            broken[7] = 0
        extra[7] = NAN
        value, *slopes = loss_and_slopes(m.fused, (out, target, extra))
        assert value.isnan() and all(slope.isfinite().all() for slope in slopes)


def test_gaps_between_rows_do_no_harm(m):
    gaps = [torch.stack([t, t], -1)[:, 0] for t in rows()]
    near(loss_and_slopes(m.fused, gaps), loss_and_slopes(m.reference, doubled(rows())))


class Launched(list):
    """In the place of a kernel: it notes its grids, and computes nothing."""

    def __getitem__(self, grid):
        return lambda *args, **options: self.append(grid)


@pytest.mark.parametrize("term", [False, True])
@pytest.mark.parametrize("rows, launches", [(1, 1), (1024, 1), (1025, 2), (2**20, 2)])
def test_it_takes_two_launches_at_most_and_one_back(rows, launches, term, monkeypatch):
    m, started = mixed_l1, Launched()
    args = [torch.zeros(rows).requires_grad_(i != 1) for i in range(2 + term)]
    leaves = [arg for arg in args if arg.requires_grad]
    monkeypatch.setattr(m, "_rows", started)
    monkeypatch.setattr(m, "_mean", started)
    with Listening() as forward, torch.no_grad():
        m._launch(*args, *[None] * (not term))
    assert len(started) == launches and not forward.heard
    value, above = m.fused(*args), torch.ones(())
    with Listening() as back:
        torch.autograd.grad(value, leaves, above)
    assert back.heard == ["aten.mul.Tensor"]


FAULTS = {
    "what lies beyond the end counts": (
        "tl.load(out + i, mask=inside, other=0.0)",
        "tl.load(out + i, mask=inside, other=1.0)",
    ),
    "a tie has a slope": ("tl.where(d < 0, -1.0, d)", "-1.0"),
    "NaN is no longer seen in a slope": ("tl.where(d < 0, -1.0, d)", "tl.where(d < 0, -1.0, 0.0)"),
    "a term with the slope of a sum": (
        "tl.full((BLOCK,), 1.0, ACC) / n",
        "tl.full((BLOCK,), 1.0, ACC)",
    ),
    "one slope over the other": ("slopes + n + i", "slopes + i"),
    "partial sums that no round adds": ("range(0, count, BLOCK)", "range(0, 1, BLOCK)"),
    "partial sums that are means already": ("slopes, sums, n, 1,", "slopes, sums, n, n,"),
    "a sum in the type of the rows": ("torch.float64 if double else torch.float32", "out.dtype"),
}

SLOPES = {"mixed_l1": ((0, 2), (30,))}


OPERATIONS = {"mixed_l1": lambda m: [m.example(DEVICE), (*m.example(DEVICE)[:2], None)]}

TRANSLATIONS = {
    "rows": Translation("_rows", {"EXTRA": False, "BLOCK": 1024}, ints="n divisor"),
    "rows with a term": Translation("_rows", {"EXTRA": True, "BLOCK": 1024}, ints="n divisor"),
    "mean": Translation("_mean", {"BLOCK": 1024}, ints="count n", stores=0),  # one number
}
