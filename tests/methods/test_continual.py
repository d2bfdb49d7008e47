"""A stream of requests: its records, what is forgotten stays so, and a stream that is killed."""

import copy
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from minilearn.cost import Cost
from minilearn.data import Examples
from minilearn.evaluation import evaluate
from minilearn.fingerprints import fingerprint
from minilearn.methods import L2UL, PGD, continual, finetune, l2ul, neggrad, retrain
from minilearn.requests import by_index
from minilearn.training import Training
from minilearn.unlearn import method
from minilearn.unlearned import History, Unlearned

CONFIG = L2UL(
    PGD(1.0, steps=5, repeats=2, box=(-9.0, 9.0)), epochs=100, lr=0.02, forget_loss_on="remaining"
)
# these attacks are too short to arrive
pytestmark = pytest.mark.filterwarnings("ignore:only .* adversarial images reach")
CONFIG = replace(CONFIG, forget_weight=0.9, anchor=0.01)

PROGRAM = """
import os, signal, sys
import torch
from torch import nn
from minilearn.data import Examples
from minilearn.methods import L2UL, PGD, continual, l2ul
from minilearn.requests import by_index

torch.set_num_threads(1)
path = sys.argv[1]
torch.manual_seed(0)
train = Examples(torch.rand(40, 1, 6, 6), torch.arange(40) % 4)
layers = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 4)
net = nn.Sequential(*layers)
with torch.no_grad():  # what it says now is what it has to unlearn
    train = train.with_targets(net.eval()(train.inputs).argmax(1))
requests = [by_index(train, [3 * i, 3 * i + 1]) for i in range(8)]
options = [{"relabel": (r.forget.targets + 1) % 4} for r in requests]
config = L2UL(PGD(0.5, steps=3, repeats=2), epochs=60, lr=0.05, forget_weight=0.9)
measured = []

def measure(model):
    measured.append(1)
    if len(measured) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return {"all": (model(train.inputs).argmax(1) == train.targets).double().mean()}

model, served = continual(l2ul, net, requests, options=options, config=config, seed=5,
                          checkpoint=path, measure=measure)
for s in served:
    print(s.request, s.items, s.seed, s.before, s.after, s.finished, s.recognised, s.metrics)
    print(s.samples)
print(len(measured), file=sys.stderr)
"""


@pytest.fixture
def requests(trained, classification) -> list:
    """Four requests for items that the model classifies right."""
    right = evaluate(trained, classification).correct.nonzero().flatten()
    return [by_index(classification, right[2 * i : 2 * i + 2]) for i in range(4)]


def test_a_stream_killed_after_the_third_of_eight_requests_ends_with_the_same_bits(
    tmp_path, monkeypatch, capsys
):
    """Killed when the fourth is unlearned and not yet written."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    command = [sys.executable, "-c", PROGRAM, str(killed), "4"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL and not done.stdout, done.stderr
    left = torch.load(killed, weights_only=True)["served"]
    assert len(left) == 3
    said = {}
    for path in (whole, killed):  # undisturbed, and gone on with
        monkeypatch.setattr(sys, "argv", ["program", str(path), "0"])
        capsys.readouterr()
        exec(PROGRAM, {})
        said[path] = capsys.readouterr()
    assert said[killed].out == said[whole].out  # every record, every fingerprint
    assert said[whole].out.count("\n") == 16
    # what was finished was not done again
    assert [said[path].err.split()[-1] for path in (whole, killed)] == ["8", "5"]
    ends = [torch.load(path, weights_only=True) for path in (whole, killed)]
    assert fingerprint(ends[0]["model"]) == fingerprint(ends[1]["model"])
    assert ends[1]["served"][:3] == left and not list(tmp_path.glob("*.part"))
    assert len({s["after"] for s in ends[0]["served"]}) >= 7  # nearly every request was work


def test_every_request_has_its_record(trained, requests):
    seen = []

    def measure(model) -> dict:
        seen.append(fingerprint(model))
        return {"retain": evaluate(model, requests[0].train).correct.double().mean()}

    options = {"config": CONFIG, "seed": 3, "measure": measure}
    model, served = continual(l2ul, trained, requests, **options)
    assert [s.seed for s in served] == [3, 4, 5, 6] and [s.items for s in served] == [2] * 4
    chain = [fingerprint(trained), *(s.after for s in served)]
    assert [s.before for s in served] == chain[:-1] and seen == chain[1:]
    assert fingerprint(model) == chain[-1] and len(set(chain)) == 5
    assert [len(s.recognised) for s in served] == [1, 2, 3, 4]
    assert all(s.recognised[-1] == 0 for s in served if s.finished)
    assert all(s.samples > 0 and s.seconds > 0 and 0 <= s.metrics["retain"] <= 1 for s in served)


def test_it_is_the_method_again_and_again(trained, requests):
    model, _ = continual(l2ul, trained, requests[:2], config=CONFIG, seed=8)
    first = l2ul(trained, requests[0].forget, config=CONFIG, seed=8).model
    second = l2ul(first, requests[1].forget, config=CONFIG, seed=9).model
    assert fingerprint(model) == fingerprint(second)


def test_the_given_model_is_as_before(trained, requests, everything_of):
    before = everything_of(trained)
    continual(l2ul, trained, requests[:2], config=CONFIG)
    assert everything_of(trained) == before


def test_what_was_withdrawn_is_not_retained(classification):
    seen = []

    def method(model, retain, **_):
        seen.append(retain)
        from minilearn.methods import finetune

        return finetune(model, retain, config=Training(epochs=1))

    requests = [by_index(classification, [i, i + 10]) for i in range(3)]
    continual(method, nn.Linear(6, 3), requests)
    gone = []
    for retained, request in zip(seen, requests, strict=True):
        gone += request.indices.tolist()
        kept = [i for i in range(24) if i not in gone]
        assert torch.equal(retained.inputs, classification.inputs[kept])


def test_retraining_after_every_request(classification):
    requests = [by_index(classification, [i]) for i in range(2)]
    options = {"fresh": lambda: nn.Linear(6, 3), "config": Training(epochs=2), "seed": 1}
    model, served = continual(retrain, nn.Linear(6, 3), requests, **options)
    left = classification[[i for i in range(24) if i > 1]]
    again = retrain(options["fresh"], left, config=options["config"], seed=2)
    assert fingerprint(model) == fingerprint(again.model) and len(served) == 2


def test_options_reach_each_request(trained, requests):
    new = [{"relabel": (r.forget.targets + 1) % 3} for r in requests[:2]]
    model, served = continual(l2ul, trained, requests[:2], options=new, config=CONFIG)
    for option, request, record in zip(new, requests, served, strict=False):
        goal = request.forget.with_targets(option["relabel"])
        assert (
            not record.finished or record is not served[-1] or evaluate(model, goal).correct.all()
        )


def test_a_finished_stream_is_read_and_not_run(trained, requests, tmp_path):
    options = {"config": CONFIG, "checkpoint": tmp_path / "stream"}
    model, served = continual(l2ul, trained, requests[:2], **options)
    again, read = continual(l2ul, trained, requests[:2], **options)
    assert fingerprint(again) == fingerprint(model) and read == served


def test_another_stream_is_refused(trained, requests, tmp_path, tiny_net):
    path = tmp_path / "stream"
    continual(l2ul, trained, requests[:2], config=CONFIG, checkpoint=path)
    for change in (
        {"seed": 1},
        {"config": replace(CONFIG, lr=0.01)},
        {"requests": requests[1:3]},
        {"model": tiny_net(seed=4)},
        {"options": [{"relabel": (r.forget.targets + 1) % 3} for r in requests[:2]]},
    ):
        given = {"model": trained, "requests": requests[:2], "config": CONFIG} | change
        with pytest.raises(ValueError, match="belongs to another stream"):
            continual(l2ul, given.pop("model"), given.pop("requests"), checkpoint=path, **given)


def test_a_broken_file_is_refused_and_left(trained, requests, tmp_path):
    path = tmp_path / "stream"
    path.write_text("no checkpoint")
    with pytest.raises(ValueError, match="is no whole checkpoint"):
        continual(l2ul, trained, requests, config=CONFIG, checkpoint=path)
    assert path.read_text() == "no checkpoint"


def test_a_model_that_was_changed_in_the_file_is_refused(trained, requests, tmp_path):
    path = tmp_path / "stream"
    continual(l2ul, trained, requests[:2], config=CONFIG, checkpoint=path)
    state = torch.load(path, weights_only=True)
    state["model"]["tensors"]["head.bias"][0] += 1e-6
    torch.save(state, path)
    with pytest.raises(ValueError, match="is no whole checkpoint"):
        continual(l2ul, trained, requests[:2], config=CONFIG, checkpoint=path)


def test_bad_streams_are_one_sentence(trained, requests, classification):
    other = by_index(Examples(classification.inputs, classification.targets), [0])
    for stream, sentence in (
        ([], "a list of Requests, one at least"),
        ([classification], "a list of Requests"),
        ([requests[0], other], "of one training set"),
        ([requests[0], requests[0]], "was withdrawn already"),
    ):
        with pytest.raises(ValueError, match=sentence):
            continual(l2ul, trained, stream, config=CONFIG)
    with pytest.raises(ValueError, match="4 requests need as many options, got 1"):
        continual(l2ul, trained, requests, options=[{}], config=CONFIG)
    for nameless in (partial(l2ul, config=CONFIG), "l2ul"):
        with pytest.raises(ValueError, match="give the method itself, and what else it takes as"):
            continual(nameless, trained, requests)
    with pytest.raises(ValueError, match="torch.nn.Module"):
        continual(l2ul, None, requests, config=CONFIG)


def test_a_stream_that_leaves_nothing_is_refused_at_once(trained, classification):
    train = classification
    whole = [by_index(train, range(5)), by_index(train, range(5, len(train)))]
    with pytest.raises(ValueError, match="withdraws all examples in the end, and finetune needs"):
        continual(finetune, trained, whole, measure=lambda model: pytest.fail("one was served"))
    _, served = continual(neggrad, trained, whole, options=[{}, {"retain": None}])
    assert [record.items for record in served] == [5, len(train) - 5]


def test_what_is_finished_is_kept_when_a_request_fails(trained, requests, tmp_path):
    path = tmp_path / "stream"
    bad = [{}, {"relabel": requests[1].forget.targets}]
    with pytest.raises(ValueError, match="is its old one"):
        continual(l2ul, trained, requests[:2], options=bad, config=CONFIG, checkpoint=path)
    assert len(torch.load(path, weights_only=True)["served"]) == 1


def test_a_stream_of_networks_built_otherwise_goes_on_with_these(tmp_path):
    """The original has ReLU, the retrained ones tanh: what is read again answers as it did."""

    def net(act):
        return nn.Sequential(nn.Linear(4, 8), act(), nn.Linear(8, 3))

    x = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    train = Examples(x, torch.arange(30) % 3)
    requests = [by_index(train, [0, 1]), by_index(train, [2, 3])]
    torch.manual_seed(0)
    original, recipe, file = net(nn.ReLU), Training(epochs=2), tmp_path / "stream"

    def serve(act):
        options = {"fresh": lambda: net(act), "config": recipe, "checkpoint": file}
        return continual(retrain, original, requests, **options)[0]

    first, again = serve(nn.Tanh), serve(nn.Tanh)
    assert torch.equal(first(x), again(x)) and isinstance(again[1], nn.Tanh)
    with pytest.raises(ValueError, match="belongs to another stream"):
        serve(nn.Sigmoid)


def test_a_model_that_has_diverged_is_not_one_that_has_forgotten(trained, classification):
    @method
    def blow_up(model: nn.Module, forget: Examples, *, config=None, seed: int = 0) -> Unlearned:
        far = nn.Sequential(copy.deepcopy(model), Times(float("inf")))
        return Unlearned(far, "blow_up", config, seed, History(), Cost())

    with pytest.raises(ValueError, match="NaN or infinite: it has diverged"):
        continual(blow_up, trained, [by_index(classification, [0])])


class Times(nn.Module):
    def __init__(self, by: float):
        super().__init__()
        self.by = by

    def forward(self, x):
        return x * self.by
