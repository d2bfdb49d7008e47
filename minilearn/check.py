"""Checkers that answer back: is a function of yours right, and if not, which mistake is it?

>>> check("importance", lambda a, g: (g.T @ a).abs())
importance: not right. It looks as if absolute values were taken after the sum over items.
False
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from minilearn.draws import normal
from minilearn.kernels.l2_pgd import reference as pgd_reference

CASES = 4  # random inputs, of other shapes each
CLOSE = 1e-6  # relative, in double precision


@dataclass(frozen=True)
class Exercise:
    """What is asked for: random arguments, the right answer, and wrong ones with their names."""

    make: Callable[[torch.Generator], tuple]
    oracle: Callable
    mistakes: dict[str, Callable]


def check(name: str, attempt: Callable, *, seed: int = 0) -> bool:
    """Try a function on random inputs in double precision, and say in a sentence how it did.

    It gets copies, so that nothing is lost if it changes them, and no error comes out of it: an
    exception in `attempt` is part of the answer.

    Raises: ValueError if there is no exercise of that name
    Example:
        >>> check("extraction", lambda kept, gone: (kept / (kept + 1)).exp().sum())
        extraction: not right. It looks as if the forgotten ones were left out.
        False
    """
    if name not in EXERCISES:
        raise ValueError(f"there is no exercise {name!r}, only {', '.join(EXERCISES)}")
    right, sentence = verdict(EXERCISES[name], attempt, seed)
    print(f"{name}: {sentence}")
    return right


def verdict(exercise: Exercise, attempt: Callable, seed: int = 0) -> tuple[bool, str]:
    """Whether it is right, and what there is to say."""
    order = torch.Generator().manual_seed(seed)
    cases = [exercise.make(order) for _ in range(CASES)]
    expected = [exercise.oracle(*case) for case in cases]
    answers = []
    for case in cases:
        given = [a.clone() if isinstance(a, Tensor) else a for a in case]
        try:
            answer = attempt(*given)
        except NotImplementedError:
            return False, "not attempted"
        except Exception as error:
            words = " ".join(str(error).split())[:200]
            return False, f"not right. It raised {type(error).__name__}{': ' * bool(words)}{words}"
        if not isinstance(answer, Tensor):
            return False, f"not right. It must return a tensor, got {type(answer).__name__}."
        if any(isinstance(a, Tensor) and not _same(a, b) for a, b in zip(given, case, strict=True)):
            return False, "not right. It changes what it is given: work on a copy."
        answers.append(answer.detach().double())
    if all(map(_same, answers, expected)):
        return True, "right, to the last digit."
    if all(map(_close, answers, expected)):
        return True, f"right; the largest difference is {_gap(answers, expected)}: rounding."
    for mistake, wrong in exercise.mistakes.items():
        if all(_close(a, wrong(*case)) for a, case in zip(answers, cases, strict=True)):
            return False, f"not right. It looks as if {mistake}."
    for a, b in zip(answers, expected, strict=True):
        if a.shape != b.shape:
            shapes = f"{tuple(a.shape)} where {tuple(b.shape)} is asked for"
            return False, f"not right. It returns the shape {shapes}."
    return False, f"not right. The largest difference is {_gap(answers, expected)}."


def _gap(answers: list[Tensor], expected: list[Tensor]) -> str:
    gaps = torch.stack([(a - b).abs().max() for a, b in zip(answers, expected, strict=True)])
    return f"{float(gaps.max()):.2g}"


def _same(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a, b)


def _close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b.double(), rtol=CLOSE, atol=1e-9)


def _numbers(order: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=order, dtype=torch.float64)


def _size(order: torch.Generator, low: int = 3, high: int = 9) -> int:
    return int(torch.randint(low, high, (), generator=order))


def _draw(order):
    n = _size(order)
    index = torch.randperm(50, generator=order)[:n]
    return 30 + 9 * _numbers(order, _size(order)), index, _size(order)


def _batch(order):
    out, answer, label = _numbers(order, 3, 4 * _size(order))
    forget = torch.arange(len(out)) % 3 == 0  # never half of them
    return out, answer, label, forget


def _map(order):
    return (_numbers(order, _size(order), _size(order), _size(order), _size(order)),)


def _images(order):
    shape = _size(order), _size(order), _size(order), _size(order)
    x0, x = (torch.rand(shape, generator=order, dtype=torch.float64) for _ in range(2))
    return x0 + 0.1 * (x - x0), _numbers(order, *shape), x0, 2.0, 1.5


def _layer(order):
    n = _size(order)
    return _numbers(order, n, _size(order)), _numbers(order, n, _size(order))


def _weights(order):
    theta, slope, anchor, w = _numbers(order, 4, _size(order))
    return theta, slope, anchor, w.abs(), 0.1, 0.7


def _features(order):
    n, d = _size(order), _size(order)
    return _numbers(order, n, d), _numbers(order, n, d)


def _distances(order):
    kept, gone = (_numbers(order, _size(order, *ends)).sigmoid() * 2 for ends in ((3, 6), (6, 9)))
    return kept, gone, 3.0


def _errors(order):
    kept, gone, _ = _distances(order)
    return 5 * kept, 5 * gone


def _spread(y: Tensor, correction: int = 0) -> Tensor:
    return y.std(correction=correction)


def _looks(a: Tensor, axis=1, power: int = 2) -> Tensor:
    return F.normalize(a.abs().pow(power).mean(axis).flatten(1), dim=1)


def _phi(m: Tensor) -> Tensor:
    return (m / (m + 1)).exp()


def _step(x, g, x0, alpha, eps, first: bool = True) -> Tensor:
    return pgd_reference(x, g, x0, alpha, eps, 0.0, 1.0, first)


def _over_batch(x, g, x0, alpha, eps):
    d = (x - alpha * g / g.norm()).clamp(0, 1) - x0
    return x0 + d * (eps / d.norm()).clamp(max=1)


EXERCISES = {
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
        lambda out, answer, label, forget: (out - torch.where(forget, answer, label)).abs().mean(),
        {
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
    ),
    "attention_map": Exercise(
        _map,
        _looks,
        {
            "it averaged positions and not channels": lambda a: _looks(a, (2, 3)),
            "it were not divided by its length": lambda a: a.square().mean(1).flatten(1),
            "absolute values were averaged and not squares": lambda a: _looks(a, power=1),
        },
    ),
    "pgd_step": Exercise(
        _images,
        _step,
        {
            "it went up the gradient and not down": lambda x, g, *rest: _step(x, -g, *rest),
            "it projected before it clamped": lambda *args: _step(*args, first=False),
            "the length were taken over the whole batch": _over_batch,
        },
    ),
    "importance": Exercise(
        _layer,
        lambda a, g: g.abs().T @ a.abs(),
        {
            "absolute values were taken after the sum over items": lambda a, g: (g.T @ a).abs(),
            "it were a mean over items and not a sum": lambda a, g: g.abs().T @ a.abs() / len(a),
            "the absolute value of the inputs were forgotten": lambda a, g: g.abs().T @ a,
        },
    ),
    "anchored_step": Exercise(
        _weights,
        lambda p, g, a, w, lr, lam: p - lr * (g + lam * w * (p - a)),
        {
            "the anchor pushed away": lambda p, g, a, w, lr, lam: p - lr * (g - lam * w * (p - a)),
            "the penalty's slope were twice too large": lambda p, g, a, w, lr, lam: (
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
    ),
}
