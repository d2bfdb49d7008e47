"""Tarun et al.'s attack by a support vector machine on losses, as published and corrected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from minilearn.checks import check_count
from minilearn.evaluation import Evaluation
from minilearn.metrics.attacks import attack_inputs, auc, fitted, generator_of
from minilearn.metrics.utility import check_evaluations


@dataclass(frozen=True, eq=False)
class SVCAttack:
    """What the attack calls a member, side by side: a score above 0 is a call.

    Where nothing is to be found, all three shares are alike; that they are one half is a convention
    of equal numbers. Compare the forgotten with the unseen, and that with a retrained model.

    Shapes: forgotten (n_f,), known (n_k,), unseen (n_u,): the scores of the forgotten, of training
        examples and of examples that were never trained on, higher = more likely a member
    """

    forgotten: Tensor
    known: Tensor
    unseen: Tensor
    held_out: bool  # whether no score comes from an attacker that was fitted to that example

    @property
    def shares(self) -> tuple[float, float, float]:
        """Shares called members: of the forgotten, of training examples, of unseen ones."""
        sets = (self.forgotten, self.known, self.unseen)
        forgotten, known, unseen = ((scores > 0).double().mean().item() for scores in sets)
        return forgotten, known, unseen

    @property
    def balanced_accuracy(self) -> float:
        """Mean of the forgotten called members and the unseen called non-members: chance 0.5."""
        forgotten, _, unseen = self.shares
        return (forgotten + 1 - unseen) / 2

    @property
    def auc(self) -> float:
        """Area under the ROC curve of the forgotten against the unseen: chance 0.5."""
        return auc(self.forgotten, self.unseen)

    def __repr__(self) -> str:
        forgotten, known, unseen = self.shares
        read = "held out" if self.held_out else "read on the points it was fitted to"
        return (
            f"SVCAttack(called members: forgotten {forgotten:.3f}, training {known:.3f}, unseen "
            f"{unseen:.3f} [no signal: all alike]; balanced accuracy {self.balanced_accuracy:.3f} "
            f"[chance 0.5], auc {self.auc:.3f} [chance 0.5]; {read})"
        )


def svc_attack(
    retain: Evaluation,
    unseen: Evaluation,
    forget: Evaluation,
    *,
    unseen_forget: Evaluation | None = None,
    count: int = 2000,
    seed: int = 0,
) -> SVCAttack:
    """Learn from known members and non-members, by a support vector machine, who was trained on.

    As `logistic_attack`, with a boundary that may bend: `attack_features` (for regression the error
    and its logarithm), standardised; retained examples against as many unseen ones, at most `count`
    of each; then read on the forget set beside `unseen_forget`, unseen examples with targets of the
    same range. Without it, the forget set is read beside `unseen`, and the attack may just learn
    the range.

    Every set is halved at random, and each half of the known ones trains an attacker. Each example
    has the score of one that has not met it; the forgotten, by lot, of either.

    Args:
        retain, unseen, forget: the model's evaluations
        unseen_forget: unseen examples like the forgotten ones, by default `unseen`
        count: examples of a kind that the attackers learn from, at most
        seed: of all draws
    Paper: Tarun et al. 2023, the membership attack, corrected.          Chapter: 3
    Target: the retrained model's value.
    Cannot see: over-forgetting; an untrained network passes.
    Differs: from `svc_attack_published` in the members, the features, the read-out and the seed
    Raises: ValueError if there are fewer than 4 retained or unseen examples, nothing is forgotten,
        count < 2, the seed is not a whole number from 0, or a loss is not finite
    """
    apart = unseen if unseen_forget is None else unseen_forget
    x_retain, x_unseen, x_forget, x_apart = attack_inputs(retain, unseen, forget, apart)
    if len(x_retain) < 4:
        raise ValueError(f"needs at least 4 retained examples to halve, got {len(x_retain)}")
    most = check_count("count", count, 2) // 2
    generator = generator_of(seed)
    half_retain = generator.permutation(len(x_retain)) % 2
    half_unseen = generator.permutation(len(x_unseen)) % 2
    half_forget = generator.permutation(len(x_forget)) % 2
    half_apart = generator.permutation(len(x_apart)) % 2
    if unseen_forget is None:
        half_apart = half_unseen
    known, forgotten, nonmembers = (np.zeros(len(x)) for x in (x_retain, x_forget, x_apart))
    for half in (0, 1):
        learnt = x_retain[half_retain != half], x_unseen[half_unseen != half]
        attacker = _attacker(*learnt, most, generator)
        for scores, x, halves in (
            (known, x_retain, half_retain),
            (forgotten, x_forget, half_forget),
            (nonmembers, x_apart, half_apart),
        ):
            if (halves == half).any():
                scores[halves == half] = attacker(x[halves == half])
    return SVCAttack(*map(torch.from_numpy, (forgotten, known, nonmembers)), held_out=True)


def svc_attack_published(
    train: Evaluation, test: Evaluation, forget: Evaluation, *, count: int = 2000, seed: int = 0
) -> SVCAttack:
    """The attack as the paper's notebooks run it: kept to show what its numbers are worth.

    A support vector machine (C = 3, Gaussian kernel with gamma = 1) on one number, the loss (in the
    paper the absolute error) in its own unit, members `count` of the whole training set, forget set
    included, against `count` of the test set; the shares are read on those very points.

    Without any signal the forgotten share wanders far from one half: what differs between two
    models is mostly the draw. Doubling the unit of the targets changes it too.

    Paper: Tarun et al. 2023, the membership attack.          Chapter: 3
    Target: the retrained model's value, within a null band that is enormous: repeat over seeds.
    Cannot see: over-forgetting, and differences smaller than its own spread.
    Differs: from the released code (metrics.py:14-81), which shuffles without a seed, by the seed
        alone. There, training images are augmented and test images are not: that is for the caller
    Raises: ValueError if a set is empty, count < 1, a loss is not finite, or the seed is no whole
        number from 0
    """
    check_evaluations(train, test, forget)
    check_count("count", count, 1)
    generator = generator_of(seed)
    losses = [result.loss.double().cpu().numpy()[:, None] for result in (train, test, forget)]
    members = generator.permutation(losses[0])[:count]
    nonmembers = generator.permutation(losses[1])[:count]
    attacker = fitted(_svc(gamma=1.0), members, nonmembers, generator)
    scores = (torch.from_numpy(attacker(x)) for x in (losses[2], members, nonmembers))
    return SVCAttack(*scores, held_out=False)


def _attacker(members, nonmembers, most: int, generator) -> Callable:
    """On equally many of each, at most `most`, with standardised features."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    most = min(len(members), len(nonmembers), most)
    sides = (generator.permutation(side)[:most] for side in (members, nonmembers))
    return fitted(make_pipeline(StandardScaler(), _svc(gamma="auto")), *sides, generator)


def _svc(gamma):
    from sklearn.svm import SVC

    # without a seed of its own the machine draws from NumPy's global generator
    return SVC(C=3, kernel="rbf", gamma=gamma, random_state=0)
