"""Blindspot against the published masked mixture in float64, and whatever may go wrong with it."""

import copy
import dataclasses

import pytest
import torch
from shared import Pairs, bits
from torch import nn

from minilearn.cost import Cost
from minilearn.data import Examples, Unlabelled
from minilearn.evaluation import evaluate
from minilearn.fingerprints import fingerprint
from minilearn.losses import Quantile
from minilearn.methods import METHODS, Blindspot, blindspot, retrain, unlearn
from minilearn.models import build, device_of, siamese_lstm
from minilearn.parts.teachers import blindspot_model
from minilearn.requests import by_index, by_range
from minilearn.training import Training

CASE = {
    "access": ("model", "forget inputs", "retain", "fresh"),
    "task": "regression",
    "settings": {"layers": ()},  # the network of the contract tests has no map to copy
}

# most of these networks have no map; that it is said is a test of its own
pytestmark = pytest.mark.filterwarnings("ignore:no layer of this network has an attention map")

QUANTILE = Quantile((0.1, 0.5, 0.8))
SHORT = Blindspot(
    epochs=2, batch_size=5, lr=1e-2, teacher=Training(epochs=2, batch_size=6, lr=1e-2)
)
NONE_READ = dataclasses.replace(SHORT, layers=())


# ---- the objective is the published one


class Convolutions(nn.Module):
    """Two maps, batch normalisation, an operation in place, one position, and the answer."""

    def __init__(self, shape: tuple[int, ...] = ()):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(inplace=True)
        )
        self.second = nn.Conv2d(3, 4, 2, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.shape, self.head = shape, nn.Linear(4, int(torch.tensor(shape).prod()))

    def forward(self, x):
        """Predictions (B, *shape)."""
        return self.head(self.pool(self.second(self.features(x))).flatten(1)).view(-1, *self.shape)


LOSSES = {
    "absolute": ((), ()),
    "squared": ((), ()),
    "auto, three targets": ((3,), (3,)),
    "quantile": ((2, 3), (2,)),
}


def images(n: int, targets: tuple[int, ...], seed: int = 0) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(n, 1, 4, 4, generator=generator)
    return Examples(inputs, 3 * torch.randn(n, *targets, generator=generator))


def run_through(net: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The answer, and the four maps, written out."""
    conv = net.features[0](x)
    normal = net.features[1](conv)
    first = normal.clamp(min=0)
    second = net.second(first)
    answer = net.head(second.mean((2, 3))).view(-1, *net.shape)
    return answer, [conv, normal, first, second]


def published(student, teacher, x, y, forgotten, beta: float, loss: str):
    """c (L_f + beta sum_j L_att_j) + (1 - c) L_r, by masks."""

    def error(out, target):
        return (out - target).square() if loss == "squared" else (out - target).abs()

    def retained(out):
        if loss != "quantile":
            return error(out, y[~forgotten]).mean()
        rows = 0.0
        for k, q in enumerate(QUANTILE.levels):
            gap = y[~forgotten] - out[..., k]
            rows = rows + torch.where(gap > 0, q * gap, (q - 1) * gap).mean()
        return rows / len(QUANTILE.levels)

    def attend(a):
        v = a.pow(2).mean(1).flatten(1)
        return v / v.pow(2).sum(1, keepdim=True).sqrt()

    out, mine = run_through(student, x)
    with torch.no_grad():
        answer, theirs = run_through(teacher, x)
    c, total = forgotten.double().mean(), torch.zeros((), dtype=torch.float64)
    if forgotten.any():
        gaps = [
            (attend(a[forgotten]) - attend(b[forgotten])).pow(2).mean()
            for a, b in zip(mine, theirs, strict=True)
        ]
        total = total + c * (error(out[forgotten], answer[forgotten]).mean() + beta * sum(gaps))
    if not forgotten.all():
        total = total + (1 - c) * retained(out[~forgotten])
    return total


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("beta", [0.0, 50.0])
@pytest.mark.parametrize("chosen", [None, ("features.0", "features.1", "features.2", "second")])
def test_the_one_mean_is_the_published_mixture_and_so_is_its_gradient(
    loss, beta, chosen, monkeypatch
):
    """With a learning rate of 0 every batch of an epoch is taken at the same weights."""
    outputs, targets = LOSSES[loss]
    model, teacher = (build(lambda: Convolutions(outputs), seed) for seed in (1, 2))
    model.train(), teacher.train()
    teacher.features[1].running_var.fill_(2.0)  # only in evaluation mode does it count
    data = images(26, targets)
    n, seed, size = 13, 3, 3
    kind = QUANTILE if loss == "quantile" else loss.split(",")[0]
    config = Blindspot(3, size, lr=0.0, beta=beta, layers=chosen, loss=kind)
    gradients, step = [], torch.optim.Adam.step

    def spy(optimizer, *args, **options):
        held = [p.grad for group in optimizer.param_groups for p in group["params"]]
        gradients.append(torch.cat([g.flatten() for g in held]))
        return step(optimizer, *args, **options)

    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    given = data.inputs[:n], data[n:]
    result = blindspot(model, *given, fresh=None, teacher=teacher, config=config, seed=seed)

    order, shares = torch.Generator().manual_seed(seed), set()
    found = zip(result.history.loss, gradients, strict=True)
    frozen = copy.deepcopy(teacher).double().eval()
    for _ in range(3):
        for part in torch.randperm(26, generator=order).split(size):
            student = copy.deepcopy(model).double().train()
            x, y = data.inputs[part].double(), data.targets[part].double()
            expected = published(student, frozen, x, y, part < n, beta, loss)
            slopes = torch.autograd.grad(expected, list(student.parameters()), allow_unused=True)
            slopes = [
                torch.zeros_like(p) if g is None else g
                for p, g in zip(student.parameters(), slopes, strict=True)
            ]
            value, gradient = next(found)
            assert value.item() == pytest.approx(expected.item(), rel=1e-4)
            slopes = torch.cat([g.flatten() for g in slopes])
            torch.testing.assert_close(gradient.double(), slopes, rtol=1e-3, atol=1e-4)
            shares.add(int((part < n).sum()))
    assert next(found, None) is None and shares == {0, 1, 2, 3}  # c = 0, in between, and 1


def test_two_epochs_by_hand_bit_for_bit(tiny_net, regression):
    """Dropout and all: without layers the student's steps are those of a loop anybody writes."""
    model, teacher = tiny_net(1), tiny_net(1, seed=1)
    forget, retain = regression.inputs[:9], regression[9:]
    config = dataclasses.replace(NONE_READ, loss="squared")
    given = {"fresh": None, "teacher": teacher, "config": config, "seed": 6}
    result = blindspot(model, forget, retain, **given)

    by_hand, frozen = copy.deepcopy(model), copy.deepcopy(teacher).eval()
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=1e-2)
    torch.manual_seed(6)
    order = torch.Generator().manual_seed(6)
    for _ in range(2):
        for part in torch.randperm(24, generator=order).split(5):
            x_f, kept = forget[part[part < 9]], part[part >= 9] - 9
            goal = torch.cat([retain.targets[kept], frozen(x_f).detach()])
            out = by_hand(torch.cat([x_f, retain.inputs[kept]]))
            out = torch.cat([out[len(x_f) :], out[: len(x_f)]])
            loss = (out - goal).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert fingerprint(result.model) == fingerprint(by_hand)


# ---- the teacher


@pytest.fixture
def fresh(tiny_net):
    """A function that makes new networks, decided by torch's global state."""
    kind = type(tiny_net())
    return lambda: kind(1)


def test_a_given_teacher_is_left_bit_for_bit(tiny_net, regression, everything_of):
    model, teacher, calls = tiny_net(1), tiny_net(1, seed=1), []
    teacher.train()
    teacher.body[1].eval()
    teacher.head.weight.requires_grad_(False)
    for parameter in teacher.parameters():
        parameter.grad = torch.randn_like(parameter)

    def spy(module, inputs):
        flags = {part.training for part in module.modules()}
        calls.append((len(inputs[0]), flags, torch.is_grad_enabled()))

    teacher.register_forward_pre_hook(spy)
    before = everything_of(teacher)
    given = {"fresh": None, "teacher": teacher, "config": SHORT}
    result = blindspot(model, regression.inputs[:7], regression[7:], **given)
    assert everything_of(teacher) == before
    assert {(tuple(flags), grad) for _, flags, grad in calls} == {((False,), False)}
    # it sees each forgotten row once in an epoch and no other
    assert sum(rows for rows, *_ in calls) == SHORT.epochs * 7 and all(n for n, *_ in calls)
    assert result.cost.by_source() == {"forget": 2 * 7 * 4, "retain": 2 * 17 * 3}


def test_the_teacher_sees_the_forgotten_inputs_only(tiny_net, regression):
    model, teacher, seen = tiny_net(1), tiny_net(1, seed=1), []
    teacher.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    given = {"fresh": None, "teacher": teacher, "config": SHORT}
    blindspot(model, regression.inputs[:7], regression[7:], **given)
    rows = torch.cat(seen)
    for epoch in rows.split(7):
        assert torch.equal(epoch.sort(0).values, regression.inputs[:7].sort(0).values)


@pytest.mark.parametrize("loss", ["auto", "squared"])
def test_the_teacher_is_a_short_retraining_with_a_seed_of_its_own(
    tiny_net, fresh, regression, loss
):
    config = dataclasses.replace(SHORT, loss=loss)
    parts = tiny_net(1), regression.inputs[:7], regression[7:]
    both = blindspot(*parts, fresh=fresh, config=config, seed=3)
    recipe = dataclasses.replace(config.teacher, loss=loss)
    taught = retrain(fresh, parts[2], config=recipe, seed=10_003)
    alone = blindspot(*parts, fresh=None, teacher=taught.model, config=config, seed=3)
    assert bits(both) == bits(alone)
    assert both.cost.forward == taught.cost.forward + alone.cost.forward
    assert both.cost.backward == taught.cost.backward + alone.cost.backward
    assert both.cost.by_source() == {"forget": 2 * 7 * 4, "retain": 2 * 17 * 3 + 2 * 17 * 3}
    assert both.cost.seconds > 0 and both.config is config and both.seed == 3


def test_it_does_not_begin_with_the_weights_of_the_retrained_model(tiny_net, fresh, regression):
    """That is the yardstick: a teacher like it would look closer than it is."""
    config = dataclasses.replace(SHORT, teacher=Training(epochs=0))
    parts = tiny_net(1), regression.inputs[:7], regression[7:]
    found = bits(blindspot(*parts, fresh=fresh, config=config, seed=3))
    given = [
        bits(blindspot(*parts, fresh=None, teacher=build(fresh, seed), config=config, seed=3))
        for seed in (3, 10_003)
    ]
    assert found == given[1] != given[0]


def test_a_teacher_may_be_the_model_itself(tiny_net, regression, everything_of):
    """Then nothing is to be unlearned, and it is still not touched."""
    model = tiny_net(1)
    before = everything_of(model)
    blindspot(model, regression.inputs[:7], regression[7:], fresh=None, teacher=model, config=SHORT)
    assert everything_of(model) == before


# ---- it copies on what is forgotten and keeps the rest


def test_the_student_answers_as_the_teacher_there_and_as_before_elsewhere():
    x = torch.rand(300, 1, generator=torch.Generator().manual_seed(1)) * 6
    data = Examples(x, x.squeeze(1))
    request = by_range(data, 0, 2)

    def network():
        return nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 1), nn.Flatten(0))

    class Five(nn.Module):
        """The same parameters, and 5 wherever one asks."""

        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            return 0 * self.net(x) + 5

    class Plain(Five):
        def forward(self, x):
            return self.net(x)

    original = retrain(lambda: Plain(network()), data, config=Training(60, 32, 1e-2)).model
    config = Blindspot(epochs=30, batch_size=32, lr=1e-2, layers=())
    given = {"fresh": None, "teacher": Five(network()), "config": config}
    new = blindspot(original, request.forget.inputs, request.retain, **given).model
    inside = data[(data.targets < 1.8)], data[(data.targets > 2.4)]  # it is continuous between
    copied = (evaluate(new, inside[0]).outputs - 5).abs().mean()
    kept = evaluate(new, inside[1]).loss.mean()
    assert copied < 0.5 and kept < 0.5
    assert (evaluate(original, inside[0]).outputs - 5).abs().mean() > 3


def test_a_dataset_gives_the_bits_that_examples_give(tiny_net, fresh, regression):
    plain = blindspot(tiny_net(1), regression.inputs[:7], regression[7:], fresh=fresh, config=SHORT)
    forget = Unlabelled(Pairs(regression[:7]))
    for inputs in (forget, list(regression.inputs[:7])):
        read = blindspot(tiny_net(1), inputs, Pairs(regression[7:]), fresh=fresh, config=SHORT)
        assert bits(read) == bits(plain) and read.cost.by_source() == plain.cost.by_source()


def test_one_forgotten_and_one_retained_example(regression):
    def network():
        return nn.Sequential(nn.Linear(6, 1), nn.Flatten(0))

    config = dataclasses.replace(SHORT, batch_size=1)
    result = blindspot(
        network(), regression.inputs[:1], regression[1:2], fresh=network, config=config
    )
    assert len(result.history.loss) == 2 * 1  # the last batch of one joins the one before it
    assert result.history.loss.isfinite().all()


# ---- layers of every kind


def on_maps(kind, config, data=None):
    """Run on small images, or other data, with networks that `kind` makes."""
    data = images(12, ()) if data is None else data
    given = {"fresh": None, "teacher": build(kind, 2), "config": config}
    return blindspot(build(kind, 1), data.inputs[:5], data[5:], **given)


def no_attention(kind, **options) -> str:
    return bits(on_maps(kind, dataclasses.replace(SHORT, beta=0.0), **options))


def test_of_a_network_of_features_the_default_copies_answers_alone(
    tiny_net, fresh, regression, monkeypatch
):
    """Its activations are (B, D): in the authors' code their term is identically 0, too."""
    parts = tiny_net(1), regression.inputs[:7], regression[7:]
    runs = [
        blindspot(*parts, fresh=fresh, config=dataclasses.replace(SHORT, **change))
        for change in ({}, {"beta": 0.0}, {"layers": ()})
    ]
    assert bits(runs[0]) == bits(runs[1]) == bits(runs[2])
    sentence = "averaged over axis 1 leaves nothing to compare per example: take axis=None"
    chosen = dataclasses.replace(SHORT, layers=("body.0",))
    with pytest.raises(ValueError, match=sentence), monkeypatch.context() as patched:
        patched.setattr("minilearn.parts.teachers.fit", None)  # refused before a teacher learns
        blindspot(*parts, fresh=fresh, config=chosen)
    whole = dataclasses.replace(chosen, axis=None)
    assert bits(blindspot(*parts, fresh=fresh, config=whole)) != bits(runs[0])


def test_the_teacher_has_no_loss_of_its_own():
    with pytest.raises(ValueError, match="loss is one of"):
        Blindspot(teacher=Training(loss="squared"))


def test_the_default_layers_are_the_chain_where_it_has_maps():
    everything = bits(on_maps(Convolutions, SHORT))
    names = ("features.0", "features.1", "features.2", "second")
    assert everything == bits(on_maps(Convolutions, dataclasses.replace(SHORT, layers=names)))
    assert everything != no_attention(Convolutions)
    for left_out in range(4):  # each of them counts
        some = names[:left_out] + names[left_out + 1 :]
        assert everything != bits(on_maps(Convolutions, dataclasses.replace(SHORT, layers=some)))


def test_what_is_done_in_place_changes_nothing():
    def without():
        net = Convolutions()
        net.features[2] = nn.ReLU()
        return net

    for layers in (None, ("features.1",), ("features.1", "features.2")):
        config = dataclasses.replace(SHORT, layers=layers)
        assert bits(on_maps(Convolutions, config)) == bits(on_maps(without, config))


class Around(nn.Module):
    """An answer per image by way of a layer inside that need not keep to rows."""

    def __init__(self, through):
        super().__init__()
        self.first, self.inner, self.last = nn.Conv2d(1, 4, 3), nn.Linear(4, 4), nn.Linear(4, 1)
        self.unused, self.through = nn.Linear(4, 4), through

    def forward(self, x):
        rows = self.first(x).flatten(2).transpose(1, 2)  # (B, 4 positions, 4 features)
        return self.last(self.through(self.inner, rows).mean(1)).squeeze(1)


# The inner layer is given other rows than one per example.
THROUGH = {
    "time first": lambda inner, rows: inner(rows.transpose(0, 1)).transpose(0, 1),
    "all in one": lambda inner, rows: inner(rows.flatten(0, 1)).unflatten(0, rows.shape[:2]),
    "halves": lambda inner, rows: inner(rows.reshape(-1, 2, 4)).reshape(rows.shape),
}


@pytest.mark.parametrize("through", THROUGH)
def test_a_layer_without_one_row_per_example_is_passed_over_or_refused(through):
    def kind():
        return Around(THROUGH[through])

    first = on_maps(kind, dataclasses.replace(SHORT, layers=("first",)))
    assert bits(on_maps(kind, SHORT)) == bits(first) != no_attention(kind)
    with pytest.raises(ValueError, match="layer 'inner' did not run, or gives no row per example"):
        on_maps(kind, dataclasses.replace(SHORT, layers=("first", "inner")))


def test_a_layer_that_does_not_run_is_passed_over_or_refused():
    def kind():
        return Around(lambda inner, rows: inner(rows))

    named = on_maps(kind, dataclasses.replace(SHORT, layers=("first", "inner")))
    assert bits(on_maps(kind, SHORT)) == bits(named)
    with pytest.raises(ValueError, match="layer 'unused' did not run"):
        on_maps(kind, dataclasses.replace(SHORT, layers=("unused",)))


class Recurrent(nn.Module):
    """An LSTM gives (outputs, states); the outputs are what counts."""

    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 1)
        self.outputs = nn.Identity()

    def forward(self, x):
        return self.head(self.outputs(self.cell(x)[0])[:, -1]).squeeze(1)


@pytest.mark.parametrize("axis", [1, -1])
def test_of_a_recurrent_layer_its_outputs_count(axis):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 5, 3, generator=generator)
    data, config = Examples(x, x.sum((1, 2))), dataclasses.replace(SHORT, axis=axis)
    tuples, plain = (
        on_maps(Recurrent, dataclasses.replace(config, layers=(layer,)), data=data)
        for layer in ("cell", "outputs")
    )
    assert bits(tuples) == bits(plain) != no_attention(Recurrent, data=data)
    both = on_maps(Recurrent, dataclasses.replace(config, layers=("cell", "outputs")), data=data)
    assert bits(on_maps(Recurrent, config, data=data)) == bits(both)
    other = dataclasses.replace(config, layers=("cell",), axis=-axis)
    assert bits(on_maps(Recurrent, other, data=data)) != bits(tuples)


def test_the_paper_s_network_for_sentences():
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 9, (14, 2, 6), generator=generator)
    data = Examples(ids, torch.rand(14, generator=generator))
    kind = lambda: siamese_lstm(9, width=4)  # noqa: E731
    chosen = dataclasses.replace(SHORT, layers=("lstm",), loss="squared")
    found = bits(on_maps(kind, chosen, data=data))
    assert found != bits(on_maps(kind, dataclasses.replace(chosen, beta=0.0), data=data))
    assert len(on_maps(kind, SHORT, data=data).history.loss) == 2 * 3


# ---- a run that is stopped


class Stops(nn.Module):
    """A network that is interrupted when it is asked in training mode for the `when`-th time."""

    def __init__(self, net: nn.Module, when: int, asked: list):
        super().__init__()
        self.net, self.when, self.asked = net, when, asked

    def __getstate__(self):
        """The settings of the network, of which the other two are none."""
        return {name: value for name, value in vars(self).items() if name not in ("when", "asked")}

    def forward(self, x):
        if self.training:
            self.asked.append(len(x))
            if len(self.asked) == self.when:
                raise KeyboardInterrupt
        return self.net(x)

    def __deepcopy__(self, memo):
        return Stops(copy.deepcopy(self.net, memo), self.when, self.asked)


def test_resuming_after_a_stop_in_either_training_is_bit_for_bit(
    tiny_net, fresh, regression, tmp_path
):
    data, path = (regression.inputs[:7], regression[7:]), tmp_path / "run"
    config = dataclasses.replace(SHORT, epochs=3, teacher=Training(3, 6, 1e-2))

    def run(taught=0, student=0, checkpoint=path):
        asked = [], []
        model = Stops(tiny_net(1), student, asked[1])
        new = lambda: Stops(fresh(), taught, asked[0])  # noqa: E731
        run.asked = asked
        return blindspot(model, *data, fresh=new, config=config, seed=4, checkpoint=checkpoint)

    whole = run(checkpoint=None)
    steps = [len(asked) for asked in run.asked]
    assert steps == [3 * 3, 3 * 5]
    # in the teacher's second epoch, then in its third; the student's first, then its third
    for when in ({"taught": 5}, {"taught": 4}, {"student": 2}, {"student": 12}):
        with pytest.raises(KeyboardInterrupt, match="goes on from there"):
            run(**when)
    resumed = run()
    assert bits(resumed) == bits(whole)
    assert resumed.cost.by_source() == whole.cost.by_source()
    assert [len(asked) for asked in run.asked] == [0, 5]  # the teacher is not taught again
    assert resumed.cost.seconds > 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["run", "run.teacher"]


def test_a_checkpoint_of_another_teacher_is_refused(tiny_net, regression, tmp_path):
    parts = tiny_net(1), regression.inputs[:7], regression[7:]
    options = {"fresh": None, "config": SHORT, "checkpoint": tmp_path / "run"}
    blindspot(*parts, teacher=tiny_net(1, seed=1), **options)
    with pytest.raises(ValueError, match="belongs to a run with other teacher"):
        blindspot(*parts, teacher=tiny_net(1, seed=2), **options)


# ---- bad input: one sentence, before the teacher is taught


@pytest.fixture
def refuse(fresh, tiny_net, regression):
    """Call it, expecting this sentence, and that no network was run."""

    def call(sentence, work=False, **change):
        asked = []
        given = {
            "model": Stops(tiny_net(1), 0, asked),
            "forget": regression.inputs[:7],
            "retain": regression[7:],
            "fresh": lambda: Stops(fresh(), 0, asked),
            "config": SHORT,
        }
        with pytest.raises(ValueError, match=sentence) as caught:
            blindspot(**given | change)
        assert len(str(caught.value)) < 400 and bool(asked) == work

    return call


def test_a_network_of_another_kind_is_refused(refuse, fresh, tiny_net):
    sentence = "another architecture than the given one: {} instead of {}; fresh"
    asked = []
    other = type(tiny_net())
    wider = sentence.format(r"net.head.weight has shape \(2, 8\)", r"\(1, 8\)")
    refuse(wider, fresh=lambda: Stops(other(2), 0, asked))
    refuse(
        sentence.format("net.scale has shape none", r"\(\)"),
        fresh=lambda: Stops(nn.Linear(6, 1), 0, asked),
    )
    refuse("another architecture", fresh=fresh)
    refuse("another architecture", teacher=fresh())
    assert not asked


def test_a_teacher_of_another_kind_of_answer_is_refused(tiny_net, regression):
    class Column(type(tiny_net())):
        def forward(self, x):
            return super().forward(x)[:, None]

    parts = tiny_net(1), regression.inputs[:7], regression[7:]
    for axis, layers in ((1, None), (None, ("body.0",))):
        config = dataclasses.replace(SHORT, axis=axis, layers=layers)
        sentence = r"the blindspot model gives \(\d, 1\) where the model gives \(\d,\): both must"
        with pytest.raises(ValueError, match=sentence):
            blindspot(*parts, fresh=None, teacher=Column(1), config=config)


@pytest.mark.parametrize("given", [None, 3, "net", nn.Linear(6, 1)])
def test_fresh_is_a_function(refuse, given):
    refuse("fresh must be a function that makes a new, untrained model", fresh=given)


@pytest.mark.parametrize("given", [3, "net", len])
def test_a_teacher_is_a_model(refuse, given):
    refuse("must be a torch.nn.Module", teacher=given)


def test_a_fresh_that_is_not_new_is_refused(refuse, tiny_net):
    model = tiny_net(1)
    refuse("the same weights out twice", fresh=lambda: model)


@pytest.mark.parametrize(
    "layers", [("haed",), ("net.head", ""), ("net.body.9",), (3,), (None,), ["x"]]
)
def test_a_layer_that_is_not_there(refuse, layers):
    config = dataclasses.replace(SHORT, layers=layers)
    refuse("the model has no layer named .*; it has net, net.body", config=config)


@pytest.mark.parametrize("seed", [None, -1, "1", 1.5, torch.randn(2)])
def test_a_seed_is_a_whole_number(refuse, seed):
    refuse("seed must be a whole number", seed=seed)


def test_class_labels_are_refused_of_examples_and_of_datasets(refuse, regression):
    labelled = regression[7:].with_targets(torch.arange(17) % 3)
    for retain in (labelled, Pairs(labelled)):
        refuse("blindspot copies numbers, but these targets are class labels", retain=retain)


def test_a_retained_set_without_targets_is_refused(refuse, regression):
    refuse("inputs without targets", retain=regression.inputs[7:])


def test_targets_that_are_not_finite(refuse, regression):
    bad = regression.targets[7:].clone()
    bad[4] = float("nan")
    with pytest.raises(ValueError, match="targets of 1 example.* NaN or infinite"):
        regression[7:].with_targets(bad)
    pairs = list(zip(regression.inputs[7:], bad, strict=True))
    refuse("targets of 1 example.* NaN or infinite", retain=pairs, work=True)


def test_inputs_that_do_not_fit(refuse, regression):
    refuse("fails on a batch of torch.float32", forget=regression.inputs[:7, :4], work=True)
    refuse("model is on cpu but the data are on meta", forget=regression.inputs[:7].to("meta"))


def test_a_teacher_on_another_device_is_refused(refuse, tiny_net):
    refuse("the model is on cpu but the new one on meta", teacher=tiny_net(1).to("meta"))


def test_the_teacher_is_made_where_the_model_is(tiny_net, regression):
    """As `fresh=lambda: MyNetwork()` is written: fresh makes it on the CPU."""
    config = dataclasses.replace(SHORT, teacher=Training(epochs=0))
    model, pairs = tiny_net(1).to("meta"), Pairs(regression)
    teacher = blindspot_model(model, lambda: tiny_net(1), pairs, config, 0, None, Cost())
    assert device_of(teacher).type == "meta"


def test_an_empty_band_and_the_whole_band(tiny_net, fresh, regression):
    for low, high, sentence in (
        (1e3, 2e3, "nothing is to be forgotten"),
        (-1e3, 1e3, "nothing is retained"),
        (2.0, 2.0, "low must be below high"),
    ):
        with pytest.raises(ValueError, match=sentence):
            unlearn(blindspot, tiny_net(1), by_range(regression, low, high), fresh=fresh)


def test_it_is_in_the_registry_and_runs_by_it(tiny_net, fresh, regression):
    request = by_index(regression, range(7))
    assert METHODS["blindspot"] is blindspot
    result = unlearn(blindspot, tiny_net(1), request, fresh=fresh, config=SHORT)
    alone = blindspot(tiny_net(1), request.forget.inputs, request.retain, fresh=fresh, config=SHORT)
    assert bits(result) == bits(alone) and result.method == "blindspot"


# ---- settings


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"beta": -1}, "beta must be a finite number"),
        ({"beta": float("nan")}, "beta must be a finite number"),
        ({"beta": float("inf")}, "beta must be a finite number"),
        ({"beta": "50"}, "beta must be a finite number"),
        ({"layers": "head"}, "layers must be a tuple of names or None, got 'head'"),
        ({"layers": 3}, "layers must be a tuple of names or None, got 3"),
        ({"axis": 0}, "axis must be a whole number but 0"),
        ({"axis": "1"}, "axis must be a whole number but 0"),
        ({"axis": 1.0}, "axis must be a whole number but 0"),
        ({"teacher": None}, "teacher must be a Training, got NoneType"),
        ({"teacher": 3}, "teacher must be a Training, got int"),
        ({"loss": "mse"}, "loss is one of"),
        ({"loss": None}, "loss is one of"),
        ({"epochs": -1}, "epochs must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"lr": float("nan")}, "lr must be"),
    ],
)
def test_settings_that_make_no_sense(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        Blindspot(**change)


def test_no_epoch_changes_nothing(tiny_net, regression):
    model = tiny_net(1)
    config = dataclasses.replace(SHORT, epochs=0)
    given = {"fresh": None, "teacher": tiny_net(1), "config": config}
    result = blindspot(model, regression.inputs[:7], regression[7:], **given)
    assert fingerprint(result.model) == fingerprint(model) and result.cost.samples == 0


def test_inputs_that_are_not_finite_are_found_before_the_teacher_is_trained(regression, tiny_net):
    inputs = regression.inputs[:7].clone()
    inputs[2, 0] = float("nan")
    with pytest.raises(ValueError, match="inputs of the forget set of 1 example"):
        blindspot(tiny_net(1), inputs, regression[7:], fresh=lambda: pytest.fail("it began"))
