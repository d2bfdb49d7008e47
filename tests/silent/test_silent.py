"""What once gave a wrong number, or a raw error, and says so now."""

import copy
import warnings

import numpy as np
import pytest
import torch
from shared import SHORT, Pairs, labelled
from torch import nn
from torch.utils.data import Subset

from minilearn.data import Examples, items_of, targets_of
from minilearn.data.examples import random_part
from minilearn.evaluation import evaluate
from minilearn.fingerprints import fingerprint
from minilearn.losses import loss_per_example
from minilearn.methods import (
    L2UL,
    LAF,
    SISA,
    Unrolling,
    continual,
    finetune,
    laf,
    neggrad,
    retrain,
    sharded,
    unlearn,
    unrolling,
)
from minilearn.metrics import anamnesis_index, linear_probe, loss_attack, report
from minilearn.models import build
from minilearn.requests import (
    Request,
    by_class,
    by_index,
    by_range,
    by_typicality,
    mislabel,
)
from minilearn.sweep import sweep
from minilearn.training import Best, Training, fit
from minilearn.trials import trials


@pytest.fixture
def test() -> Examples:
    return labelled(40, seed=2)


def network():
    return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 3))


class OwnGenerator(Pairs):
    """Draws from a generator that no global seed reaches."""

    draws = np.random.default_rng(0)

    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return x + torch.tensor(self.draws.normal(size=5)).float(), y


def told(request, test, *retrained, **methods):
    first = build(network, 99)
    return report(
        request,
        test,
        original=[first],
        retrained=list(retrained) or None,
        methods=methods or {"copy": [copy.deepcopy(first)]},
        metrics=("accuracy", "loss_attack_auc"),
    )


def test_a_report_refuses_what_makes_its_numbers_meaningless(train, test):
    request = by_index(train, range(9))
    with pytest.raises(ValueError, match="forget gives other examples at every reading, by a gen"):
        told(by_index(OwnGenerator(train), range(9)), test)
    same = [build(network, 5), build(network, 5), build(network, 6)]
    with pytest.raises(ValueError, match="retrained holds the same weights twice, as if one seed"):
        told(request, test, *same)
    with pytest.raises(ValueError, match="m holds the same weights twice"):
        told(request, test, m=same)
    for seen in (request.forget, train, request.retain[[3, 1, 2]]):
        with pytest.raises(ValueError, match="'test_forget' holds training examples only"):
            told(request, {"test": test, "test_forget": seen})
    with pytest.raises(ValueError, match="'test' holds training examples only"):
        told(request, train)
    mixed = torch.cat([train.inputs, test.inputs]), torch.cat([train.targets, test.targets])
    share = len(train) / (len(train) + len(test))
    with pytest.warns(UserWarning, match=f"{share:.0%} of 'test' are training examples too"):
        told(request, Examples(*mixed))


def test_datasets_of_training_examples_are_no_test_sets(train, test, tmp_path):
    pairs = Pairs(train)
    half = Subset(pairs, range(30))
    for data, seen in (
        (pairs, pairs),
        (pairs, half),
        (half, Subset(half, [3, 5])),
        (Subset(pairs, range(40)), half),
    ):
        with pytest.raises(ValueError, match="'test' holds training examples only"):
            told(by_index(data, range(9)), seen)
    assert told(by_index(half, range(9)), Subset(pairs, range(30, 60)))
    assert told(by_index(pairs, range(9)), Pairs(test))
    options = {"draws": 2, "training": SHORT}
    with pytest.raises(ValueError, match="'unseen' holds training examples only"):
        trials(network, pairs, range(24), half, {}, tmp_path, **options)


def test_a_test_forget_of_other_classes_is_said(train, test):
    request = by_class(train, 1)
    alike, others = (test[part] for part in (test.targets == 1, test.targets != 1))
    sets = {"test": test, "test_retain": others}
    with pytest.warns(UserWarning, match="no class of test_forget is among the forgotten"):
        told(request, sets | {"test_forget": others})
    told(request, sets | {"test_forget": alike})
    with pytest.warns(UserWarning, match="comes without test_retain: .* give test_retain"):
        told(request, {"test": test, "test_forget": alike})


def test_a_normalisation_by_the_batch_is_said(train):
    """A forget set alone is answered otherwise than among all."""
    for track, expected in ((False, 1), (True, 0)):
        norm = nn.BatchNorm1d(8, track_running_stats=track)
        net = nn.Sequential(nn.Linear(5, 8), norm, nn.ReLU(), nn.Linear(8, 3))
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            evaluate(net, train)
        assert [str(w.message) for w in seen if "normalises by the batch" in str(w.message)] == [
            str(w.message) for w in seen
        ]
        assert len(seen) == expected


def test_masks_in_the_place_of_positions_are_refused(train):
    mask = train.targets == 1
    with pytest.raises(ValueError, match="a mask of bytes: give mask.bool()"):
        train[mask.byte()]
    for wrong in (mask.tolist(), mask, mask.numpy()):
        for read in (evaluate, lambda net, data: targets_of(data)):
            with pytest.raises(ValueError, match="a Subset was made with a mask"):
                read(network(), Subset(Pairs(train), wrong))
    assert len(train[torch.tensor([1, 0], dtype=torch.uint8)]) == 2  # these are positions


def test_numbers_that_single_precision_merges_are_refused_wherever_they_stand():
    days = [(torch.zeros(5), 20240101.0 + i) for i in range(30)]
    for read in (
        targets_of,
        lambda data: evaluate(nn.Sequential(nn.Linear(5, 1), nn.Flatten(0)), data),
        lambda data: by_range(data, 20240101.0, 20240111.0),
    ):
        with pytest.raises(ValueError, match="30 distinct targets become 16 in single precision"):
            read(days)


def test_one_wrong_entry_of_targets_is_found_where_a_set_is_small(train):
    for place in range(len(train)):
        changed = Pairs(train)
        changed.targets = train.targets.clone()
        changed.targets[place] = (changed.targets[place] + 1) % 3
        assert torch.equal(targets_of(changed), train.targets)


def test_a_part_is_a_fraction_of_the_whole(train):
    for fraction in (10, -1, 0, 1.01):
        with pytest.raises(ValueError, match="fraction must be a number in"):
            random_part(train, fraction, 0)


def test_raw_errors_that_are_sentences_now(train, test, tmp_path):
    with pytest.raises(ValueError, match="got NoneType"):
        anamnesis_index(network(), network(), network(), None, train, published=True)
    request = by_index(train, [1])
    for wrong in ({"training": None}, {"measure": None}):
        with pytest.raises(ValueError, match="must be a .*, got NoneType"):
            sweep(network, request, {}, tmp_path / "table.csv", **wrong)
    sparse = train.with_targets(train.targets * 10**9)
    assert torch.equal(by_typicality(sparse, 5).mask, by_typicality(train, 5).mask)
    loss = loss_per_example(torch.zeros(2, 3), torch.tensor([0, 2], dtype=torch.int32))
    torch.testing.assert_close(loss, torch.full((2,), 3.0).log())


def test_frozen_batch_normalisation_keeps_its_statistics(train):
    net = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    fit(net, train, SHORT)
    net[1].requires_grad_(False)
    before = copy.deepcopy(net[1].state_dict())
    other = Examples(3 * train.inputs + 2, train.targets)
    new = finetune(net, other, config=SHORT).model
    assert all(torch.equal(before[name], v) for name, v in new[1].state_dict().items())
    assert net[1].training == new[1].training
    net[1].requires_grad_(True)
    moved = finetune(net, other, config=SHORT).model
    assert not torch.equal(before["running_mean"], moved[1].running_mean)


class Random(nn.Module):
    """Features that no training changes: in a buffer, or in a plain attribute."""

    def __init__(self, persistent: bool | None = True, seed: int | None = None):
        super().__init__()
        order = None if seed is None else torch.Generator().manual_seed(seed)
        features = torch.randn(5, 32, generator=order)
        if persistent is None:
            self.features = features
        else:
            self.register_buffer("features", features, persistent=persistent)
        self.head = nn.Linear(32, 3)

    def forward(self, x):
        return self.head((x @ self.features).cos())


@pytest.mark.parametrize("persistent", [False, None], ids=["no state", "attribute"])
def test_shards_keep_what_no_state_dict_has(train, persistent):
    config = SISA(shards=2, slices=2, training=SHORT)
    answers = [
        evaluate(sharded(lambda k=k: Random(k), train, config=config).result.model, train).outputs
        for k in (True, persistent)
    ]
    assert torch.equal(*answers)


def test_the_best_weights_include_buffers_without_a_state(train):
    net = Random(False)
    best = Best(train)
    fit(net, train, SHORT, watch=best)
    features = net.features.clone()
    net.features.zero_()
    best.restore(net)
    assert torch.equal(net.features, features)


def test_a_probe_of_augmented_data_is_a_function_of_the_model(train):
    class Augmented(Pairs):
        def __getitem__(self, i):
            x, y = super().__getitem__(i)
            return x + torch.randn(5), y

    net = build(network, 0)
    state = torch.get_rng_state()
    found = [linear_probe(net, train, Augmented(train)) for _ in range(2)]
    assert torch.equal(*found) and torch.equal(state, torch.get_rng_state())


def test_a_sweep_and_a_stream_notice_that_the_network_computes_something_else(train, tmp_path):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(5, 8), nn.Linear(8, 3)

        def forward(self, x):
            return self.two(self.one(x).relu())

    request, file = by_index(train, range(5)), tmp_path / "sweep.csv"
    options = {"seeds": [0], "training": SHORT}
    first = sweep(Own, request, {"finetune": SHORT}, file, **options)
    stream = (finetune, build(Own, 0), [request])
    continual(*stream, config=SHORT, checkpoint=tmp_path / "stream")
    Own.forward = lambda self, x: self.two(self.one(x).relu() * 0)
    second = sweep(Own, request, {"finetune": SHORT}, file, **options)
    column = "accuracy on retain"
    assert first.loc["original", "mean"][column] != second.loc["original", "mean"][column]
    with pytest.raises(ValueError, match="stream"):
        continual(*stream, config=SHORT, checkpoint=tmp_path / "stream")


def test_fingerprints_see_attributes_functions_and_lists_of_pairs():
    class Lambda(nn.Module):
        def __init__(self, function):
            super().__init__()
            self.function = function

    class Listed(Pairs):
        def __init__(self, labels):
            super().__init__(Examples(torch.zeros(30, 2), torch.zeros(30).long()))
            self.rows = [(torch.zeros(2), label) for label in labels]

    for one, other in (
        (Random(None, seed=0), Random(None, seed=1)),
        (Lambda(lambda x: x), Lambda(lambda x: -x)),
        (Listed([0] * 30), Listed([0] * 11 + [1] + [0] * 18)),
    ):
        if isinstance(other, Random):
            other.load_state_dict(one.state_dict())
        assert fingerprint(one) != fingerprint(other)


def test_unrolling_wants_the_weights_of_before(train):
    net = build(network, 0)
    with pytest.raises(ValueError, match="start has the model's own weights.*copy.deepcopy"):
        unrolling(net, train[:5], start=net, config=Unrolling())

    class Letters(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Embedding(4, 3, sparse=True), nn.Linear(3, 2)

        def forward(self, x):
            return self.head(self.embed(x).mean(1))

    words = Examples(torch.randint(0, 4, (6, 3)), torch.arange(6) % 2)
    assert unrolling(build(Letters, 0), words, start=build(Letters, 1)).history.loss.isfinite()


def test_wrong_labels_are_classes_that_occur(train):
    gap = Examples(train.inputs, 5 * (train.targets > 0))
    wrong = mislabel(gap, 0.5)
    assert set(wrong.train.targets.tolist()) == {0, 5}
    assert bool((wrong.train.targets != gap.targets)[wrong.mask].all())
    assert torch.equal(wrong.train.targets[~wrong.mask], gap.targets[~wrong.mask])


def test_evaluations_of_two_tasks_are_not_compared(train):
    numbers = Examples(train.inputs, train.inputs.sum(1))
    classes = evaluate(build(network, 0), train)
    values = evaluate(nn.Sequential(nn.Linear(5, 1), nn.Flatten(0)), numbers)
    with pytest.raises(ValueError, match="the evaluations are of several tasks"):
        loss_attack(classes, values)


def test_zeros_and_ones_as_numbers_are_said(train):
    binary = Examples(train.inputs, (train.inputs[:, 0] > 0).float())
    net = nn.Sequential(nn.Linear(5, 1), nn.Flatten(0))
    with pytest.warns(UserWarning, match="all targets are the numbers 0 and 1"):
        fit(net, binary, SHORT)


def test_rows_with_a_single_one_as_numbers_are_said(train):
    rows = nn.functional.one_hot(train.targets).float()
    net = nn.Linear(5, rows.shape[1])
    said = {"expected_warning": UserWarning, "match": r"single 1.*give targets.argmax\(1\)"}
    with pytest.warns(**said):
        fit(net, Examples(train.inputs, rows), SHORT)
    with pytest.warns(**said):
        evaluate(net, [*zip(train.inputs, rows, strict=True)])


def test_a_stream_ends_with_the_last_items_and_serves_numbers(train):
    alone = Request(train[:6], None, "one patient")
    net = build(network, 0)
    model, served = continual(neggrad, net, [alone], options=[{"retain": None}])
    assert served[0].items == 6
    assert fingerprint(model) == fingerprint(neggrad(net, train[:6]).model)
    halves = [by_index(train, range(30)), by_index(train, range(30, 60))]
    _, both = continual(neggrad, net, halves, options=[{"retain": None}] * 2)
    assert [one.items for one in both] == [30, 30]
    with pytest.raises(ValueError, match="some methods take retain=None"):
        unlearn(neggrad, net, alone)
    numbers = Examples(train.inputs, train.inputs.sum(1))
    linear = nn.Sequential(nn.Linear(5, 1), nn.Flatten(0))
    _, found = continual(finetune, linear, [by_index(numbers, [0, 1])], config=SHORT)
    assert found[0].recognised == ()


@pytest.mark.filterwarnings("ignore:.* of the .* forgotten inputs are in the retain set too")
def test_laf_takes_tables_of_few_values_and_another_default_precision():
    x = torch.randint(0, 2, (80, 5), generator=torch.Generator().manual_seed(0)).float()
    config = LAF(epochs=1, batch_size=8, vae=Training(epochs=1, batch_size=8))
    net = build(network, 0)
    assert laf(net, x[:40], x[40:], config=config).history.loss.isfinite().all()
    y = torch.randn(40, 5, dtype=torch.float64)
    torch.set_default_dtype(torch.float64)
    try:
        found = laf(network(), y[:12], y[12:], config=config)
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.history.loss.isfinite().all()


def test_a_sweep_takes_what_is_forgotten_already(train, tmp_path):
    request = by_index(train, [0])
    config = L2UL(attack=None, anchor=0, epochs=2)
    table = sweep(
        network,
        request,
        {"l2ul": config},
        tmp_path / "s.csv",
        seeds=range(3),
        training=Training(epochs=0),
    )
    assert "l2ul" in table.index.get_level_values("method")


def test_a_nan_is_no_augmentation_and_a_position_outside_is_named(train):
    broken = Pairs(Examples(train.inputs.clone(), train.targets))
    broken.data.inputs[2, 0] = torch.nan
    with pytest.raises(ValueError, match="inputs of 1 example.s. hold NaN .* position 2"):
        items_of(broken, "cpu")
    with pytest.raises(ValueError, match="a position of the Subset lies outside its 60 items"):
        targets_of(torch.utils.data.Subset(Pairs(train), [1, 4000]))


def test_a_wrong_call_names_the_method_and_the_way(train):
    net = build(network, 0)
    for call, sentence in (
        (lambda: finetune(net, train, SHORT), "too many positional.*finetune.model"),
        (lambda: finetune(net, train, epochs=3), "'epochs'; settings go by name, config="),
        (lambda: retrain(nn.Linear, train), "fresh.. is called, but"),
        (lambda: evaluate(finetune(net, train, config=SHORT), train), "give its .model"),
        (lambda: fit(net, by_index(train, [0])), "its .forget or .retain"),
        (lambda: retrain(network, train, seed=2**63), "seed must be a whole number below 2.63"),
    ):
        with pytest.raises(ValueError, match=sentence):
            call()
