"""SISA forgets exactly: bit for bit what training without the forgotten items gives."""

import dataclasses
import itertools

import pytest
import torch
from shared import Pairs
from torch import nn

from minilearn.data import Examples
from minilearn.evaluation import evaluate
from minilearn.fingerprints import fingerprint
from minilearn.methods import SISA, sharded, sisa
from minilearn.methods.sisa import Ensemble
from minilearn.requests import by_class, by_index
from minilearn.training import Training

CONFIG = SISA(3, 2, Training(3, 4, 1e-2))


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.fixture
def records(classification):
    return sharded(small, classification, config=CONFIG, seed=2)


def anew(records, *requests):
    """All shards from the start, in the same places, without what these requests forget."""
    nothing = {"weights": ((),) * len(records.weights), "forgotten": torch.zeros(24).bool()}
    gone = torch.stack([request.mask for request in requests]).any(0)
    return sisa(
        dataclasses.replace(records, **nothing), by_index(records.train, gone.nonzero()[:, 0])
    )


def test_deletion_is_training_anew_bit_for_bit(records, classification):
    request = by_index(classification, [1, 5, 8])
    after = sisa(records, request)
    expected = anew(records, request)
    assert fingerprint(after.result.model) == fingerprint(expected.result.model)
    assert fingerprint(after.result.model) != fingerprint(records.result.model)
    # and so is a second request after the first
    second = by_index(classification, [2, 11])
    twice = sisa(after, second)
    both = anew(records, request, second)
    assert fingerprint(twice.result.model) == fingerprint(both.result.model)


def test_only_what_held_the_item_is_trained(records, classification):
    """From its slice on, in its shard; counted in samples."""
    for item in range(6):
        place = int(records.place[item])
        shard, number = divmod(place, 2)
        after = sisa(records, by_index(classification, [item]))
        for other in range(3):
            same = all(
                fingerprint(a) == fingerprint(b)
                for a, b in zip(records.weights[other], after.weights[other], strict=True)
            )
            assert same == (other != shard)
        sizes = [int((records.place == 2 * shard + r).sum()) for r in (0, 1)]
        sizes[number] -= 1
        passes = (sizes[0] if number == 0 else 0) + sum(sizes)
        assert after.result.cost.samples == 3 * passes * CONFIG.epochs_a_slice
    assert CONFIG.epochs_a_slice == 2  # 2 E / (R + 1)


@pytest.mark.parametrize("slices, whole, each", [(1, 4, 4), (2, 6, 4), (3, 6, 3), (5, 6, 2)])
def test_all_slices_together_take_the_passes_of_a_whole_shard(classification, slices, whole, each):
    """e times slice 1, then 1 and 2, ..., then 1 to R: e (R + 1) / 2 = E passes in all."""
    config = SISA(1, slices, Training(whole, 30, 1e-2))
    assert config.epochs_a_slice == each
    data = classification[: 20 if slices == 5 else 24]  # slices of one size
    cost = sharded(small, data, config=config).result.cost
    assert cost.forward.total() == cost.backward.total() == whole * len(data)


def test_the_number_of_processes_does_not_count(classification):
    def run(jobs):
        return sharded(lambda: nn.Linear(6, 3), classification, config=CONFIG, jobs=jobs)

    one, two = run(1), run(2)
    assert fingerprint(one.result.model) == fingerprint(two.result.model)
    assert one.result.cost.by_source() == two.result.cost.by_source()


def test_shards_and_slices_share_out_the_set(records):
    counts = records.place.bincount()
    assert len(counts) == 6 and counts.tolist() == [4] * 6


def test_the_parts_are_drawn_by_the_seed(records, classification):
    for seed, same in ((2, True), (3, False)):
        other = sharded(small, classification, config=CONFIG, seed=seed)
        assert torch.equal(records.place, other.place) == same
    assert not torch.equal(records.place, torch.arange(24) % 6)


def test_every_seed_and_every_shard_has_first_weights_of_its_own(classification):
    still = SISA(2, 1, Training(1, 24, 1e-12))  # the first weights stay where they are
    found = [sharded(small, classification, config=still, seed=seed) for seed in (2, 2, 3)]
    first = [states[0]["tensors"]["0.weight"] for done in found for states in done.weights]
    for one, other in ((0, 2), (1, 3)):
        torch.testing.assert_close(first[one], first[other])
    different = first[0], first[1], first[4], first[5]
    for one, other in itertools.combinations(different, 2):
        assert (one - other).abs().max() > 0.1


def test_the_answer_is_the_mean_of_probabilities(records, classification):
    model = records.result.model.eval()
    x = classification.inputs
    mean = sum(member(x).softmax(1) for member in model.members) / 3
    torch.testing.assert_close(model(x).exp(), mean)
    assert evaluate(model, classification).correct.double().mean() > 0.4


def test_a_class_is_gone_and_a_shard_with_nothing_left_has_no_say(records, classification):
    after = sisa(records, by_class(classification, 1))
    assert bool(after.forgotten.equal(classification.targets == 1))
    emptied = by_index(classification, (records.place < 2).nonzero().flatten())
    left = sisa(records, emptied).result.model
    assert isinstance(left, Ensemble) and len(left.members) == 2


def test_with_batch_normalisation_a_shard_of_one_has_no_say(classification):
    """It cannot train on a single example, and first weights have nothing to say."""

    def normalised():
        return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))

    config = SISA(2, 1, Training(2, 4, 1e-2))
    records = sharded(normalised, classification, config=config)
    first = (records.place == 0).nonzero()[:, 0]
    assert len(records.result.model.members) == 2
    left = sisa(records, by_index(classification, first[1:]))
    assert len(left.result.model.members) == 1
    assert fingerprint(left.result.model.members[0]) == fingerprint(records.result.model.members[1])
    second = (records.place == 1).nonzero()[:, 0]
    with pytest.raises(ValueError, match="no shard has two examples left"):
        sisa(left, by_index(classification, second[1:]))


def test_the_expected_number_of_shards_touched():
    """S (1 - (1 - 1/S)^k), by drawing."""
    draws = torch.randint(0, 5, (20_000, 4), generator=torch.Generator().manual_seed(0))
    touched = torch.stack([(draws == s).any(1) for s in range(5)]).sum(0).double().mean()
    assert abs(touched - 5 * (1 - 0.8**4)) < 0.02


def test_nothing_given_is_changed(records, classification):
    before = fingerprint((records.result.model, records.weights, records.forgotten, classification))
    state = torch.get_rng_state()
    sisa(records, by_index(classification, [1]))
    assert before == fingerprint(
        (records.result.model, records.weights, records.forgotten, classification)
    )
    assert torch.equal(state, torch.get_rng_state())


def test_a_request_over_a_dataset_is_a_sentence(records, classification):
    with pytest.raises(ValueError, match="a Request over the set that the records are of"):
        sisa(records, by_index(Pairs(classification), [0]))


def test_bad_input(records, classification, regression):
    def fresh():
        return nn.Linear(6, 3)

    with pytest.raises(ValueError, match="give Examples with class labels"):
        sharded(fresh, regression, config=CONFIG)
    with pytest.raises(ValueError, match="give Examples with class labels"):
        sharded(fresh, classification.inputs, config=CONFIG)
    with pytest.raises(ValueError, match="11 examples are too few for 6 slices"):
        sharded(fresh, classification[:11], config=CONFIG)
    with pytest.raises(ValueError, match="config must be a SISA"):
        sharded(fresh, classification, config=Training())
    with pytest.raises(ValueError, match="jobs must be"):
        sharded(fresh, classification, config=CONFIG, jobs=0)
    with pytest.raises(ValueError, match="over the set that the records are of"):
        sisa(records, by_index(classification[:20], [1]))
    for other in (
        Examples(-classification.inputs, classification.targets),
        classification.with_targets(classification.targets.flip(0)),
    ):
        with pytest.raises(ValueError, match="over the set that the records are of"):
            sisa(records, by_index(other, [1]))
    with pytest.raises(ValueError, match="over the set that the records are of"):
        sisa(records, [1])
    with pytest.raises(ValueError, match="records are what sharded.* returns, got int"):
        sisa(3, by_index(classification, [1]))
    most = sisa(records, by_index(classification, range(20)))
    with pytest.raises(ValueError, match="nothing is retained"):
        sisa(most, by_index(classification, range(18, 24)))
    for wrong in ({"shards": 0}, {"slices": 1.5}, {"training": 3}):
        with pytest.raises(ValueError, match="must be"):
            SISA(**wrong)
