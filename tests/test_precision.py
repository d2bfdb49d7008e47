"""The switch: the same training in another layout and precision, and nothing outside its block."""

from contextlib import nullcontext

import pytest
import torch
from shared import descend
from torch import nn

from minilearn import precision
from minilearn.data import Examples
from minilearn.methods import LAF, Blindspot, blindspot, laf
from minilearn.models import allcnn, build, small_cnn
from minilearn.precision import fast
from minilearn.training import Training, fit

HALVES = [torch.bfloat16, torch.float16]
LAST = torch.channels_last


@pytest.fixture
def data() -> Examples:
    x = torch.rand(40, 1, 8, 8)
    return Examples(x, x.flatten(1).mean(1) * 10)


def net() -> nn.Module:
    return build(lambda: allcnn(width=0.1, channels=1), 0)


def trained(data, config=None, **options):
    model = net()
    config = config or Training(epochs=4, batch_size=8, lr=1e-3)
    return model, fit(model, data, config, progress=False, **options)


def test_the_layout_changes_nothing_but_rounding(data):
    plain, history = trained(data)
    with fast():
        other, same = trained(data)
    torch.testing.assert_close(history.loss, same.loss, rtol=1e-3, atol=1e-4)
    assert other.features[0][0].weight.is_contiguous(memory_format=LAST)
    wide = next(m.weight for m in plain.modules() if isinstance(m, nn.Conv2d) and m.in_channels > 1)
    assert not wide.is_contiguous(memory_format=LAST)


class Placed(nn.Sequential):
    """Images plus a place that is known and not learnt, of five axes."""

    def __init__(self):
        super().__init__(nn.Conv2d(2, 2, 3), nn.Flatten(), nn.Linear(72, 1))
        self.register_buffer("place", torch.ones(1, 1, 1, 8, 8))

    def forward(self, x):
        return super().forward(x + self.place[0])


NETS = {
    "parameter": lambda: nn.Sequential(nn.Conv3d(2, 2, 3), nn.Flatten(), nn.Linear(16, 1)),
    "buffer": Placed,
}


@pytest.mark.parametrize("kind", NETS)
def test_a_network_with_a_tensor_of_five_axes_keeps_its_layout(kind):
    shape = (8, 2, 4, 4, 4) if kind == "parameter" else (8, 2, 8, 8)
    data, config = Examples(torch.rand(shape), torch.rand(8, 1)), Training(epochs=2, batch_size=4)
    one, two = (build(NETS[kind], 0) for _ in range(2))
    plain = fit(one, data, config, progress=False)
    with fast():
        same = fit(two, data, config, progress=False)
    torch.testing.assert_close(plain.loss, same.loss)
    assert two[0].weight.is_contiguous()


@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_learns_the_same_and_keeps_single_weights(data, dtype):
    _, history = trained(data)
    seen = set()
    hook = nn.Conv2d.forward

    def noting(self, x):
        out = hook(self, x)
        seen.add(out.dtype)
        return out

    with pytest.MonkeyPatch.context() as patch, fast(dtype):
        patch.setattr(nn.Conv2d, "forward", noting)
        other, same = trained(data)
    assert seen == {dtype} and {p.dtype for p in other.parameters()} == {torch.float32}
    assert torch.allclose(history.loss, same.loss, rtol=0.2, atol=0.3)
    assert not torch.equal(history.loss, same.loss)


@pytest.mark.parametrize("dtype", ["auto", *HALVES])
def test_a_run_is_resumed_bit_for_bit_and_not_as_another(data, dtype, tmp_path):
    config = Training(epochs=3, batch_size=8)
    with fast(dtype):
        whole, history = trained(data, config)

    def interrupted(epoch, model):
        if epoch == 2:
            raise KeyboardInterrupt
        return {}

    path = tmp_path / "run"
    with fast(dtype):
        with pytest.raises(KeyboardInterrupt):
            trained(data, config, watch=interrupted, checkpoint=path)
        again, same = trained(data, config, checkpoint=path)
    assert torch.equal(history.loss, same.loss)
    assert all(map(torch.equal, whole.parameters(), again.parameters()))
    with pytest.raises(ValueError, match="belongs to a run with other"):
        trained(data, config, checkpoint=path)


def test_a_first_step_that_overflows_leaves_no_trace(data):
    """The first scale, 65,536, is too much here; memory that nobody filled holds NaN."""
    model, config = net(), Training(8, batch_size=40, lr=1e-4, optimizer="sgd")
    before = [p.detach().clone() for p in model.parameters()]
    torch.use_deterministic_algorithms(True)
    try:
        with fast(torch.float16), pytest.warns(UserWarning, match="of 8 steps overflowed"):
            descend(model, data, config, lambda net, x, y: net(x).sum())
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(p.isfinite().all() for p in model.parameters())
    assert not all(map(torch.equal, before, model.parameters()))


def test_methods_heed_it(data):
    model, images = net(), data.inputs
    teacher = build(lambda: allcnn(width=0.1, channels=1), 1)
    options = {"fresh": net, "teacher": teacher, "config": Blindspot(batch_size=16)}
    with fast(torch.bfloat16):
        one = blindspot(model, images[:8], data[8:], **options)
        classes = build(lambda: small_cnn(4, size=8), 0)
        vae = Training(epochs=1, batch_size=8)
        two = laf(classes, images[:8], images[8:], config=LAF(1, 8, latent=2, vae=vae))
    for run in (one, two):
        assert run.history.loss.isfinite().all()
        assert {p.dtype for p in run.model.parameters()} == {torch.float32}


class Odd(nn.Module):
    """Weights that no fused optimiser takes: complex ones, or with sparse gradients."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind, self.head = kind, nn.Linear(4, 2)
        if kind == "complex":
            self.weight = nn.Parameter(torch.ones(3, dtype=torch.complex64))
        else:
            self.embedding = nn.Embedding(3, 4, sparse=True)

    def forward(self, x):
        if self.kind == "complex":
            return self.head(torch.fft.irfft(torch.fft.rfft(x) * self.weight, n=4))
        return self.head(self.embedding(x.sum(1).long() % 3))


@pytest.mark.parametrize("kind", ["complex", "sparse"])
def test_weights_that_cannot_be_fused_are_trained_as_outside(kind):
    data = Examples(torch.arange(32.0).view(8, 4) / 8, torch.arange(8) % 2)
    losses = []
    for block in (nullcontext(), fast()):
        recipe = Training(epochs=3, batch_size=4, optimizer="sgd", lr=0.1)
        with block:
            losses.append(fit(build(lambda: Odd(kind), 0), data, recipe).loss)
    torch.testing.assert_close(*losses)


def test_weights_in_half_precision_are_refused_before_adam_divides_by_nought(data):
    model = net().half()
    half = Examples(data.inputs.half(), data.targets)
    with pytest.raises(ValueError, match=r"Adam cannot train weights in float16.*model.float\(\)"):
        fit(model, half, Training(epochs=1))


def test_the_best_is_chosen_by_the_device(monkeypatch):
    cuda = torch.device("cuda", 0)
    assert precision._best(torch.device("cpu")) == torch.float32
    for capability, dtype in (((7, 5), torch.float16), ((8, 0), torch.bfloat16)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda d, c=capability: c)
        assert precision._best(cuda) == dtype


def test_it_ends_with_its_block_and_refuses_what_is_no_precision(data):
    with pytest.raises(KeyError), fast():
        raise KeyError
    assert not precision._asked
    for wrong in ("half", torch.float64, None, True):
        with pytest.raises(ValueError, match="dtype is"), fast(wrong):
            pass
