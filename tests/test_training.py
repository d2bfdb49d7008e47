"""fit against a loop by hand, evaluate against closed forms."""

import math

import pytest
import torch
import torch.nn.functional as F
from shared import Pairs, descend, same, weights
from torch import nn
from torch.utils.data import DataLoader

from minilearn.cost import Cost
from minilearn.data import Examples
from minilearn.evaluation import Evaluation, evaluate, loss_per_example
from minilearn.losses import Quantile
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


@pytest.mark.filterwarnings("ignore:.* under another watch")
def test_best_begins_anew_and_knows_what_it_has_missed(tiny_net, regression, tmp_path):
    train, validation = regression[:14], regression[14:]
    best = Best(validation)
    fit(tiny_net(1), train, Training(6, 7, 5e-2), watch=best)
    fit(tiny_net(1), train, Training(2, 7, 1e-6), watch=best)
    assert best.epoch <= 2
    recipe = Training(4, 7, 5e-2)

    def stop(epoch, model):
        if epoch == 3:
            raise KeyboardInterrupt
        return best(epoch, model)

    with pytest.raises(KeyboardInterrupt):
        fit(tiny_net(1), train, recipe, watch=stop, checkpoint=tmp_path / "run")
    net, late = tiny_net(1), Best(validation)
    fit(net, train, recipe, watch=late, checkpoint=tmp_path / "run")
    with pytest.raises(ValueError, match="only 2 of 4 epochs were seen"):
        late.restore(net)


@pytest.mark.filterwarnings("ignore:.* under another watch")
def test_best_has_no_weights_of_another_run(tiny_net, regression, tmp_path):
    """Given to a run that goes on from a checkpoint after it has watched a longer one whole."""
    train, recipe = regression[:14], Training(4, 7, 5e-2)

    def stop(epoch, model):
        if epoch == 3:
            raise KeyboardInterrupt
        return {}

    best = Best(regression[14:])
    fit(tiny_net(1), train, Training(6, 7, 5e-2), watch=best)
    with pytest.raises(KeyboardInterrupt):
        fit(tiny_net(1), train, recipe, watch=stop, checkpoint=tmp_path / "run")
    net = tiny_net(1)
    fit(net, train, recipe, watch=best, checkpoint=tmp_path / "run")
    before = weights(net)
    with pytest.raises(ValueError, match="only 2 of 4 epochs were seen"):
        best.restore(net)
    assert same(weights(net), before)


def test_no_epoch_is_best_where_no_loss_is_finite(tiny_net, regression):
    best = Best(regression.with_targets(torch.full_like(regression.targets, 1e30)), "squared")
    net = tiny_net(1)
    fit(net, regression, SHORT, watch=best)
    with pytest.raises(ValueError, match="no epoch had a finite validation loss"):
        best.restore(net)


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
