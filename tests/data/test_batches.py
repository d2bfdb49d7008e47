"""Batches, targets and subsets: tensors and datasets are read alike; bad data are one sentence."""

import random

import numpy as np
import pandas
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from shared import Pairs, numbered
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    IterableDataset,
    Subset,
    TensorDataset,
    random_split,
)

from minilearn.data import Unlabelled, batches, items_of, subset, targets_of, without_targets
from minilearn.data.batches import mixed
from minilearn.data.reading import strays, varies

LABELS = torch.tensor([0, 1, 2, 1])
NAN = float("nan")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(n=st.integers(1, 60), size=st.integers(1, 70), shuffled=st.booleans())
def test_batches_hold_every_example_once(n, size, shuffled):
    parts = list(batches(torch.arange(n), size, order=generator() if shuffled else None))
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(n))
    if not shuffled:
        assert torch.equal(torch.cat(parts), torch.arange(n))
    sizes = [len(part) for part in parts]
    assert all(one == size for one in sizes[:-1]) and 1 <= sizes[-1] <= size + 1
    # a last batch of one is joined to the one before it
    assert sizes[-1] > 1 or len(sizes) == 1
    assert (sizes[-1] == size + 1) == (n > size and n % size == (0 if size == 1 else 1))


@pytest.mark.parametrize("regression", [False, True])
@pytest.mark.parametrize("order", [None, 5])
def test_a_dataset_gives_the_batches_of_its_tensors(regression, order):
    data = numbered(11, regression)
    expected = list(batches(data, 5, order=order and generator(order)))
    for same in (Pairs(data), TensorDataset(data.inputs, data.targets), Subset(data, range(11))):
        if isinstance(same, Subset):
            same = Subset(Pairs(data), range(11))
        found = list(batches(same, 5, order=order and generator(order)))
        assert len(found) == len(expected) == 2
        for (x, y), (x2, y2) in zip(expected, found, strict=True):
            torch.testing.assert_close(x, x2, rtol=0, atol=0)
            torch.testing.assert_close(y, y2, rtol=0, atol=0)


def test_inputs_alone_come_alike_from_tensor_and_dataset():
    data = numbered(9)
    plain = list(batches(without_targets(data), 4, order=generator()))
    read = list(batches(without_targets(Pairs(data)), 4, order=generator()))
    assert all(isinstance(x, torch.Tensor) for x in plain + read)
    assert all(torch.equal(a, b) for a, b in zip(plain, read, strict=True))
    assert isinstance(without_targets(Pairs(data)), Unlabelled)
    assert without_targets(data.inputs) is data.inputs


def test_order_is_the_generators_alone():
    data = numbered(20)
    first, again, other = (
        torch.cat([y for _, y in batches(data, 6, order=generator(seed))]) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    before = torch.random.get_rng_state()
    list(batches(Pairs(data), 6, order=generator()))
    assert torch.equal(before, torch.random.get_rng_state())  # a DataLoader would draw from it


def test_one_generator_shuffles_every_epoch_anew():
    order = generator()
    first, second = (torch.cat(list(batches(torch.arange(30), 8, order=order))) for _ in range(2))
    assert not torch.equal(first, second)


def test_a_batch_larger_than_the_data_is_all_of_it():
    ((x, y),) = batches(numbered(3), 100)
    assert len(x) == len(y) == 3


def test_one_example_is_one_batch():
    ((x, y),) = batches(numbered(1), 8)
    assert x.shape == (1, 2) and y.shape == (1,)


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(torch.zeros(2), 0)])


class SizedStream(Stream):
    def __len__(self):
        return 1


UNREADABLE = [
    ((torch.zeros(4, 2), LABELS), "tuple of 2 parts: give one part of a split"),
    (DataLoader(numbered(4)), "give the dataset that it reads, its .dataset"),
    (Stream(), "a stream, Stream, which cannot be read by position: give its items as a list"),
    (SizedStream(), "a stream, SizedStream"),
    (pandas.DataFrame({"a": [1.0]}), "a table, DataFrame: make it Examples"),
    (None, "got NoneType"),
    (7, "got int"),
    ("digits", "got str"),
    ({0: 1}, "got dict"),
    (torch.tensor(3.0), "no examples to read"),
    (torch.zeros(0, 2), "no examples to read"),
    ([], "no examples to read"),
]


@pytest.mark.parametrize(("data", "sentence"), UNREADABLE, ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("call", [lambda d: batches(d, 4), targets_of, without_targets])
def test_what_cannot_be_read_is_one_sentence(call, data, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(data)


@pytest.mark.parametrize("size", [0, -3, 2.5, "4", None, torch.zeros(2), NAN])
def test_batch_sizes_that_make_no_sense(size):
    with pytest.raises(
        ValueError, match="the batch size must be a whole number of at least 1, got"
    ):
        batches(numbered(4), size)


@pytest.mark.parametrize("order", [3, "shuffle", True])
def test_an_order_that_is_no_generator(order):
    with pytest.raises(ValueError, match="order must be a torch.Generator"):
        batches(numbered(4), 2, order=order)


ITEMS = [
    ([(torch.zeros(2), 0), (torch.zeros(3), 1)], "all of one shape"),
    ([(object(), 0)] * 2, "must be a tensor or an array"),
    ([(torch.zeros(2), None)] * 2, "cannot be stacked into a batch"),
    ([(torch.zeros(2), "cat")] * 2, "must stack to tensors"),
    ([(torch.zeros(2), 0, 0)] * 2, r"must be \(input, target\), got a list of 3"),
    ([{"x": torch.zeros(2)}] * 2, r"must be \(input, target\), got a dict"),
    ([3, 4, 5], None),
]


@pytest.mark.parametrize(("items", "sentence"), ITEMS)
def test_items_that_make_no_batch(items, sentence):
    if sentence is None:  # plain numbers stack to a tensor of inputs
        assert torch.equal(next(batches(items, 9)), torch.tensor(items))
        return
    with pytest.raises(ValueError, match=sentence):
        list(batches(items, 2))


# mixed


@given(n=st.integers(1, 25), m=st.integers(1, 25), size=st.integers(1, 30), seed=st.integers(0, 9))
def test_mixed_batches_hold_every_example_of_both_sets_once(n, m, size, seed):
    forget, retain = torch.arange(n), 1000 + torch.arange(m)
    found = list(mixed(forget, retain, size, order=generator(seed)))
    for side, whole in enumerate((forget, retain)):
        assert torch.equal(torch.cat([pair[side] for pair in found]).sort().values, whole)
    sizes = [len(f) + len(r) for f, r in found]
    assert all(one == size for one in sizes[:-1]) and 1 <= sizes[-1] <= size + 1
    assert sizes[-1] > 1  # the union has two or more: a last batch of one is joined
    # the batches are those of the union, so that the shuffle alone decides who meets whom
    union = batches(torch.cat([forget, retain]), size, order=generator(seed))
    for part, (f, r) in zip(union, found, strict=True):
        assert torch.equal(part[part < 1000], f) and torch.equal(part[part >= 1000], r)


def test_a_mixed_batch_has_its_share_of_either_set():
    """The number of forgotten examples in a batch is hypergeometric: its mean and variance."""
    n, m, size, order = 60, 140, 20, generator(3)
    epochs = [list(mixed(torch.zeros(n), torch.zeros(m), size, order=order)) for _ in range(200)]
    counts = torch.tensor([float(len(f)) for epoch in epochs for f, _ in epoch])
    assert counts.mean().item() == pytest.approx(size * n / (n + m))
    variance = size * (n / 200) * (m / 200) * (200 - size) / 199
    assert counts.var().item() == pytest.approx(variance, rel=0.15)
    assert any(not torch.equal(a[0][0], b[0][0]) for a, b in zip(epochs, epochs[1:], strict=False))


def test_mixed_is_the_same_for_the_same_generator_and_leaves_torchs_alone():
    sets, state = (torch.arange(9), torch.arange(12)), torch.get_rng_state()
    runs = [list(mixed(*sets, 4, order=generator(seed))) for seed in (1, 1, 2)]
    flat = [torch.cat([torch.cat(pair) for pair in run]) for run in runs]
    assert torch.equal(flat[0], flat[1]) and not torch.equal(flat[0], flat[2])
    list(mixed(Pairs(numbered(5)), Pairs(numbered(6)), 4, order=generator()))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("regression", [False, True])
@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_mixed_datasets_give_what_their_tensors_give(regression, size):
    """Also where one of the two has no part in a batch: then it gives no rows, of its kind."""
    forget, retain = numbered(3, regression), numbered(10, regression)
    plain = list(mixed(forget, retain, size, order=generator(1)))
    read = list(mixed(Pairs(forget), Pairs(retain), size, order=generator(1)))
    alone = list(mixed(forget.inputs, Pairs(retain), size, order=generator(1)))
    blind = list(mixed(Unlabelled(Pairs(forget)), retain, size, order=generator(1)))
    assert len(plain) == len(read) == len(alone) == len(blind)
    for (f, r), (f2, r2), (x, r3), (x2, r4) in zip(plain, read, alone, blind, strict=True):
        for one in (f2, (x, f[1]), (x2, f[1])):
            torch.testing.assert_close(one, f, rtol=0, atol=0)
        for one in (r2, r3, r4):
            torch.testing.assert_close(one, r, rtol=0, atol=0)
        assert isinstance(x, torch.Tensor) and isinstance(x2, torch.Tensor)
        assert f[0].shape[1:] == r[0].shape[1:] == (2,) and len(f[0]) == len(f[1])
    if size == 1:
        assert any(len(f[0]) == 0 for f, _ in plain) and any(len(r[0]) == 0 for _, r in plain)


@pytest.mark.parametrize(("data", "sentence"), UNREADABLE, ids=lambda v: type(v).__name__)
def test_what_cannot_be_mixed_is_one_sentence(data, sentence):
    for sets in ((data, numbered(4)), (numbered(4), data)):
        with pytest.raises(ValueError, match=sentence):
            mixed(*sets, 4, order=generator())


@pytest.mark.parametrize("size", [0, -3, 2.5, "4", None])
def test_mixed_batches_have_a_size(size):
    with pytest.raises(ValueError, match="the batch size must be a whole number of at least 1"):
        mixed(numbered(4), numbered(4), size, order=generator())


# targets_of, subset


def test_targets_are_read_as_the_items_give_them():
    data = numbered(6)
    for same in (data, Pairs(data), TensorDataset(data.inputs, data.targets)):
        assert torch.equal(targets_of(same), data.targets)
    assert torch.equal(targets_of(Subset(Pairs(data), [4, 1])), data.targets[[4, 1]])
    assert targets_of(Pairs(numbered(5, regression=True))).dtype == torch.float32


class WithAttribute(Pairs):
    """Has a `targets` attribute, and counts how often an item is read."""

    def __init__(self, data, targets=None):
        super().__init__(data)
        self.targets = data.targets.tolist() if targets is None else targets
        self.read = 0

    def __getitem__(self, i):
        self.read += 1
        return super().__getitem__(i)


def test_targets_attribute_is_used_where_items_bear_it_out():
    many = WithAttribute(numbered(5000))
    assert torch.equal(targets_of(many), numbered(5000).targets)
    assert many.read <= 32 + 3  # spread over the set, and one of every class
    with pytest.raises(ValueError, match="500 items but 3 targets"):
        targets_of(WithAttribute(numbered(500), [0, 1, 2]))


@pytest.mark.parametrize("place", [0, 1, 250, 499])
def test_a_rare_class_that_items_do_not_bear_out_is_noticed(place):
    told = numbered(500).targets.tolist()
    told[place] = 9  # the attribute alone says so
    assert torch.equal(targets_of(WithAttribute(numbered(500), told)), numbered(500).targets)


def test_a_wrapper_that_changes_labels_is_read():
    class Parity(WithAttribute):
        def __getitem__(self, i):
            x, y = super().__getitem__(i)
            return x, y % 2

    wrapped = Parity(numbered(9))
    assert targets_of(wrapped).tolist() == [y % 2 for y in wrapped.targets]
    part = Subset(wrapped, [2, 1, 0])
    assert targets_of(part).tolist() == [0, 1, 0]


class Noisy(Pairs):
    """Augments: every reading of an item is another one."""

    draw = staticmethod(lambda: torch.rand(()))

    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return x + self.draw(), y


DRAWS = {"torch": lambda: torch.rand(()), "numpy": np.random.rand, "python": random.random}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_whether_a_dataset_augments_is_found_and_no_generator_moves(draw):
    noisy = Noisy(numbered(5))
    noisy.draw = lambda: float(draw())
    before = torch.get_rng_state(), np.random.get_state()[1], random.getstate()
    assert varies(noisy) and varies(Unlabelled(noisy)) and not strays(noisy)
    for plain in (Pairs(numbered(5)), numbered(5), numbered(5).inputs):
        assert not varies(plain) and not strays(plain)
    after = torch.get_rng_state(), np.random.get_state()[1], random.getstate()
    assert torch.equal(before[0], after[0]) and (before[1] == after[1]).all()
    assert before[2] == after[2]
    with pytest.raises(ValueError, match=r"without augmentation, as Request\(clean, mask\)"):
        items_of(noisy, "cpu")


def test_an_item_that_cannot_be_read_is_named():
    class Broken(Pairs):
        def __getitem__(self, i):
            if i == 3:
                raise KeyError("no such image")
            return super().__getitem__(i)

    with pytest.raises(ValueError, match="item 3 of the dataset cannot be read .KeyError"):
        list(batches(Broken(numbered(6)), 2))


def test_a_number_that_is_not_finite_is_named_by_its_place_in_the_set():
    data = numbered(6)
    data.inputs[4, 1] = float("nan")  # after the set was made
    with pytest.raises(ValueError, match="inputs of 1 example.s. hold NaN .* position 4"):
        list(batches(Pairs(data), 2))
    with pytest.raises(ValueError, match="position 4"):
        list(batches(Unlabelled(Pairs(data)), 2))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (torch.zeros(3, 2), "inputs without targets"),
        (Unlabelled(Pairs(numbered(3))), "inputs without targets"),
        ([(torch.zeros(2), "cat")], "must be numbers"),
        ([(torch.zeros(2), -1)], "class labels start at 0, got -1"),
        ([(torch.zeros(2), NAN)], "targets of 1 example.* NaN"),
        ([torch.zeros(2)], r"must be \(input, target\), got a Tensor"),
        ([(torch.zeros(2), [0, 1]), (torch.zeros(2), [0])], "of one shape"),
    ],
)
def test_targets_that_are_none(data, sentence):
    with pytest.raises(ValueError, match=sentence):
        targets_of(data)


def test_a_targets_attribute_of_another_length():
    data = Pairs(numbered(3))
    data.targets = [0, 1]
    with pytest.raises(ValueError, match="has 3 items but 2 targets"):
        targets_of(data)


def test_subset_is_of_the_same_kind():
    mask = torch.tensor([True, False, True, False])
    assert torch.equal(subset(numbered(4), mask).inputs, numbered(4).inputs[[0, 2]])
    assert list(subset(Pairs(numbered(4)), mask).indices) == [0, 2]


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (torch.tensor([0, 2]), "boolean tensor"),
        ([True, False, True, False], "boolean tensor"),
        (torch.ones(4, 1, dtype=torch.bool), "boolean tensor"),
        (torch.ones(3, dtype=torch.bool), "length 3 but the set has 4"),
    ],
)
@pytest.mark.parametrize("data", [numbered(4), Pairs(numbered(4))], ids=["examples", "dataset"])
def test_subset_refuses_what_is_no_mask(data, mask, sentence):
    with pytest.raises(ValueError, match=sentence):
        subset(data, mask)


@pytest.mark.parametrize("order", [None, 3, "shuffle"])
def test_mixed_needs_a_generator(order):
    with pytest.raises(ValueError, match="order must be a torch.Generator"):
        mixed(torch.zeros(4, 2), torch.zeros(4, 2), 2, order=order)


def test_parts_of_examples_in_torchs_wrappers_are_one_sentence():
    """An item of Examples is Examples again, which torch cannot stack."""
    data = numbered(10)
    part, rest = random_split(data, [0.5, 0.5], generator=generator())
    for read in (batches, lambda d, size: targets_of(d)):
        with pytest.raises(ValueError, match=r"Subset of Examples.* its .dataset\[its.indices\]"):
            next(iter(read(part, 4)))
        with pytest.raises(ValueError, match="ConcatDataset of Examples.* their tensors, joined"):
            next(iter(read(ConcatDataset([data, data]), 4)))
    assert len(part.dataset[part.indices]) + len(rest.dataset[rest.indices]) == 10


def test_a_label_that_cross_entropy_would_pass_over_is_refused():
    """On a GPU, and where the number of classes is known, no later check would see it."""
    data = [(torch.zeros(2), 0), (torch.zeros(2), -100)]
    with pytest.raises(ValueError, match="class labels start at 0, got -100"):
        list(batches(data, 2))
