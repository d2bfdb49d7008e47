"""Stopping the ascent: the page counts as Python does, at every epoch."""

import re

import pytest
import torch
from figure_examples import EXAMPLES, ascent, said

from minilearn.widgets import stop_ascent


@pytest.fixture
def figure():
    return EXAMPLES["stop_ascent"]()


def expected(epoch: int) -> str:
    forget, answers, test, retrained = ascent()
    wrong = answers[epoch] != forget.targets
    hard = (retrained != forget.targets).double().mean(0) > 0.5
    right = 100 * (1 - wrong.double().mean().item())
    aim = 100 * (retrained == forget.targets).double().mean().item()
    return (
        f"After {epoch} epochs: {right:.1f} % of the withdrawn digits right (retrained models: "
        f"{aim:.1f} %), test accuracy {100 * test[epoch]:.1f} %. {wrong.sum()} mistakes, "
        f"{(wrong & hard).sum()} of them on the {hard.sum()} outlined digits."
    )


def test_every_epoch_by_keyboard(figure, opened):
    page = opened(figure)
    page.keyboard.press("Tab")
    for epoch in range(6):
        assert said(page) == expected(epoch)
        page.keyboard.press("ArrowRight")
    assert said(page) == expected(5)


def test_an_epoch_by_mouse(figure, opened):
    page = opened(figure)
    box = page.locator("svg").bounding_box()
    page.mouse.move(box["x"] + 80, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] + 50, box["y"] + 60, steps=2)
    page.mouse.up()
    assert said(page) == expected(5)
    page.mouse.click(box["x"] + 0.56 * box["width"], box["y"] + 60)
    epoch = int(re.search(r"After (\d)", said(page))[1])
    assert 1 < epoch < 4 and said(page) == expected(epoch)


def test_tiles_show_answers_mistakes_and_outlines(figure, opened):
    page = opened(figure)
    forget, answers, _, retrained = ascent()
    page.locator("input").fill("3")
    wrong = answers[3] != forget.targets
    hard = (retrained != forget.targets).double().mean(0) > 0.5
    assert page.locator(".tiles li").count() == len(forget)
    assert page.locator(".tiles .wrong").count() == wrong.sum()
    assert page.locator(".tiles .hard").count() == hard.sum()
    assert page.locator(".tiles .hard.wrong").count() == (wrong & hard).sum()


def test_what_does_not_fit_is_refused():
    forget, answers, test, retrained = ascent()
    with pytest.raises(ValueError, match=r"need answers \(5, 12\) and .* got \(6, 12\)"):
        stop_ascent(forget, answers, test[1:], retrained)
    with pytest.raises(ValueError, match=r"\(models, 12\), got \(6, 12\) and \(12,\)"):
        stop_ascent(forget, answers, test, retrained[0])
    coloured = forget.inputs.expand(-1, 3, -1, -1)
    with pytest.raises(ValueError, match=r"images must be \(n, 1, size, size\)"):
        stop_ascent(type(forget)(coloured, forget.targets), answers, test, retrained)
    with pytest.raises(ValueError, match="between 0 .* and 1"):
        stop_ascent(type(forget)(3 * forget.inputs, forget.targets), answers, test, retrained)


def test_pixels_arrive_as_they_were(figure, opened, compute):
    inputs = ascent()[0].inputs
    page = opened(figure)
    for image, text in zip(inputs, figure.data["images"], strict=True):
        shown = torch.tensor(compute(page, figure, "pixels", text))
        torch.testing.assert_close(shown.float(), image.flatten())
