"""The sum of absolute matrix products: its oracles, its planted faults, and its translations."""

import torch
from kernel_checks import DEVICE, NAN, Translation, changed, doubled, near, random


def test_it_is_the_sum_over_items_one_at_a_time(m):
    sizes = (1, 1, 2, 1), (3, 65, 5, 3), (5, 3, 33, 70), (9, 20, 16, 130), (17, 2, 40, 2)
    for n, o, p, k in sizes:
        g, a = random(n + 9, o, p, seed=1)[:n], random(n + 9, p, k, seed=2)[:n]  # more lies behind
        expected = torch.zeros(o, k, dtype=torch.float64, device=DEVICE)
        for g_n, a_n in zip(g.double(), a.double(), strict=True):
            expected += (g_n @ a_n).abs()
        near(m.fused(g, a), expected)


def test_signs_do_not_cancel(m):
    g, a = random(1, 5, 20, seed=1), random(1, 20, 6, seed=2)
    twice = m.fused(torch.cat([g, -g]), torch.cat([a, a]))
    near(twice, 2 * (g[0].double() @ a[0].double()).abs())


def test_nothing_gives_nought_and_gaps_do_no_harm(m):
    g, a = random(4, 5, 20, seed=1), random(4, 20, 6, seed=2)
    for n, o, p, k in ((0, 5, 20, 6), (4, 5, 0, 6)):
        assert torch.equal(m.fused(g[:n, :o, :p], a[:n, :p, :k]), torch.zeros(5, 6, device=DEVICE))
    near(m.fused(g.mT.contiguous().mT, a.mT.contiguous().mT), m.reference(g.double(), a.double()))


def test_nan_stays_in_its_row_and_halves_are_summed_in_single(m):
    g, a = random(4, 5, 20, seed=1), random(4, 20, 6, seed=2)
    g[2, 3, 1] = NAN
    assert m.fused(g, a).isnan().all(1).nonzero().flatten().tolist() == [3]
    for dtype in (torch.float16, torch.bfloat16):
        halves = random(4, 5, 20, seed=1, dtype=dtype), random(4, 20, 6, seed=2, dtype=dtype)
        near(m.fused(*halves), m.reference(*doubled(halves)), dtype)


def test_the_reference_sums_many_halves_in_single_too(m):
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        g, a = random(4000, 2, 3, seed=1, dtype=dtype), random(4000, 3, 2, seed=2, dtype=dtype)
        expected = (g.double() @ a.double()).abs().sum(0)
        with changed(m, "AT_ONCE", 40):  # as if few products fitted into memory
            ours = m.reference(g, a)
        near(ours, expected, dtype)
        assert ours.dtype == dtype


FAULTS = {
    "absolute values after the sum": ("total += tl.abs(product)", "total += product"),
    "an item too many": ("tl.minimum(first + each, items)", "first + each"),
    "the last positions are left out": (
        "range(0, positions, INNER)",
        "range(0, positions - 1, INNER)",
    ),
}

OPERATIONS = {"abs_bmm": lambda m: [m.example(DEVICE)]}

INTS = "items rows positions columns each"
TILE = {"TILE": 64, "INNER": 32}
TRANSLATIONS = {
    "full precision": Translation("_tile", TILE | {"PRECISION": "ieee"}, ints=INTS),
    # before sm_80 there are no such tensor cores: hence capability=(8, 0)
    "tf32": Translation("_tile", TILE | {"PRECISION": "tf32"}, ints=INTS, tensor_cores=(90,)),
}
