"""The audits' experiments: pools, planted models whose rows are known, and times in turns."""

import math
import types

import pytest
import torch
from shared import random
from torch.nn.functional import softplus

from book.experiments import (
    KNOWN,
    Run,
    audit_digits,
    audit_mnist,
    audit_null,
    audit_rotated,
    audit_sources,
    audit_speed,
)
from minilearn.data import Examples, MissingData, digits, rotated_digits
from minilearn.evaluation import Evaluation
from minilearn.metrics import loss_attack
from minilearn.requests import by_range, by_typicality
from minilearn.training import Training
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


def test_half_of_the_writers_are_candidates_with_all_that_they_gave(train):
    alike, pool = audit_digits.pool_of(train, "users", seed=0)
    counts = alike.groups.bincount()
    assert set(counts.tolist()) == {int(train.groups.bincount().min())} and len(counts) == 14
    assert (alike.groups[pool].bincount() == counts[0]).sum() == 8 and len(pool) == 8 * counts[0]
    for group in range(14):
        theirs = train.inputs[train.groups == group][: counts[0]]
        assert torch.equal(alike.inputs[alike.groups == group], theirs)
    other = audit_digits.pool_of(train, "users", seed=1)[1]
    assert set(alike.groups[other].tolist()) != set(alike.groups[pool].tolist())


def test_every_column_of_every_task_is_a_unit_and_a_task_is_trained_once(planted, monkeypatch):
    made = []

    def trials(*arguments, draws, whole, groups, **options):
        made.append((len(arguments[2]), draws, whole))
        assert groups is None or len(groups) == len(arguments[2]) and len(groups.unique()) == 8
        return planted

    monkeypatch.setattr(audit_digits, "trials", trials)
    units = list(audit_digits.units(Run(seeds=range(1))))
    stacked = ["finetune", "neggrad", "boundary", "scrub", "bad_teacher", "bad_teacher_long"]
    expected = []
    for methods in (stacked, [*stacked, "laf", "l2ul"]):
        columns = ["original", "retrained", "again", *methods]
        expected += [*columns * 2, *(name for name in columns if name != "retrained"), *columns]
    assert [unit.method for unit in units] == expected
    for unit in {unit.request: unit for unit in units}.values():  # the last of each task
        assert {row["metric"] for row in unit.measure()} <= KNOWN
    sizes = [(128, False), (60, False), (137, True), (672, False)]
    assert made == [(n, draws, whole) for draws in (64, 16) for n, whole in sizes]


def test_mnist_has_the_same_columns_and_attacks_no_class_by_l2ul(planted, monkeypatch):
    images = Examples(random(2_500, 1, 28, 28).sigmoid(), torch.arange(2_500) % 10)
    monkeypatch.setattr(audit_mnist.data, "load", lambda name: (images, images))
    made = []

    def trials(fresh, train, pool, unseen, methods, place, *, draws, whole, **options):
        made.append((len(train), len(pool), len(unseen), draws, whole))
        assert fresh()(unseen.inputs[:2]).shape == (2, 10) and "l2ul" in methods or whole
        return planted

    monkeypatch.setattr(audit_mnist, "trials", trials)
    units = list(audit_mnist.units(Run(seeds=range(1))))
    methods = [name.replace(" ", "_") for name in audit_digits.METHODS]
    of_class = ["original", "again", *methods[:-1]]  # the last is L2UL
    both = ["original", "retrained", "again", *methods] * 2
    assert [unit.method for unit in units] == both + of_class
    for unit in {unit.request: unit for unit in units}.values():
        assert {row["metric"] for row in unit.measure()} <= KNOWN
    mislabelled, in_class = made[1][1], made[2][1]
    assert made[0] == (2_000, 128, 1_000, 16, False) and made[1][3:] == (16, False)
    assert mislabelled % 2 == 0 and 50 <= mislabelled <= 70
    assert 150 < in_class < 250 and made[2][4]


def test_without_mnist_the_audit_says_what_is_wanted(tmp_path, monkeypatch):
    monkeypatch.setenv("MINILEARN_DATA", str(tmp_path))
    unit = next(iter(audit_mnist.units(Run(seeds=range(1)))))
    with pytest.raises(MissingData, match="train-images.*no licence is stated"):
        unit.measure()


def test_rows_say_what_was_planted(planted):
    def rows_of(column: str) -> dict:
        rows = audit_digits.rows_of(lambda: planted, column)
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
    assert nothing["js_right", "forget"] > half["js_right", "forget"] > null["js_right", "forget"]
    assert nothing["klom_95", "forget"] >= nothing["klom", "forget"] > null["klom", "forget"] > 0.5
    assert all(math.isfinite(number) for number in nothing.values())


def test_of_a_class_there_are_no_rows_of_attacks_on_the_label(planted):
    every = Trials(torch.ones_like(planted.forgotten), planted.candidates, planted.unseen)
    metrics = {row["metric"] for row in audit_digits.rows_of(lambda: every, "finetune")}
    assert "ulira" in metrics and not metrics & {"loss_attack_auc", "rmia", "js_right"}


def test_the_weak_attack_is_the_loss_attack_of_a_model_on_average(planted):
    each = []
    for draw in range(DRAWS):
        sides = planted.candidates["scrub"][draw], planted.unseen["scrub"][draw]
        sides = sides[0][planted.forgotten[draw]], sides[1]
        forget, unseen = (Evaluation(x, torch.zeros(len(x)), softplus(-x)) for x in sides)
        each.append(loss_attack(forget, unseen).auc)
    assert audit_digits.weak(planted, "scrub") == pytest.approx(sum(each) / DRAWS)


def planted_predictions(targets, unseen, every: bool = False) -> Trials:
    """Retrained models are 9 degrees too high, and some others right about what they forgot."""
    forgotten = pairs_of_draws(DRAWS, len(targets)) | every
    off = {ORIGINAL: 0.0, "amnesiac": 3.0, "retrain briefly": 18.0}
    candidates, others = {}, {}
    for i, name in enumerate([ORIGINAL, RETRAINED, AGAIN, *audit_rotated.METHODS]):
        wrong = torch.where(forgotten, off.get(name, 9.0), 0.0)
        candidates[name] = targets + wrong + random(DRAWS, len(targets), seed=i).double()
        others[name] = unseen + 9.0 + random(DRAWS, len(unseen), seed=50 + i).double()
    return Trials(forgotten, candidates, others)


def test_of_regression_every_column_is_a_unit_and_a_task_is_trained_once(monkeypatch):
    made = []

    def trials(fresh, train, pool, unseen, methods, place, *, draws, whole, **options):
        targets = train.targets[pool]
        made.append((len(pool), draws, whole, targets.max() < 30))
        return planted_predictions(targets.double(), unseen.targets.double(), whole)

    monkeypatch.setattr(audit_rotated, "trials", trials)
    units = list(audit_rotated.units(Run(seeds=range(1))))
    columns = ["original", "retrained", "again", "finetune", "neggrad", "amnesiac", "blindspot"]
    columns += ["amnesiac_long", "blindspot_model"]
    assert [unit.method for unit in units] == columns * 2
    splits = [
        {row["split"] for row in unit.measure() if row["metric"] == "ulira"}
        for unit in (units[2], units[-1])
    ]
    assert splits == [{"forget", "test"}, {"forget", "test_forget", "test_retain"}]
    band = len(by_range(rotated_digits(12, 2).train, 0, 30).indices)
    assert made == [(128, 64, False, False), (band, 64, True, True)]


def test_rows_of_predictions_say_what_was_planted():
    targets, unseen = (90 * random(n, seed=n).double().sigmoid() for n in (CANDIDATES, 60))
    audited = audit_rotated.Audited(planted_predictions(targets, unseen), targets, unseen)
    rows = {
        name: {
            (row["metric"], row["split"]): float(row["value"])
            for row in audit_rotated._rows(lambda: audited, name)
        }
        for name in audited.found.candidates
    }
    assert all(metric in KNOWN for own in rows.values() for metric, _ in own)
    assert set(rows[RETRAINED]) == {("mae", "forget"), ("loss_attack_auc", "")}
    wrong = {name: own["mae", "forget"] for name, own in rows.items()}
    assert wrong[RETRAINED] == pytest.approx(9, abs=0.3) and wrong[ORIGINAL] < 1
    null, nothing = (rows[name]["paired_difference", "forget"] for name in (AGAIN, ORIGINAL))
    assert null == pytest.approx(2 / math.pi**0.5, abs=0.2)  # of two standard normals
    assert nothing == pytest.approx(9, abs=0.5)
    for name in (ORIGINAL, "amnesiac", "retrain briefly"):
        assert rows[name]["ulira", "forget"] > 0.98
        assert rows[name]["memory_known", "forget"] == CANDIDATES
    left = {name: own.get(("memory_left", "forget")) for name, own in rows.items()}
    assert left[ORIGINAL] == 1 and left[AGAIN] == pytest.approx(0, abs=0.1)
    assert left["amnesiac"] == pytest.approx(6 / 9, abs=0.1)
    assert left["retrain briefly"] == pytest.approx(-1, abs=0.1)
    weak = {name: own["loss_attack_auc", ""] for name, own in rows.items()}
    assert weak[ORIGINAL] > 0.98 > 0.6 > weak[AGAIN] > 0.4 and weak["retrain briefly"] < 0.02


def test_of_a_band_unseen_digits_inside_and_outside_are_apart():
    """Planted: nobody is wrong outside, and inside all but the originals are."""
    unseen = torch.linspace(0, 89, 60).double()
    found = planted_predictions(torch.arange(CANDIDATES).double(), unseen, every=True)
    for name, answers in found.unseen.items():
        answers -= 9.0 * ((unseen >= 30) | (name == ORIGINAL))
    audited = audit_rotated.Audited(found, torch.arange(CANDIDATES).double(), unseen)
    rows = {
        (row["metric"], row["split"]): float(row["value"])
        for row in audit_rotated._rows(lambda: audited, ORIGINAL)
    }
    assert rows["ulira", "test_forget"] > 0.98
    assert rows["ulira_low", "test_retain"] < 0.5 < rows["ulira_high", "test_retain"]
    assert rows["loss_attack_auc", ""] == pytest.approx(0.5, abs=0.1)  # of the same kind


def test_every_audit_of_the_null_has_candidates_and_models_of_its_own(planted, monkeypatch):
    made = []

    def trials(fresh, train, pool, unseen, methods, place, *, seed, **options):
        made.append((tuple(pool.tolist()), dict(methods), seed))
        return planted

    monkeypatch.setattr(audit_null, "trials", trials)
    units = list(audit_null.units(Run(seeds=range(3))))
    rows = [unit.measure() for unit in units]
    pools, methods, seeds = zip(*made, strict=True)
    assert len(set(pools)) == 3 and seeds == (0, 1, 2) and methods == ({}, {}, {})
    null = planted.attack(AGAIN), planted.attack(AGAIN, unseen=True)
    areas = {row["split"]: float(row["value"]) for row in rows[0] if row["metric"] == "ulira"}
    assert areas == {"forget": null[0].auc, "test": null[1].auc}


def test_the_spread_is_parted_by_who_made_it(monkeypatch):
    """Planted: numbers that move with the draw, with the original, or with the method alone."""
    monkeypatch.setattr(audit_sources, "NUMBERS", {"a": None, "b": None, "c": None})
    d, s, u = torch.meshgrid(*[torch.arange(3.0)] * 3, indexing="ij")
    values = {"a": 5 + d, "b": s, "c": u}
    for number, stage in {"a": "draw", "b": "training_seed", "c": "unlearning_seed"}.items():
        found = {
            r["metric"]: float(r["value"])
            for r in audit_sources._rows(lambda: (values, 0.5), number)
        }
        assert set(found) <= KNOWN and found[f"share_{stage}"] == pytest.approx(1)
        assert found["price"] == 0.5 and found["spread"] == pytest.approx(1)
        alone = {"draw": (16, 1, 1), "training_seed": (1, 26, 1), "unlearning_seed": (1, 1, 76)}
        runs = [found[f"runs_{name}"] for name in alone]
        assert tuple(runs) == alone[stage]
    flat = audit_sources._rows(lambda: ({"a": torch.ones(2, 2, 2)}, 1.0), "a")
    assert not [row for row in flat if row["metric"].startswith("runs")]


def test_sources_are_measured_on_draws_originals_and_models_of_their_own(monkeypatch):
    """A method that takes the model as it is: its seeds change nothing, draws and originals do."""
    monkeypatch.setattr(audit_sources, "COUNTS", {"toy": (2, 2, 2)})
    monkeypatch.setattr(audit_sources, "RECIPE", Training(epochs=1))
    monkeypatch.setattr(audit_sources, "METHODS", {"finetune": Training(epochs=1)})
    cost = types.SimpleNamespace(samples=1347)
    asked = []

    def unlearn(method, model, request, **options):
        asked.append((tuple(request.indices.tolist()), id(model), options["seed"]))
        return types.SimpleNamespace(model=model, cost=cost)

    monkeypatch.setattr(audit_sources, "unlearn", unlearn)
    units = list(audit_sources.units(Run(seeds=range(1))))
    assert [unit.request for unit in units] == list(audit_sources.NUMBERS)
    rows = [{r["metric"]: float(r["value"]) for r in unit.measure()} for unit in units]
    assert len(asked) == len(set(asked)) == 8 and len({a[0] for a in asked}) == 2
    assert len({a[1] for a in asked}) == 4 and {a[2] for a in asked} == {0, 1}
    assert all(found["share_unlearning_seed"] == 0 and found["price"] == 1 for found in rows)


def test_a_ratio_is_the_median_of_its_turns_and_seconds_are_of_one_model(monkeypatch):
    times = iter([9.0, 9.0] + [1.0, 2.0, 2.0, 6.0, 1.0, 4.0])  # the first turn does not count
    monkeypatch.setattr(audit_speed, "TURNS", 3)
    monkeypatch.setattr(audit_speed, "seconds_of", lambda run, device: next(times))
    unit = next(iter(audit_speed.units(Run(seeds=range(1)))))
    rows = {row["metric"]: float(row["value"]) for row in unit.measure()}
    assert rows == {"ratio": 3.0, "seconds": 1 / 16, "loop_seconds": 4 / 16, "turns": 3}
