"""What every kernel must do, as functions of its module: a wrong kernel can be put in its place.

`CHECKS[name]` are the checks of the kernel in the file `name`. Each compares `fused` with the
reference in float64, or with a property that needs no reference, and asserts.
"""

import itertools
from contextlib import contextmanager

import torch

from minilearn.kernels import interpreted
from minilearn.kernels.dispatch import distance

DEVICE = "cuda" if torch.cuda.is_available() and not interpreted() else "cpu"
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 1e-2}
NAN = float("nan")
CHECKS: dict[str, list] = {}


def check(name: str):
    """Enter a function as a check of a kernel."""

    def enter(function):
        CHECKS.setdefault(name, []).append(function)
        return function

    return enter


def random(*shape, seed: int = 0, dtype=torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(DEVICE, dtype)


def doubled(args):
    """The same arguments in double precision."""
    return [a.double() if torch.is_tensor(a) and a.is_floating_point() else a for a in args]


def near(ours, theirs, dtype=torch.float32):
    """Results, several or one, within the tolerance of a type."""
    pairs = zip(*(r if isinstance(r, tuple) else (r,) for r in (ours, theirs)), strict=True)
    for a, b in pairs:
        far = distance(a, b)
        assert far <= TOLERANCE[dtype], f"off by {far:g}"


def gradients(form, args, wanted, seed: int = 1):
    """The value and its gradients by the first `wanted` arguments, under a random weight."""
    args = list(args)
    for i in range(wanted):
        args[i] = args[i].detach().clone().requires_grad_()
    value = form(*args)
    weight = random(*value.shape, seed=seed).to(value)
    return value, *torch.autograd.grad((value * weight).sum(), args[:wanted])


@contextmanager
def changed(module, name: str, value):
    """Another number in the place of a module's, for a block."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def layouts(x: torch.Tensor):
    """The same numbers as they may come: with gaps, permuted, and, of one row, expanded."""
    yield x
    yield torch.stack([x, x], -1)[..., 0]
    yield x.transpose(0, -1).contiguous().transpose(0, -1)
    if x.ndim == 4:
        yield x.to(memory_format=torch.channels_last)


# --------------------------------------------------------------------------------------- mixed_l1


def rows(n=300, dtype=torch.float32, term=True):
    out, target, extra = (random(n, seed=s, dtype=dtype) for s in (1, 2, 3))
    return (out, target, extra.abs()) if term else (out, target)


def loss_and_slopes(form, args):
    """The value and its gradients by the outputs and, where there is one, by the term."""
    out, target, *extra = args
    leaves = [t.clone().requires_grad_() for t in (out, *extra)]
    value = form(leaves[0], target, *leaves[1:])
    return value, *torch.autograd.grad(3 * value, leaves)


@check("mixed_l1")
def value_and_slopes_are_the_formula(m):
    for dtype, n, term in itertools.product(TOLERANCE, (1, 300, 1024, 1025, 3000), (False, True)):
        args = rows(n, dtype, term)
        ours = loss_and_slopes(m.fused, args)
        assert all(t.dtype == dtype for t in ours)
        near(ours, loss_and_slopes(m.reference, doubled(args)), dtype)
        out, target, *extra = doubled(args)
        total = (out - target).abs().sum() + sum(t.sum() for t in extra)
        near((ours[0], ours[1]), (total / n, 3 * (out - target).sign() / n), dtype)
        near(ours[2:], tuple(torch.full_like(t, 3 / n) for t in extra), dtype)


@check("mixed_l1")
def it_is_the_published_mixture_and_needs_no_forgotten_row(m):
    out, label, proxy = random(3, 300, seed=1)
    for forgotten in (0, 90, 300):
        parts = [(out - proxy)[:forgotten], (out - label)[forgotten:]]
        means = [part.double().abs().mean().nan_to_num() for part in parts]
        mixture = (forgotten * means[0] + (300 - forgotten) * means[1]) / 300
        near(m.fused(out, torch.cat([proxy[:forgotten], label[forgotten:]])), mixture)


@check("mixed_l1")
def any_number_of_partial_sums_is_added_up(m):
    with changed(m, "BLOCK", 16):
        for n in (16, 17, 256, 257, 1000):  # 1 to 63 partial sums, 16 at a time
            args = rows(n)
            near(loss_and_slopes(m.fused, args), loss_and_slopes(m.reference, doubled(args)))


@check("mixed_l1")
def a_half_sums_in_single(m):
    for dtype in (torch.float16, torch.bfloat16):
        out = torch.full((3000,), 300.0, device=DEVICE, dtype=dtype)  # whose sum no half holds
        near(m.fused(out, torch.zeros_like(out), out), torch.tensor(600.0), dtype)


@check("mixed_l1")
def nan_in_a_row_stays_in_its_slope_and_a_tie_has_none(m):
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


@check("mixed_l1")
def gaps_between_rows_do_no_harm(m):
    gaps = [torch.stack([t, t], -1)[:, 0] for t in rows()]
    near(loss_and_slopes(m.fused, gaps), loss_and_slopes(m.reference, doubled(rows())))


# ----------------------------------------------------------------------------------------- l2_pgd


def attack(size=75, dtype=torch.float32, first=True, n=3):
    x0 = random(n, size, seed=1).sigmoid().to(dtype)
    x = (x0 + 0.2 * random(n, size, seed=2).to(dtype)).clamp(0, 1)
    return x, random(n, size, seed=3, dtype=dtype), x0, 0.3, 0.5, 0.0, 1.0, first


SIZES = (1, 75, 3072, 8193, 13_001)  # on the chip up to 8192, streamed above


@check("l2_pgd")
def a_step_is_the_formula(m):
    for size, first in itertools.product(SIZES, (True, False)):
        args = attack(size, first=first)
        near(m.fused(*args), m.reference(*doubled(args)))
    for dtype in (torch.float64, torch.float16, torch.bfloat16):  # settings come in single
        args, tolerance = attack(75, dtype), dtype if dtype.itemsize == 2 else torch.float32
        near(m.fused(*args), m.reference(*doubled(args)), tolerance)


@check("l2_pgd")
def box_and_ball_hold(m):
    for size, first, step in itertools.product(SIZES, (True, False), (0.0, 0.3, 100.0)):
        x, g, x0, *_ = attack(size)
        out = m.fused(x, g, x0, step, 0.5, 0.0, 1.0, first)
        assert (out - x0).double().norm(dim=1).max() <= 0.5 * (1 + 1e-5)
        assert out.min() >= 0 and out.max() <= 1


@check("l2_pgd")
def a_direction_has_length_one_whatever_its_size(m):
    for size, scale in itertools.product((2, 9000), (1e-29, 1e-25, 1.0, 1e25, 1e36)):
        x0 = torch.zeros(1, size, device=DEVICE)
        g = x0.clone()
        g[0, :2] = torch.tensor([3.0, 4.0]) * scale
        out = m.fused(x0, g, x0, 1.0, 2.0, -9.0, 9.0, True)
        near(out[0, :2], torch.tensor([-0.6, -0.8]))
        assert not out[0, 2:].any()


@check("l2_pgd")
def a_new_peak_rescales_what_was_summed(m):
    x0 = torch.zeros(1, 9000, device=DEVICE)
    g = torch.full((1, 9000), 1e-20, device=DEVICE)  # whose squares are 0
    g[0, 8500] = 1e-19
    for first in (True, False):
        args = x0, g, x0, 1.0, 0.5, -9.0, 9.0, first
        near(m.fused(*args), m.reference(*doubled(args)))


@check("l2_pgd")
def no_gradient_no_step_and_nan_stays_in_its_sample(m):
    for size in (75, 9000):
        x, g, x0, *rest = attack(size)
        x = x0 + 0.01 * (x - x0)
        g[0], g[1, 5] = 0, NAN
        out = m.fused(x, g, x0, *rest)
        assert distance(out[0], x[0]) < 1e-6
        assert out[1].isnan().all() and out[2].isfinite().all()
        g = g.nan_to_num()
        x[2, 7] = NAN
        assert m.fused(x, g, x0, *rest)[2].isnan().all()


@check("l2_pgd")
def any_layout_and_no_sample_will_do(m):
    x, g, x0 = (t.view(3, 3, 5, 5) for t in attack()[:3])
    expected = m.reference(x, g, x0, 0.3, 0.5, 0.0, 1.0, True)
    for a, b, c in zip(*map(layouts, (x, g, x0)), strict=True):
        near(m.fused(a, b, c, 0.3, 0.5, 0.0, 1.0, True), expected.double())
    assert m.fused(x[:0], g[:0], x0[:0], 0.3, 0.5, 0.0, 1.0, True).shape == (0, 3, 5, 5)


# --------------------------------------------------------------------------------- attention_tap


def maps(shape=(5, 7, 6, 7), dtype=torch.float32):
    forget = torch.arange(shape[0], device=DEVICE) % 2 == 0
    return *(random(*shape, seed=s, dtype=dtype) for s in (1, 2)), forget


def tapped(m, args, above):
    """Loss of the rows, and what reaches the student from both sides."""
    x = args[0].detach().clone(memory_format=torch.preserve_format).requires_grad_()
    through, loss = m._Tap.apply(x, *args[1:])
    assert distance(through, x) == 0
    weight = random(len(x), seed=5).to(loss)
    return loss, torch.autograd.grad((through, loss), x, (above, weight))[0]


def expected_tap(m, args, above):
    x = args[0].double().requires_grad_()
    loss = m.reference(x, args[1].double(), args[2])
    weight = random(len(x), seed=5).double()
    return loss, torch.autograd.grad((loss * weight).sum(), x)[0] + above.double()


@check("attention_tap")
def loss_and_gradient_are_the_formula(m):
    shapes = (5, 7, 6, 7), (1, 1, 1, 2), (3, 33, 300), (2, 3, 1, 1100), (4, 17, 16, 16)
    for shape in shapes:
        args, above = maps(shape), random(*shape, seed=6)
        near(tapped(m, args, above), expected_tap(m, args, above))
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        args = maps(dtype=dtype)
        above = random(5, 7, 6, 7, seed=6, dtype=dtype)
        near(tapped(m, args, above), expected_tap(m, args, above), dtype)


@check("attention_tap")
def it_is_attention_transfer_by_its_definition(m):
    x, t, _ = maps()
    near(m.attention_rows(x, t, impl="triton"), m.attention_rows(x.double(), t.double()))
    q, r = (((v.double() ** 2).sum(1) / 7).flatten(1) for v in (x, t))
    q, r = (v / (v * v).sum(1, keepdim=True).sqrt() for v in (q, r))
    near(m.attention_rows(x, t, impl="triton"), ((q - r) ** 2).sum(1) / 42)


@check("attention_tap")
def any_layout_of_maps_and_of_the_gradient_will_do(m):
    args, above = maps(), random(5, 7, 6, 7, seed=6)
    expected = expected_tap(m, args, above)
    for x, t, g in zip(*map(layouts, (*args[:2], above)), strict=True):
        near(tapped(m, (x, t, args[2]), g), expected)
    spread = torch.ones((), device=DEVICE).expand(5, 7, 6, 7)
    near(tapped(m, args, spread), expected_tap(m, args, spread))


@check("attention_tap")
def none_or_all_or_no_row_may_be_forgotten(m):
    x, t, _ = maps()
    for forget in (torch.zeros, torch.ones):
        args = x, t, forget(5, dtype=torch.bool, device=DEVICE)
        near(tapped(m, args, x), expected_tap(m, args, x))
    empty = x[:0], t[:0], args[2][:0]
    assert tapped(m, empty, x[:0])[0].shape == (0,)


@check("attention_tap")
def nan_in_a_row_that_is_kept_does_no_harm(m):
    x, t, forget = maps()
    x[1], t[3] = NAN, NAN  # both are not forgotten
    loss, slope = tapped(m, (x, t, forget), torch.zeros_like(x))
    assert loss.isfinite().all() and slope[[0, 2, 3, 4]].isfinite().all()
    assert not slope[[1, 3]].nan_to_num(1.0).any()
    x[2, 3, 3, 3] = NAN  # this one is
    loss, slope = tapped(m, (x, t, forget), torch.zeros_like(x))
    assert loss.isnan().nonzero().flatten().tolist() == [2] and slope[4].isfinite().all()


@check("attention_tap")
def maps_of_nought_and_of_any_size_have_a_slope(m):
    x, t, forget = maps()
    x[0] = 0
    for scale in (1e-8, 1.0, 1e6):
        args = x * scale, t * scale, forget
        near(tapped(m, args, x), expected_tap(m, args, x))


# --------------------------------------------------------------------------------------- abs_bmm


@check("abs_bmm")
def it_is_the_sum_over_items_one_at_a_time(m):
    sizes = (1, 1, 2, 1), (3, 65, 5, 3), (5, 3, 33, 70), (9, 20, 16, 130), (17, 2, 40, 2)
    for n, o, p, k in sizes:
        g, a = random(n + 9, o, p, seed=1)[:n], random(n + 9, p, k, seed=2)[:n]  # more lies behind
        expected = torch.zeros(o, k, dtype=torch.float64, device=DEVICE)
        for g_n, a_n in zip(g.double(), a.double(), strict=True):
            expected += (g_n @ a_n).abs()
        near(m.fused(g, a), expected)


@check("abs_bmm")
def signs_do_not_cancel(m):
    g, a = random(1, 5, 20, seed=1), random(1, 20, 6, seed=2)
    twice = m.fused(torch.cat([g, -g]), torch.cat([a, a]))
    near(twice, 2 * (g[0].double() @ a[0].double()).abs())


@check("abs_bmm")
def nothing_gives_nought_and_gaps_do_no_harm(m):
    g, a = random(4, 5, 20, seed=1), random(4, 20, 6, seed=2)
    for n, o, p, k in ((0, 5, 20, 6), (4, 5, 0, 6)):
        assert torch.equal(m.fused(g[:n, :o, :p], a[:n, :p, :k]), torch.zeros(5, 6, device=DEVICE))
    near(m.fused(g.mT.contiguous().mT, a.mT.contiguous().mT), m.reference(g.double(), a.double()))


@check("abs_bmm")
def nan_stays_in_its_row_and_halves_are_summed_in_single(m):
    g, a = random(4, 5, 20, seed=1), random(4, 20, 6, seed=2)
    g[2, 3, 1] = NAN
    assert m.fused(g, a).isnan().all(1).nonzero().flatten().tolist() == [3]
    for dtype in (torch.float16, torch.bfloat16):
        halves = random(4, 5, 20, seed=1, dtype=dtype), random(4, 20, 6, seed=2, dtype=dtype)
        near(m.fused(*halves), m.reference(*doubled(halves)), dtype)


@check("abs_bmm")
def the_reference_sums_many_halves_in_single_too(m):
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        g, a = random(4000, 2, 3, seed=1, dtype=dtype), random(4000, 3, 2, seed=2, dtype=dtype)
        expected = (g.double() @ a.double()).abs().sum(0)
        with changed(m, "AT_ONCE", 40):  # as if few products fitted into memory
            ours = m.reference(g, a)
        near(ours, expected, dtype)
        assert ours.dtype == dtype


# ------------------------------------------------------------------------------------ laf_losses


@check("laf_losses")
def cosine_is_the_formula(m):
    for dtype, n, d in itertools.product((torch.float32, torch.float64), (1, 33), (1, 256, 1025)):
        args = random(n, d, seed=1, dtype=dtype), random(n, d, seed=2, dtype=dtype)
        ours = gradients(m.COSINE.fused, args, 1)
        theirs = gradients(m.COSINE.reference, doubled(args), 1)
        if d > 1:  # along one axis there is no angle, and no slope
            near(ours, theirs, dtype)
        assert ours[1].abs().max() < 1e-6 or d > 1
        near(1 - ours[0], (args[0] * args[1]).double().sum(1) / norms(args), dtype)


def norms(args):
    return args[0].double().norm(dim=1) * args[1].double().norm(dim=1)


@check("laf_losses")
def alignment_is_the_sum_over_all_pairs(m):
    for n_r, n_f, tau in ((1, 1, 20.0), (32, 31, 20.0), (5, 1500, 0.01), (1030, 4, 1.0)):
        d_retain, d_forget = random(n_r, seed=1).sigmoid() * 2, random(n_f, seed=2).sigmoid() * 2
        args = d_retain, d_forget, tau
        pairs = d_retain.double()[:, None].exp() / (d_forget.double()[None] / tau).exp().sum()
        near(m.ALIGNMENT.fused(*args), pairs.log().sum())
        near(
            gradients(m.ALIGNMENT.fused, args, 2),
            gradients(m.ALIGNMENT.reference, doubled(args), 2),
        )


@check("laf_losses")
def rebuilding_is_the_formula_and_saturates(m):
    for saturated, n, d in itertools.product((True, False), (1, 33), (1, 256, 1025)):
        args = 0.3 * random(n, d, seed=1), 0.3 * random(n, d, seed=2), saturated
        ours = gradients(m.REBUILDING.fused, args, 2)
        near(ours, gradients(m.REBUILDING.reference, doubled(args), 2))
        mass = (args[0] - args[1]).double().square().sum(1)
        near(ours[0], (mass / (mass + 1)).exp() if saturated else mass)
    far = torch.full((1, 4), 1e25, device=DEVICE)
    assert abs(m.REBUILDING.fused(far, torch.zeros_like(far), True).item() - torch.e) < 1e-6


@check("laf_losses")
def rows_are_apart_and_nought_has_a_distance(m):
    a, b = random(4, 70, seed=1), random(4, 70, seed=2)
    a[1, 5], a[2] = NAN, 0
    for kernel, rest in ((m.COSINE, ()), (m.REBUILDING, (True,))):
        value, slope, *_ = gradients(kernel.fused, (a, b, *rest), 1)
        assert value.isnan().nonzero().flatten().tolist() == [1]
        assert slope.isnan().any(1).nonzero().flatten().tolist() == [1]
    clean = a.nan_to_num()
    args = clean, b
    near(gradients(m.COSINE.fused, args, 1), gradients(m.COSINE.reference, doubled(args), 1))
    args = clean * 1e-10, b  # shorter than eps: the norm is held, and only the product has a slope
    weight = random(4, seed=1)[:, None].double()
    slope = -weight * b.double() / b.double().norm(dim=1, keepdim=True) / m.EPS
    near(gradients(m.COSINE.fused, args, 1)[1], slope)
    assert m.COSINE.fused(a[:0], b[:0]).shape == (0,)


# --------------------------------------------------------------------------------- gaussian_elbo


@check("gaussian_elbo")
def the_bound_is_the_formula(m):
    for n, d, k in ((1, 1, 1), (33, 256, 8), (2, 1025, 1030)):
        h, e, mean, log = (random(n, s, seed=i) for i, s in enumerate((d, d, k, k)))
        args = h, mean, log, e, 0.5
        ours = gradients(m.fused, args, 3)
        near(ours, gradients(m.reference, doubled(args), 3))
        posterior = torch.distributions.Normal(mean.double(), (log.double() / 2).exp())
        kl = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
        near(ours[0], (h - e).double().square().sum(1) + 0.5 * kl.sum(1))


@check("gaussian_elbo")
def a_row_does_not_see_another(m):
    h, e, mean, log = (random(3, s, seed=s + i) for i, s in enumerate((70, 70, 5, 5)))
    mean[1, 2] = NAN
    value = m.fused(h, mean, log, e, 0.5)
    assert value.isnan().nonzero().flatten().tolist() == [1]
    assert m.fused(h[:0], mean[:0], log[:0], e[:0], 0.5).shape == (0,)
