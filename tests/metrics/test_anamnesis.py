"""The anamnesis index: a quadratic with known times, censored times, and what it must not touch."""

import math
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from shared import ORIGIN, SGD, Bowl

from minilearn.evaluation import evaluate
from minilearn.metrics import Anamnesis, anamnesis_index, relearn_time
from minilearn.training import Training

HALF_WAY, FAR, NEAR = 0.5, 1.0, 0.05 / math.sqrt(1.05)  # the original's loss times 1.05: 0.05^2 / 2


def bowls(unlearned: float, retrained: float, original: float = NEAR, **options) -> Anamnesis:
    models = map(Bowl, (unlearned, retrained, original))
    return anamnesis_index(*models, ORIGIN, ORIGIN, config=SGD, **options)


def test_the_quadratic_from_two_starts_has_22_over_29():
    found = bowls(HALF_WAY, FAR)
    assert found.target == pytest.approx(0.05**2 / 2)
    assert (found.unlearned, found.retrained) == ((22,) * 5, (29,) * 5)
    assert found.ratios == ((22 / 29, 22 / 29),) * 5
    assert found.median == found.range == (22 / 29, 22 / 29)
    assert "AIN 0.759, range 0.759 to 0.759 over 5 of 5 seeds" in repr(found)


def test_the_anchors():
    assert bowls(FAR, FAR).median == (1, 1)  # the retrained model
    assert bowls(NEAR, FAR).median == (0, 0)  # the original
    assert bowls(10 * FAR, FAR).median[0] > 1.7  # worse than never having learnt


def test_a_larger_alpha_is_reached_sooner():
    """Loss times 1 + alpha = distance times its root: log(0.9) counts the steps saved."""
    found = bowls(FAR, FAR, alpha=1.05 * 1.44 - 1)
    assert found.unlearned == (math.ceil(math.log(0.06) / math.log(0.9)),) * 5


def test_a_missed_target_is_censored_not_counted():
    found = bowls(FAR, HALF_WAY, cap=25, seeds=3)  # 29 and 22 steps
    assert (found.unlearned, found.retrained) == ((None,) * 3, (22,) * 3)
    assert found.median == found.range == (25 / 22, math.inf)
    assert "AIN > 1.14" in repr(found) and "unlearned > 25 > 25 > 25" in repr(found)
    found = bowls(HALF_WAY, FAR, cap=25, seeds=3)
    assert found.median == (0, 22 / 25) and found.retrained == (None,) * 3
    assert "AIN < 0.88" in repr(found) and "retrained > 25 > 25 > 25" in repr(found)


def test_where_it_is_undefined_it_says_why():
    found = bowls(FAR, HALF_WAY, cap=5)
    assert found.median is None and found.range is None
    assert "undefined: neither model reaches the target within 5 steps" in repr(found)
    found = bowls(FAR, NEAR)
    assert found.ratios == (None,) * 5
    assert "undefined: the retrained model is at the target before any step" in repr(found)


def test_the_median_is_over_seeds_and_keeps_what_censoring_leaves_open():
    found = Anamnesis((10, 20, None, 40, None), (10, 10, 10, None, None), 0.1, 50)
    assert found.ratios == ((1, 1), (2, 2), (5, math.inf), (0, 40 / 50), None)
    assert found.median == (1.5, 1.5)  # of 0 1 2 5 and of 0.8 1 2 inf
    assert found.range == (0, math.inf)
    assert "AIN 1.5, range 0 to inf over 4 of 5 seeds" in repr(found)
    found = Anamnesis((30, 10), (None, 5), 0.1, 50)
    assert "AIN 1 to 1.3, range 0 to 2" in repr(found)


times = st.lists(st.tuples(*[st.one_of(st.none(), st.integers(0, 9))] * 2), min_size=1, max_size=7)


@given(times, st.lists(st.integers(10, 99), min_size=14, max_size=14))
def test_the_bounds_hold_whatever_the_censored_times_are(pairs, beyond):
    """Fill in any time above the cap: the index that would have been seen lies within the pair."""
    found = Anamnesis(*zip(*pairs, strict=True), 0.1, 9)
    true = [[b if t is None else t for t, b in zip(p, beyond, strict=False)] for p in pairs]
    known = [r is not None for r in found.ratios]
    ratios = [u / r for (u, r), k in zip(true, known, strict=True) if k]
    assert bool(ratios) == (found.median is not None)
    if ratios:
        low, high = found.median
        assert low <= statistics.median(ratios) <= high
        assert found.range[0] <= min(ratios) and max(ratios) <= found.range[1]
    assert repr(found).startswith("Anamnesis(AIN ") and "nan" not in repr(found)


@pytest.fixture
def nets(tiny_net):
    """Unlearned, retrained, original: untrained weights will do."""
    return [tiny_net(seed=s) for s in range(3)]


QUICK = {"config": Training(lr=0.01, batch_size=8), "cap": 40, "seeds": 2}


@pytest.mark.parametrize("published", [False, True])
def test_no_model_is_changed_and_no_generator(classification, nets, everything_of, published):
    """Weights, buffers, gradients and flags; also of a model that is handed in twice."""
    nets[0].train(), nets[1].eval(), nets[1].body[1].train()
    nets[2].head.bias.requires_grad_(False)
    before, state = [everything_of(net) for net in nets], torch.get_rng_state()
    anamnesis_index(*nets, classification, classification, published=published, **QUICK)
    anamnesis_index(nets[1], *nets[1:], classification, classification, **QUICK)
    assert [everything_of(net) for net in nets] == before
    assert torch.equal(torch.get_rng_state(), state)


def test_any_order_of_calls_gives_the_same(classification, nets):
    """The fault of relearning in place: the denominator shrinks from call to call."""

    def index(net) -> Anamnesis:
        return anamnesis_index(net, *nets[1:], classification, classification, **QUICK)

    first = index(nets[0]), index(nets[1]), index(nets[2])
    torch.rand(5)
    assert (index(nets[2]), index(nets[1]), index(nets[0]))[::-1] == first


def test_the_index_of_the_retrained_model_is_exactly_1(classification, tiny_net):
    """The stream is shared, dropout included; as published, each has a shuffle of its own."""

    def loss(seed: int) -> float:
        return evaluate(tiny_net(seed=seed), classification).loss.mean().item()

    low, *_, high = sorted(range(8), key=loss)  # the original has a head start
    nets = [tiny_net(seed=seed) for seed in (high, high, low)]
    given = (*nets, classification, classification)
    easy = {**QUICK, "alpha": 0.0, "seeds": 4}
    same = anamnesis_index(*given, **easy)
    assert same.ratios == ((1.0, 1.0),) * 4
    other = anamnesis_index(*given, published=True, **easy)
    assert other.unlearned != other.retrained
    assert other.unlearned[0] == relearn_time(
        nets[1], classification, classification, other.target, published=True, cap=40,
        config=QUICK["config"], seed=0,
    )  # fmt: skip


def test_the_published_form_counts_otherwise():
    """A step before the first look, and the cap where the target is missed."""
    assert bowls(NEAR, FAR, published=True).median == (1 / 29, 1 / 29)
    found = bowls(FAR, NEAR, cap=25, published=True)
    assert found.median == (25, 25) and None not in found.unlearned + found.retrained


def test_its_cap_is_ten_epochs():
    """Of 12 examples in batches of 4 an epoch has three steps, in batches of 5 as well."""
    assert (bowls(FAR, NEAR).cap, bowls(FAR, NEAR, published=True).cap) == (1000, 30)
    models, config = map(Bowl, (FAR, FAR, NEAR)), Training(lr=0.0, batch_size=5)
    found = anamnesis_index(*models, ORIGIN, ORIGIN, config=config, seeds=1, published=True)
    assert found.cap == 30 and found.unlearned == found.retrained == (30,)


def test_relearning_in_place_shrinks_the_denominator(classification):
    """The planted fault, by hand: three methods that are the same, the last looks best."""
    retrained, found = Bowl(FAR), []
    for _ in range(3):
        time = relearn_time(retrained, ORIGIN, ORIGIN, 0.05**2 / 2, config=SGD, published=True)
        found.append(22 / time)
        retrained = Bowl(FAR * 0.9 ** (29 if len(found) == 1 else 30))
    assert found == [22 / 29, 22, 22]  # 29 steps, then 1 and 1
    assert [bowls(HALF_WAY, FAR, published=True).median[0] for _ in range(3)] == [22 / 29] * 3


@pytest.mark.parametrize(
    "says, change",
    [
        ("alpha must be a finite number from 0 on, got -0.1", {"alpha": -0.1}),
        ("from 0 on, got nan", {"alpha": math.nan}),
        ("from 0 on, got '5 %'", {"alpha": "5 %"}),
        ("seeds must be a whole number of at least 1", {"seeds": 0}),
        ("seeds must be a whole number of at least 1", {"seeds": [0, 1]}),
        ("cap must be a whole number of at least 1", {"cap": 0}),
        ("every must be a whole number of at least 1", {"every": -1}),
        ("config must be a Training", {"config": None}),
        ("no examples", {"data": []}),
        ("no examples", {"probe": []}),
        ("without targets", {"probe": torch.zeros(4, 6)}),
        ("Module", {"original": None}),
        ("Module", {"unlearned": "model"}),
        ("Module", {"retrained": 3}),
    ],
)
def test_clear_errors(classification, nets, says, change):
    given = dict(zip(("unlearned", "retrained", "original"), nets, strict=True))
    given |= {"data": classification, "probe": classification, "cap": 3, "seeds": 1}
    with pytest.raises(ValueError, match=says):
        anamnesis_index(**given | change)
