"""Bad teaching against its divergence written out in float64."""

import dataclasses
import math

import pytest
import torch

from minilearn.methods import BadTeacher, bad_teacher
from minilearn.methods.bad_teacher import BAD_TEACHER
from minilearn.models import build
from minilearn.run import Run

CASE = {
    "access": ("model", "forget inputs", "retain inputs", "fresh"),
    "task": "classification",
}

SHORT = BadTeacher(1, 100, 1e-2)


def test_the_first_loss_is_the_divergence_from_the_two_teachers(tiny_net, classification):
    """The student starts as the original: on retained inputs it is at 0, on the others it is not.

    Without dropout and batch statistics both hold exactly.
    """
    kind = type(tiny_net())
    net = tiny_net(dropout=0.0)
    net.body[1] = torch.nn.Identity()

    def plain():
        other = kind(3, dropout=0.0)
        other.body[1] = torch.nn.Identity()
        return other

    x_f, x_r = classification.inputs[:7], classification.inputs[7:]
    result = bad_teacher(net, x_f, x_r, fresh=plain, config=SHORT, seed=3)
    bad = build(plain, 3 + BAD_TEACHER).double()
    said, taught = net.double()(x_f.double()).softmax(1), bad(x_f.double()).softmax(1)
    total = 0.0
    for p, q in zip(taught.tolist(), said.tolist(), strict=True):
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    read = 7 + round(0.3 * 17)
    assert result.history.loss[0].item() == pytest.approx(total / read, rel=1e-5)
    assert result.cost.by_source() == {"forget": 7 * 4, "retain": (read - 7) * 4}


def test_what_is_read_of_the_retained_is_drawn_by_the_seed(tiny_net, classification, monkeypatch):
    read, mixed = [], Run.mixed

    def noted(run, forget, chosen, size):
        read.append(chosen)
        return mixed(run, forget, chosen, size)

    monkeypatch.setattr(Run, "mixed", noted)
    net, x = tiny_net(), classification.inputs
    for seed in (0, 0, 1):
        bad_teacher(net, x[:7], x[7:], fresh=type(net), config=SHORT, seed=seed)
    sets = [{tuple(row.tolist()) for row in each} for each in read]
    assert sets[0] == sets[1] != sets[2] and all(len(each) == 5 for each in sets)


def test_forgotten_answers_become_the_untrained_ones(trained, classification):
    kind = type(trained)
    config = dataclasses.replace(SHORT, epochs=150, fraction=1.0)
    x_f, x_r = classification.inputs[:7], classification.inputs[7:]
    options = {"fresh": lambda: kind(3, dropout=0.0), "config": config}
    model = bad_teacher(trained, x_f, x_r, **options).model.eval()
    bad = build(options["fresh"], BAD_TEACHER).eval()

    def apart(a, b, x):
        return (a(x).softmax(1) - b(x).softmax(1)).abs().max().item()

    with torch.no_grad():
        assert apart(model, bad, x_f) < 0.5 * apart(trained, bad, x_f)
        said = model(x_r).argmax(1) == trained(x_r).argmax(1)
        assert said.double().mean() > 0.7


def test_bad_input(tiny_net, classification):
    x, net = classification.inputs, tiny_net()
    for change, sentence in (
        ({"fresh": lambda: tiny_net(4)}, "another architecture"),
        ({"fresh": net}, "fresh must be a function"),
        ({"forget": x[:7].to("meta")}, "model is on cpu but the data are on meta"),
        ({"retain": x[7:].to("meta")}, "model is on cpu but the data are on meta"),
        ({"seed": "1"}, "seed must be a whole number"),
        ({"config": 3}, "config must be a BadTeacher"),
    ):
        given = {"forget": x[:7], "retain": x[7:], "fresh": type(net)} | change
        with pytest.raises(ValueError, match=sentence):
            bad_teacher(net, **given)
    with pytest.raises(ValueError, match="must return one tensor of logits"):
        bad_teacher(tiny_net(1), x[:7], x[7:], fresh=lambda: type(net)(1))
    for wrong in ({"fraction": 0}, {"fraction": 1.5}, {"lr": -1}, {"epochs": 0.5}):
        with pytest.raises(ValueError, match="must"):
            BadTeacher(**wrong)


def test_a_batch_without_forgotten_inputs_asks_no_teacher_about_them(classification):
    """A network that reshapes by its batch cannot read a batch without rows."""

    class Reshaped(torch.nn.Sequential):
        def forward(self, x):
            return super().forward(x.view(x.size(0), -1))

    def fresh():
        return Reshaped(torch.nn.Linear(6, 3))

    x = classification.inputs
    config = BadTeacher(epochs=1, batch_size=4, fraction=1.0)
    result = bad_teacher(build(fresh, 1), x[:2], x[2:], fresh=fresh, config=config)
    assert len(result.history.loss) == 6
