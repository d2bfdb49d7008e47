"""The losses of label-agnostic forgetting: oracles, planted faults, and how they are translated."""

import itertools

import torch
from kernel_checks import DEVICE, NAN, Translation, doubled, gradients, near, random


def test_cosine_is_the_formula(m):
    for dtype, n, d in itertools.product((torch.float32, torch.float64), (1, 5), (1, 256, 1025)):
        args = random(n, d, seed=1, dtype=dtype), random(n, d, seed=2, dtype=dtype)
        ours = gradients(m.COSINE.fused, args, 1)
        theirs = gradients(m.COSINE.reference, doubled(args), 1)
        if d > 1:  # along one axis there is no angle, and no slope
            near(ours, theirs, dtype)
        assert ours[1].abs().max() < 1e-6 or d > 1
        cosine = (args[0].double() * args[1].double()).sum(1) / norms(args)
        near(ours[0], 1 - cosine, dtype)


def norms(args):
    return args[0].double().norm(dim=1) * args[1].double().norm(dim=1)


def test_alignment_is_the_sum_over_all_pairs(m):
    for n_r, n_f, tau in ((1, 1, 20.0), (32, 31, 20.0), (5, 1500, 0.01), (1030, 4, 1.0)):
        d_retain, d_forget = random(n_r, seed=1).sigmoid() * 2, random(n_f, seed=2).sigmoid() * 2
        args = d_retain, d_forget, tau
        pairs = d_retain.double()[:, None].exp() / (d_forget.double()[None] / tau).exp().sum()
        near(m.ALIGNMENT.fused(*args), pairs.log().sum())
        near(
            gradients(m.ALIGNMENT.fused, args, 2),
            gradients(m.ALIGNMENT.reference, doubled(args), 2),
        )


def test_rebuilding_is_the_formula_and_saturates(m):
    for saturated, n, d in itertools.product((True, False), (1, 5), (1, 256, 1025)):
        args = 0.3 * random(n, d, seed=1), 0.3 * random(n, d, seed=2), saturated
        ours = gradients(m.REBUILDING.fused, args, 2)
        near(ours, gradients(m.REBUILDING.reference, doubled(args), 2))
        mass = (args[0] - args[1]).double().square().sum(1)
        near(ours[0], (mass / (mass + 1)).exp() if saturated else mass)
    far = torch.full((1, 4), 1e25, device=DEVICE)
    assert abs(m.REBUILDING.fused(far, torch.zeros_like(far), True).item() - torch.e) < 1e-6


def test_rows_are_apart_and_nought_has_a_distance(m):
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


FAULTS = {
    "the peak is not subtracted": (
        "peak = tl.maximum(peak, tl.max(d / tau, 0))",
        "peak = tl.zeros((), ACC)",
    ),
    "a slope at a norm held at eps": (
        "tl.where(tl.sqrt(aa) < small, 0.0, cos / norm)",
        "cos / norm",
    ),
    "a saturated loss with the plain slope": ("steep *= phi / ((1 + m) * (1 + m))", "steep *= phi"),
}

SLOPES = {
    "cosine": ((0,), (2,)),
    "alignment": ((0, 1), (6, 4)),
    "rebuilding": ((0, 1), (2,)),
}

OPERATIONS = {
    "cosine": lambda m: [m.COSINE.example(DEVICE)],
    "alignment": lambda m: [m.ALIGNMENT.example(DEVICE)],
    "rebuilding": lambda m: [m.REBUILDING.example(DEVICE)],
}

TRANSLATIONS = {
    "cosine": Translation("_cosine", {"BLOCK": 1024}, ints="width", floats="eps"),
    "alignment": Translation("_alignment", {"BLOCK": 1024}, ints="n_r n_f", floats="temperature"),
    "rebuilding": Translation("_rebuilding", {"SATURATED": True, "BLOCK": 1024}, ints="width"),
}
