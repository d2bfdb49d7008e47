"""fit against a loop by hand, evaluate against closed forms; what stops them loses nothing."""

import dataclasses
import errno
import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from shared import Pairs, cross_entropy, descend, same, weights
from torch import nn
from torch.utils.data import DataLoader

from minilearn.checkpoint import fingerprint, write_whole
from minilearn.cost import Cost
from minilearn.data import Examples, Unlabelled, batches
from minilearn.evaluation import Evaluation, evaluate, loss_per_example
from minilearn.losses import Quantile
from minilearn.run import NonFiniteLoss, Run
from minilearn.training import Best, Training, fit

SHORT = Training(epochs=3, batch_size=7, lr=1e-2)


def by_hand(model, data, config, seed) -> list[float]:
    """The whole of `fit` in plain torch, in the order in which anybody would write it."""
    if config.optimizer == "adam":
        optimizer = torch.optim.Adam(model.parameters(), config.lr)
    else:
        optimizer = torch.optim.SGD(model.parameters(), config.lr, momentum=config.momentum)
    torch.manual_seed(seed)
    order = torch.Generator().manual_seed(seed)
    model.train()
    losses = []
    for epoch in range(config.epochs):
        if config.schedule == "cosine":
            rate = 0.5 * config.lr * (1 + math.cos(math.pi * epoch / config.epochs))
            for group in optimizer.param_groups:
                group["lr"] = rate
        for part in torch.randperm(len(data), generator=order).split(config.batch_size):
            x, y = data.inputs[part], data.targets[part]
            optimizer.zero_grad()
            if data.task == "classification":
                loss = F.cross_entropy(model(x), y)
            else:
                loss = F.l1_loss(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("optimizer, schedule", [("adam", "constant"), ("sgd", "cosine")])
def test_fit_is_the_plain_loop_bit_for_bit(request, tiny_net, task, optimizer, schedule):
    data = request.getfixturevalue(task)
    config = Training(3, 8, 1e-2, optimizer=optimizer, schedule=schedule)
    ours, plain = (tiny_net(3 if data.classes else 1) for _ in range(2))
    history = fit(ours, data, config, seed=5)
    losses = by_hand(plain, data, config, 5)
    assert same(weights(ours), weights(plain))
    torch.testing.assert_close(history.loss, torch.tensor(losses))


def test_the_cosine_is_torchs():
    config = Training(epochs=7, lr=0.3, schedule="cosine")
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=7)
    for epoch in range(7):
        assert config.lr_at(epoch) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step(), theirs.step()
    assert Training(lr=0.3).lr_at(5) == 0.3


def test_same_seed_same_bits_and_torchs_generator_is_left_alone(tiny_net, classification):
    torch.manual_seed(99)
    state = torch.get_rng_state()
    runs = []
    for seed, noise in ((1, 0), (1, 3), (2, 0)):
        torch.randn(noise)  # another global state changes nothing
        before = torch.get_rng_state()
        net = tiny_net()
        fit(net, classification, SHORT, seed=seed, progress=False)
        assert torch.equal(torch.get_rng_state(), before)
        runs.append(weights(net))
    assert same(runs[0], runs[1]) and not same(runs[0], runs[2])
    assert not torch.equal(state, torch.get_rng_state())  # by our own randn


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_dataset_gives_the_bits_that_examples_give(request, tiny_net, task):
    data = request.getfixturevalue(task)
    nets = [tiny_net(3 if data.classes else 1) for _ in range(2)]
    for net, given in zip(nets, (data, Pairs(data)), strict=True):
        fit(net, given, SHORT, watch=lambda epoch, net, g=given: {"n": len(evaluate(net, g).loss)})
    assert same(*map(weights, nets))
    a, b = evaluate(nets[0], data), evaluate(nets[1], Pairs(data))
    assert torch.equal(a.outputs, b.outputs) and torch.equal(a.loss, b.loss)


def test_gradients_that_were_there_do_not_count_and_none_are_left(tiny_net, classification):
    clean, dirty = tiny_net(), tiny_net()
    for parameter in dirty.parameters():
        parameter.grad = torch.full_like(parameter, 1e3)
    for net in (clean, dirty):
        fit(net, classification, SHORT)
    assert same(weights(clean), weights(dirty))
    assert all(p.grad is None for p in [*clean.parameters(), *dirty.parameters()])


def test_frozen_parts_do_not_move_and_flags_come_back(tiny_net, classification):
    net = tiny_net()
    net.body[0].requires_grad_(False)
    net.eval()
    net.head.train()
    flags, before = [m.training for m in net.modules()], weights(net.body[0])
    fit(net, classification, SHORT)
    assert same(before, weights(net.body[0])) and flags == [m.training for m in net.modules()]


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


def test_cost_counts_what_passed(tiny_net, classification):
    cost = Cost()
    fit(tiny_net(), classification, SHORT, cost=cost)
    assert cost.forward == cost.backward == {"retain": 3 * 24} and cost.seconds > 0


def test_zero_epochs_change_nothing(tiny_net, classification):
    net = tiny_net()
    history = fit(net, classification, Training(epochs=0))
    assert same(weights(net), weights(tiny_net())) and len(history.loss) == 0


def test_a_batch_larger_than_the_data_is_all_of_it(tiny_net, classification):
    one, two = tiny_net(), tiny_net()
    fit(one, classification, Training(epochs=2, batch_size=1000))
    fit(two, classification, Training(epochs=2, batch_size=24))
    assert same(weights(one), weights(two))


def test_inputs_alone_with_a_loss_of_ones_own(tiny_net, classification):
    seen = []

    def loss(model, x):
        seen.append(len(x))
        return model(x).square().mean()

    for data in (classification.inputs, Unlabelled(Pairs(classification))):
        descend(tiny_net(), data, Training(epochs=1, batch_size=10), loss)
    assert seen == [10, 10, 4, 10, 10, 4]


# ---- the loss that is asked for


@pytest.mark.parametrize("loss", ["absolute", "squared"])
def test_the_loss_of_the_settings_is_what_is_minimised(tiny_net, regression, loss):
    value = F.l1_loss if loss == "absolute" else F.mse_loss
    ours, plain = tiny_net(1), tiny_net(1)
    history = fit(ours, regression, Training(3, 7, 1e-2, loss=loss), seed=2)
    by_loss = descend(plain, regression, SHORT, lambda m, x, y: value(m(x), y), seed=2)
    assert same(weights(ours), weights(plain))
    torch.testing.assert_close(history.loss, by_loss.loss)
    auto = tiny_net(1)
    fit(auto, regression, SHORT, seed=2)
    assert same(weights(auto), weights(ours)) == (loss == "absolute")


class Constant(nn.Module):
    """The same answer for every input."""

    def __init__(self, *shape: int):
        super().__init__()
        self.answer = nn.Parameter(torch.zeros(shape))

    def forward(self, x):
        """The answer, once for every row."""
        return self.answer.expand(len(x), *self.answer.shape)


def test_a_constant_becomes_the_mean_the_median_or_the_quantiles():
    y = torch.randn(400, generator=torch.Generator().manual_seed(1)).div(2).exp()  # skewed
    data = Examples(torch.zeros(400, 1), y)
    levels = (0.1, 0.5, 0.85)
    goals = {
        "squared": y.mean(),
        "absolute": y.median(),
        "auto": y.median(),
        Quantile(levels): y.quantile(torch.tensor(levels)),
    }
    assert abs(goals["squared"] - goals["absolute"]) > 0.1
    for loss, goal in goals.items():
        net = Constant(*goal.shape)
        config = Training(400, 400, 0.05, schedule="cosine", loss=loss)
        fit(net, data, config, progress=False)
        torch.testing.assert_close(net.answer.detach(), goal, rtol=0, atol=0.03)
    below = (y[:, None] <= net.answer).double().mean(0)
    torch.testing.assert_close(below, torch.tensor(levels).double(), rtol=0, atol=0.01)


@pytest.mark.parametrize("loss", ["auto", "absolute", "squared", Quantile((0.25, 0.75))])
def test_evaluate_gives_the_loss_that_is_asked_for(loss):
    x = torch.tensor([[1.0], [-2.0], [0.5]])
    net = nn.Sequential(nn.Linear(1, 2 if isinstance(loss, Quantile) else 1), nn.Flatten(0))
    if isinstance(loss, Quantile):
        net = net[0]
    with torch.no_grad():
        net.apply(lambda m: isinstance(m, nn.Linear) and (m.weight.fill_(3), m.bias.fill_(1)))
    y = torch.tensor([2.0, -1.0, 2.5])  # the answers are 4, -5, 2.5
    found = evaluate(net, Examples(x, y), loss=loss, batch_size=2)
    expected = {
        "auto": [2.0, 4.0, 0.0],
        "absolute": [2.0, 4.0, 0.0],
        "squared": [4.0, 16.0, 0.0],
    }.get(loss, [2 * (0.75 + 0.25) / 2, 4 * (0.25 + 0.75) / 2, 0.0])
    assert found.loss.tolist() == expected


@pytest.mark.parametrize("loss", ["absolute", "squared", Quantile()])
def test_a_loss_of_numbers_is_refused_for_labels(tiny_net, classification, loss):
    net = tiny_net()
    with pytest.raises(ValueError, match="is for floating-point targets, but these are class la"):
        fit(net, classification, Training(1, loss=loss))
    with pytest.raises(ValueError, match="is for floating-point targets, but these are class la"):
        evaluate(net, classification, loss=loss)
    assert same(weights(net), weights(tiny_net()))


def test_a_checkpoint_of_another_loss_is_refused(tiny_net, regression, tmp_path):
    fit(tiny_net(1), regression, SHORT, checkpoint=tmp_path / "run")
    other = Training(3, 7, 1e-2, loss="squared")
    with pytest.raises(ValueError, match="other settings"):
        fit(tiny_net(1), regression, other, checkpoint=tmp_path / "run")


# ---- the best epoch


def test_best_keeps_the_weights_of_the_lowest_validation_loss(tiny_net, regression):
    """Against every epoch's weights, kept by hand."""
    train, validation = regression[:14], regression[14:]
    best, every, losses = Best(validation), [], []

    def watch(epoch, model):
        every.append(weights(model))
        losses.append(F.l1_loss(model(validation.inputs), validation.targets).item())
        return best(epoch, model)

    net = tiny_net(1)
    history = fit(net, train, Training(25, 7, 5e-2), watch=watch)
    lowest = min(range(25), key=losses.__getitem__)
    assert 0 < lowest < 24  # neither first nor last
    assert [e["validation"] for e in history.epochs] == pytest.approx(losses)
    assert (best.epoch, best.lowest) == (lowest + 1, pytest.approx(losses[lowest]))
    assert not same(weights(net), every[lowest])
    best.restore(net)
    assert same(weights(net), every[lowest])  # batch normalisation's buffers as well
    fit(net, train, SHORT)  # what is kept does not move with the model
    best.restore(net)
    assert same(weights(net), every[lowest])


def answering(*answers):
    """A constant network, and a call that gives it each answer in turn and shows it to `best`."""
    net = Constant()

    def show(best):
        for epoch, answer in enumerate(answers, start=1):
            with torch.no_grad():
                net.answer.fill_(answer)
            yield best(epoch, net)

    return net, show


def test_best_is_the_first_of_equals_and_a_mean_over_examples():
    y = torch.zeros(600)
    y[512:] = 22.0  # more than a batch of evaluate, and the rest is another kind
    answers = 5.0, 2.0, 2.0, 8.0
    for loss, power in (("auto", 1), ("squared", 2)):
        net, show = answering(*answers)
        best = Best(Examples(torch.zeros(600, 1), y), loss)
        means = [(512 * a**power + 88 * (22 - a) ** power) / 600 for a in answers]
        assert [seen["validation"] for seen in show(best)] == pytest.approx(means)
        best.restore(net)
        lowest = min(means)
        assert (best.epoch, best.lowest) == (means.index(lowest) + 1, pytest.approx(lowest))
        assert net.answer.item() == answers[means.index(lowest)]


def test_best_takes_datasets_and_disturbs_nothing(tiny_net, regression):
    runs = []
    for validation in (None, regression[14:], Pairs(regression[14:])):
        net = tiny_net(1)
        watch = Best(validation) if validation is not None else None
        runs.append((fit(net, regression[:14], SHORT, watch=watch), weights(net), watch))
    assert same(runs[0][1], runs[1][1]) and same(runs[0][1], runs[2][1])
    assert runs[1][0].epochs == runs[2][0].epochs and runs[1][2].lowest == runs[2][2].lowest


def test_best_refuses(tiny_net, regression):
    for empty, sentence in ((None, "got NoneType"), ([], "no examples to read"), (3, "got int")):
        with pytest.raises(ValueError, match=sentence):
            Best(empty)
    with pytest.raises(ValueError, match="loss is one of"):
        Best(regression, loss="mse")
    with pytest.raises(ValueError, match="no epoch has been seen: give this as watch="):
        Best(regression).restore(tiny_net(1))
    with pytest.raises(ValueError, match="inputs without targets"):
        fit(tiny_net(1), regression, SHORT, watch=Best(regression.inputs))


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


def test_a_loss_that_is_not_finite_is_one_sentence(tiny_net, classification):
    config = Training(epochs=4, batch_size=8)
    net, expected = tiny_net(), tiny_net()
    fit(expected, classification, Training(epochs=1, batch_size=8))
    steps = iter(range(1, 100))

    def loss(model, x, y):
        value = cross_entropy(model, x, y)
        return value * torch.inf if next(steps) == 5 else value

    with pytest.raises(NonFiniteLoss, match="became inf at step 2 of epoch 2; .* than 0.001"):
        descend(net, classification, config, loss)
    assert same(weights(net), weights(expected))


def test_weights_that_overflow_in_the_last_step_are_found():
    data = Examples(1e30 * torch.ones(2, 1), torch.zeros(2))
    net = nn.Sequential(nn.Linear(1, 1), nn.Flatten(0))
    before = weights(net)
    with pytest.raises(NonFiniteLoss, match="a weight became NaN or infinite"):
        fit(net, data, Training(epochs=1, lr=1e30, optimizer="sgd"))
    assert same(weights(net), before)


# ---- resume


def interrupted(net, data, path, config, epoch, **options):
    def watch(now, model):
        if now == epoch:
            raise KeyboardInterrupt
        return options["watch"](now, model) if "watch" in options else {}

    with pytest.raises(KeyboardInterrupt):
        fit(net, data, config, **options | {"watch": watch}, checkpoint=path)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("kind", [lambda d: d, Pairs], ids=["examples", "dataset"])
def test_resuming_is_as_if_nothing_had_happened(
    tiny_net, classification, tmp_path, optimizer, kind
):
    data, path = kind(classification), tmp_path / "deep" / "run.pt"
    config = Training(5, 7, 1e-2, optimizer=optimizer, schedule="cosine")
    options = {"seed": 3, "watch": lambda e, net: {"loss": evaluate(net, data).loss.mean()}}
    whole, cost = tiny_net(), Cost()
    history = fit(whole, data, config, cost=cost, **options)
    for epoch in (1, 2, 4):  # stopped three times; the model begins anew each time
        interrupted(tiny_net(), data, path, config, epoch, **options)
    resumed, its_cost = tiny_net(), Cost()
    its_history = fit(resumed, data, config, cost=its_cost, checkpoint=path, **options)
    assert same(weights(whole), weights(resumed))
    assert torch.equal(history.loss, its_history.loss) and history.epochs == its_history.epochs
    assert (cost.forward, cost.backward) == (its_cost.forward, its_cost.backward)
    assert its_cost.seconds > 0 and os.listdir(path.parent) == ["run.pt"]


PROGRAM = """
import sys, time, torch
from torch import nn
from minilearn.data import Examples
from minilearn.training import Training, fit

torch.set_num_threads(1)
with torch.random.fork_rng(devices=[]):
    torch.manual_seed(0)
    data = Examples(torch.randn(20, 4), torch.arange(20) % 2)
    net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2))

def watch(epoch, model):
    print(epoch, flush=True)
    time.sleep(float(sys.argv[2]))
    return {}

fit(net, data, Training(epochs=30, batch_size=6), watch=watch, checkpoint=sys.argv[1])
torch.save(net.state_dict(), sys.argv[1] + ".weights")
"""


def test_resuming_after_kill_9(tmp_path, monkeypatch, capsys):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "killed"), "0.02"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as killed:
        for line in killed.stdout:
            if int(line) >= 6:
                break
        time.sleep(0.01)
        killed.kill()
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed.weights").exists()
    for name in ("whole", "killed"):
        monkeypatch.setattr(sys, "argv", ["program", str(tmp_path / name), "0"])
        capsys.readouterr()
        exec(PROGRAM, {})
    epochs = [int(line) for line in capsys.readouterr().out.split()]
    assert epochs[0] > 5 and epochs[-1] == 30  # it did go on
    a, b = (torch.load(tmp_path / f"{name}.weights") for name in ("whole", "killed"))
    assert same(a.values(), b.values())


def test_a_checkpoint_of_another_run_is_refused(tiny_net, classification, tmp_path):
    path = tmp_path / "run"
    fit(tiny_net(), classification, SHORT, checkpoint=path)
    held = path.read_bytes()
    moved = Examples(classification.inputs.clone(), classification.targets)
    moved.inputs[23, 5] += 1e-6
    cases = [
        ({"seed": 1}, "other seed;"),
        ({"config": Training(4, 7, 1e-2)}, "other settings;"),
        ({"data": moved}, "other data;"),
        ({"data": classification[:20], "seed": 2}, "other seed and other data;"),
        ({"model": tiny_net(seed=1)}, "other starting weights;"),
        ({"model": tiny_net(inputs=6, outputs=4)}, "other starting weights;"),
    ]
    for change, sentence in cases:
        given = {"model": tiny_net(), "data": classification, "config": SHORT} | change
        before = weights(given["model"])
        with pytest.raises(ValueError, match=f"belongs to a run with {sentence} delete it or"):
            fit(**given, checkpoint=path)
        assert same(before, weights(given["model"])) and path.read_bytes() == held


def test_a_run_is_about_what_it_names(tiny_net, classification, tmp_path):
    def stream(order):
        yield classification.inputs, classification.targets

    with pytest.raises(ValueError, match="a function cannot be looked into: name what it reads"):
        descend(tiny_net(), stream, SHORT, checkpoint=tmp_path / "run", read=stream)
    assert not os.listdir(tmp_path)
    descend(tiny_net(), stream, SHORT, checkpoint=tmp_path / "run", read=classification)
    with pytest.raises(ValueError, match="other read;"):
        descend(tiny_net(), stream, SHORT, checkpoint=tmp_path / "run", read=classification[1:])


def test_a_step_belongs_into_an_epoch_and_an_epoch_into_a_run(tiny_net, classification):
    net = tiny_net()
    with pytest.raises(ValueError, match="belongs inside the loop"), Run(net) as run:
        run.adam(1e-3)
        run.step(lambda: net(classification.inputs).sum())


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


def test_a_broken_checkpoint_is_one_sentence(tiny_net, classification, tmp_path):
    path = tmp_path / "run"
    fit(tiny_net(), classification, SHORT, checkpoint=path)
    whole = path.read_bytes()
    torch.save({"weight": torch.zeros(3)}, tmp_path / "weights")
    broken = [whole[:1000], whole[: len(whole) // 2], b"", b"text", whole[:-1]]
    for content in [*broken, (tmp_path / "weights").read_bytes()]:
        path.write_bytes(content)
        net = tiny_net()
        with pytest.raises(ValueError, match="is no whole checkpoint: choose another name") as e:
            fit(net, classification, SHORT, checkpoint=path)
        assert "\n" not in str(e.value) and path.read_bytes() == content
        assert same(weights(net), weights(tiny_net()))


@pytest.mark.parametrize("place", ["", ".", 7, True])
def test_a_checkpoint_must_name_a_file(tiny_net, classification, place):
    with pytest.raises(ValueError, match="checkpoint must name a file"):
        fit(tiny_net(), classification, SHORT, checkpoint=place)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc:664] No space left on device"),
    ],
    ids=["OSError", "RuntimeError"],
)
def test_a_full_disk_is_one_sentence(tiny_net, classification, tmp_path, monkeypatch, error):
    path, real, calls = tmp_path / "run", torch.save, iter(range(100))

    def save(state, part):
        if next(calls) < 2:  # the first two fit on the disk
            return real(state, part)
        part.write_bytes(b"half")
        raise error

    monkeypatch.setattr(torch, "save", save)
    net, expected = tiny_net(), tiny_net()
    with pytest.raises(OSError, match="run could not be written: there is no space left on the"):
        fit(net, classification, SHORT, checkpoint=path)
    assert os.listdir(tmp_path) == ["run"]
    monkeypatch.undo()
    resumed = tiny_net()
    fit(resumed, classification, SHORT, checkpoint=path)  # the old checkpoint is whole
    fit(expected, classification, SHORT)
    assert same(weights(resumed), weights(expected))


def test_a_disk_that_cannot_be_written_is_found_before_any_work(tiny_net, classification, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    net = tiny_net()
    with pytest.raises(OSError, match="could not be written"):
        fit(net, classification, SHORT, checkpoint=tmp_path / "file" / "run")
    assert same(weights(net), weights(tiny_net()))


def test_write_whole_keeps_the_old_file(tmp_path):
    path = tmp_path / "table.csv"
    write_whole(path, lambda part: part.write_text("old"))

    def half(part):
        part.write_text("ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, half)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["table.csv"]
    write_whole(str(path), lambda part: part.write_text("new"))
    assert path.read_text() == "new"


def test_fingerprint_tells_contents_apart(classification, tiny_net):
    pairs = Pairs(classification)
    things = [
        classification,
        classification[:23],
        classification.with_targets(classification.targets.flip(0)),
        classification.inputs,
        classification.inputs.reshape(6, 24),
        pairs,
        torch.utils.data.Subset(pairs, [0, 1]),
        torch.utils.data.Subset(pairs, [0, 2]),
        Unlabelled(torch.utils.data.Subset(pairs, [0, 2])),
        (1, (2, 3)),
        (1, 2, 3),
        SHORT,
        Training(),
        None,
        tiny_net(),
        tiny_net(seed=1),
    ]
    assert len({fingerprint(thing) for thing in things}) == len(things)
    assert fingerprint(classification[:]) == fingerprint(classification)
    assert fingerprint(tiny_net()) == fingerprint(tiny_net())


# ---- evaluate


def test_evaluate_against_float64(tiny_net, classification):
    net = tiny_net().eval()
    found = evaluate(net, classification, batch_size=5)
    z = net(classification.inputs).detach().double()
    y = classification.targets
    p = z.exp() / z.exp().sum(1, keepdim=True)
    true = p[torch.arange(24), y]
    rest = p.clone()
    rest[torch.arange(24), y] = 0
    torch.testing.assert_close(found.loss.double(), -true.log(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.log_probs.double(), p.log(), rtol=1e-5, atol=1e-6)
    confidence = (true / rest.sum(1)).log()
    torch.testing.assert_close(found.confidence.double(), confidence, rtol=1e-4, atol=1e-5)
    assert torch.equal(found.correct, z.argmax(1) == y)


def test_confidence_where_the_probability_rounds_to_one():
    logits = torch.tensor([[60.0, 0.0, -3.0], [0.0, 80.0, 0.0], [-90.0, 3.0, 0.0]])
    found = Evaluation(logits, torch.tensor([0, 1, 0]), torch.zeros(3)).confidence
    z = logits.double()
    expected = torch.stack(
        [
            z[0, 0] - z[0, 1:].logsumexp(0),
            z[1, 1] - z[1, [0, 2]].logsumexp(0),
            z[2, 0] - z[2, 1:].logsumexp(0),
        ]
    )
    torch.testing.assert_close(found.double(), expected)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_evaluate_leaves_the_model_and_does_not_depend_on_the_batch(
    request, tiny_net, everything_of, task
):
    data = request.getfixturevalue(task)
    net = tiny_net(3 if data.classes else 1)
    net.body[1].eval()
    before, state = everything_of(net), torch.get_rng_state()
    results = [evaluate(net, data, batch_size=size) for size in (1, 5, 24, 1000)]
    results += [evaluate(net, Pairs(data), batch_size=7)]
    for result in results:
        torch.testing.assert_close(result.outputs, results[0].outputs)
        torch.testing.assert_close(result.loss, results[0].loss)
        assert torch.equal(result.targets, data.targets) and not result.outputs.requires_grad
    assert everything_of(net) == before and torch.equal(torch.get_rng_state(), state)


def test_evaluate_one_example(tiny_net, classification):
    net = tiny_net().eval()
    one = evaluate(net, classification[3])
    assert len(one.loss) == 1
    torch.testing.assert_close(one.outputs, net(classification.inputs[3:4]).detach())


def test_regression_results_have_no_classes(tiny_net, regression):
    found = evaluate(tiny_net(1), regression)
    torch.testing.assert_close(found.loss, (found.outputs - regression.targets).abs())
    assert torch.equal(found.confidence, -found.loss)
    for name in ("correct", "log_probs"):
        with pytest.raises(ValueError, match="no classes"):
            getattr(found, name)


def test_loss_of_several_targets_is_their_mean():
    outputs, targets = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [4.0, 0]])
    assert loss_per_example(outputs, targets).tolist() == [1.5, 2.0]


# ---- bad input: one sentence each, before anything is changed


class Returning(nn.Module):
    """A model that returns what it likes."""

    def __init__(self, answer):
        super().__init__()
        self.weight, self.answer = nn.Parameter(torch.ones(6, 3)), answer

    def forward(self, x):
        return self.answer(x @ self.weight)


CASES = {
    "too few outputs": (lambda d: Returning(lambda z: z[:, :2]), lambda d: d, "labels go up to 2"),
    "flat outputs": (lambda d: Returning(lambda z: z[:, 0]), lambda d: d, "need logits .B, C."),
    "a tuple": (lambda d: Returning(lambda z: (z, z)), lambda d: d, "one tensor, got tuple"),
    "nothing": (lambda d: Returning(lambda z: None), lambda d: d, "one tensor, got NoneType"),
    "float labels": (
        lambda d: Returning(lambda z: z),
        lambda d: d.with_targets(d.targets.float()),
        "class labels must be integers",
    ),
    "(N, 1) outputs": (
        lambda d: Returning(lambda z: z[:, :1]),
        lambda d: d.with_targets(d.targets.float()),
        "for regression they must agree",
    ),
    "another device": (
        lambda d: Returning(lambda z: z).to("meta"),
        lambda d: d,
        "model is on meta but the data are on cpu",
    ),
    "data on another device": (
        lambda d: Returning(lambda z: z),
        lambda d: d.inputs.to("meta"),
        "on cpu but the data are on meta|without targets",
    ),
    "wrong width": (
        lambda d: Returning(lambda z: z),
        lambda d: Examples(d.inputs[:, :4], d.targets),
        r"fails on a batch of torch.float32 \(.*, 4\)",
    ),
    "doubles": (
        lambda d: Returning(lambda z: z),
        lambda d: Examples(d.inputs.double(), d.targets),
        "fails on a batch of torch.float64",
    ),
    "a label below 0": (
        lambda d: Returning(lambda z: z),
        lambda d: [(row, -1) for row in d.inputs],
        "labels start at 0, got -1",
    ),
    "inputs alone": (lambda d: Returning(lambda z: z), lambda d: d.inputs, "without targets"),
    "a tuple of tensors": (
        lambda d: Returning(lambda z: z),
        lambda d: (d.inputs, d.targets),
        "Examples.inputs, targets.",
    ),
    "a DataLoader": (
        lambda d: Returning(lambda z: z),
        lambda d: DataLoader(Pairs(d)),
        "DataLoader",
    ),
    "None": (lambda d: Returning(lambda z: z), lambda d: None, "got NoneType"),
    "empty": (lambda d: Returning(lambda z: z), lambda d: [], "no examples"),
    "a number": (lambda d: Returning(lambda z: z), lambda d: 3, "got int"),
    "no model": (lambda d: "net", lambda d: d, "torch.nn.Module, got str"),
    "no weights": (lambda d: nn.Flatten(), lambda d: d, "no parameters"),
}


@pytest.mark.parametrize("call", [evaluate, fit])
@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_sentence(classification, call, case):
    model, data, sentence = CASES[case]
    model, data = model(classification), data(classification)
    before = weights(model) if isinstance(model, nn.Module) else []
    with pytest.raises(ValueError, match=sentence) as caught:
        call(model, data)
    assert len(str(caught.value)) < 300
    if before and before[0].device.type == "cpu":
        assert same(before, weights(model))


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"config": {"epochs": 3}}, "must be a Training, got dict"),
        ({"config": None}, "must be a Training, got NoneType"),
        ({"seed": None}, "seed must be a whole number"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"watch": lambda epoch, model: None}, "watch must return a dictionary of numbers"),
        ({"watch": lambda epoch, model: {"a": object()}}, "watch must return a dictionary"),
        ({"watch": 3}, "watch must be a function"),
        ({"data": Pairs}, "the class Pairs itself"),
        ({"data": lambda order: []}, "with len\\(\\) and items by position, got function"),
    ],
)
def test_silly_arguments_of_fit(tiny_net, classification, options, sentence):
    net = tiny_net()
    with pytest.raises(ValueError, match=sentence):
        fit(**{"model": net, "data": classification, "config": SHORT} | options)
    assert same(weights(net), weights(tiny_net()))


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


def test_a_model_that_is_frozen_whole(tiny_net, classification):
    with pytest.raises(ValueError, match="every parameter is frozen"):
        fit(tiny_net().requires_grad_(False), classification)


def test_batch_normalisation_cannot_train_on_one_example(tiny_net, classification):
    for data, size in ((classification[:1], 8), (classification, 1)):
        net = tiny_net()
        with pytest.raises(ValueError, match="cannot train on a batch of one example"):
            fit(net, data, Training(epochs=1, batch_size=size))
        assert same(weights(net), weights(tiny_net()))
    plain = nn.Linear(6, 3)  # without batch normalisation one example is enough
    assert len(fit(plain, classification[:1], SHORT).loss) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": -1},
        {"epochs": 2.5},
        {"epochs": None},
        {"batch_size": 0},
        {"batch_size": "8"},
        {"lr": float("nan")},
        {"lr": float("inf")},
        {"lr": -1},
        {"lr": "0.1"},
        {"lr": True},
        {"momentum": -0.1},
        {"weight_decay": -1e-4},
        {"optimizer": "adamw"},
        {"optimizer": None},
        {"schedule": "linear"},
        {"loss": "mse"},
        {"loss": None},
        {"loss": Quantile},
        {"loss": 0.5},
    ],
)
def test_training_refuses(change):
    (name,) = change
    with pytest.raises(ValueError, match=f"^{name} "):
        Training(**change)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_settings_of_numpy_are_plain_numbers_in_a_checkpoint(
    tiny_net, classification, tmp_path, optimizer, kind
):
    numbers = {"lr": kind(0.25), "momentum": kind(0.5), "weight_decay": kind(0.125)}
    config = Training(2, 8, optimizer=optimizer, **numbers)
    plain = dataclasses.replace(config, **{name: float(v) for name, v in numbers.items()})
    whole = fit(tiny_net(), classification, plain).loss
    for _ in range(2):  # the second time from the file
        found = fit(tiny_net(), classification, config, checkpoint=tmp_path / "run").loss
        assert torch.equal(found, whole)


# ---- several optimisers in turns


def in_turns(model, data, *rates, epochs=3, size=8, seed=2, **options):
    """A run whose steps take turns between an Adam and an SGD over the same weights."""
    with Run(model, rates, seed, progress=False, data=data, **options) as run:
        turns = run.adam(rates[0]), run.sgd(rates[1], momentum=0.5)
        for _ in run.epochs(epochs):
            for i, (x, y) in enumerate(batches(data, size, order=run.order)):
                run.step(lambda x, y: cross_entropy(model, x, y), x, y, optimizer=turns[i % 2])
    return run.history


def test_steps_take_turns_between_optimisers(tiny_net, classification):
    """The plain loop with two optimisers over the same weights, bit for bit."""
    net, plain = tiny_net(dropout=0.0), tiny_net(dropout=0.0)
    history = in_turns(net, classification, 1e-2, 1e-1)
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
    assert torch.equal(history.loss, torch.tensor(losses))
    assert fingerprint(net) == fingerprint(plain)


def test_turns_resume_bit_for_bit(tiny_net, classification, tmp_path):
    call = classification, 1e-2, 1e-1
    whole = in_turns(tiny_net(), *call, epochs=4)

    def stop(epoch, model):
        if epoch == 3:
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        in_turns(tiny_net(), *call, epochs=4, watch=stop, checkpoint=tmp_path / "run")
    resumed = in_turns(tiny_net(), *call, epochs=4, checkpoint=tmp_path / "run")
    assert torch.equal(resumed.loss, whole.loss)
    with pytest.raises(ValueError, match="other settings"):
        in_turns(tiny_net(), classification, 1e-2, 2e-1, checkpoint=tmp_path / "run")
