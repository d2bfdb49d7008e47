"""The threshold: the page computes what the metrics compute, by mouse and by keyboard."""

import re

import pytest
import torch
from figure_examples import EXAMPLES, NAN, attacks, said

from minilearn.metrics import Attack
from minilearn.widgets import drag_threshold


@pytest.fixture
def figure():
    return EXAMPLES["drag_threshold"]()


@pytest.mark.parametrize("name", ["original", "retrained"])
def test_the_page_computes_what_the_metrics_compute(figure, opened, compute, name):
    page, attack = opened(figure), attacks()[name]
    members, nonmembers = figure.data["scores"][name]
    area = compute(page, figure, "areaUnder", members, nonmembers)
    assert area == pytest.approx(attack.auc, abs=1e-12)
    found = compute(page, figure, "(m, n) => share(m, sureThreshold(n))", members, nonmembers)
    assert found == pytest.approx(attack.tpr_at_1fpr, abs=1e-12)
    page.select_option("select", name)
    assert f"AUC {attack.auc:.3f}, TPR at 1 % FPR {attack.tpr_at_1fpr:.3f}" in said(page)


def test_the_curve_is_that_of_scikit_learn(figure, opened, compute):
    from sklearn.metrics import roc_curve

    members, nonmembers = figure.data["scores"]["retrained"]
    labels = [1] * len(members) + [0] * len(nonmembers)
    fpr, tpr, _ = roc_curve(labels, members + nonmembers, drop_intermediate=False)
    points = compute(opened(figure), figure, "rocPoints", members, nonmembers)
    assert torch.allclose(
        torch.tensor(points).double(), torch.tensor([*zip(fpr, tpr, strict=True)])
    )


def test_the_threshold_moves_by_key_and_by_mouse(figure, opened):
    page = opened(figure)
    before = said(page)
    page.keyboard.press("Tab")  # the model
    page.keyboard.press("Tab")  # the threshold
    page.keyboard.press("End")
    assert said(page) != before and "0.0 % of the members found" in said(page)
    picture = page.locator("svg").first
    box = picture.bounding_box()
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 60, steps=3)
    page.mouse.up()
    threshold = float(re.search(r"Threshold (-?[\d.]+)", said(page))[1])
    members = torch.tensor(figure.data["scores"]["original"][0])
    share = (members > threshold).double().mean().item()
    shown = float(re.search(r"([\d.]+) % of the members", said(page))[1])
    assert 0 < share < 1 and shown == pytest.approx(100 * share, abs=1.1)


def test_the_button_accuses_at_most_one_in_a_hundred(figure, opened):
    page = opened(figure)
    page.locator("button").focus()
    page.keyboard.press("Enter")
    rate = float(re.search(r"([\d.]+) % of the non-members", said(page))[1])
    assert 0.5 < rate <= 1.0


def test_what_is_not_an_attack_is_refused():
    with pytest.raises(ValueError, match="no attack was given"):
        drag_threshold({})
    with pytest.raises(ValueError, match="the attack on original must be a Attack, got float"):
        drag_threshold({"original": 0.5})
    with pytest.raises(ValueError):
        drag_threshold({"original": Attack(torch.tensor([NAN]), torch.zeros(3), NAN)})
