"""LAF's attack success rate: a learnt attack on sorted answers, as published and balanced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from minilearn.evaluation import Evaluation
from minilearn.metrics.attacks import Attack, fitted, generator_of
from minilearn.metrics.utility import check_evaluations

MOST = 5_000  # examples of a kind that the attacker learns from, about as released


@dataclass(frozen=True)
class PublishedASR:
    """The published number, and what an attacker without any knowledge has.

    Args:
        value: of the attack, a fraction of the scored examples
        always_member: what calling every example a member would score, a fraction
        scored: their number
    """

    value: float
    always_member: float
    scored: int

    def __repr__(self) -> str:
        chance = f"all members {self.always_member:.3f}, none {1 - self.always_member:.3f}"
        return f"PublishedASR({self.value:.3f} [{chance}], {self.scored} scored)"


def asr_published(
    retain: Evaluation, test: Evaluation, forget: Evaluation, *, seed: int = 0
) -> PublishedASR:
    """The share of right answers of an attacker on forgotten and unseen examples, as published.

    The attacker learns sorted class probabilities of random retained examples, members, against the
    first half of the test set. It is scored on the forgotten set, called members there, and on as
    many examples of the other half of the test set as there are, at most. Where the two numbers
    differ, the number has another chance level: print `always_member` beside it. Lower is not
    better: what counts is the retrained model's value.

    Args: retain, test, forget: the model's evaluations. seed: of the attacker's draws
    Paper: Shen et al. 2024, ASR; read in the authors' code (Train.py:156-288).          Chapter: 9
    Target: the retrained model's value.
    Cannot see: over-forgetting; anything, where one of the two kinds is far more frequent.
    Differs: scikit-learn's gradient boosting with XGBoost's default depth and rate in place of
        XGBoost; the attacker has a seed. There, members are augmented and test images are not: that
        is for the caller
    Raises: ValueError if there are fewer than 4 test examples, a set is empty, or the targets are
        no classes
    """
    sorted_retain, sorted_test, sorted_forget = _sorted(retain), _sorted(test), _sorted(forget)
    _check_enough(sorted_test)
    generator = generator_of(seed)
    half = min(MOST, len(sorted_test) // 2)
    n_forget = len(sorted_forget)
    members = generator.permutation(sorted_retain)[: min(n_forget, MOST)]
    score = _fit(members, sorted_test[:half], generator)
    unseen = sorted_test[half:][:n_forget]
    right = np.concatenate([score(sorted_forget) > 0, score(unseen) <= 0])
    return PublishedASR(float(right.mean()), n_forget / len(right), len(right))


def asr(
    retain: Evaluation,
    test: Evaluation,
    forget: Evaluation,
    *,
    unseen_forget: Evaluation | None = None,
    seed: int = 0,
) -> Attack:
    """The same attack repaired: kinds of equal weight, and an attacker of equally many of each.

    `balanced_accuracy` is the mean of the share of forgotten examples called members and the share
    of unseen ones called non-members: chance is 0.5 whatever the numbers. For a forgotten class the
    unseen examples should be of that class, `unseen_forget`: otherwise the attack finds the class.

    Args: as `asr_published`; unseen_forget: unseen examples of the forgotten kind, by default half
        of `test`. The attacker learns from the other half, whichever they are
    Paper: Shen et al. 2024, ASR, balanced.          Chapter: 9
    Target: the retrained model's value.
    Cannot see: over-forgetting; an untrained network has 0.5 too. It is not told the labels, so
        that it may pass a model that has learnt wrong labels by heart: our audit of metrics asks
        for that and lets it fail, and so it is not in `METRICS`.
    Differs: from `asr_published` in the two points above
    Raises: ValueError as `asr_published`
    """
    sorted_retain, sorted_test, sorted_forget = _sorted(retain), _sorted(test), _sorted(forget)
    _check_enough(sorted_test)
    generator = generator_of(seed)
    sorted_test = generator.permutation(sorted_test)
    half = len(sorted_test) // 2
    count = min(len(sorted_retain), half, MOST)
    score = _fit(generator.permutation(sorted_retain)[:count], sorted_test[:count], generator)
    members = score(sorted_forget)
    nonmembers = score(sorted_test[half:] if unseen_forget is None else _sorted(unseen_forget))
    balanced = ((members > 0).mean() + (nonmembers <= 0).mean()) / 2
    return Attack(torch.from_numpy(members), torch.from_numpy(nonmembers), float(balanced))


def _sorted(result: Evaluation) -> np.ndarray:
    """Class probabilities, the largest first: (N, C). Which class is which is not told."""
    check_evaluations(result)
    return result.log_probs.double().exp().sort(1, descending=True).values.cpu().numpy()


def _check_enough(test: np.ndarray):
    if len(test) < 4:
        raise ValueError(f"needs at least 4 test examples to halve, got {len(test)}")


def _fit(members: np.ndarray, nonmembers: np.ndarray, generator) -> Callable:
    """The score function of gradient boosting, members positive."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    # XGBoost's defaults: 100 trees of depth 6, rate 0.3, penalty 1, a leaf's weight 1 or more, of
    # which an undecided example gives a quarter
    settings = {"max_iter": 100, "max_depth": 6, "max_leaf_nodes": None, "learning_rate": 0.3}
    settings |= {"l2_regularization": 1.0, "min_samples_leaf": 4, "early_stopping": False}
    model = HistGradientBoostingClassifier(**settings, random_state=0)
    return fitted(model, members, nonmembers, generator)
