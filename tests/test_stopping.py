"""`run.epochs(until=...)`: a run ends at the very step, however late the answer is read."""

import pytest
import torch
from shared import descend
from tape import Tape
from torch import nn

from minilearn.data import Examples
from minilearn.evaluation import recognised
from minilearn.fingerprints import fingerprint
from minilearn.run import Run
from minilearn.stopping import Stop
from minilearn.training import Training, fit

RECIPE = Training(epochs=5, batch_size=6, lr=1e-2)


def counting(after: int):
    """True from the given call on, and how often it was asked."""
    asked = []

    def until(model) -> torch.Tensor:
        assert not model.training and not torch.is_grad_enabled()
        asked.append(1)
        return torch.tensor(len(asked) > after)

    return until, asked


@pytest.mark.parametrize("steps", [1, 3, 4, 5, 9])
def test_it_ends_after_the_step_that_makes_it_true(tiny_net, classification, steps):
    """24 examples are four steps an epoch: in an epoch, at its end, and in the next."""
    until, asked = counting(steps + (steps - 1) // 4)  # and one more before every epoch
    net, seen = tiny_net(), []

    def watch(epoch, model) -> dict:
        seen.append(fingerprint(model))
        return {}

    history = descend(net, classification, RECIPE, until=until, watch=watch)
    assert len(history.loss) == steps and len(history.epochs) == -(-steps // 4)
    plain = tiny_net()
    whole = fit(plain, classification, Training(-(-steps // 4), 6, 1e-2))
    assert torch.equal(whole.loss[:steps], history.loss)
    assert seen[-1] == fingerprint(net)
    assert (fingerprint(plain) == fingerprint(net)) == (steps % 4 == 0)


@pytest.mark.parametrize("every", [2, 3, 4, 16])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_read_late_it_leaves_the_same_weights(tiny_net, classification, late, every, optimizer):
    """Weights, statistics of batch normalisation and losses, bit for bit; dropout draws too."""
    recipe = Training(5, 6, 1e-2, optimizer)
    found = []
    for setting in (1, every):
        late(setting)
        net, start = tiny_net(), tiny_net().head.weight

        def until(model, start=start):
            return (model.head.weight - start).norm() > 0.1

        history = descend(net, classification, recipe, until=until)
        found.append((fingerprint(net), history.loss.tolist()))
    assert found[0] == found[1]
    assert 1 < len(found[0][1]) < 20


def test_a_loop_that_does_not_end_when_it_is_over_is_refused(tiny_net, classification):
    net, ends = tiny_net(), iter([False, True])
    with Run(net, progress=False) as run, pytest.raises(ValueError, match="leave the loop at run"):
        run.adam(1e-2)
        for _ in run.epochs(1, until=lambda model: torch.tensor(next(ends))):
            for x, _ in run.batches(classification, 6):
                run.step(lambda x: net(x).square().mean(), x)


def test_true_before_the_first_step_trains_nothing(tiny_net, classification):
    net = tiny_net()
    before = fingerprint(net)
    history = descend(net, classification, RECIPE, until=lambda model: torch.tensor(True))
    assert fingerprint(net) == before and not len(history.loss) and not history.epochs


def test_a_resumed_run_stops_where_it_had_stopped(tiny_net, classification, tmp_path):
    def until(model) -> torch.Tensor:
        return model.head.weight.square().sum() > limit

    limit = float("inf")
    fit(net := tiny_net(), classification, Training(3, 6, 1e-2))
    limit = net.head.weight.square().sum().item()
    options = {"until": until, "checkpoint": tmp_path / "run"}
    one, again = tiny_net(), tiny_net()
    first = descend(one, classification, RECIPE, **options)
    second = descend(again, classification, RECIPE, **options)
    assert fingerprint(one) == fingerprint(again) and torch.equal(first.loss, second.loss)


@pytest.mark.parametrize(
    "until, sentence",
    [
        ("soon", "until must be a function"),
        (lambda model: True, "until must return one boolean"),
        (lambda model: torch.tensor(1.0), "until must return one boolean"),
        (lambda model: torch.tensor([True]), "until must return one boolean"),
    ],
)
def test_bad_rules_are_one_sentence(tiny_net, classification, until, sentence):
    with pytest.raises(ValueError, match=sentence):
        descend(tiny_net(), classification, RECIPE, until=until)


def test_a_step_undone_gives_back_buffers_and_parameters():
    net = nn.BatchNorm1d(2)
    stop = Stop(net, lambda model: model.weight.sum() > 3)
    stop.every = 16
    assert stop.before_epoch() is False
    for weight, mean in ((1.0, 1.0), (2.0, 2.0), (5.0, 3.0), (0.0, 4.0)):
        stop.before_step()
        with torch.no_grad():
            net.weight.fill_(weight), net.running_mean.fill_(mean)
        stop.after_step()
        assert not stop.known
    # true after the second step, whose weights sum to 4: the later two are undone
    assert net.weight.tolist() == [2.0, 2.0] and net.running_mean.tolist() == [2.0, 2.0]
    assert stop.taken() == 2


def test_whether_items_are_recognised_is_asked_without_a_wait():
    """The question of L2UL after every step; a GPU's answers are then read together."""
    items = Examples(torch.randn(40, 6), torch.arange(40) % 3)
    net = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3))
    expected = net.eval()(items.inputs).argmax(1) == items.targets
    with Tape():
        found = recognised(net, items, 3, True)
    assert torch.equal(found, expected)
    with pytest.raises(ValueError, match="4 classes are needed, but the model has 3"):
        recognised(net, items, 4, True)
