"""How differently two models answer on the same inputs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from minilearn.checks import as_numbers


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Kullback-Leibler divergence KL(p || q) of every example, summed over classes, in nats.

        KL(p || q) = sum_k p_k (log p_k - log q_k),   0 log 0 = 0

    The book's direction is KL(retrained || unlearned), so the retrained model's log_probs come
    first. It is infinite where q gives no probability to what p holds possible.

    Chapter: 2
    Shapes: log_p, log_q (N, C) log probabilities; returns (N,)
    Target: what two retrained models have between them, which is not 0.
    Cannot see: anything that does not change the answer on these inputs.
    Differs: from torch.nn.functional.kl_div, whose first argument is log q, and whose default mean
        is over N * C numbers
    Raises: ValueError if the shapes differ, or a row does not sum to one
    Example:
        >>> p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.9, 0.1]])
        >>> round(kl(p.log(), q.log()).item(), 4), round(kl(q.log(), p.log()).item(), 4)
        (0.5108, 0.3681)
    """
    log_p, log_q = _log_probs(log_p, log_q)
    return _kl(log_p, log_q).clamp(min=0)  # rounding can leave -1e-8


def js(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Jensen-Shannon divergence of every example, in nats: symmetric, between 0 and log 2.

        JS = KL(p || m) / 2 + KL(q || m) / 2,   m = (p + q) / 2

    Chapter: 2
    Shapes: log_p, log_q (N, C) log probabilities; returns (N,)
    Target: what two retrained models have between them.
    Cannot see: anything that does not change the answer on these inputs.
    Differs: from three published versions, which swap the arguments of torch's kl_div and average
        over classes
    Raises: ValueError if the shapes differ, or a row does not sum to one
    Example:
        >>> p, q = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> round(js(p.log(), q.log()).item(), 4)
        0.6931
    """
    log_p, log_q = _log_probs(log_p, log_q)
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    return ((_kl(log_p, log_m) + _kl(log_q, log_m)) / 2).clamp(min=0)


def wasserstein(u: Tensor, r: Tensor) -> Tensor:
    """Wasserstein-1 distance between two samples of numbers, in their unit.

        W1 = integral |F_u(t) - F_r(t)| dt;   for equal sizes, mean |u_(i) - r_(i)|, sorted values

    Paper: Tarun et al. 2023.          Chapter: 2
    Shapes: u (N,), r (M,); returns () float64 on the CPU
    Target: what two retrained models have between them.
    Cannot see: who got which prediction: print `paired_difference` beside it.
    Differs: none known
    Raises: ValueError if a sample is empty, not flat, or not finite
    Example:
        >>> wasserstein(torch.tensor([0., 0.]), torch.tensor([1., 3.])).item()
        2.0
    """
    from scipy.stats import wasserstein_distance

    u = as_numbers("u", u).double().cpu()
    r = as_numbers("r", r).double().cpu()
    for sample in (u, r):
        if sample.ndim != 1 or len(sample) == 0 or not sample.isfinite().all():
            raise ValueError(
                f"needs flat samples of finite numbers, got shape {tuple(sample.shape)}"
            )
    return torch.tensor(wasserstein_distance(u, r), dtype=torch.float64)


def paired_difference(u: Tensor, r: Tensor) -> Tensor:
    """|u_i - r_i| of every example: how far two models' predictions for the same input lie apart.

    Its mean is at least the Wasserstein distance. With several targets an example's value is the
    mean over them, and over the levels of a quantile forecast.

    Chapter: 2
    Shapes: u, r (N,) or (N, ...); returns (N,), the predictions' unit
    Target: what two retrained models have between them.
    Cannot see: which of the two is right.
    Raises: ValueError if the shapes differ, or a prediction is not finite
    Example:
        >>> paired_difference(torch.tensor([1., 2., 3.]), torch.tensor([3., 1., 2.]))
        tensor([2., 1., 1.])
    """
    u = as_numbers("u", u)
    r = as_numbers("r", r)
    if u.shape != r.shape or u.ndim == 0 or len(u) == 0:
        raise ValueError(
            f"predictions must be paired: got shapes {tuple(u.shape)} and {tuple(r.shape)}"
        )
    u = u if u.is_floating_point() else u.double()
    r = r if r.is_floating_point() else r.double()
    apart = (u - r).abs()
    if not apart.isfinite().all():
        raise ValueError("predictions must be finite numbers: a model has diverged")
    return apart.flatten(1).mean(1) if apart.ndim > 1 else apart


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    p = log_p.exp()
    return torch.where(p > 0, p * (log_p - log_q), 0.0).sum(1)


def _log_probs(log_p: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
    """Both, checked, in float32 or better."""
    for values in (log_p, log_q):
        if not isinstance(values, Tensor) or values.ndim != 2 or values.numel() == 0:
            got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(f"needs two (N, C) tensors of log probabilities, got {got}")
    if log_p.shape != log_q.shape:
        raise ValueError(
            f"the shapes {tuple(log_p.shape)} and {tuple(log_q.shape)} differ: both models must "
            "answer the same inputs"
        )
    return _checked_sum("log_p", log_p), _checked_sum("log_q", log_q)


def _checked_sum(name: str, log_probs: Tensor) -> Tensor:
    # half precision rounds log 0.9999 to a sum that is off by a few parts in a thousand
    half = log_probs.dtype in (torch.float16, torch.bfloat16)
    if half:
        log_probs = log_probs.float()
    total = log_probs.exp().sum(1)
    worst = total[(total - 1).abs().argmax()].item()
    if not abs(worst - 1) < (0.03 if half else 1e-3):
        raise ValueError(
            f"{name} must hold log probabilities, but a row sums to {worst:g} instead of 1: "
            "take log_softmax of the logits first"
        )
    return log_probs
