"""Drawing a prediction: by mouse and by keyboard, and the distances that the page computes."""

import re

import pytest
import torch
from figure_examples import EXAMPLES, band, said

from minilearn.widgets import draw_prediction


@pytest.fixture
def figure():
    return EXAMPLES["draw_prediction"]()


def revealed(page) -> list[float]:
    """Off by: the reader, the truth, one model."""
    words = said(page)
    return [float(n) for n in re.findall(r"(?:off by|the truth by) (\d+\.\d)", words)]


def distances(drawn) -> list[float]:
    true, answers, (low, high), _ = band()
    inside = (true >= low) & (true <= high)
    true, answers = true[inside], answers[:, inside]
    middle = answers.mean(0)
    left_out = [answers[torch.arange(3) != i].mean(0) for i in range(3)]
    another = torch.stack([(answers[i] - left_out[i]).abs().mean() for i in range(3)]).mean()
    errors = (drawn(true) - middle).abs().mean(), (true - middle).abs().mean(), another
    return [error.item() for error in errors]


def test_nothing_is_shown_before_it_is_asked_for(shown):
    true, _, (low, high), _ = band()
    outside = ((true < low) | (true > high)).sum()
    assert shown.locator("circle[r='2']").count() == outside and "retrained" not in said(shown)
    shown.locator("button").click()
    assert shown.locator("circle[r='2']").count() == len(true)
    shown.locator("button").click()
    assert shown.locator("circle[r='2']").count() == outside


def test_whoever_expects_nothing_to_be_forgotten_is_as_far_off_as_the_truth(shown):
    shown.locator("button").click()
    expected = distances(lambda true: true)
    assert expected[0] == expected[1]
    assert revealed(shown) == pytest.approx(expected, abs=0.06)


def test_a_curve_by_keyboard(shown):
    shown.locator("svg").focus()
    step = 0.97  # a hundredth of the answers' range, 0 to 97
    for _ in range(7):
        for key in ("PageUp", "PageUp", "ArrowUp", "ArrowDown", "ArrowDown"):
            shown.keyboard.press(key)
        shown.keyboard.press("ArrowRight")
    assert f"At 30 degrees you say {30 + 19 * step:.0f}" in said(shown)
    shown.keyboard.press("Tab")
    shown.keyboard.press("Enter")
    assert revealed(shown) == pytest.approx(distances(lambda true: true + 19 * step), abs=0.06)


def test_a_curve_by_mouse(figure, shown):
    """Drawn along the mean answer, 33 degrees: nearly nothing is left."""
    box = shown.locator("svg").bounding_box()
    scale = box["width"] / 340

    def place(x, y):
        return box["x"] + scale * (52 + x / 90 * 278), box["y"] + scale * (200 - y / 97 * 176)

    shown.mouse.move(*place(0, 33))
    shown.mouse.down()
    for x in range(0, 31):
        shown.mouse.move(*place(x, 33))
    shown.mouse.up()
    shown.locator("button").click()
    assert revealed(shown)[0] < 0.5


def test_the_curve_is_straight_between_its_handles(figure, shown, compute):
    knots = [0.0, 4.0, -2.0, 5.0]
    for place, value in ((-1, 0), (0, 0), (5, 2), (15, 1), (25, 1.5), (30, 5), (31, 5)):
        assert compute(shown, figure, "curveAt", knots, [0, 30], place) == pytest.approx(value)


def test_what_does_not_fit_is_refused():
    true, answers, ends, unit = band()
    with pytest.raises(ValueError, match=r"of at least two models, got \(61,\) and \(1, 61\)"):
        draw_prediction(true, answers[:1], ends, unit)
    with pytest.raises(ValueError, match=r"got \(60,\) and \(3, 61\)"):
        draw_prediction(true[1:], answers, ends, unit)
    with pytest.raises(ValueError, match="100 to 120 must hold some targets and not all, got 0"):
        draw_prediction(true, answers, (100.0, 120.0), unit)
    with pytest.raises(ValueError, match="some targets and not all, got 61"):
        draw_prediction(true, answers, (0.0, 90.0), unit)
    with pytest.raises(ValueError, match="band is .low, high. with low below high"):
        draw_prediction(true, answers, (30.0, 0.0), unit)
