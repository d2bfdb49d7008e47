"""The Temporal Fusion Transformer of another library, under this package's methods unchanged."""

import importlib.util
import math
import sys

import pytest
import torch

from minilearn.data import Examples
from minilearn.evaluation import evaluate
from minilearn.losses import Quantile
from minilearn.methods.amnesiac import Amnesiac, amnesiac
from minilearn.methods.blindspot import Blindspot, blindspot
from minilearn.models import activations, tft
from minilearn.training import Training, fit

CONTEXT, HORIZON, LEVELS = 12, 4, (0.1, 0.5, 0.9)
ATTENTION = tuple(f"network.{part}" for part in ("lstm_decoder", "multihead_attn", "pos_wise_ff"))

installed = importlib.util.find_spec("pytorch_forecasting") is not None
needs_library = pytest.mark.skipif(
    not installed, reason="pytorch-forecasting is not installed: pip install minilearn[tft]"
)


def small() -> torch.nn.Module:
    return tft(CONTEXT, HORIZON, len(LEVELS), width=8, heads=2, dropout=0.0)


@pytest.fixture
def windows() -> Examples:
    """Waves of period 8 at any phase and size, and what comes next."""
    t, phase = torch.arange(CONTEXT + HORIZON), 2 * math.pi * torch.rand(60, 1)
    waves = (0.5 + torch.rand(60, 1)) * (2 * math.pi * t / 8 + phase).sin()
    return Examples(waves[:, :CONTEXT], waves[:, CONTEXT:])


@needs_library
def test_adapter_is_the_library_called_with_its_own_dictionary():
    model, x = small().eval(), torch.randn(5, CONTEXT)
    past, future = torch.zeros(5, CONTEXT, 4), torch.zeros(5, HORIZON, 4)
    for t in range(-CONTEXT, HORIZON):
        row = past[:, t + CONTEXT] if t < 0 else future[:, t]
        row[:, 0] = x[:, t + CONTEXT] if t < 0 else torch.nan  # the future of the series is unseen
        row[:, 1] = t / CONTEXT
        row[:, 2], row[:, 3] = math.sin(2 * math.pi * t / 24), math.cos(2 * math.pi * t / 24)
    batch = {"encoder_cont": past, "decoder_cont": future, "target_scale": None}
    for name, length in (("encoder", CONTEXT), ("decoder", HORIZON)):
        batch[f"{name}_cat"] = torch.zeros(5, length, 0, dtype=torch.long)
        batch[f"{name}_lengths"] = torch.full((5,), length)
    expected = model.network(batch)["prediction"]
    assert expected.shape == (5, HORIZON, len(LEVELS)) and expected.isfinite().all()
    torch.testing.assert_close(model(x), expected)


@needs_library
def test_precision_and_device_reach_the_library():
    model, x = small().eval(), torch.randn(5, CONTEXT)
    single = model(x)
    torch.testing.assert_close(model.double()(x.double()).float(), single, atol=1e-5, rtol=1e-4)
    model.to("meta")
    assert model.network.device.type == "meta" and model.network.dtype == torch.float64


@needs_library
def test_it_learns_waves(windows):
    model = small()
    before = evaluate(model, windows, loss=Quantile(LEVELS)).loss.mean()
    config = Training(epochs=40, batch_size=20, lr=0.02, loss=Quantile(LEVELS))
    fit(model, windows, config, progress=False)
    after = evaluate(model, windows, loss=Quantile(LEVELS)).loss.mean()
    assert after < before / 2
    with activations(model, ATTENTION) as taps:
        model(windows.inputs)
    firsts = [tap[0] if isinstance(tap, tuple) else tap for tap in taps.values()]
    assert [tap.shape for tap in firsts] == [(60, HORIZON, 8)] * 3


@needs_library
def test_both_methods_run_on_it_unchanged(windows, everything_of):
    model, large = small(), windows.targets.abs().amax(1) > 1.2
    forget, retain = windows[large], windows[~large]
    assert 5 < len(forget) < 40
    before = everything_of(model)
    loss = Quantile(LEVELS)
    options = {"batch_size": 20, "loss": loss}
    teacher = Training(epochs=1, batch_size=20)
    results = [
        blindspot(
            model,
            forget.inputs,
            retain,
            fresh=small,
            config=Blindspot(**options, teacher=teacher, layers=ATTENTION),
        ),
        blindspot(
            model, forget.inputs, retain, fresh=small, config=Blindspot(**options, teacher=teacher)
        ),
        amnesiac(model, forget, retain, config=Amnesiac(**options)),
    ]
    assert everything_of(model) == before
    for result in results:
        assert len(result.history.loss) == 3 and result.history.loss.isfinite().all()
        changed = zip(result.model.parameters(), model.parameters(), strict=True)
        assert any(not torch.equal(a, b) for a, b in changed)
        assert evaluate(result.model, windows, loss=loss).outputs.shape == (60, HORIZON, 3)
    again = amnesiac(model, forget, retain, config=Amnesiac(**options))
    assert torch.equal(again.history.loss, results[2].history.loss)


def test_without_the_library_one_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_forecasting", None)
    with pytest.raises(ImportError, match=r"pip install minilearn\[tft\]"):
        tft()


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"context": 0}, "context must be a whole number"),
        ({"horizon": 1.5}, "horizon must be a whole number"),
        ({"levels": LEVELS}, "levels must be a whole number .* got tuple"),
        ({"width": "16"}, "width must be a whole number"),
        ({"heads": 0}, "heads must be a whole number"),
        ({"width": 6}, "width must be a multiple of heads, got 6 and 4"),
        ({"dropout": 1.0}, r"dropout must be a number in \[0, 1\)"),
        ({"dropout": -0.1}, r"dropout must be a number in \[0, 1\)"),
        ({"dropout": float("nan")}, r"dropout must be a number in \[0, 1\)"),
        ({"dropout": "0.1"}, r"dropout must be a number in \[0, 1\)"),
    ],
)
def test_silly_settings_are_refused_with_or_without_the_library(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        tft(**options)


@needs_library
@pytest.mark.parametrize("shape", [(CONTEXT,), (2, CONTEXT + 1), (2, CONTEXT, 1)])
def test_silly_windows_are_refused(shape):
    with pytest.raises(ValueError, match=rf"\(B, {CONTEXT}\), got"):
        small()(torch.zeros(shape))
