"""The schedule by plateau against torch's own, and a run that goes on with the same rates."""

import dataclasses
import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from shared import same, weights
from tape import taped
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from minilearn.methods import retrain
from minilearn.precision import fast
from minilearn.training import Best, Plateau, Training, fit
from minilearn.unlearned import History

# Any rise ends an epoch's patience, so that the rate falls often.
HASTY = Training(10, 7, 0.1, schedule=Plateau(0.5, 0, "loss"))


def seen(losses) -> History:
    return History(epochs=[{"epoch": i, "validation": v} for i, v in enumerate(losses, 1)])


def torchs(losses, lr: float, factor: float, patience: int) -> list[float]:
    """The rate of every epoch, and of the one after the last, by torch."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = ReduceLROnPlateau(optimizer, mode="min", factor=factor, patience=patience)
    rates = [lr]
    for loss in losses:
        optimizer.step()
        scheduler.step(loss)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


@given(
    losses=st.lists(st.sampled_from([0.0, 1.0, 0.99995, 0.9998, 2.0, math.inf, math.nan])),
    factor=st.sampled_from([0.1, 0.5, 0.9]),
    patience=st.integers(0, 3),
    lr=st.sampled_from([1e-2, 3e-8]),
)
@example(losses=[1.0, 0.99995, 0.9999], factor=0.5, patience=0, lr=1e-2)  # falls too small
@example(losses=[1.0, 0.9998, 0.9998], factor=0.5, patience=0, lr=1e-2)
@example(losses=[1.0, 1.0, 1.0], factor=0.9, patience=0, lr=3e-8)  # a rate too small to fall
def test_the_rates_are_torchs_bit_for_bit(losses, factor, patience, lr):
    schedule = Plateau(factor, patience)
    rates = [schedule.rate(lr, i, seen(losses[:i])) for i in range(len(losses) + 1)]
    assert rates == torchs(losses, lr, factor, patience)


def test_the_published_one_falls_after_the_eleventh_epoch_without_a_fall():
    config = Training.paper("agedb", "blindspot")
    losses = [3.0, 2.0] + [2.0] * 30
    rates = [config.lr_at(i, seen(losses[:i])) for i in range(len(losses) + 1)]
    assert rates == pytest.approx([1e-2] * 13 + [1e-3] * 11 + [1e-4] * 9)


def test_the_mean_training_loss_of_an_epoch_can_be_followed():
    schedule = Plateau(0.5, 0, "loss")
    history = History(torch.tensor([9.0, 1.0, 4.0, 5.9, 5.0, 5.0]))  # means 5, 4.95, 5: two a epoch
    rates = [schedule.rate(1.0, i, History(history.loss[: 2 * i])) for i in range(4)]
    assert rates == [1.0, 1.0, 1.0, 0.5]


def by_hand(net, data, config, seed: int) -> list[float]:
    """Adam and torch's scheduler in plain torch; returns the rates."""
    optimizer = torch.optim.Adam(net.parameters(), config.lr)
    plan = config.schedule
    scheduler = ReduceLROnPlateau(optimizer, factor=plan.factor, patience=plan.patience)
    torch.manual_seed(seed)
    order = torch.Generator().manual_seed(seed)
    net.train()
    rates = []
    for _ in range(config.epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        losses = []
        for part in torch.randperm(len(data), generator=order).split(config.batch_size):
            loss = nn.functional.cross_entropy(net(data.inputs[part]), data.targets[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        scheduler.step(sum(losses) / len(losses))
    return rates


def test_fit_is_the_plain_loop_with_torchs_scheduler(tiny_net, classification):
    ours, plain = tiny_net(), tiny_net()
    fit(ours, classification, HASTY, seed=5)
    rates = by_hand(plain, classification, HASTY, 5)
    assert 2 <= len(set(rates)) < HASTY.epochs  # it fell, and not after every epoch
    assert same(weights(ours), weights(plain))


@pytest.mark.parametrize("follows", ["loss", "validation"])
def test_it_goes_on_from_a_checkpoint_with_the_same_bits(
    tiny_net, classification, tmp_path, follows
):
    config = dataclasses.replace(HASTY, schedule=Plateau(0.5, 0, follows))
    other = classification.with_targets(classification.targets.flip(0))  # on which it gets worse

    def run(net, watch, file=None):
        return fit(net, classification, config, seed=3, watch=watch, checkpoint=file)

    whole, stopped, resumed = (tiny_net() for _ in range(3))
    expected = run(whole, Best(other))
    for stop in (2, 4):  # twice, and the second time in the part that is resumed

        class Stopping(Best):
            def __call__(self, epoch, net, stop=stop):
                if epoch == stop:
                    raise KeyboardInterrupt
                return super().__call__(epoch, net)

        with pytest.raises(KeyboardInterrupt):
            run(stopped, Stopping(other), tmp_path / "run")
    history = run(resumed, Best(other), tmp_path / "run")
    assert same(weights(whole), weights(resumed))
    assert torch.equal(history.loss, expected.loss) and history.epochs == expected.epochs
    constant = tiny_net()
    fit(constant, classification, dataclasses.replace(config, schedule="constant"), seed=3)
    assert not same(weights(whole), weights(constant))


def test_another_validation_set_is_another_run(tiny_net, classification, tmp_path):
    """Its losses are in the file, and decide the rates: half of them would be of another set."""
    config = dataclasses.replace(HASTY, schedule=Plateau(0.5, 0))
    other = classification.with_targets(classification.targets.flip(0))

    def run(watch, config=config, name="run"):
        return fit(tiny_net(), classification, config, watch=watch, checkpoint=tmp_path / name)

    first = run(Best(classification))
    with pytest.raises(ValueError, match="validation"):
        run(Best(other))
    with pytest.raises(ValueError, match="validation"):  # a loss in another unit, too
        run(Best(classification, "squared"))
    assert run(Best(classification)).epochs == first.epochs
    constant = dataclasses.replace(config, schedule="constant")  # here it decides nothing
    run(Best(classification), constant, "constant")
    with pytest.warns(UserWarning, match="10 epochs under another watch"):
        run(Best(other), constant, "constant")


def test_recorded_steps_follow_it(tiny_net, classification):
    """A rate that changes makes what was recorded before worthless."""
    plain, recorded = tiny_net(dropout=0.0), tiny_net(dropout=0.0)
    with fast(torch.float32):
        fit(plain, classification, HASTY, seed=2)
    with taped() as tapes, fast(torch.float32, graph=True):
        fit(recorded, classification, HASTY, seed=2)
    assert len(tapes) > 1
    for one, other in zip(weights(plain), weights(recorded), strict=True):
        torch.testing.assert_close(one, other)


def test_methods_that_train_pass_it_on(tiny_net, classification):
    config = dataclasses.replace(HASTY, schedule=Plateau(0.5, 0))
    result = retrain(tiny_net, classification, config=config, watch=Best(classification))
    assert len(result.history.epochs) == config.epochs


def test_what_nobody_measures_is_one_sentence(tiny_net, classification):
    config = dataclasses.replace(Training.paper("agedb", "blindspot"), loss="auto")
    net = tiny_net()
    before = weights(net)
    with pytest.raises(
        ValueError, match="follows 'validation', which nobody measures: give watch="
    ):
        fit(net, classification, config)
    assert same(before, weights(net))  # before any step
    for found in ({"other": 1.0}, {"validation": "low"}, {"validation": torch.zeros(2)}):
        with pytest.raises(ValueError, match="which watch does not return as a number"):
            fit(tiny_net(), classification, config, watch=lambda epoch, net, found=found: found)
    with pytest.raises(ValueError, match="which watch does not return as a number"):
        config.lr_at(1)


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"factor": 1.0}, r"factor must be a number in \(0, 1\), got 1.0"),
        ({"factor": 0}, r"factor must be a number in \(0, 1\)"),
        ({"factor": "0.1"}, "factor must be a number"),
        ({"patience": -1}, "patience must be a whole number of at least 0, got -1"),
        ({"patience": 1.5}, "patience must be a whole number"),
        ({"follows": ""}, "follows is the name of a loss, got ''"),
        ({"follows": None}, "follows is the name of a loss, got None"),
    ],
)
def test_bad_settings_are_one_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        Plateau(**options)


@pytest.mark.parametrize("schedule", ["plateau", None, 3, Plateau, ["cosine"]])
def test_another_schedule_is_one_sentence(schedule):
    with pytest.raises(ValueError, match="schedule is one of"):
        Training(schedule=schedule)
