"""A user's own sweep, and units that are measured by several processes."""

from dataclasses import replace
from functools import partial
from inspect import signature

import pytest
import torch
from torch import nn

from book.experiments import Run, measure, rotated_digits, units_of
from minilearn.data import Examples
from minilearn.evaluation import evaluate
from minilearn.methods import SCRUB, finetune, retrain
from minilearn.metrics.report import t_half_width
from minilearn.precision import fast
from minilearn.requests import Request, by_index
from minilearn.sweep import missing, read_rows, run_units, scores, sweep, unit_of
from minilearn.training import Training, fit

RECIPE = Training(epochs=4, batch_size=8, lr=1e-2)
METHODS = {"finetune": Training(epochs=1), "finetune long": Training(epochs=3), "scrub": SCRUB()}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "mine.csv"


@pytest.fixture
def request_of_ten(classification):
    return by_index(classification, range(10))


@pytest.fixture
def call(request_of_ten, path, tiny_net):
    """A function that sweeps a tiny network, with some arguments changed."""
    network = type(tiny_net())  # a class makes a new network at every call

    def run(**changes):
        arguments = {"fresh": network, "request": request_of_ten, "methods": METHODS, "path": path}
        return sweep(**arguments | {"training": RECIPE} | changes)

    run.network = network
    return run


def test_the_table_has_the_numbers_of_the_calls_by_hand(call, request_of_ten):
    table = call()
    values = []
    for seed in range(3):
        original = retrain(call.network, request_of_ten.train, config=RECIPE, seed=seed).model
        done = finetune(original, request_of_ten.retain, config=METHODS["finetune"], seed=seed)
        correct = evaluate(done.model, request_of_ten.forget).correct
        values.append(correct.double().mean().item())
    row = table.loc["finetune", "accuracy on forget"]
    assert row["mean"] == pytest.approx(sum(values) / 3) and row["seeds"] == 3
    assert row["spread"] == pytest.approx(t_half_width(values))
    assert list(dict.fromkeys(table.index.get_level_values(0))) == [
        *("original", "retrained", "finetune", "finetune long", "scrub")
    ]
    samples = table["mean"].unstack()["samples"]
    assert samples["finetune long"] == 3 * samples["finetune"]


class CountingWeights:
    """A measure that counts its calls, up to a limit, and says that this is no setting of it."""

    def __init__(self):
        self.calls, self.limit = 0, 7

    def __call__(self, model, request):
        if self.calls == self.limit:
            raise RuntimeError("the lights went out")
        self.calls += 1
        return {"weights": sum(p.numel() for p in model.parameters())}

    def __getstate__(self):
        return {}


def test_it_goes_on_where_it_was_stopped(call, path):
    own = CountingWeights()
    with pytest.raises(RuntimeError, match="the lights went out"):
        call(measure=own)
    assert len({(row["method"], row["seed"]) for row in read_rows(path)}) == 7
    table = call(measure=own, seeds=[0])  # whole: nothing is measured, nor is more room for it
    assert own.calls == 7 and set(table["seeds"]) == {1} and table["spread"].isna().all()
    own.limit = None
    assert set(call(measure=own)["seeds"]) == {3} and own.calls == 15
    call(measure=scores, seeds=[0])  # another measure is another unit
    assert own.calls == 15 and len({unit_of(row) for row in read_rows(path)}) == 20


def test_a_measure_looks_at_a_copy_in_evaluation_mode(call, path):
    """Whatever it does with the model: methods begin from the original all the same."""
    modes = []

    def relearns(model, request):
        modes.append(model.training)
        accuracy = scores(model, request)["accuracy", "forget"]
        model.train()
        fit(model, request.forget, Training(epochs=3, lr=1.0), progress=False)
        return {("accuracy", "forget"): accuracy}

    found, plain = call(measure=relearns, seeds=[0]), call(seeds=[0])
    assert modes == [False] * 5
    for name in ("original", "finetune", "scrub"):
        key = name, "accuracy on forget"
        assert found.loc[key, "mean"] == plain.loc[key, "mean"], name


def test_another_measure_or_precision_is_measured_anew(call, path):
    def confident(model, request, at):
        return {"sure": float((evaluate(model, request.forget).confidence > at).double().mean())}

    options = {"seeds": [0], "methods": {}}
    low, high = (call(measure=partial(confident, at=at), **options) for at in (-99.0, 99.0))
    assert low.loc["original", "sure"]["mean"] == 1 and high.loc["original", "sure"]["mean"] == 0
    ones = [
        call(measure=each, **options) for each in (lambda m, r: {"n": 1}, lambda m, r: {"n": 2})
    ]
    assert [table.loc["original", "n"]["mean"] for table in ones] == [1, 2]
    before = len(read_rows(path))
    with fast(torch.bfloat16):
        half = call(measure=loss_of, **options)
        again = call(measure=loss_of, **options, jobs=2, path=path.with_name("other.csv"))
    assert len(read_rows(path)) > before
    plain = call(measure=loss_of, **options)
    keep = [name for name in half.index if name[1] != "seconds"]
    assert half.loc[keep].equals(again.loc[keep]) and not half.loc[keep].equals(plain.loc[keep])


def loss_of(model, request):
    return {"loss": evaluate(model, request.forget).loss.double().mean()}


def test_a_model_that_has_diverged_is_no_perfect_one(call):
    class Far(call.network):
        def forward(self, x):
            return super().forward(x) * (1.0 if self.training else float("inf"))

    table = call(fresh=Far, methods={}, seeds=[0])
    assert list(table.loc["original"].index) == ["overflowed"]


def test_two_numbers_of_one_name_are_refused(call):
    def twice(model, request):
        return {("a", "forget"): 1.0, "a on forget": 3.0}

    with pytest.raises(ValueError, match="two numbers of one name"):
        call(measure=twice, seeds=[0])


def test_other_settings_and_data_are_added(call, path, request_of_ten, tiny_net):
    call(seeds=[0], methods={"finetune": None})
    before = len(read_rows(path))
    other = by_index(request_of_ten.train, range(9))
    for changes in ({"training": Training(epochs=1)}, {"request": other}, {"seeds": [1]}):
        table = call(**{"seeds": [0], "methods": {"finetune": None}} | changes)
        assert set(table["seeds"]) == {1}
        rows = len(read_rows(path))
        assert rows == before + 12
        before = rows


def test_other_examples_under_the_same_mask_are_measured_anew(call, path, request_of_ten):
    train = request_of_ten.train
    moved = by_index(replace(train, inputs=train.inputs.flip(0)), range(10))
    turned = by_index(train.with_targets((train.targets + 1) % 3), range(10))
    asked = (request_of_ten, moved, turned, request_of_ten)
    tables = [call(request=one, seeds=[0], methods={}, measure=loss_of) for one in asked]
    losses = [table.loc[("original", "loss"), "mean"] for table in tables]
    assert len(set(losses)) == 3 and losses[0] == losses[3]
    assert len({unit_of(row) for row in read_rows(path)}) == 6


def test_the_retrained_model_has_other_first_weights_than_the_original(call, request_of_ten):
    table = call(seeds=[1], methods={}, measure=loss_of)
    for name, data, seed in (
        ("original", request_of_ten.train, 1),
        ("retrained", request_of_ten.retain, 101),
    ):
        by_hand = retrain(call.network, data, config=RECIPE, seed=seed).model
        assert table.loc[(name, "loss"), "mean"] == loss_of(by_hand, request_of_ten)["loss"]


def test_several_processes_measure_the_same(call, tmp_path):
    alone = call(seeds=[0, 1])
    several = call(seeds=[0, 1], jobs=2, path=tmp_path / "several" / "mine.csv")
    keep = [name for name in alone.index if name[1] != "seconds"]
    assert several.loc[keep].equals(alone.loc[keep])


def test_a_loss_that_is_no_longer_finite_is_counted(call):
    wild = {"finetune": Training(epochs=2, lr=1e30, optimizer="sgd"), "scrub": None}
    table = call(methods=wild, seeds=[0])
    assert list(table.loc["finetune"].index) == ["overflowed"]
    assert "samples" in table.loc["scrub"].index


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"request": "class 3"}, r"by_class\(train, 3\) makes a request; this is a str"),
        ({"methods": ["finetune"]}, "methods must be settings by name, as in"),
        ({"methods": {"finetune": None, "fintune": None}}, "first word of 'fintune' in methods is"),
        ({"seeds": 3}, r"seeds must be several, as in seeds=range\(3\), got 3"),
        (
            {"measure": lambda model, request: {"luck": float("nan")}},
            "measure returned nan for 'luck'",
        ),
        ({"measure": lambda model, request: None}, "measure returns a dictionary of numbers"),
        ({"measure": lambda model, request: {3: 1.0}}, r"by name or \(metric, split\), got 3"),
        ({"measure": lambda model, request: {"a": True}}, "measure returned True for 'a'"),
        ({"measure": 3}, "measure"),
        (
            {"measure": lambda model, request: {("luck", "train"): 1.0}},
            "one of forget, retain, test",
        ),
        ({"measure": lambda model, request: {"seconds": 1.0}}, "other names than samples, seconds"),
    ],
)
def test_bad_input_is_one_sentence(call, path, changes, sentence):
    with pytest.raises(ValueError, match=sentence) as refused:
        call(**changes)
    assert len(str(refused.value).splitlines()) == 1 and not path.exists()


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"methods": {"neggrad": Training()}}, r"methods\['neggrad'\] must be a NegGrad, got"),
        ({"methods": {"finetune long": SCRUB()}}, r"methods\['finetune long'\] must be a Training"),
        ({"seeds": [0, -1]}, "a seed must be a whole number of at least 0, got -1"),
        ({"seeds": []}, r"seeds must be several, as in seeds=range\(3\), got \[\]"),
        ({"jobs": 0}, "jobs must be a whole number of at least 1, got 0"),
        ({"measure": lambda model: {}}, r"measure\(model, request\) is called, but .* too many"),
        (
            {"request": Request(Examples(torch.ones(2, 3), torch.tensor([0, 1])), None)},
            "the retained data, needed here, are not at hand",
        ),
    ],
)
def test_bad_input_is_found_before_any_training(call, monkeypatch, changes, sentence):
    monkeypatch.setattr("minilearn.sweep.retrain", None)
    with pytest.raises(ValueError, match=sentence):
        call(**changes)


def test_default_settings_have_the_loss_of_the_training(path):
    def network():
        return nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))

    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    request = by_index(Examples(x, torch.arange(40.0)), range(9))
    default = signature(finetune).parameters["config"].default
    so = {"finetune so": replace(default, loss="squared"), "finetune auto": default}
    kinds = {"finetune": None} | so
    given = {"training": Training(epochs=2, loss="squared"), "seeds": [0]}
    table = sweep(network, request, kinds, path, **given)
    mine, asked, other = (table.loc[name]["mean"].drop("seconds") for name in kinds)
    assert mine.equals(asked) and not mine.equals(other)


def test_a_line_break_in_a_name_is_a_space_in_the_file(call, path, request_of_ten):
    named = replace(request_of_ten, name="ten items\nof a customer")
    table = call(request=named, seeds=[0])
    assert {row["request"] for row in read_rows(path)} == {"ten items of a customer"}
    assert call(request=named, seeds=[0]).equals(table), "measured again"


@pytest.mark.parametrize("place", [None, True, "", "a/", ".", "mine.csv/table.csv"])
def test_a_place_where_nothing_can_be_written_is_found_before_any_work(
    call, tmp_path, monkeypatch, place
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.csv").write_text("")
    monkeypatch.setattr("minilearn.sweep.retrain", None)
    with pytest.raises((ValueError, OSError), match="path"):
        call(path=place)
    with pytest.raises((ValueError, OSError), match="path"):
        run_units("x", [], place, {})


def test_a_unit_of_an_experiment_is_measured_from_plain_arguments(monkeypatch, path, origin):
    run = Run(seeds=range(1))
    monkeypatch.setattr(rotated_digits, "SIZES", {"toy": (12, 1, "small_cnn")})
    monkeypatch.setattr(rotated_digits, "RECIPE", Training(epochs=1))
    rows = measure("rotated_digits", run, 0)
    units = units_of("rotated_digits", run)
    again = units[0].measure()
    assert [row | {"value": ""} for row in rows] == [row | {"value": ""} for row in again]
    assert [r["value"] for r in rows if r["metric"] != "seconds"] == [
        r["value"] for r in again if r["metric"] != "seconds"
    ]
    with pytest.raises(IndexError):
        measure("rotated_digits", run, len(units))


def test_several_processes_measure_units(path, make_units, origin):
    assert run_units("rotated_digits", make_units(), path, origin, jobs=2) == 9
    assert len(read_rows(path)) == 18
    left = missing("rotated_digits", make_units(seeds=4), path)
    assert [(unit.method, unit.seed) for unit in left] == [
        *(("original", 3), ("retrained", 3), ("finetune", 3))
    ]
    assert run_units("rotated_digits", make_units(seeds=4), path, origin, jobs=2) == 3
