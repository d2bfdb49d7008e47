"""Painting: the networks in the page answer as torch does."""

import copy
import re

import pytest
import torch
from figure_examples import EXAMPLES, networks, said
from shared import random
from torch import nn

from minilearn.data import Examples
from minilearn.models import cnn
from minilearn.widgets import paint_digit
from minilearn.widgets.paint_digit import layers_of

RUN = "(layers, image) => forward(ready(layers), image)"


@pytest.fixture
def figure():
    return EXAMPLES["paint_digit"]()


@pytest.mark.parametrize("name", ["conv", "mlp"])
def test_the_page_computes_what_torch_computes(figure, shown, compute, name):
    rounded = copy.deepcopy(networks()[0][name]).eval()
    for values in rounded.parameters():
        low, high = values.min().double(), values.max().double()
        step = (high - low).clamp(min=1e-12) / 4095
        values.data = (low + step * ((values.data - low) / step).round()).float()
    for image in random(5, 1, 1, 8, 8, seed=6).sigmoid():
        layers = figure.data["models"][name]
        logits = compute(shown, figure, RUN, layers, image.flatten().tolist())
        with torch.no_grad():
            torch.testing.assert_close(
                torch.tensor(logits).float(), rounded(image)[0], atol=1e-4, rtol=1e-5
            )
            close = networks()[0][name](image).softmax(1)[0]
        shares = compute(shown, figure, "softmax", logits)
        torch.testing.assert_close(torch.tensor(shares).float(), close, atol=5e-3, rtol=0)


def test_every_layer_is_computed_as_torch_computes_it(figure, shown, compute):
    """A kernel that is not padded, one of five, and two linear layers in a row."""
    for model in (
        nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 10)),
        cnn(size=8),
    ):
        image = random(1, 1, 8, 8, seed=7).sigmoid()
        layers = [*layers_of("x", model, Examples(image, torch.zeros(1).long()))]
        logits = compute(shown, figure, RUN, layers, image.flatten().tolist())
        with torch.no_grad():
            torch.testing.assert_close(
                torch.tensor(logits).float(), model(image)[0], atol=3e-3, rtol=0
            )


def test_a_model_is_left_as_it_was():
    models, digits = networks()
    before = [p.clone() for p in models["conv"].parameters()]
    paint_digit(models, digits)
    assert all(torch.equal(a, b) for a, b in zip(before, models["conv"].parameters(), strict=True))


def answers(image) -> str:
    with torch.no_grad():
        called = {name: model(image[None]).argmax().item() for name, model in networks()[0].items()}
    return ", ".join(f"{name} says {digit}" for name, digit in called.items())


def test_painting_by_keyboard(shown):
    image = networks()[1].inputs[0].clone()
    assert said(shown).startswith(answers(image))
    shown.locator(".paint").focus()
    for step in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowUp", "Space"):
        shown.keyboard.press(step)
    image[0, 1, 1] = 1
    assert said(shown) == f"{answers(image)}. Row 2, column 2: 100 % ink."
    shown.select_option("select >> nth=1", "grey")
    shown.locator(".paint").focus()
    shown.keyboard.press("Enter")
    assert said(shown).endswith("50 % ink.")


def test_painting_by_mouse(shown):
    box = shown.locator(".paint").bounding_box()
    cell = box["width"] / 8
    shown.locator("button", has_text="empty").click()
    shown.mouse.move(box["x"] + 3.5 * cell, box["y"] + 0.5 * cell)
    shown.mouse.down()
    shown.mouse.move(box["x"] + 3.5 * cell, box["y"] + 7.5 * cell, steps=32)
    shown.mouse.up()
    image = torch.zeros(1, 8, 8)
    image[0, :, 3] = 1
    assert said(shown) == f"{answers(image)}. Row 8, column 4: 100 % ink."
    second = f"digit 2, a {networks()[1].targets[1]}"
    shown.select_option("select >> nth=0", second)
    assert said(shown).startswith(answers(networks()[1].inputs[1]))
    shown.locator("button", has_text="empty").click()
    assert said(shown).startswith(answers(torch.zeros(1, 8, 8)))
    shown.locator("button", has_text="begin again").click()
    assert said(shown).startswith(answers(networks()[1].inputs[1]))


def convolution(kernel=3, **options) -> nn.Module:
    """A network on images of 8 x 8, with a convolution of some kind."""
    layer = nn.Conv2d(1, 2, kernel, **options)
    count = layer(torch.zeros(1, 1, 8, 8)).numel()
    return nn.Sequential(layer, nn.Flatten(), nn.Linear(count, 10))


@pytest.mark.parametrize(
    ("model", "layer"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Sigmoid()), "Sigmoid"),
        (nn.Sequential(nn.Conv2d(1, 2, 3, stride=2), nn.Flatten(), nn.Linear(18, 10)), "Conv2d"),
        (convolution(padding=1, padding_mode="circular"), "Conv2d"),
        (convolution(padding=(1, 0)), "Conv2d"),
        (convolution(kernel=(3, 1)), "Conv2d"),
        (nn.Sequential(nn.MaxPool2d(2, ceil_mode=True), nn.Flatten(), nn.Linear(16, 10)), "MaxP"),
        (nn.Sequential(nn.Flatten(2), nn.Flatten(), nn.Linear(64, 10)), "Flatten"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 10, bias=False)), "Linear"),
        (nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10)), "BatchNorm1d"),
    ],
)
def test_a_layer_that_the_page_does_not_know(model, layer):
    with pytest.raises(ValueError, match=f"cannot compute a layer of mine: {layer}"):
        paint_digit({"mine": model}, networks()[1])


def test_a_network_that_is_no_chain_is_noticed():
    class Backwards(nn.Sequential):
        def forward(self, x):
            return -super().forward(x)

    model = Backwards(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(ValueError, match=re.escape("answer otherwise on 2 of 2 digits")):
        paint_digit({"mine": model}, networks()[1])


def test_a_model_that_has_run_away_is_refused():
    model = copy.deepcopy(networks()[0]["mlp"])
    model[1].weight.data *= torch.inf
    with pytest.raises(ValueError, match="the outputs of mine are not finite"):
        paint_digit({"mine": model}, networks()[1])
