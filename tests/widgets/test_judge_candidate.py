"""Judging candidates: the page fits, reads and counts as the metrics do."""

import re
from dataclasses import replace

import pytest
import torch
from figure_examples import EXAMPLES, audit, said
from torch.distributions import StudentT

from minilearn.metrics import auc, ulira
from minilearn.metrics.of_candidates import fit_of, of_forgotten
from minilearn.widgets import judge_candidate
from minilearn.widgets.interactive import inked

PAIRS, PRIOR = 8, 8


def test_the_prior_is_the_attack_s_own(figure):
    """And not a number that is written here and there."""
    prior = ulira.__kwdefaults__["prior"]
    assert prior == PRIOR and repr(figure.data["prior"]) == repr(prior)


@pytest.fixture
def figure():
    return EXAMPLES["judge_candidate"]()


def rows(name: str) -> torch.Tensor:
    """What the models of a kind say, a column per candidate, in the order of the page."""
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
        for same, reading in ((False, "new models"), (True, "the fitted models")):
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
    found, train = audit()
    original, retrained = (
        of_forgotten(found.candidates[name], found.forgotten) for name in ("original", "retrained")
    )
    told = (original - retrained).mean(0).abs().argsort(descending=True)
    positions = found.positions[told]
    assert figure.data["labels"] == train.targets[positions].tolist()
    assert figure.data["images"] == inked(train.inputs[positions])
    assert told[0] > 6  # the last ones are known best


def test_a_method_that_drives_answers_far_away_does_not_blur_the_others(figure, opened, compute):
    """Beside answers up to 3,500 the page still gives the areas of the others."""
    found, train = audit()
    wild = found.candidates["original"].clone()
    wild[:, 0] -= 3_500.0 * found.forgotten[:, 0]
    wild[:, 1:] *= 300
    beside = replace(found, candidates=found.candidates | {"neggrad": wild})
    page = opened(judge_candidate(beside, train))
    page.locator("select").nth(0).select_option("original")
    page.locator("input").nth(1).fill("5")
    shown = float(re.search(r"candidates: ([\d.]+)\.", said(page))[1])
    assert shown == pytest.approx(area("original", 5, False), abs=0.011)
    wild = found.candidates["original"].clone()
    wild[0, found.forgotten[0].nonzero()[0]] = 1e9
    with pytest.raises(ValueError, match="answers of neggrad lie between .* too far apart"):
        judge_candidate(replace(found, candidates=found.candidates | {"neggrad": wild}), train)


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
    found, train = audit()
    with pytest.raises(ValueError, match="there is no candidate 30 in 30 examples"):
        judge_candidate(found, train[:30])
    for positions in (None, found.positions // 4):
        with pytest.raises(ValueError, match="every candidate needs one position"):
            judge_candidate(replace(found, positions=positions), train)
    fewer = {name: values[:8] for name, values in found.candidates.items()}
    short = replace(found, forgotten=found.forgotten[:8], candidates=fewer)
    with pytest.raises(ValueError, match="needs a method and 5 pairs of draws, got 2 and 4"):
        judge_candidate(short, train)
    alone = replace(found, candidates={"retrained": found.candidates["retrained"]})
    with pytest.raises(ValueError, match="got 0 and 8"):
        judge_candidate(alone, train)
    with pytest.raises(ValueError, match="train must be"):
        judge_candidate(found, train.inputs)


def test_with_the_fewest_draws_the_page_has_a_choice(opened):
    found, train = audit()
    fewer = {name: values[:10] for name, values in found.candidates.items()}
    page = opened(
        judge_candidate(replace(found, forgotten=found.forgotten[:10], candidates=fewer), train)
    )
    for fit in ("2", "3"):
        page.locator("input").nth(1).fill(fit)
        assert f"fitted to {fit} models" in said(page)
