"""What gave a wrong number in silence: runs, networks and readings of an ordinary user."""

import copy

import pytest
import torch
import torch.nn.functional as F
from shared import SHORT, Net, labelled
from torch import nn
from torch.utils.data import TensorDataset

from minilearn.data import Examples
from minilearn.evaluation import evaluate
from minilearn.methods import L2UL, continual, finetune, l2ul, neggrad
from minilearn.metrics import accuracy, linear_probe, report
from minilearn.models import build, extractor, representation
from minilearn.parts.importance import importance
from minilearn.requests import by_class, by_index
from minilearn.training import Best, Training, fit


def test_the_history_of_another_watch_is_said(train, tmp_path):
    """The file holds what the first one said; without a watch nobody reads it for another's."""

    def on(data):
        return lambda epoch, model: {"accuracy": accuracy(evaluate(model, data))}

    net, file = build(Net, 0), tmp_path / "run"
    first = finetune(net, train, config=SHORT, watch=on(train[:30]), checkpoint=file)
    again = finetune(net, train, config=SHORT, watch=on(train[:30]), checkpoint=file)
    assert again.history.epochs == first.history.epochs
    finetune(net, train, config=SHORT, checkpoint=file)
    for other in on(train[30:]), Best(train[30:]):
        with pytest.warns(UserWarning, match="2 epochs under another watch, or none"):
            finetune(net, train, config=SHORT, watch=other, checkpoint=file)
    best = Best(train[30:])
    for _ in range(2):  # what it has seen meanwhile makes it no other
        finetune(net, train, config=SHORT, watch=best, checkpoint=tmp_path / "best")


def test_a_file_of_another_method_is_refused_before_any_work(train, tmp_path):
    net = build(Net, 0)
    finetune(net, train, config=SHORT, checkpoint=tmp_path / "run")
    net.register_forward_hook(lambda *_: pytest.fail("it ran"))
    with pytest.raises(ValueError, match="belongs to a run with other settings"):
        l2ul(net, train[:3], config=L2UL(attack=None), checkpoint=tmp_path / "run")


class Pairs(nn.Module):
    """Two halves of an input through the same features."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(2, 4), nn.ReLU())
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(torch.cat([self.features(x[:, :2]), self.features(x[:, 2:4])], 1))


def test_a_representation_that_is_made_twice_is_refused(train):
    net = build(Pairs, 0)
    with pytest.raises(ValueError, match="'features' runs 2 times, so that it has several outputs"):
        representation(net, train)
    assert representation(net, train, layer="head").shape == (60, 3)


class Squeezing(nn.Module):
    """The linear layers stand in a side branch; the head is none."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv1d(1, 4, 3)
        self.squeeze = nn.Linear(4, 2)
        self.excite = nn.Linear(2, 4)
        self.top = nn.Conv1d(4, 3, 1)

    def forward(self, x):
        h = self.body(x[:, None]).relu()
        gate = self.excite(self.squeeze(h.mean(2)).relu()).sigmoid()
        return self.top(h * gate[:, :, None]).mean(2)


def test_a_head_that_is_no_linear_layer_is_said(train):
    with pytest.warns(UserWarning, match="'excite' is given, .* not give the network's answer"):
        representation(build(Squeezing, 0), train)


def test_features_in_a_buffer_and_with_gradients_are_kept(train):
    class Odd(Net):
        def forward(self, x):
            with torch.enable_grad():
                answer = super().forward(x)
            if not hasattr(self, "kept"):
                self.kept = torch.empty(64, 3)
            return self.kept[: len(x)].copy_(answer.detach())

    odd, plain = build(Odd, 0), build(Net, 0)
    found, expected = (evaluate(net, train, batch_size=7) for net in (odd, plain))
    torch.testing.assert_close(found.outputs, expected.outputs)
    assert not representation(odd, train).requires_grad


class Mixing(nn.Module):
    """It reads the examples of a batch as a sequence, as without batch_first=True."""

    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(5, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.lstm(x)[0])


class Normalised(Net):
    def forward(self, x):
        return super().forward(F.normalize(x, dim=0))


@pytest.mark.parametrize("kind", [Mixing, Normalised])
def test_an_answer_that_depends_on_the_batch_is_said(train, kind):
    with pytest.warns(
        UserWarning, match="answers an example otherwise without the examples beside"
    ):
        evaluate(build(kind, 0), train)


class Drawing(Net):
    def forward(self, x):
        return F.dropout(super().forward(x), training=True)


def test_of_a_network_that_draws_no_two_batches_draw_alike(train):
    x = train.inputs[:8].repeat(2, 1)
    sets = Examples(x, train.targets[:8].repeat(2)), TensorDataset(x, train.targets[:8].repeat(2))
    tensors, dataset = (evaluate(build(Drawing, 0), data, batch_size=8).outputs for data in sets)
    assert torch.equal(tensors, dataset) and not torch.equal(tensors[:8], tensors[8:])


@pytest.mark.parametrize("dtype, optimizer", [(torch.bfloat16, "adam"), (torch.float16, "sgd")])
def test_weights_that_lose_small_steps_are_said(train, dtype, optimizer):
    net, data = build(Net, 0).to(dtype), Examples(train.inputs.to(dtype), train.targets)
    with pytest.warns(UserWarning, match=f"weights in {dtype} lose a step of less than"):
        fit(net, data, Training(epochs=1, batch_size=8, lr=1e-3, optimizer=optimizer))
    fit(net.float(), train, SHORT)  # no word of it


def test_an_importance_in_low_precision_adds_up_in_single():
    net = build(lambda: nn.Linear(3, 2), 0)
    x = torch.rand(3000, 3, generator=torch.Generator().manual_seed(0))
    exact = importance(net.double(), x.double(), "loop")["weight"]
    coarse = importance(net.to(torch.bfloat16), x.to(torch.bfloat16), "loop")["weight"]
    torch.testing.assert_close(coarse.double(), exact, rtol=0.02, atol=0.0)


def test_a_probe_without_the_class_that_it_reads_is_refused(train):
    request, net = by_class(train, 2), build(Net, 0)
    with pytest.raises(ValueError, match="fitted without class 2, which it can never answer"):
        linear_probe(net, request.retain, request.forget)
    with pytest.warns(UserWarning, match="fitted without class 2, which it can never answer"):
        linear_probe(net, request.retain, train)


def test_a_method_that_trained_the_originals_weights_is_refused(train):
    original = build(lambda: nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)), 0)
    around = nn.Sequential(*original)
    request, test = by_index(train, range(9)), labelled(40, seed=2)
    with pytest.raises(ValueError, match="own holds the original itself, or its own weights"):
        report(request, test, original=[original], methods={"own": [around]})
    head = nn.Sequential(*original[:2].requires_grad_(False), nn.Linear(8, 3))
    original.requires_grad_(True)
    report(request, test, original=[original], methods={"own": [copy.deepcopy(head)]})


class Uncopied(nn.Linear):
    def __deepcopy__(self, memo):
        return self


def test_a_copy_that_is_none_is_refused(train):
    net = nn.Sequential(Uncopied(5, 3))
    with pytest.raises(ValueError, match="shares 0.weight with the model: its __deepcopy__"):
        neggrad(net, train[:5])


def test_an_option_that_no_method_has_is_found_at_the_door(train):
    stream = [by_index(train, [0]), by_index(train, [1])]
    options = [{}, {"relable": torch.tensor([1])}]
    with pytest.raises(
        ValueError, match="l2ul has no option 'relable', but model, forget, relabel"
    ):
        continual(l2ul, build(Net, 0), stream, options=options)


def test_the_first_call_of_an_extractor_looks_at_the_whole_network(train):
    net, seen = build(Net, 0), []
    net.two.register_forward_hook(lambda *_: seen.append(1))
    extract = extractor(net, "one")
    extract(train.inputs), extract(train.inputs)
    assert len(seen) == 1
