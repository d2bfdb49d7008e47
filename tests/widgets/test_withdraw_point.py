"""Withdrawing a point: the page trains as torch does, by mouse and by keyboard."""

import re
from functools import cache

import pytest
import torch
from figure_examples import EXAMPLES, patients, said
from torch.nn.functional import binary_cross_entropy_with_logits

from minilearn.widgets import withdraw_point


@pytest.fixture
def figure():
    return EXAMPLES["withdraw_point"]()


def logit(weights, points):
    units = weights[:-1].view(-1, 4)
    return torch.tanh(points @ units[:, :2].T + units[:, 2]) @ units[:, 3] + weights[-1]


def trained(weights, points, labels, steps, lr, momentum=0.9):
    """The same training with torch's own gradient and optimizer."""
    weights = weights.clone().requires_grad_()
    optimizer = torch.optim.SGD([weights], abs(lr), momentum=momentum, maximize=lr < 0)
    for _ in range(steps):
        optimizer.zero_grad()
        binary_cross_entropy_with_logits(logit(weights, points), labels).backward()
        optimizer.step()
    return weights.detach()


@pytest.fixture
def expected(figure):
    """All four models after one point has withdrawn, as torch has them."""
    data = figure.data
    points, first = (
        torch.tensor(data["points"], dtype=torch.float64),
        torch.tensor(data["first"], dtype=torch.float64),
    )
    labels = torch.tensor(data["labels"], dtype=torch.float64)

    original = trained(first, points, labels, 2000, 0.1)

    @cache
    def retrained(withdrawn: int):
        stay = torch.arange(len(points)) != withdrawn
        return trained(first, points[stay], labels[stay], 2000, 0.1)

    def models(withdrawn: int, steps: int):
        stay = torch.arange(len(points)) != withdrawn
        return {
            "original": original,
            "retrained": retrained(withdrawn),
            "fine-tuned": trained(original, points[stay], labels[stay], steps, 0.1),
            "ascended": trained(original, points[~stay], labels[~stay], steps, -0.005),
        }

    def words(withdrawn: int, steps: int) -> str:
        stay, shares, wrong = torch.arange(len(points)) != withdrawn, [], []
        for name, weights in models(withdrawn, steps).items():
            share = (logit(weights, points) * (2 * labels - 1)).sigmoid()
            shares.append(f"{name} {100 * share[withdrawn]:.0f} %")
            wrong.append(f"{name} {(share[stay] < 0.5).sum()}")
        return (
            f"how sure each model is of its class: {', '.join(shares)}. "
            f"Mistakes on the points that stay: {', '.join(wrong)}."
        )

    return words


def test_the_page_trains_as_torch_does(figure, shown, compute):
    data = figure.data
    arguments = [data["first"], data["points"], data["labels"], 300, 0.1, 0.9]
    weights = compute(shown, figure, "descend", *arguments)
    ours = [torch.tensor(values, dtype=torch.float64) for values in arguments[:3]]
    torch.testing.assert_close(
        torch.tensor(weights, dtype=torch.float64), trained(*ours, 300, 0.1), rtol=1e-9, atol=1e-9
    )


def test_a_point_withdraws_by_keyboard_and_comes_back(shown, expected):
    before = said(shown)
    shown.keyboard.press("Tab")
    shown.keyboard.press("Home")
    for _ in range(4):
        shown.keyboard.press("ArrowRight")
    assert said(shown).startswith("Point 5 (")
    shown.keyboard.press("Tab")
    shown.keyboard.press("Enter")
    assert said(shown).endswith(expected(4, 20)) and ", withdrawn)" in said(shown)
    assert len(set(re.findall(r"(\d+) %", said(shown)))) > 2, "the models should differ here"
    shown.keyboard.press("Tab")
    shown.keyboard.press("ArrowRight")
    assert said(shown).endswith(expected(4, 21))
    shown.locator("button", has_text="give back").click()
    shares = re.findall(r"(\d+) %", said(shown))
    assert len(shares) == 4 and len(set(shares)) == 1 and said(shown) != before


def test_a_click_withdraws_the_nearest_point(figure, shown, expected):
    points = torch.tensor(figure.data["points"])
    low, high = points.amin(0) - 0.3, points.amax(0) + 0.3
    place = (points[7] - low) / (high - low)
    box = shown.locator("svg").nth(2).bounding_box()
    scale = box["width"] / 340
    x, y = 6 + 328 * place[0].item(), 206 - 182 * place[1].item()
    shown.mouse.click(box["x"] + scale * x + 1, box["y"] + scale * y + 1)
    assert said(shown).startswith("Point 8 (") and said(shown).endswith(expected(7, 20))


def test_the_boundary_is_where_the_network_is_undecided(figure, shown, compute):
    """On a circle, whose contour is known."""
    grid = torch.linspace(-2, 2, 41).tolist()
    circle = "(xs, ys) => contour(([x, y]) => x * x + y * y - 1, xs, ys)"
    lines = torch.tensor(compute(shown, figure, circle, grid, grid))
    assert (lines.norm(dim=2) - 1).abs().max() < 0.01
    length = (lines[:, 0] - lines[:, 1]).norm(dim=1).sum()
    assert length.item() == pytest.approx(2 * torch.pi, rel=0.01)


def test_what_does_not_fit_is_refused():
    points, labels, *names = patients()
    with pytest.raises(ValueError, match=r"got \(30, 1\) and \(30,\)"):
        withdraw_point(points[:, :1], labels, *names)
    with pytest.raises(ValueError, match=r"got \(30, 2\) and \(29,\)"):
        withdraw_point(points, labels[1:], *names)
    with pytest.raises(ValueError, match="both of them, got .0."):
        withdraw_point(points, 0 * labels, *names)
    with pytest.raises(ValueError, match="begin is the number of a point, below 30, got 30"):
        withdraw_point(points, labels, *names, begin=30)
