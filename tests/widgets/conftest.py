"""A browser without a network, and an example of every figure."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

import pytest
from figure_examples import EXAMPLES
from playwright.sync_api import Browser, Page, sync_playwright
from shared import CHROMIUM

PAGE = """<!doctype html><html lang="en" data-theme="{theme}">
<meta name="viewport" content="width=device-width"><title>A figure</title>
<style>
body {{ margin: 1rem; font-family: sans-serif; background: {paper}; color: {ink}; }}
</style>
<main>{figure}</main></html>"""
COLORS = {
    "light": {"paper": "#ffffff", "ink": "#222832"},
    "dark": {"paper": "#14181e", "ink": "#ced6dd"},
}


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, once for all tests of figures."""
    if CHROMIUM is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("Chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@contextlib.contextmanager
def opening(browser: Browser) -> Iterator[Callable[..., Page]]:
    """A function that shows a figure and returns its page, on which nothing may go wrong."""
    with contextlib.ExitStack() as stack:
        wrong = []

        def show(figure, width: int = 1000, theme: str = "light") -> Page:
            size = {"width": width, "height": 800}
            context = stack.enter_context(browser.new_context(viewport=size, offline=True))
            context.set_default_timeout(60_000)  # a busy machine is no reason to fail
            page = context.new_page()
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else 0)
            page.on("request", lambda r: wrong.append(r.url) if r.url.startswith("http") else 0)
            content = PAGE.format(theme=theme, figure=figure.html(), **COLORS[theme])
            page.set_content(content)
            page.wait_for_selector(".minilearn-figure [role=status]:not(:empty)")
            return page

        yield show
        assert not wrong, wrong


@pytest.fixture
def opened(browser):
    """A function that shows a figure on a page of the test's own."""
    with opening(browser) as show:
        yield show


@pytest.fixture(scope="module")
def desk(figure, browser) -> Page:
    """A page for all tests that only look at the figure."""
    with opening(browser) as show:
        yield show(figure)


@pytest.fixture(scope="module")
def phone(figure, browser) -> Page:
    """A narrow one, in the dark."""
    with opening(browser) as show:
        yield show(figure, width=390, theme="dark")


@pytest.fixture
def shown(figure, opened) -> Page:
    """The page of the figure that a file is about."""
    return opened(figure)


@pytest.fixture
def compute():
    """A function that calls a function of a figure's module in the browser."""

    def call(page: Page, figure, name: str, *arguments):
        program = """async ([text, given]) => {
            const url = URL.createObjectURL(new Blob([text], {type: "text/javascript"}));
            const result = (await import(url)).asked(...given);
            return ArrayBuffer.isView(result) ? [...result] : result;
        }"""
        text = f"{figure.module()}\nexport const asked = {name};"
        return page.evaluate(program, [text, arguments])

    return call


@pytest.fixture(scope="module", params=sorted(EXAMPLES))
def figure(request):
    """Every figure, one after another."""
    return EXAMPLES[request.param]()
