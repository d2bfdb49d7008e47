"""Trials: many draws, their models made once, and what strong attacks say of them."""

import math

import pytest
import torch
from shared import Pairs, line
from torch import nn

from minilearn import trials as module
from minilearn.data import Examples
from minilearn.evaluation import evaluate
from minilearn.methods import finetune, retrain
from minilearn.metrics import signal
from minilearn.requests import by_index
from minilearn.training import Training
from minilearn.trials import AGAIN, pairs_of_draws, trials

RECIPE = Training(epochs=30, batch_size=16, lr=1e-2)
METHODS = {"finetune": Training(epochs=1, lr=1e-4), "neggrad": None}


def network():
    return nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3))


@pytest.fixture(scope="module")
def train() -> Examples:
    """Easy examples, but the first eight have labels at random: they must be learnt by heart."""
    x = torch.randn(64, 6, generator=torch.Generator().manual_seed(1))
    y = x[:, :3].argmax(1)
    y[:8] = (y[:8] + 1) % 3
    return Examples(x, y)


@pytest.fixture(scope="module")
def unseen() -> Examples:
    x = torch.randn(12, 6, generator=torch.Generator().manual_seed(2))
    return Examples(x, x[:, :3].argmax(1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("trials")


@pytest.fixture(scope="module")
def done(train, unseen, folder):
    return trials(network, train, range(8), unseen, METHODS, folder, draws=12, training=RECIPE)


def test_draws_are_halves_and_their_complements():
    forgotten = pairs_of_draws(6, 9, seed=3)
    assert forgotten.sum(1).tolist() == [4, 5] * 3
    assert torch.equal(forgotten[0::2], ~forgotten[1::2])
    assert not torch.equal(forgotten, pairs_of_draws(6, 9, seed=4))
    for wrong, sentence in ((3, "an even number, got 3"), (0, "at least 2"), (2.0, "whole number")):
        with pytest.raises(ValueError, match=sentence):
            pairs_of_draws(wrong, 9)


def test_each_answer_is_the_model_s_made_by_hand(train, unseen, done):
    request = by_index(train, done.forgotten[3].nonzero().flatten())
    seed = 3 * module.SEEDS
    original = retrain(network, train, config=RECIPE, seed=seed).model
    made = {
        "original": original,
        "retrained": retrain(network, request.retain, config=RECIPE, seed=seed + 1).model,
        AGAIN: retrain(network, request.retain, config=RECIPE, seed=seed + 2).model,
        "finetune": finetune(original, request.retain, config=METHODS["finetune"], seed=seed).model,
    }
    for column, model in made.items():
        assert torch.equal(done.candidates[column][3], signal(evaluate(model, train[range(8)])))
        assert torch.equal(done.unseen[column][3], signal(evaluate(model, unseen)))


def test_what_was_learnt_by_heart_is_found_and_a_second_retraining_is_not(done):
    nothing, null = done.attack("original"), done.attack(AGAIN)
    assert nothing.auc > 0.9 and nothing.low > 0.5
    assert null.low <= 0.5 <= null.high
    assert done.attack("finetune").auc > 0.9  # a gentle one forgets nothing
    frame = done.frame()
    assert list(frame.index) == ["original", AGAIN, *METHODS]
    assert frame.loc["original", "memory left"] == 1.0
    assert abs(frame.loc[AGAIN, "memory left"]) < 0.4 < frame.loc["finetune", "memory left"]
    assert frame.loc["original", "auc"] == nothing.auc


def test_the_same_call_trains_nothing_and_another_method_no_retrained_model(
    train, unseen, folder, done, monkeypatch
):
    trained = []

    def counted(fresh, retain, **options):
        trained.append(len(retain))
        return retrain(fresh, retain, **options)

    monkeypatch.setattr(module, "retrain", counted)
    options = {"draws": 12, "training": RECIPE}
    again = trials(network, train, range(8), unseen, METHODS, folder, **options)
    assert not trained
    for column, values in done.candidates.items():
        assert torch.equal(values, again.candidates[column])
    more = METHODS | {"finetune long": Training(epochs=2)}
    trials(network, train, range(8), unseen, more, folder, **options)
    assert trained == [64] * 12  # the originals, which the new method starts from
    trials(network, train, range(8), unseen, {}, folder, draws=2, training=Training(epochs=1))
    assert len(trained) > 12  # another recipe is another trial


def test_a_run_that_is_stopped_goes_on_to_the_same_bits(train, unseen, tmp_path, monkeypatch, done):
    def stopped(fresh, retain, **options):
        if options["seed"] == 2 * module.SEEDS + 1:
            raise KeyboardInterrupt
        return retrain(fresh, retain, **options)

    options = {"draws": 12, "training": RECIPE}
    with monkeypatch.context() as patch:
        patch.setattr(module, "retrain", stopped)
        with pytest.raises(KeyboardInterrupt):
            trials(network, train, range(8), unseen, METHODS, tmp_path, **options)
    kept = sorted(tmp_path.rglob("*.pt"))
    assert len(kept) == 2 * 5 + 1  # two whole draws, and the original of the third
    found = trials(network, train, range(8), unseen, METHODS, tmp_path, jobs=2, **options)
    for column, values in done.candidates.items():
        assert torch.equal(values, found.candidates[column])
    kept[0].write_bytes(kept[0].read_bytes()[:-1])
    with pytest.raises(ValueError, match="is no whole checkpoint"):
        trials(network, train, range(8), unseen, METHODS, tmp_path, **options)


def test_numbers_and_datasets_of_one_s_own(tmp_path):
    numbers = line(*(float(i % 5) for i in range(20)))

    def small():
        return nn.Sequential(nn.Linear(1, 4), nn.Flatten(0), nn.Unflatten(0, (-1, 4)), Sum())

    found = trials(
        small,
        Pairs(numbers),
        [4, 2, 9, 11],
        line(7.5, 8.5),
        {},
        tmp_path,
        draws=2,
        training=Training(epochs=1),
    )
    assert found.candidates["original"].shape == (2, 4)
    model = retrain(small, Pairs(numbers), config=Training(epochs=1), seed=0).model
    expected = model(numbers.inputs[[2, 4, 9, 11]]).double().detach()
    torch.testing.assert_close(found.candidates["original"][0], expected)
    assert math.isnan(found.attack("original").auc)  # too few draws
    assert "no verdict" in str(found.attack("original"))


class Sum(nn.Module):
    """Adds up what an example has."""

    def forward(self, x):
        return x.sum(1)


def test_bad_input_is_one_sentence(train, unseen, tmp_path, done):
    def call(pool=range(8), others=unseen, methods=METHODS, **options):
        return trials(network, train, pool, others, methods, tmp_path, **options)

    for arguments, sentence in (
        ({"methods": {"forget me": None}}, "the first word of 'forget me' is one of"),
        ({"methods": ["finetune"]}, "settings by name"),
        ({"pool": range(64)}, "nothing is retained"),
        ({"pool": [0, 0]}, "named twice"),
        ({"pool": [0]}, "candidates must be a whole number of at least 2"),
        ({"others": train[3:20]}, "5 of the unseen examples are candidates"),
        ({"draws": 5}, "an even number, got 5"),
        ({"training": None}, "training must be a Training"),
        ({"jobs": 0}, "jobs must be"),
        ({"seed": -1}, "seed must be"),
    ):
        with pytest.raises(ValueError, match=sentence):
            call(**arguments)
    with pytest.raises(ValueError, match="column is one of .'original', 'retrained'"):
        done.attack("scrub")
    assert not any(tmp_path.iterdir())  # nothing was trained
