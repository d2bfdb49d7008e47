"""Runs on disk: resumed bit for bit, refused where they are others', whole or not at all."""

import dataclasses
import errno
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from shared import Pairs, descend, same, weights

from minilearn.checkpoint import fingerprint, write_whole
from minilearn.cost import Cost
from minilearn.data import Examples, Unlabelled
from minilearn.evaluation import evaluate
from minilearn.training import Training, fit

SHORT = Training(epochs=3, batch_size=7, lr=1e-2)


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
import sys, torch
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

def half(state, part):
    save(state, part)
    part.write_bytes(part.read_bytes()[:1000])
    wait_for_the_end()

def watch(epoch, model):
    print(epoch, flush=True)
    if epoch == 7 and where == "watch":
        wait_for_the_end()
    if epoch == 7 and where == "writing":
        torch.save = half  # as a disk that takes its time
    return {}

save = torch.save
fit(net, data, Training(epochs=12, batch_size=6), watch=watch, checkpoint=path)
torch.save(net.state_dict(), path + ".weights")
"""


@pytest.mark.parametrize("where", ["watch", "writing"])
def test_resuming_after_kill_9(tmp_path, monkeypatch, capsys, where):
    """Killed between two steps, and with half of a checkpoint written."""
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "killed"), where]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as killed:
        assert "here\n" in iter(killed.stdout.readline, "")  # waits until it is there
        killed.kill()
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "killed.part").exists() == (where == "writing")
    for name in ("whole", "killed"):
        monkeypatch.setattr(sys, "argv", ["program", str(tmp_path / name), ""])
        capsys.readouterr()
        exec(PROGRAM, {})
    epochs = [int(line) for line in capsys.readouterr().out.split()]
    assert epochs == [7, 8, 9, 10, 11, 12]  # it did go on
    a, b = (torch.load(tmp_path / f"{name}.weights") for name in ("whole", "killed"))
    assert same(a.values(), b.values()) and not (tmp_path / "killed.part").exists()


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
