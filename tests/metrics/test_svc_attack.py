"""The attack by a support vector machine: corrected, it finds nothing where nothing is to be found;
as published, it finds anything."""

import math
import statistics

import numpy as np
import pytest
import torch
from shared import errors, regression
from sklearn.svm import SVC

from minilearn.evaluation import Evaluation
from minilearn.metrics import SVCAttack, auc, svc_attack, svc_attack_published
from minilearn.metrics.attacks import attack_features


def unit_of(world: int) -> list[Evaluation]:
    return [errors(120, 10 * world + i) for i in range(4)]


def within_three_standard_errors(values, expected: float) -> bool:
    se = statistics.stdev(values) / math.sqrt(len(values))
    return abs(statistics.mean(values) - expected) < 3 * se


@pytest.mark.parametrize("apart", [False, True])
def test_no_signal_no_finding(apart):
    found = []
    for world in range(40):
        retain, unseen, forget, alike = unit_of(world)
        other = alike if apart else None
        found.append(svc_attack(retain, unseen, forget, unseen_forget=other, seed=world))
    for share in zip(*(attack.shares for attack in found), strict=True):
        assert within_three_standard_errors(share, 0.5)
    assert within_three_standard_errors([attack.balanced_accuracy for attack in found], 0.5)
    assert within_three_standard_errors([attack.auc for attack in found], 0.5)


def test_the_null_of_the_published_form_is_enormous():
    """No signal at all: far more spread than counting has, and 2 : 1 members decide alone."""
    shares, corrected, forgotten = [], [], 1000
    for draw in range(12):
        train, test, forget = (errors(n, 100 * draw + n) for n in (401, 400, forgotten))
        shares.append(svc_attack_published(train, test, forget, count=400, seed=draw).shares[0])
        attack = svc_attack(train, test, forget, seed=draw)
        corrected.append(attack.shares[0] - attack.shares[2])
    by_counting = 0.5 / math.sqrt(forgotten)
    assert statistics.stdev(shares) > 3 * by_counting
    assert max(shares) - min(shares) > 0.15
    # each share of the corrected form wanders too; what it is compared with wanders along
    assert statistics.stdev(corrected) < statistics.stdev(shares)
    uneven = svc_attack_published(errors(400, 1), errors(200, 2), errors(300, 3))
    assert uneven.shares[0] > 0.9 and uneven.shares[2] > 0.9


def test_members_stand_out_of_the_published_form_by_their_own_points():
    """Read where it was fitted: with a narrow kernel, the training share is above the unseen."""
    gaps = []
    for draw in range(8):
        attack = svc_attack_published(
            errors(60, draw, 100.0), errors(60, 50 + draw, 100.0), errors(60, 90 + draw, 100.0)
        )
        gaps.append(attack.shares[1] - attack.shares[2])
    assert min(gaps) > 0.2  # nothing distinguishes them
    assert not attack.held_out and "read on the points it was fitted to" in repr(attack)


def test_losses_far_apart_are_told_apart():
    low, high = regression([0.0] * 40), regression([100.0] * 40)
    attack = svc_attack(low, high, low)
    assert (attack.auc, attack.balanced_accuracy, attack.shares) == (1, 1, (1, 1, 0))
    attack = svc_attack_published(low, high, low)
    assert (attack.auc, attack.balanced_accuracy, attack.shares) == (1, 1, (1, 1, 0))


def test_a_signal_is_found():
    retain, unseen, forget = errors(300, 0, 2.0), errors(300, 1), errors(300, 2, 2.0)
    attack = svc_attack(retain, unseen, forget)
    assert attack.auc > 0.8 and attack.balanced_accuracy > 0.75
    assert svc_attack(retain, unseen, errors(300, 3)).balanced_accuracy < 0.6  # well forgotten


def test_a_boundary_may_bend():
    """Members in the middle of the losses: no threshold finds them."""
    generator = torch.Generator().manual_seed(0)
    middle = [regression(10 + torch.rand(200, generator=generator)) for _ in range(2)]
    outside = regression(torch.cat([torch.full((100,), 1.0), torch.full((100,), 90.0)]))
    attack = svc_attack(middle[0], outside, middle[1])
    assert attack.auc > 0.95
    assert auc(-middle[1].loss, -outside.loss) == 0.5


@pytest.mark.parametrize("factor", [2, 1e-4, 1e5])
def test_the_unit_of_the_loss_changes_nothing_but_in_the_published_form(factor):
    sets = [errors(60, i) for i in range(3)]
    scaled = [Evaluation(s.outputs, s.targets, s.loss * factor) for s in sets]
    before, after = svc_attack(*sets), svc_attack(*scaled)
    torch.testing.assert_close(after.forgotten, before.forgotten, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(after.unseen, before.unseen, rtol=1e-3, atol=1e-3)
    before, after = svc_attack_published(*sets), svc_attack_published(*scaled)
    assert not torch.allclose(after.forgotten, before.forgotten, rtol=1e-3, atol=1e-3)


def test_the_unit_of_the_loss_is_the_unseen_ones():
    """log(error / unit + 0.001) tells errors apart where they are near the unit, and none that are
    far below. So retained errors of a millionth are all one score, and unseen ones never are."""

    small, unseen = (regression(s * errors(60, i).loss) for i, s in ((0, 1e-6), (1, 1.0)))
    attack = svc_attack(small, unseen, small)
    assert len({round(score, 2) for score in attack.known.tolist()}) <= 2  # an attacker a half
    assert len({round(score, 2) for score in attack.forgotten.tolist()}) <= 2
    assert len({round(score, 2) for score in attack.unseen.tolist()}) > 10
    # the other way round the unseen errors are a millionth, and in their own unit
    attack = svc_attack(unseen, small, unseen)
    assert len({round(score, 2) for score in attack.unseen.tolist()}) > 10


def test_the_published_form_is_the_machine_of_the_paper():
    """Against scikit-learn called by hand, in another order of the points."""
    train, test, forget = (errors(50, seed) for seed in range(3))
    x = torch.cat([train.loss, test.loss]).double().numpy()[:, None]
    machine = SVC(C=3, gamma="auto", kernel="rbf").fit(x, [1] * 50 + [0] * 50)
    by_hand = [machine.predict(s.loss.double().numpy()[:, None]).mean() for s in (forget, train)]
    attack = svc_attack_published(train, test, forget, count=50)
    assert attack.shares[:2] == pytest.approx(by_hand, abs=0.021)  # the solver stops at 1e-3


def test_the_forgotten_are_never_fitted_in_the_corrected_form():
    retain, unseen, alike = (errors(40, i) for i in range(3))
    one, two = (svc_attack(retain, unseen, errors(25, s), seed=1) for s in (7, 8))
    assert torch.equal(one.unseen, two.unseen) and torch.equal(one.known, two.known)
    one = svc_attack(retain, unseen, alike, unseen_forget=alike, seed=1)
    two = svc_attack(retain, unseen, alike, unseen_forget=errors(40, 9), seed=1)
    assert torch.equal(one.forgotten, two.forgotten)


def test_no_example_is_scored_by_an_attacker_that_has_met_it(strangers):
    attack = svc_attack(errors(41, 0), errors(31, 1), errors(17, 2), count=12)
    assert attack.shares == (1, 1, 1) and len(attack.known) == 41 and len(attack.unseen) == 31
    assert strangers == [(6, 6), (6, 6)]


def test_the_same_seed_gives_the_same_scores_and_leaves_global_generators_alone():
    sets = [errors(30, i) for i in range(3)]
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    for attack in (svc_attack, svc_attack_published):
        one, two, other = (attack(*sets, count=10, seed=s) for s in (3, 3, 4))
        assert torch.equal(one.forgotten, two.forgotten) and torch.equal(one.unseen, two.unseen)
        assert not torch.equal(one.forgotten, other.forgotten)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()


def test_evaluations_are_not_changed():
    sets = [errors(20, i) for i in range(3)]
    before = [(s.outputs.clone(), s.loss.clone()) for s in sets]
    svc_attack(*sets), svc_attack_published(*sets)
    for s, (outputs, loss) in zip(sets, before, strict=True):
        assert torch.equal(s.outputs, outputs) and torch.equal(s.loss, loss)


def test_equal_losses_and_few_examples_are_no_obstacle():
    same = regression([1.0] * 4)
    attack = svc_attack(same, same, regression([1.0]))
    assert attack.auc == 0.5 and attack_features(same).std(0).tolist() == [0, 0]
    assert len(svc_attack_published(same, same, regression([1.0]), count=1).known) == 1


def test_what_is_printed_says_what_chance_is():
    scores = torch.tensor([1.0, -1.0, 2.0, 3.0]), torch.tensor([1.0, -1.0]), torch.tensor([-1.0])
    attack = SVCAttack(*scores, held_out=True)
    assert attack.shares == (0.75, 0.5, 0) and attack.balanced_accuracy == 0.875
    text = "forgotten 0.750, training 0.500, unseen 0.000 [no signal: all alike]"
    assert text in repr(attack) and repr(attack).endswith("held out)")
    assert repr(attack).count("[chance 0.5]") == 2


def test_clear_errors():
    good, few = errors(8, 0), errors(3, 1)
    empty = regression([])
    cases = [
        ("at least 4 retained", lambda: svc_attack(few, good, good)),
        ("at least 4 unseen", lambda: svc_attack(good, few, good)),
        ("count must be a whole number of at least 2", lambda: svc_attack(*[good] * 3, count=1)),
        ("at least one example", lambda: svc_attack(good, good, empty)),
        ("at least one example", lambda: svc_attack(good, good, good, unseen_forget=empty)),
        ("evaluate the model first", lambda: svc_attack(good, good, torch.zeros(3))),
        ("NaN or infinite", lambda: svc_attack(good, good, regression([math.nan]))),
        ("at least one example", lambda: svc_attack_published(empty, good, good)),
        ("evaluate the model first", lambda: svc_attack_published(good, None, good)),
        ("count must be", lambda: svc_attack_published(good, good, good, count=0)),
        ("count must be", lambda: svc_attack_published(good, good, good, count=2.5)),
    ]
    for says, call in cases:
        with pytest.raises(ValueError, match=says):
            call()
    for seed in (-1, "a", 0.5, None):
        for attack in (svc_attack, svc_attack_published):
            with pytest.raises(ValueError, match="seed must be a whole number of at least 0"):
                attack(good, good, good, seed=seed)
