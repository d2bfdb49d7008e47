"""Fingerprints of what users keep, patch and wrap: told apart, known again, and never an error."""

import functools
import random
import sys
import types
import weakref
from collections import defaultdict

import numpy as np
import pandas as pd
import pytest
import torch
from shared import Keeping
from sklearn.ensemble import RandomForestClassifier
from torch import nn
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from minilearn.fingerprints import fingerprint


class Keeps:
    def __init__(self, kept):
        self.kept = kept


class Settings(dict):
    __getattr__ = dict.get


class Levels(list):
    def __init__(self, by):
        super().__init__([1])
        self.by = by


class Slotted(Keeping):
    __slots__ = ("by",)

    def __init__(self, by):
        super().__init__(0)
        self.by = by


def patched(k):
    net = nn.Linear(2, 2).requires_grad_(False)
    net.weight.zero_(), net.bias.zero_()
    net.forward = types.MethodType(lambda self, x: x * k, net)
    return net


def made(program, **outside):
    space = {"__name__": "cells", **outside}
    exec(program, space)
    return space["f"]


def with_attribute(k):
    def f(x):
        return f.by

    f.by = k
    return f


def dispatched(k):
    @functools.singledispatch
    def f(x):
        return x

    f.register(int)(lambda x: x * k)
    return f


def called_by(kind):
    def make(k):
        return type("Called", (), {"__call__": kind(lambda *_: k)})()

    return make


def tied(k):
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    for weight in net.parameters():
        weight.data.fill_(1)
    if k == 1:
        net[1].weight = net[0].weight
    return net


def hooked(k):
    weight = nn.Parameter(torch.zeros(2))
    weight.register_hook(lambda g: g * k)
    return weight


def imported(k, tmp_path=None):
    module = types.ModuleType("helper_of_mine")
    exec(f"def fn(x):\n    return x * {k}", vars(module))
    sys.modules["helper_of_mine"] = module
    return made("def f(x):\n    from helper_of_mine import fn\n    return fn(x)")


def quantized(k):
    return torch.quantize_per_tensor(torch.ones(2), float(k), 0, torch.qint8)


APART = {
    "patched forward": patched,
    "order of arguments": lambda k: made(f"def f({'ab'[k - 1]}, {'ba'[k - 1]}):\n return a - b"),
    "starred argument": lambda k: made(f"def f({'*' * (k - 1)}a):\n return len(a)"),
    "constant as documentation": lambda k: made(f"def f():\n '{k}'\n return '{k}'"),
    "attribute of a function": with_attribute,
    "singledispatch": dispatched,
    "import in a function": imported,
    "cached __call__": called_by(functools.cache),
    "static __call__": called_by(staticmethod),
    "list of functions": lambda k: made("def f(x):\n return all(g(x) for g in fs)", fs=[lambda: k]),
    "values of a class": lambda k: Levels(k),
    "default factory": lambda k: defaultdict((int, list)[k - 1]),
    "settings in a dataset": lambda k: Keeping(Settings(a=k)),
    "list in a dataset": lambda k: Keeping(Levels(k)),
    "slots": Slotted,
    "nested dataset": lambda k: Subset(Keeping(Keeps(Keeping(k))), [0]),
    "tied weights": tied,
    "hook of a tensor": hooked,
    "index": lambda k: pd.Series([1, 2], index=[0, k]),
    "categories": lambda k: pd.Categorical(["a"], categories=[["a", "b"], ["b", "a"]][k - 1]),
    "columns": lambda k: pd.DataFrame({(1, "1")[k - 1]: [1]}),
    "mask": lambda k: np.ma.array([1, 1], mask=[False, k == 1]),
    "scale": quantized,
    "proxy of a dictionary": lambda k: types.MappingProxyType({"a": k}),
    "values of a dictionary": lambda k: {"a": k}.values(),
    "storage": lambda k: torch.tensor([0] * 9 + [k] + [0] * 9).untyped_storage(),
    "metaclass": lambda k: type("Meta", (type,), {"by": k})("Made", (), {}),
    "finfo": lambda k: torch.finfo((torch.float16, torch.float32)[k - 1]),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", APART.values(), ids=APART)
def test_another_thing_is_told_apart(make):
    one, again, other = (fingerprint(make(k)) for k in (1, 1, 2))
    assert one == again != other


class Endless(IterableDataset):
    def __len__(self):
        return 3

    def __iter__(self):
        yield 1


class Text:
    def __init__(self, text):
        self.text = text

    def __len__(self):
        return len(self.text)

    def __getitem__(self, i):
        return Text(self.text[i])


class Broken(Dataset):
    def __len__(self):
        raise RuntimeError("not yet")

    def __getitem__(self, i):
        return i


def deep(kind, levels=5000):
    thing = kind(0)
    for _ in range(levels):
        thing = kind(thing)
    return thing


def hooks_kept():
    net = nn.Linear(1, 1).requires_grad_(False)
    net.weight.zero_(), net.bias.zero_()
    net.handle = net.register_forward_hook(lambda *_: None)
    return net


def subsets():
    data = TensorDataset(torch.zeros(4))
    for _ in range(30):
        data = Subset(data, [0, 1])
    return data


KNOWN_AGAIN = {
    "one number of a column": lambda: torch.zeros(1, 2)[:, 0],
    "one number of a row": lambda: torch.zeros(4)[::2][:1],
    "real part": lambda: torch.ones(1, dtype=torch.cfloat).real,
    "negative part": lambda: torch.ones(2, dtype=torch.cfloat).conj().imag,
    "nested tensor": lambda: torch.nested.nested_tensor([torch.zeros(1), torch.zeros(2)]),
    "estimator that is not fitted": RandomForestClassifier,
    "scripted network": lambda: torch.jit.script(nn.ReLU()),
    "data without an end": Endless,
    "data without a length": Broken,
    "text": lambda: Text("a text"),
    "weak proxy": lambda: [weakref.proxy(Keeps(1))],
    "chain of objects": lambda: deep(Keeps),
    "chain in a dataset": lambda: Keeping(deep(Keeps, 1500)),
    "list in a list": lambda: deep(lambda each: [each]),
    "subset of a subset": subsets,
    "handle of a hook": hooks_kept,
    "function of a global generator": lambda: made("def f():\n return g()", g=random.random),
    "lazy layer": lambda: nn.LazyLinear(3),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("make", KNOWN_AGAIN.values(), ids=KNOWN_AGAIN)
def test_whatever_it_is_it_is_known_again(make):
    first = fingerprint(make())
    random.random()
    assert fingerprint(make()) == first


def test_a_file_of_the_users_named_as_one_of_python_is_read(tmp_path, monkeypatch):
    marks = []
    for k in (1, 2):
        folder = tmp_path / str(k)  # or the bytecode of the first would be read again
        folder.mkdir()
        (folder / "this.py").write_text(f"def fn(x):\n    return x * {k}\n")
        monkeypatch.syspath_prepend(folder)
        sys.modules.pop("this", None)
        import this

        marks.append(fingerprint(made("def f(x):\n return this.fn(x)", this=this)))
        sys.modules.pop("this", None)
    assert marks[0] != marks[1]
