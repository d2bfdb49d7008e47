"""Attacks that know one example at a time: models that forgot it, against models that never saw it.

They need many models. In every *draw* another half of a pool of candidates is forgotten; see
`minilearn.trials`, which makes the models. Every number here has its null beside it: the same
number for a second retrained model in the place of the unlearned one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from minilearn.checks import as_numbers, check_count, check_integers, check_number
from minilearn.draws import order_of
from minilearn.evaluation import Evaluation
from minilearn.metrics.attacks import tpr_at_fpr
from minilearn.metrics.utility import check_evaluations

FEWEST_ITEMS, FEWEST_PAIRS = 4, 6  # with fewer there is no verdict: the null alone strays by .05
FOLDS = 8  # times that the pairs are split into two folds
KNOWN = 2.0  # standard deviations by which an original must be told from the retrained


@dataclass(frozen=True)
class Verdict:
    """How well an attack tells unlearned models from retrained ones, candidate by candidate.

    `auc` is the mean over pairs of draws, 0.5 where it cannot; `low` and `high` are its interval,
    Student's at 95 % over the pairs. All are NaN where there are too few candidates or draws.
    """

    auc: float
    low: float
    high: float
    tpr_at_1fpr: float
    candidates: int
    draws: int

    def __str__(self) -> str:
        """`auc 0.874 [0.860, 0.889], 128 candidates, 64 draws`."""
        of = f"{self.candidates} candidates, {self.draws} draws"
        if math.isnan(self.auc):
            least = f"{FEWEST_ITEMS} candidates and {2 * FEWEST_PAIRS} draws"
            return f"no verdict: it takes {least}, here are {of}"
        return f"auc {self.auc:.3f} [{self.low:.3f}, {self.high:.3f}], {of}"


def signal(result: Evaluation, kept: Sequence[int] | None = None) -> Tensor:
    """The number that a model is known by at an example: (N,) float64.

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
        if len(kept) < 2 or not set(kept) <= set(range(classes)):
            raise ValueError(f"kept must be classes below {classes}, two or more, got {kept!r:.80}")
        return result.outputs[:, kept].double().log_softmax(1).flatten()
    if not result.targets.is_floating_point():
        return result.confidence.double()
    if result.outputs.ndim != 1:
        shape = tuple(result.outputs.shape)
        raise ValueError(f"one prediction an example is needed, (N,), got shape {shape}")
    return result.outputs.double()


def ulira(
    unlearned: Tensor, retrained: Tensor, forgotten: Tensor, *, prior: float = 8.0, seed: int = 0
) -> Verdict:
    """The likelihood-ratio attack on unlearning: two distributions for every candidate.

        score of a model at i  =  log p(phi_i; unlearned_i) - log p(phi_i; retrained_i)

    Each p is what a Student distribution predicts after the phi of models that forgot i, or never
    saw it. Its variance is shrunk towards that of all candidates. Fitted and read are different
    draws, two folds of pairs, several times: otherwise 0.56 comes out where there is nothing.

    Args:
        prior: how many observations the pooled variance is worth
        seed: of the folds
    Shapes: unlearned, retrained (T, P): what the models of T draws say of P candidates, see
        `signal`; forgotten (T, P) bool, draws 2j and 2j + 1 each other's complement, or all true
    Paper: Hayes et al. 2024, U-LiRA; Carlini et al. 2022.
    Target: 0.5, which a second retrained model has.
    Cannot see: whether the candidates or the whole model were changed: look at unseen items, too.
    Differs: the shrunken variance, the Student distribution and the interval are ours
    Raises: ValueError if the shapes differ, the draws are no complementary pairs, or a number is
        not finite
    """
    prior = check_number("prior", prior, 0)
    u, r = (of_forgotten(values, forgotten) for values in (unlearned, retrained))

    def scores(fit: Tensor, read: Tensor) -> tuple[Tensor, Tensor]:
        ratio = _likelihood_ratio(u[fit], r[fit], prior)
        return ratio(u[read]), ratio(r[read])

    return _verdict(scores, len(u), u.shape[1], len(forgotten), seed)


def rmia(
    unlearned: Tensor,
    retrained: Tensor,
    forgotten: Tensor,
    unseen_unlearned: Tensor,
    unseen_retrained: Tensor,
    *,
    references: int = 2,
    gamma: float = 1.0,
    seed: int = 0,
) -> Verdict:
    """The relative attack: is a model surer of a candidate than of what nobody trained on?

        score of a model at i  =  share of unseen z with
                                  [p(i; model) / p(i)] / [p(z; model) / p(z)]  >  gamma

    p(i; model) is the probability of the right class; p(i) its mean over a few retrained models.

    Args: references: retrained models whose mean is p(i). gamma: the threshold. seed: of the folds
    Shapes: unlearned, retrained (T, P) and unseen_... (T, U): log p of the right class; forgotten
        as in `ulira`
    Paper: Zarifzadeh et al. 2024.
    Target: the null's value, which need not be 0.5.
    Cannot see: what two references cannot.
    Differs: the references are retrained models; there is no second kind of population
    Raises: ValueError as `ulira`, or if there are too few draws for so many references
    """
    references = check_count("references", references, 1)
    gamma = check_number("gamma", gamma, 0)
    u, r = (of_forgotten(values, forgotten) for values in (unlearned, retrained))
    z_u, z_r = (_checked(values, len(unlearned)) for values in (unseen_unlearned, unseen_retrained))
    draws = _draws(forgotten)
    if len(u) < 2 * (references + 1):
        least = 4 * (references + 1)
        raise ValueError(f"{references} references need {least} draws, got {2 * len(u)}")

    def scores(fit: Tensor, read: Tensor) -> tuple[Tensor, Tensor]:
        fit = fit[:references]
        base = r[fit].logsumexp(0)  # of a sum, not of a mean: the same for all
        base_z = z_r[draws[fit].amin(1)].logsumexp(0)

        def share(candidates: Tensor, unseen: Tensor) -> Tensor:
            ratio = candidates[read] - base
            of_unseen = unseen - base_z + math.log(gamma)
            others = of_unseen[draws[read]]  # of the model that forgot the candidate
            return (others < ratio[..., None]).double().mean(2)

        return share(u, z_u), share(r, z_r)

    return _verdict(scores, len(u), u.shape[1], len(forgotten), seed)


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
    known = head.abs() > KNOWN * r.std(0)
    return torch.where(known, (u.mean(0) - r.mean(0)) / head, math.nan)


def divergence_of_fits(
    unlearned: Tensor, retrained: Tensor, forgotten: Tensor, *, prior: float = 8.0
) -> float:
    """KL(unlearned || retrained) of the two normal distributions of a candidate, their mean; nats.

    Shapes: as `ulira`
    Target: what a second retrained model has; near 0 with many draws.
    Cannot see: what is not normal.
    Raises: ValueError as `ulira`
    """
    prior = check_number("prior", prior, 0)
    u, r = (of_forgotten(values, forgotten) for values in (unlearned, retrained))
    (mean_u, var_u), (mean_r, var_r) = _fit(u, prior), _fit(r, prior)
    apart = (mean_u - mean_r).square()
    each = 0.5 * (var_u / var_r + apart / var_r - 1 - (var_u / var_r).log())
    return each.mean().item()


def of_forgotten(values: Tensor, forgotten: Tensor) -> Tensor:
    """What the model says that forgot a candidate, one of each pair of draws: (T / 2, P) float64.

    Where every draw forgets every candidate, each of them: (T, P).

    Raises: ValueError as `ulira`
    Example:
        >>> of_forgotten([[1.0, 2.0], [3.0, 4.0]], torch.tensor([[True, False], [False, True]]))
        tensor([[1., 4.]], dtype=torch.float64)
    """
    draws = _draws(forgotten)
    values = _checked(values, len(forgotten))
    if values.shape != forgotten.shape:
        shapes = f"{tuple(values.shape)} and {tuple(forgotten.shape)}"
        raise ValueError(f"answers and forgotten must have one shape (T, P), got {shapes}")
    return values.gather(0, draws)


def _draws(forgotten: Tensor) -> Tensor:
    """The draw that forgets a candidate, of each pair, (T / 2, P); or all of them, (T, P)."""
    if not isinstance(forgotten, Tensor) or forgotten.dtype != torch.bool or forgotten.ndim != 2:
        raise ValueError("forgotten must be a boolean tensor (T, P), a row a draw")
    number = torch.arange(len(forgotten))[:, None]
    if bool(forgotten.all()):
        return number.expand_as(forgotten)
    if len(forgotten) % 2 or not torch.equal(forgotten[0::2], ~forgotten[1::2]):
        raise ValueError("draws must come in pairs: what one forgets, the next one keeps")
    return number[0::2] + forgotten[1::2].long()


def _checked(values, draws: int) -> Tensor:
    values = as_numbers("answers", values).double()
    if values.ndim != 2 or len(values) != draws or not bool(values.isfinite().all()):
        shape = tuple(values.shape)
        raise ValueError(f"answers must be finite numbers with {draws} rows, got shape {shape}")
    return values


def _fit(values: Tensor, prior: float) -> tuple[Tensor, Tensor]:
    """Mean and shrunken variance of every candidate, from (n, P)."""
    squares = (values - values.mean(0)).square().sum(0)
    pooled = squares.mean() / (len(values) - 1)
    variance = (prior * pooled + squares) / (prior + len(values) - 1)
    return values.mean(0), variance.clamp(min=1e-12)


def _likelihood_ratio(u: Tensor, r: Tensor, prior: float) -> Callable[[Tensor], Tensor]:
    """log p(x; unlearned_i) - log p(x; retrained_i), by what the fitted draws let one expect."""

    def predicted(values: Tensor) -> torch.distributions.StudentT:
        mean, variance = _fit(values, prior)
        scale = (variance * (1 + 1 / len(values))).sqrt()
        return torch.distributions.StudentT(prior + len(values) - 1, mean, scale)

    after_u, after_r = predicted(u), predicted(r)
    return lambda x: after_u.log_prob(x) - after_r.log_prob(x)


def _auc(members: Tensor, others: Tensor) -> Tensor:
    """`attacks.auc` of every row of scores, by the ranks of members among sorted others."""
    others = others.sort(1).values
    below, upto = (torch.searchsorted(others, members, right=right) for right in (False, True))
    return (below + upto).double().mean(1) / (2 * others.shape[1])


def _verdict(scores: Callable, pairs: int, candidates: int, draws: int, seed: int) -> Verdict:
    """The attack in `FOLDS` splits of the pairs; its interval is the jackknife's over the pairs."""
    if candidates < FEWEST_ITEMS or pairs < FEWEST_PAIRS:
        return Verdict(*[math.nan] * 4, candidates, draws)
    from scipy.stats import t

    order = order_of(seed)
    splits = [torch.randperm(pairs, generator=order).tensor_split(2) for _ in range(FOLDS)]

    def attacked(without: int = -1) -> tuple[list[Tensor], list[Tensor]]:
        """Scores of both kinds, read in one fold and fitted in the other; one pair is left out."""
        members, others = [], []
        for split in splits:
            first, second = (fold[fold != without] for fold in split)
            for fit, read in ((first, second), (second, first)):
                for side, found in zip((members, others), scores(fit, read), strict=True):
                    side.append(found)
        return members, others

    def value(members, others) -> float:
        each = [_auc(m, o) for m, o in zip(members, others, strict=True)]
        return torch.cat(each).mean().item()

    members, others = attacked()
    whole = value(members, others)
    left_out = torch.tensor([value(*attacked(j)) for j in range(pairs)], dtype=torch.float64)
    spread = ((pairs - 1) * left_out.var(correction=0)).sqrt().item()
    half = float(t.ppf(0.975, pairs - 1)) * spread
    pooled = (torch.cat([part.flatten() for part in side]) for side in (members, others))
    return Verdict(whole, whole - half, whole + half, tpr_at_fpr(*pooled), candidates, draws)
