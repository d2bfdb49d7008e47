"""Attacks that know one example at a time: models that forgot it, against models that never saw it.

They need many models. In every *draw* another half of a pool of candidates is forgotten; see
`minilearn.trials`, which makes the models. Every number here has its null beside it: the same
number for a second retrained model in the place of the unlearned one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from minilearn.checks import check_count, check_number
from minilearn.draws import order_of
from minilearn.metrics.attacks import tpr_at_fpr
from minilearn.metrics.of_candidates import (
    checked_answers,
    draw_that_forgets,
    fit_of,
    of_forgotten,
)

FEWEST_ITEMS, FEWEST_PAIRS = 4, 6  # with fewer there is no verdict: the null alone strays by .05
FOLDS = 8  # times that the pairs are split into two folds


@dataclass(frozen=True)
class Verdict:
    """How well an attack tells unlearned models from retrained ones, candidate by candidate.

    `auc` is the mean over pairs of draws, 0.5 where it cannot; `low` and `high` are its interval,
    Student's at 95 % over the pairs by the jackknife, which is wide: where there is nothing it
    holds 0.5 in 97 to 100 audits of 100. All are NaN where there are too few candidates or draws.

    Shapes: members, nonmembers (n,): the scores of unlearned and of retrained models, for
        `plots.roc`; a model is read in every split, so each score is there several times
    """

    auc: float
    low: float
    high: float
    tpr_at_1fpr: float
    candidates: int
    draws: int
    members: Tensor = field(default=torch.empty(0), repr=False, compare=False)
    nonmembers: Tensor = field(default=torch.empty(0), repr=False, compare=False)

    def __str__(self) -> str:
        """`auc 0.874 [0.860, 0.889], 128 candidates, 64 draws`."""
        of = f"{self.candidates} candidates, {self.draws} draws"
        if math.isnan(self.auc):
            least = f"{FEWEST_ITEMS} candidates and {FEWEST_PAIRS} models that forgot each"
            return f"no verdict: it takes {least}, here are {of}"
        return f"auc {self.auc:.3f} [{self.low:.3f}, {self.high:.3f}], {of}"


def ulira(
    unlearned: Tensor, retrained: Tensor, forgotten: Tensor, *, prior: float = 8.0, seed: int = 0
) -> Verdict:
    """The likelihood-ratio attack on unlearning: two distributions for every candidate.

        score of a model at i  =  log p(phi_i; unlearned_i) - log p(phi_i; retrained_i)

    Each p is what a Student distribution predicts after the phi of models that forgot i, or never
    saw it. Its variance is shrunk towards that of all candidates. Fitted and read are different
    draws, two folds of pairs, several times: otherwise 64 pairs give 0.56 where there is nothing,
    and fewer give more.

    Args:
        prior: how many observations the pooled variance is worth
        seed: of the folds
    Shapes: unlearned, retrained (T, P): what the models of T draws say of P candidates, see
        `signal`; forgotten (T, P) bool, draws 2j and 2j + 1 each other's complement, or all true
    Paper: Hayes et al. 2024, U-LiRA; Carlini et al. 2022.
    Target: 0.5, which a second retrained model has.
    Cannot see: whether the candidates or the whole model were changed: look at unseen items, too.
    Differs: the shrunken variance, the Student distribution and the interval are ours
    Raises: ValueError if the shapes differ, the draws are not complementary pairs, or a number is
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
    Target: 0.5, which a second retrained model has.
    Cannot see: what two references cannot.
    Differs: the references are retrained models, without a second kind of population; a ratio equal
        to gamma does not count, where the paper counts it
    Raises: ValueError as `ulira`, or if there are too few draws for so many references, the unseen
        examples differ, or a number is above 0 and so no log-probability
    """
    references = check_count("references", references, 1)
    gamma = check_number("gamma", gamma, 0)
    u, r = (of_forgotten(values, forgotten) for values in (unlearned, retrained))
    z_u, z_r = (
        checked_answers(values, len(unlearned)) for values in (unseen_unlearned, unseen_retrained)
    )
    if z_u.shape != z_r.shape or not z_u.shape[1]:
        shapes = f"{tuple(z_u.shape)} and {tuple(z_r.shape)}"
        raise ValueError(f"both kinds of models answer the same unseen examples, got {shapes}")
    if max(values.max() for values in (u, r, z_u, z_r)) > 0:
        raise ValueError(
            "log-probabilities lie at or below 0, and some here are larger: of `signal`'s phi give "
            "torch.nn.functional.logsigmoid(phi)"
        )
    draws = draw_that_forgets(forgotten)
    if len(u) < 2 * (references + 1):
        each = len(forgotten) // len(u)  # draws for one model that forgot a candidate
        least, there = 2 * each * (references + 1), len(forgotten)
        raise ValueError(f"{references} references need {least} draws, got {there}")

    def scores(fit: Tensor, read: Tensor) -> tuple[Tensor, Tensor]:
        fit = fit[:references]
        base = r[fit].logsumexp(0)  # of a sum, not of a mean: the same for all
        base_z = z_r[draws[fit].amin(1)].logsumexp(0)  # nobody saw z: one model of each pair

        def share(candidates: Tensor, unseen: Tensor) -> Tensor:
            ratio = candidates[read] - base
            of_unseen = unseen - base_z + math.log(gamma)
            others = of_unseen[draws[read]]  # of the model that forgot the candidate
            return (others < ratio[..., None]).double().mean(2)

        return share(u, z_u), share(r, z_r)

    return _verdict(scores, len(u), u.shape[1], len(forgotten), seed)


def _likelihood_ratio(u: Tensor, r: Tensor, prior: float) -> Callable[[Tensor], Tensor]:
    """log p(x; unlearned_i) - log p(x; retrained_i), by what the fitted draws let one expect."""

    def predicted(values: Tensor) -> torch.distributions.StudentT:
        mean, variance = fit_of(values, prior)
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
    halves = [torch.randperm(pairs, generator=order).tensor_split(2) for _ in range(FOLDS)]
    splits = [split for half in halves for split in (half, half[::-1])]  # fitted, read

    def scored(without: int = -1) -> list[tuple[Tensor, Tensor]]:
        """Scores of unlearned and of retrained models in every split; one pair is left out."""
        return [scores(fit[fit != without], read[read != without]) for fit, read in splits]

    def mean_auc(scored: list[tuple[Tensor, Tensor]]) -> float:
        return torch.cat([_auc(members, others) for members, others in scored]).mean().item()

    every_split = scored()
    auc = mean_auc(every_split)
    jackknife = torch.tensor([mean_auc(scored(pair)) for pair in range(pairs)], dtype=torch.float64)
    standard_error = ((pairs - 1) * jackknife.var(correction=0)).sqrt().item()
    half_width = float(t.ppf(0.975, pairs - 1)) * standard_error
    members = torch.cat([scores.flatten() for scores, _ in every_split])
    others = torch.cat([scores.flatten() for _, scores in every_split])
    low, high = max(0.0, auc - half_width), min(1.0, auc + half_width)
    tpr = tpr_at_fpr(members, others)
    return Verdict(auc, low, high, tpr, candidates, draws, members, others)
