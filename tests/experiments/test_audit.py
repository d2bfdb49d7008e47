"""The audits' experiments: pools, planted models whose rows are known, and times in turns."""

import math

import pytest
import torch
from shared import random
from torch.nn.functional import softplus

from book.experiments import KNOWN, Run, audit_digits, audit_speed
from minilearn.data import digits
from minilearn.evaluation import Evaluation
from minilearn.metrics import loss_attack
from minilearn.requests import by_typicality
from minilearn.trials import AGAIN, ORIGINAL, RETRAINED, Trials, pairs_of_draws

DRAWS, CANDIDATES, UNSEEN = 16, 12, 20


@pytest.fixture(scope="module")
def train():
    return digits().train


@pytest.fixture
def planted() -> Trials:
    """Originals know every candidate, one method half of it; nobody knows the unseen."""
    forgotten = pairs_of_draws(DRAWS, CANDIDATES)
    names = [ORIGINAL, RETRAINED, AGAIN, *audit_digits.METHODS]
    known = {name: 6.0 if name == ORIGINAL else 3.0 * (name == "finetune") for name in names}
    candidates = {
        name: random(DRAWS, CANDIDATES, seed=i).double() + known[name] * forgotten
        for i, name in enumerate(names)
    }
    unseen = {name: random(DRAWS, UNSEEN, seed=50 + i).double() for i, name in enumerate(names)}
    return Trials(forgotten, candidates, unseen)


def test_half_of_the_items_are_the_least_typical_and_none_is_twice(train):
    same, pool = audit_digits.pool_of(train, "items", seed=0)
    assert same is train and len(pool) == len(set(pool.tolist())) == 128
    assert pool[:64].tolist() == by_typicality(train, 64).indices.tolist()
    other = audit_digits.pool_of(train, "items", seed=1)[1]
    assert torch.equal(pool[:64], other[:64]) and not torch.equal(pool[64:], other[64:])


def test_the_mislabelled_are_the_candidates(train):
    wrong, pool = audit_digits.pool_of(train, "mislabelled", seed=0)
    mislabelled = (wrong.targets != train.targets).nonzero().flatten().tolist()
    assert mislabelled[:60] == pool.tolist() and len(mislabelled) == 61  # of one size, all draws
    assert set(train.targets[mislabelled].bincount().tolist()) == {6, 7}


def test_every_column_of_every_task_is_a_unit_and_a_task_is_trained_once(planted, monkeypatch):
    made = []

    def trials(*arguments, draws, whole, **options):
        made.append((len(arguments[2]), draws, whole))
        return planted

    monkeypatch.setattr(audit_digits, "trials", trials)
    units = list(audit_digits.units(Run(seeds=range(1))))
    stacked = ["finetune", "neggrad", "boundary", "scrub", "bad_teacher", "bad_teacher_long"]
    expected = []
    for methods in (stacked, [*stacked, "laf", "l2ul"]):
        columns = ["original", "retrained", "again", *methods]
        expected += [*columns, *columns, *(name for name in columns if name != "retrained")]
    assert [unit.method for unit in units] == expected
    for unit in {unit.request: unit for unit in units}.values():  # the last of each task
        assert {row["metric"] for row in unit.measure()} <= KNOWN
    sizes = [(128, False), (60, False), (137, True)]
    assert made == [(n, draws, whole) for draws in (64, 16) for n, whole in sizes]


def test_rows_say_what_was_planted(planted):
    def rows_of(column: str) -> dict:
        rows = audit_digits._rows(lambda: planted, column)
        return {(row["metric"], row["split"]): float(row["value"]) for row in rows}

    nothing, null, half = (rows_of(column) for column in (ORIGINAL, AGAIN, "finetune"))
    assert set(rows_of(RETRAINED)) == {("loss_attack_auc", "")}
    assert nothing["ulira", "forget"] > 0.98 > half["ulira", "forget"] > 0.85
    assert null["ulira_low", "forget"] < 0.5 < null["ulira_high", "forget"]
    assert all(abs(rows["ulira", "test"] - 0.5) < 0.1 for rows in (nothing, null, half))
    assert nothing["memory_left", "forget"] == 1 and nothing["memory_known", "forget"] == 12
    assert half["memory_left", "forget"] == pytest.approx(0.5, abs=0.1)
    assert null["kl_of_fits", "forget"] < 1 < half["kl_of_fits", "forget"] < 9
    assert nothing["rmia", "forget"] > 0.8
    assert all(math.isfinite(number) for number in nothing.values())


def test_of_a_class_there_are_no_rows_of_attacks_on_the_label(planted):
    every = Trials(torch.ones_like(planted.forgotten), planted.candidates, planted.unseen)
    metrics = {row["metric"] for row in audit_digits._rows(lambda: every, "finetune")}
    assert "ulira" in metrics and not metrics & {"loss_attack_auc", "rmia"}


def test_the_weak_attack_is_the_loss_attack_of_a_model_on_average(planted):
    each = []
    for draw in range(DRAWS):
        sides = planted.candidates["scrub"][draw], planted.unseen["scrub"][draw]
        sides = sides[0][planted.forgotten[draw]], sides[1]
        forget, unseen = (Evaluation(x, torch.zeros(len(x)), softplus(-x)) for x in sides)
        each.append(loss_attack(forget, unseen).auc)
    assert audit_digits._weak(planted, "scrub") == pytest.approx(sum(each) / DRAWS)


def test_a_ratio_is_the_median_of_its_turns_and_seconds_are_of_one_model(monkeypatch):
    times = iter([9.0, 9.0] + [1.0, 2.0, 2.0, 6.0, 1.0, 4.0])  # the first turn does not count
    monkeypatch.setattr(audit_speed, "TURNS", 3)
    monkeypatch.setattr(audit_speed, "seconds_of", lambda run, device: next(times))
    unit = next(iter(audit_speed.units(Run(seeds=range(1)))))
    rows = {row["metric"]: float(row["value"]) for row in unit.measure()}
    assert rows == {"ratio": 3.0, "seconds": 1 / 16, "loop_seconds": 4 / 16, "turns": 3}
