"""Every page of the built site in a browser that cannot reach the network."""

import contextlib
import functools
import os
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from minilearn.course import questions, read_source

ROOT = Path(__file__).parents[2]
SITE = ROOT / "_build" / "html"
FOUND = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html"))
# All but the theme's templates and the front door, which only leads to the landing page.
PAGES = [name for name in FOUND if not name.startswith("_static/") and name != "index.html"]
CHROMIUM = next(
    filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None
)
THEME_NOISE = "Got invalid theme mode"
PHONE = {"width": 390, "height": 844}

# (text, contrast) of every piece of visible text in the article, worst first. Blocks of code
# are left out: their colours belong to the highlighter.
CONTRAST = """() => {
  const rgba = text => text.match(/[\\d.]+/g).map(Number);
  const over = (top, below) => below.map((v, i) => v + (top[3] ?? 1) * (top[i] - v));
  const style = node => getComputedStyle(node);
  const ground = node => node
    ? over(rgba(style(node).backgroundColor), ground(node.parentElement)) : [255, 255, 255];
  const linear = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = c => [.2126, .7152, .0722].reduce((sum, w, i) => sum + w * linear(c[i] / 255), .05);
  const article = document.querySelector("article") ?? document.querySelector("main");
  const texts = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
  const found = [];
  while (texts.nextNode()) {
    const text = texts.currentNode.data.trim(), node = texts.currentNode.parentElement;
    const other = node.closest("pre, svg, script, style, form, .headerlink");
    if (!text || other || !node.checkVisibility()) continue;
    const below = ground(node), front = over(rgba(style(node).color), below);
    const [a, b] = [light(front), light(below)];
    found.push([text.slice(0, 60), Math.max(a, b) / Math.min(a, b)]);
  }
  return found.sort((a, b) => a[1] - b[1]);
}"""

HREF = "all => all.map(link => link.href)"
IMAGES = """all => all.map(image => ({
  src: image.src.slice(-60), alt: image.getAttribute("alt") || "", width: image.naturalWidth,
}))"""
UNTYPESET = """all => all
  .filter(math => !math.querySelector("mjx-container")
    || math.querySelector("[data-mjx-error], [data-mml-node=mtext][fill=red]"))
  .map(math => math.textContent.slice(0, 80))"""

BEGINS_OUTSIDE = """all => all
  .filter(thing => thing.checkVisibility() && thing.getBoundingClientRect().left < 0)
  .map(thing => `${thing.tagName} ${thing.parentElement.parentElement.textContent.slice(0, 60)}`)"""


@dataclass(frozen=True)
class Visit:
    """What one page did and showed when it was opened."""

    errors: list[str]  # on the console, or thrown
    failed: list[str]  # requests that were not answered
    outside: list[str]  # requests to anywhere else
    images: list[dict]
    untypeset: list[str]


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The address of the site, served from this machine."""
    missing = [
        *(["the site is not built: make book"] if not (SITE / "index.html").exists() else []),
        *(["Chromium is not installed"] if CHROMIUM is None else []),
    ]
    if missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("; ".join(missing))

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=SITE))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser(site) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser: Browser, site: str, **context) -> Iterator[Page]:
    """A page in a fresh context from which only the site can be reached."""
    with browser.new_context(**context) as fresh:
        fresh.route(
            "**/*", lambda r: r.continue_() if r.request.url.startswith(site) else r.abort()
        )
        yield fresh.new_page()


def settle(page: Page, address: str) -> None:
    """Open a page and wait until its images, scripts and mathematics are there."""
    page.goto(address, wait_until="load")
    page.evaluate("() => window.MathJax?.startup?.promise")


def visit(page: Page, site: str, name: str) -> Visit:
    """Open one page and note what happens."""
    seen = Visit([], [], [], [], [])

    def asked(request):
        if not request.url.startswith((site, "data:", "blob:")):
            seen.outside.append(request.url)

    def answered(response):
        if response.status >= 400:
            seen.failed.append(f"{response.url} {response.status}")

    def said(message):
        if message.type == "error" and THEME_NOISE not in message.text:
            seen.errors.append(message.text)

    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("console", said)
    page.on("request", asked)
    page.on("requestfailed", lambda r: seen.failed.append(f"{r.url[:120]} {r.failure}"))
    page.on("response", answered)
    settle(page, site + name)
    page.wait_for_load_state("networkidle")
    seen.images.extend(page.eval_on_selector_all("img", IMAGES))
    seen.untypeset.extend(page.eval_on_selector_all(".math", UNTYPESET))
    return seen


@pytest.fixture(scope="module")
def visits(browser, site) -> dict[str, Visit]:
    """Every page, opened once."""
    seen = {}
    with opened(browser, site) as first:
        for name in PAGES:
            page = first.context.new_page()
            seen[name] = visit(page, site, name)
            page.close()
    return seen


def nowhere(visits: dict[str, Visit], what) -> None:
    """No page has any; else say which and what."""
    found = {name: offenders for name, seen in visits.items() if (offenders := what(seen))}
    assert not found, found


def test_the_front_door_leads_to_the_landing_page(browser, site):
    with opened(browser, site) as page:
        page.goto(site)
        page.wait_for_url("**/book/intro.html")


def test_no_error_in_the_console(visits):
    nowhere(visits, lambda v: v.errors)


def test_no_request_fails(visits):
    nowhere(visits, lambda v: v.failed)


def test_nothing_comes_from_elsewhere(visits):
    nowhere(visits, lambda v: v.outside)


def test_every_image_is_there(visits):
    nowhere(visits, lambda v: [i["src"] for i in v.images if not i["width"]])


def test_every_image_has_alternative_text(visits):
    """Sphinx writes the file's name where there is none."""

    def bare(v):
        name = re.compile(r"\S+\.(png|svg|jpe?g|gif)")
        return [i for i in v.images if not i["alt"].strip() or name.fullmatch(i["alt"].strip())]

    nowhere(visits, bare)


def test_mathematics_is_typeset(visits):
    nowhere(visits, lambda v: v.untypeset)


def test_search_finds_a_word(browser, site):
    with opened(browser, site) as page:
        page.goto(f"{site}search.html?q=retrained")
        page.wait_for_selector("#search-results li a", timeout=20_000)
        found = page.locator("#search-results").inner_text()
    assert "How to tell" in found, found


def test_dark_mode_is_readable(browser, site):
    dim = {}
    with opened(browser, site) as page:
        page.add_init_script(
            "localStorage.setItem('mode', 'dark'); localStorage.setItem('theme', 'dark')"
        )
        for name in PAGES:
            settle(page, site + name)
            assert page.evaluate("document.documentElement.dataset.theme") == "dark"
            worst = [(text, round(c, 2)) for text, c in page.evaluate(CONTRAST) if c < 4.5]
            if worst:
                dim[name] = worst[:5]
    assert not dim, f"text with a contrast below 4.5: {dim}"


def test_a_phone_shows_everything(browser, site):
    wide, cut = {}, {}
    with opened(browser, site, viewport=PHONE) as page:
        for name in PAGES:
            settle(page, site + name)
            width = page.evaluate("document.documentElement.scrollWidth")
            if width > PHONE["width"]:
                wide[name] = width
            # what begins left of the screen cannot be scrolled to
            if hidden := page.eval_on_selector_all(
                "article :is(svg, img, table, pre)", BEGINS_OUTSIDE
            ):
                cut[name] = hidden
    assert not wide, f"pages that scroll sideways at {PHONE['width']} pixels: {wide}"
    assert not cut, f"cut at the left: {cut}"


STUDENTS = [name for name in PAGES if name.startswith("notebooks/students/")]
CHAPTERS = [name for name in PAGES if name.startswith("notebooks/") and name not in STUDENTS]


@pytest.mark.parametrize("name", CHAPTERS)
def test_sliders_work_by_keyboard(browser, site, name):
    with opened(browser, site) as page:
        settle(page, site + name)
        boxes = page.locator(".minilearn-explorer")
        assert boxes.count(), "a chapter has at least one interactive figure"
        for i in range(boxes.count()):
            box = boxes.nth(i)
            for slider in box.locator("input[type=range]").all():
                state = "b => [b.querySelector('img').src, b.querySelector('img').alt]"
                before, status = box.evaluate(state), box.locator("[role=status]").inner_text()
                slider.focus()
                page.keyboard.press("ArrowRight")
                after = box.evaluate(state)
                assert before[0] != after[0], f"figure {i}: the picture is the same after {status}"
                assert before[1] != after[1] and status != box.locator("[role=status]").inner_text()


@pytest.mark.parametrize("name", STUDENTS)
def test_an_assignment_is_unanswered_and_opens_where_it_is_published(browser, site, name):
    source = ROOT / "notebooks/assignments" / Path(name).with_suffix(".ipynb").name
    with opened(browser, site) as page:
        settle(page, site + name)
        text = page.locator("article").inner_text()
        links = page.eval_on_selector_all("a[href*='colab.']", HREF)
        download = page.eval_on_selector_all(
            "a[href$='.ipynb'][download], a[href*='_sources']", HREF
        )
    published = f"_sources/{name.removesuffix('.html')}.ipynb"
    assert len(links) >= 2 and all(f"/blob/gh-pages/{published}" in link for link in links), links
    assert any(published in link for link in download), download
    assert (SITE / published).is_file()
    for question in questions(read_source(source)):
        assert not question.test or f"{question.name}: not attempted" in text, question.name
    assert "BEGIN SOLUTION" not in text and "BEGIN HIDDEN" not in text
