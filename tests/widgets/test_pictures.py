"""The sliders: what the page carries, and the sentences for what cannot be drawn."""

import json
import re
import sys

import matplotlib.pyplot as plt
import pytest

from minilearn.widgets import MAX_FRAMES, Explorer, explorer, live


def draw(k, a=0.0):
    figure, axis = plt.subplots(figsize=(1.5, 1))
    axis.plot([0, k], [0, a])
    return figure


@pytest.fixture(scope="module")
def shown() -> Explorer:
    return explorer(draw, alt='A line, "steep" & <thin>', k=[1, 2, 3], a=[0.5, 1.0])


def test_a_frame_for_every_point_with_the_last_axis_fastest(shown):
    assert len(shown.frames) == 6
    assert shown.labels == {"k": ("1", "2", "3"), "a": ("0.5", "1")}
    assert shown.frames[1] == explorer(draw, alt="x", k=[1], a=[1.0]).frames[0]
    assert shown.frames[2] == explorer(draw, alt="x", k=[2], a=[0.5]).frames[0]


def test_the_bundle_has_html_a_picture_and_text(shown):
    bundle = shown._repr_mimebundle_()
    assert bundle["image/png"].startswith(b"\x89PNG")
    assert bundle["text/plain"] == "Explorer(6 pictures; k: 3, a: 2): " + shown.alt
    assert bundle["text/html"] == shown.html()


def test_the_same_figure_gives_the_same_bytes(shown):
    again = explorer(draw, alt=shown.alt, k=[1, 2, 3], a=[0.5, 1.0])
    assert again == shown and again.html() == shown.html()


def test_the_page_is_accessible_and_complete(shown):
    html = shown.html()
    assert 'alt="A line, &quot;steep&quot; &amp; &lt;thin&gt; (k = 1, a = 0.5)"' in html
    assert html.count('<input type="range"') == html.count("<label") == 2
    assert 'aria-live="polite"' in html and 'aria-valuetext="0.5"' in html
    assert not re.search(r"(src|href)=\"(?!data:)|https?:", html)


def test_every_slider_keeps_its_keys_in_jupyterlab(shown):
    sliders = re.findall(r"<input[^>]*>", shown.html())
    assert len(sliders) == 2 and all("data-lm-suppress-shortcuts" in one for one in sliders)


def test_the_script_cannot_be_ended_by_a_label():
    html = explorer(draw, alt="</script>", k=[1]).html()
    assert html.count("</script>") == 1
    data = re.search(r"const \[frames, labels, alt\] = (.*);\n", html)[1]
    assert json.loads(data)[1:] == [[["k", ["1"]]], "</script>"]


def test_figures_are_closed_and_frames_have_one_size(shown):
    assert not plt.get_fignums()
    assert len({frame[16:24] for frame in shown.frames}) == 1  # width and height in the PNG header


@pytest.mark.parametrize(
    ("axes", "sentence"),
    [
        ({}, "no axis was given"),
        ({"k": []}, "the axis k is empty"),
        ({"k": range(9), "a": range(8)}, f"72 points .* at most {MAX_FRAMES}"),
    ],
)
def test_a_grid_that_cannot_be_drawn(axes, sentence):
    with pytest.raises(ValueError, match=sentence):
        explorer(draw, alt="A line", **axes)


def test_the_largest_grid_is_drawn():
    def empty(k):
        return plt.figure(figsize=(0.2, 0.2))

    assert len(explorer(empty, alt="Nothing", k=range(MAX_FRAMES)).frames) == MAX_FRAMES


def test_what_is_not_a_figure_is_named():
    with pytest.raises(ValueError, match="returned int at .*'k': 7.*return figure"):
        explorer(lambda k: k, alt="A number", k=[7])


def test_the_alternative_text_is_needed():
    with pytest.raises(ValueError, match="alt is empty"):
        explorer(draw, alt=" ", k=[1])


def test_ipywidgets_is_imported_only_when_it_is_used():
    before = set(sys.modules)
    explorer(draw, alt="A line", k=[1])
    assert not {m for m in set(sys.modules) - before if m.startswith("ipywidgets")}


def test_live_makes_a_slider_per_axis_and_draws(capsys):
    points = []

    def noted(**point):
        points.append(point)
        return draw(**point)

    live(noted, k=[1, 2], a=[0.5])
    assert points == [{"k": 1, "a": 0.5}]
    with pytest.raises(ValueError, match="the axis k is empty"):
        live(noted, k=[])
