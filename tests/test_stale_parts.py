"""What lies inside networks, measures and data: another one is noticed, and its use is not."""

import copy
import os
import pickle
import re
import subprocess
import sys
from array import array
from collections import deque
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import pandas as pd
import pytest
import torch
from shared import Keeping
from sklearn.linear_model import Ridge
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from minilearn.data import Examples
from minilearn.fingerprints import fingerprint
from minilearn.identity import structure
from minilearn.methods import continual, finetune
from minilearn.models import build
from minilearn.requests import by_index
from minilearn.sweep import sweep
from minilearn.training import Training, fit

SHORT = Training(epochs=2, batch_size=8, lr=1e-2)
X = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
TRAIN = Examples(X, (X[:, 0] > 0).long())


def told_apart(mark, make) -> bool:
    """Whether two of one kind have the same mark, and one of another kind has another."""
    one, again, other = (mark(make(value)) for value in (1.0, 1.0, 2.0))
    return one == again != other


class Scale:
    def __init__(self, by):
        self.by = by

    def of(self, x):
        return x * self.by


class Holding(nn.Module):
    """A network that keeps something."""

    def __init__(self, kept):
        super().__init__()
        self.kept = kept
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(x)


# ---- frozen parts


def partly_frozen(k):
    net = build(lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), 0)
    net[0].requires_grad_(k == 1)
    return net


def test_a_network_is_known_by_its_frozen_parts(tmp_path):
    assert told_apart(fingerprint, partly_frozen)
    options = {"config": SHORT, "checkpoint": tmp_path / "stream"}
    requests = [by_index(TRAIN, range(9))]
    continual(finetune, partly_frozen(1), requests, **options)
    with pytest.raises(ValueError, match="belongs to another stream"):
        continual(finetune, partly_frozen(2), requests, **options)


# ---- measures


def dataclass_called(k):
    @dataclass(frozen=True)
    class Score:
        by: int = 1

        def __call__(self, model, request):
            return k

    return Score()


def with_helper(k):
    class Score:
        def value(self):
            return k

        def __call__(self, model, request):
            return self.value()

        measure = __call__

    return Score()


def with_attribute(k):
    class Score:
        by = k

        def __call__(self, model, request):
            return self.by

        @classmethod
        def measure(cls, model, request):
            return cls.by

    return Score()


def with_lazy_helpers(k):
    class Score:
        @cached_property
        def first(self):
            return k

        @cache  # noqa: B019
        def second(self):
            return k

        def __call__(self, model, request):
            return self.first + self.second()

    return Score()


def with_settings(k):
    class Score:
        def __init__(self):
            self.settings = Scale(Scale(k))

        def __call__(self, model, request):
            return self.settings.by.by

    return Score()


JUDGE = Scale(Scale(2)).of


def closed(k):
    settings = Scale(k)
    return lambda model, request: settings.by


def reading(thing):
    """A function that reads a variable of its module, as the cells of a notebook do."""
    space = {"thing": thing, "__name__": "cells"}
    exec("def measure(model, request):\n    return thing", space)
    return space["measure"]


MEASURES = [
    dataclass_called,
    with_helper,
    lambda k: with_helper(k).measure,
    with_attribute,
    lambda k: with_attribute(k).measure,
    lambda k: with_attribute(k).__call__,
    with_lazy_helpers,
    with_settings,
    closed,
    lambda k: reading(Scale(k)),
    lambda k: reading(DataLoader(TensorDataset(k * X), 8)),
    lambda k: reading(DataLoader(list(k * X), 8)),
    lambda k: reading(DataLoader(TensorDataset(X), int(k))),
    lambda k: reading(DataLoader(Noisy(k / 10), 8)),
    lambda k: reading(pd.Series([1.0, k])),
    lambda k: reading(pd.DataFrame({"a": [k], "b": ["text"]})),
    lambda k: reading(pd.DataFrame({str(k): [1]})),
    lambda k: reading({"weights": [k]}),
    lambda k: reading([Scale(k)]),
    lambda k: reading({"teacher": backbone(k)}),
    lambda k: reading([lambda: k]),
    lambda k: reading(backbone(k)),
    lambda k: reading(Ridge(alpha=k)),
    lambda k: reading(Ridge().fit(X, k * X[:, 0])),
    lambda k: reading(re.compile(str(k))),
    lambda k: reading(torch.distributions.Normal(0, k)),
    lambda k: reading(np.random.default_rng(int(k))),
    lambda k: reading(deque([k] * 9)),
    lambda k: reading(array("f", [0] * 7 + [k] + [0] * 9)),
]


@pytest.mark.parametrize("make", MEASURES)
def test_a_measure_is_known_by_all_that_it_is_made_of(make):
    assert told_apart(fingerprint, make)


def test_a_sweep_measures_anew_with_another_helper(tmp_path):
    def measured(k):
        class Score:
            def value(self):
                return k

            def __call__(self, model, request):
                return {"k": self.value()}

        options = {"seeds": [0], "training": SHORT, "measure": Score()}
        request = by_index(TRAIN, range(9))
        return sweep(lambda: nn.Linear(4, 2), request, {}, tmp_path / "s.csv", **options)

    assert [measured(k)["mean"]["original", "k"] for k in (1.0, 1.0, 2.0)] == [1, 1, 2]


# ---- networks


def encoder(k):
    class Encode:
        def __init__(self):
            self.by = 1.0

        def run(self, x):
            return x * k

    return Encode()


def callable_encoder(k):
    class Encode:
        def __call__(self, x):
            return x * k

    return Encode()


@pytest.mark.parametrize("make", [encoder, callable_encoder])
def test_a_network_is_known_by_the_code_of_its_helpers(make, tmp_path):
    def built(k):
        return build(lambda: Holding(make(k)), 0)

    assert told_apart(fingerprint, built)
    fit(built(1), TRAIN, SHORT, checkpoint=tmp_path / "run")
    with pytest.raises(ValueError, match=r"other network .kept Encode"):
        fit(built(2), TRAIN, SHORT, checkpoint=tmp_path / "run")


@pytest.mark.parametrize("wrap", [Scale, lambda each: [each], lambda each: {"a": Scale(each)}])
def test_settings_inside_of_settings_count(wrap):
    assert told_apart(fingerprint, lambda k: build(lambda: Holding(Scale(wrap(Scale(k)))), 0))


# ---- networks that no state_dict has


def backbone(k):
    net = build(lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), 0)
    net[0].weight.data.mul_(k)
    return net.requires_grad_(False)


def behind(k):
    net = Holding(None)
    net.__dict__["backbone"] = backbone(k)
    return net


HIDDEN = [
    lambda k: Holding([backbone(k)]),
    lambda k: Holding({"a": (backbone(k),)}),
    lambda k: Holding(Scale(backbone(k))),
    lambda k: Holding([Holding([backbone(k)])]),
    lambda k: Holding(backbone(k).forward),
    behind,
]


@pytest.mark.parametrize("make", HIDDEN)
def test_another_hidden_backbone_is_noticed(make, tmp_path):
    def built(k):
        return build(lambda: make(k), 0)

    assert told_apart(fingerprint, built)
    fit(built(1), TRAIN, SHORT, checkpoint=tmp_path / "run")
    fit(built(1), TRAIN, SHORT, checkpoint=tmp_path / "run")
    with pytest.raises(ValueError, match=r"other network .(kept|backbone) "):
        fit(built(2), TRAIN, SHORT, checkpoint=tmp_path / "run")


def test_of_a_hidden_backbone_the_mode_does_not_count():
    net = Holding([backbone(1)])
    before = fingerprint(net)
    net.kept[0].eval()
    assert fingerprint(net) == before


def test_parts_that_a_network_has_twice_are_no_hidden_ones():
    net = Holding(None)
    net.layers = [net.head]
    net.inner = Holding([net])  # which leads back
    before = structure(net)
    net.head.weight.data.zero_()
    net.inner.head.weight.data.zero_()
    assert structure(net) == before


def test_a_hidden_network_without_numbers_is_no_error():
    for empty in (nn.Linear(4, 4).to("meta"), nn.LazyLinear(3)):
        net = Holding([empty])
        assert fingerprint(net) == fingerprint(copy.deepcopy(net))


# ---- datasets


class Noisy(Dataset):
    """Some labels are wrong, but none of those that are read."""

    def __init__(self, rate):
        self.rate = rate

    def __len__(self):
        return 100

    def __getitem__(self, i):
        return X[i % 60], int(0.03 < i / 100 % 0.1 < self.rate)


class Table:
    """Stands for a data set of another library."""

    def __init__(self, y):
        self.y, self.link = y, self

    def __getitem__(self, i):
        return self.y[i]


class Row:
    def __init__(self, label):
        self.label = label


def changed(k):
    """Labels of which one may be another, but none that is read."""
    labels = torch.zeros(100)
    labels[1] = k
    return labels


DATASETS = [
    Noisy,
    lambda k: Subset(Noisy(k), range(50)),
    lambda k: Keeping(Noisy(k)),
    lambda k: Keeping(Table(changed(k))),
    lambda k: Keeping(Table(changed(k).numpy())),
    lambda k: Keeping(Table(changed(k).tolist())),
    lambda k: Keeping([Row(label) for label in changed(k).tolist()]),
    lambda k: Keeping({"a": Scale(Scale(k))}),
    lambda k: Keeping(encoder(k)),
    lambda k: Keeping(Table({"y": changed(k), "how": len})),
]


@pytest.mark.parametrize("make", DATASETS)
def test_a_dataset_is_known_by_what_lies_inside(make):
    assert told_apart(fingerprint, make)


class Reading(Dataset):
    """Counts its readings and keeps them, itself, in an object and in one that comes later."""

    def __init__(self):
        self.reads, self.table, self.late = 0, Table([None] * 100), None

    def __len__(self):
        return 100

    def __getitem__(self, i):
        vars(self)["moves"] = vars(self).get("moves", 0) + 1
        self.reads += 1
        self.loaded = True
        self.table.y[i] = torch.ones(2)
        self.late = Scale(self.reads)
        return X[i % 60], 0


def test_what_a_dataset_notes_does_not_count():
    data = Reading()
    first = fingerprint(data)
    assert fingerprint(data) == first and data.reads > 20


# ---- the same program again

PROGRAM = """
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple
import pandas as pd, torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from minilearn.fingerprints import fingerprint

@dataclass(frozen=True)
class Setting:
    by: float = 1.0
    names: frozenset = frozenset({"a", "b", "c"})
    def of(self, x):
        return x if x in {"a", "b", "c"} else object()

class Pair(NamedTuple):
    by: int = 1

class Encode:
    names = {"x", "y", "z"}
    def __init__(self):
        self.by, self.setting, self.pair, self.me = 1.0, Setting(), Pair(), self
    @cached_property
    def all(self):
        return super().__repr__()
    def __call__(self, model, request):
        return loader, table, self.setting.of("a"), encode

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode, self.hidden = Encode(), [build()]

class Data(Dataset):
    def __init__(self):
        self.rate, self.encode = 0.5, [Encode()]
    def __len__(self):
        return 9
    def __getitem__(self, i):
        return torch.zeros(2), 0

def build():
    torch.manual_seed(0)
    return nn.Linear(2, 2)

encode = Encode()
loader, table = DataLoader(Data(), 3), pd.DataFrame({"a": [1, "b", object()]})
print(fingerprint(Net()), fingerprint(Data()))
print(fingerprint(encode), fingerprint(encode.__call__), fingerprint(Pair))
"""


def test_the_same_program_has_the_same_marks_in_another_process():
    def printed(seed: str) -> str:
        command, place = [sys.executable, "-c", PROGRAM], os.environ | {"PYTHONHASHSEED": seed}
        return subprocess.run(command, capture_output=True, text=True, env=place).stdout

    assert printed("1") == printed("2") != ""


def test_marks_stay_after_a_round_trip():
    for thing in (Noisy(0.1), Reading(), Holding(Scale(Scale(1))), HIDDEN[0](1), behind(1), JUDGE):
        again = pickle.loads(pickle.dumps(thing))
        assert fingerprint(again) == fingerprint(copy.deepcopy(thing)) == fingerprint(thing)
