"""Gaussian-Amnesiac: the draw against its formula and its law, the training against plain steps."""

import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F
from shared import Pairs, bits
from torch import nn
from torch.utils.data import Dataset

from minilearn.data import Examples, Unlabelled, without_targets
from minilearn.draws import normal
from minilearn.fingerprints import fingerprint
from minilearn.losses import Quantile, loss_per_example
from minilearn.methods import METHODS, Amnesiac, amnesiac, unlearn
from minilearn.methods.amnesiac import gaussian_targets
from minilearn.requests import by_index, by_range

CASE = {"access": ("model", "forget", "retain"), "task": "regression"}

SHORT = Amnesiac(epochs=2, batch_size=5, lr=1e-2)
ALONE = dataclasses.replace(SHORT, gaussian="retain")


def spread(values: list[float]) -> tuple[float, float]:
    """Mean and deviation of a population, by hand."""
    mean = sum(values) / len(values)
    return mean, (sum((v - mean) ** 2 for v in values) / len(values)) ** 0.5


# ---- the draw


@pytest.mark.parametrize("config", [Amnesiac(), Amnesiac(gaussian="retain")])
@pytest.mark.parametrize("seed", [0, 12])
def test_a_target_is_mean_plus_deviation_times_a_normal_number(regression, config, seed):
    forget, retain = regression[:7], regression[7:]
    drawn = gaussian_targets(forget, retain, config, seed)
    whose = regression if config.gaussian == "train" else retain
    mean, deviation = spread(whose.targets.tolist())
    z = normal(seed, torch.arange(7)).tolist()
    assert drawn.shape == (7,) and drawn.dtype == torch.float32
    assert drawn.tolist() == pytest.approx([mean + deviation * e for e in z], rel=1e-5)


@pytest.mark.parametrize("shape", [(3,), (2, 4), (1,)])
def test_every_component_of_several_targets_has_a_gaussian_of_its_own(shape):
    generator = torch.Generator().manual_seed(0)
    scale = torch.arange(1.0, 1 + torch.tensor(shape).prod()).view(shape)
    targets = 100 * scale + scale * torch.randn(11, *shape, generator=generator)
    data = Examples(torch.zeros(11, 2), targets)
    drawn = gaussian_targets(data[:4], data[4:], Amnesiac(), 3)
    size = scale.numel()
    z = normal(3, torch.arange(4 * size)).view(4, size)  # one number of its own for each
    for column in range(size):
        mean, deviation = spread(targets.flatten(1)[:, column].tolist())
        found = drawn.flatten(1)[:, column].tolist()
        assert found == pytest.approx([mean + deviation * e for e in z[:, column].tolist()])
    assert drawn.shape == (4, *shape)


def test_many_draws_have_that_mean_that_deviation_and_that_law():
    from scipy.stats import kstest

    targets = 40 + 13 * torch.randn(20_500, generator=torch.Generator().manual_seed(1))
    data = Examples(torch.zeros(20_500, 1), targets)
    mean, deviation = spread(targets.double().tolist())
    drawn = gaussian_targets(data[:20_000], data[20_000:], seed=5).double()
    assert abs(drawn.mean() - mean) < 4 * deviation / 20_000**0.5
    assert abs(drawn.std() / deviation - 1) < 0.02
    assert kstest(drawn.numpy(), "norm", args=(mean, deviation)).pvalue > 1e-3
    assert abs(torch.corrcoef(torch.stack([drawn, targets[:20_000].double()]))[0, 1]) < 0.03


def test_a_draw_depends_on_seed_and_position_alone(regression):
    retain = regression[12:]
    many, few = (gaussian_targets(regression[:n].inputs, retain, ALONE, 2) for n in (12, 5))
    assert torch.equal(many[:5], few)  # how many others are forgotten does not matter
    assert not torch.isclose(many, gaussian_targets(regression[:12].inputs, retain, ALONE, 3)).any()
    torch.manual_seed(50)
    assert torch.equal(many, gaussian_targets(regression[:12].inputs, retain, ALONE, 2))
    # nor what they are: neither their inputs nor, beyond mean and deviation, their targets
    other = regression[12:24].inputs * 0
    assert torch.equal(many, gaussian_targets(other, retain, ALONE, 2))
    turned = regression[:12].with_targets(regression.targets[:12].flip(0))
    first, second = (gaussian_targets(f, retain) for f in (regression[:12], turned))
    torch.testing.assert_close(first, second)


def test_clipping_keeps_to_the_range_of_the_targets():
    targets = torch.tensor([0.0, 10.0] * 50)  # few numbers are so far inside two deviations
    data = Examples(torch.zeros(100, 1), targets)
    free = gaussian_targets(data[:60], data[60:])
    held = gaussian_targets(data[:60], data[60:], Amnesiac(clip=True))
    assert free.min() < 0 and free.max() > 10
    assert torch.equal(held, free.clamp(0, 10))
    # each component in its own range; of the retained targets if theirs is the Gaussian
    pairs = Examples(torch.zeros(100, 1), torch.stack([targets, 5 + targets / 100], 1))
    held = gaussian_targets(pairs[:60], pairs[60:], Amnesiac(clip=True))
    assert held.amin(0).tolist() == pytest.approx([0, 5])
    assert held.amax(0).tolist() == pytest.approx([10, 5.1])
    far = data[:60].with_targets(targets[:60] + 1000)
    config = Amnesiac(clip=True, gaussian="retain")
    assert gaussian_targets(far, data[60:], config).max() <= 10


def test_one_target_for_all_is_drawn_as_it_is():
    data = Examples(torch.zeros(6, 1), torch.full((6,), 4.0))
    assert gaussian_targets(data[:2], data[2:]).tolist() == [4.0, 4.0]
    assert gaussian_targets(data[:2], data[2:3]).tolist() == [4.0, 4.0]


def test_large_targets_lose_nothing(regression):
    """A sum in float32 would: here the deviation is a millionth of the mean."""
    shifted = regression.with_targets(1e6 + regression.targets.round())
    drawn = gaussian_targets(shifted[:7], shifted[7:]).double() - 1e6
    plain = gaussian_targets(
        *(d.with_targets(d.targets.round()) for d in (regression[:7], regression[7:]))
    )
    torch.testing.assert_close(drawn, plain.double(), rtol=0, atol=0.07)  # of a float32 near 1e6


# ---- the training


@pytest.mark.parametrize("loss", ["auto", "squared", Quantile((0.2, 0.7))])
def test_two_epochs_by_hand_bit_for_bit(tiny_net, regression, loss):
    levels = len(loss.levels) if isinstance(loss, Quantile) else 1
    model, config = tiny_net(levels), dataclasses.replace(SHORT, loss=loss)
    result = amnesiac(model, regression[:9], regression[9:], config=config, seed=6)

    targets = torch.cat(
        [gaussian_targets(regression[:9], regression[9:], seed=6), regression.targets[9:]]
    )
    by_hand = copy.deepcopy(model)
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=1e-2)
    torch.manual_seed(6)
    order, losses = torch.Generator().manual_seed(6), []
    for _ in range(2):
        for part in torch.randperm(24, generator=order).split(5):
            part = torch.cat([part[part < 9], part[part >= 9]])
            out, y = by_hand(regression.inputs[part]), targets[part]
            if loss == "auto":
                value = F.l1_loss(out, y)
            else:
                value = (
                    F.mse_loss(out, y)
                    if levels == 1
                    else loss_per_example(out, y, loss=loss).mean()
                )
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            losses.append(value.item())
    assert fingerprint(result.model) == fingerprint(by_hand)  # the draw is the same in both epochs
    torch.testing.assert_close(result.history.loss, torch.tensor(losses))


def test_cost_and_what_is_returned(tiny_net, regression):
    result = amnesiac(tiny_net(1), regression[:7], regression[7:], config=SHORT, seed=3)
    assert result.cost.by_source() == {"forget": 2 * 7 * 3, "retain": 2 * 17 * 3}
    assert result.cost.seconds > 0 and len(result.history.loss) == 2 * 5
    assert (result.method, result.config, result.seed) == ("amnesiac", SHORT, 3)
    assert METHODS["amnesiac"] is amnesiac


def test_a_dataset_gives_the_bits_that_examples_give(tiny_net, regression):
    forget, retain = regression[:7], regression[7:]
    for config in (SHORT, ALONE):
        plain = amnesiac(tiny_net(1), forget, retain, config=config, seed=2)
        for given in (
            (Pairs(forget), Pairs(retain)),
            (forget, Pairs(retain)),
            (Pairs(forget), retain),
        ):
            read = amnesiac(tiny_net(1), *given, config=config, seed=2)
            assert bits(read) == bits(plain) and read.cost.by_source() == plain.cost.by_source()


def test_the_given_targets_of_the_forgotten_are_not_learnt(tiny_net, regression):
    """Only their mean and deviation enter: in another order they give the same model."""
    forget, config = regression[:8], dataclasses.replace(SHORT, epochs=1)
    runs = [
        amnesiac(tiny_net(1), forget.with_targets(y), regression[8:], config=config).history.loss
        for y in (forget.targets, forget.targets.flip(0))
    ]
    torch.testing.assert_close(*runs)


class Poison:
    """A label that nobody may look at; no number can be made of it."""

    def __getattr__(self, name):
        raise AssertionError(f"a forgotten label was read: {name}")


class Poisoned(Dataset):
    """Inputs with such labels."""

    def __init__(self, inputs):
        self.inputs = inputs

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, i):
        return self.inputs[i], Poison()

    @property
    def targets(self):
        raise AssertionError("the forgotten labels were read")


def test_with_the_retained_gaussian_no_label_is_read(tiny_net, regression, tmp_path):
    inputs, retain = regression.inputs[:7], regression[7:]
    found = bits(amnesiac(tiny_net(1), inputs, retain, config=ALONE))
    labelled = regression[:7], Pairs(regression[:7])
    hidden = (
        Poisoned(inputs),
        Unlabelled(Poisoned(inputs)),
        list(zip(inputs, [Poison()] * 7, strict=True)),
    )
    for forget in (*labelled, *hidden):
        options = {"config": ALONE, "checkpoint": tmp_path / f"{id(forget)}"}
        assert bits(amnesiac(tiny_net(1), forget, retain, **options)) == found
    with pytest.raises(AssertionError, match="labels were read"):
        amnesiac(tiny_net(1), Poisoned(inputs), retain, config=SHORT)


def test_it_moves_the_forgotten_towards_the_mean_and_keeps_the_rest():
    x = torch.rand(400, 1, generator=torch.Generator().manual_seed(1)) * 6
    data = Examples(x, x.squeeze(1))
    request = by_range(data, 0, 1)
    net = nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 1), nn.Flatten(0))
    config = Amnesiac(epochs=60, batch_size=32, lr=1e-2, loss="squared")
    new = unlearn(amnesiac, net, request, config=config).model
    inside, outside = x[data.targets < 0.8], x[data.targets > 1.4]
    with torch.no_grad():
        assert 2 < new(inside).mean() < 4  # the mean of all is 3
        assert (new(outside) - outside.squeeze(1)).abs().mean() < 0.5


def test_resuming_is_bit_for_bit(tiny_net, regression, tmp_path):
    def stop(epoch, model):
        if epoch == 2:
            raise KeyboardInterrupt
        return {}

    config = dataclasses.replace(SHORT, epochs=4)
    given = {"config": config, "seed": 8}
    whole = amnesiac(tiny_net(1), regression[:7], regression[7:], **given)
    given["checkpoint"] = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt, match="of 1 finished epochs"):
        amnesiac(tiny_net(1), regression[:7], regression[7:], watch=stop, **given)
    resumed = amnesiac(tiny_net(1), regression[:7], regression[7:], **given)
    assert bits(resumed) == bits(whole)
    assert resumed.cost.by_source() == whole.cost.by_source()


# ---- bad input


def labels(data: Examples) -> Examples:
    return data.with_targets(torch.arange(len(data)) % 3)


def same(data: Examples) -> Examples:
    return data


def nowhere(data: Examples) -> list:
    return [(x, NAN) for x in data.inputs]


NAN = float("nan")
REFUSED = {
    "class labels": (labels, labels, SHORT, "these targets are class labels$"),
    "retained labels": (without_targets, labels, ALONE, "these targets are class labels"),
    "forgotten labels": (labels, same, SHORT, "these targets are class labels"),
    "a dataset's": (lambda d: Pairs(labels(d)), same, SHORT, "these targets are class labels"),
    "inputs alone": (without_targets, same, SHORT, 'or take Amnesiac.gaussian="retain"'),
    "a dataset's inputs": (
        lambda d: Unlabelled(Pairs(d)),
        same,
        SHORT,
        "set came without: give",
    ),
    "nothing to learn from": (same, without_targets, SHORT, "inputs without targets"),
    "two shapes": (
        lambda d: d.with_targets(d.targets[:, None]),
        same,
        SHORT,
        r"must be alike, got shapes \(17,\) and \(7, 1\)",
    ),
    "NaN in what is forgotten": (nowhere, same, SHORT, "targets of 7 example"),
    "NaN in what is retained": (same, nowhere, ALONE, "targets of 17 example"),
    "another width": (
        lambda d: Examples(d.inputs[:, :4], d.targets),
        same,
        SHORT,
        "fails on a batch of torch.float32",
    ),
    "words": (lambda d: [(x, "old") for x in d.inputs], same, SHORT, "must be numbers or"),
    "another device": (
        lambda d: d.inputs.to("meta"),
        same,
        ALONE,
        "model is on cpu but the data are on meta",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_sentence(tiny_net, regression, case):
    forget, retain, config, sentence = REFUSED[case]
    model = tiny_net(1)
    with pytest.raises(ValueError, match=sentence) as caught:
        amnesiac(model, forget(regression[:7]), retain(regression[7:]), config=config)
    assert len(str(caught.value)) < 400 and fingerprint(model) == fingerprint(tiny_net(1))


@pytest.mark.parametrize("seed", [None, -1, "1", 1.5])
def test_a_seed_is_a_whole_number(tiny_net, regression, seed):
    with pytest.raises(ValueError, match="seed must be a whole number"):
        amnesiac(tiny_net(1), regression[:7], regression[7:], seed=seed)


def test_targets_that_are_not_finite_make_no_examples(regression):
    for bad in (NAN, float("inf"), -float("inf")):
        with pytest.raises(ValueError, match="targets of 1 example.* NaN or infinite"):
            regression.with_targets(regression.targets.index_fill(0, torch.tensor([3]), bad))


def test_an_empty_band_and_the_whole_band(tiny_net, regression):
    for low, high, sentence in (
        (1e3, 2e3, "nothing is to be forgotten"),
        (-1e3, 1e3, "nothing is retained"),
    ):
        with pytest.raises(ValueError, match=sentence):
            unlearn(amnesiac, tiny_net(1), by_range(regression, low, high))


def test_by_request(tiny_net, regression):
    request = by_index(regression, range(7))
    found = bits(unlearn(amnesiac, tiny_net(1), request, config=SHORT))
    assert found == bits(amnesiac(tiny_net(1), regression[:7], regression[7:], config=SHORT))


# ---- settings


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"gaussian": "all"}, r"gaussian is one of \('train', 'retain'\)"),
        ({"gaussian": None}, r"gaussian is one of \('train', 'retain'\)"),
        ({"clip": 1}, "clip is true or false"),
        ({"clip": "yes"}, "clip is true or false"),
        ({"loss": "mse"}, "loss is one of"),
        ({"epochs": -1}, "epochs must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"lr": NAN}, "lr must be"),
    ],
)
def test_settings_that_make_no_sense(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        Amnesiac(**change)
