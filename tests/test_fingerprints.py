"""Fingerprints: two things have the same where a run could not tell them apart, and only there."""

import functools
import random
import subprocess
import sys
import threading
import types
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from shared import Keeping, Pairs
from torch import nn
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
)

from minilearn.data import Examples, Unlabelled
from minilearn.draws import seeded
from minilearn.fingerprints import fingerprint
from minilearn.identity import code_of, settings_of, structure
from minilearn.methods import L2UL
from minilearn.models import Network, cnn
from minilearn.requests import Request, by_index
from minilearn.training import Training
from minilearn.values import ITEMS


@dataclass(frozen=True)
class Setting:
    """Some settings."""

    a: object
    b: object = None


class Plain:
    """Not a dataclass."""

    def __init__(self, a):
        self.a = a


class Scale(nn.Module):
    """A network whose settings are in no repr."""

    def __init__(self, by, act=F.relu):
        super().__init__()
        self.by, self.act = by, act

    def forward(self, x):
        """Scaled and bent."""
        return self.act(x) * self.by


zeros, ones = torch.zeros(2), torch.ones(2)
VALUES = [
    *(1, 1.0, True, "1", "1.0", "True", None, "None", 0, False, "", b"", b"1", 1 + 0j),
    *([], (), {}, set(), [[]], [()], [[], []], [[[]]], ([],), [None], [""], [0], [1]),
    *([1, 1, 1], [2, 2, 2], (1, 1, 1), [1, 1], [1.0, 1.0], ["1", "1"], ["1, 1"], [True, 1]),
    *(
        (1, (2, 3)),
        ((1, 2), 3),
        (1, 2, 3),
        [1, [2, 3]],
        [[1, 2], 3],
        ((1,), (2, 3)),
        ((1, 2), (3,)),
    ),
    *(range(3), range(1, 3), range(0, 3, 2)),
    *({1: 2}, {2: 1}, {1: (2,)}, {"1": 2}, {1: {2: 3}}, {1: 2, 3: 4}, [1, 2], {1, 2}, {1, 3}),
    *(np.array([1, 1]), np.array([1, 2]), np.array([1.0, 1.0]), np.array([[1], [1]])),
    *(np.array([1, 2, 3]), np.array(["a"]), np.array([None, 1]), np.array([], int)),
    *(torch.tensor([1, 1]), torch.tensor([1, 2]), torch.tensor([1.0, 1.0]), torch.tensor([[1, 1]])),
    *(torch.zeros(0), torch.zeros(0, 1), zeros.bfloat16(), zeros.half(), zeros.cfloat()),
    *(torch.tensor([True, False]), torch.float32, torch.int8),
    *([[zeros], ones], [[zeros, ones]], [zeros, [ones]], [[zeros], [ones]], [[], zeros], [[zeros]]),
    *([zeros], [ones], [zeros, zeros], [torch.zeros(4)], [zeros, ones], [ones, zeros]),
    *(Setting(1), Setting(2), Setting(1, 2), Setting(Setting(1)), Setting([1]), Setting([2])),
    *(Plain(1), Plain(2), Plain([1]), nn.Linear, nn.ReLU),
    *(Image.new("L", (2, 2)), Image.new("L", (2, 2), 1), Image.new("RGB", (2, 2))),
    *(nn.ReLU(), nn.Tanh(), nn.Dropout(0.1), nn.Dropout(0.2), nn.Sequential(nn.ReLU())),
    *(nn.Sequential(nn.ReLU(), nn.Tanh()), nn.Sequential(nn.Tanh(), nn.ReLU())),
    *(Scale(1), Scale(2), Scale(2.0), Scale((2,)), Scale(2, F.gelu)),
    *(nn.MSELoss(), nn.L1Loss(), nn.MSELoss(reduction="sum")),
    *(Training(), Training(lr=1e-2), L2UL()),
]


def test_contents_structure_and_brackets_are_told_apart():
    found = [fingerprint(value) for value in VALUES]
    for i, mark in enumerate(found):
        twins = [VALUES[j] for j in range(i) if found[j] == mark]
        assert not twins, f"{VALUES[i]!r} and {twins[0]!r}"
    inside = [fingerprint([[value], 7.5]) for value in VALUES]
    assert len({*inside, *found}) == 2 * len(VALUES)


def test_what_is_the_same_is_the_same():
    table = np.arange(6).reshape(2, 3)
    same = [
        ({1: 2, 3: 4}, {3: 4, 1: 2}),
        ({1: 2}, OrderedDict({1: 2})),
        ({"a", "b", "c"}, {"c", "b", "a"}),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (table.T, table.T.copy()),
        (torch.from_numpy(table).T, torch.from_numpy(table).T.contiguous()),
        (Setting([1]), Setting([1])),
        (Plain({"x": 1}), Plain({"x": 1})),
        (Training(), replace(Training())),
        (Scale(2).train(), Scale(2).eval()),
        (torch.eye(2).to_sparse(), torch.eye(2)),
    ]
    for one, other in same:
        assert fingerprint(one) == fingerprint(other), one
    endless = [1]
    endless.append(endless)
    assert fingerprint(endless) != fingerprint([1])


def test_all_buffers_of_a_network_count():
    one, other = nn.Linear(1, 1), nn.Linear(1, 1)
    other.load_state_dict(one.state_dict())
    for net, value in ((one, 0.0), (other, 1.0)):
        net.register_buffer("mean", torch.tensor(value), persistent=False)
    assert fingerprint(one) != fingerprint(other)
    other.mean.zero_()
    assert fingerprint(one) == fingerprint(other)


PROGRAM = """
import torch
from torch import nn
from minilearn.fingerprints import fingerprint
from minilearn.identity import code_of

class Own(nn.Module):
    def forward(self, x):
        "Its documentation."
        return x if x in {"a", "b", "c"} else [lambda: x]

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(2, 2), Own())
print(fingerprint((net, {"a", "b", "c"}, object())), code_of(net))
"""


def test_it_is_the_same_in_another_process(capsys):
    """Where sets have another order, and things another place in memory."""
    command = [sys.executable, "-c", PROGRAM]
    found = subprocess.run(command, capture_output=True, text=True).stdout
    exec(PROGRAM, {})
    assert capsys.readouterr().out == found != ""


def test_the_code_of_a_network_is_told_apart():
    def of(body: str, documentation: str = "") -> str:
        space = {"nn": nn}
        lines = ["class Net(nn.Module):", " def forward(self, x, by=3):", f"  {documentation!r}"]
        exec("\n".join([*lines, f"  return {body}"]), space)
        return code_of(nn.Sequential(space["Net"]()))

    bodies = ["x * 2", "x * 3", "x + 2", "x * by", "self.a(x)", "self.b(x)", "x in (1, 2)"]
    assert len({of(body) for body in bodies}) == len(bodies)
    assert of("x * 2") == of("x * 2", "Other words.")
    assert code_of(nn.ReLU()) == code_of(nn.ReLU(inplace=True)) != code_of(nn.Tanh())


def scaled(x, by):
    return x * by


def other(x, by):
    return x + by


class Wrapped:
    """What a decorator leaves of a function."""

    def __init__(self, by):
        self.by = by

    def __call__(self, x):
        return x * self.by


def network(forward, **attributes) -> nn.Module:
    """A network of one class that says these attributes itself."""
    return type("Net", (nn.Module,), {"forward": forward} | attributes)()


def closed(by):
    return network(lambda self, x: x * by)


def decorated(by):
    def forward(self, x):
        return x * by

    @functools.wraps(forward)
    def around(*arguments):
        return forward(*arguments)

    return network(around)


def calling(helper):
    space = {"helper": helper}
    exec("def forward(self, x):\n return helper(x, 2)", space)
    return network(space["forward"])


def hooked(by):
    net = network(lambda self, x: x)
    net.register_forward_hook(lambda module, given, answer: answer * by)
    return net


def keyword(by):
    def forward(self, x, *, by=by):
        return x * by

    return network(forward)


@pytest.mark.parametrize(
    "make",
    [
        lambda by: network(lambda self, x: x * self.by, by=by),
        lambda by: network(lambda self, x: x * self.by, by=[by]),
        lambda by: network(lambda self, x: self.f(x), f=staticmethod((scaled, other)[by - 2])),
        lambda by: network(lambda self, x: self.f, f=property((scaled, other)[by - 2])),
        lambda by: network(lambda self, x: self.f(x), f=functools.partial(scaled, by=by)),
        lambda by: network(lambda self, x: self.f(x), f=Wrapped(by)),
        closed,
        decorated,
        keyword,
        hooked,
        lambda by: calling((scaled, other)[by - 2]),
        lambda by: nn.Sequential(*[nn.ReLU(), nn.Tanh()][:: 2 * by - 5]),
    ],
)
def test_another_answer_is_another_code(make):
    assert code_of(make(2)) == code_of(make(2)) != code_of(make(3))


def test_whatever_a_network_keeps_counts():
    net = nn.Linear(2, 2)
    net.seen, net.config = [], {"p": 0.5}
    before, fresh = structure(net), fingerprint(net)
    net.seen.append(3.0)
    assert structure(net) != before and fingerprint(net) != fresh
    net.seen.clear()
    assert structure(net) == before and fingerprint(net) == fresh
    net.config["p"] = 0.1
    assert structure(net) != before and fingerprint(net) != fresh
    for attribute in (types.SimpleNamespace(p=1), Setting(1, 2), np.float32(1)):
        net.of = attribute
        one = structure(net)
        net.of = types.SimpleNamespace(p=2) if attribute != 1 else np.float32(2)
        assert structure(net) != one


def test_two_classes_of_one_name_are_told_apart():
    def block(by):
        return type("Block", (nn.Module,), {"forward": lambda self, x: x * by})()

    assert code_of(nn.Sequential(block(1), block(2))) != code_of(nn.Sequential(block(3), block(2)))


def test_functions_are_known_by_their_code():
    functions = [lambda x: x, lambda x: x + 1, functools.partial(scaled, by=2), scaled, Wrapped(1)]
    functions += [functools.partial(scaled, by=3), Wrapped(2), max, print, Plain(1).__init__]
    assert len({fingerprint(function) for function in functions}) == len(functions)


def function_in(program: str, **outside):
    """`f` of a program whose module has these names, as the cells of a notebook do."""
    module = types.ModuleType("of_a_notebook")
    vars(module).update(outside)
    exec(program, vars(module))
    return module.f


MODULE = types.ModuleType("mine")
exec("def score(x):\n    return x\n\ndef other(x):\n    return -x\n\nrate = 1", vars(MODULE))
CHANGED = types.ModuleType("mine")
exec("def score(x):\n    return 2 * x\n\ndef other(x):\n    return -x\n\nrate = 1", vars(CHANGED))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        ("a", "b"),
        (zeros, ones),
        (np.zeros(2), np.ones(2)),
        (Examples(zeros, zeros), Examples(ones, zeros)),
        (TensorDataset(zeros), TensorDataset(ones)),
        (Subset([1, 2, 3], [0]), Subset([1, 2, 3], [1])),
        (Training(), Training(lr=1.0)),
        (1, TensorDataset(zeros)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_function_reads_from_outside_counts(one, other):
    program = "def f(x):\n    return x, thing"
    found = [fingerprint(function_in(program, thing=thing)) for thing in (one, one, other)]
    assert found[0] == found[1] != found[2]

    def closed(thing):
        return lambda x: (x, thing)

    found = [fingerprint(closed(thing)) for thing in (one, one, other)]
    assert found[0] == found[1] != found[2]


def test_a_module_s_functions_count_and_its_others_do_not():
    program = "def f(x):\n    return mine.score(x)"
    first, again, changed = (
        fingerprint(function_in(program, mine=module)) for module in (MODULE, MODULE, CHANGED)
    )
    assert first == again != changed
    program = "def f(x):\n    return mine.other(x) * mine.rate"
    alike = [fingerprint(function_in(program, mine=module)) for module in (MODULE, CHANGED)]
    assert alike[0] == alike[1]


def test_modules_that_look_each_other_up_come_to_an_end():
    one, two = types.ModuleType("one"), types.ModuleType("two")
    one.two, two.one = two, one
    program = "def f(x):\n    return one.two.one.two"
    assert fingerprint(function_in(program, one=one))


def test_a_variable_that_a_function_sets_does_not_count():
    program = "def f(x):\n    global calls\n    calls += 1\n    return net(x), settings"
    found = {
        fingerprint(function_in(program, calls=calls, net=nn.Dropout(p), settings=settings))
        for calls, p, settings in [(0, 0.1, [1]), (3, 0.1, [1]), (0, 0.2, [1]), (0, 0.1, [2])]
    }
    assert len(found) == 3


def test_a_log_outside_of_a_function_does_not_count():
    logs = [([], [nn.Linear(1, 1)], "log.append(x)"), ({}, {3: zeros}, "log[x] = 1")]
    logs += [(set(), {Plain(1)}, "log.add(x)")]
    read = [([1], [], "len(log)"), ([1], [], "x.log.append(len(log))")]  # no log of the function's
    for log, later, note in logs + read:
        program = f"def f(x):\n    {note}"
        one, other = (fingerprint(function_in(program, log=each)) for each in (log, later))
        assert (one == other) == ((log, later, note) in logs)


class Words:
    """Is read by word, and not by position."""

    def __init__(self, *words):
        self.places = {word: i for i, word in enumerate(words)}

    def __len__(self):
        return len(self.places)

    def __getitem__(self, word):
        return self.places[word]


def test_a_vocabulary_counts():
    one, other = (fingerprint(Words(*words)) for words in (["a", "b"], ["b", "a"]))
    assert one == fingerprint(Words("a", "b")) != other


def test_things_that_know_each_other_by_sets_and_dictionaries_come_to_an_end():
    def friends(number):
        one, two = Plain(1), Plain(number)
        one.friends, two.friends, one.table = {two}, {one}, {two: one}
        return one

    assert fingerprint(friends(2)) == fingerprint(friends(2)) != fingerprint(friends(3))


def test_the_code_of_the_packages_own_networks_counts(monkeypatch):
    before = fingerprint(cnn(10, 8))
    assert fingerprint(cnn(10, 8)) != before  # other weights
    with seeded(0):
        before = fingerprint(cnn(10, 8))
    monkeypatch.setattr(Network, "forward", lambda self, x: -self.head(self.features(x)))
    with seeded(0):
        assert fingerprint(cnn(10, 8)) != before


class Endless(IterableDataset):
    """Has no length and no positions."""

    def __init__(self, first):
        self.first = first

    def __iter__(self):
        yield self.first


def test_what_is_read_without_end_is_known_by_what_it_keeps():
    one, again, other = (fingerprint(DataLoader(Endless(first))) for first in (1, 1, 2))
    assert one == again != other


# ---- datasets


def moved(data, place: int) -> Examples:
    """The same data but for one number."""
    inputs = data.inputs.clone()
    inputs[place, 0] += 1e-3
    return Examples(inputs, data.targets)


class Folder(Dataset):
    """Holds nothing, reads item by item."""

    def __init__(self, length=1000, change=None):
        self.length, self.change, self.seen = length, change, []

    def __len__(self):
        return self.length

    def __getitem__(self, i):
        self.seen.append(i)
        return Image.new("L", (2, 2), i % 200 + (i == self.change)), i % 3


class Unregistered:
    """No Dataset of torch, but with a length and items."""

    def __init__(self, data):
        self.data = data.inputs

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        return self.data[i]


@pytest.mark.parametrize(
    ("labels", "others"),
    [
        ({f"{i}.png": i % 3 for i in range(9)}, {f"{i}.png": i % 3 + (i == 7) for i in range(9)}),
        ({f"{i}.png": 1 for i in range(9)}, {f"{i}.jpg": 1 for i in range(9)}),
        ({"x": zeros, "y": zeros}, {"x": zeros, "y": ones}),
        ({i: [1, i] for i in range(9)}, {i: [1, i + (i == 7)] for i in range(9)}),
        ({1, 2, 3}, {1, 2, 4}),
        (frozenset({"a"}), frozenset({"b"})),
    ],
    ids=["by name", "names", "tensors", "lists", "set", "frozen set"],
)
def test_labels_behind_a_dictionary_or_a_set_count(labels, others):
    assert fingerprint(Keeping(labels)) == fingerprint(Keeping(type(labels)(labels)))
    assert fingerprint(Keeping(labels)) != fingerprint(Keeping(others))


class Odd:
    """Something that nobody can look into."""


@pytest.mark.parametrize(
    "labelled",
    [
        lambda y: [np.int64(label) for label in y],
        lambda y: [(Path(f"{i}.png"), label) for i, label in enumerate(y)],
        lambda y: [(None, label) for label in y],
        lambda y: [(Image.new("L", (2, 2)), label) for label in y],
        lambda y: [(b"pixels", label) for label in y],
        lambda y: [(Odd(), label) for label in y],
        lambda y: {i: np.int64(label) for i, label in enumerate(y)},
    ],
    ids=["numpy", "paths", "None", "images", "bytes", "objects", "numpy by position"],
)
def test_labels_beside_other_things_count(labelled):
    """None of the items that are read has another label."""
    labels = [i % 3 for i in range(50)]
    changed = [*labels[:7], 9, *labels[8:]]
    assert fingerprint(Keeping(labelled(labels))) == fingerprint(Keeping(labelled(labels)))
    assert fingerprint(Keeping(labelled(labels))) != fingerprint(Keeping(labelled(changed)))


class Caching(Dataset):
    """Opens a file at its first reading, and keeps all items that were read."""

    def __init__(self, rate=1.0):
        self.rate, self.kept, self.file, self.begun = rate, {}, None, False

    def __len__(self):
        return 1000

    def __getitem__(self, i):
        self.begun = True
        self.file = self.file or threading.Lock()  # which no pickle holds
        self.kept[i] = torch.ones(2)
        return self.kept[i], 0


def test_what_a_dataset_keeps_of_its_items_does_not_count():
    data, fresh = Caching(), fingerprint(Caching())
    for i in range(0, 1000, 3):
        data[i]
    assert fingerprint(data) == fresh != fingerprint(Caching(2.0))


class ByPosition(Dataset):
    """Holds its items in a dictionary by position, as another keeps what it has read."""

    def __init__(self, labels):
        self.rows = {i: (torch.full((2,), float(i)), label) for i, label in enumerate(labels)}

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i]


def test_items_in_a_dictionary_by_position_count():
    """All of them, and not the few that stand for a dataset on a disk."""
    labels = [i % 3 for i in range(300)]
    marks = {fingerprint(ByPosition([*labels[:i], 9, *labels[i + 1 :]])) for i in (57, 58, 211)}
    assert len(marks | {fingerprint(ByPosition(labels))}) == 4
    assert fingerprint(ByPosition(labels)) == fingerprint(ByPosition([*labels]))


class Counting:
    """Counts its calls, and leaves the count out of what is kept of it."""

    def __init__(self, by):
        self.by, self.calls = by, 0

    def __call__(self, x):
        self.calls += 1
        return x * self.by

    def __getstate__(self):
        return {"by": self.by}


class Noting(nn.Module):
    """Keeps what it computed last, and leaves that out of a pickle."""

    def __init__(self, by):
        super().__init__()
        self.by, self.last = by, None

    def forward(self, x):
        self.last = x * self.by
        return self.last

    def __getstate__(self):
        return vars(self) | {"last": None}


def test_what_is_left_out_of_a_pickle_does_not_count():
    net = Noting(2)
    marks = structure(net), fingerprint(net)
    net(torch.ones(2))
    assert (structure(net), fingerprint(net)) == marks
    assert fingerprint(Noting(3)) != marks[1]
    counting, fresh = Counting(2), fingerprint(Counting(2))
    counting(1)
    assert fingerprint(counting) == fresh != fingerprint(Counting(3))
    assert fingerprint(counting.__call__) == fingerprint(Counting(2).__call__)


KINDS = {
    "examples": lambda d: d,
    "tensors": lambda d: TensorDataset(d.inputs, d.targets),
    "positions": lambda d: Subset(Pairs(d), range(5, 20)),
    "two": lambda d: ConcatDataset([Pairs(d[:3]), Pairs(d[3:])]),
    "stacked": lambda d: StackDataset(Unlabelled(Pairs(d)), d.targets),
    "stacked by name": lambda d: StackDataset(inputs=d.inputs, targets=d.targets),
    "inputs": lambda d: Unlabelled(Pairs(d)),
    "request": lambda d: by_index(d, [1]),
    "one's own": Pairs,
    "no Dataset": Unregistered,
    "list": lambda d: list(d.inputs),
    "pairs": lambda d: list(zip(d.inputs, d.targets, strict=True)),
    "inputs of pairs": lambda d: Unlabelled(list(zip(d.inputs, d.targets, strict=True))),
    "array": lambda d: d.inputs.numpy(),
    "positions of positions": lambda d: Subset(Subset(Pairs(d), range(3, 24)), [4, 5]),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_what_a_dataset_holds_counts_to_the_last_number(classification, kind):
    first = fingerprint(kind(classification))
    assert first == fingerprint(kind(classification[:]))
    for place in range(5, 12):
        assert fingerprint(kind(moved(classification, place))) != first


def test_kinds_of_datasets_are_told_apart(classification):
    found = [fingerprint(make(classification)) for make in KINDS.values()]
    assert len(set(found)) == len(found)


def test_positions_and_masks_count(classification):
    pairs, mask = Pairs(classification), torch.arange(24) < 3
    assert fingerprint(Subset(pairs, [0, 1])) != fingerprint(Subset(pairs, [0, 2]))
    requests = [Request(classification, mask), Request(classification, ~mask)]
    assert fingerprint(requests[0]) != fingerprint(requests[1])
    assert fingerprint(requests[0]) == fingerprint(replace(requests[0], name="another name"))


def test_of_a_dataset_that_holds_nothing_a_few_items_are_read():
    data = Folder()
    first = fingerprint(data)
    assert (
        len(data.seen) == 2 * (ITEMS + 1)
        and len(set(data.seen)) == ITEMS
        and {0, 999} <= {*data.seen}
    )
    assert first == fingerprint(Folder())
    for other in (Folder(999), Folder(change=0), Folder(change=999), Unlabelled(Folder())):
        assert fingerprint(other) != first


def test_an_array_on_the_disk_is_read_in_places(tmp_path):
    array = np.memmap(tmp_path / "array", "f4", "w+", shape=(1000, 2))
    first = fingerprint(array)
    array[999, 1] = 1
    assert fingerprint(array) != first


class Drawn(Pairs):
    """Augmented: every reading is another copy."""

    def __init__(self, data, kind):
        super().__init__(data)
        self.kind, self.private = kind, np.random.default_rng(0)

    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        draw = {
            "torch": lambda: float(torch.rand(())),
            "numpy": np.random.rand,
            "random": random.random,
            "private": self.private.random,
        }
        return x + draw[self.kind](), y


@pytest.mark.parametrize("kind", ["torch", "numpy", "random", "private"])
def test_an_augmented_dataset_is_known_again_and_no_generator_moves(classification, kind):
    data = Drawn(classification, kind)
    first = fingerprint(data)
    for seed in (1, 2):
        torch.manual_seed(seed), np.random.seed(seed), random.seed(seed)
        assert fingerprint(data) == fingerprint(Drawn(classification, kind)) == first
        assert fingerprint(Drawn(moved(classification, 9), kind)) != first
        drawn = float(torch.rand(())), np.random.rand(), random.random()
        torch.manual_seed(seed), np.random.seed(seed), random.seed(seed)
        assert drawn == (float(torch.rand(())), np.random.rand(), random.random())


# ---- in words


def test_in_words_names_settings_parts_and_sizes(classification):
    assert settings_of(Setting(Setting(np.int64(3)), torch.zeros(4, 2))) == {
        "a.a": "3",
        "a.b": "None",
        "b": "Tensor of 4",
    }
    assert settings_of((classification, None)) == {"[0]": "Examples of 24", "[1]": "None"}
    assert settings_of(torch.tensor(1.0)) == {"": "Tensor"} and settings_of(Plain(1)) == {
        "": "Plain"
    }
    assert settings_of(list(range(20))) == {"": "list of 20"}
    found = structure(Scale(2))
    assert found.pop("act").startswith("relu ")  # with a mark of its code
    assert found == {"": "Scale()", "by": "2"}
    assert structure(nn.Sequential(nn.ReLU()))["0"] == "ReLU()"
