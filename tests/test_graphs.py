"""A captured step is the step, and a recorded training the training; on a tape or a GPU."""

import itertools
from contextlib import ExitStack

import pytest
import torch
from shared import descend
from tape import taped
from torch import nn

from minilearn import graphs
from minilearn.cost import Cost
from minilearn.data import Examples
from minilearn.graphs import capture
from minilearn.losses import Quantile
from minilearn.models import Normalize, allcnn, cnn
from minilearn.precision import fast
from minilearn.run import Run
from minilearn.training import Training, fit

GPU = pytest.param("cuda", marks=pytest.mark.skipif("not torch.cuda.is_available()"))


@pytest.fixture(params=["tape", GPU])
def device(request):
    """Where steps are recorded: on a GPU, or in its stead on a CPU with a tape."""
    with ExitStack() as stack:
        stack.enter_context(torch.backends.cudnn.flags(enabled=True, deterministic=True))
        if request.param == "tape":
            stack.enter_context(taped())
        yield "cpu" if request.param == "tape" else "cuda"


def test_ten_captured_steps_are_ten_steps(device):
    batches = torch.randn(10, 8, 5, device=device)

    def trained(captured: bool):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1)).to(device)
        optimizer = torch.optim.SGD(net.parameters(), lr=1e-2, momentum=0.9)

        def step(x):
            loss = net(x).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.detach()

        if not captured:
            return net, [float(step(x)) for x in batches]
        start = [p.detach().clone() for p in net.parameters()]
        step(batches[0])  # the optimiser makes its state
        made = [v for s in optimizer.state.values() for v in s.values()]
        with torch.no_grad():
            for p, value in zip(net.parameters(), start, strict=True):
                p.copy_(value)
            for v in made:
                v.zero_()
        run = capture(step, batches[0], state=[*net.parameters(), *made])
        return net, [float(run(x)) for x in batches]

    (one, losses), (other, same) = trained(False), trained(True)
    assert losses == pytest.approx(same, rel=1e-5) and len(set(losses)) == 10
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_other_shapes_are_refused():
    run = capture(lambda x: x.sum(), torch.zeros(3))
    for other in (torch.zeros(4), torch.zeros(3, dtype=torch.float64)):
        with pytest.raises(ValueError, match=r"captured with \[\(3,\)\], got"):
            run(other)
    with pytest.raises(ValueError, match="capture it anew"):
        run()


NETS = {
    "normalised": lambda: allcnn(3, width=0.1, channels=1),
    "dropping": lambda: nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(64, 3)),
    "small": lambda: cnn(3, 8),
    "of pixels": lambda: nn.Sequential(Normalize((0.5,), (0.25,)), cnn(3, 8)),
}


def images(count: int = 23, task: str = "classes") -> Examples:
    x = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    return Examples(x, torch.arange(count) % 3 if task == "classes" else x.flatten(1).mean(1))


def trained(net, config, data, device, graph, loss=None, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = net().to(device)
    cost, data = Cost(), data.to(device)
    with fast(torch.float32, graph=graph):
        if loss is None:
            history = fit(model, data, config, cost=cost, progress=False, **options)
        else:
            history = descend(model, data, config, loss, cost=cost, **options)
    return model, history.loss, cost


def check_alike(one, other):
    (model, loss, cost), (twin, same, count) = one, other
    on_cpu = next(model.parameters()).device.type == "cpu"
    exact = {"rtol": 0, "atol": 0} if on_cpu else {"rtol": 1e-3, "atol": 1e-4}
    torch.testing.assert_close(loss, same, **exact)
    for a, b in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, **exact)
    assert cost.by_source() == count.by_source()


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("optimizer, schedule", [("adam", "cosine"), ("sgd", "constant")])
def test_a_recorded_training_is_the_training(net, optimizer, schedule, device):
    """With a last batch that is smaller, and learning rates that change."""
    config = Training(4, 5, 1e-2, optimizer=optimizer, schedule=schedule)
    runs = [trained(NETS[net], config, images(), device, graph) for graph in (False, True)]
    check_alike(*runs)


def test_two_optimisers_in_turns_and_too_many_kinds_of_batches(device, monkeypatch):
    sizes = range(2, 2 + graphs.KINDS + 2)
    data, recorded = images(sum(sizes)), []

    def stream(order):
        parts = torch.randperm(len(data), generator=order).split(list(sizes))
        return ((data[part].inputs.to(device), data[part].targets.to(device)) for part in parts)

    def run(graph: bool):
        model = NETS["small"]().to(device)

        def loss(x, y):
            return nn.functional.cross_entropy(model(x), y)

        with fast(torch.float32, graph=graph), Run(model, progress=False) as training:
            turns = training.adam(1e-2), training.sgd(1e-3, momentum=0.9)
            for _ in training.epochs(3):
                for i, batch in enumerate(stream(training.order)):
                    training.step(loss, *batch, optimizer=turns[i % 2])
        return model, training.history.loss, Cost()

    def noting(step, *inputs, **options):
        recorded.append(inputs)
        return capture(step, *inputs, **options)

    with torch.random.fork_rng(devices=[]):
        plain = run(False)
    monkeypatch.setattr(graphs, "capture", noting)
    check_alike(plain, run(True))
    assert len(recorded) == graphs.KINDS


def test_quantiles_can_be_recorded(device):
    config = Training(3, 5, 1e-2, loss=Quantile((0.1, 0.5, 0.9)))

    def net():
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

    check_alike(*(trained(net, config, images(20, "numbers"), device, g) for g in (False, True)))


def test_a_recording_is_replayed_and_not_run(device):
    """The loss runs once by itself, as often as it is warmed up, and once to be recorded."""
    called = []

    def loss(model, x, y):
        called.append(len(x))
        return nn.functional.cross_entropy(model(x), y)

    config = Training(6, 5, 1e-2)
    trained(NETS["small"], config, images(20), device, True, loss)
    assert called == [5] * (2 + graphs.WARM)


def test_what_changes_without_the_batch_is_lost(device):
    """What the documentation warns of: so much does a recording not see."""

    def run(graph: bool):
        count = itertools.count()

        def loss(model, x, y):
            return nn.functional.cross_entropy(model(x), y) * next(count)

        return trained(NETS["small"], Training(3, 5), images(20), device, graph, loss)

    (_, plain, _), (_, other, _) = run(False), run(True)
    assert not torch.allclose(plain, other)


WAITING = {
    "a number": lambda out: out.sum() * out.sum().item(),
    "a choice": lambda out: out[out > 0].sum() + out.sum(),
    "a number of the host": lambda out: (out * torch.tensor(0.5, device=out.device)).sum(),
}


@pytest.mark.parametrize("wait", WAITING)
def test_a_step_that_waits_is_refused_and_leaves_the_weights(wait, device):
    model = NETS["small"]().to(device)
    before = [p.detach().clone() for p in model.parameters()]

    def loss(model, x, y):
        return WAITING[wait](model(x))

    with fast(torch.float32, graph=True), pytest.raises(ValueError, match="cannot be recorded"):
        descend(model, images(20).to(device), Training(1, 5), loss)
    assert all(map(torch.equal, before, model.parameters()))


def test_a_recorded_run_resumes_bit_for_bit(device, tmp_path):
    def stop(epoch, model):
        if epoch == 2:
            raise KeyboardInterrupt
        return {}

    call = NETS["normalised"], Training(4, 5, 1e-2), images(20), device, True
    whole = trained(*call)
    with pytest.raises(KeyboardInterrupt):
        trained(*call, watch=stop, checkpoint=tmp_path / "run")
    check_alike(whole, trained(*call, checkpoint=tmp_path / "run"))


def test_nothing_is_recorded_unasked_in_half_precision_or_without_a_gpu():
    call = NETS["small"], Training(3, 5), images(20)
    plain = trained(*call, "cpu", False)
    check_alike(plain, trained(*call, "cpu", True))
    with taped() as tapes:
        trained(*call, "cpu", False)
        with fast(torch.float16, graph=True):
            fit(NETS["small"](), images(20), Training(3, 5), progress=False)
    assert not tapes


@pytest.mark.parametrize("wrong", [1, None, "yes"])
def test_what_is_no_yes_or_no_is_refused(wrong):
    with pytest.raises(ValueError, match="graph is true or false"), fast(graph=wrong):
        pass
