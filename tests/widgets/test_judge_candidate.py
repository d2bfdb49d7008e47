"""Judging candidates: the page fits, reads and counts as the metrics do."""

import re
from dataclasses import replace

import pytest
import torch
from figure_examples import EXAMPLES, audit, said
from torch.distributions import StudentT

from minilearn.metrics import auc
from minilearn.metrics.of_candidates import fit_of, of_forgotten
from minilearn.trials import Trials
from minilearn.widgets import judge_candidate

PAIRS, PRIOR = 8, 8


@pytest.fixture
def figure():
    return EXAMPLES["judge_candidate"]()


def rows(name: str) -> torch.Tensor:
    """What the models of a kind say, a column a candidate, in the order of the page."""
    found, _ = audit()
    each = {
        name: of_forgotten(values, found.forgotten) for name, values in found.candidates.items()
    }
    told = (each["original"] - each["retrained"]).mean(0).abs()
    return each[name][:, told.argsort(descending=True)]


def predicted(values: torch.Tensor) -> StudentT:
    mean, variance = fit_of(values, PRIOR)
    n = len(values)
    return StudentT(PRIOR + n - 1, mean, (variance * (1 + 1 / n)).sqrt())


def scores(name: str, fit: int, same: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Log ratios of the models that are read, of the chosen kind and of the retrained one."""
    mine, theirs = rows(name), rows("retrained")
    first, second = predicted(mine[:fit]), predicted(theirs[:fit])
    read = slice(fit) if same else slice(fit, None)
    return tuple(first.log_prob(x[read]) - second.log_prob(x[read]) for x in (mine, theirs))


def area(name: str, fit: int, same: bool) -> float:
    pairs = zip(*scores(name, fit, same), strict=True)
    return torch.tensor([auc(mine, theirs) for mine, theirs in pairs]).double().mean().item()


def test_curves_are_what_the_attack_expects_of_the_next_model(figure, opened, compute):
    page, values = opened(figure), rows("original")
    for fit in (2, 3, 8):
        expected = predicted(values[:fit])
        at = torch.linspace(-3, 5, 7).double()
        for item in (0, 9):
            given = values[:fit].tolist(), PRIOR, item, at.tolist()
            call = "(rows, prior, i, xs) => xs.map(x => density(fitted(rows, prior), i, x))"
            heights = torch.tensor(compute(page, figure, call, *given), dtype=torch.float64)
            wanted = expected.log_prob(at[:, None]).exp()[:, item]
            torch.testing.assert_close(heights, wanted, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", ["original", "retrained again"])
@pytest.mark.parametrize("same", [False, True])
def test_the_area_is_that_of_the_attack(figure, opened, compute, name, same):
    page, sides = opened(figure), [rows(kind).tolist() for kind in (name, "retrained")]
    for fit in range(2, PAIRS - 1):
        found = compute(page, figure, "attackArea", *sides, fit, same, PRIOR)
        assert found == pytest.approx(area(name, fit, same), abs=1e-6)


def test_ties_count_one_half(figure, opened, compute):
    members, others = [1.0, 2.0, 2.0, 5.0], [2.0, 2.0, 0.0]
    found = compute(opened(figure), figure, "areaOf", members, others)
    assert found == pytest.approx(auc(torch.tensor(members), torch.tensor(others)))


def test_every_method_candidate_and_number_by_keyboard(figure, opened):
    page = opened(figure)
    for name in ("original", "retrained again"):
        page.locator("select").nth(0).select_option(name)
        for same, reading in ((False, "the other models"), (True, "the fitted models")):
            page.locator("select").nth(1).select_option(reading)
            for fit in (2, 5, 6):
                page.locator("input").nth(1).fill(str(fit))
                page.locator("input").nth(0).focus()
                page.keyboard.press("Home")
                for item in range(3):
                    mine, theirs = (s[:, item] > 0 for s in scores(name, fit, same))
                    counts = f'{mine.sum()} of "{name}" and {theirs.sum()} retrained ones'
                    assert counts in said(page) and f"Of {len(mine)} of each" in said(page)
                    shown = float(re.search(r"candidates: ([\d.]+)\.", said(page))[1])
                    assert shown == pytest.approx(area(name, fit, same), abs=0.011)
                    page.keyboard.press("ArrowRight")


def test_candidates_come_in_the_order_in_which_originals_give_them_away(figure):
    found, digits = audit()
    original, retrained = (
        of_forgotten(found.candidates[name], found.forgotten) for name in ("original", "retrained")
    )
    told = (original - retrained).mean(0).abs().argsort(descending=True)
    assert figure.data["labels"] == digits.targets[told].tolist()
    assert told[0] > 6  # the last ones are known best


def test_the_mouse_chooses_the_number_of_models(figure, opened):
    page = opened(figure)
    box = page.locator("svg").nth(1).bounding_box()
    scale = box["width"] / 340
    for x, number in ((52, "2"), (330, "6")):
        page.mouse.move(box["x"] + scale * x, box["y"] + 100)
        page.mouse.down()
        page.mouse.up()
        assert page.locator("input").nth(1).input_value() == number


def test_what_does_not_fit_is_refused():
    found, digits = audit()
    with pytest.raises(ValueError, match="have 10 candidates, but there are 9 images"):
        judge_candidate(found, digits[:9])
    short = Trials(found.forgotten[:6], {k: v[:6] for k, v in found.candidates.items()}, {})
    with pytest.raises(ValueError, match="needs a method and 4 pairs of draws, got 2 and 3"):
        judge_candidate(short, digits)
    alone = replace(found, candidates={"retrained": found.candidates["retrained"]})
    with pytest.raises(ValueError, match="got 0 and 8"):
        judge_candidate(alone, digits)
    with pytest.raises(ValueError, match="candidates must be"):
        judge_candidate(found, digits.inputs)
