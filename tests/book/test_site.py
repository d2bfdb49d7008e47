"""Every page of the built site in a browser that cannot reach the network."""

import contextlib
import functools
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from shared import CHROMIUM

from minilearn.course import questions, read_source

pytestmark = pytest.mark.timeout(1200)  # all pages are opened for the first test that asks

ROOT = Path(__file__).parents[2]
SITE = ROOT / "_build" / "html"
FOUND = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html"))
# All but the theme's templates and the front door, which only leads to the landing page.
PAGES = [name for name in FOUND if not name.startswith("_static/") and name != "index.html"]
LISTINGS = "_modules/"  # of the package, whose lines may be longer: seen on a phone alone
THEME_NOISE = "Got invalid theme mode"
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1000, "height": 720}
FIRST_VISIT, CHAPTER = 2_500_000, 800_000  # bytes: all that a page asks for, and itself alone
# Whatever is asked for from elsewhere fails. (A `route` would switch the browser's cache off.)
ONLY_HERE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
TABS = 6  # so many pages load at a time, for each is watched until it asks for nothing more
DARK = "localStorage.setItem('mode', 'dark'); localStorage.setItem('theme', 'dark')"

# (text, contrast) of every piece of visible text in the article, worst first. Blocks of code
# are left out: their colours belong to the highlighter.
CONTRAST = """() => {
  const rgba = text => text.match(/[\\d.]+/g).map(Number);
  const over = (top, below) => below.map((v, i) => v + (top[3] ?? 1) * (top[i] - v));
  const style = node => getComputedStyle(node);
  const grounds = new Map([[null, [255, 255, 255]]]);  // of every element, looked up once
  const ground = node => {
    if (!grounds.has(node))
      grounds.set(node, over(rgba(style(node).backgroundColor), ground(node.parentElement)));
    return grounds.get(node);
  };
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
  .filter(math => !math.querySelector(".katex") || math.querySelector(".katex-error"))
  .map(math => math.textContent.slice(0, 80))"""
# What a reader would have to scroll for. A formula's own width is that of what it is made of.
TOO_WIDE = """() => {
  const wider = (thing, room) => thing.scrollWidth > room.clientWidth + 1;
  const found = [];
  const note = (kind, thing) => found.push(`${kind}: ${thing.textContent.trim().slice(0, 60)}`);
  for (const pre of document.querySelectorAll("article div.highlight pre"))
    if (pre.checkVisibility() && wider(pre, pre)) note("code", pre);
  for (const table of document.querySelectorAll("article table"))
    if (table.checkVisibility() && wider(table, table.parentElement)) note("table", table);
  for (const math of document.querySelectorAll("article div.math")) {
    const parts = [...math.querySelectorAll(".katex-display, .katex-html")];
    if (math.checkVisibility() && parts.some(part => wider(part, math))) note("formula", math);
  }
  return found;
}"""

# On a desk, when the sidebar has come in: while it slides, the article is wider than it will be.
ARRIVED = f"""() => innerWidth === {DESK["width"]}
  && !document.getAnimations().some(one => one instanceof CSSTransition)"""

BEGINS_OUTSIDE = """all => all
  .filter(thing => thing.checkVisibility() && thing.getBoundingClientRect().left < 0)
  .map(thing => `${thing.tagName} ${thing.parentElement.parentElement.textContent.slice(0, 60)}`)"""


# Figures that compute have tests of their own; in the page they must be there and say something.
SILENT = """all => all.filter(figure => !figure.querySelector("[role=status]")?.textContent)
  .map(figure => figure.dataset.figure)"""
PICTURE = "box => [box.querySelector('img').src, box.querySelector('img').alt]"


@dataclass
class Visit:
    """What one page did and showed: opened once, on a phone in the dark, then on a desk."""

    errors: list[str] = field(default_factory=list)  # on the console, or thrown
    failed: list[str] = field(default_factory=list)  # requests that were not answered
    outside: list[str] = field(default_factory=list)  # requests to anywhere else
    images: list[dict] = field(default_factory=list)
    untypeset: list[str] = field(default_factory=list)
    theme: str = ""
    width: int = 0  # of the page, on the phone
    scrolls_on_phone: list[str] = field(default_factory=list)  # code and formulas
    scrolls_on_desk: list[str] = field(default_factory=list)  # and tables
    weights: dict[str, int] = field(default_factory=dict)  # bytes of every answer, by address
    cut: list[str] = field(default_factory=list)  # begins left of the phone's screen
    dim: list[tuple[str, float]] = field(default_factory=list)  # text, contrast; worst first
    figures: int = 0
    silent: list[str] = field(default_factory=list)  # figures that compute and say nothing
    # for every slider: its figure, and (picture, alternative text), status before and after a key
    sliders: list[tuple] = field(default_factory=list)
    text: str = ""  # of the article
    api: list[str] = field(default_factory=list)  # where names in the code lead to
    colab: list[str] = field(default_factory=list)
    downloads: list[str] = field(default_factory=list)


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

        def end_headers(self):
            self.send_header("Cache-Control", "max-age=3600")
            super().end_headers()

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
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[ONLY_HERE])
        yield browser
        browser.close()


@contextlib.contextmanager
def fresh(browser: Browser, **options) -> Iterator[BrowserContext]:
    """A context of its own, with a patience that fits a busy machine."""
    with browser.new_context(**options) as context:
        context.set_default_timeout(120_000)
        yield context


@contextlib.contextmanager
def noting(page: Page, site: str, seen: Visit) -> Iterator[None]:
    """Note what happens on a page."""

    def asked(request):
        if not request.url.startswith((site, "data:", "blob:")):
            seen.outside.append(request.url)

    def answered(response):
        if response.status >= 400:
            seen.failed.append(f"{response.url} {response.status}")
        seen.weights[response.url] = int(response.headers.get("content-length", 0))

    def said(message):
        if message.type == "error" and THEME_NOISE not in message.text:
            seen.errors.append(message.text)

    def broke(request):
        seen.failed.append(f"{request.url[:120]} {request.failure}")

    listeners = {"pageerror": lambda error: seen.errors.append(str(error)), "console": said}
    listeners |= {"request": asked, "requestfailed": broke, "response": answered}
    for event, listener in listeners.items():
        page.on(event, listener)
    yield
    for event, listener in listeners.items():
        page.remove_listener(event, listener)


def look(page: Page, seen: Visit, on_desk: bool = True) -> None:
    """Wait until everything is there, and note what is seen on a phone and on a desk."""
    page.wait_for_load_state("networkidle")
    page.bring_to_front()  # behind another page it is drawn once a second
    page.evaluate("() => document.fonts.ready")
    seen.width = page.evaluate("document.documentElement.scrollWidth")
    # what begins left of the screen cannot be scrolled to
    seen.cut = page.eval_on_selector_all("article :is(svg, img, table, pre)", BEGINS_OUTSIDE)
    wide = page.evaluate(TOO_WIDE)
    seen.scrolls_on_phone = [what for what in wide if not what.startswith("table")]
    if on_desk:
        page.set_viewport_size(DESK)
        page.wait_for_function(ARRIVED)
        seen.scrolls_on_desk = page.evaluate(TOO_WIDE)
    seen.images = page.eval_on_selector_all("img", IMAGES)
    seen.untypeset = page.eval_on_selector_all(".math", UNTYPESET)
    seen.theme = page.evaluate("document.documentElement.dataset.theme")
    seen.dim = [(text, round(c, 2)) for text, c in page.evaluate(CONTRAST) if c < 4.5]
    seen.text = "".join(page.locator("article").all_inner_texts())
    seen.api = page.eval_on_selector_all("pre a[href*='book/api.html#']", HREF)
    seen.colab = page.eval_on_selector_all("a[href*='colab.']", HREF)
    seen.downloads = page.eval_on_selector_all(
        "a[href$='.ipynb'][download], a[href*='_sources']", HREF
    )
    seen.silent = page.eval_on_selector_all("[data-figure]", SILENT)
    press_every_slider(page, seen)


def press_every_slider(page: Page, seen: Visit) -> None:
    """One key for each, in the order of the page."""
    boxes = page.locator(".minilearn-explorer")
    seen.figures = page.locator(".minilearn-explorer, .minilearn-figure").count()
    for i in range(boxes.count()):
        box = boxes.nth(i)
        for slider in box.locator("input[type=range]").all():
            before, status = box.evaluate(PICTURE), box.locator("[role=status]").inner_text()
            slider.focus()
            page.keyboard.press("ArrowRight")
            after, said = box.evaluate(PICTURE), box.locator("[role=status]").inner_text()
            seen.sliders.append((i, (before, status), (after, said)))


@pytest.fixture(scope="module")
def visits(browser, site) -> dict[str, Visit]:
    """Every page, opened once. A tab shows one after another: a new tab costs more than a page."""
    seen = {name: Visit() for name in PAGES}
    with fresh(browser, viewport=PHONE) as context:
        context.add_init_script(DARK)
        tabs = [context.new_page() for _ in range(TABS)]
        for first in range(0, len(PAGES), TABS):
            together = list(zip(tabs, PAGES[first : first + TABS], strict=False))
            with contextlib.ExitStack() as watch:
                for page, name in together:
                    watch.enter_context(noting(page, site, seen[name]))
                    page.set_viewport_size(PHONE)
                    page.goto(site + name, wait_until="commit")
                for page, name in together:
                    try:
                        look(page, seen[name], on_desk=not name.startswith(LISTINGS))
                    except Exception as error:
                        error.add_note(f"on the page {name}")
                        raise
    return seen


def nowhere(visits: dict[str, Visit], what) -> None:
    """No page has any; else say which and what."""
    found = {name: offenders for name, seen in visits.items() if (offenders := what(seen))}
    assert not found, found


def test_the_front_door_leads_to_the_landing_page(browser, site):
    with fresh(browser) as context:
        page = context.new_page()
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
    with fresh(browser) as context:
        page = context.new_page()
        page.goto(f"{site}search.html?q=retrained")
        results = page.locator("#search-results li")
        results.filter(has_text="How to tell").first.wait_for()  # they appear one after another


def test_dark_mode_is_what_the_reader_has_chosen(visits):
    nowhere(visits, lambda v: v.theme if v.theme != "dark" else "")


def test_dark_mode_is_readable(visits):
    """No text with a contrast below 4.5; the worst five of each page are shown."""
    nowhere(visits, lambda v: v.dim[:5])


def test_a_phone_shows_everything(visits):
    """No page scrolls sideways, and nothing is cut at the left."""
    nowhere(visits, lambda v: v.width if v.width > PHONE["width"] else 0)
    nowhere(visits, lambda v: v.cut)


def test_nothing_needs_a_scroll_bar(visits):
    """From 1,000 pixels on code of 79 characters, formulas and tables fit; code does on a phone."""
    ours = {name: v for name, v in visits.items() if not name.startswith(LISTINGS)}
    nowhere(ours, lambda v: v.scrolls_on_desk)
    nowhere(ours, lambda v: v.scrolls_on_phone)


def test_pages_are_light(visits, site):
    heavy = {name: sum(v.weights.values()) for name, v in visits.items()}
    assert not {name: n for name, n in heavy.items() if n > FIRST_VISIT}
    alone = {name: visits[name].weights[site + name] for name in CHAPTERS}
    assert not {name: n for name, n in alone.items() if n > CHAPTER}


def test_figures_that_compute_are_there(visits):
    nowhere(visits, lambda v: v.silent)


STUDENTS = [name for name in PAGES if name.startswith("notebooks/students/")]
CHAPTERS = [name for name in PAGES if name.startswith("notebooks/") and name not in STUDENTS]


@pytest.mark.parametrize("name", CHAPTERS)
def test_sliders_work_by_keyboard(visits, name):
    assert visits[name].figures, "a chapter has at least one interactive figure"
    for i, (before, status), (after, said) in visits[name].sliders:
        assert before[0] != after[0], f"figure {i}: the picture is the same after {status}"
        assert before[1] != after[1] and status != said


@pytest.mark.parametrize("name", CHAPTERS)
def test_names_in_the_code_lead_to_the_api_page(visits, name):
    ids = set(re.findall(r'id="([^"]+)"', (SITE / "book/api.html").read_text("utf-8")))
    assert len(visits[name].api) > 5
    lost = [link for link in visits[name].api if link.partition("#")[2] not in ids]
    assert not lost, lost


@pytest.mark.parametrize("name", STUDENTS)
def test_an_assignment_is_unanswered_and_opens_where_it_is_published(visits, name):
    source = ROOT / "notebooks/assignments" / Path(name).with_suffix(".ipynb").name
    seen = visits[name]
    published = f"_sources/{name.removesuffix('.html')}.ipynb"
    assert len(seen.colab) >= 2, seen.colab
    assert all(f"/blob/gh-pages/{published}" in link for link in seen.colab), seen.colab
    assert any(published in link for link in seen.downloads), seen.downloads
    assert (SITE / published).is_file()
    for question in questions(read_source(source)):
        assert not question.test or f"{question.name}: not attempted" in seen.text, question.name
    assert "BEGIN SOLUTION" not in seen.text and "BEGIN HIDDEN" not in seen.text
