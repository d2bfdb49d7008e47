"""The attack success rate: without knowledge, with all of it, its counts and its silly inputs."""

import sys

import pytest
import torch

from minilearn.evaluation import Evaluation
from minilearn.metrics import asr, asr_published

EVALUATION = "outputs", "targets", "loss"


def answers(n: int, sure: float, seed: int = 0, classes: int = 5) -> Evaluation:
    """Random logits; one of them larger by about `sure`."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, classes, generator=generator)
    targets = torch.randint(0, classes, (n,), generator=generator)
    logits[torch.arange(n), targets] += sure
    return Evaluation(
        logits, targets, torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    )


def test_with_full_knowledge_both_are_one():
    known, unseen, target = answers(300, 30), answers(400, 0, 1), answers(150, 30, 2)
    published, attack = asr_published(known, unseen, target), asr(known, unseen, target)
    assert published.value == attack.balanced_accuracy == attack.auc == 1
    assert published.scored == 300 and published.always_member == 0.5


def test_without_knowledge_the_balanced_form_is_chance_over_seeds():
    found = [
        asr(answers(400, 2, s), answers(800, 2, 50 + s), answers(400, 2, 99 + s), seed=s)
        for s in range(12)
    ]
    rates = torch.tensor([attack.balanced_accuracy for attack in found])
    # 400 examples a side: one standard error of a rate is 0.018, of the mean of twelve 0.005
    assert abs(rates.mean() - 0.5) < 0.02 and rates.std() < 0.04


@pytest.mark.parametrize("forgotten, tests, share", [(300, 400, 0.6), (50, 400, 0.5), (20, 9, 0.8)])
def test_the_published_chance_is_the_share_of_the_forgotten(forgotten, tests, share):
    found = asr_published(answers(90, 1), answers(tests, 1, 1), answers(forgotten, 1, 2))
    assert found.always_member == pytest.approx(share)
    assert found.scored == round(forgotten / share)


def test_an_attacker_that_accuses_everyone_has_the_published_chance():
    """The half of the unseen that it learns from differs from members, and nobody else does."""
    known, forgotten, alike = (answers(n, 30, s) for n, s in ((90, 0), (300, 2), (200, 3)))
    learnt, unseen = answers(200, 0, 1), answers(400, 0, 1)
    both = [torch.cat([getattr(e, name) for e in (learnt, alike)]) for name in EVALUATION]
    found = asr_published(known, Evaluation(*both), forgotten)
    assert found.value == found.always_member == 0.6
    fair = asr(known, unseen, forgotten, unseen_forget=alike)
    assert (fair.members > 0).all() and (fair.nonmembers > 0).all()
    assert fair.balanced_accuracy == 0.5


def test_which_class_is_which_does_not_count():
    sets = [answers(n, 2, s) for s, n in enumerate((90, 120, 60))]
    turned = [Evaluation(e.outputs.roll(2, 1), (e.targets + 2) % 5, e.loss) for e in sets]
    assert asr(*sets, seed=3).auc == asr(*turned, seed=3).auc
    assert asr_published(*sets, seed=3) == asr_published(*turned, seed=3)


def test_unseen_examples_of_the_forgotten_class_take_the_place_of_others():
    known, unseen, target = answers(300, 8), answers(400, 0, 1), answers(150, 0, 2)
    alike, others = answers(100, 0, 3), answers(100, 8, 3)
    fair = asr(known, unseen, target, unseen_forget=alike)
    assert len(fair.nonmembers) == 100 and 0.4 < fair.auc < 0.6
    assert asr(known, unseen, target, unseen_forget=others).auc < 0.1
    assert len(asr(known, unseen, target).nonmembers) == 200  # the half that was not learnt from


def test_the_published_counts(strangers):
    """On MNIST's sizes: how many the attacker learns from, and how many it is scored on."""
    found = asr_published(answers(54_077, 1), answers(10_000, 1, 1), answers(5_923, 1, 2))
    assert strangers == [(5000, 5000)]
    # everybody scored is a stranger to it, and so is accused
    assert found.scored == 5923 + 5000 and found.value == pytest.approx(5923 / 10923)
    assert repr(found) == "PublishedASR(0.542 [all members 0.542, none 0.458], 10923 scored)"


def test_an_order_of_the_test_set_does_not_count():
    """A test set in the order of its classes: half of it is like members, and stands last."""
    known, forgotten, alike = (answers(400, 30, seed) for seed in (0, 2, 3))
    halves = answers(400, 0, 1), alike
    ordered = [torch.cat([getattr(e, name) for e in halves]) for name in EVALUATION]
    found = asr(known, Evaluation(*ordered), forgotten)
    assert 0.6 < found.balanced_accuracy < 0.8  # and 0.5 from the halves as they stand


@pytest.mark.parametrize("attack", [asr, asr_published])
def test_the_attacker_learns_from_so_many_at_most(monkeypatch, attack):
    learnt = []

    def fitted(members, nonmembers, generator):
        learnt.append((len(members), len(nonmembers)))
        return lambda rows: rows[:, 0]

    module = sys.modules["minilearn.metrics.asr"]
    monkeypatch.setattr(module, "_fit", fitted)
    monkeypatch.setattr(module, "MOST", 20)
    attack(answers(90, 1), answers(100, 1, 1), answers(60, 1, 2))
    assert learnt == [(20, 20)]


def test_silly_inputs():
    good, few = answers(9, 1), answers(3, 1)
    numbers = Evaluation(torch.zeros(9), torch.zeros(9), torch.zeros(9))
    for attack in (asr, asr_published):
        with pytest.raises(ValueError, match="at least 4 test examples to halve, got 3"):
            attack(good, few, good)
        with pytest.raises(ValueError, match="no classes"):
            attack(numbers, numbers, numbers)
        with pytest.raises(ValueError, match="seed must be a whole number"):
            attack(good, good, good, seed=-1)
        broken = Evaluation(good.outputs, good.targets, good.loss * torch.nan)
        with pytest.raises(ValueError, match="finite|NaN"):
            attack(good, good, broken)
