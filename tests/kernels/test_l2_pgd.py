"""A step of projected gradient descent: its oracles, its planted faults, its translations."""

import itertools

import torch
from kernel_checks import (
    DEVICE,
    NAN,
    Translation,
    distance,
    doubled,
    layouts,
    near,
    random,
)


def attack(size=75, dtype=torch.float32, first=True, n=3):
    x0 = random(n, size, seed=1).sigmoid().to(dtype)
    x = (x0 + 0.2 * random(n, size, seed=2).to(dtype)).clamp(0, 1)
    return x, random(n, size, seed=3, dtype=dtype), x0, 0.3, 0.5, 0.0, 1.0, first


SIZES = (1, 75, 3072, 8193, 13_001)  # on the chip up to 8192, streamed above


def test_a_step_is_the_formula(m):
    for size, first in itertools.product(SIZES, (True, False)):
        args = attack(size, first=first, n=2)
        near(m.fused(*args), m.reference(*doubled(args)))
    for dtype in (torch.float64, torch.float16, torch.bfloat16):  # settings come in single
        args, tolerance = attack(75, dtype), dtype if dtype.itemsize == 2 else torch.float32
        near(m.fused(*args), m.reference(*doubled(args)), tolerance)


def test_box_and_ball_hold(m):
    for size, first, step in itertools.product(SIZES, (True, False), (0.0, 0.3, 100.0)):
        x, g, x0, *_ = attack(size, n=1)
        out = m.fused(x, g, x0, step, 0.5, 0.0, 1.0, first)
        assert (out - x0).double().norm(dim=1).max() <= 0.5 * (1 + 1e-5)
        assert out.min() >= 0 and out.max() <= 1


def test_a_direction_has_length_one_whatever_its_size(m):
    for size, scale in itertools.product((2, 9000), (1e-29, 1e-25, 1.0, 1e25, 1e36)):
        x0 = torch.zeros(1, size, device=DEVICE)
        g = x0.clone()
        g[0, :2] = torch.tensor([3.0, 4.0]) * scale
        out = m.fused(x0, g, x0, 1.0, 2.0, -9.0, 9.0, True)
        near(out[0, :2], torch.tensor([-0.6, -0.8]))
        assert not out[0, 2:].any()


def test_a_new_peak_rescales_what_was_summed(m):
    x0 = torch.zeros(1, 9000, device=DEVICE)
    g = torch.full((1, 9000), 1e-20, device=DEVICE)  # whose squares are 0
    g[0, 8500] = 1e-19
    for first in (True, False):
        args = x0, g, x0, 1.0, 0.5, -9.0, 9.0, first
        near(m.fused(*args), m.reference(*doubled(args)))


def test_no_gradient_no_step_and_nan_stays_in_its_sample(m):
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


def test_any_layout_and_no_sample_will_do(m):
    x, g, x0 = (t.view(3, 3, 5, 5) for t in attack()[:3])
    expected = m.reference(x, g, x0, 0.3, 0.5, 0.0, 1.0, True)
    for a, b, c in zip(*map(layouts, (x, g, x0)), strict=True):
        near(m.fused(a, b, c, 0.3, 0.5, 0.0, 1.0, True), expected.double())
    assert m.fused(x[:0], g[:0], x0[:0], 0.3, 0.5, 0.0, 1.0, True).shape == (0, 3, 5, 5)


FAULTS = {
    "a clamp that drops NaN": (
        "tl.where(y < low, low, tl.where(y > high, high, y))",
        "tl.clamp(y, low, high)",
    ),
    "NaN is passed over by a maximum": (
        "tl.where(length == length, y, length)",
        "tl.where(length == length, y, x0_)",
    ),
    "a norm whose squares vanish": (
        "peak = tl.max(tl.abs(g_), 0)",
        "peak = tl.max(tl.abs(g_), 0) * 0 + 1",
    ),
    "an old scale is kept": ("gg = gg * (peak / new) * (peak / new)", "gg = gg"),
    "the box comes after the ball": ("if CLAMP_FIRST:", "if not CLAMP_FIRST:"),
}

OPERATIONS = {"l2_pgd": lambda m: [m.example(DEVICE)]}

TRANSLATIONS = {
    f"{title}, {order}": Translation(
        form,
        {"CLAMP_FIRST": order == "clamp_project", "BLOCK": block},
        ints="size",
        floats="step eps low high",
        warps=8,
    )
    for title, form, block in (
        ("3072 numbers", "_on_chip", 4096),
        ("8192 numbers", "_on_chip", 8192),
        ("streamed", "_streamed", 4096),
    )
    for order in ("clamp_project", "project_clamp")
}
