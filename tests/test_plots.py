"""Figures: what is drawn is what was measured, and silly input gets a sentence."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from minilearn import plots
from minilearn.methods import METHODS
from minilearn.metrics import Attack, ulira
from minilearn.metrics.report import Report, Row

FEW = ulira(torch.rand(2, 4), torch.rand(2, 4), torch.ones(2, 4, dtype=torch.bool))


@pytest.fixture(scope="module")
def report():
    values = {"original": (1.0, 0.98), "retrained": (0.9, 0.94), "finetune": (0.99, 0.97)}
    band = (0.9, 0.94)
    rows = [Row("accuracy", "forget", m, v, band, examples=9) for m, v in values.items()]
    return Report((*rows, Row("accuracy", "forget", "untrained", (0.1,), band)), "a request")


def test_every_role_and_method_has_its_own_colour_and_look():
    styles = [*plots.ROLES.values(), *plots.METHODS.values(), *plots.OTHERS]
    assert len({color for color, _ in styles}) == len(styles)
    assert len({mark for _, mark in plots.ROLES.values()}) == len(plots.ROLES)


def test_every_method_of_the_package_has_a_colour():
    named = {method.replace("_", " ") for method in METHODS}
    assert named - {"retrain"} <= set(plots.METHODS)  # retrained models have a role


@pytest.mark.parametrize("name", ["laf_repair", "LAF + repair", "laf repair"])
def test_a_method_looks_the_same_however_its_name_is_written(name):
    assert plots.role(name, ["other", name]) == plots.role("repair")
    assert plots.role("laf slow") == plots.role("laf") != plots.role(name)


def test_another_name_has_its_colour_by_its_place():
    alone = plots.role("b", ["a", "b"])
    assert alone == plots.role("b", ["original", "a", "retrained", "b"])
    assert alone != plots.role("a", ["a", "b"])
    assert plots.role("retrained", ["a", "retrained"]) == plots.role("retrained")


def test_long_titles_are_broken_and_panels_stand_two_by_two(report):
    title = "A finding that takes many more words than fit into one line of a narrow figure"
    figure = plots.picture(report, [("accuracy", "forget")] * 3, title)
    assert figure.get_suptitle().replace("\n", " ") == title
    assert "\n" in figure.get_suptitle()
    assert [ax.axison for ax in figure.axes] == [True, True, True, False]


def test_no_figure_stays_open():
    plots.canvas(columns=2, rows=2)
    assert not plt.get_fignums()


def test_no_figure_stays_open_after_an_error():
    for silly in ({"rows": 0}, {"sharex": "sideways"}, {"subplot_kw": {"projection": "none"}}):
        with pytest.raises(ValueError):
            plots.canvas(**silly)
    assert not plt.get_fignums()


def test_items_show_their_images_and_captions():
    images = torch.rand(12, 1, 4, 4)
    axes = plots.items(images, list("abcdefghijkl"), "title", bold=[1]).axes
    assert [ax.get_title() for ax in axes[:12]] == list("abcdefghijkl")
    shown = torch.as_tensor(axes[11].images[0].get_array().data)
    torch.testing.assert_close(shown, images[11, 0])
    assert [ax.title.get_fontweight() for ax in axes[:3]] == ["normal", "bold", "normal"]


def test_items_in_colour():
    images = torch.rand(1, 3, 4, 4)
    shown = plots.items(images, [""], "title").axes[0].images[0].get_array()
    assert shown.shape == (4, 4, 3)


def test_curves_draw_the_series_over_the_band():
    figure = plots.curves({"forget": [1, 2, 4]}, "t", xlabel="x", ylabel="y", band=(1, 3))
    (ax,) = figure.axes
    assert ax.lines[0].get_ydata().tolist() == [1, 2, 4]
    assert ax.patches[0].get_extents().transformed(ax.transData.inverted()).y0 == pytest.approx(1)


def test_picture_shows_means_intervals_and_band(report):
    (ax,) = plots.picture(report, [("accuracy", "forget")], "t").axes
    assert [t.get_text() for t in ax.get_xticklabels()] == ["original", "retrained", "finetune"]
    means = [c.lines[0].get_ydata()[0] for c in ax.containers]
    assert means == pytest.approx([0.99, 0.92, 0.98])
    low, high = (report.row("accuracy", "forget", "finetune").half_width * s for s in (-1, 1))
    (segment,) = ax.containers[2].lines[2][0].get_segments()
    assert segment[:, 1] == pytest.approx([0.98 + low, 0.98 + high])


def test_a_panel_is_on_the_scale_of_its_values(report):
    (ax,) = plots.picture(report, [("accuracy", "forget")], "t").axes
    ends = [end for c in ax.containers for end in c.lines[2][0].get_segments()[0][:, 1]]
    low, high = ax.get_ylim()
    assert low < min(ends) and max(ends) < high
    assert high - low == pytest.approx(1.1 * (max(ends) - min(ends)))  # matplotlib's own margins


def test_a_band_without_an_end_is_drawn_to_the_edge(report):
    rows = [replace(row, band=(-np.inf, 0.95)) for row in report.rows]
    (ax,) = plots.picture(replace(report, rows=tuple(rows)), [("accuracy", "forget")], "t").axes
    corners = ax.collections[-1].get_paths()[0].vertices[:, 1]
    assert (corners.min(), corners.max()) == (ax.get_ylim()[0], pytest.approx(0.95))


def test_roc_passes_through_the_corners_and_prints_the_area():
    attack = Attack(torch.tensor([2.0, 3.0]), torch.tensor([1.0, 2.0]), 0.5)
    left, right = plots.roc({"original": attack}, "t").axes
    x, y = left.lines[0].get_data()
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert "auc 0.88" in left.get_legend().texts[0].get_text()
    assert right.get_xscale() == right.get_yscale() == "log"


def test_roc_of_verdicts_says_who_is_accused():
    forgotten = torch.tensor([[True, False, True, False], [False, True, False, True]]).repeat(8, 1)
    scores = torch.randn(16, 4, dtype=torch.float64), torch.randn(16, 4, dtype=torch.float64)
    verdict = ulira(scores[0] + 2, scores[1], forgotten)
    null = ulira(*scores, forgotten)
    left, _ = plots.roc({"scrub": verdict, "retrained again": null}, "t").axes
    assert (left.get_xlabel(), left.get_ylabel()) == (
        "retrained falsely accused",
        "unlearned found",
    )
    assert f"auc {verdict.auc:.2f}" in left.get_legend().texts[0].get_text()


def test_memory_beyond_the_ends_is_drawn_there_and_counted():
    left = {"original": torch.ones(3), "finetune": torch.tensor([-4.0, 0.5, 9.0])}
    (ax,) = plots.memory(left, "t").axes
    assert list(ax.lines[1].get_ydata()) == [-1.0, 0.5, 2.0]
    texts = [text.get_text() for text in ax.get_legend().texts]
    assert texts == ["original", "finetune, 2 outside"]


def test_memory_is_sorted_and_without_the_unknown():
    left = {"original": torch.tensor([1.0, torch.nan, 1.0]), "laf": torch.tensor([0.9, 2, 0.1])}
    (ax,) = plots.memory(left, "t").axes
    assert [list(line.get_ydata()) for line in ax.lines] == [[1, 1], pytest.approx([0.1, 0.9, 2])]


@pytest.mark.parametrize(
    ("draw", "sentence"),
    [
        (lambda r: plots.roc({}, "t"), "attacks must be one or more"),
        (
            lambda r: plots.roc({"a": Attack(*torch.ones(2, 3), 0.5), "b": FEW}, "t"),
            "either all Attack or all Verdict",
        ),
        (lambda r: plots.roc({"b": FEW}, "t"), "found nothing to draw: no verdict"),
        (lambda r: plots.memory({"laf": torch.tensor([torch.nan])}, "t"), "nothing to draw"),
        (
            lambda r: plots.items(torch.zeros(2, 1, 4, 4), ["a"], "t"),
            "1 captions and images of",
        ),
        (
            lambda r: plots.items(torch.zeros(0, 1, 4, 4), [], "t"),
            "got 0 captions and images",
        ),
        (
            lambda r: plots.curves({"a": [1, 2]}, "t", x=[1], xlabel="", ylabel=""),
            "a has 2 values for 1 places",
        ),
        (lambda r: plots.picture(r, [("js", "forget")], "t"), "no js on 'forget'"),
    ],
)
def test_silly_input_gets_a_sentence(draw, sentence, report):
    with pytest.raises(ValueError, match=sentence):
        draw(report)
