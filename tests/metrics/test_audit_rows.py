"""Rows of trials in a report: whose they are, how they are judged, and what is refused."""

import re

import pytest
import torch

from minilearn.data.examples import Examples
from minilearn.metrics import report
from minilearn.metrics.headlines import headlines
from minilearn.requests import by_index
from minilearn.trials import AGAIN, ORIGINAL, RETRAINED, Trials, pairs_of_draws

KNOWN = {ORIGINAL: 6.0, "finetune": 3.0}  # what is known of a forgotten candidate; others nothing


@pytest.fixture
def found() -> Trials:
    """Sixteen draws of twelve candidates, of which originals know all and fine-tuning half."""
    order = torch.Generator().manual_seed(0)
    forgotten = pairs_of_draws(16, 12)
    names = [ORIGINAL, RETRAINED, AGAIN, "finetune", "scrub"]

    def answers(count: int) -> torch.Tensor:
        return torch.randn(16, count, generator=order, dtype=torch.float64)

    candidates = {name: answers(12) + KNOWN.get(name, 0) * forgotten for name in names}
    return Trials(forgotten, candidates, {name: answers(20) for name in names})


@pytest.fixture
def asked(classification, tiny_net) -> dict:
    """A report of three models of each kind; untrained weights will do here."""
    kinds = ("original", "retrained", "finetune", "scrub")
    models = {k: [tiny_net(seed=10 * i + s) for s in range(3)] for i, k in enumerate(kinds)}
    return {
        "request": by_index(classification, [0, 5, 9, 11, 20]),
        "test": Examples(torch.randn(16, 6), torch.arange(16) % 3),
        "original": models["original"],
        "retrained": models["retrained"],
        "methods": {name: models[name] for name in ("finetune", "scrub")},
    }


def test_the_rows_are_the_verdicts(asked, found):
    made = report(**asked, trials=found)
    for name, column in {"finetune": "finetune", "original": ORIGINAL, "retrained": AGAIN}.items():
        for split, unseen in (("forget", False), ("test", True)):
            verdict, row = found.attack(column, unseen), made.row("ulira", split, name)
            assert row.mean == verdict.auc and row.examples == (20 if unseen else 12)
            assert row.mean - row.half_width == pytest.approx(verdict.low)
        left = found.memory_left(column)
        assert made.row("memory_left", "forget", name).mean == left[left.isfinite()].quantile(0.5)


def test_the_null_judges_and_not_the_models_of_the_report(asked, found):
    made = report(**asked, trials=found)
    null = found.attack(AGAIN)
    low, high = made.row("ulira", "forget", "finetune").band
    assert (low + high) / 2 == pytest.approx(0.5)
    assert high - low == pytest.approx(null.high - null.low)
    assert made.row("ulira", "forget", "scrub").inside
    assert not made.row("ulira", "forget", "finetune").inside
    assert not made.row("ulira", "forget", "original").inside
    assert made.row("ulira", "test", "original").inside


@pytest.mark.parametrize("retrained", [None, 1, 2, 3])
def test_the_rest_of_the_report_is_as_without_them(asked, found, retrained):
    asked["retrained"] = asked["retrained"][:retrained] if retrained else None
    asked["methods"] = {"finetune": asked["methods"]["finetune"][:2]}  # another number of models
    plain, made = report(**asked), report(**asked, trials=found)
    assert made.rows[: len(plain.rows)] == plain.rows
    extra = {row.metric for row in made.rows[len(plain.rows) :]}
    assert extra == {"ulira", "memory_left"}
    said, before = str(made), str(plain)
    for line in before.splitlines()[-3:]:  # numbers of models and sizes of sets
        assert line in said
    assert "of trials, with models and a null of their own" in said
    assert "ulira" in made.notes() and "ulira" not in plain.notes()
    frame = made.frame()
    bands = [name for name in frame if name.startswith("null band")]
    assert re.fullmatch(r"0\.[34]\d+ to 0\.[56]\d+", frame.loc[("ulira", "forget"), bands[0]])
    assert plain.frame().equals(frame.loc[plain.frame().index, list(plain.frame())])


def test_the_strong_attack_answers_first(asked, found):
    made = report(**asked, trials=found)
    asks = headlines([(row.metric, row.split) for row in made.rows])
    attacked = [row for row, question in asks.items() if "attacker" in question]
    assert attacked == [("ulira", "forget")]
    assert "Would an attacker notice?" in made._repr_html_()


def test_trials_that_cannot_judge_are_refused(asked, found):
    few = Trials(
        found.forgotten[:4],
        {name: answers[:4] for name, answers in found.candidates.items()},
        {name: answers[:4] for name, answers in found.unseen.items()},
    )
    with pytest.raises(ValueError, match="it takes 4 candidates and 6 models that forgot each"):
        report(**asked, trials=few)
    asked["methods"] = {"mine": asked["methods"]["finetune"]}
    with pytest.raises(
        ValueError, match="none of the report's methods, but the columns 'original'"
    ):
        report(**asked, trials=found)
    with pytest.raises(ValueError, match="trials must be a Trials"):
        report(**asked, trials=found.candidates)


def test_a_method_without_trials_has_no_row(asked, found):
    del found.candidates["scrub"]
    made = report(**asked, trials=found)
    assert made.row("ulira", "forget", "finetune")
    with pytest.raises(ValueError, match="no ulira"):
        made.row("ulira", "forget", "scrub")
