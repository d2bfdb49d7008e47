"""Membership attacks: closed forms, ties, and above all that no signal gives no finding."""

import math
import statistics
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from shared import errors, regression
from sklearn.metrics import roc_auc_score

from minilearn.evaluation import Evaluation
from minilearn.losses import loss_per_example
from minilearn.metrics import (
    Attack,
    attacks,
    auc,
    logistic_attack,
    loss_attack,
    svc_attack,
    tpr_at_fpr,
)
from minilearn.metrics.attacks import attack_features


def classes(count: int, seed: int, sharpness: float = 1.0, bonus: float = 0.0) -> Evaluation:
    """Random logits of 5 classes; `bonus` lifts the true one, as training does."""
    generator = torch.Generator().manual_seed(seed)
    z = sharpness * torch.randn(count, 5, generator=generator)
    y = torch.randint(5, (count,), generator=generator)
    z[torch.arange(count), y] += bonus
    return Evaluation(z, y, loss_per_example(z, y))


def normal(count: int, shift: float = 0.0) -> torch.Tensor:
    """The quantiles of a normal: a sample without chance."""
    middle = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return torch.special.ndtri(middle) + shift


@pytest.mark.parametrize("d", [0, 0.25, 0.5, 1, 2])
def test_a_shift_of_two_normals(d):
    members, nonmembers = normal(20_000, d), normal(20_000)
    assert auc(members, nonmembers) == pytest.approx(norm.cdf(d / math.sqrt(2)), abs=1e-4)
    for alpha in (0.01, 0.001):
        expected = norm.cdf(d + norm.ppf(alpha))
        assert tpr_at_fpr(members, nonmembers, alpha) == pytest.approx(expected, abs=3e-3)


@pytest.mark.parametrize(
    "d, area, share",
    [(0.25, 0.5702, 0.0189), (0.5, 0.6382, 0.0339), (1, 0.7602, 0.0924), (2, 0.9214, 0.3721)],
)
def test_the_table_of_shifts(d, area, share):
    assert auc(normal(20_000, d), normal(20_000)) == pytest.approx(area, abs=1e-4)
    assert tpr_at_fpr(normal(20_000, d), normal(20_000)) == pytest.approx(share, abs=1e-3)


def test_equal_means_and_two_widths_have_no_threshold():
    assert auc(2 * normal(5000), normal(5000)) == pytest.approx(0.5, abs=1e-9)


def test_a_constant_attacker_has_chance():
    same = torch.zeros(7)
    assert auc(same, torch.zeros(300)) == 0.5
    assert tpr_at_fpr(same, torch.zeros(300)) == 0  # who ties is not accused
    assert loss_attack(regression(same), regression(torch.zeros(30))).balanced_accuracy == 0.5


whole_scores = st.lists(st.integers(-3, 3), min_size=1, max_size=25)


@given(whole_scores, whole_scores)
def test_auc_with_ties_against_a_loop_and_sklearn(members, nonmembers):
    pairs = [(a > b) + (a == b) / 2 for a in members for b in nonmembers]
    found = auc(torch.tensor(members), torch.tensor(nonmembers))
    assert found == pytest.approx(statistics.mean(pairs))
    labels = [1] * len(members) + [0] * len(nonmembers)
    assert found == pytest.approx(roc_auc_score(labels, members + nonmembers))
    assert found + auc(torch.tensor(nonmembers), torch.tensor(members)) == pytest.approx(1)


@given(whole_scores, whole_scores, st.floats(0, 0.99))
def test_tpr_against_every_threshold(members, nonmembers, fpr):
    """No threshold with at most that many false alarms finds more."""
    best = 0.0
    for threshold in [*members, *nonmembers, 99]:
        accused = sum(b >= threshold for b in nonmembers)
        if accused <= fpr * len(nonmembers) + 1e-9:
            best = max(best, sum(a >= threshold for a in members) / len(members))
    assert tpr_at_fpr(torch.tensor(members), torch.tensor(nonmembers), fpr) == pytest.approx(best)


@given(whole_scores, whole_scores)
def test_only_the_order_of_scores_counts(members, nonmembers):
    members, nonmembers = torch.tensor(members), torch.tensor(nonmembers)
    curved = members.double().exp() * 7 + 2, nonmembers.double().exp() * 7 + 2
    assert auc(members, nonmembers) == auc(*curved)
    assert tpr_at_fpr(members, nonmembers, 0.1) == tpr_at_fpr(*curved, 0.1)


def test_scores_may_be_a_column_of_a_table():
    table = torch.randn(20, 3, dtype=torch.float64)
    assert auc(table[:, 0], table[:, 1]) == auc(table[:, 0].clone(), table[:, 1].clone())


def test_losses_far_apart_are_told_apart():
    attack = loss_attack(regression([0.0] * 20), regression([100.0] * 30))
    assert (attack.auc, attack.tpr_at_1fpr, attack.balanced_accuracy) == (1, 1, 1)


def test_answers_that_are_sure_are_told_apart():
    """Their losses are 0, some in double precision, too; their margins have an order."""
    margin = torch.linspace(20, 2000, 300)
    z, y = torch.stack([margin, -margin], 1), torch.zeros(300, dtype=torch.long)
    forget, unseen = (Evaluation(z[part::2], y[part::2], y[part::2].float()) for part in (1, 0))
    assert not forget.loss.any() and not unseen.loss.any()
    found = loss_attack(forget, unseen)
    confidence = [2 * margin[part::2].double() for part in (1, 0)]
    assert found.auc == auc(*confidence) > 0.5
    assert found.tpr_at_1fpr == tpr_at_fpr(*confidence)
    assert torch.equal(found.members, confidence[0])


def test_the_loss_attack_is_held_out():
    """The best threshold read where it was found scores 0.57 here without any signal."""
    found, optimistic = [], []
    for seed in range(60):
        members, others = errors(40, seed), errors(40, 1000 + seed)
        found.append(loss_attack(members, others).balanced_accuracy)
        thresholds = torch.cat([members.loss, others.loss])[:, None]
        rates = (
            (members.loss <= thresholds).double().mean(1),
            (others.loss > thresholds).double().mean(1),
        )
        optimistic.append(float(sum(rates).max()) / 2)
    se = statistics.stdev(found) / math.sqrt(len(found))
    assert abs(statistics.mean(found) - 0.5) < 3 * se
    assert statistics.mean(optimistic) > 0.55


def test_the_loss_attack_fits_into_memory():
    """60,000 examples: all comparisons at once would be 3.6 billion."""
    attack = loss_attack(errors(60_000, 0, 0.5), errors(60_000, 1, 1.0))
    # |N| against |N| half as wide: the likelihood ratio is monotone, best where the densities meet
    meet = math.sqrt(2 * math.log(2) / 3)
    best = 0.5 + (2 * norm.cdf(2 * meet) - 2 * norm.cdf(meet)) / 2
    assert attack.balanced_accuracy == pytest.approx(best, abs=0.01)
    assert attack.auc == pytest.approx(2 / math.pi * math.atan(2), abs=0.01)


def test_one_forgotten_example_will_do():
    one = loss_attack(regression([0.0]), regression([1.0]))
    assert one.auc == 1 and math.isnan(one.balanced_accuracy)  # nothing can be held out
    assert 0 <= logistic_attack(classes(9, 0), classes(9, 1), classes(1, 2)).auc <= 1


SIGNALS = {"classes": classes, "regression": errors}


@pytest.mark.parametrize("kind", SIGNALS)
@pytest.mark.parametrize("apart", [False, True])
def test_no_signal_no_finding(kind, apart):
    """Mean over 40 worlds within 3 standard errors of chance."""
    make, found = SIGNALS[kind], []
    for world in range(40):
        sets = [make(60, 5 * world + i) for i in range(4)]
        other = sets[3] if apart else None
        found.append(logistic_attack(*sets[:3], unseen_forget=other, repeats=2, seed=world))
    for values, chance in (
        ([a.auc for a in found], 0.5),
        ([a.balanced_accuracy for a in found], 0.5),
        ([a.tpr_at_1fpr for a in found], 1 / 61),
    ):
        se = statistics.stdev(values) / math.sqrt(len(values))
        assert abs(statistics.mean(values) - chance) < 3 * se + 1e-12


def test_an_attack_read_on_its_own_points_finds_what_is_not_there():
    """The planted fault: nearest neighbour, fitted on the very sets it is scored on."""
    forget, unseen = attack_features(classes(60, 1)), attack_features(classes(60, 2))
    known = torch.cat([forget, unseen])
    labels = torch.tensor([1.0] * 60 + [0.0] * 60)
    nearest = lambda x: labels[torch.cdist(x, known).argmin(1)]  # noqa: E731
    assert auc(nearest(forget), nearest(unseen)) > 0.99


@pytest.mark.parametrize("kind", SIGNALS)
def test_a_signal_is_found(kind):
    if kind == "classes":
        known, unseen, forget = classes(300, 0, bonus=3), classes(300, 1), classes(300, 2, bonus=3)
    else:
        known, unseen, forget = errors(300, 0, 0.2), errors(300, 1), errors(300, 2, 0.2)
    attack = logistic_attack(known, unseen, forget)
    assert attack.auc > 0.8
    assert attack.balanced_accuracy > 0.7


def test_losses_of_0_and_100_are_told_apart_by_the_learnt_attack():
    members, others = regression([0.0] * 40), regression([100.0] * 40)
    attack = logistic_attack(members, others, members)
    assert (attack.auc, attack.tpr_at_1fpr, attack.balanced_accuracy) == (1, 1, 1)


@pytest.mark.parametrize("factor", [2, 1e-4, 1e5])
@pytest.mark.parametrize("kind", SIGNALS)
def test_the_unit_of_the_loss_changes_nothing(kind, factor):
    sets = [SIGNALS[kind](50, i) for i in range(3)]
    scaled = [Evaluation(s.outputs, s.targets, s.loss * factor) for s in sets]
    before, after = logistic_attack(*sets), logistic_attack(*scaled)
    torch.testing.assert_close(after.members, before.members, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(after.nonmembers, before.nonmembers, rtol=1e-3, atol=1e-3)


def test_the_same_seed_gives_the_same_scores_and_leaves_global_generators_alone():
    sets = [classes(30, i) for i in range(3)]
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    one, two, other = (logistic_attack(*sets, seed=s) for s in (3, 3, 4))
    assert torch.equal(one.members, two.members) and torch.equal(one.nonmembers, two.nonmembers)
    assert not torch.equal(one.members, other.members)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()


def test_the_sets_are_never_mixed():
    """Nothing about the forget set, or the unseen like it, reaches the attackers."""
    retain, unseen, alike = classes(40, 0), classes(40, 1), classes(30, 4)
    one = logistic_attack(retain, unseen, classes(25, 2), seed=1)
    two = logistic_attack(retain, unseen, classes(25, 3, sharpness=9, bonus=9), seed=1)
    assert torch.equal(one.nonmembers, two.nonmembers)
    one = logistic_attack(retain, unseen, classes(25, 2), unseen_forget=alike, seed=1)
    two = logistic_attack(retain, unseen, classes(25, 2), unseen_forget=classes(30, 5), seed=1)
    assert torch.equal(one.members, two.members)


def test_every_example_is_scored_once_a_round_by_a_stranger(strangers):
    attack = logistic_attack(classes(40, 0), classes(31, 1), classes(17, 2), repeats=4)
    np.testing.assert_allclose(attack.nonmembers, np.ones(31))
    np.testing.assert_allclose(attack.members, np.ones(17))
    assert len(strangers) == 8 and set(strangers) == {(15, 15), (16, 16)}


def test_numbers_are_equal_when_one_side_is_small():
    """Three members against 200 others: always 'no' would be right in 97 %, but is chance here."""
    found = [
        logistic_attack(classes(3, i), classes(200, 100 + i), classes(50, 200 + i), repeats=2)
        for i in range(20)
    ]
    share = statistics.mean(float((a.members > 0).double().mean()) for a in found)
    assert 0.3 < share < 0.7


def test_constant_features_are_no_obstacle():
    same = regression([1.0] * 10)
    attack = logistic_attack(same, same, same)
    assert (attack.auc, attack.balanced_accuracy) == (0.5, 0.5)


def test_a_network_of_one_class_or_with_extreme_logits_gives_finite_features():
    one = Evaluation(torch.zeros(8, 1), torch.zeros(8).long(), torch.zeros(8))
    assert logistic_attack(one, one, one).auc == 0.5
    z = torch.tensor([[1e30, -1e30], [-1e30, 1e30], [0.0, 0.0], [1e-30, 0.0]])
    y = torch.zeros(4).long()
    extreme = Evaluation(z, y, loss_per_example(z, y))
    assert bool(attack_features(extreme).isfinite().all())
    assert 0 <= logistic_attack(extreme, extreme, extreme).auc <= 1


def test_features_by_hand():
    p = torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64)
    result = Evaluation(p.log(), torch.tensor([1]), -p.log()[:, 1])
    entropy = -sum(x * math.log(x) for x in (0.7, 0.2, 0.1))
    expected = [-math.log(0.2), math.log(0.2 / 0.8), entropy, math.log(3.5)]
    assert attack_features(result)[0].tolist() == pytest.approx(expected)
    assert attack_features(regression([2.0]), 4.0)[0].tolist() == pytest.approx(
        [0.5, math.log(0.501)]
    )


def test_what_is_printed_says_what_chance_is():
    attack = Attack(torch.arange(5.0), torch.arange(50.0), 0.5)
    assert "5 forgotten against 50 unseen" in repr(attack)
    assert "[chance 0.020]" in repr(attack)  # 1 / 51: below 100 unseen, no false alarm is allowed
    assert "[chance 0.011]" in repr(Attack(torch.arange(5.0), torch.arange(450.0), 0.5))


def test_evaluations_are_not_changed():
    sets = [classes(20, i) for i in range(3)]
    before = [(s.outputs.clone(), s.loss.clone()) for s in sets]
    loss_attack(*sets[:2]), logistic_attack(*sets), attack_features(sets[0])
    for s, (outputs, loss) in zip(sets, before, strict=True):
        assert torch.equal(s.outputs, outputs) and torch.equal(s.loss, loss)


@pytest.mark.parametrize("attack", [logistic_attack, svc_attack])
def test_every_evaluation_is_checked_once(monkeypatch, attack):
    checked, check = [], attacks.check_evaluations
    for module in (attacks, sys.modules[svc_attack.__module__]):
        monkeypatch.setattr(module, "check_evaluations", lambda *r: checked.extend(r) or check(*r))
    sets = [classes(20, i) for i in range(4)]
    attack(*sets[:3], unseen_forget=sets[3])
    assert [id(result) for result in checked] == [id(result) for result in sets]


@pytest.mark.parametrize("metric", [auc, tpr_at_fpr])
@pytest.mark.parametrize("bad", [torch.zeros(0), torch.zeros(2, 2), torch.tensor([math.nan]), 1.0])
def test_clear_errors_for_scores(metric, bad):
    with pytest.raises(ValueError, match="finite scores of both kinds"):
        metric(bad, torch.zeros(3))
    with pytest.raises(ValueError, match="finite scores of both kinds"):
        metric(torch.zeros(3), bad)


@pytest.mark.parametrize("fpr", [-0.1, 1.0, 5, math.nan])
def test_clear_error_for_fpr(fpr):
    with pytest.raises(ValueError, match="fpr must be"):
        tpr_at_fpr(torch.zeros(3), torch.zeros(3), fpr)


def test_clear_errors_for_attacks():
    good = classes(8, 0)
    empty = Evaluation(torch.zeros(0, 5), torch.zeros(0).long(), torch.zeros(0))
    with pytest.raises(ValueError, match="at least one example"):
        loss_attack(empty, good)
    with pytest.raises(ValueError, match="evaluate the model first"):
        loss_attack(good, torch.zeros(3))
    with pytest.raises(ValueError, match="NaN or infinite"):
        loss_attack(regression([math.nan]), good)
    with pytest.raises(ValueError, match="at least one example"):
        logistic_attack(good, good, empty)
    with pytest.raises(ValueError, match="at least 4 unseen"):
        logistic_attack(good, classes(3, 0), good)
    with pytest.raises(ValueError, match="repeats must be a whole number of at least 1"):
        logistic_attack(good, good, good, repeats=0)
