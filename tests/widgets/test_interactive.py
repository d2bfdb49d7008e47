"""What holds for every figure: it needs nothing, fits a phone, and can be read and operated."""

import re
import tomllib
from pathlib import Path

import pytest
from figure_examples import EXAMPLES

from minilearn.widgets import Interactive

NAMELESS = """() => [...document.querySelectorAll("input, select, button, [tabindex]")]
  .filter(control => !(control.ariaLabel || control.labels?.length && control.labels[0].innerText
    || control.innerText).trim())
  .map(control => control.outerHTML)"""
SIDEWAYS = "() => document.documentElement.scrollWidth - innerWidth"
CLIPPED = """() => [...document.querySelectorAll("svg text")].filter(text => {
  const box = text.getBoundingClientRect();
  return box.width && (box.left < 0 || box.right > innerWidth);
}).map(text => text.textContent)"""
LETTERS = """() => [...document.querySelectorAll("svg text")].map(text =>
  parseFloat(getComputedStyle(text).fontSize)
  * text.ownerSVGElement.getBoundingClientRect().width / text.ownerSVGElement.viewBox.baseVal.width)
  .sort((a, b) => a - b)[0] ?? 99"""
# The contrast of every text with the page behind it.
CONTRAST = """() => {
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const linear = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = c => [.2126, .7152, .0722].reduce((sum, w, i) => sum + w * linear(c[i] / 255), .05);
  const ground = light(rgb(getComputedStyle(document.body).backgroundColor));
  const contrast = color => {
    const own = light(rgb(color));
    return Math.max(own, ground) / Math.min(own, ground);
  };
  const texts = [...document.querySelectorAll(".minilearn-figure *")]
    .filter(node => [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim()));
  return texts.map(node => [node.textContent, contrast(
    node.closest("svg") ? getComputedStyle(node).fill : getComputedStyle(node).color)]);
}"""


def test_text_can_be_read_in_the_light_and_in_the_dark(desk, phone):
    for page in (desk, phone):
        dim = [(text, round(c, 2)) for text, c in page.evaluate(CONTRAST)]
        assert dim and not [entry for entry in dim if entry[1] < 4.5]


def test_a_phone_shows_everything(phone):
    assert phone.evaluate(SIDEWAYS) <= 0
    assert not phone.evaluate(CLIPPED)
    assert phone.evaluate(LETTERS) > 10  # pixels


def test_every_control_has_a_name_and_the_figure_says_what_it_is(figure, desk):
    assert not desk.evaluate(NAMELESS)
    assert desk.locator(".minilearn-figure").get_attribute("aria-label") == figure.alt
    assert desk.locator("[role=status][aria-live=polite]").count() == 1


def test_every_control_keeps_its_keys_in_jupyterlab(desk):
    """JupyterLab takes the arrow keys of a slider unless the slider itself asks it not to."""
    controls = desk.locator("input, button, select, [tabindex]")
    asking = desk.locator("[data-lm-suppress-shortcuts]")
    assert controls.count() == asking.count() > 0


def test_a_figure_that_is_shown_twice_works_twice(figure, opened):
    class Twice:
        def html(self):
            return figure.html() * 2

    page = opened(Twice())
    assert page.locator("[data-figure]").count() == 2
    assert page.locator(".minilearn-figure [role=status]:not(:empty)").count() == 2


def test_the_page_gets_html_alone(figure):
    """A bundle with a widget's view too would be shown as that view, which needs a kernel."""
    assert set(figure._repr_mimebundle_()) == {"text/html", "text/plain"}
    assert not re.search(r"https?:(?!//www\.w3\.org/2000/svg)", figure.html())
    assert figure.html().count("</script>") == figure.html().count("</style>") == 1


ANYWIDGET = """async ([text, data, alt]) => {
  const url = URL.createObjectURL(new Blob([text], {type: "text/javascript"}));
  const {default: figure} = await import(url);
  const el = document.createElement("div"), names = [], listeners = [];
  document.body.append(el);
  const values = {data, alt, state: {}};
  figure.render({el, model: {
    get: name => values[name], set: (name, value) => { names.push(name); values[name] = value; },
    on: (event, listener) => listeners.push([event, listener]), save_changes: () => {},
  }});
  el.remove();
  return [el.className, el.querySelector("[role=status]").textContent, listeners.map(l => l[0])];
}"""


def test_the_module_has_the_form_of_anywidget(figure, desk):
    given = [figure.module(), figure.data, figure.alt]
    name, said, events = desk.evaluate(ANYWIDGET, given)
    assert (name, events) == ("minilearn-figure", ["change:state"]) and said


def test_the_widget_of_a_notebook_carries_the_same(figure):
    pytest.importorskip("anywidget")
    live = figure.widget()
    assert live._esm == figure.module() and live.data == figure.data
    live.state = {"said": 1}
    assert live.get_state("state") == {"state": {"said": 1}}


def test_without_anywidget_the_sentence_says_what_to_install(figure, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "anywidget", None)
    with pytest.raises(ModuleNotFoundError, match="pip install anywidget"):
        figure.widget()


def test_a_figure_that_is_too_large_is_refused():
    with pytest.raises(ValueError, match="would carry .* kB .* at most 150"):
        Interactive("drag_threshold", {"scores": "x" * 150_000}, "Nothing")


def test_no_text_can_end_the_script():
    html = Interactive("drag_threshold", {"scores": "</script>"}, "</script>").html()
    assert html.count("</script>") == 1


def test_modules_and_style_are_installed():
    root = Path(__file__).parents[2]
    setup = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    patterns = setup["package-data"]["minilearn.widgets"]
    files = [p for p in (root / "minilearn/widgets").iterdir() if p.is_file()]
    assert {p.suffix for p in files} == {".py", ".js", ".css"}
    assert all(any(p.match(pattern) for pattern in [*patterns, "*.py"]) for p in files)


def test_every_module_has_its_function_and_is_tried():
    folder = Path(__file__).parents[2] / "minilearn/widgets"
    modules = {p.stem for p in folder.glob("*.js")} - {"shared"}
    assert modules == set(EXAMPLES)
    assert all((folder / f"{name}.py").is_file() for name in modules)
