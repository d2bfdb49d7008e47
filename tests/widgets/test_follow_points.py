"""Following points: places, ways and counts, by mouse and by keyboard."""

import re

import pytest
import torch
from figure_examples import EXAMPLES, cloud, said

from minilearn.widgets import follow_points


@pytest.fixture
def figure():
    return EXAMPLES["follow_points"]()


def expected(name: str, step: int, point: int) -> str:
    places, steps, forget, retain = cloud()
    now, count = places[name][step], len(forget)
    classes = retain.targets.unique()
    middle = torch.stack([now[count:][retain.targets == c].mean(0) for c in classes])
    nearest = classes[torch.cdist(now[:count], middle).argmin(1)]
    moved = (now[point] - places[name][0][point]).norm()
    own = (nearest == forget.targets).double().mean()
    return (
        f"Epoch {steps[step]}, {name}. Forgotten digit {point + 1}, a {forget.targets[point]}, has "
        f"moved by {moved:.1f} and lies nearest to the retained {nearest[point]}s. "
        f"{100 * own:.0f} % of the forgotten digits lie nearest to their own digit in this plane."
    )


def test_every_step_and_point_by_keyboard(shown):
    for name in ("both", "alignment"):
        shown.select_option("select", name)
        for step in range(4):
            shown.locator("input").nth(0).fill(str(step))
            shown.locator("input").nth(1).focus()
            shown.keyboard.press("Home")
            for point in range(6):
                assert said(shown) == expected(name, step, point)
                shown.keyboard.press("ArrowRight")


def test_the_mouse_points_at_a_cross(shown):
    places = cloud()[0]
    every = torch.stack([*places.values()]).flatten(0, 2)
    low, high = every.amin(0), every.amax(0)
    shown.locator("input").nth(0).fill("2")
    box = shown.locator("svg").bounding_box()
    scale = box["width"] / 340
    for point in (3, 5):
        x, y = (places["both"][2][point] - low) / (high - low)
        place = 12 + 316 * x.item(), 292 - 280 * y.item()
        shown.mouse.move(box["x"] + scale * place[0], box["y"] + scale * place[1])
        assert said(shown) == expected("both", 2, point)


def test_the_way_has_a_mark_for_every_step_so_far(shown):
    for step in range(4):
        shown.locator("input").nth(0).fill(str(step))
        assert shown.locator("circle[r='2.5']").count() == step + 1
    assert shown.locator(".pointed canvas").count() == 1
    assert re.search(r"^a \d$", shown.locator(".pointed p").inner_text())


def test_what_does_not_fit_is_refused():
    places, steps, forget, retain = cloud()
    with pytest.raises(ValueError, match=r"the places of both .* shape \(3, 26, 2\).*\(4, 26, 2\)"):
        follow_points(places, steps[1:], forget, retain)
    with pytest.raises(ValueError, match="no places were given"):
        follow_points({}, steps, forget, retain)
    with pytest.raises(ValueError, match="must be finite"):
        follow_points({"one": places["both"] * torch.nan}, steps, forget, retain)
