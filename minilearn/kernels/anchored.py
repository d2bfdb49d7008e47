"""One step of SGD or Adam with a penalty for leaving an anchor, over all weights in one pass.

    d = p - a,   g' = s g + decay p + lambda w d
    SGD     v <- mu v + g';   p <- p - lr v
    Adam    m <- b1 m + (1 - b1) g';   v <- b2 v + (1 - b2) g'^2
            p <- p - lr (m / c1) / (sqrt(v / c2) + eps),   c_i = 1 - b_i^t
    penalty 1/2 lambda sum w d^2, at the weights before the step

The penalty's gradient is known, so that nothing has to be recorded for it. The settings are read
from a tensor on the device: a captured graph meets new ones when it is replayed, and lr = 0 stops
a run that nobody waits for. s = -1 ascends.

Bytes: 28 a weight for SGD (p, g, a, w, v read; p, v written), 36 for Adam; with `zero_grad` 4 more.
Written with autograd, tensor by tensor, the penalty alone takes some 700 launches for ResNet-18.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from minilearn.kernels.dispatch import check_alike, jit, op, register, tl

BLOCK = 1024
PAD = 16  # numbers: each tensor begins where 16-byte loads may
SETTINGS = {
    "sgd": ("lr", "decay", "lambda", "sign", "momentum"),
    "adam": ("lr", "decay", "lambda", "sign", "beta1", "beta2", "eps", "c1", "c2"),
}


def reference(p, g, a, w, state, hyper, adam):
    """The step by torch, in place; returns the penalty."""
    lr, decay, strength, sign = hyper[:4].to(p)
    d = p - a
    penalty = (w * d.square()).sum() * strength / 2
    slope = sign * g + decay * p + strength * w * d
    if adam:
        b1, b2, eps, c1, c2 = hyper[4:].to(p)
        m, v = state
        m.mul_(b1).add_((1 - b1) * slope), v.mul_(b2).add_((1 - b2) * slope.square())
        p.sub_(lr * (m / c1) / ((v / c2).sqrt() + eps))
    else:
        p.sub_(lr * state[0].mul_(hyper[4].to(p)).add_(slope))
    return penalty


@jit
def _step(
    p, g, a, w, v, m, hyper, sums, n, ADAM: tl.constexpr, ACC: tl.constexpr, BLOCK: tl.constexpr
):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    lr, decay = (tl.load(hyper).to(ACC), tl.load(hyper + 1).to(ACC))
    strength, sign = (tl.load(hyper + 2).to(ACC), tl.load(hyper + 3).to(ACC))
    p_ = tl.load(p + i, mask=inside, other=0.0)
    d = p_ - tl.load(a + i, mask=inside, other=0.0)
    pull = tl.load(w + i, mask=inside, other=0.0) * d
    g_ = tl.load(g + i, mask=inside, other=0.0)
    slope = sign * g_ + decay * p_ + strength * pull
    tl.store(sums + tl.program_id(0), tl.sum(pull * d, 0) * strength / 2)
    v_ = tl.load(v + i, mask=inside, other=0.0)
    if ADAM:
        b1, b2 = (tl.load(hyper + 4).to(ACC), tl.load(hyper + 5).to(ACC))
        eps, c1, c2 = (
            tl.load(hyper + 6).to(ACC), tl.load(hyper + 7).to(ACC), tl.load(hyper + 8).to(ACC)
        )  # fmt: skip
        m_ = b1 * tl.load(m + i, mask=inside, other=0.0) + (1 - b1) * slope
        v_ = b2 * v_ + (1 - b2) * slope * slope
        tl.store(m + i, m_, mask=inside)
        move = m_ / c1 / (tl.sqrt(v_ / c2) + eps)
    else:
        v_ = tl.load(hyper + 4).to(ACC) * v_ + slope
        move = v_
    tl.store(v + i, v_, mask=inside)
    tl.store(p + i, p_ - lr * move, mask=inside)


def _launch(p, g, a, w, state, hyper, adam: bool):
    n = p.numel()
    sums = p.new_empty(-(-n // BLOCK))
    if n:
        m, v = (state[0], state[1]) if adam else (state[0], state[0])
        acc = tl.float64 if p.dtype == torch.float64 else tl.float32
        given = (p, g, a, w, v, m, hyper, sums, n)
        _step[(len(sums),)](*given, ADAM=adam, ACC=acc, BLOCK=BLOCK)
    return sums.sum()


fused = op(
    "anchored_(Tensor(a!) p, Tensor g, Tensor a, Tensor w, Tensor(b!) state, Tensor hyper, "
    "bool adam) -> Tensor",
    _launch,
    lambda p, *rest: p.new_empty(()),
)


def example(device):
    """300 weights, SGD."""
    p = torch.linspace(-1, 2, 300, device=device)
    hyper = torch.tensor([0.1, 0.01, 2.0, 1.0, 0.9], device=device)
    return p.clone(), p.sin(), p.cos(), p.abs(), p.clone().view(1, -1), hyper, False


KERNEL = register("anchored", reference, fused, example, dtypes=(torch.float32, torch.float64))


def anchored_step_(
    p: Tensor,
    g: Tensor,
    a: Tensor,
    w: Tensor,
    state: Tensor,
    hyper: Tensor,
    *,
    rule: str = "sgd",
    zero_grad: bool = False,
    impl: str | None = None,
) -> Tensor:
    """Move the weights p in place by one step, anchored at a with importance w; the penalty.

    `hyper` is a tensor of the settings in the order of `SETTINGS[rule]`, as `settings` makes it,
    and `state` what the rule remembers, at first 0. Adam's corrections c1 and c2 are carried along
    in `hyper`. Equal to `torch.optim.SGD` or `Adam` on the loss with the penalty added.

    Paper: Cha et al. 2024 (the penalty); Kingma and Ba 2015.          Chapter: 9
    Shapes: p, g, a, w (n,) contiguous, float32 or float64; state (1, n) for "sgd", (2, n) for
        "adam"; hyper (5,) or (9,); returns a scalar
    Differs: from the released code, which records the penalty with autograd at every step
    Raises: ValueError if a shape, type or device does not fit, or there is no such rule
    """
    if rule not in SETTINGS:
        raise ValueError(f"rule is one of {tuple(SETTINGS)}, got {rule!r}")
    adam = rule == "adam"
    (
        check_alike(p=p, g=g, a=a, w=w),
        check_alike(p=p.reshape(-1)[:0], state=state.reshape(-1)[:0], hyper=hyper.reshape(-1)[:0]),
    )
    if p.ndim != 1 or state.shape != (1 + adam, len(p)) or len(hyper) != len(SETTINGS[rule]):
        needed = f"p (n,), state ({1 + adam}, n) and hyper ({len(SETTINGS[rule])},)"
        raise ValueError(f"{rule} needs {needed}, got {tuple(p.shape)}, {tuple(state.shape)}")
    if not all(t.is_contiguous() for t in (p, g, a, w, state, hyper)):
        raise ValueError("the buffers must be contiguous: they are changed where they lie")
    with torch.no_grad():
        if adam:  # c <- (1 - b) + b c: exact enough from the first step, where 1 - b^t is not
            hyper[7:] = (1 - hyper[4:6]) + hyper[4:6] * hyper[7:]
        penalty = KERNEL(p.detach(), g, a, w, state, hyper, adam, impl=impl)
        if zero_grad:
            g.zero_()
    return penalty


def settings(rule: str, like: Tensor, **values: float) -> Tensor:
    """The settings of a rule as a tensor beside `like`; what is not given has torch's default.

    Raises: ValueError if there is no such rule or setting
    Example:
        >>> settings("sgd", torch.zeros(1), lr=0.1, momentum=0.9)
        tensor([0.1000, 0.0000, 0.0000, 1.0000, 0.9000])
    """
    if rule not in SETTINGS or not set(values) <= set(SETTINGS[rule]):
        raise ValueError(f"the settings are {SETTINGS}, got {rule!r} and {sorted(values)}")
    usual = {"lr": 1e-3, "sign": 1.0, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
    return like.new_tensor([(usual | values).get(name, 0.0) for name in SETTINGS[rule]])


def flatten_(parameters: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Put all parameters, and their gradients, into one buffer each; they become views of it.

    Every tensor begins at a multiple of 16 numbers; the gap is 0 and stays 0.

    Shapes: returns two tensors (n,), weights and gradients
    Raises: ValueError if there is no parameter, or they differ in type or device
    """
    parameters = list(parameters)
    if not parameters or len({(p.dtype, p.device) for p in parameters}) > 1:
        raise ValueError("needs parameters, one at least, all of one type on one device")
    sizes = [-(-p.numel() // PAD) * PAD for p in parameters]
    buffers = [parameters[0].detach().new_zeros(sum(sizes)) for _ in range(2)]
    for p, start in zip(parameters, torch.tensor([0, *sizes]).cumsum(0).tolist(), strict=False):
        weights, slopes = (b[start : start + p.numel()].view(p.shape) for b in buffers)
        weights.copy_(p.detach())
        if p.grad is not None:
            slopes.copy_(p.grad)
        p.data, p.grad = weights, slopes
    return buffers[0], buffers[1]
