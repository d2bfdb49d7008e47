"""The exercises of the chapters."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minilearn.check.exercise import NOTHING, Exercise, numbers, size
from minilearn.losses import divergence
from minilearn.metrics.attacks import tpr_at_fpr
from minilearn.models import mode


def _labels(order, rows: int, classes: int) -> Tensor:
    return torch.randint(classes, (rows,), generator=order)


def _two_batches(order):
    n, m, k = size(order, 3, 6), size(order, 6, 9), size(order)
    return (
        numbers(order, n, k),
        _labels(order, n, k),
        numbers(order, m, k),
        _labels(order, m, k),
        0.7,
    )


def _ascent(out, y, out_r, y_r, alpha, forget: float | None = None, **options) -> Tensor:
    climbed, descended = (F.cross_entropy(*pair, **options) for pair in ((out, y), (out_r, y_r)))
    return alpha * descended - (1 - alpha if forget is None else forget) * climbed


def _scores(order):
    members, others = numbers(order, 40) + 1, numbers(order, 10 * size(order, 3, 7))
    ranked = others.sort(descending=True).values
    threshold, above = ranked[len(others) // 10], ranked[len(others) // 10 - 1]
    members[:3] = threshold  # ties count
    members[3:6] = threshold + (above - threshold) / 100  # so does where it lies exactly
    members[6:9] = threshold + (above - threshold) / 2
    return members, others, 0.1


def _above(members, others, rank: int) -> Tensor:
    return (members > others.sort(descending=True).values[rank]).double().mean()


def _blindspot(order):
    n, d = size(order, 6), size(order)
    blindspot_model = nn.Sequential(nn.BatchNorm1d(d), nn.Linear(d, 1), nn.Flatten(0)).double()
    for parameter in blindspot_model.parameters():
        parameter.data = numbers(order, *parameter.shape)
    return blindspot_model, 3 + numbers(order, n, d), numbers(order, size(order))


def _taught(blindspot_model, x, y, train: bool = False) -> Tensor:
    with mode(blindspot_model, train):
        return torch.cat([blindspot_model(x), y])


def _taught_calmly(blindspot_model, x, y) -> Tensor:
    return _taught(blindspot_model, x, y).detach()


def _call_taught(function: Callable, *given) -> tuple:
    answer = function(*given)
    if not isinstance(answer, Tensor):
        return answer, NOTHING
    return answer.detach(), torch.tensor([float(answer.requires_grad)])


def _scored(order):
    said, true = numbers(order, 2, size(order, 8, 14))
    said[:3] = said[3:6]  # ties among the answers
    true[1:4] = true[4:7]  # and among the true scores
    return said, true


def _in_order(said, true, tie: float = 0.5, alike: bool = False) -> Tensor:
    asked = true[:, None] < true
    if alike:
        asked = (true[:, None] <= true).fill_diagonal_(False)
    right = (said[:, None] < said) + tie * (said[:, None] == said)
    return right[asked].double().mean()


def _neighbours(said, true) -> Tensor:
    asked = true[:-1] != true[1:]
    rises = (true[:-1] < true[1:])[asked]
    right = ((said[:-1] < said[1:])[asked] == rises) & (said[:-1] != said[1:])[asked]
    return (right + 0.5 * (said[:-1] == said[1:])[asked]).double().mean()


def _days(order):
    hours = size(order)
    rows = (numbers(order, size(order, *ends), hours) for ends in ((6, 9), (9, 13)))
    return *rows, size(order)


def _borrowed(y, y_r, seed: int, whole: bool = True) -> Tensor:
    lots, (rows, hours) = torch.Generator().manual_seed(seed), y.shape
    drawn = torch.randint(len(y_r), (rows, 1 if whole else hours), generator=lots)
    return y_r[drawn, torch.arange(hours)]


def _share(rows: Tensor, of: Tensor) -> Tensor:
    """The share of rows that stand in `of`."""
    return (rows[:, None] - of).abs().amax(2).amin(1).lt(1e-6).double().mean()


def _call_borrowed(function: Callable, y, y_r, seed) -> tuple:
    """What is drawn is free; what kind of days they are, and that the seed decides, is not."""
    answer = function(y, y_r, seed)
    if not isinstance(answer, Tensor) or answer.shape != y.shape:
        return answer, NOTHING
    mixed = _share(answer.sort(1).values, y_r.sort(1).values)
    one, mean = answer[:1], y_r.mean(0, keepdim=True)
    kinds = [_share(answer, of) for of in (y_r, y, one, mean)]
    copied = _share(answer.flatten()[None], y_r[: len(y)].flatten()[None])
    seen = [bool(share == 1) for share in (*kinds, mixed, copied)]
    seeded = [True, True]
    if seen == [True, False, False, False, True, False]:  # the days are as they should be
        again, another = function(y, y_r, seed), function(y, y_r, seed + 1)
        seeded = [torch.equal(answer, again), not torch.equal(answer, another)]
    return torch.zeros_like(answer), torch.tensor(seen + seeded)


def _from_nowhere(y, y_r, seed: int) -> Tensor:
    """Days of torch's own generator."""
    return _borrowed(y, y_r, int(torch.randint(1 << 30, ())))


def _items(order):
    n, m, k = size(order, 4, 8), size(order), size(order)
    y, out = _labels(order, n, k), numbers(order, n, k)
    out[torch.arange(n // 2), y[: n // 2]] += 9  # these are still recognised
    out[torch.arange(n // 2, n), y[n // 2 :]] -= 9
    return out, y, numbers(order, m, k), _labels(order, m, k)


def _guarded(out, y, out_adv, y_adv, recognised=None) -> Tensor:
    if recognised is None:
        recognised = out.argmax(1) == y
    ascent = (recognised * F.cross_entropy(out, y, reduction="none")).mean()
    return (F.cross_entropy(out_adv, y_adv) - ascent) / 2


def _recognised_only(out, y, out_adv, y_adv) -> Tensor:
    left = out.argmax(1) == y
    return (F.cross_entropy(out_adv, y_adv) - F.cross_entropy(out[left], y[left])) / 2


def _logits(order):
    n, k = 3 * size(order), size(order)
    return *numbers(order, 3, n, k), torch.arange(n) % 3 == 0


def _two_teachers(out, good, bad, forget, swapped: bool = False) -> Tensor:
    teacher = torch.where(forget[:, None], bad, good)
    return divergence(*((out, teacher) if swapped else (teacher, out))).mean()


CHAPTERS = {
    "neggrad": Exercise(
        _two_batches,
        _ascent,
        {
            "the sign of the forget term were flipped": lambda *a: _ascent(*a, forget=a[4] - 1),
            "alpha weighted the forget term": lambda *a: _ascent(*a[:4], 1 - a[4]),
            "the two sets were exchanged": lambda *a: _ascent(*a[2:4], *a[:2], a[4]),
            "the weights were forgotten": lambda *a: _ascent(*a[:4], 1, forget=1),
            "sums were taken over the batch and not means": lambda *a: _ascent(*a, reduction="sum"),
            "the forget term had full weight": lambda *a: _ascent(*a, forget=1),
        },
        gradients=(0, 2),
    ),
    "tpr_at_fpr": Exercise(
        _scores,
        lambda m, o, fpr: torch.tensor(tpr_at_fpr(m, o, fpr), dtype=torch.float64),
        {
            "members that tie with the threshold were accused": lambda m, o, fpr: (
                (m >= o.sort(descending=True).values[len(o) // 10]).double().mean()
            ),
            "the threshold were taken from the members": lambda m, o, fpr: (
                (m > m.sort(descending=True).values[int(fpr * len(m))]).double().mean()
            ),
            "one false accusation too few were allowed": lambda m, o, fpr: _above(
                m, o, len(o) // 10 - 1
            ),
            "quantile had put the threshold between two scores": lambda m, o, fpr: (
                (m > o.quantile(1 - fpr)).double().mean()
            ),
            "low scores were taken for members'": lambda m, o, fpr: _above(-m, -o, len(o) // 10),
        },
    ),
    "relabelled": Exercise(
        _blindspot,
        _taught_calmly,
        {
            "the blindspot model were not detached": _taught,
            "the blindspot model were asked in training mode": lambda b, x, y: _taught(
                b, x, y, train=True
            ).detach(),
            "the retained targets came first": lambda b, x, y: _taught_calmly(b, x, y).roll(len(y)),
            "every forgotten input got the mean answer": lambda b, x, y: torch.cat(
                [_taught_calmly(b, x, y[:0]).mean().expand(len(x)), y]
            ),
        },
        call=_call_taught,
        beside="whether a gradient leads to the blindspot model",
    ),
    "in_order": Exercise(
        _scored,
        _in_order,
        {
            "a tie among the answers were counted as right": lambda s, t: _in_order(s, t, tie=1),
            "a tie among the answers were counted as wrong": lambda s, t: _in_order(s, t, tie=0),
            "pairs with the same true score were counted": lambda s, t: _in_order(s, t, alike=True),
            "the order were turned round": lambda s, t: _in_order(-s, t),
            "only neighbours in the list were compared": _neighbours,
        },
    ),
    "borrowed": Exercise(
        _days,
        _borrowed,
        {
            "every hour were drawn by itself, so that no day is whole": lambda y, y_r, seed: (
                _borrowed(y, y_r, seed, whole=False)
            ),
            "all got one day": lambda y, y_r, seed: y_r[:1].expand_as(y),
            "all got the mean day": lambda y, y_r, seed: y_r.mean(0).expand_as(y),
            "forgotten days were drawn": lambda y, y_r, seed: _borrowed(y, y, seed),
            "the first days were taken and none was drawn": lambda y, y_r, seed: y_r[: len(y)],
            "the hours of the days were shuffled": lambda y, y_r, seed: _borrowed(
                y, y_r, seed
            ).flip(1),
            "the seed were ignored: one seed gave two draws": _from_nowhere,
            "the seed were ignored: every seed gave the same draw": lambda y, y_r, seed: _borrowed(
                y, y_r, 0
            ),
        },
        call=_call_borrowed,
        beside="where the days come from, and at what the seed does",
    ),
    "guarded": Exercise(
        _items,
        _guarded,
        {
            "items that are misclassified already still counted": (
                lambda *a: _guarded(*a, recognised=True)
            ),
            "the mean were taken over the recognised items only": _recognised_only,
            "the sign of the forget term were flipped": lambda *a: _guarded(
                *a, recognised=-1.0 * (a[0].argmax(1) == a[1])
            ),
            "the adversarial images were left out": (
                lambda *a: _guarded(*a) - F.cross_entropy(*a[2:]) / 2
            ),
            "the two terms were not halved": lambda *a: 2 * _guarded(*a),
        },
        gradients=(0, 2),
    ),
    "two_teachers": Exercise(
        _logits,
        lambda out, good, bad, forget: _two_teachers(out, good.detach(), bad.detach(), forget),
        {
            "the teacher were not detached": _two_teachers,
            "the teachers were exchanged": lambda out, good, bad, forget: _two_teachers(
                out, bad.detach(), good.detach(), forget
            ),
            "the arguments of the divergence were exchanged": lambda out, good, bad, forget: (
                _two_teachers(out, good.detach(), bad.detach(), forget, swapped=True)
            ),
            "a mean were taken over classes and not over the batch alone": (
                lambda out, good, bad, forget: (
                    _two_teachers(out, good.detach(), bad.detach(), forget) / out.shape[1]
                )
            ),
            "a sum were taken over the batch and not a mean": lambda out, good, bad, forget: (
                _two_teachers(out, good.detach(), bad.detach(), forget) * len(out)
            ),
            "the student's logarithms were forgotten": lambda out, good, bad, forget: F.kl_div(
                out.softmax(1),
                torch.where(forget[:, None], bad, good).detach().log_softmax(1),
                log_target=True,
                reduction="batchmean",
            ),
        },
        gradients=(0, 1, 2),
    ),
}
