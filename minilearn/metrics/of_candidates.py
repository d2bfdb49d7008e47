"""What many models say of one candidate: the number that is kept, and how far two kinds lie apart.

In every *draw* another half of a pool of candidates is forgotten; see `minilearn.trials`, which
makes the models. Every number here has its null beside it: the same number for a second retrained
model in the place of the unlearned one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from minilearn.checks import as_numbers, check_count, check_integers, check_number
from minilearn.evaluation import Evaluation
from minilearn.metrics.utility import check_evaluations

KNOWN = 2.0  # standard deviations by which an original must be told from the retrained


def signal(result: Evaluation, kept: Sequence[int] | None = None) -> Tensor:
    """A model's score at each example, from which attacks work: (N,) float64.

    For classes phi = log p_y - log(1 - p_y); for a number the prediction itself, with its sign: how
    wrong it is says less than in which direction.

    Where a whole class is forgotten phi moves with that class's logit, at all examples at once.
    What the example itself has left behind is in the other classes: give those that are `kept`, and
    each of their log-probabilities, among them alone, is a candidate of its own: (N K,).

    Paper: Carlini et al. 2022, for phi.
    Raises: ValueError if there are several numbers an example, or `kept` has no two classes of it
    """
    check_evaluations(result)
    if kept is not None:
        classes = 0 if result.targets.is_floating_point() else result.outputs.shape[1]
        kept = check_integers("kept", kept).tolist()
        if len(set(kept)) < 2 or not set(kept) <= set(range(classes)):
            raise ValueError(f"kept must be classes below {classes}, two or more, got {kept!r:.80}")
        return result.outputs[:, kept].double().log_softmax(1).flatten()
    if not result.targets.is_floating_point():
        return result.confidence.double()
    if result.outputs.ndim != 1:
        shape = tuple(result.outputs.shape)
        words = f"one prediction per example is needed, (N,), got shape {shape}"
        raise ValueError(words + ": squeeze the network's answers and the targets" * (1 in shape))
    return result.outputs.double()


def memory_left(
    unlearned: Tensor, retrained: Tensor, original: Tensor, forgotten: Tensor
) -> Tensor:
    """How much of what the original knew of a candidate is left: 1 all of it, 0 as if retrained.

        M_i = (mu_unlearned - mu_retrained) / (mu_original - mu_retrained)

    Below 0 a candidate was forgotten beyond retraining. NaN stands where the original does not
    visibly know it: where its mean lies less than two standard deviations from the retrained one.
    On which side does not matter: what a model remembers moves a prediction up or down.

    Shapes: unlearned, retrained, original, forgotten (T, P), as in `ulira`; returns (P,) float64
    Target: 0, within what a second retrained model has.
    Cannot see: the spread of the models, of which `ulira` makes use.
    Raises: ValueError as `ulira`
    """
    u, r, o = (of_forgotten(values, forgotten) for values in (unlearned, retrained, original))
    head = o.mean(0) - r.mean(0)
    known = head.abs() > KNOWN * (r.std(0) if len(r) > 1 else math.inf)
    return torch.where(known, (u.mean(0) - r.mean(0)) / head, math.nan)


def divergence_of_fits(
    unlearned: Tensor, retrained: Tensor, forgotten: Tensor, *, prior: float = 8.0
) -> float:
    """KL(unlearned || retrained) of the two normal distributions of a candidate, their mean; nats.

    Shapes: as `ulira`
    Target: what a second retrained model has; near 0 with many draws.
    Cannot see: what is not normal.
    Raises: ValueError as `ulira`, or if a candidate was forgotten in fewer than two draws
    """
    prior = check_number("prior", prior, 0)
    u, r = (of_forgotten(values, forgotten) for values in (unlearned, retrained))
    if len(u) < 2:
        raise ValueError(
            f"one model per candidate, of {len(forgotten)} draws, has no spread: give four draws "
            "in pairs or more, or two that forget every candidate"
        )
    (mean_u, var_u), (mean_r, var_r) = fit_of(u, prior), fit_of(r, prior)
    apart = (mean_u - mean_r).square()
    each = 0.5 * (var_u / var_r + apart / var_r - 1 - (var_u / var_r).log())
    return each.mean().item()


def klom(unlearned: Tensor, retrained: Tensor, forgotten: Tensor, *, bins: int = 20) -> Tensor:
    """KL divergence of margins: KL(unlearned || retrained) of a candidate's two histograms, nats.

    Both have the same bins, which part the range of all values of the candidate equally. A bin that
    no retrained model meets counts as 1e-5.

    Shapes: as `ulira`; returns (P,) float64
    Paper: Georgiev et al. 2024, KLoM, whose margin is `signal`.
    Target: what a second retrained model has, which is not near 0: with few models hardly any bin
        is met by both kinds. Read it beside that null, or take `divergence_of_fits`.
    Cannot see: how far apart two histograms lie that do not overlap.
    Differs: the largest value of all lies in the last bin, which the released code leaves out; as
        there, values are clipped to 100 either way
    Raises: ValueError as `ulira`, if `bins` is not a whole number from 2 on, or if all answers at a
        candidate are clipped to one number
    """
    bins = check_count("bins", bins, 2)
    both = torch.cat([of_forgotten(values, forgotten) for values in (unlearned, retrained)])
    apart = both.amin(0) < both.amax(0)
    both = both.clamp(-100, 100)
    low, high = both.amin(0), both.amax(0)
    if bool((apart & (low == high)).any()):
        raise ValueError(
            f"answers lie beyond {low.abs().max():g}, where they are clipped as in the released "
            "code, and nothing is left to compare: give them in another unit"
        )
    u, r = both.chunk(2)

    def shares(values: Tensor) -> Tensor:
        place = ((values - low) / (high - low).clamp(min=1e-12) * bins).long().clamp(max=bins - 1)
        return F.one_hot(place, bins).double().mean(0)

    p, q = shares(u), shares(r).clamp(min=1e-5)
    return (torch.special.xlogy(p, p) - torch.special.xlogy(p, q)).sum(1)


def of_forgotten(values: Tensor, forgotten: Tensor) -> Tensor:
    """What the model says that forgot a candidate, one of each pair of draws: (T / 2, P) float64.

    Where every draw forgets every candidate, each of them: (T, P).

    Raises: ValueError as `ulira`
    Example:
        >>> of_forgotten([[1.0, 2.0], [3.0, 4.0]], torch.tensor([[True, False], [False, True]]))
        tensor([[1., 4.]], dtype=torch.float64)
    """
    draws = draw_that_forgets(forgotten)
    values = checked_answers(values, len(forgotten))
    if values.shape != forgotten.shape:
        shapes = f"{tuple(values.shape)} and {tuple(forgotten.shape)}"
        raise ValueError(f"answers and forgotten must have one shape (T, P), got {shapes}")
    return values.gather(0, draws)


def draw_that_forgets(forgotten: Tensor) -> Tensor:
    """The draw that forgets a candidate, of each pair, (T / 2, P); or all of them, (T, P)."""
    if not isinstance(forgotten, Tensor) or forgotten.dtype != torch.bool or forgotten.ndim != 2:
        raise ValueError("forgotten must be a boolean tensor (T, P), a row per draw")
    forgotten = forgotten.cpu()
    number = torch.arange(len(forgotten))[:, None]
    if bool(forgotten.all()):
        return number.expand_as(forgotten)
    if len(forgotten) % 2 or not torch.equal(forgotten[0::2], ~forgotten[1::2]):
        raise ValueError("draws must come in pairs: what one forgets, the next one keeps")
    return number[0::2] + forgotten[1::2].long()


def checked_answers(values, draws: int) -> Tensor:
    """What the models of so many draws say, as finite float64 numbers of two axes."""
    values = as_numbers("answers", values).double().cpu()
    if values.ndim != 2 or len(values) != draws:
        shape = tuple(values.shape)
        raise ValueError(f"answers must be numbers (T, P) with {draws} rows, got shape {shape}")
    bad = (~values.isfinite()).nonzero()
    if len(bad):
        draw, place = bad[0].tolist()
        where = f"the first is that of draw {draw} at place {place}"
        raise ValueError(f"answers must be finite: {len(bad)} are not, {where}")
    return values


def fit_of(values: Tensor, prior: float) -> tuple[Tensor, Tensor]:
    """Mean and shrunken variance of every candidate, from (n, P)."""
    squares = (values - values.mean(0)).square().sum(0)
    pooled = squares.mean() / (len(values) - 1)
    variance = (prior * pooled + squares) / (prior + len(values) - 1)
    floor = 1e-12 * values.square().max()  # whatever the unit of the answers
    return values.mean(0), variance.clamp(min=max(floor.item(), 1e-300))
