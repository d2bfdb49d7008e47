"""The exercises of the assignments."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from minilearn.check.exercise import Exercise, numbers, size
from minilearn.draws import normal
from minilearn.kernels.l2_pgd import reference as pgd_reference
from minilearn.parts.attention import attention_transfer


def _draw(order):
    n = size(order)
    index = torch.randperm(50, generator=order)[:n]
    return 30 + 9 * numbers(order, size(order)), index, size(order)


def _batch(order):
    out, answer, label = numbers(order, 3, 4 * size(order))
    forget = torch.arange(len(out)) % 3 == 0  # never half of them
    return out, answer, label, forget


def _maps(order):
    n = 3 * size(order)
    student, teacher = numbers(order, 2, n, size(order), size(order), size(order))
    student[1], teacher[2] = torch.nan, torch.nan  # in retained rows
    return student, teacher, torch.arange(n) % 3 == 0


def _images(order):
    shape = size(order), size(order), size(order), size(order)
    x0, x = (torch.rand(shape, generator=order, dtype=torch.float64) for _ in range(2))
    g = numbers(order, *shape)
    g[0], g[1] = 1e-25 * g[0], 0  # a tiny gradient still gives a whole step, and nought gives none
    return x0 + 0.1 * (x - x0), g, x0, 2.0, 1.5


def _layer(order):
    n = size(order)
    return numbers(order, n, size(order)), numbers(order, n, size(order))


def _weights(order):
    theta, slope, anchor, w = numbers(order, 4, size(order))
    return theta, slope, anchor, w.abs(), 0.1, 0.7


def _features(order):
    n, d = size(order), size(order)
    return numbers(order, n, d), numbers(order, n, d)


def _distances(order):
    kept, gone = (numbers(order, size(order, *ends)).sigmoid() * 2 for ends in ((3, 6), (6, 9)))
    return kept, gone, 3.0


def _errors(order):
    kept, gone, _ = _distances(order)
    return 5 * kept, 5 * gone


def _spread(y: Tensor, correction: int = 0) -> Tensor:
    return y.std(correction=correction)


def _looks(a: Tensor, axis=1, power: int = 2, unit: bool = True) -> Tensor:
    seen = a.abs().pow(power).mean(axis).flatten(1)
    return F.normalize(seen, dim=1) if unit else seen


def _attention(student, teacher, forget) -> Tensor:
    return attention_transfer(student[forget], teacher[forget]).sum() / len(forget)


def _other_maps(student, teacher, forget, **options) -> Tensor:
    apart = _looks(student[forget], **options) - _looks(teacher[forget], **options)
    return apart.square().mean(1).sum() / len(forget)


def _phi(m: Tensor) -> Tensor:
    return (m / (m + 1)).exp()


def _step(x, g, x0, alpha, eps, first: bool = True) -> Tensor:
    return pgd_reference(x, g, x0, alpha, eps, 0.0, 1.0, first)


def _over_batch(x, g, x0, alpha, eps):
    d = (x - alpha * g / g.norm()).clamp(0, 1) - x0
    return x0 + d * (eps / d.norm()).clamp(max=1)


def _blindspot(out, answer, label, forget) -> Tensor:
    return (out - torch.where(forget, answer.detach(), label)).abs().mean()


ASSIGNMENTS = {
    "draw": Exercise(
        _draw,
        lambda y, i, seed: y.mean() + _spread(y) * normal(seed, i).double(),
        {
            "the deviation had a correction, as for a sample": lambda y, i, seed: (
                y.mean() + _spread(y, 1) * normal(seed, i).double()
            ),
            "the draw depended on the place in the batch and not on the example's number": (
                lambda y, i, seed: (
                    y.mean() + _spread(y) * normal(seed, torch.arange(len(i))).double()
                )
            ),
            "the variance were used instead of the deviation": lambda y, i, seed: (
                y.mean() + _spread(y) ** 2 * normal(seed, i).double()
            ),
        },
    ),
    "blindspot_loss": Exercise(
        _batch,
        _blindspot,
        {
            "the teacher were not detached": lambda out, answer, label, forget: (
                (out - torch.where(forget, answer, label)).abs().mean()
            ),
            "forgotten and retained rows were exchanged": lambda out, answer, label, forget: (
                (out - torch.where(forget, label, answer)).abs().mean()
            ),
            "the two means were added without their shares of the batch": (
                lambda out, answer, label, forget: (
                    (out - answer)[forget].abs().mean() + (out - label)[~forget].abs().mean()
                )
            ),
            "errors were squared": lambda out, answer, label, forget: (
                (out - torch.where(forget, answer, label)).square().mean()
            ),
        },
        gradients=(0, 1),
    ),
    "attention_loss": Exercise(
        _maps,
        _attention,
        {
            "the teacher were not detached": _other_maps,
            "a mean were taken over forgotten rows only": lambda *a: (
                _attention(*a) * len(a[2]) / a[2].sum()
            ),
            "maps were not divided by their lengths": lambda *a: _other_maps(*a, unit=False),
            "maps were divided by the number of their entries": lambda a, b, forget: (
                _other_maps(a, b, forget, unit=False) / (a.shape[2] * a.shape[3]) ** 2
            ),
            "it averaged positions and not channels": lambda *a: _other_maps(*a, axis=(2, 3)),
            "absolute values were averaged and not squares": lambda *a: _other_maps(*a, power=1),
            "the mask were multiplied, which lets NaN through": lambda a, b, forget: (
                forget * (_looks(a) - _looks(b)).square().mean(1)
            ).mean(),
        },
        gradients=(0, 1),
    ),
    "pgd_step": Exercise(
        _images,
        _step,
        {
            "it went up the gradient and not down": lambda x, g, *rest: _step(x, -g, *rest),
            "it projected before it clamped": lambda *args: _step(*args, first=False),
            "the length were taken over the whole batch": _over_batch,
            "a bound kept lengths from nought, and tiny gradients fell under it": lambda *args: (
                _step(args[0], args[1] * (args[1].abs() > 1e-20), *args[2:])
            ),
        },
    ),
    "importance": Exercise(
        _layer,
        lambda a, g: g.abs().T @ a.abs(),
        {
            "absolute values were taken after the sum over items": lambda a, g: (g.T @ a).abs(),
            "it were a mean over items and not a sum": lambda a, g: g.abs().T @ a.abs() / len(a),
            "the absolute values of the inputs were forgotten": lambda a, g: g.abs().T @ a,
            "rows and columns of the result were exchanged": lambda a, g: a.abs().T @ g.abs(),
            "squares were summed and not absolute values": lambda a, g: g.square().T @ a.square(),
        },
    ),
    "anchored_step": Exercise(
        _weights,
        lambda p, g, a, w, lr, lam: p - lr * (g + lam * w * (p - a)),
        {
            "the anchor pushed away": lambda p, g, a, w, lr, lam: p - lr * (g - lam * w * (p - a)),
            "the penalty's gradient were twice too large": lambda p, g, a, w, lr, lam: (
                p - lr * (g + 2 * lam * w * (p - a))
            ),
            "the pull were not multiplied by the learning rate": lambda p, g, a, w, lr, lam: (
                p - lr * g - lam * w * (p - a)
            ),
        },
    ),
    "turned": Exercise(
        _features,
        lambda e, e_o: 1 - F.cosine_similarity(e, e_o),
        {
            "it were the cosine itself": lambda e, e_o: F.cosine_similarity(e, e_o),
            "the vectors were not divided by their lengths": lambda e, e_o: 1 - (e * e_o).sum(1),
            "columns were compared and not rows, or a mean were taken": lambda e, e_o: (
                1 - F.cosine_similarity(e, e_o).mean().expand(len(e))
            ),
        },
    ),
    "alignment": Exercise(
        _distances,
        lambda kept, gone, tau: kept.sum() - len(kept) * (gone / tau).logsumexp(0),
        {
            "the temperature divided the retained distances too": lambda kept, gone, tau: (
                kept.sum() / tau - len(kept) * (gone / tau).logsumexp(0)
            ),
            "the sign were turned around": lambda kept, gone, tau: (
                len(kept) * (gone / tau).logsumexp(0) - kept.sum()
            ),
            "it were a mean over retained images and not a sum": lambda kept, gone, tau: (
                kept.mean() - (gone / tau).logsumexp(0)
            ),
            "the forgotten ones were counted once and not for every retained one": (
                lambda kept, gone, tau: kept.sum() - (gone / tau).logsumexp(0)
            ),
        },
        gradients=(0, 1),
    ),
    "extraction": Exercise(
        _errors,
        lambda kept, gone: _phi(kept).sum() - _phi(gone).sum(),
        {
            "the sign of the forgotten ones were flipped": lambda kept, gone: (
                _phi(kept).sum() + _phi(gone).sum()
            ),
            "the forgotten ones were left out": lambda kept, gone: _phi(kept).sum(),
            "means were taken and not sums": lambda kept, gone: (
                _phi(kept).mean() - _phi(gone).mean()
            ),
            "the error itself were used and not its saturated form": lambda kept, gone: (
                kept.sum() - gone.sum()
            ),
        },
        gradients=(0, 1),
    ),
}
