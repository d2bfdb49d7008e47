"""What was changed between two calls, or comes in another form, and must not go unnoticed."""

import argparse
import pickle
import warnings
from collections import OrderedDict, defaultdict, deque
from enum import Enum
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from shared import Pairs
from torch import nn
from torch.utils.data import Dataset, Subset

from minilearn.checks import device_of
from minilearn.cost import Cost
from minilearn.data import Examples, Unlabelled, has_numbers, with_targets
from minilearn.evaluation import evaluate
from minilearn.fingerprints import fingerprint
from minilearn.methods import METHODS, finetune, neggrad, retrain, unlearn
from minilearn.methods.bad_teacher import BadTeacher, bad_teacher
from minilearn.metrics import auc, divergence_of_fits, null_band, tpr_at_fpr, ulira, wasserstein
from minilearn.metrics._words import number
from minilearn.metrics.band import Row
from minilearn.metrics.registry import METRICS
from minilearn.metrics.report import Report
from minilearn.models import build, copy_of
from minilearn.plots import picture
from minilearn.requests import Request, by_class, by_group
from minilearn.run import Run
from minilearn.sweep import read_rows, sweep
from minilearn.training import Best, Training, fit
from minilearn.trials import pairs_of_draws, trials
from minilearn.unlearn import Unlearned, method
from minilearn.unlearned import History

SHORT = Training(epochs=2, batch_size=8, lr=1e-2)


@pytest.fixture
def train() -> Examples:
    x = torch.randn(60, 5, generator=torch.Generator().manual_seed(1))
    return Examples(x, x[:, :3].argmax(1))


def network():
    return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 3))


# ---- what a sweep, a trial or a checkpoint knows its numbers by


class Pair(NamedTuple):
    keep: bool


class Wanted(Enum):
    YES = 1
    NO = 2


class Plain:
    def __init__(self, keep):
        self.keep = keep
        self.names = {0: "no", 1: "yes"}


class Holding(nn.Linear):
    def __init__(self, held):
        super().__init__(5, 3)
        self.held = held


@pytest.mark.parametrize(
    "held",
    [
        lambda keep: argparse.Namespace(keep=keep),
        lambda keep: SimpleNamespace(keep=keep),
        lambda keep: Pair(keep),
        lambda keep: Wanted.YES if keep else Wanted.NO,
        lambda keep: {keep},
        lambda keep: frozenset([keep]),
        lambda keep: slice(int(keep)),
        lambda keep: OrderedDict(keep=keep),
        lambda keep: defaultdict(int, keep=keep),
        lambda keep: deque([keep]),
        lambda keep: Plain(keep),
        lambda keep: np.add if keep else np.subtract,
    ],
)
def test_a_new_network_is_known_by_what_it_holds(held):
    marks = [fingerprint(build(lambda k=k: Holding(held(k)), 0)) for k in (True, True, False)]
    assert marks[0] == marks[1] != marks[2]


def test_a_checkpoint_refuses_a_network_with_another_setting(train, tmp_path):
    args, file = argparse.Namespace(scale=1.0), tmp_path / "run"
    fit(build(lambda: Holding(args), 0), train, SHORT, checkpoint=file)
    args.scale = -1.0
    with pytest.raises(ValueError, match="other network .held Namespace"):
        fit(build(lambda: Holding(args), 0), train, SHORT, checkpoint=file)


data = Pair(1)
mean = 1.0


class Judge:
    def __init__(self, weight):
        self.weight = weight

    def measure(self, model):
        return self.weight


class Score:
    def of(self, x):
        return x


def read_tuple(x):
    return x * data.keep


def read_class(x):
    return Score().of(x)


def averaged(x):
    return x.mean()


def test_a_measure_is_known_by_what_it_reads_and_calls(monkeypatch):
    tuples, classes, names = map(fingerprint, (read_tuple, read_class, averaged))
    monkeypatch.setitem(globals(), "data", Pair(2))
    monkeypatch.setattr(Score, "of", lambda self, x: -x)
    monkeypatch.setitem(globals(), "mean", 2.0)
    assert fingerprint(read_tuple) != tuples
    assert fingerprint(read_class) != classes
    assert fingerprint(averaged) == names  # an attribute is no variable of this name
    weights = [fingerprint(Judge(weight).measure) for weight in (1, 1, 2)]
    assert weights[0] == weights[1] != weights[2]


class OverGlobals(Dataset):
    def __len__(self):
        return len(labels)

    def __getitem__(self, i):
        return torch.ones(5), labels[i]


labels = torch.arange(4000) % 3


def test_data_are_known_by_groups_and_by_variables_that_they_read(train, monkeypatch):
    grouped = Examples(train.inputs, train.targets, torch.arange(60) % 4)
    other = Examples(train.inputs, train.targets, torch.arange(60) % 2)
    assert len({fingerprint(each) for each in (train, grouped, other)}) == 3
    mark = fingerprint(OverGlobals())
    wrong = labels.clone()
    wrong[1] = 2  # which no look at a few items finds
    monkeypatch.setitem(globals(), "labels", wrong)
    assert fingerprint(OverGlobals()) != mark


def own_method(factor: float):
    @method
    def mine(model: nn.Module, *, config: Training = SHORT, seed: int = 0) -> Unlearned:
        new = copy_of(model)
        new[2].weight.data.mul_(factor)
        return Unlearned(new, "mine", config, seed, History(), Cost())

    return mine


def test_a_sweep_knows_an_own_method_by_its_code(train, tmp_path, monkeypatch):
    found = []
    for factor in (1.0, -1.0):
        monkeypatch.setitem(METHODS, "mine", own_method(factor))
        options = {"seeds": [0], "training": Training(epochs=20, lr=1e-2)}
        table = sweep(network, by_class(train, 1), {"mine": None}, tmp_path / "s.csv", **options)
        found.append(table["mean"]["mine"]["accuracy on retain"])
    assert found[0] > found[1] + 0.2


def test_trials_know_an_own_method_by_its_code(train, tmp_path, monkeypatch):
    unseen, found = Examples(train.inputs.flip(1), train.targets), []
    for factor in (1.0, -1.0):
        monkeypatch.setitem(METHODS, "mine", own_method(factor))
        options = {"draws": 2, "training": Training(epochs=1)}
        done = trials(network, train, range(8), unseen, {"mine": None}, tmp_path, **options)
        found.append(torch.equal(done.candidates["mine"], done.candidates["original"]))
    assert found == [True, False]


def test_another_version_of_the_package_is_measured_anew(train, tmp_path, monkeypatch):
    """Its own methods are known by their names, and may compute something else."""
    unseen = Examples(train.inputs.flip(1), train.targets)
    for version in ("1", "1", "2"):
        monkeypatch.setattr("minilearn.precision.__version__", version)
        sweep(network, by_class(train, 1), {}, tmp_path / "s.csv", seeds=[0], training=SHORT)
        options = {"draws": 2, "training": SHORT}
        trials(network, train, range(8), unseen, {}, tmp_path / "trials", **options)
    assert len({row["config"] for row in read_rows(tmp_path / "s.csv")}) == 2
    assert len([*(tmp_path / "trials").iterdir()]) == 2


# ---- inputs alone, lists, small units


def test_inputs_alone_are_read_whole():
    x = torch.randn(12, 4, 3)
    for alone in (list(x), Unlabelled([(row, 0) for row in x])):
        request = Request(alone, torch.arange(12) < 6)
        assert Unlabelled(request.forget)[1].shape == (4, 3)
        assert with_targets(request.forget, torch.zeros(6))[2][0].shape == (4, 3)
    seen = set()

    class Seeing(nn.Linear):
        def forward(self, x):
            seen.add(tuple(x.shape[1:]))
            return super().forward(x.flatten(1))

    config = BadTeacher(epochs=1, batch_size=4)
    request = Request(list(x), torch.arange(12) < 6)
    unlearn(bad_teacher, Seeing(12, 2), request, fresh=lambda: Seeing(12, 2), config=config)
    assert seen == {(4, 3)}


def test_a_list_of_floats_is_in_double_precision():
    draw = np.random.default_rng(0)
    members, others = (1 / (1 + np.exp(-draw.normal(mean, 2, 400))) for mean in (19, 17))
    for measure in (auc, wasserstein, lambda m, n: tpr_at_fpr(m, n, 0.05)):
        expected = float(measure(members, others))
        assert float(measure(members.tolist(), others.tolist())) == expected
        tracked = torch.tensor(members, requires_grad=True)
        assert float(measure(tracked, torch.tensor(others))) == expected


@pytest.mark.parametrize("unit", [1e-9, 1e-6, 1e6])
def test_a_unit_changes_no_verdict(unit):
    values = [0.012, 0.013, 0.014, 0.013, 0.012]
    low, high = null_band(values)
    assert null_band([unit * v for v in values]) == pytest.approx((unit * low, unit * high))
    assert null_band([0.0] * 5) == (0.0, 0.0)
    forgotten = pairs_of_draws(12, 6)
    draw = torch.Generator().manual_seed(0)
    u, r = (torch.randn(12, 6, generator=draw, dtype=torch.float64) + mean for mean in (0, 1))
    expected = divergence_of_fits(u, r, forgotten)
    torch.testing.assert_close(divergence_of_fits(unit * u, unit * r, forgotten), expected)
    assert number(1.3e-13) == "1e-13" and number(0.1 + 0.2 - 0.3) == "0.000"


def test_a_narrow_band_is_drawn_as_it_is():
    band = null_band([0.9912, 0.9913, 0.9912, 0.9911, 0.9912], grain=1e-4)
    rows = [Row("accuracy", "test", "retrained", (0.9912,), band, 10_000)]
    rows.append(Row("accuracy", "test", "finetune", (0.9905,), band, 10_000))
    ax = picture(Report(tuple(rows), "", 5), [("accuracy", "test")], "narrow").axes[0]
    (drawn,) = [
        found
        for found in (part.get_paths()[0].get_extents() for part in ax.collections)
        if found.height and found.width == 1 and found.x0 == 0.5
    ]
    assert 0.9905 < drawn.y0 == pytest.approx(band[0], abs=1e-9)
    assert drawn.y1 <= band[1] + 1e-9
    with pytest.raises(ValueError, match=r"no mae on 'test', but \[\('accuracy', 'test'\)\]"):
        picture(Report(tuple(rows), "", 5), [("mae", "test")], "another metric")


def test_models_that_are_nearly_alike_are_compared_in_double_precision(train):
    net, near = build(network, 0), build(network, 0)
    near[2].bias.data += torch.tensor([1e-4, 0.0, 0.0])
    splits = [{"test": evaluate(each, train)} for each in (net, near)]
    p, q = (each["test"].outputs.double().softmax(1) for each in splits)
    middle = (p + q) / 2
    sides = [(part * (part / middle).log()).sum(1) for part in (p, q)]
    expected = ((sides[0] + sides[1]) / 2).mean()
    found = METRICS["js"].compute(splits[1], splits[0], "test")
    assert found == pytest.approx(float(expected), rel=1e-3)


def test_an_interval_of_an_area_ends_at_one():
    draw = torch.Generator().manual_seed(3)
    forgotten = pairs_of_draws(12, 4)
    retrained = torch.randn(12, 4, generator=draw, dtype=torch.float64)
    seen = [ulira(retrained + apart, retrained, forgotten) for apart in (1.5, 2.0, 3.0, 9.0)]
    assert all(0 <= found.low <= found.auc <= found.high <= 1 for found in seen)


# ---- runs


def own(run: Run):
    return torch.optim.AdamW(run.model.parameters())


def scheduled(run: Run):
    optimizer = run.sgd(1e-2)
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    return optimizer


@pytest.mark.parametrize(
    ("make", "kept", "sentence"),
    [
        (own, True, "cannot hold an optimiser that this run has not made: leave the checkpoint"),
        (scheduled, True, "cannot hold a scheduler of torch: leave the checkpoint out"),
        (lambda run: None, False, "no optimiser: call run.adam or run.sgd before the loop"),
    ],
)
def test_what_a_checkpoint_cannot_hold_is_refused(train, tmp_path, make, kept, sentence):
    net = build(network, 0)

    def stepped(checkpoint):
        with Run(net, checkpoint=checkpoint) as run:
            optimizer = make(run)
            for _ in run.epochs(1):
                run.step(lambda x: net(x).square().mean(), train.inputs, optimizer=optimizer)

    with pytest.raises(ValueError, match=sentence):
        stepped(tmp_path / "run" if kept else None)
    if kept:
        stepped(None)


def test_unlearning_again_with_the_same_file_is_said(train, tmp_path):
    file = tmp_path / "run"
    once = neggrad(build(network, 0), train[:8], checkpoint=file).model
    with pytest.warns(UserWarning, match="ended with this very model, so nothing is done"):
        again = neggrad(once, train[:8], checkpoint=file).model
    assert fingerprint(again) == fingerprint(once)
    with warnings.catch_warnings(action="error"):
        neggrad(build(network, 0), train[:8], checkpoint=file)  # the call that was stopped


def test_a_watch_keeps_the_weights_of_one_model(train):
    best, first, second = Best(train), build(network, 0), build(network, 1)
    for epoch in (1, 2):
        best(epoch, first)
    again = pickle.loads(pickle.dumps(best))
    again.restore(second)
    assert fingerprint(second) == fingerprint(first)
    best(3, second)
    assert best.first == 3
    with pytest.raises(ValueError, match="only 1 of 3 epochs were seen"):
        best.restore(second)


def test_first_weights_that_no_seed_changes_are_said(train):
    def fixed():
        torch.manual_seed(0)
        return network()

    with pytest.warns(UserWarning, match="leave torch.manual_seed out of it"):
        retrain(fixed, train, config=SHORT, seed=1)
    with warnings.catch_warnings(action="error"):
        retrain(fixed, train, config=SHORT)
        retrain(network, train, config=SHORT, seed=1)


class Noisy(Pairs):
    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return x + torch.randn(5), y


def test_what_a_network_draws_changes_nothing_that_a_dataset_draws(train):
    seen = []

    class Drawing(nn.Linear):
        def forward(self, x):
            seen[-1].append(x.clone())
            return super().forward(x) + torch.rand(self.draws).sum()

    for draws in (1, 7):
        net = Drawing(5, 3)
        net.draws = draws
        seen.append([])
        evaluate(net, Noisy(train), batch_size=8)
    assert torch.equal(torch.cat(seen[0]), torch.cat(seen[1]))


# ---- forms and sentences


def test_groups_may_be_a_list(train):
    grouped = Pairs(train)
    for groups in ([i % 4 for i in range(60)], np.arange(60) % 4):
        grouped.groups = groups
        assert by_group(grouped, 3).mask.nonzero().flatten().tolist() == [*range(3, 60, 4)]


def test_only_one_item_is_read_to_know_the_targets(train):
    class Counting(Pairs):
        reads = 0

        def __getitem__(self, i):
            Counting.reads += 1
            return super().__getitem__(i)

    assert not has_numbers(Counting(train))
    assert Counting.reads <= 2


def test_an_apple_gpu_is_refused_in_a_sentence():
    class There(nn.Module):
        def parameters(self, recurse=True):
            return iter([SimpleNamespace(device=torch.device("mps"))])

    with pytest.raises(ValueError, match=r"an Apple GPU .mps. has no float64, .* model.cpu"):
        device_of(There())


def test_a_wrong_dtype_says_what_to_type(train):
    with pytest.raises(ValueError, match=r"same dtype.*Give inputs.float\(\)"):
        evaluate(build(network, 0), Examples(train.inputs.double(), train.targets))


def test_a_subset_of_labelled_items_loses_its_labels(train):
    part = Subset(Pairs(train), range(4))
    assert torch.equal(Unlabelled(part)[2], train.inputs[2])
    assert finetune(build(network, 0), part, config=SHORT).cost.samples > 0
