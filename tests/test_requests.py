"""Requests: which examples they choose, what the rest is, and which twins stay behind."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from shared import FOUR, Pairs, classes_of, line
from torch.utils.data import Subset, TensorDataset

from minilearn.data import Examples
from minilearn.requests import (
    Request,
    by_class,
    by_fraction,
    by_group,
    by_index,
    by_range,
    by_typicality,
    mislabel,
    near_duplicates,
)

NAN = float("nan")


REQUESTS = {
    "class": lambda d: by_class(d, 3),
    "classes": lambda d: by_class(d, [3, 5]),
    "group": lambda d: by_group(d, 2),
    "fraction": lambda d: by_fraction(d, 0.3),
    "index": lambda d: by_index(d, [5, 0, 7]),
    "typicality": lambda d: by_typicality(d, 9),
    "mislabel": lambda d: mislabel(d, 0.3),
}


@pytest.mark.parametrize("make", REQUESTS.values(), ids=REQUESTS)
def test_forget_and_retain_are_disjoint_and_everything(train, make):
    request = make(train)
    rows = [[x.numpy().tobytes() for x in p.inputs] for p in (request.forget, request.retain)]
    assert not set(rows[0]) & set(rows[1])  # no two digits are equal
    assert sorted(rows[0] + rows[1]) == sorted(x.numpy().tobytes() for x in train.inputs)
    assert torch.equal(request.forget.targets, request.train.targets[request.mask])
    assert torch.equal(request.retain.targets, request.train.targets[~request.mask])
    assert torch.equal(request.indices, torch.tensor([i for i, m in enumerate(request.mask) if m]))
    assert repr(request).endswith(f"forget {len(rows[0])} of {len(train)})")
    assert torch.equal(request.mask, make(train).mask)  # and the same every time


def test_a_mask_that_is_changed_later_changes_no_request(train):
    mask = torch.arange(len(train)) < 3
    request = Request(train, mask)
    mask |= True
    assert request.indices.tolist() == [0, 1, 2]


def test_a_dataset_is_split_like_its_tensors():
    for data in (Pairs(FOUR), TensorDataset(FOUR.inputs, FOUR.targets)):
        request = by_class(data, 1)
        assert isinstance(request.forget, Subset) and isinstance(request.retain, Subset)
        assert list(request.forget.indices) == [1, 2] and list(request.retain.indices) == [0, 3]
        assert torch.equal(by_fraction(data, 0.5).mask, by_fraction(FOUR, 0.5).mask)


# by class, by group, by index


@pytest.mark.parametrize(
    ("classes", "chosen"),
    [
        (1, [1, 2]),
        ([1], [1, 2]),
        ((3, 1), [1, 2, 3]),
        ([1, 1], [1, 2]),
        (range(2), [0, 1, 2]),
        (np.int64(3), [3]),
        (np.array([0, 3]), [0, 3]),
        (torch.tensor(0), [0]),
        (torch.tensor([0, 3], dtype=torch.uint8), [0, 3]),
    ],
)
def test_by_class(classes, chosen):
    assert by_class(FOUR, classes).indices.tolist() == chosen


def test_by_group(train):
    request = by_group(train, 5)
    assert (request.forget.groups == 5).all() and (request.retain.groups != 5).all()


@pytest.mark.parametrize(
    "indices", [[3, 0], (3, 0), np.array([3, 0]), torch.tensor([3, 0]), range(0, 4, 3)], ids=repr
)
def test_by_index(indices):
    assert by_index(FOUR, indices).indices.tolist() == [0, 3]


# by fraction, mislabelled


@given(
    fraction=st.floats(0.05, 0.9),
    labels=st.lists(st.integers(0, 4), min_size=8, max_size=60),
    seed=st.integers(0, 2**31),
)
def test_by_fraction_counts_are_exact_in_every_class(fraction, labels, seed):
    data = classes_of(*labels)
    wanted = {c: round(fraction * labels.count(c)) for c in set(labels)}
    if not 0 < sum(wanted.values()) < len(labels):
        with pytest.raises(ValueError, match="nothing is (to be forgotten|retained)"):
            by_fraction(data, fraction, seed=seed)
        return
    request = by_fraction(data, fraction, seed=seed)
    counts = request.forget.targets.bincount(minlength=5).tolist()
    assert {c: counts[c] for c in wanted} == wanted


def test_by_fraction_of_some_classes(train):
    request = by_fraction(train, 0.4, [5, 6])
    in_all, forgotten = train.targets.bincount(), request.forget.targets.bincount(minlength=10)
    assert forgotten[[0, 1, 2, 3, 4, 7, 8, 9]].sum() == 0
    assert torch.equal(forgotten[[5, 6]], (0.4 * in_all[[5, 6]]).round().long())
    assert request.name == "40 % of classes [5, 6]"
    for same in ([6, 5], (5, 6, 6), np.array([5, 6]), torch.tensor([6, 5])):
        assert torch.equal(by_fraction(train, 0.4, same).mask, request.mask)
    assert torch.equal(by_fraction(train, 1, 5).mask, by_class(train, 5).mask)


def test_the_sizes_are_rounded_where_the_released_ones_are_cut_off():
    """MNIST's training images by class, and SVHN's: released int(share n), here round(share n)."""
    mnist = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    svhn = [4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659]
    for counts, cut, rounded in (
        (mnist, (11_760, 18_355), (11_761, 18_358)),
        (svhn, (11_161, 27_207), (11_164, 27_210)),
    ):
        targets = torch.arange(10).repeat_interleave(torch.tensor(counts))
        data = Examples(torch.zeros(len(targets), 1), targets)
        requests = by_fraction(data, 0.4, range(5, 10)), mislabel(data, 0.6, range(5))
        assert tuple(int(request.mask.sum()) for request in requests) == rounded
        parts = [0.4 * n for n in counts[5:]], [0.6 * n for n in counts[:5]]
        assert tuple(sum(int(n) for n in part) for part in parts) == cut


def test_by_fraction_is_drawn_by_its_seed(train):
    first, other = by_fraction(train, 0.4, seed=1), by_fraction(train, 0.4, seed=2)
    both = (first.mask & other.mask).sum() / first.mask.sum()
    assert 0.3 < both < 0.5  # 0.4 by chance


def test_mislabelled_are_wrong_and_the_rest_is_untouched(train):
    request = mislabel(train, 0.6, range(5))
    wrong = request.train.targets != train.targets
    assert torch.equal(wrong, request.mask)  # forgotten are exactly the mislabelled
    assert torch.equal(wrong, by_fraction(train, 0.6, range(5)).mask)
    assert torch.equal(request.retain.targets, train.targets[~wrong])
    assert request.train.inputs is train.inputs and request.train.groups is train.groups
    assert request.name == "60 % of classes [0, 1, 2, 3, 4] mislabelled"


def test_another_seed_writes_other_wrong_labels_on_the_same_examples(train):
    first, again, other = (mislabel(train, 1.0, range(5), seed) for seed in (0, 0, 1))
    assert torch.equal(first.mask, other.mask)
    assert torch.equal(first.train.targets, again.train.targets)
    same = first.train.targets[first.mask] == other.train.targets[first.mask]
    assert same.double().mean() == pytest.approx(1 / 9, abs=0.05)


def test_wrong_labels_are_uniform_over_all_other_classes():
    from scipy.stats import chisquare

    data = Examples(torch.zeros(20_000, 1), torch.arange(20_000) % 5)
    request = mislabel(data, 0.9)
    for label in range(5):
        of_it = request.mask & (data.targets == label)
        counts = request.train.targets[of_it].bincount(minlength=5)
        others = np.delete(counts.numpy(), label)
        assert counts[label] == 0 and others.min() > 0
        assert chisquare(others).pvalue > 1e-3  # the last class is reached as often as any


# by range, by typicality


def test_by_range_is_half_open():
    data = line(0.0, 29.999, 30.0, 59.9, 60.0)
    assert by_range(data, 30, 60).indices.tolist() == [2, 3]
    assert by_range(data, float("-inf"), 30).indices.tolist() == [0, 1]
    assert by_range(data, torch.tensor(60.0), float("inf")).indices.tolist() == [4]
    assert by_range(data, 30, 60).name == "targets in [30, 60)"


def test_by_typicality_against_the_definition(train):
    means = [train.inputs[train.targets == label].double().mean(0) for label in range(10)]
    pairs = zip(train.inputs.double(), train.targets.tolist(), strict=True)
    distance = torch.stack([(x - means[label]).norm() for x, label in pairs])
    for typical in (False, True):
        request = by_typicality(train, 12, typical)
        chosen, others = distance[request.mask], distance[~request.mask]
        assert len(chosen) == 12
        assert chosen.max() <= others.min() if typical else chosen.min() >= others.max()
    assert by_typicality(train, 12).name == "the 12 least typical examples"


# near-duplicates


def brute_force(request: Request, tolerance: float) -> dict[tuple[int, int], float]:
    flat = request.train.inputs.flatten(1).double()
    found = {}
    for i in request.indices.tolist():
        for j in (~request.mask).nonzero().flatten().tolist():
            distance = ((flat[i] - flat[j]) ** 2).mean().sqrt() / flat.std()
            if distance <= tolerance:
                found[i, j] = distance.item()
    return found


def test_inputs_may_be_single_numbers():
    flat = Examples(torch.tensor([0.0, 1.0, 2.0, 9.0, 2.01]), torch.zeros(5).long())
    column = Examples(flat.inputs[:, None], flat.targets)
    assert by_typicality(flat, 1).indices.tolist() == [3]
    found, again = (near_duplicates(by_index(data, [2])) for data in (flat, column))
    assert found[0].tolist() == again[0].tolist() == [[2, 4]]
    assert torch.equal(found[1], again[1])


@pytest.mark.parametrize("chunk", [1, 7, 256])
def test_near_duplicates_against_brute_force(train, chunk):
    request = by_fraction(train[:120], 0.3)
    pairs, distances = near_duplicates(request, 0.6, chunk)
    expected = brute_force(request, 0.6)
    assert len(expected) > 10
    assert {tuple(p): d for p, d in zip(pairs.tolist(), distances.tolist(), strict=True)} == (
        pytest.approx(expected)
    )
    assert bool((distances.diff() >= 0).all())


def test_a_planted_twin_is_found(train):
    noise = 0.01 * torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    inputs = torch.cat([train.inputs[:300], train.inputs[:1], train.inputs[1:3] + noise])
    data = Examples(inputs, torch.cat([train.targets[:300], train.targets[:3]]))
    pairs, distances = near_duplicates(by_index(data, [300, 301, 302]), 0.1)
    assert pairs[0].tolist() == [300, 0] and distances[0] == 0
    assert {tuple(p) for p in pairs.tolist()} == {(300, 0), (301, 1), (302, 2)}
    assert near_duplicates(by_index(data, [300, 301, 302]), 0)[0].tolist() == [[300, 0]]


def test_tolerance_is_exact():
    data = line(0.0, 1.0, 0.0)  # inputs 0, 1, 2: standard deviation 1
    request = by_index(data, [0])
    assert near_duplicates(request, 1)[0].tolist() == [[0, 1]]
    assert len(near_duplicates(request, 1 - 1e-7)[0]) == 0


def test_without_retained_data_no_twin_can_be_looked_for(train):
    with pytest.raises(ValueError, match="twins are looked for among retained data"):
        near_duplicates(Request(train[:5], None))


def test_no_near_duplicates_is_an_empty_answer(train):
    pairs, distances = near_duplicates(by_class(train, 1), 1e-3)
    assert pairs.shape == (0, 2) and pairs.dtype == torch.int64 and distances.shape == (0,)


def test_equal_inputs_are_all_twins():
    for inputs in (torch.ones(4, 3), torch.zeros(4, 3, dtype=torch.uint8)):
        pairs, distances = near_duplicates(by_index(Examples(inputs, FOUR.targets), [0, 2]))
        assert sorted(pairs.tolist()) == [[0, 1], [0, 3], [2, 1], [2, 3]]
        assert distances.tolist() == [0] * 4
