"""Attention transfer: its oracles, its planted faults, and how it is translated."""

import torch
from kernel_checks import (
    AS_IN_2_11,
    DEVICE,
    NAN,
    Translation,
    distance,
    layouts,
    near,
    random,
)

from minilearn.kernels import use


def maps(shape=(5, 7, 6, 7), dtype=torch.float32):
    forget = torch.arange(shape[0], device=DEVICE) % 2 == 0
    return *(random(*shape, seed=s, dtype=dtype) for s in (1, 2)), forget


def fused(m, args):
    """Loss of the rows, and the gradient that reaches the student."""
    x = args[0].detach().clone(memory_format=torch.preserve_format).requires_grad_()
    loss = m.fused(x, *args[1:])
    weight = random(len(x), seed=5).to(loss)
    return loss, torch.autograd.grad(loss, x, weight)[0]


def expected(m, args):
    x = args[0].double().requires_grad_()
    loss = m.reference(x, args[1].double(), args[2])
    weight = random(len(x), seed=5).double()
    return loss, torch.autograd.grad((loss * weight).sum(), x)[0]


def test_loss_and_gradient_are_the_formula(m):
    shapes = (5, 7, 6, 7), (1, 1, 1, 2), (3, 33, 300), (2, 3, 1, 1100), (4, 17, 16, 16)
    for shape in shapes:
        args = maps(shape)
        near(fused(m, args), expected(m, args))
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        args = maps(dtype=dtype)
        near(fused(m, args), expected(m, args), dtype)


def test_it_is_attention_transfer_by_its_definition(m):
    x, t, _ = maps()
    near(m.attention_rows(x, t, impl="triton"), m.attention_rows(x.double(), t.double()))
    q, r = (((v.double() ** 2).sum(1) / 7).flatten(1) for v in (x, t))
    q, r = (v / (v * v).sum(1, keepdim=True).sqrt() for v in (q, r))
    near(m.attention_rows(x, t, impl="triton"), ((q - r) ** 2).sum(1) / 42)


def test_any_layout_of_maps_will_do(m):
    args = maps()
    for x, t in zip(*map(layouts, args[:2]), strict=True):
        near(fused(m, (x, t, args[2])), expected(m, args))


def test_none_or_all_or_no_row_may_be_forgotten(m):
    x, t, _ = maps()
    for forget in (torch.zeros, torch.ones):
        args = x, t, forget(5, dtype=torch.bool, device=DEVICE)
        near(fused(m, args), expected(m, args))
    empty = x[:0], t[:0], args[2][:0]
    assert fused(m, empty)[0].shape == (0,)


def test_nan_in_a_row_that_is_kept_does_no_harm(m):
    x, t, forget = maps()
    x[1], t[3] = NAN, NAN  # both are not forgotten
    loss, slope = fused(m, (x, t, forget))
    assert loss.isfinite().all() and slope[[0, 2, 3, 4]].isfinite().all()
    assert not slope[[1, 3]].nan_to_num(1.0).any()
    x[2, 3, 3, 3] = NAN  # this one is
    loss, slope = fused(m, (x, t, forget))
    assert loss.isnan().nonzero().flatten().tolist() == [2] and slope[4].isfinite().all()


def test_maps_of_zeros_and_of_any_size_have_a_slope(m):
    x, t, forget = maps()
    x[0] = 0
    for scale in (1e-8, 1.0, 1e6):
        args = x * scale, t * scale, forget
        near(fused(m, args), expected(m, args))


@AS_IN_2_11
def test_it_can_be_compiled():
    torch._dynamo.reset()
    from minilearn.kernels.attention_tap import attention_rows

    def step(x, t):
        return (2 * x).sin().sum() + attention_rows(2 * x, t).sum()

    x, t, _ = maps((3, 4, 2, 3))
    slopes = []
    for run, impl in (
        (step, "reference"),
        (torch.compile(step, fullgraph=True, backend="aot_eager"), "triton"),
    ):
        leaf = x.clone().requires_grad_()
        with use(impl):
            slopes.append(torch.autograd.grad(run(leaf, t), leaf)[0])
    assert distance(slopes[1], slopes[0]) < 1e-6


FAULTS = {
    "retained rows are multiplied away": (
        "    if tl.load(forget + b) != 0:\n        w = tl.load",
        "    if True:\n        w = (tl.load(forget + b) != 0).to(ACC) * tl.load",
    ),
    "the norm's own slope is left out": ("u - q * along", "u"),
    "strides are taken for granted": (
        "out + b * ob + c * oc + p * op",
        "out + (b * channels + c) * positions + p",
    ),
}

SLOPES = {"attention_tap": ((0,), (2,))}


def way_there(m):
    x, t, forget = m.example(DEVICE)
    yield x, t, torch.ones_like(forget)  # what belongs to other rows is never written


def way_back(m):
    x, t, forget = maps((3, 4, 2, 3))
    loss, slope = m.forward(x, t, forget)
    yield x, slope.nan_to_num(), forget, loss


OPERATIONS = {"attention_forward": way_there, "attention_backward": way_back}

FLAGS = {"flags": "forget"}
TILE = {"C": 16, "P": 256, "xp": 1}  # the innermost strides are 1
STRIDES = "channels positions xb xc"
TRANSLATIONS = {
    "maps": Translation(
        "_maps", TILE | {"tp": 1}, ints=f"{STRIDES} tb tc", narrow=1, stores=0, **FLAGS
    ),
    "compare": Translation(
        "_compare", {"P": 1024}, ints="positions", floats="eps", narrow=1, **FLAGS
    ),
    "back": Translation(
        "_back",
        TILE | {"op": 1},
        ints=f"{STRIDES} ob oc",
        narrow=3,
        **FLAGS,
    ),
}
