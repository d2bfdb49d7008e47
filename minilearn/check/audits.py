"""The exercise of the chapter on audits: one likelihood ratio."""

from __future__ import annotations

import torch
from torch import Tensor

from minilearn.check.exercise import Exercise, numbers, size


def _of_models(order):
    models, candidates = size(order, 4, 8), size(order, 4)
    spread = numbers(order, candidates).exp()
    u, r = (numbers(order, models, candidates) * spread for _ in range(2))
    return numbers(order, candidates) * spread, u + 2, r, float(size(order, 2))


def _log_density(x, values, prior, *, shrunk=True, grown=True, normal=False) -> Tensor:
    n = len(values)
    squares = (values - values.mean(0)).square().sum(0)
    variance = (prior * squares.mean() / (n - 1) + squares) / (prior + n - 1)
    if not shrunk:
        variance = squares / (n - 1)
    if grown:
        variance = variance * (1 + 1 / n)
    if normal:
        return torch.distributions.Normal(values.mean(0), variance.sqrt()).log_prob(x)
    freedom = prior + n - 1
    return torch.distributions.StudentT(freedom, values.mean(0), variance.sqrt()).log_prob(x)


def _ratio(x, unlearned, retrained, prior, **options) -> Tensor:
    asked = _log_density(x, unlearned, prior, **options)
    return asked - _log_density(x, retrained, prior, **options)


AUDITS = {
    "likelihood_ratio": Exercise(
        _of_models,
        _ratio,
        {
            "the sign were flipped": lambda x, u, r, prior: _ratio(x, r, u, prior),
            "the variances were not shrunk": lambda *a: _ratio(*a, shrunk=False),
            "the mean were taken as known": lambda *a: _ratio(*a, grown=False),
            "it were a normal distribution": lambda *a: _ratio(*a, normal=True),
            "the retrained models were left out": lambda x, u, r, prior: _log_density(x, u, prior),
        },
    ),
}
