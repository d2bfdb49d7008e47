"""Runs on disk: resumed bit for bit, refused where they are others', whole or not at all."""

import contextlib
import dataclasses
import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from shared import Pairs, cross_entropy, descend, same, weights
from torch import nn

from minilearn.checkpoint import fill, held_by
from minilearn.cost import Cost
from minilearn.data import Examples
from minilearn.evaluation import evaluate
from minilearn.files import HOUR, read_state, write_state
from minilearn.fingerprints import fingerprint
from minilearn.identity import contents
from minilearn.run import Run
from minilearn.training import Training, fit

SHORT = Training(epochs=3, batch_size=7, lr=1e-2)


def interrupted(net, data, path, config, epoch, **options):
    def watch(now, model):
        if now == epoch:
            raise KeyboardInterrupt
        return options["watch"](now, model) if "watch" in options else {}

    with pytest.raises(KeyboardInterrupt):
        fit(net, data, config, **options | {"watch": watch}, checkpoint=path)


@pytest.mark.filterwarnings("ignore:.* under another watch")
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
import sys, torch
from pathlib import Path
from torch import nn
from minilearn.data import Examples
from minilearn.training import Training, fit

torch.set_num_threads(1)
path, where = sys.argv[1:]
with torch.random.fork_rng(devices=[]):
    torch.manual_seed(0)
    data = Examples(torch.randn(20, 4), torch.arange(20) % 2)
    net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2))

def wait_for_the_end():
    print("here", flush=True)
    sys.stdin.read()

def half(path, content):
    with path.open("wb") as part:
        part.write(content[:1000])
    wait_for_the_end()

def watch(epoch, model):
    print(epoch, flush=True)
    if epoch == 7 and where == "watch":
        wait_for_the_end()
    if epoch == 7 and where == "writing":
        Path.write_bytes = half  # as a disk that takes its time
    return {}

fit(net, data, Training(epochs=12, batch_size=6), watch=watch, checkpoint=path)
torch.save(net.state_dict(), path + ".weights")
"""


@pytest.mark.filterwarnings("ignore:.* under another watch")
@pytest.mark.parametrize("where", ["watch", "writing"])
def test_resuming_after_kill_9(tmp_path, monkeypatch, capsys, where):
    """Killed between two steps, and with half of a checkpoint written."""
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "killed"), where]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as killed:
        assert "here\n" in iter(killed.stdout.readline, "")  # waits until it is there
        killed.kill()
    assert killed.returncode == -signal.SIGKILL
    left = list(tmp_path.glob("killed.*.part"))
    assert len(left) == (where == "writing")
    for part in left:  # an hour later
        os.utime(part, (time.time() - HOUR - 9,) * 2)
    for name in ("whole", "killed"):
        monkeypatch.setattr(sys, "argv", ["program", str(tmp_path / name), ""])
        capsys.readouterr()
        exec(PROGRAM, {})
    epochs = [int(line) for line in capsys.readouterr().out.split()]
    assert epochs == [7, 8, 9, 10, 11, 12]  # it did go on
    a, b = (torch.load(tmp_path / f"{name}.weights") for name in ("whole", "killed"))
    assert same(a.values(), b.values()) and not list(tmp_path.glob("*.part"))


def test_a_checkpoint_of_another_run_is_refused(tiny_net, classification, tmp_path):
    path = tmp_path / "run"
    fit(tiny_net(), classification, SHORT, checkpoint=path)
    held = path.read_bytes()
    moved = Examples(classification.inputs.clone(), classification.targets)
    moved.inputs[23, 5] += 1e-6
    frozen = tiny_net()
    frozen.head.requires_grad_(False)
    cases = [
        ({"seed": 1}, "other seed (0, here 1);"),
        ({"config": Training(3, 8, 2e-2)}, "settings (batch_size 7, here 8; lr 0.01, here 0.02);"),
        ({"data": moved}, "other data;"),
        (
            {"data": classification[:20], "seed": 2},
            "other seed (0, here 2) and other data (Examples of 24, here Examples of 20);",
        ),
        ({"model": tiny_net(seed=1)}, "other starting weights;"),
        ({"model": tiny_net(dropout=0.25)}, "p=0.25"),
        ({"model": frozen}, "other frozen parts ("),
    ]
    for change, sentence in cases:
        given = {"model": tiny_net(), "data": classification, "config": SHORT} | change
        before = weights(given["model"])
        with pytest.raises(ValueError, match="belongs to a run with other .*; delete it or") as e:
            fit(**given, checkpoint=path)
        assert sentence in str(e.value)
        assert same(before, weights(given["model"])) and path.read_bytes() == held


def test_a_network_whose_code_was_changed_is_refused(classification, tmp_path):
    """The same class with the same weights, edited and run again."""

    def net(factor: int) -> nn.Module:
        space = {"nn": nn}
        exec(f"class Net(nn.Linear):\n def forward(self, x): return {factor} * x[:, :3]", space)
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 6), space["Net"](3, 3))

    for _ in range(2):
        fit(net(2), classification, SHORT, checkpoint=tmp_path / "run")
    with pytest.raises(ValueError, match="belongs to a run with other code of the network; delete"):
        fit(net(3), classification, SHORT, checkpoint=tmp_path / "run")


def test_a_run_is_about_what_it_names(tiny_net, classification, tmp_path):
    def stream(order):
        yield classification.inputs, classification.targets

    def other(order):
        yield classification.inputs, 1 - classification.targets

    descend(tiny_net(), stream, SHORT, checkpoint=tmp_path / "code", read=stream)
    with pytest.raises(ValueError, match="belongs to a run with other read;"):
        descend(tiny_net(), stream, SHORT, checkpoint=tmp_path / "code", read=other)
    descend(tiny_net(), stream, SHORT, checkpoint=tmp_path / "run", read=classification)
    with pytest.raises(ValueError, match="other read .Examples of 24, here Examples of 23.;"):
        descend(tiny_net(), stream, SHORT, checkpoint=tmp_path / "run", read=classification[1:])


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


@pytest.mark.parametrize("place", ["", ".", "runs/", os.devnull, b"run", "a\0b", 7, True])
def test_a_checkpoint_must_name_a_file(tiny_net, classification, place):
    with pytest.raises(ValueError, match="checkpoint must name a file"):
        fit(tiny_net(), classification, SHORT, checkpoint=place)


def test_a_full_disk_is_one_sentence(tiny_net, classification, tmp_path, monkeypatch):
    path, real, calls = tmp_path / "run", Path.write_bytes, iter(range(100))

    def write(part, content):
        if next(calls) < 2:  # the first two fit on the disk
            return real(part, content)
        real(part, b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write)
    net, expected = tiny_net(), tiny_net()
    with pytest.raises(OSError, match="run could not be written: there is no space left on the"):
        fit(net, classification, SHORT, checkpoint=path)
    assert os.listdir(tmp_path) == ["run"]
    monkeypatch.undo()
    fit(expected, classification, SHORT)
    held = path.read_bytes()
    for resumed in (net, tiny_net()):  # the old checkpoint is whole
        path.write_bytes(held)
        fit(resumed, classification, SHORT, checkpoint=path)
        assert same(weights(resumed), weights(expected))


def test_a_disk_that_cannot_be_written_is_found_before_any_work(tiny_net, classification, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    net = tiny_net()
    with pytest.raises(OSError, match="could not be written"):
        fit(net, classification, SHORT, checkpoint=tmp_path / "file" / "run")
    assert same(weights(net), weights(tiny_net()))


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


# ---- everything that makes the next step is in the file


class Average(nn.Module):
    """Takes a running mean away, which no state_dict holds."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(8), persistent=False)

    def forward(self, x):
        if self.training:
            self.mean.mul_(0.9).add_(0.1 * x.detach().mean(0).float())
        return x - self.mean.to(x.dtype)


class Counted(nn.Module):
    """Has a state of its own that is no tensor."""

    def __init__(self):
        super().__init__()
        self.seen = [0]

    def forward(self, x):
        self.seen[0] += self.training
        return x * (1 + self.seen[0] / 100)

    def get_extra_state(self):
        return {"seen": self.seen[0]}

    def set_extra_state(self, state):
        self.seen[0] = state["seen"]


def network(kind: str) -> nn.Module:
    """A network whose next step depends on more than its weights."""
    torch.manual_seed(3)
    middle = {"average": Average, "counted": Counted}.get(kind, lambda: nn.Dropout(0.5))()
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), middle, nn.Linear(8, 3))
    if kind == "frozen":
        net[0].requires_grad_(False)
    return net.bfloat16() if kind == "bfloat16" else net


class Noisy(Pairs):
    """Every reading draws, from torch, from NumPy and from `random`."""

    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return x + torch.randn(()) + np.random.rand() + random.random(), y


KINDS = ["average", "counted", "dropout", "frozen", "bfloat16"]


@pytest.mark.filterwarnings("ignore:weights in torch.bfloat16 lose")
@pytest.mark.parametrize("again", ["the same model", "a new one"])
@pytest.mark.parametrize("kind", KINDS)
def test_interrupted_at_any_step_it_ends_with_the_same_bits(classification, tmp_path, kind, again):
    data = Noisy(classification) if kind == "dropout" else classification
    if kind == "bfloat16":
        data = Examples(classification.inputs.bfloat16(), classification.targets)
    config = Training(epochs=3, batch_size=10)
    known_draws()
    whole = network(kind)
    history = descend(whole, data, config)
    for step in range(1, 10):
        calls = iter(range(1, 100))

        def stopping(net, x, y, calls=calls, step=step):
            if next(calls) == step:
                raise KeyboardInterrupt
            return cross_entropy(net, x, y)

        net, path = network(kind), tmp_path / f"{step}"
        known_draws()
        with pytest.raises(KeyboardInterrupt):
            descend(net, data, config, stopping, checkpoint=path)
        net = net if again == "the same model" else network(kind)
        its_history = descend(net, data, config, checkpoint=path)
        assert same(contents(net).values(), contents(whole).values())
        assert torch.equal(history.loss, its_history.loss)


@pytest.mark.parametrize("when", ["before the file has its name", "when it just has it"])
def test_interrupted_while_it_is_written_the_same_model_goes_on(
    tiny_net, classification, tmp_path, monkeypatch, when
):
    expected, net, path = tiny_net(), tiny_net(), tmp_path / "run"
    fit(expected, classification, SHORT)
    interrupted(tiny_net(), classification, path, SHORT, 2)
    real, calls = os.replace, iter(range(100))

    def replace(part, path):
        stop = next(calls) == 0  # after the second epoch
        if not (stop and when == "before the file has its name"):
            real(part, path)
        if stop:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt, match="the model has the weights of 1 finished epochs"):
        fit(net, classification, SHORT, checkpoint=path)
    fit(net, classification, SHORT, checkpoint=path)
    assert same(weights(net), weights(expected))


def known_draws():
    np.random.seed(7)
    random.seed(7)


def test_a_run_leaves_the_generators_of_numpy_and_python_alone(tiny_net, classification, tmp_path):
    for _ in range(2):  # begun, and read from the file
        known_draws()
        fit(tiny_net(), Noisy(classification), SHORT, checkpoint=tmp_path / "run")
        now = np.random.rand(), random.random()
        known_draws()
        assert now == (np.random.rand(), random.random())


def test_a_ledger_that_is_handed_in_again_counts_once(tiny_net, classification, tmp_path):
    def stop(epoch, model):
        if epoch == 2:
            raise KeyboardInterrupt
        return {}

    expected, cost = Cost(), Cost()
    fit(tiny_net(), classification, SHORT, cost=expected)
    cost.touch("other", forward=5)
    for path in (tmp_path / "one", tmp_path / "two"):  # two runs, each interrupted and called again
        for watch in (stop, stop, None, None):
            with contextlib.suppress(KeyboardInterrupt):
                fit(tiny_net(), classification, SHORT, cost=cost, watch=watch, checkpoint=path)
            cost.touch("forget", forward=1)  # what is booked in between stays
    assert cost.by_source() == {
        "other": 5,
        "retain": 2 * expected.by_source()["retain"],
        "forget": 8,
    }
    path.unlink()  # done once more, it costs once more
    for _ in range(2):
        fit(tiny_net(), classification, SHORT, cost=cost, checkpoint=path)
    assert cost.by_source()["retain"] == 3 * expected.by_source()["retain"]
    fresh = Cost()
    fit(tiny_net(), classification, SHORT, cost=fresh, checkpoint=path)
    assert fresh.by_source() == expected.by_source()


# ---- a file that is not as it was written


def test_no_flipped_bit_changes_a_result(tiny_net, classification, tmp_path):
    path = tmp_path / "run"
    interrupted(tiny_net(), classification, path, SHORT, 3)
    whole = path.read_bytes()
    expected = tiny_net()
    fit(expected, classification, SHORT)
    draw = random.Random(5)
    for _ in range(40):
        bit = draw.randrange(8 * len(whole))
        broken = bytearray(whole)
        broken[bit // 8] ^= 1 << bit % 8
        path.write_bytes(broken)
        net, cost = tiny_net(), Cost()
        with pytest.raises(ValueError, match="is no whole checkpoint"):
            fit(net, classification, SHORT, checkpoint=path, cost=cost)
        assert same(weights(net), weights(tiny_net())) and cost == Cost()
        assert path.read_bytes() == broken
    path.write_bytes(whole)
    fit(net, classification, SHORT, checkpoint=path)
    assert same(weights(net), weights(expected))


def lose(part: str, name: str):
    return lambda state: state[part].pop(name)


CHANGES = {
    "a part": lambda state: state.pop("generators"),
    "a generator": lose("generators", "cpu"),
    "an optimiser": lambda state: state["optimizers"].clear(),
    "a group": lambda state: state["optimizers"][0]["param_groups"].clear(),
    "a shape": lambda state: state["model"]["tensors"].update({"head.bias": torch.zeros(4)}),
    "a dtype": lambda state: state["model"]["tensors"].update({"head.bias": torch.zeros(3).half()}),
    "a tensor": lambda state: state["model"]["tensors"].pop("head.bias"),
    "one too many": lambda state: state["model"]["tensors"].update(more=torch.zeros(3)),
    "the ledger": lambda state: state["cost"].pop("forward"),
    "what it was": lambda state: state["run"].pop("seed"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_file_that_does_not_fit_leaves_everything_as_it_was(
    tiny_net, classification, tmp_path, change
):
    """Written anew, so that its digest is right: as another version of the package might."""
    path = tmp_path / "run"
    interrupted(tiny_net(), classification, path, SHORT, 3)
    state = read_state(path, set())
    change(state)
    write_state(path, state)
    net, cost = tiny_net(), Cost()
    with Run(net, SHORT, cost=cost, checkpoint=path, progress=False, data=classification) as run:
        held = [run.history, SHORT.make_optimizer(run).state_dict(), run.order, contents(net)]
        before = fingerprint(held), torch.get_rng_state()
        with pytest.raises(ValueError, match="delete it") as refused:
            next(run.epochs(3))
        assert "\n" not in str(refused.value) and str(path) in str(refused.value)
        held[1] = run._optimizers[0].state_dict()
        assert fingerprint(held) == before[0] and torch.equal(torch.get_rng_state(), before[1])
        assert cost == Cost()


def test_a_buffer_that_cannot_be_written_need_not_be():
    net = nn.Linear(2, 2)
    net.register_buffer("grid", torch.zeros(1).expand(8), persistent=False)
    fill(net, held_by(net))


def test_extra_state_that_cannot_be_read_again_is_refused_before_any_work(classification, tmp_path):
    net = network("counted")
    net[2].get_extra_state = lambda: {"seen": Average}
    before = fingerprint(contents(net))
    with pytest.raises(ValueError, match="is no whole checkpoint"):
        fit(net, classification, SHORT, checkpoint=tmp_path / "run")
    assert fingerprint(contents(net)) == before


# ---- where it is


def test_a_path_may_begin_at_home_and_be_a_link(tiny_net, classification, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "other").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "other" / "place")
    for _ in range(2):
        fit(tiny_net(), classification, SHORT, checkpoint="~/run")
    assert (tmp_path / "run").is_symlink() and os.listdir(tmp_path / "other") == ["place"]


RACE = """
import sys, torch
from torch import nn
from minilearn.data import Examples
from minilearn.training import Training, fit

torch.set_num_threads(1)
path, runs = sys.argv[1], int(sys.argv[2])
data = Examples(torch.arange(60.0).reshape(20, 3) / 60, torch.arange(20) % 2)
for run in range(runs):
    print("ready", flush=True)
    sys.stdin.readline()
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 64), nn.Dropout(0.5), nn.Linear(64, 2))
    fit(net, data, Training(epochs=8, batch_size=10), checkpoint=f"{path}{run}", progress=False)
    print(net.eval()(data.inputs).sum().item(), flush=True)
"""


def test_two_processes_with_one_checkpoint_do_not_hinder_each_other(tmp_path, runs=3):
    command = [sys.executable, "-c", RACE, str(tmp_path / "run"), str(runs)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, **pipes) for _ in range(2)]
    results = []
    for _ in range(runs):
        for process in both:
            assert process.stdout.readline() == "ready\n"
        for process in both:
            process.stdin.write("go\n")
            process.stdin.flush()
        results += [process.stdout.readline() for process in both]
    for process in both:
        process.communicate()
        assert process.returncode == 0
    assert len(set(results)) == 1 and results[0].strip()
    assert sorted(os.listdir(tmp_path)) == sorted(f"run{i}" for i in range(runs))
    assert all(read_state(path, set())["finished"] == 8 for path in tmp_path.iterdir())
