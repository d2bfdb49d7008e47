"""The loss of a variational autoencoder, distance and divergence in one pass over both.

    L_b = |h_b - e_b|^2 + w KL(N(mu_b, s_b^2) || N(0, 1)),
    KL = 1/2 sum_k (mu^2 + s^2 - log s^2 - 1)

The network gives l = log s^2, so that s^2 = exp(l) and no logarithm is taken of what may be 0.
The slopes, 2 (h - e), w mu and w (exp(l) - 1) / 2, are computed at the same time.

Bytes: 12 a number of h and 8 of mu and l each; in torch about 40.
"""

from __future__ import annotations

import torch
from torch import Tensor

from minilearn.checks import check_number
from minilearn.kernels.dispatch import check_alike, jit, op, register, tl
from minilearn.kernels.slopes import sloped

BLOCK = 1024


def reference(rebuilt, mean, log_variance, e, weight):
    """The same in the order of the formula."""
    kl = (mean.square() + log_variance.exp() - log_variance - 1).sum(1) / 2
    return (rebuilt - e).square().sum(1) + weight * kl


@jit
def _row(
    h, mean, log_variance, e, out, h_slope, mean_slope, l_slope, width, latent, weight,
    ACC: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0).to(tl.int64)
    distance = tl.zeros((), ACC)
    kl = tl.zeros((), ACC)
    w = tl.cast(weight, ACC)
    for start in range(0, width, BLOCK):
        i = start + tl.arange(0, BLOCK)
        d = tl.load(h + b * width + i, mask=i < width, other=0.0).to(ACC)
        d -= tl.load(e + b * width + i, mask=i < width, other=0.0).to(ACC)
        distance += tl.sum(d * d, 0)
        tl.store(h_slope + b * width + i, 2 * d, mask=i < width)
    for start in range(0, latent, BLOCK):
        k = start + tl.arange(0, BLOCK)
        mu = tl.load(mean + b * latent + k, mask=k < latent, other=0.0).to(ACC)
        log = tl.load(log_variance + b * latent + k, mask=k < latent, other=0.0).to(ACC)
        variance = tl.exp(log)
        kl += tl.sum(mu * mu + variance - log - 1, 0) / 2  # 0 beyond the end: mu 0, variance 1
        tl.store(mean_slope + b * latent + k, w * mu, mask=k < latent)
        tl.store(l_slope + b * latent + k, w * (variance - 1) / 2, mask=k < latent)
    tl.store(out + b, distance + w * kl)


def _launch(rebuilt, mean, log_variance, e, weight: float):
    out, *slopes = _empty(rebuilt, mean, log_variance, e, weight)
    if len(e):
        given = [t.contiguous() for t in (rebuilt, mean, log_variance, e)]
        acc = tl.float64 if e.dtype == torch.float64 else tl.float32
        sizes = (e.shape[1], mean.shape[1], weight)
        _row[(len(e),)](*given, out, *slopes, *sizes, ACC=acc, BLOCK=BLOCK)
    return out, *slopes


def _empty(rebuilt, mean, log_variance, e, weight):
    slopes = (t.new_empty(t.shape) for t in (rebuilt, mean, log_variance))
    return e.new_empty(len(e)), *slopes


elbo_op = op(
    "gaussian_elbo(Tensor rebuilt, Tensor mean, Tensor log_variance, Tensor e, float weight) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
    _launch,
    _empty,
)


def example(device):
    """Four vectors of 30 numbers and a code of 5."""
    e = torch.linspace(-2, 3, 120, device=device).sin().view(4, 30)
    return e.flip(0), e[:, :5], e[:, 5:10], e, 0.5


fused = sloped(elbo_op)
KERNEL = register("gaussian_elbo", reference, fused, example, dtypes=(torch.float32, torch.float64))


def gaussian_elbo(
    rebuilt: Tensor,
    e: Tensor,
    mean: Tensor,
    log_variance: Tensor,
    weight: float,
    *,
    impl: str | None = None,
) -> Tensor:
    """Squared distance plus `weight` times KL(N(mu, s^2) || N(0, 1)), of every vector.

    With weight 2 it is minus twice the evidence lower bound of a Gaussian decoder of variance 1, up
    to a constant. What is to be rebuilt gets no gradient.

    Paper: Kingma and Welling 2014; Shen et al. 2024.          Chapter: 10
    Shapes: rebuilt, e (B, D); mean, log_variance (B, K), of one type; returns (B,)
    Differs: from Shen et al.'s code, which takes the logarithm of s^2 + 1e-8
    Raises: ValueError if shapes, types or devices do not fit
    Example:
        >>> zeros = torch.zeros(1, 2)
        >>> gaussian_elbo(zeros, torch.tensor([[3.0, 4.0]]), zeros, zeros, 0.5)
        tensor([25.])
    """
    check_alike(rebuilt=rebuilt, e=e)
    check_alike(mean=mean, log_variance=log_variance)
    if e.ndim != 2 or mean.ndim != 2 or len(e) != len(mean):
        shapes = f"{tuple(e.shape)} and {tuple(mean.shape)}"
        raise ValueError(f"needs vectors (B, D) and codes (B, K), got {shapes}")
    check_alike(e=e[:0, :0], mean=mean[:0, :0])
    weight = check_number("weight", weight)
    return KERNEL(rebuilt, mean, log_variance, e.detach(), weight, impl=impl)
