"""The count of how often the null band holds: every verdict is the one that a report gives."""

from functools import partial

import pytest

from book.experiments import Run, coverage
from minilearn import data
from minilearn.methods import retrain
from minilearn.metrics import METRICS, report
from minilearn.requests import by_class
from minilearn.training import Training

METRIC_NAMES = ("accuracy", "gap", "tow", "js", "loss_attack_auc")
RECIPE = Training(epochs=2, lr=1e-2, batch_size=32)


@pytest.fixture(scope="module")
def toy():
    """A pool of as many models as a group has members, and what it was made of."""
    train, test = (part.sample(120) for part in data.digits())
    request, fresh = by_class(train, 3), partial(coverage._network, 64, 10)
    models = [
        retrain(fresh, request.retain, config=RECIPE, seed=seed).model
        for seed in range(coverage.MEMBERS)
    ]
    return request, test, fresh, models


@pytest.fixture
def small(monkeypatch, toy):
    """The units of that pool, which they train anew when they are measured."""
    request, test, fresh, _ = toy
    made = (request, {"test": test}, fresh, RECIPE)
    monkeypatch.setattr(coverage, "_digits", lambda: made)
    monkeypatch.setattr(coverage, "GROUPS", 2)
    monkeypatch.setattr(coverage, "DEFAULT", METRIC_NAMES)
    monkeypatch.setitem(coverage.POOLS, "toy", coverage.MEMBERS)
    return [unit for unit in coverage.units(Run()) if unit.dataset == "digits"]


def test_a_share_counts_the_verdicts_of_reports(toy, small):
    request, test, _, models = toy
    (unit,) = [
        unit for unit in small if unit.method == "interval" and "k=5; more=5;" in unit.config
    ]
    found = {(row["metric"], row["split"]): float(row["value"]) for row in unit.measure()}
    assert {metric for metric, _ in found} == {*METRIC_NAMES} - {"gap"}
    held = dict.fromkeys(found, 0)
    for group in coverage._groups(coverage.MEMBERS):
        table = report(
            request,
            test,
            original=[coverage._network(64, 10)],
            retrained=[models[i] for i in group[:5]],
            methods={"more": [models[i] for i in group[-5:]]},
            metrics=METRIC_NAMES,
        )
        for key in held:
            held[key] += table.row(*key, "more").inside
    assert found == {key: pytest.approx(count / 2) for key, count in held.items()}
    assert any(count > 0 for count in held.values())


def test_the_range_is_of_all_values_or_pairs(toy, small):
    units = {unit.config.split(";")[1]: unit for unit in small if unit.method == "range"}
    narrow = {row["metric"]: float(row["value"]) for row in units[" k=2"].measure()}
    wide = {row["metric"]: float(row["value"]) for row in units[" k=20"].measure()}
    assert narrow.keys() == wide.keys() and "gap" not in wide
    assert all(narrow[name] <= wide[name] for name in narrow)


def test_two_models_have_one_distance(small):
    unit = small[0]
    assert unit.method == "interval" and " k=2; more=1" in unit.config
    assert not any(METRICS[row["metric"]].pairwise for row in unit.measure())


def test_groups_share_no_member_twice_and_a_large_pool_has_its_own():
    for group in coverage._groups(600):
        assert len(set(group)) == coverage.MEMBERS
    own = coverage._groups(coverage.POOLS["paper"])
    assert len({member for group in own for member in group}) == coverage.POOLS["paper"]
