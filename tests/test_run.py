"""`Run`, which surrounds a loop: what is given back, what is undone, what goes on from a file."""

import shutil
from collections import Counter
from contextlib import nullcontext

import pytest
import torch
from shared import Pairs, bits, cross_entropy, descend, same, weights
from torch import nn

from minilearn.checkpoint import Checkpoint
from minilearn.cost import Cost
from minilearn.data import Examples, Unlabelled, batches
from minilearn.evaluation import evaluate
from minilearn.fingerprints import fingerprint
from minilearn.models import tensors_of
from minilearn.run import Run
from minilearn.training import Training, fit
from minilearn.unlearned import NonFiniteLoss
from minilearn.values import ITEMS

SHORT = Training(epochs=3, batch_size=7, lr=1e-2)


def test_inputs_alone_with_a_loss_of_ones_own(tiny_net, classification):
    seen = []

    def loss(model, x):
        seen.append(len(x))
        return model(x).square().mean()

    for data in (classification.inputs, Unlabelled(Pairs(classification))):
        descend(tiny_net(), data, Training(epochs=1, batch_size=10), loss)
    assert seen == [10, 10, 4, 10, 10, 4]


# ---- what is given back


@pytest.mark.parametrize("where", ["loop", "watch", "writing", "nowhere"])
def test_generator_mode_and_gradients_are_given_back(tiny_net, classification, tmp_path, where):
    """Whatever breaks in the second epoch, and wherever."""
    net, folder = tiny_net(), tmp_path / "runs"
    net.eval(), net.head.train()
    flags = [part.training for part in net.modules()]
    finished = []

    def watch(epoch, model):
        finished.append(weights(model))
        if epoch == 2 and where == "watch":
            raise ArithmeticError
        if epoch == 2 and where == "writing":
            shutil.rmtree(folder)
            folder.write_text("a file where the folder was")
        return {}

    loss = stopping(4 + 2, ArithmeticError()) if where == "loop" else cross_entropy
    torch.randn(5)
    state = torch.get_rng_state()
    call = {"watch": watch, "checkpoint": folder / "run"}
    if where == "nowhere":
        descend(net, classification, SHORT, loss, **call)
    else:
        with pytest.raises(OSError if where == "writing" else ArithmeticError):
            descend(net, classification, SHORT, loss, **call)
    assert torch.equal(torch.get_rng_state(), state)
    assert [part.training for part in net.modules()] == flags
    assert all(p.grad is None for p in net.parameters())
    # an epoch that could not be written is undone, too: the model is as the file has it
    kept = {"loop": 0, "watch": 0, "writing": 0, "nowhere": 2}[where]
    assert same(weights(net), finished[kept])


def test_the_model_that_is_given_is_the_one_that_is_trained(tiny_net, classification):
    """The method's copy, and no copy of that."""
    net = tiny_net()
    held = list(net.parameters()) + list(net.buffers())
    cost = Cost(2.0, 0, Counter(forget=5))  # of what was done before
    with Run(net, SHORT, 4, cost=cost, progress=False) as run:
        run.adam(1e-2)
        for _ in run.epochs(2):
            run.step(lambda x: net(x).square().mean(), classification.inputs)
            run.cost.trained(forget=3)
        result = run.unlearned("ours")
    assert run.model is net and result.model is net
    now = [*net.parameters(), *net.buffers()]
    assert len(now) == len(held) and all(a is b for a, b in zip(now, held, strict=True))
    assert not same(weights(net), weights(tiny_net()))
    assert (result.method, result.config, result.seed) == ("ours", SHORT, 4)
    assert result.history is run.history and result.finished
    assert result.cost.forward["forget"] == 5 + 2 * 3 and result.cost.seconds > 2


def test_a_second_loop_is_refused(tiny_net, classification):
    with Run(tiny_net(), SHORT, progress=False) as run:
        run.adam(1e-2)
        for _ in run.epochs(1):
            run.step(lambda x: run.model(x).square().mean(), classification.inputs)
        with pytest.raises(ValueError, match="a second loop needs a second Run"):
            next(run.epochs(1))


@pytest.mark.parametrize("stopped", [OSError("the disk is full"), KeyboardInterrupt()])
def test_an_epoch_that_is_undone_is_not_in_the_history(
    tiny_net, classification, tmp_path, monkeypatch, stopped
):
    net, real = tiny_net(), Checkpoint.save

    def save(checkpoint, finished):
        if finished == 2:
            raise stopped
        real(checkpoint, finished)

    monkeypatch.setattr("minilearn.checkpoint.Checkpoint.save", save)
    with pytest.raises(type(stopped)), Run(net, SHORT, checkpoint=tmp_path / "run") as run:
        run.adam(1e-2)
        for _ in run.epochs(3):
            run.step(lambda x: net(x).square().mean(), classification.inputs)
    assert len(run.history.loss) == 1 and not run.history.epochs


def test_watch_sees_every_epoch_and_cannot_disturb(tiny_net, classification, tmp_path):
    nets, seen = [tiny_net() for _ in range(2)], []

    def watch(epoch, net):
        seen.append((epoch, net.training, weights(net)))
        net.train()
        torch.randn(17)
        rate = evaluate(net, classification).correct.double().mean()
        return {"accuracy": rate, "numpy": rate.numpy()[()], "vector": torch.zeros(2), "n": 3}

    history = fit(nets[0], classification, SHORT, watch=watch, checkpoint=tmp_path / "run")
    fit(nets[1], classification, SHORT)
    assert same(*map(weights, nets)) and same(seen[-1][2], weights(nets[0]))
    assert [(e, train) for e, train, _ in seen] == [(1, False), (2, False), (3, False)]
    assert [entry["epoch"] for entry in history.epochs] == [1, 2, 3]
    assert {type(v) for v in history.epochs[0].values()} == {int, float, torch.Tensor}
    # and a run that has finished is read back without a step
    again = fit(tiny_net(), classification, SHORT, watch=watch, checkpoint=tmp_path / "run")
    assert len(seen) == 3 and str(again.epochs) == str(history.epochs)


# ---- what stops a run


def stopping(when: int, error: BaseException):
    """The usual loss, which raises at the step `when`."""
    steps = iter(range(1, 10**6))

    def loss(model, x, y):
        if next(steps) == when:
            raise error
        return cross_entropy(model, x, y)

    return loss


@pytest.mark.parametrize("error", [KeyboardInterrupt, ArithmeticError("ours"), MemoryError])
def test_what_ends_an_epoch_early_leaves_the_last_finished_one(tiny_net, classification, error):
    config = Training(epochs=5, batch_size=8)
    net, expected = tiny_net(), tiny_net()
    fit(expected, classification, Training(epochs=2, batch_size=8))
    kind = error if isinstance(error, type) else type(error)
    with pytest.raises(kind) as caught:
        descend(net, classification, config, stopping(2 * 3 + 2, error))
    assert same(weights(net), weights(expected))
    if error is KeyboardInterrupt:
        assert str(caught.value) == (
            "training stopped in epoch 3 of 5; the model has the weights of 2 finished epochs"
        )


def test_a_watch_that_trains_the_model_leaves_no_trace(tiny_net, classification):
    def relearns(epoch, model):
        fit(model, classification, Training(epochs=1, lr=1.0), progress=False)
        return {"trained": 1}

    watched, alone = tiny_net(), tiny_net()
    fit(watched, classification, SHORT, watch=relearns)
    fit(alone, classification, SHORT)
    assert all(
        torch.equal(a, b) for a, b in zip(tensors_of(watched), tensors_of(alone), strict=True)
    )


def test_ctrl_c_while_watching_is_the_same(tiny_net, classification, tmp_path):
    def watch(epoch, net):
        if epoch == 2:
            raise KeyboardInterrupt
        return {}

    net, expected = tiny_net(), tiny_net()
    with pytest.raises(KeyboardInterrupt, match="of 1 finished epochs; .*run goes on from there"):
        fit(net, classification, SHORT, watch=watch, checkpoint=tmp_path / "run")
    fit(expected, classification, SHORT)
    fit(net, classification, SHORT, checkpoint=tmp_path / "run")  # the same cell run again
    assert same(weights(net), weights(expected))


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interruption_outside_every_epoch_is_as_it_came(tiny_net, classification, when):
    """Nothing was undone: there is nothing to say."""
    net = tiny_net()
    with pytest.raises(KeyboardInterrupt) as caught, Run(net, progress=False) as run:
        run.adam(1e-2)
        if when == "before":
            raise KeyboardInterrupt
        for _ in run.epochs(2):
            run.step(lambda x: net(x).square().mean(), classification.inputs)
        trained = weights(net)
        raise KeyboardInterrupt
    assert str(caught.value) == ""
    assert same(weights(net), trained if when == "after" else weights(tiny_net()))


class Counting(nn.Module):
    """Counts its calls in a buffer that no state_dict holds."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)
        self.register_buffer("calls", torch.zeros(()), persistent=False)

    def forward(self, x):
        self.calls += 1
        return self.layer(x)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_what_is_not_finite_leaves_weights_and_buffers_of_the_last_finished_epoch(
    classification, optimizer
):
    """24 examples are three steps an epoch; the eighth is in the third."""
    net, steps, finished = Counting(), iter(range(1, 100)), []

    def loss(model, x, y):
        return cross_entropy(model, x, y) * (torch.nan if next(steps) == 8 else 1)

    def watch(epoch, model):
        finished.append((weights(model), model.calls.item()))
        return {}

    with pytest.raises(NonFiniteLoss, match="became nan at step 2 of epoch 3"):
        descend(net, classification, Training(5, 8, 1e-2, optimizer), loss, watch=watch)
    assert same(weights(net), finished[1][0]) and net.calls == finished[1][1] == 6
    assert len(finished) == 2 and not same(finished[0][0], finished[1][0])


def test_a_loss_that_is_not_finite_is_one_sentence(tiny_net, classification):
    config = Training(epochs=4, batch_size=8, schedule="cosine")
    net, expected = tiny_net(), tiny_net()
    fit(expected, classification, Training(epochs=1, batch_size=8))
    steps = iter(range(1, 100))

    def loss(model, x, y):
        value = cross_entropy(model, x, y)
        return value * torch.inf if next(steps) == 5 else value

    rate = f"{config.lr_at(1):g}"  # of the epoch, and not the first one's
    with pytest.raises(NonFiniteLoss, match=f"became inf at step 2 of epoch 2; .* than {rate}"):
        descend(net, classification, config, loss)
    assert same(weights(net), weights(expected))


def test_weights_that_overflow_in_the_last_step_are_found():
    data = Examples(1e30 * torch.ones(2, 1), torch.zeros(2))
    net = nn.Sequential(nn.Linear(1, 1), nn.Flatten(0))
    before = weights(net)
    with pytest.raises(NonFiniteLoss, match="a weight became NaN or infinite"):
        fit(net, data, Training(epochs=1, lr=1e30, optimizer="sgd"))
    assert same(weights(net), before)


# ---- steps


@pytest.mark.parametrize("when", ["before", "after", "left"])
def test_a_step_belongs_into_an_epoch(tiny_net, classification, when):
    net = tiny_net()

    def loss(x):
        return net(x).square().mean()

    with Run(net, progress=False) as run:
        run.adam(1e-2)
        if when != "before":
            for _ in run.epochs(1):
                run.step(loss, classification.inputs)
        held = weights(net)
        if when != "left":
            with pytest.raises(ValueError, match="belongs inside the loop `for epoch in run.epoch"):
                run.step(loss, classification.inputs)
    if when == "left":
        with pytest.raises(ValueError, match="belongs inside the loop `for epoch in run.epochs"):
            run.step(loss, classification.inputs)
    assert same(weights(net), held)


class Weight(nn.Module):
    """One number, whose slope is 1: plain descent lowers it by the rate."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(8.0, dtype=torch.float64))


def test_a_rate_that_is_set_is_the_rate_of_the_next_step():
    net = Weight()
    with Run(net, progress=False) as run:
        first, second = run.sgd(lr=1.0), run.sgd(lr=0.5)
        for epoch in run.epochs(3):
            run.step(lambda: 1 * net.w)  # 1, then what the end of the epoch has set
            run.step(lambda: 1 * net.w, optimizer=second)
            seen = net.w.item()
            if epoch == 0:
                assert seen == 8 - 1 - 0.5
                run.set_lr(0.25)  # the first, and the first alone
            elif epoch == 1:
                assert seen == 6.5 - 0.25 - 0.5
                run.set_lr(0.125, second)
        assert seen == 5.75 - 0.25 - 0.125
    assert [o.param_groups[0]["lr"] for o in (first, second)] == [0.25, 0.125]
    assert run.history.loss.tolist() == [8, 7, 6.5, 6.25, 5.75, 5.5]  # of before each step


def test_a_loop_that_is_left_keeps_its_steps(tiny_net, classification):
    """`break` ends the run after the step that was made last."""
    x, y = classification.inputs[:8], classification.targets[:8]
    net, twin = tiny_net(), tiny_net()

    def steps(model, count: int, leave: bool):
        with Run(model, progress=False) as run:
            run.adam(1e-2)
            for _ in run.epochs(3 if leave else 1):
                for _ in range(count):
                    run.step(lambda: cross_entropy(model, x, y))
                if leave:
                    break
        return run.history.loss

    assert torch.equal(steps(net, 2, True), steps(twin, 2, False))
    assert same(weights(net), weights(twin)) and net.training
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize(
    "loss, sentence",
    [
        (lambda model, x, y: model(x), "scalar tensor that depends on the weights"),
        (lambda model, x, y: 3.0, "scalar tensor that depends on the weights"),
        (lambda model, x, y: None, "scalar tensor that depends on the weights"),
        (lambda model, x, y: x.sum(), "scalar tensor that depends on the weights"),
    ],
)
def test_silly_losses(tiny_net, classification, loss, sentence):
    net = tiny_net()
    with pytest.raises(ValueError, match=sentence):
        descend(net, classification, SHORT, loss)
    assert same(weights(net), weights(tiny_net()))


def test_an_epoch_without_a_step_is_refused(tiny_net):
    with pytest.raises(ValueError, match="gave no batch"):
        descend(tiny_net(), lambda order: [], SHORT)


# ---- several optimisers in turns


def in_turns(model, data, *rates, epochs=3, size=8, seed=2, **options):
    """A run whose steps take turns between an Adam and an SGD over the same weights; its ledger
    counts what the loop did."""
    with Run(model, rates, seed, progress=False, data=data, **options) as run:
        turns = run.adam(rates[0]), run.sgd(rates[1], momentum=0.5)
        for _ in run.epochs(epochs):
            for i, (x, y) in enumerate(batches(data, size, order=run.order)):
                run.step(lambda x, y: cross_entropy(model, x, y), x, y, optimizer=turns[i % 2])
                run.cost.trained(retain=len(x))
                run.cost.touch("other", forward=1)
    return run.unlearned("in turns")


def test_steps_take_turns_between_optimisers(tiny_net, classification):
    """The plain loop with two optimisers over the same weights, bit for bit."""
    net, plain = tiny_net(dropout=0.0), tiny_net(dropout=0.0)
    losses_of_run = in_turns(net, classification, 1e-2, 1e-1).history.loss
    first = torch.optim.Adam(plain.parameters(), 1e-2)
    second = torch.optim.SGD(plain.parameters(), 1e-1, momentum=0.5)
    order, losses = torch.Generator().manual_seed(2), []
    for _ in range(3):
        for i, (x, y) in enumerate(batches(classification, 8, order=order)):
            loss = cross_entropy(plain, x, y)
            plain.zero_grad()
            loss.backward()
            (first, second)[i % 2].step()
            losses.append(loss.item())
    assert torch.equal(losses_of_run, torch.tensor(losses))
    assert fingerprint(net) == fingerprint(plain)


class Stopped(torch.utils.data.Dataset):
    """Pairs whose reading is interrupted at the given item, counted over all epochs.

    A checkpoint reads some before, twice each, to know the data again.
    """

    def __init__(self, data, when: int, kept: bool = True):
        self.pairs, self.left = Pairs(data), when + 2 * (ITEMS + 1) * kept

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, i):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return self.pairs[i]


@pytest.mark.parametrize("item", [24 * 2 + 20, 24 * 3 + 1], ids=["in an epoch", "between two"])
def test_turns_resume_bit_for_bit_and_their_ledger_counts_what_they_did(
    tiny_net, classification, tmp_path, item
):
    """Interrupted in the third epoch or before any step of the fourth; begun anew; compared with a
    run that nothing had disturbed."""
    rates, path = (1e-2, 1e-1), tmp_path / "run"
    whole = in_turns(tiny_net(), Stopped(classification, 0, kept=False), *rates, epochs=4)
    stopped = tiny_net()
    with pytest.raises(KeyboardInterrupt, match=f"of {(item - 1) // 24} finished epochs; "):
        in_turns(stopped, Stopped(classification, item), *rates, epochs=4, checkpoint=path)
    held = path.read_bytes()
    for net in (stopped, tiny_net()):  # the same model goes on, or a new one takes its place
        path.write_bytes(held)
        for done in (False, True):  # what has finished is read, and not done again
            data = Stopped(classification, 1 if done else 1000)
            nothing = pytest.warns(UserWarning, match="nothing is done") if done else nullcontext()
            with nothing:
                resumed = in_turns(net, data, *rates, epochs=4, checkpoint=path)
            assert bits(resumed) == bits(whole)
            for cost in (whole.cost, resumed.cost):
                assert cost.by_source() == {"retain": 3 * 4 * 24, "other": 4 * 3}
                assert cost.backward["retain"] == 4 * 24
    with pytest.raises(ValueError, match="other settings"):
        in_turns(tiny_net(), Stopped(classification, 1), 1e-2, 2e-1, epochs=4, checkpoint=path)


@pytest.mark.parametrize("name, meant", [("trian", "train"), ("progres", "progress")])
def test_a_misspelt_argument_is_no_dependence(tiny_net, name, meant):
    with pytest.raises(ValueError, match=f"did you mean {meant}"):
        Run(tiny_net(), "settings", **{name: False})
