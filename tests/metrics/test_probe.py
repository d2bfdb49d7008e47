"""The linear probe where the answer is known: everything, nothing, and too few examples."""

import math

import pytest
import torch
from sklearn.linear_model import Ridge
from torch import nn

from minilearn.data.examples import Examples
from minilearn.metrics import linear_probe


class Shown(nn.Module):
    """A network whose representation is its input."""

    def __init__(self, width: int):
        super().__init__()
        self.head = nn.Linear(width, 2)

    def forward(self, x):
        """Logits that the probe does not look at."""
        return self.head(x)


def data(features: torch.Tensor, targets: torch.Tensor) -> Examples:
    return Examples(features.float(), targets)


def labels(count: int, classes: int = 4) -> torch.Tensor:
    return torch.arange(count) % classes


def test_labels_with_a_little_noise_are_read_without_a_fault():
    y = labels(80)
    x = torch.eye(4)[y] + 0.05 * torch.randn(80, 4)
    assert linear_probe(Shown(4), data(x[:40], y[:40]), data(x[40:], y[40:])).mean() == 1


def test_noise_is_read_with_chance_on_unseen_examples():
    y = labels(1200)
    x = torch.randn(1200, 8)
    read = linear_probe(Shown(8), data(x[:400], y[:400]), data(x[400:], y[400:]))
    assert abs(read.mean().item() - 0.25) < 3 * math.sqrt(0.25 * 0.75 / 800)
    assert read.shape == (800,) and set(read.tolist()) == {0.0, 1.0}


def test_a_linear_target_has_r2_of_one_and_noise_of_zero():
    x = torch.randn(600, 5)
    linear, noise = x @ torch.arange(1.0, 6.0), torch.randn(600)
    for y, r2 in ((linear, 1.0), (noise, 0.0)):
        left = linear_probe(Shown(5), data(x[:400], y[:400]), data(x[400:], y[400:]), strength=1e-3)
        assert 1 - left.mean().item() == pytest.approx(r2, abs=0.08)


def test_ridge_against_sklearn_by_hand():
    x, y = torch.randn(30, 3), torch.randn(30)
    mean, deviation = x[:20].mean(0), x[:20].std(0, unbiased=False)
    scaled = ((x - mean) / deviation).double().numpy()
    answer = Ridge(7.0).fit(scaled[:20], y[:20]).predict(scaled[20:])
    expected = (torch.from_numpy(answer) - y[20:]) ** 2 / y[20:].double().var(unbiased=False)
    found = linear_probe(Shown(3), data(x[:20], y[:20]), data(x[20:], y[20:]), strength=7.0)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_strength_is_that_of_the_penalty_for_both_tasks(kind):
    """A strong one pulls every answer to the mean, or to the largest class."""
    x = torch.randn(60, 3)
    y = x @ torch.ones(3) if kind == "numbers" else (x[:, 0] + 1 > 0).long()
    weak, strong = (
        linear_probe(Shown(3), data(x, y), data(x, y), strength=s).mean() for s in (1e-4, 1e8)
    )
    if kind == "numbers":
        assert weak < 1e-3 and strong == pytest.approx(1, abs=1e-3)
    else:
        assert weak > 0.95 and strong == pytest.approx(y.double().mean().item())


def test_a_layer_by_name_and_any_dataset(classification, tiny_net):
    net = tiny_net()
    pairs = list(zip(classification.inputs, classification.targets.tolist(), strict=True))
    found = linear_probe(net, pairs, pairs, layer="body.0")
    torch.testing.assert_close(
        found, linear_probe(net, classification, classification, layer="body.0")
    )


def test_twice_gives_the_same(classification, tiny_net):
    net = tiny_net()
    one, two = (linear_probe(net, classification, classification) for _ in range(2))
    assert torch.equal(one, two)


X, Y = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)), labels(40, 3)
GOOD = data(X, Y)


@pytest.mark.parametrize(
    "fit_on, read_on, options, says",
    [
        (GOOD[:5], GOOD, {}, "5 examples cannot fit a probe of 6 features"),
        (data(X, torch.zeros(40).long()), GOOD, {}, "two different targets to fit"),
        (GOOD, data(X, Y.float()), {}, "one target per example and of one kind"),
        (data(X, X), data(X, X), {}, "one target per example and of one kind"),
        (data(X, X[:, 0]), data(X[:1], X[:1, 0]), {}, "two different targets to read on"),
        (GOOD, GOOD, {"strength": 0}, "above 0"),
        (GOOD, GOOD, {"strength": "1"}, "strength must be a finite number above 0, got '1'"),
        (GOOD, GOOD, {"layer": "nowhere"}, "no layer named 'nowhere'"),
    ],
)
def test_clear_errors(fit_on, read_on, options, says):
    with pytest.raises(ValueError, match=says):
        linear_probe(Shown(6), fit_on, read_on, **options)


def test_a_broken_model_is_named():
    net = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 3))
    with torch.no_grad():
        net[0].weight.fill_(math.nan)
    with pytest.raises(ValueError, match="diverged"):
        linear_probe(net, GOOD, GOOD)
