"""Membership inference: does the model give away that the forgotten were in its training set?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from minilearn.checks import as_numbers, check_count, check_number
from minilearn.evaluation import Evaluation
from minilearn.metrics.utility import check_evaluations


@dataclass(frozen=True, eq=False)
class Attack:
    """What an attack found. The target is not chance but what it finds in a retrained model.

    Chance is 0.5 for `auc` and `balanced_accuracy`. It is 0.01 for `tpr_at_1fpr` if there are
    many unseen examples: with m of them it is (floor(m / 100) + 1) / (m + 1).

    Shapes: members (n_f,), nonmembers (n_t,): the scores of the forgotten and of unseen examples,
        higher = more likely a member
    """

    members: Tensor
    nonmembers: Tensor
    balanced_accuracy: float

    @property
    def auc(self) -> float:
        """Area under the ROC curve: chance 0.5."""
        return auc(self.members, self.nonmembers)

    @property
    def tpr_at_1fpr(self) -> float:
        """Share of the forgotten found while at most 1 % of the unseen are falsely accused."""
        return tpr_at_fpr(self.members, self.nonmembers, 0.01)

    def __repr__(self) -> str:
        unseen = len(self.nonmembers)
        chance = (_allowed(0.01, unseen) + 1) / (unseen + 1)
        return (
            f"Attack({len(self.members)} forgotten against {unseen} unseen: auc {self.auc:.3f} "
            f"[chance 0.5], tpr at 1 % fpr {self.tpr_at_1fpr:.3f} [chance {chance:.3f}], balanced "
            f"accuracy {self.balanced_accuracy:.3f} [chance 0.5])"
        )


def auc(members: Tensor, nonmembers: Tensor) -> float:
    """The probability that a member scores above a non-member, ties counted half.

    Paper: Carlini et al. 2022.          Chapter: 2
    Shapes: members (n,), nonmembers (m,) scores, higher = more likely a member
    Target: the retrained model's value.
    Cannot see: over-forgetting; an untrained network has 0.5 too.
    Raises: ValueError if a side is empty or not finite
    Example:
        >>> auc(torch.tensor([2., 3.]), torch.tensor([1., 2.]))
        0.875
    """
    from sklearn.metrics import roc_auc_score

    members, nonmembers = _scores(members), _scores(nonmembers)
    labels = torch.cat([torch.ones_like(members), torch.zeros_like(nonmembers)])
    return float(roc_auc_score(labels.cpu(), torch.cat([members, nonmembers]).cpu()))


def tpr_at_fpr(members: Tensor, nonmembers: Tensor, fpr: float = 0.01) -> float:
    """The share of members found by the lowest threshold that accuses at most `fpr` of the others.

    With fewer than 1 / fpr non-members no false alarm at all is allowed. Who ties with the
    threshold is not accused.

    Paper: Carlini et al. 2022: report the attack where it is sure.          Chapter: 2
    Args: fpr: the false positive rate, a fraction
    Shapes: members (n,), nonmembers (m,) scores, higher = more likely a member
    Target: the retrained model's value.
    Cannot see: over-forgetting, and attacks that are a little right about everybody.
    Raises: ValueError if a side is empty or not finite, or fpr is outside [0, 1)
    Example:
        >>> tpr_at_fpr(torch.tensor([5., 1.]), torch.arange(4.), fpr=0.25)
        0.5
    """
    fpr = check_number("fpr", fpr, 0, 1, ends="[)")
    members, nonmembers = _scores(members), _scores(nonmembers)
    threshold = nonmembers.sort(descending=True).values[_allowed(fpr, len(nonmembers))]
    return (members > threshold).double().mean().item()


def loss_attack(forget: Evaluation, unseen: Evaluation) -> Attack:
    """The simplest attack: call an example a member if the model's loss on it is low.

    `unseen` should look like the forget set: the same writer, the same class. Otherwise the attack
    measures how hard the two sets are, which the retrained model's value then shows as well. The
    balanced accuracy is held out: the best threshold on every other example, read on the rest. With
    one example on a side nothing can be held out, and it is NaN.

    Paper: Yeom et al. 2018.          Chapter: 2
    Target: the retrained model's value.
    Cannot see: over-forgetting; what the answer's other numbers tell.
    Differs: the paper's threshold is the mean training loss, which is not known here
    Raises: ValueError if a side is empty or a loss is not finite
    """
    check_evaluations(forget, unseen)
    members, nonmembers = _suspicion(forget), _suspicion(unseen)
    if min(len(members), len(nonmembers)) < 2:
        return Attack(members, nonmembers, math.nan)
    right = 0.0
    for learn, read in ((0, 1), (1, 0)):
        threshold = _best_threshold(members[learn::2], nonmembers[learn::2])
        right += _share_right(members[read::2], nonmembers[read::2], threshold) / 2
    return Attack(members, nonmembers, right)


def _suspicion(result: Evaluation) -> Tensor:
    """Scores that rise as the loss falls, (N,): of numbers -loss, of classes the confidence c.

    The loss is log(1 + exp(-c)), which no precision can tell from 0 for an answer that is sure
    enough.
    """
    return (-result.loss if result.targets.is_floating_point() else result.confidence).double()


def _share_right(members: Tensor, nonmembers: Tensor, threshold: Tensor) -> float:
    true_positives = (members >= threshold).double().mean()
    true_negatives = (nonmembers < threshold).double().mean()
    return ((true_positives + true_negatives) / 2).item()


def _best_threshold(members: Tensor, nonmembers: Tensor) -> Tensor:
    """The threshold of the highest balanced accuracy, counted in sorted scores: O(n log n)."""
    thresholds = torch.cat([members, nonmembers])
    missed = torch.searchsorted(members.sort().values, thresholds).double() / len(members)
    spared = torch.searchsorted(nonmembers.sort().values, thresholds).double() / len(nonmembers)
    best = thresholds[(spared - missed).argmax()]
    lower = thresholds[thresholds < best]
    return (best + lower.max()) / 2 if len(lower) else best


def attack_features(result: Evaluation, unit: float = 1.0) -> Tensor:
    """What the stronger attack looks at: (N, 4) for classes, (N, 2) for regression.

    Classes: loss, scaled confidence, entropy, margin between the two largest log probabilities.
    Regression: the evaluation's loss, by default the absolute error, in units of `unit`, and
    log(loss + 0.001). Whether it can be computed from the result is for the attack to check, which
    does so for all of its results.
    """
    if result.targets.is_floating_point():
        error = result.loss.double() / unit
        return torch.stack([error, (error + 1e-3).log()], 1)
    log_p = result.log_probs.double()
    top = log_p.topk(min(2, log_p.shape[1]), dim=1).values
    entropy = torch.special.entr(log_p.exp()).sum(1)
    features = [result.loss, result.confidence, entropy, top[:, 0] - top[:, -1]]
    # a network with one class is infinitely confident
    return torch.stack([f.double() for f in features], 1).nan_to_num(posinf=1e6, neginf=-1e6)


def logistic_attack(
    retain: Evaluation,
    unseen: Evaluation,
    forget: Evaluation,
    *,
    unseen_forget: Evaluation | None = None,
    repeats: int = 5,
    seed: int = 0,
) -> Attack:
    """A stronger attack: learn from known members and non-members what membership looks like.

    Logistic regression on `attack_features`, fitted to retained examples against as many unseen
    ones, then read on the forget set against unseen examples that it has not met. `unseen` should
    look like the retained examples and `unseen_forget` like the forgotten ones; without it, the
    forget set is read against `unseen` too.

    In each of `repeats` rounds the unseen examples are halved at random, and each half trains an
    attacker. An unseen example is scored by the one that has not met it; a forgotten one, by lot,
    by either. So every example has one score a round, of an attacker that does not know it, and
    where there is no signal both sides have the same distribution. That makes the mean over rounds
    fair at low false-positive rates too, where uneven averaging would widen one side's tail.

    Args:
        retain, unseen, forget: the model's evaluations
        unseen_forget: unseen examples like the forgotten ones, by default `unseen`
        repeats: rounds
        seed: of all draws
    Paper: Shokri et al. 2017, in the shadow-free form of unlearning.          Chapter: 2
    Target: the retrained model's value.
    Cannot see: over-forgetting; what only shadow models could tell about one single example.
    Differs: from the attacks of Tarun et al. and Shen et al., which fit and read the same points,
        mix the forget set into the members, or compare unequal numbers
    Raises: ValueError if there are fewer than 4 unseen examples, no retained or forgotten ones,
        repeats < 1, or the seed is not a whole number from 0
    """
    repeats = check_count("repeats", repeats, 1)
    results = (retain, unseen, forget, unseen if unseen_forget is None else unseen_forget)
    x_retain, x_unseen, x_forget, x_apart = attack_inputs(*results)
    generator = generator_of(seed)
    members, nonmembers = np.zeros(len(x_forget)), np.zeros(len(x_apart))
    for _ in range(repeats):
        half_unseen = generator.permutation(len(x_unseen)) % 2
        half_forget = generator.permutation(len(x_forget)) % 2
        half_apart = generator.permutation(len(x_apart)) % 2
        if unseen_forget is None:
            half_apart = half_unseen
        for half in (0, 1):
            attacker = _attacker(x_retain, x_unseen[half_unseen != half], generator)
            members += np.where(half_forget == half, attacker(x_forget), 0) / repeats
            nonmembers += np.where(half_apart == half, attacker(x_apart), 0) / repeats
    scores = torch.from_numpy(members), torch.from_numpy(nonmembers)
    return Attack(*scores, _share_right(*scores, torch.zeros(())))


def attack_inputs(*results: Evaluation) -> list[np.ndarray]:
    """`attack_features` of evaluations, of which the second is of unseen examples.

    The median loss of the unseen examples is the unit of errors.

    Raises: ValueError if one cannot be computed from, or fewer than 4 examples are unseen
    """
    check_evaluations(*results)
    unseen = results[1].loss
    if len(unseen) < 4:
        raise ValueError(f"needs at least 4 unseen examples to halve, got {len(unseen)}")
    unit = unseen.double().median().item()
    return [attack_features(result, unit or 1.0).cpu().numpy() for result in results]


def _attacker(members: np.ndarray, nonmembers: np.ndarray, generator: np.random.Generator):
    """Logistic regression on equally many of each: returns its score function, members positive."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    count = min(len(members), len(nonmembers))
    x = np.concatenate([generator.permutation(side)[:count] for side in (members, nonmembers)])
    model = make_pipeline(StandardScaler(), LogisticRegression(solver="newton-cholesky"))
    return model.fit(x, np.repeat([1, 0], count)).decision_function


def generator_of(seed: int) -> np.random.Generator:
    """The generator of an attack's draws; ValueError if the seed is not a whole number from 0."""
    return np.random.default_rng(check_count("seed", seed, 0))


def fitted(model, members: np.ndarray, nonmembers: np.ndarray, generator) -> Callable:
    """The score function of scikit-learn's model, fitted in random order, members positive."""
    x = np.concatenate([members, nonmembers])
    y = np.repeat([1, 0], [len(members), len(nonmembers)])
    order = generator.permutation(len(x))
    return model.fit(x[order], y[order]).decision_function


def _allowed(fpr: float, nonmembers: int) -> int:
    return int(fpr * nonmembers + 1e-9)


def _scores(values: Tensor) -> Tensor:
    values = as_numbers("scores", values).double().contiguous()
    if values.ndim != 1 or len(values) == 0 or not values.isfinite().all():
        raise ValueError(
            f"an attack needs finite scores of both kinds, got shape {tuple(values.shape)}"
        )
    return values
